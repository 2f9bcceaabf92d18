"""What of a head is the face region."""

import numpy as np
from heads import head_model, needs_assets

from facecli.train.headmodel import FACE_VERTICES
from facecli.train.lift import front_vertices, region_vertices
from facecli.train.raster import interpolate, rasterize, vertex_normals

pytestmark = needs_assets


def test_the_region_reaches_the_jaw_and_the_chin():
    model = head_model()
    assert region_vertices(model)[model.landmark_vertices].all()
    assert not (region_vertices(model) & ~front_vertices(model)).any()


def test_the_region_has_no_throat_and_little_that_faces_down():
    model = head_model()
    skin = np.flatnonzero(region_vertices(model)[:FACE_VERTICES])
    down = -vertex_normals(model.neutral, model.faces)[skin, 1]
    low = model.neutral[skin, 1] < -75
    assert model.neutral[skin, 1].min() > -117
    assert np.mean(down[low] > 0.8) < 0.04


def test_the_region_is_as_wide_left_as_right():
    model = head_model()
    x = model.neutral[region_vertices(model), 0]
    assert abs(x.min() + x.max()) < 0.5


def test_seen_from_the_front_the_region_ends_at_the_chin():
    """The throat below the chin faces the camera as well, and was half of what the old region had there."""
    model = head_model()
    camera = model.neutral * [1, -1, -1] + [0, 0, 900]
    pixels = camera[:, :2] / camera[:, 2:] * 1050 + [255.5, 255.5]
    index, bary, _ = rasterize(pixels, camera[:, 2], model.faces, 512, 512)
    channels = np.c_[model.neutral[:, 1], region_vertices(model), front_vertices(model)].astype(np.float32)
    y, region, front = np.moveaxis(interpolate(channels, model.faces, index, bary), -1, 0)
    assert y[(index >= 0) & (region > 0.5)].min() > -117.5
    assert y[(index >= 0) & (front > 0.5)].min() < -125
