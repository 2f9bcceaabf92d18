"""Outlines drawn by hand of the hair before a portrait's face."""

import cv2
import numpy as np
import pytest
from heads import ASSETS, needs_assets

from facecli.train.fringe import outlines, without

TO_CROP = np.array([[0.5, 0, 10], [0, 0.5, 20]])
SQUARE = np.array([[20.0, 20], [60, 20], [60, 60], [20, 60]])


def test_every_outline_has_an_area():
    drawn = [polygon for polygons in outlines().values() for polygon in polygons]
    assert len(drawn) > 50
    assert all(polygon.shape[1] == 2 and len(polygon) >= 3 for polygon in drawn)
    assert min(cv2.contourArea(polygon.astype(np.float32)) for polygon in drawn) > 20


@needs_assets
def test_every_outline_lies_in_a_portrait():
    for name, polygons in outlines().items():
        image = cv2.imread(str(ASSETS / "portraits" / name))
        assert image is not None, name
        middle = np.concatenate(polygons).mean(0)
        assert (middle > 0).all() and (middle < image.shape[1::-1]).all(), name


def test_what_is_outlined_leaves_the_mask_and_nothing_else_does():
    mask = np.full((100, 100), 255, np.uint8)
    cut = without(mask, [SQUARE], TO_CROP)
    gone = np.zeros_like(mask)
    gone[30:51, 20:41] = 1
    assert np.array_equal(cut == 0, gone > 0)
    assert mask.all(), "the mask that was given is as it was"


@pytest.mark.parametrize("polygons", [[], [SQUARE + 1000], [SQUARE - 1000]])
def test_nothing_leaves_where_nothing_is_outlined(polygons):
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(without(mask, polygons, TO_CROP), mask)
