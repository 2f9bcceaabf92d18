"""Tongues: where they are in the picture is where they are in space, and what lies under one is not called chin."""

from functools import lru_cache

import numpy as np
import pytest
import trimesh
from heads import head_model, needs_assets
from labels import Watched
from test_train_synth import synthesizer

from facecli.train import synth
from facecli.train.headmodel import GUMS
from facecli.train.raster import rasterize
from facecli.train.sample import euler
from facecli.train.tongue import LIP_TO_CHIN, TIP, Tongue

pytestmark = needs_assets

SIZE = 256


@lru_cache(maxsize=1)
def tongue():
    return Tongue(head_model())


def open_mouth(strength):
    beta = np.zeros(len(head_model().expression_names), np.float32)
    beta[head_model().expression_names.index("jawOpen")] = strength
    return beta


def somebody(seed, strength=0.0):
    rng = np.random.default_rng(seed)
    return head_model().vertices(rng.normal(0, 0.8, len(head_model().identity)), open_mouth(strength))


def seen(vertices, lip, yaw=0.0, seed=0):
    """From 60 cm: the drawn triangles, where the tongue lies before the lip, and rays to points of the picture."""
    rotation = np.diag([1.0, -1, -1]) @ euler(np.deg2rad(yaw), 0.0)
    camera = (vertices @ rotation.T + [0, 0, 600]).astype(np.float32)
    pixels = camera[:, :2] / camera[:, 2:] * 900 + [128, 20]
    index, bary, zbuffer = rasterize(pixels, camera[:, 2], head_model().faces, SIZE, SIZE)
    flat = np.zeros((SIZE, SIZE), np.float32)
    coordinate = np.where(index[..., None] >= 0, head_model().neutral[head_model().faces[index, 0]], 0)
    colour, gloss, occlusion, height = (
        np.full((SIZE, SIZE, 3), 0.5, np.float32),
        flat + 1,
        flat + 0.5,
        flat.copy(),
    )
    out = tongue().paint(
        np.random.default_rng(seed), index, bary, coordinate, lip, 1.5, colour, gloss, occlusion, height
    )
    return camera, index, zbuffer, out, (colour, gloss, occlusion, height)


def test_the_tongue_of_the_head_model_is_found():
    drawn = tongue().drawn
    assert 800 < drawn.sum() < 1000
    assert (head_model().part[drawn] == GUMS).all()
    at = head_model().neutral[tongue().vertices]
    np.testing.assert_allclose(at[:, 0].max(), -at[:, 0].min(), atol=0.1)
    assert at[:, 2].argmax() == np.searchsorted(tongue().vertices, TIP)


