"""Creases out of colour: lines become valleys, whatever else is dark stays colour; and what grooves hide."""

from functools import lru_cache

import cv2
import numpy as np
import pytest
from heads import head_model, needs_assets

from facecli.train.crease import Creases, cavity, likeness, lines
from facecli.train.lift import TEXTURE, texture_of
from facecli.train.relief import DEEPEST, MM_PER_TEXEL

SKIN = (190, 150, 130)


@lru_cache(maxsize=1)
def creases():
    return Creases(head_model())


@lru_cache(maxsize=1)
def place():
    """Template coordinate of each texel, mm; not a number off the skin."""
    coordinate, skin = texture_of(head_model(), head_model().neutral.astype(np.float32))
    return np.where(skin[..., None], coordinate, np.nan)


def texel(x, y):
    """Row and column of the skin nearest a point of the mean head seen from the front, mm."""
    away = np.hypot(place()[..., 0] - x, place()[..., 1] - y) + 100 * (place()[..., 2] < 0)
    row, column = np.unravel_index(np.nanargmin(away), away.shape)
    return int(row), int(column)


def even():
    skin = np.empty((TEXTURE, TEXTURE, 3), np.uint8)
    skin[:] = SKIN
    return skin


def lined(darkness=0.75, width=2):
    """A line across the forehead, and where it is."""
    skin, canvas = even(), np.zeros((TEXTURE, TEXTURE), np.float32)
    (row, left), (_, right) = texel(-30, 52), texel(30, 52)
    cv2.line(canvas, (left, row), (right, row), 1.0, width)
    canvas = cv2.GaussianBlur(canvas, (0, 0), 1.0)[..., None]
    return (skin * (1 - canvas * (1 - darkness))).astype(np.uint8), row, (left + right) // 2


@needs_assets
@pytest.mark.parametrize("darkness", [0.9, 0.75, 0.6])
def test_a_line_becomes_a_valley_the_deeper_the_darker_and_leaves_the_colour(darkness):
    albedo, row, column = lined(darkness)
    skin = creases().split(albedo)
    valley = skin.relief[row - 8 : row + 9, column - 30 : column + 30].min(0)
    assert (0.5 * (1 - darkness) < -valley).all() and (-valley < 4 * (1 - darkness)).all()  # mm
    left = np.ptp(skin.albedo[row - 8 : row + 9, column].astype(int), axis=0).max()
    assert left < 0.35 * np.ptp(albedo[row - 8 : row + 9, column].astype(int), axis=0).max()


@needs_assets
def test_wider_lines_of_the_same_darkness_are_deeper():
    depths = []
    for width in (1, 3, 7):
        albedo, row, column = lined(0.8, width)
        depths.append(-creases().split(albedo).relief[row - 10 : row + 11, column].min())
    assert depths[0] < depths[1] < depths[2]


@needs_assets
def test_freckles_moles_blotches_and_the_edge_of_a_shadow_are_no_relief():
    rng, canvas = np.random.default_rng(0), np.zeros((TEXTURE, TEXTURE), np.float32)
    middle = np.array(texel(0, 52))
    for y, x in middle + rng.uniform([-35, -70], [35, 70], (60, 2)):
        cv2.circle(canvas, (int(x * 8), int(y * 8)), int(rng.uniform(0.6, 3) * 8), 0.5, -1, cv2.LINE_AA, 3)
    spots = cv2.GaussianBlur(canvas, (0, 0), 0.8)[..., None]
    freckled = (even() * (1 - spots)).astype(np.uint8)
    shadowed = even()
    shadowed[:, middle[1] :] //= 2
    shadowed = cv2.GaussianBlur(shadowed, (0, 0), 1.0)
    grainy = np.clip(even() + rng.normal(0, 4, (TEXTURE, TEXTURE, 1)), 0, 255).astype(np.uint8)
    window = slice(middle[0] - 30, middle[0] + 30), slice(middle[1] - 60, middle[1] + 60)
    for albedo, most in ((freckled, 0.09), (shadowed, 0.01), (grainy, 0.01), (even(), 1e-3)):
        relief = creases().split(albedo).relief[window]
        assert np.sqrt((relief**2).mean()) < most  # mm; a line as dark as these spots is 0.5 deep


