"""The head's fit: what it tells of heads that it did not learn from, and that it never does worse than the mean."""

from dataclasses import replace

import numpy as np
import pytest
from heads import head_model, needs_assets
from heads import sample as blank

from facecli.blendshapes import SHAPES, load_regressor, load_shapes
from facecli.complete import FaceModel, Surface
from facecli.completion import fingerprint
from facecli.errors import InputError
from facecli.grid import sample
from facecli.train import expression as module
from facecli.train.completion import on_grid
from facecli.train.expression import Looks, accuracy, fit, mirrored, places, seen, to_file, trained_for
from facecli.train.sample import lively_expression
from facecli.train.shards import pack, unpack
from facecli.train.unwrap import unwrap
from facecli.weights import load_template, load_weights

NOISE_MM = 0.7


@pytest.fixture(scope="module")
def cells(model: FaceModel) -> np.ndarray:
    return places(load_template(load_weights()), model)


@pytest.fixture(scope="module")
def looks(model: FaceModel, cells: np.ndarray) -> Looks:
    """Exact heads, each point a little off, their openings unknown; each with its mirror image."""
    head, place, rng = head_model(), unwrap(head_model()), np.random.default_rng(4)
    at = cells.astype(np.float64)
    found = []
    for _ in range(150):
        weights = lively_expression(rng, head.expression_names)
        grid = on_grid(place, head.vertices(rng.normal(0, 1, len(head.identity)), weights))
        change = grid - model.mean + rng.normal(0, NOISE_MM, grid.shape)
        found += [(sample(change, at), np.zeros(9), weights), mirrored(change, np.zeros(9), weights, at)]
    offsets, openings, weights = (np.stack(part) for part in zip(*found, strict=True))
    return Looks(offsets.astype(np.float32), openings, weights.astype(np.float64))


def part(looks: Looks, which: slice) -> Looks:
    return Looks(looks.offsets[which], looks.openings[which], looks.weights[which])


def test_mirrored_names() -> None:
    assert [SHAPES[k] for k in module.MIRRORED[module.MIRRORED]] == list(SHAPES)
    named = {name: SHAPES[k] for name, k in zip(SHAPES, module.MIRRORED, strict=True)}
    assert named["mouthSmile_L"] == "mouthSmile_R" and named["jawLeft"] == "jawRight"
    assert named["mouthRight"] == "mouthLeft" and named["jawOpen"] == "jawOpen"


@needs_assets
def test_held_back_heads_are_told_better_than_by_the_mean(
    model: FaceModel, cells: np.ndarray, looks: Looks
) -> None:
    regressor, guess = fit(model, load_shapes(load_weights(), model), cells, part(looks, slice(0, 220)))
    kept = part(looks, slice(220, None))
    told = []
    for offsets, openings in zip(kept.offsets, kept.openings, strict=True):
        slopes = np.tensordot(offsets.astype(np.float64), regressor.by_place, 2)
        told.append(np.clip(regressor.usual + slopes + openings @ regressor.by_opening, 0, 1))
    found = accuracy(np.stack(told), kept.weights, looks.weights[:220].mean(0))
    assert (found.error**2).sum() < 0.75 * (found.error_of_usual**2).sum()
    assert found.correlation[[SHAPES.index(name) for name in ("jawOpen", "mouthSmile_L")]].min() > 0.7
    promised = (guess.error**2).sum() / (guess.error_of_usual**2).sum()
    assert promised == pytest.approx((found.error**2).sum() / (found.error_of_usual**2).sum(), abs=0.15)


@needs_assets
def test_what_cannot_be_told_is_the_mean(model: FaceModel, cells: np.ndarray, looks: Looks) -> None:
    order = np.random.default_rng(0).permutation(len(looks.weights) // 2)
    others = looks.weights.reshape(-1, 2, len(SHAPES))[order].reshape(looks.weights.shape)
    regressor, found = fit(model, load_shapes(load_weights(), model), cells, replace(looks, weights=others))
    silent = np.abs(regressor.by_place).max((0, 1)) == 0
    assert silent.mean() > 0.7
    np.testing.assert_allclose(regressor.usual[silent], others.mean(0)[silent], atol=1e-6)
    assert (found.error**2).sum() < 1.02 * (found.error_of_usual**2).sum()


@needs_assets
def test_the_fit_is_repeatable_and_its_file_reads_back(
    model: FaceModel, cells: np.ndarray, looks: Looks, tmp_path
) -> None:
    from test_blendshapes import _weights

    shapes = load_shapes(load_weights(), model)
    first, again = (to_file(fit(model, shapes, cells, looks)[0], model) for _ in range(2))
    assert first == again and len(first) < 300_000
    assert trained_for(first) == fingerprint(model.modes) and trained_for(b"nonsense") == ""
    regressor = fit(model, shapes, cells, looks)[0]
    back = load_regressor(_weights(tmp_path, first, "expression.safetensors"), model)
    face = Surface(model.mean + shapes.offset(model, looks.weights[0]), np.ones(model.mean.shape[:2]))
    ours, theirs = (each.weights(model, face, np.zeros(9)) for each in (regressor, back))
    np.testing.assert_allclose(ours, theirs, atol=5e-3)


def test_shards_keep_expressions_and_older_ones_have_none(tmp_path) -> None:
    weights = np.linspace(0, 1, len(SHAPES)).astype(np.float32)
    (tmp_path / "000000.npz").write_bytes(pack([replace(blank(), expression=weights), blank()]))
    with_one, without = unpack(tmp_path / "000000.npz")
    np.testing.assert_array_equal(with_one.expression, weights)
    assert without.expression is None
    with np.load(tmp_path / "000000.npz") as archive:
        np.savez(tmp_path / "000001.npz", **{key: archive[key] for key in archive if key != "expressions"})
    assert [each.expression for each in unpack(tmp_path / "000001.npz")] == [None, None]


def test_shards_without_a_face_or_an_expression_are_refused(tmp_path) -> None:
    (tmp_path / "000000.npz").write_bytes(pack([blank()]))
    with pytest.raises(InputError, match="no sample with a known expression"):
        seen(tmp_path, load_weights(), 5)
