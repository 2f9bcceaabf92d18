"""The whole face from its visible part: the packaged model, on heads that the model itself can and cannot say."""

import hashlib
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from safetensors.numpy import save

from facecli.complete import (
    GROUPS,
    FaceModel,
    Rims,
    Surface,
    complete,
    load_face_model,
    load_geometry,
    to_mesh,
)
from facecli.errors import WeightsError
from facecli.grid import sample
from facecli.mesh import Mesh
from facecli.rims import rim_points
from facecli.weights import Manifest, Weights, WeightsFile, load_template, load_weights


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model(load_weights())


def inner(model: FaceModel) -> np.ndarray:
    """Flat cells well inside the face, not of the mouth: what a photo could show."""
    size = model.mean.shape[0]
    column, row = np.rint(model.cells).astype(int).T
    used = np.zeros((size, size), bool)
    used[row, column] = True
    used[:, :3] = used[:, -3:] = used[:2] = used[-2:] = False
    return np.flatnonzero(used & ~model.lips)


def person(model: FaceModel, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A random head of the model: template coordinates and positions of its inner cells, mm."""
    import cv2

    weights = np.random.default_rng(seed).normal(0, 1, len(model.modes)).astype(np.float32)
    size = model.mean.shape[:2]
    offset = cv2.resize(np.tensordot(weights, model.modes, 1), size, interpolation=cv2.INTER_CUBIC)
    cells = inner(model)
    row, column = np.divmod(cells, size[0])
    coordinate = sample(model.mean.astype(np.float64), np.stack([column, row], 1).astype(float))
    # Where the chart puts a coordinate is where its position belongs.
    where = model.chart.cells(coordinate)
    return coordinate, sample((model.mean + offset).astype(np.float64), where)


def dense(model: FaceModel, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The same with four pixels in each cell."""
    coordinate, points = person(model, seed)
    return np.repeat(coordinate, 4, axis=0), np.repeat(points, 4, axis=0)


def grey(model: FaceModel) -> np.ndarray:
    return np.full((len(model.cells), 3), 128, np.uint8)


def mesh_of(model: FaceModel, coordinate: np.ndarray, points: np.ndarray) -> Mesh:
    return to_mesh(model, complete(model, coordinate, points), grey(model))


def test_every_face_has_the_same_topology(model: FaceModel) -> None:
    meshes = [mesh_of(model, *dense(model, seed)) for seed in (1, 2)]
    assert np.array_equal(meshes[0].faces, meshes[1].faces)
    assert np.array_equal(meshes[0].uv, meshes[1].uv)
    assert meshes[0].groups is meshes[1].groups
    assert 10_000 < len(meshes[0].vertices) == len(meshes[1].vertices) < 20_000
    assert not np.allclose(meshes[0].vertices, meshes[1].vertices, atol=1e-3)


def edges_of(polygons: np.ndarray) -> np.ndarray:
    count = polygons.shape[1]
    return np.concatenate([polygons[:, [k, (k + 1) % count]] for k in range(count)])


def test_the_groups_tile_the_mesh_with_quads_above_all(model: FaceModel) -> None:
    assert tuple(group.name for group in model.groups) == GROUPS
    quads = sum(len(group.quads) for group in model.groups)
    triangles = sum(len(group.triangles) for group in model.groups)
    assert quads > 100 * triangles > 0
    assert len(model.faces) == 2 * quads + triangles
    edges = np.concatenate(
        [edges_of(part) for group in model.groups for part in (group.quads, group.triangles)]
    )
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert count.max() == 1, "each edge once in each direction: one orientation, no edge of three"
    both = {tuple(edge) for edge in edges}
    rim = [edge for edge in both if edge[::-1] not in both]
    following = dict(rim)
    assert len(following) == len(rim), "the rim never touches itself"
    start = at = rim[0][0]
    steps = 0
    while steps == 0 or at != start:
        at, steps = following[at], steps + 1
    assert steps == len(rim), "one rim: eyes and mouth are closed"
    assert len(model.cells) - len({tuple(sorted(edge)) for edge in both}) + quads + triangles == 1, "a disc"


def test_no_polygon_is_folded_in_the_texture(model: FaceModel) -> None:
    a, b, c = (model.uv[corner].astype(float) for corner in model.faces.T)
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    cell = 0.5 / model.mean.shape[0] ** 2
    assert (-area / 2).min() > 0.05 * cell, "counter-clockwise from outside: v points down"
    assert (-area / 2).max() < 3 * cell
    assert model.uv.min() >= 0 and model.uv.max() <= 1


def test_left_is_the_mirror_image_of_right(model: FaceModel) -> None:
    size = model.mean.shape[0]
    twin = model.cells * [-1, 1] + [size - 1, 0]
    order, mirrored = np.lexsort(model.cells.T.round(3)), np.lexsort(twin.T.round(3))
    np.testing.assert_allclose(model.cells[order], twin[mirrored], atol=2e-3)
    partner = np.empty(len(twin), int)
    partner[mirrored] = order

    def outlines(polygons: np.ndarray) -> set[tuple[int, ...]]:
        return {tuple(sorted(polygon)) for polygon in polygons.tolist()}

    for group, other in zip(model.groups, (0, 2, 1, 3), strict=True):
        for kind in ("quads", "triangles"):
            assert outlines(partner[getattr(group, kind)]) == outlines(getattr(model.groups[other], kind))
    across = model.cells[model.faces, 0]
    beside = model.faces[(across > (size - 1) / 2).all(1) | (across < (size - 1) / 2).all(1)]
    assert outlines(partner[beside]) == outlines(beside), "and so are the diagonals"


def test_the_rim_is_smooth(model: FaceModel) -> None:
    edges = np.concatenate(
        [edges_of(part) for group in model.groups for part in (group.quads, group.triangles)]
    )
    both = {tuple(edge) for edge in edges}
    following = dict(edge for edge in both if edge[::-1] not in both)
    loop = [next(iter(following))]
    while following[loop[-1]] != loop[0]:
        loop.append(following[loop[-1]])
    step = np.diff(model.cells[[*loop, loop[0]]].astype(float), axis=0)
    heading = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
    assert np.degrees(np.abs(np.diff(heading)).max()) < 30, "a staircase has corners of 45 and 90"


def test_surface_is_outward_and_eyes_and_mouth_are_where_they_belong(model: FaceModel) -> None:
    mesh = mesh_of(model, *dense(model, 3))
    assert np.array_equal(np.unique(mesh.faces), np.arange(len(mesh.vertices)))
    assert (mesh.normals[:, 2] > 0).mean() > 0.8
    nose = mesh.vertices[np.argmax(mesh.vertices[:, 2])]
    assert abs(nose[0]) < 0.015 and mesh.vertices[:, 1].max() > 0.05
    middle = {group.name: mesh.vertices[np.unique(group.quads)].mean(0) * 1000 for group in mesh.groups[1:]}
    assert middle["right_eye"][0] < -20 < 20 < middle["left_eye"][0], "the subject's right has negative x"
    assert abs(middle["right_eye"][1] - middle["left_eye"][1]) < 8
    assert middle["mouth"][1] < middle["left_eye"][1] - 40 and abs(middle["mouth"][0]) < 8


def error_at(model: FaceModel, surface: Surface, coordinate: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Distance (mm) of the surface to the truth, at places of the template."""
    return np.linalg.norm(sample(surface.positions, model.chart.cells(coordinate)) - points, axis=1)


@pytest.mark.parametrize("hidden_side", [0.0, 20.0])
def test_the_visible_side_is_kept_and_the_hidden_side_is_close(model: FaceModel, hidden_side: float) -> None:
    coordinate, truth = dense(model, 4)
    seen = coordinate[:, 0] > hidden_side
    error = error_at(model, complete(model, coordinate[seen], truth[seen]), coordinate, truth)
    deep = coordinate[:, 0] > hidden_side + 10
    assert np.median(error[deep]) < 0.1 and np.percentile(error[deep], 90) < 0.3
    mean_error = error_at(model, complete(model, coordinate[:0], truth[:0]), coordinate, truth)
    hidden = coordinate[:, 0] < hidden_side - 10
    assert np.median(error[hidden]) < 0.4 * np.median(mean_error[hidden])


def test_what_the_model_cannot_say_is_still_kept_where_it_is_seen(model: FaceModel) -> None:
    coordinate, truth = dense(model, 5)
    bump = np.exp(-((coordinate - [30.0, -40.0, 50.0]) ** 2).sum(1) / (2 * 12.0**2))
    truth = truth + 4.0 * bump[:, None] * [0.0, 0.0, 1.0]
    error = error_at(model, complete(model, coordinate, truth), coordinate, truth)
    assert np.median(error[bump > 0.5]) < 0.1


def test_wrong_correspondences_do_not_bend_the_face(model: FaceModel) -> None:
    coordinate, truth = dense(model, 6)
    clean = mesh_of(model, coordinate, truth)
    random = np.random.default_rng(0)
    wrong = random.choice(len(truth), len(truth) // 20, replace=False)
    spoiled = truth.copy()
    spoiled[wrong] += random.normal(0, 60, (len(wrong), 3))
    moved = np.linalg.norm(mesh_of(model, coordinate, spoiled).vertices - clean.vertices, axis=1)
    assert np.median(moved) < 0.0006 and np.percentile(moved, 99) < 0.006


def test_a_face_does_not_follow_correspondences_that_slide(model: FaceModel) -> None:
    """Each pixel's place on the template is off along the skin by as much as maps are; the surface is exact."""
    import cv2

    coordinate, truth = dense(model, 5)
    random, size = np.random.default_rng(1), model.mean.shape[0]
    field = cv2.GaussianBlur(random.normal(size=(size, size, 2)).astype(np.float32), (0, 0), 5)
    cells = model.chart.cells(coordinate)
    slid = cells + sample(field / field.std(), cells)
    there = sample(model.mean.astype(np.float64), slid)
    surface = complete(model, there, truth)
    off = sample(surface.positions, cells) - truth
    normal = sample(model.normals, cells)
    across = np.abs(np.einsum("ij,ij->i", off, normal))
    followed = np.linalg.norm(sample(model.mean.astype(np.float64), slid) - coordinate, axis=1)
    assert np.median(followed) > 1.8
    assert np.median(np.linalg.norm(off, axis=1)) < 0.6 * np.median(followed)
    assert np.median(across) < 0.5


def test_two_surfaces_in_one_cell_make_no_spike(model: FaceModel) -> None:
    """Beside a nostril some pixels are of the wing and some of the cheek behind it."""
    coordinate, truth = dense(model, 4)
    random = np.random.default_rng(0)
    wing = load_template(load_weights()).landmarks[35]
    beside = np.linalg.norm(coordinate - wing, axis=1) < 5
    mixed = truth + (beside & (random.random(len(truth)) < 0.5))[:, None] * [0.0, 0.0, -9.0]
    clean, spoiled = (complete(model, coordinate, points).positions for points in (truth, mixed))
    moved = np.linalg.norm(spoiled - clean, axis=2)
    assert beside.sum() > 50
    assert moved.max() < 1


def ribs(model: FaceModel, change: np.ndarray) -> float:
    """How unevenly neighbouring cells of the inner face are moved, mm: second differences, the worst in 100."""
    across = np.linalg.norm(np.diff(change, 2, axis=1), axis=2)
    down = np.linalg.norm(np.diff(change, 2, axis=0), axis=2)
    uneven = np.maximum(np.pad(across, ((0, 0), (1, 1))), np.pad(down, ((1, 1), (0, 0))))
    return float(np.percentile(uneven.reshape(-1)[inner(model)], 99))


def test_what_is_finer_than_a_lid_stays_the_models(model: FaceModel) -> None:
    """Maps blur lids, and the wings of noses: as fine as those, what they say is no shape."""
    coordinate, truth = dense(model, 4)
    wave = 0.8 * np.sin(coordinate[:, 0] * 2 * np.pi / 4.0) * (coordinate[:, 2] > 40)
    clean, wavy = (
        complete(model, coordinate, truth + wave[:, None] * [0.0, 0.0, z]).positions for z in (0.0, 1.0)
    )
    assert ribs(model, wavy - clean) < 0.15


def test_pixels_that_thin_out_leave_no_ribs(model: FaceModel) -> None:
    """Where a cheek turns away a column of cells has pixels, and the next one none."""
    coordinate, truth = dense(model, 4)
    bent = truth + np.clip(coordinate[:, :1] / 10, 0, 4) * [0.0, 0.0, 1.0]
    column = np.rint(model.chart.cells(coordinate)[:, 0]).astype(int)
    kept = (coordinate[:, 0] < 25) | ((column % 3 == 0) & (coordinate[:, 0] < 45))
    clean, thinned = (complete(model, coordinate[kept], points[kept]).positions for points in (truth, bent))
    assert ribs(model, thinned - clean) < 0.25


def test_nothing_seen_gives_the_mean_face(model: FaceModel) -> None:
    surface = complete(model, np.zeros((0, 3)), np.zeros((0, 3)))
    outside = ~model.mouth
    np.testing.assert_allclose(surface.positions[outside], model.mean[outside], atol=1e-3)
    assert not surface.seen.any()


def test_teeth_do_not_become_lips(model: FaceModel) -> None:
    coordinate, truth = dense(model, 7)
    clean = mesh_of(model, coordinate, truth)
    lips = np.linalg.norm(coordinate - [0.0, -70.0, 74.0], axis=1) < 15
    deeper = [0.0, 0.0, -12.0]
    spoiled = mesh_of(
        model,
        np.concatenate([coordinate, coordinate[lips] + deeper]),
        np.concatenate([truth, truth[lips] + deeper]),
    )
    assert np.abs(spoiled.vertices - clean.vertices).max() < 0.0005


def test_lips_part_without_a_tear(model: FaceModel) -> None:
    """A face of the model with its mouth as wide open as three standard deviations can make it."""
    import cv2

    size = model.mean.shape[0]
    wide = np.stack([cv2.resize(mode, (size, size), interpolation=cv2.INTER_CUBIC) for mode in model.modes])
    cell, top, bottom = model.bag.T
    opening = wide.reshape(len(wide), -1, 3)[:, top, 1] - wide.reshape(len(wide), -1, 3)[:, bottom, 1]
    weights = opening.mean(1)
    truth = model.mean + np.tensordot(3 * weights / np.linalg.norm(weights), wide, 1)
    coordinate = sample(model.mean.astype(np.float64), np.argwhere(~model.mouth)[:, ::-1].astype(float))
    coordinate = np.repeat(coordinate, 4, axis=0)
    points = sample(truth.astype(np.float64), model.chart.cells(coordinate))
    surface = complete(model, coordinate, points)
    flat = surface.positions.reshape(-1, 3)
    middle = np.abs(flat[top, 0]) < 5
    wanted = (truth.reshape(-1, 3)[top, 1] - truth.reshape(-1, 3)[bottom, 1])[middle]
    assert wanted.min() > 5
    assert np.abs((flat[top, 1] - flat[bottom, 1])[middle] - wanted).max() < 2.5
    gap = flat[bottom] - flat[top]
    share = np.einsum("ij,ij->i", (flat[cell] - flat[top])[:, :2], gap[:, :2]) / np.square(gap[:, :2]).sum(1)
    back = flat[top] + gap * share[:, None] - flat[cell]
    assert (share > 0).all() and (share < 1).all()
    assert np.abs(back[:, :2]).max() < 1e-4 and (back[:, 2] > 0).all(), "a box behind the lips"
    deepest = back[middle, 2].max()
    assert deepest > 5
    within = middle & (share > 0.25) & (share < 0.75) & (bottom - top == (bottom - top).max())
    assert back[within, 2].min() > 0.9 * deepest, "flat, as teeth are"


@pytest.mark.parametrize("tensors", [{}, {"range": np.zeros(2, np.float32)}])
def test_a_file_of_another_version_is_refused(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    data = save(tensors)
    (tmp_path / "completion.safetensors").write_bytes(data)
    entry = WeightsFile(hashlib.sha256(data).hexdigest(), len(data), "Apache-2.0")
    files = MappingProxyType({"completion.safetensors": entry})
    weights = Weights(tmp_path, Manifest("1", "today", files, MappingProxyType({}), MappingProxyType({})))
    with pytest.raises(WeightsError, match="version"):
        load_face_model(weights)


EYE = np.array([0.0, 0.0, 800.0])
"""A camera before the face, mm."""


@pytest.mark.parametrize("beside", [False, True])
def test_known_rims_part_lips_that_the_pixels_keep_shut(model: FaceModel, beside: bool) -> None:
    coordinate, points = dense(model, 3)
    if beside:
        lips = model.mean[model.lips & ~model.mouth].astype(np.float64)
        shift = points[coordinate[:, 1] < -90].mean(0) - coordinate[coordinate[:, 1] < -90].mean(0)
        coordinate, points = np.concatenate([coordinate, lips]), np.concatenate([points, lips + shift])
    template = load_template(load_weights()).landmarks.astype(np.float64)
    every = np.ones(68, bool)
    places, rims = template.copy(), rim_points(template, every, 0.7)
    places[[65, 66, 67]] -= [0.0, 12.0, 0.0]  # the lower lip alone
    cells = np.rint(model.chart.cells(template[[62, 66]] + [[0, 0.7, 0], [0, -0.7, 0]])).astype(int)
    gaps = []
    for known in (None, rim_points(template, every), rim_points(places, every)):
        seen = None if known is None else Rims(rims, known, EYE)
        surface = complete(model, coordinate, points, seen)
        upper, lower = surface.positions[cells[:, 1], cells[:, 0]]
        gaps.append(upper[1] - lower[1])
    shut, resting, wide = gaps
    assert wide - resting == pytest.approx(12, abs=2.5 if beside else 1.5)
    assert abs(resting - shut) < 2


@pytest.mark.parametrize("side", [0.0, 600.0])
def test_rims_say_where_lids_and_lips_are_seen_and_not_how_deep(model: FaceModel, side: float) -> None:
    coordinate, points = dense(model, 3)
    template = load_template(load_weights()).landmarks.astype(np.float64)
    every, eye = np.ones(68, bool), EYE + np.array([side, 0.0, 0.0])
    known = rim_points(template, every)
    sight = (known - eye) / np.linalg.norm(known - eye, axis=1, keepdims=True)
    rims = [Rims(rim_points(template, every, 0.7), known + 6 * far * sight, eye) for far in (0.0, 1.0)]
    near, farther = (complete(model, coordinate, points, each).positions for each in rims)
    moved = np.linalg.norm(farther - near, axis=2)[~model.mouth]
    assert moved.max() < 2 and np.median(moved) < 0.3, "a little, as they are points of the face all the same"


def test_a_model_without_its_network_completes_nothing() -> None:
    with pytest.raises(ValueError, match="no completion network"):
        complete(load_geometry(load_weights()), np.zeros((0, 3)), np.zeros((0, 3)))


def test_the_same_pixels_make_the_same_bytes(model: FaceModel) -> None:
    coordinate, points = dense(model, 4)
    again = load_face_model(load_weights())
    first, second = (complete(each, coordinate, points).positions for each in (model, again))
    assert first.tobytes() == second.tobytes()


def test_pixels_that_are_not_believed_say_less_of_what_is_hidden(model: FaceModel) -> None:
    coordinate, truth = dense(model, 6)
    seen = coordinate[:, 0] > 0
    spoiled = truth[seen].copy()
    wrong = coordinate[seen, 1] < -40
    spoiled[wrong] += [0.0, 0.0, 12.0]
    hidden = coordinate[:, 0] < -10
    off = [
        np.median(
            error_at(model, complete(model, coordinate[seen], spoiled, None, doubt), coordinate, truth)[
                hidden
            ]
        )
        for doubt in (None, np.where(wrong, 0.05, 1.0))
    ]
    assert off[1] < 0.7 * off[0]


def test_no_rims_change_nothing(model: FaceModel) -> None:
    coordinate, points = dense(model, 4)
    without = complete(model, coordinate, points)
    none = np.zeros((0, 3))
    np.testing.assert_array_equal(
        complete(model, coordinate, points, Rims(none, none, EYE)).positions, without.positions
    )
