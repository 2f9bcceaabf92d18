"""The whole face from its visible part: the packaged model, on heads that the model itself can and cannot say."""

import hashlib
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from safetensors.numpy import save

from facecli.complete import FaceModel, complete, grid_faces, load_face_model, sample, splat
from facecli.errors import WeightsError
from facecli.weights import Manifest, Weights, WeightsFile, load_weights


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model(load_weights())


def person(model: FaceModel, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A random head of the model: template coordinates and positions of every cell of the face, mm."""
    import cv2

    weights = np.random.default_rng(seed).normal(0, 1, len(model.modes)).astype(np.float32)
    offset = cv2.resize(
        np.tensordot(weights, model.modes, 1), model.inside.shape, interpolation=cv2.INTER_CUBIC
    )
    return model.mean[model.inside].astype(np.float64), (model.mean + offset)[model.inside].astype(np.float64)


def grey(count: int) -> np.ndarray:
    return np.full((count, 3), 128, np.uint8)


def test_every_face_has_the_same_topology(model: FaceModel) -> None:
    meshes = [complete(model, *person(model, seed), grey(model.inside.sum())) for seed in (1, 2)]
    assert np.array_equal(meshes[0].faces, meshes[1].faces)
    assert np.array_equal(meshes[0].uv, meshes[1].uv)
    assert len(meshes[0].vertices) == len(meshes[1].vertices) > 10_000
    assert not np.allclose(meshes[0].vertices, meshes[1].vertices, atol=1e-3)


def test_topology_is_sound_and_outward(model: FaceModel) -> None:
    mesh = complete(model, *person(model, 3), grey(model.inside.sum()))
    edges = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
    assert np.unique(edges, axis=0, return_counts=True)[1].max() == 2
    assert np.array_equal(np.unique(mesh.faces), np.arange(len(mesh.vertices)))
    assert (mesh.normals[:, 2] > 0).mean() > 0.85
    nose = mesh.vertices[np.argmax(mesh.vertices[:, 2])]
    assert abs(nose[0]) < 0.015 and mesh.vertices[:, 1].max() > 0.05


@pytest.mark.parametrize("hidden_side", [0.0, 20.0])
def test_the_visible_side_is_kept_and_the_hidden_side_is_close(model: FaceModel, hidden_side: float) -> None:
    coordinate, truth = person(model, 4)
    seen = coordinate[:, 0] > hidden_side
    mesh = complete(model, coordinate[seen], truth[seen], grey(seen.sum()))
    _, used = grid_faces(model.inside)
    number = np.full(model.inside.size, -1)
    number[np.flatnonzero(model.inside)] = np.arange(model.inside.sum())
    ours, wanted = mesh.vertices * 1000.0, truth[number[used]]
    error = np.linalg.norm(ours - wanted, axis=1)
    deep = coordinate[number[used], 0] > hidden_side + 10
    assert np.median(error[deep]) < 0.3
    mean_error = np.linalg.norm(model.mean.reshape(-1, 3)[used] - wanted, axis=1)
    hidden = coordinate[number[used], 0] < hidden_side - 10
    assert np.median(error[hidden]) < 0.4 * np.median(mean_error[hidden])


def test_what_the_model_cannot_say_is_still_kept_where_it_is_seen(model: FaceModel) -> None:
    coordinate, truth = person(model, 5)
    bump = np.exp(-((coordinate - [30.0, -40.0, 50.0]) ** 2).sum(1) / (2 * 12.0**2))
    truth = truth + 4.0 * bump[:, None] * [0.0, 0.0, 1.0]
    mesh = complete(model, coordinate, truth, grey(len(truth)))
    _, used = grid_faces(model.inside)
    number = np.full(model.inside.size, -1)
    number[np.flatnonzero(model.inside)] = np.arange(model.inside.sum())
    error = np.linalg.norm(mesh.vertices * 1000.0 - truth[number[used]], axis=1)
    assert np.median(error[bump[number[used]] > 0.5]) < 0.5


def test_wrong_correspondences_do_not_bend_the_face(model: FaceModel) -> None:
    coordinate, truth = person(model, 6)
    clean = complete(model, coordinate, truth, grey(len(truth)))
    random = np.random.default_rng(0)
    wrong = random.choice(len(truth), len(truth) // 20, replace=False)
    spoiled = truth.copy()
    spoiled[wrong] += random.normal(0, 60, (len(wrong), 3))
    moved = np.linalg.norm(
        complete(model, coordinate, spoiled, grey(len(truth))).vertices - clean.vertices, axis=1
    )
    assert np.median(moved) < 0.0006 and np.percentile(moved, 99) < 0.006


def test_nothing_seen_gives_the_mean_face(model: FaceModel) -> None:
    mesh = complete(model, np.zeros((0, 3)), np.zeros((0, 3)), grey(0))
    _, used = grid_faces(model.inside)
    np.testing.assert_allclose(mesh.vertices * 1000, model.mean.reshape(-1, 3)[used], atol=1e-3)


def test_hidden_colours_come_from_the_other_side(model: FaceModel) -> None:
    coordinate, truth = person(model, 7)
    seen = coordinate[:, 0] > 0
    colors = np.full((int(seen.sum()), 3), (200, 120, 40), np.uint8)
    mesh = complete(model, coordinate[seen], truth[seen], colors)
    assert np.abs(np.median(mesh.colors, axis=0) - [200, 120, 40]).max() <= 2
    assert (mesh.colors.astype(int).sum(1) > 100).all(), "no black cell is left"


def test_sampling_undoes_splatting() -> None:
    random = np.random.default_rng(0)
    cells = np.stack(np.meshgrid(np.arange(8.0), np.arange(8.0)), -1).reshape(-1, 2)
    values = random.normal(size=(64, 2))
    grid, weight = splat(cells, values, 8)
    np.testing.assert_allclose(weight, 1)
    np.testing.assert_allclose(sample(grid, cells), values, atol=1e-12)


@pytest.mark.parametrize("tensors", [{}, {"range": np.zeros(2, np.float32)}])
def test_a_file_of_another_version_is_refused(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    data = save(tensors)
    (tmp_path / "completion.safetensors").write_bytes(data)
    entry = WeightsFile(hashlib.sha256(data).hexdigest(), len(data), "Apache-2.0")
    files = MappingProxyType({"completion.safetensors": entry})
    weights = Weights(tmp_path, Manifest("1", "today", files, MappingProxyType({}), MappingProxyType({})))
    with pytest.raises(WeightsError, match="version"):
        load_face_model(weights)
