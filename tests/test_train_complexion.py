"""What colours the pixels of a head: each material its own, skins read where the texture says."""

import cv2
import numpy as np
import pytest

from facecli.train.complexion import LINEAR, colours
from facecli.train.headmodel import (
    BACK,
    FACE,
    GUMS,
    IRIS_LEFT,
    IRIS_RIGHT,
    LACRIMAL,
    SCLERA_LEFT,
    SCLERA_RIGHT,
    TEETH,
)
from facecli.train.lift import TEXTURE
from facecli.train.makehuman import BACK_TEXTURE

SIDE = 96


def painted(seed, part, y, texel=None, back=None):
    """`colours` of a picture all of one material, or of those given, whose rows have template heights `y`."""
    rng = np.random.default_rng(99)
    albedo = rng.integers(60, 220, (TEXTURE, TEXTURE, 3), np.uint8)
    back = rng.integers(60, 220, (BACK_TEXTURE, BACK_TEXTURE, 3), np.uint8) if back is None else back
    x, height = np.meshgrid(np.linspace(-70, 70, SIDE), np.linspace(*y, SIDE))
    coordinate = np.dstack([x, height, np.full_like(x, 40.0)]).astype(np.float32)
    if texel is None:
        texel = rng.uniform(-3, TEXTURE + 3, (SIDE, SIDE, 2)).astype(np.float32)
    part = np.broadcast_to(np.int32(part), (SIDE, SIDE))
    return albedo, texel, colours(np.random.default_rng(seed), albedo, back, texel, coordinate, part)


@pytest.mark.parametrize("part, y", [(LACRIMAL, (40, -40)), (FACE, (-20, -100))])
def test_skin_shows_the_texture_between_its_texels(part, y):
    """As `cv2.remap` reads it, but for its coarser steps between texels; at the border the last texel goes on."""
    for seed in range(4):
        albedo, texel, (colour, gloss, hair) = painted(seed, part, y)
        expected = cv2.remap(albedo, texel, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        grey = np.interp(colour, LINEAR, np.arange(256))
        bare = ~hair
        assert bare.mean() > 0.9
        assert np.abs(grey - expected)[bare].max() < 5
        assert np.abs(grey - expected)[bare].mean() < 1
        assert (gloss == 1).all()


def test_the_back_of_the_head_shows_its_own_tile():
    """Its tile lies one further to the right; each of its texels is two of the face's wide."""
    column, row = np.meshgrid(np.arange(SIDE) + 20, np.arange(SIDE) + 50)
    texel = np.dstack([(column + BACK_TEXTURE + 0.25) * 2, (row + 0.25) * 2]).astype(np.float32)
    back = np.random.default_rng(1).integers(0, 256, (BACK_TEXTURE, BACK_TEXTURE, 3), np.uint8)
    _, _, (colour, _, hair) = painted(0, BACK, (-80, -120), texel, back)  # below the nape, above the collar
    np.testing.assert_array_equal(colour, LINEAR[back[row, column]])
    assert not hair.any()


def test_hair_is_painted_on_the_face_above_a_line_and_on_scalps():
    shares = []
    for seed in range(30):
        _, _, (_, _, hair) = painted(seed, FACE, (110, -40))
        shares.append(hair.mean())
        if hair.any():
            assert hair[:8].mean() > 0.9  # the top of the head
            assert not hair[-15:, SIDE // 3 : -SIDE // 3].any()
    assert 0.65 < np.count_nonzero(shares) / 30 < 0.95
    for part in (BACK, GUMS, TEETH, LACRIMAL, SCLERA_LEFT):
        assert not painted(0, part, (110, -40))[2][2].any()


def test_every_material_has_its_colour_and_only_eyes_are_wet():
    parts = np.repeat(
        [-1, GUMS, TEETH, SCLERA_LEFT, IRIS_LEFT, SCLERA_RIGHT, IRIS_RIGHT, LACRIMAL], SIDE // 8
    )[:, None]
    for seed in range(4):
        _, _, (colour, gloss, _) = painted(seed, parts, (20, -20))
        assert not colour[parts[:, 0] == -1].any()
        for solid in (GUMS, TEETH):
            here = colour[parts[:, 0] == solid].reshape(-1, 3)
            assert (here == here[0]).all() and here[0, 0] > here[0, 2] > 0  # reddish, yellowish
        eyes = (parts[:, 0] >= SCLERA_LEFT) & (parts[:, 0] < LACRIMAL)
        assert (gloss[eyes] == 4).all() and (gloss[~eyes] == 1).all()


def test_below_the_neck_is_cloth_of_one_colour():
    _, _, (colour, _, hair) = painted(3, FACE, (-170, -190))
    assert (colour == colour[0, 0]).all() and not hair.any()


def test_colours_follow_their_generator():
    first, again, other = (painted(seed, FACE, (110, -40))[2][0] for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
