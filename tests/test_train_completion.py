"""The completed face of people whom nobody measured before, from perfect maps at four angles."""

from dataclasses import dataclass

import numpy as np
import pytest
from heads import head_model, needs_assets, random_head, reconstructor, view

from facecli.complete import load_face_model
from facecli.crop import CROP
from facecli.detect import Detection
from facecli.grid import sample
from facecli.images import Image
from facecli.train.completion import learn, on_grid
from facecli.train.scan import similarity
from facecli.train.unwrap import unwrap
from facecli.weights import load_weights

pytestmark = needs_assets
NO_DETECTION = Detection(np.zeros(4), np.zeros((5, 2)), 1.0, 0.0, 1.0)


@dataclass(frozen=True)
class Errors:
    """mm. `visible`: of the vertices that the photo shows well, along the normal, to the pixel mesh; `hidden`: of the
    others to the true place of the same point after a similarity fit of the visible ones, and so the mean face's."""

    visible: np.ndarray
    hidden: np.ndarray
    mean_face: np.ndarray


@pytest.fixture(scope="module")
def place():
    return unwrap(head_model())


def test_between_its_vertices_a_head_is_as_curved_as_its_normals_say(place):
    """Cheeks of flat triangles would have facets on every face."""
    outwards = head_model().neutral - np.array([0.0, -10.0, -10.0])
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    flat, curved = (
        np.abs(np.linalg.norm(on_grid(place, 100 * outwards, normals), axis=2) - 100)
        for normals in (None, outwards)
    )
    skin = place.drawn.copy()
    skin.reshape(-1)[place.bag] = False
    assert np.percentile(flat[skin], 95) > 0.05
    assert np.percentile(curved[skin], 95) < 0.1 * np.percentile(flat[skin], 95)


def errors(place, seed, yaw):
    """Reconstruct one person from what a perfect network would see."""
    model = load_face_model(load_weights())
    vertices = random_head(seed)
    shot = view(vertices, yaw=yaw)
    made = reconstructor()
    made.model, made.whole = model, True
    photo = Image(np.full((900, 1200, 3), 128, np.uint8))
    face = made._assemble(photo, shot.camera, NO_DETECTION, shot.look(), {})
    cells = model.cells.astype(np.float64)
    ours = face.pose.to_camera(face.complete.vertices.astype(np.float64) * 1000)
    truth = shot.pose.to_camera(sample(on_grid(place, vertices), cells))
    pixels = face.pose.to_camera(face.mesh.vertices.astype(np.float64) * 1000)
    depth = np.full((CROP, CROP), np.nan)
    column, row = np.rint(face.mesh.uv.astype(np.float64) * CROP - 0.5).astype(int).T
    depth[row, column] = pixels[:, 2]
    at = shot.crop.to_crop(shot.camera.project(ours))
    there = sample(depth[..., None], at)[:, 0]
    normal = face.complete.normals.astype(np.float64) @ face.pose.rotation.T
    sight = -ours / np.linalg.norm(ours, axis=1, keepdims=True)
    off = np.abs(there - ours[:, 2]) * np.abs(np.einsum("ij,ij->i", normal, sight))
    visibility = sample(face.skin.visibility[4::8, 4::8, None].astype(float), cells)[:, 0]
    skin = ~model.lips[
        np.rint(cells[:, 1]).astype(int).clip(0, 127), np.rint(cells[:, 0]).astype(int).clip(0, 127)
    ]
    well = (sample(face.skin.surface.seen[..., None], cells)[:, 0] > 0.99) & np.isfinite(off) & skin
    hidden = (visibility < 10) & (sample(face.skin.surface.seen[..., None], cells)[:, 0] < 0.01) & skin
    # Neither size nor distance can be known: lay both onto the truth by what the photo shows.
    mean = sample(model.mean.astype(np.float64), cells)
    placed, fitted = (similarity(each[well], truth[well])(each) for each in (ours, mean))
    return Errors(
        off[well],
        np.linalg.norm(placed - truth, axis=1)[hidden],
        np.linalg.norm(fitted - truth, axis=1)[hidden],
    )


@pytest.mark.parametrize("yaw", [0.0, 30.0, 60.0, 90.0])
def test_what_is_seen_is_followed_and_what_is_hidden_is_nearer_than_the_mean_face(place, yaw):
    measured = [errors(place, seed, yaw) for seed in (901, 902)]
    visible = np.concatenate([each.visible for each in measured])
    assert len(visible) > 3000
    assert np.median(visible) < 0.1 and np.percentile(visible, 95) < 0.3
    hidden, mean_face = (np.concatenate([getattr(e, k) for e in measured]) for k in ("hidden", "mean_face"))
    assert np.median(hidden) < 0.7 * np.median(mean_face)


def test_the_packaged_model_is_what_the_command_learns():
    ours, packaged = learn(head_model()), load_face_model(load_weights())
    np.testing.assert_array_equal(ours.cells, packaged.cells)
    np.testing.assert_allclose(ours.mean, packaged.mean, atol=1e-4)
    for mine, theirs in zip(ours.groups, packaged.groups, strict=True):
        np.testing.assert_array_equal(mine.quads, theirs.quads)
        np.testing.assert_array_equal(mine.triangles, theirs.triangles)
    # Modes are defined up to sign and to turns among equals: compare the covariance they span.
    a, b = (np.float64(m.modes.reshape(len(m.modes), -1)[:, ::97]) for m in (ours, packaged))
    np.testing.assert_allclose(a.T @ a, b.T @ b, atol=0.1)


def test_the_grid_is_the_template(place):
    model = head_model()
    neutral = on_grid(place, model.neutral.astype(np.float64))
    inside = np.zeros(neutral.shape[:2], bool)
    column, row = np.rint(place.cells).astype(int).T
    inside[row, column] = True
    cells = place.chart.cells(neutral.reshape(-1, 3)).reshape(*neutral.shape[:2], 2)
    wanted = np.stack(np.meshgrid(np.arange(128), np.arange(128)), -1)
    off = np.abs(cells - wanted).max(-1)[inside & place.drawn]
    assert np.median(off) < 0.05 and np.percentile(off, 97) < 0.2, "but for the lips' edges"
    there = inside & place.drawn
    np.testing.assert_allclose((neutral[:, ::-1] * [-1, 1, 1])[there], neutral[there], atol=0.4)


def test_the_corners_of_the_mouth_are_on_the_face(place):
    """Through the ends of the slit one sees into the mouth; the vertices there once lay 12 mm deep."""
    neutral = on_grid(place, head_model().neutral.astype(np.float64))
    rows, columns = np.divmod(place.bag[:, 0], 128)
    for end, step in ((columns.min(), -1), (columns.max(), 1)):
        (row,) = rows[columns == end]
        beside = neutral[[row - 1, row, row, row + 1], [end + step, end, end + 2 * step, end + step]]
        assert np.linalg.norm(neutral[row, end + step] - beside, axis=-1).max() < 2.5
