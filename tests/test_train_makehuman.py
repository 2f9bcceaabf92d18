"""MakeHuman's head and the head model lie on each other, and colours arrive where they belong."""

from functools import lru_cache

import cv2
import numpy as np
import pytest
import trimesh
from heads import ASSETS, head_model, needs_assets

from facecli.train import makehuman
from facecli.train.headmodel import BACK, FACE
from facecli.train.makehuman import BACK_TEXTURE, MM, PLACES, Body
from facecli.train.raster import interpolate, rasterize

pytestmark = needs_assets
SIDE = 2048


@lru_cache(maxsize=1)
def body():
    return Body.load(ASSETS / "skins" / "makehuman_base.obj")


@lru_cache(maxsize=1)
def registered():
    return makehuman.register(head_model(), body())


@lru_cache(maxsize=1)
def charts():
    return makehuman.charts(head_model(), body())


def of_the_skin():
    model = head_model()
    return np.unique(model.faces[np.isin(model.part, (FACE, BACK))])


def test_the_body_is_a_head_with_shoulders_in_mm():
    low, high = (
        body().vertices[np.unique(body().faces)].min(0),
        body().vertices[np.unique(body().faces)].max(0),
    )
    assert (high - low)[1] == pytest.approx(330, abs=10)
    np.testing.assert_allclose(low[0], -high[0], atol=0.1)
    assert body().uv[body().corner_uv].min() >= 0 and body().uv[body().corner_uv].max() <= 1


def test_the_head_model_lies_on_makehumans_surface():
    surface = trimesh.Trimesh(body().vertices, body().faces, process=False)
    skin = of_the_skin()[::40]
    outer = skin[head_model().neutral[skin, 1] > -190]  # below, one has more of a chest than the other
    apart = trimesh.proximity.closest_point(surface, registered()[outer])[1]
    assert np.median(apart) < 0.5
    assert np.quantile(apart, 0.9) < 4  # the bag of the mouth and the sockets have nothing to lie on


def test_the_shared_points_meet():
    theirs, ours = np.split(np.loadtxt(PLACES), 2, axis=1)
    nearest = np.linalg.norm(head_model().neutral[None, of_the_skin()] - ours[:, None], axis=-1).argmin(1)
    apart = np.linalg.norm(registered()[of_the_skin()][nearest] - theirs * MM, axis=1)
    assert np.median(apart) < 3
    assert apart.max() < 9


def test_left_is_rights_mirror_image():
    twin = registered()[head_model().mirror] * [-1, 1, 1]
    apart = np.linalg.norm(registered() - twin, axis=1)[of_the_skin()]
    assert np.median(apart) < 1e-6


@pytest.mark.parametrize(("which", "part"), [(0, FACE), (1, BACK)])
def test_a_colour_is_baked_where_the_surface_lies(which, part):
    """A texture that tells each place on MakeHuman's surface: baked, it tells where the head model lies."""
    chart, model = charts()[which], head_model()
    span = np.array([[-250.0, 500, -150], [250, 900, 350]])
    flat = body().uv * [SIDE, -SIDE] + [-0.5, SIDE - 0.5]
    tells = (body().vertices - span[0]) / np.ptp(span, axis=0) * 255
    grown = np.zeros((SIDE, SIDE, 3), np.float32)
    for order in ([0, 1, 2], [0, 2, 1]):  # whichever way round a triangle lies on the texture
        index, bary, _ = rasterize(
            flat, np.ones(len(flat)), np.ascontiguousarray(body().corner_uv[:, order]), SIDE, SIDE
        )
        grown = np.maximum(
            grown, interpolate(tells, np.ascontiguousarray(body().faces[:, order]), index, bary)
        )
    rim = grown.sum(-1) == 0
    grown[rim] = cv2.dilate(grown, np.ones((5, 5)))[rim]
    told = chart.baked(np.rint(grown).astype(np.uint8)) / 255 * np.ptp(span, axis=0) + span[0]
    triangles = np.flatnonzero(model.part == part)
    size = len(chart.drawn)
    texel = (model.uv - [which, 0]) * [size, -size] + [-0.5, size - 0.5]
    index, bary, _ = rasterize(texel, np.ones(len(texel)), model.corner_uv[triangles], size, size)
    place = interpolate(registered(), model.faces[triangles], index, bary)
    np.testing.assert_array_equal(index >= 0, chart.drawn)
    front = chart.drawn & (
        np.linalg.norm(interpolate(model.neutral, model.faces[triangles], index, bary), axis=-1) > 70
    )
    apart = np.linalg.norm(told - place, axis=-1)[front]
    assert np.median(apart) < 2  # a grey value is 2 mm
    assert np.quantile(apart, 0.9) < 6


def test_beside_the_surface_is_the_nearest_of_it():
    rear = charts()[1]
    assert not rear.drawn.all()
    assert rear.uv.shape == (BACK_TEXTURE, BACK_TEXTURE, makehuman.NEAREST, 2)
    texture = np.full((64, 64, 3), 200, np.uint8)
    assert (rear.baked(texture) == 200).all()
    np.testing.assert_allclose(rear.shares.sum(-1), 1, atol=1e-6)