@needs_assets
def test_brows_lids_lips_and_what_no_face_shows_are_left_alone():
    stripes = even() // 2 + (np.arange(TEXTURE) % 7 < 3)[:, None, None].astype(np.uint8) * 60
    skin = creases().split(stripes)
    marks = head_model().neutral[head_model().landmark_vertices]
    nowhere = [*marks[17:27, :2], *marks[36:68, :2], marks[30, :2], (0.0, -130.0)]
    for x, y in nowhere:
        row, column = texel(x, y)
        assert skin.sure[row, column] < 0.05 and abs(skin.relief[row, column]) < 0.05
        assert np.abs(skin.albedo[row, column].astype(int) - stripes[row, column]).max() <= 3
    for x, y in [(0, 50), (38, -30), (-38, -30), (0, 12), (56, 0)]:
        row, column = texel(x, y)
        assert skin.sure[row, column] > 0.8
    assert np.abs(skin.relief).max() <= DEEPEST and np.isfinite(skin.relief).all()


@needs_assets
def test_a_beard_is_hair_and_not_relief():
    rng, bearded = np.random.default_rng(2), even().astype(np.float32)
    below = np.nan_to_num(place()[..., 1]) < -45
    strokes = cv2.GaussianBlur(rng.normal(0, 1, (TEXTURE, TEXTURE)), (0, 0), sigmaX=0.6, sigmaY=2.5)
    bearded *= np.where(below, 0.35 + 0.3 * strokes, 1)[..., None].astype(np.float32)
    skin = creases().split(np.clip(bearded, 0, 255).astype(np.uint8))
    for x, y in [(0, -96), (40, -75), (-40, -75)]:
        row, column = texel(x, y)
        assert skin.sure[row - 4 : row + 5, column - 4 : column + 5].max() < 0.1
        assert np.abs(skin.relief[row - 4 : row + 5, column - 4 : column + 5]).max() < 0.1
    row, column = texel(0, 50)
    assert skin.sure[row, column] > 0.9


def test_only_lines_are_like_lines():
    y, x = np.mgrid[:128, :128].astype(np.float32) - 64
    line, blob, step = (
        -0.3 * np.exp(-(x**2) / 8),
        -0.3 * np.exp(-(x**2 + y**2) / 8),
        0.15 * np.tanh(x),
    )
    assert likeness(line)[:, 64].min() > 0.9
    assert likeness(blob)[64, 64] < 0.05
    assert likeness(step).max() < 0.01
    assert likeness(np.zeros((64, 64), np.float32)).max() == 0
    assert likeness(line).max() <= 1


def test_a_lighter_line_bulges_less_than_a_darker_one_sinks():
    x = np.mgrid[:256, :256][1].astype(np.float32) - 128
    valley, shading = lines(-0.2 * np.exp(-(x**2) / 18))
    ridge, _ = lines(0.2 * np.exp(-(x**2) / 18))
    assert valley[128, 128] < -0.15 and 0 < ridge[128, 128] < 0.6 * -valley[128, 128]
    assert -0.2 <= shading[128, 128] < -0.12
    assert abs(valley[128, 40]) < 0.02


def test_a_groove_hides_as_much_sky_as_rays_say():
    """A long round groove: of the cosine-weighted rays from its bottom, the share that leaves it."""
    step, sigma = 0.25, 1.0
    x = (np.arange(257) - 128) * step
    rng = np.random.default_rng(0)
    around, out = rng.uniform(0, 2 * np.pi, (2, 4000)) * [[1], [0.5 / np.pi]]
    aside, up = np.abs(np.sqrt(out) * np.cos(around)), np.sqrt(1 - out)
    for depth in (0.6, 1.2, 2.0):
        profile = -depth * np.exp(-(x**2) / 2 / sigma**2)
        rise = (profile[129:] + depth) / x[129:]  # of the skyline, seen from the bottom
        free = (up / aside >= rise.max()).mean()
        ours = cavity(np.repeat(profile[None].astype(np.float32), 257, 0), step)
        assert abs(ours[128, 128] - free) < 0.02 and ours[128, 128] < 0.985
        assert ours[128, 10] > 0.99 and ours.max() <= 1
    assert (cavity(np.zeros((64, 64), np.float32), MM_PER_TEXEL) == 1).all()