@pytest.mark.parametrize("out", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_nothing_moves_but_the_tongue_and_not_where_it_is_held(seed, out):
    vertices = somebody(seed, 0.5)
    moved, _ = tongue().moved(np.random.default_rng(seed), vertices, out)
    assert moved.dtype == vertices.dtype
    still = np.ones(len(vertices), bool)
    still[tongue().vertices] = False
    floor = np.intersect1d(tongue().vertices, head_model().faces[~tongue().drawn])
    still[floor] = True
    assert len(floor) > 10
    np.testing.assert_array_equal(moved[still], vertices[still])
    assert np.linalg.norm(moved[TIP] - vertices[TIP]) > (15 if out else 0.01)


@pytest.mark.parametrize("seed", range(8))
def test_a_tongue_at_rest_stays_behind_closed_lips(seed):
    moved, lip = tongue().moved(np.random.default_rng(seed), somebody(seed), False)
    assert lip == np.inf
    _, index, _, out, _ = seen(moved, lip)
    assert not out.any()
    assert tongue().drawn[index[index >= 0]].mean() < 1e-3


@pytest.mark.parametrize("seed", range(8))
def test_a_tongue_stuck_out_lies_before_lip_and_chin(seed):
    rng = np.random.default_rng(seed)
    vertices = somebody(seed, 0.6)
    moved, lip = tongue().moved(rng, vertices, True)
    assert 0.2 < lip < 1
    profile = vertices[list(LIP_TO_CHIN)]
    own = moved[tongue().vertices]
    beyond = (tongue().station[tongue().vertices, 0] > lip + 0.1) & (np.abs(own[:, 0]) < 3)
    beyond &= own[:, 1] < profile[:, 1].max()
    assert beyond.any()
    order = np.argsort(profile[:, 1])
    skin = np.interp(own[beyond, 1], profile[order, 1], profile[order, 2])
    assert (own[beyond, 2] > skin - 1).all()
    _, _, _, out, _ = seen(moved, lip)
    assert 15 < out.sum() / 1.5**2 < 1300  # mm^2


@pytest.mark.parametrize("yaw", [0.0, 40.0, -75.0])
def test_the_tongue_is_where_a_ray_meets_it_first(yaw):
    moved, lip = tongue().moved(np.random.default_rng(4), somebody(4, 0.6), True)
    camera, index, zbuffer, out, _ = seen(moved, lip, yaw)
    surface = trimesh.Trimesh(camera, head_model().faces, process=False)
    rows, columns = np.nonzero(out)
    near = np.random.default_rng(0).permutation(len(rows))[:60]
    rows = np.clip(np.r_[rows[near], rows[near] - 9, rows[near] - 9], 0, SIZE - 1)
    columns = np.clip(np.r_[columns[near], columns[near] - 12, columns[near] + 12], 0, SIZE - 1)
    rays = np.c_[(columns - 128) / 900, (rows - 20) / 900, np.ones(len(rows))]
    places, which, triangles = surface.ray.intersects_location(np.zeros_like(rays), rays)
    # Of the surfaces that look at the camera, the nearest: back faces are not drawn.
    facing = (surface.face_normals[triangles] * rays[which]).sum(1) < 0
    places, which, triangles = places[facing], which[facing], triangles[facing]
    order = np.lexsort((places[:, 2], which))
    first = order[np.r_[True, np.diff(which[order]) > 0]]
    at = rows[which[first]], columns[which[first]]
    corners = head_model().faces[triangles[first]]
    bary = trimesh.triangles.points_to_barycentric(surface.triangles[triangles[first]], places[first])
    station = (tongue().station[corners, 0] * bary).sum(1)
    expected = tongue().drawn[triangles[first]] & (station > lip)
    assert expected.sum() > 20 and (~expected).sum() > 5
    assert (expected == out[at]).mean() > 0.98
    same = index[at] == triangles[first]
    assert same.mean() > 0.9
    np.testing.assert_allclose(1 / zbuffer[at][same], places[first][same, 2], rtol=1e-5)


def test_only_the_tongue_is_painted_and_the_skin_beneath_is_shaded():
    moved, lip = tongue().moved(np.random.default_rng(4), somebody(4, 0.6), True)
    _, index, _, out, (colour, gloss, occlusion, height) = seen(moved, lip)
    here = (index >= 0) & tongue().drawn[index]
    assert (out & ~here).sum() == 0 and (here & ~out).any()
    assert (colour[~here] == 0.5).all() and (gloss[~here] == 1).all() and (height[~here] == 0).all()
    assert (colour[here, 0] > colour[here, 2]).all()
    assert (occlusion[~here] <= 0.5).all() and (occlusion[~here] < 0.45).any()
    assert occlusion[out].mean() > occlusion[here & ~out].mean()


def test_a_parted_mouth_is_open_and_not_pursed():
    names = head_model().expression_names
    beta = np.full(len(names), 0.1, np.float32)
    parted = tongue().parted(np.random.default_rng(0), beta)
    assert parted[names.index("jawOpen")] >= 0.25
    assert parted[names.index("mouthClose")] == 0 and parted[names.index("mouthPucker")] == 0
    assert parted[names.index("mouthSmile_L")] == np.float32(0.1)
    assert (beta == np.float32(0.1)).all()


@pytest.mark.parametrize("seed", [1, 3])
def test_labels_of_a_head_with_its_tongue_out(seed, monkeypatch):
    monkeypatch.setattr(synth, "STUCK_OUT", 1.0)
    monkeypatch.setattr(synth, "DRESSED", 0.0)
    covers = []
    paint = Tongue.paint

    def painting(self, *arguments):
        covers.append(paint(self, *arguments))
        return covers[-1]

    monkeypatch.setattr(Tongue, "paint", painting)
    watched = Watched(synth, monkeypatch)
    made = synthesizer().sample(np.random.default_rng(seed), SIZE)
    watched.check(made, seed)
    out = covers[0]
    assert out.sum() > 20
    assert (made.region[out] == 0).all()
    assert (made.known[out.reshape(128, 2, 128, 2).all((1, 3))] == 0).all()
    within = (watched.index >= 0) & tongue().drawn[watched.index] & ~out
    whole = within.reshape(128, 2, 128, 2).all((1, 3)) & (made.known > 0)
    assert (made.opening[whole] == 255).all()
