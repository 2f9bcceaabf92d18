"""Hands and microphones: what they hide leaves the region, all else stays as it was."""

import cv2
import numpy as np
import pytest

from facecli.train.limb import hand, microphone

SIZE = 256
SKIN = np.array([180.0, 130, 100])


def drawn(thing, seed, where=(128.0, 128.0), unit=1.0):
    image = np.full((SIZE, SIZE, 3), 90.0, np.float32)
    region = np.ones((SIZE, SIZE), bool)
    thing(np.random.default_rng(seed), image, region, np.array(where), unit, SKIN)
    return image, region


@pytest.mark.parametrize("thing", [hand, microphone])
@pytest.mark.parametrize("seed", range(5))
def test_only_what_is_hidden_leaves_the_region(thing, seed):
    image, region = drawn(thing, seed)
    assert 200 < (~region).sum() < 0.75 * region.size
    near = cv2.dilate((~region).astype(np.uint8), np.ones((61, 61), np.uint8)) > 0
    assert (image[~near] == 90).all()
    # Beside it the picture is darker, if changed at all.
    beside = region & ~(cv2.dilate((~region).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0)
    assert (image[beside] <= 90.001).all()


@pytest.mark.parametrize("thing", [hand, microphone])
def test_twice_as_near_is_twice_as_large(thing):
    small, large = (
        np.mean([(~drawn(thing, seed, unit=unit)[1]).sum() for seed in range(8)]) for unit in (0.3, 0.6)
    )
    assert 2.2 < large / small < 4.5


def test_a_hand_is_of_one_piece_and_has_the_colour_of_skin():
    for seed in range(5):
        image, region = drawn(hand, seed, unit=0.7)
        count, _ = cv2.connectedComponents((~region).astype(np.uint8))
        assert count <= 3
        colour = image[~region]
        assert np.median(colour[:, 0] / np.maximum(colour[:, 2], 1)) > 1.0


@pytest.mark.parametrize("thing", [hand, microphone])
def test_a_thing_is_drawn_by_its_generator_alone(thing):
    first, second, other = (drawn(thing, seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_a_thing_out_of_the_picture_changes_nothing_of_the_region():
    _, region = drawn(microphone, 0, where=(5000.0, 5000.0))
    assert region.all()
