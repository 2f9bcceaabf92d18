"""What of a portrait is face: told on drawn people, whose hair is known pixel by pixel."""

from functools import lru_cache

import cv2
import numpy as np
import pytest
from heads import head_model, needs_assets

from facecli.train.lift import CROP, covered, region_vertices
from facecli.train.matte import cut_out
from facecli.train.raster import interpolate, rasterize

pytestmark = needs_assets

SKIN, HAIR, WALL = (np.array(c, float) for c in ((200, 155, 130), (50, 36, 28), (120, 150, 190)))


@lru_cache(maxsize=1)
def drawn():
    """Pixels, depths, template coordinate of each pixel, and which pixels can be face."""
    model = head_model()
    camera = model.neutral * [1, -1, -1] + [0, 0, 900]
    pixels = camera[:, :2] / camera[:, 2:] * 1050 + [255.5, 275.5]
    index, bary, _ = rasterize(pixels, camera[:, 2], model.faces, CROP, CROP)
    channels = np.c_[model.neutral, region_vertices(model)].astype(np.float32)
    maps = interpolate(channels, model.faces, index, bary)
    return pixels, camera[:, 2], maps[..., :3], (maps[..., 3] > 0.5) & (index >= 0), index >= 0


def photo(hair, light=1.0, seed=0):
    """A person before a wall: skin, brows and eyes, the scalp and what `hair` says (x, y in mm) as hair."""
    _, _, coordinate, _, head = drawn()
    x, y, z = np.moveaxis(coordinate, -1, 0)
    image = np.where(head[..., None], SKIN, WALL)
    brow = (np.abs(np.abs(x) - 32) < 18) & (np.abs(y - 17) < 3)
    iris = np.hypot(np.abs(x) - 31, y + 1) < 6
    scalp = (y > 70) | ((z < 5) & (y > -40))
    hairy = head & (scalp | hair(x, y))
    image[(brow | iris) & head] = HAIR
    image[hairy] = HAIR
    noise = np.random.default_rng(seed).normal(0, 5, image.shape)
    return np.clip(image * np.broadcast_to(light, head.shape)[..., None] + noise, 0, 255).astype(
        np.uint8
    ), hairy


def cut(image, shown=None):
    pixels, depth, _, _, _ = drawn()
    shown = np.ones((CROP, CROP), bool) if shown is None else shown
    return cut_out(head_model(), region_vertices(head_model()), image, shown, pixels, depth) > 127


def overlap(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


HAIRCUTS = {
    "none": lambda x, _: np.zeros(x.shape, bool),
    "fringe": lambda _, y: y > 26,
    "fringe to the brows": lambda _, y: y > 14,
    "swept": lambda x, y: y > 40 + 0.6 * x,
    "curtains": lambda x, y: (np.abs(x) > 44) & (y > -60),
}


@pytest.mark.parametrize("cut_of_hair", HAIRCUTS)
def test_hair_before_the_face_is_not_face(cut_of_hair):
    image, hairy = photo(HAIRCUTS[cut_of_hair])
    _, _, _, region, _ = drawn()
    mask = cut(image)
    assert overlap(mask, region & ~hairy) > 0.94
    assert (mask & region & hairy).sum() < 0.02 * mask.sum()


@pytest.mark.parametrize("side", [-1, 1])
def test_the_dark_side_of_a_face_is_face(side):
    _, _, coordinate, region, _ = drawn()
    image, hairy = photo(HAIRCUTS["none"], 0.65 + 0.35 * side * np.clip(coordinate[..., 0] / 60, -1, 1))
    assert overlap(cut(image), region & ~hairy) > 0.93


def test_eyes_brows_and_a_beard_are_face():
    def beard(x, y):
        return (y < -84) & (y > -140) & (np.abs(x) < 60) | (y < -50) & (y > -58) & (np.abs(x) < 25)

    image, hairy = photo(beard)
    _, _, coordinate, region, _ = drawn()
    x, y = np.abs(coordinate[..., 0]), coordinate[..., 1]
    mask = cut(image)
    for part in ((np.hypot(x - 31, y + 1) < 12), (np.abs(x - 32) < 15) & (np.abs(y - 17) < 3)):
        assert mask[part & region].mean() > 0.99
    assert mask[region & hairy & (y < -50) & (y > -104) & (x < 30)].mean() > 0.98


def test_what_the_photo_does_not_show_is_not_face():
    photo_of_half = np.zeros((CROP, CROP // 2, 3), np.uint8)
    shown = covered(np.eye(2, 3), photo_of_half, CROP)
    assert shown[:, : CROP // 2].all() and not shown[:, CROP // 2 :].any()
    image, _ = photo(HAIRCUTS["none"])
    mask = cut(image, shown)
    assert mask[:, : CROP // 2 - 8].any()
    assert not mask[:, CROP // 2 + 8 :].any()


def test_a_head_out_of_the_picture_has_no_face():
    pixels, depth, *_ = drawn()
    image, _ = photo(HAIRCUTS["none"])
    everything = np.ones((CROP, CROP), bool)
    away = cut_out(head_model(), region_vertices(head_model()), image, everything, pixels + 4 * CROP, depth)
    assert not away.any()


def test_a_mask_is_the_same_every_time():
    image, _ = photo(HAIRCUTS["swept"])
    first = cut(image)
    cv2.setRNGSeed(7)
    np.testing.assert_array_equal(first, cut(image))
