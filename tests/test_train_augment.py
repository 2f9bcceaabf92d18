"""What happens to a sample on loading: labels follow the picture, and nothing leaves its range."""

from dataclasses import replace

import numpy as np
import pytest
from heads import sample

from facecli.train.augment import augment, border, flip, soften, tone


def arrays(made):
    fields = (made.image, made.region, made.coarse, made.known, made.detail)
    return [array for array in fields if array is not None]


@pytest.mark.parametrize("detail", [False, True])
def test_flipping_twice_changes_nothing(detail):
    made = sample(512 if detail else 256, detail)
    for before, after in zip(arrays(made), arrays(flip(flip(made))), strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_flip_moves_every_label_with_the_picture_and_mirrors_the_template():
    made, mirrored = sample(512, True), flip(sample(512, True))
    np.testing.assert_array_equal(mirrored.image[3, 0], made.image[3, -1])
    np.testing.assert_array_equal(mirrored.region[5, 10], made.region[5, -11])
    np.testing.assert_array_equal(mirrored.coarse[7, 2] * [-1, 1, 1, 1], made.coarse[7, -3])
    np.testing.assert_array_equal(mirrored.known[7], made.known[7, ::-1])
    np.testing.assert_array_equal(mirrored.opening[8], made.opening[8, ::-1])
    np.testing.assert_array_equal(mirrored.detail[9], made.detail[9, ::-1])
    assert mirrored.footprint == made.footprint


def test_without_degradations_the_picture_is_the_stored_one_or_its_mirror():
    made = sample()
    seen = set()
    for seed in range(8):
        shown = augment(made, np.random.default_rng(seed), degrade=False)
        mirrored = bool((shown.image == made.image[:, ::-1]).all())
        assert mirrored or (shown.image == made.image).all()
        seen.add(mirrored)
    assert seen == {False, True}


def test_a_flip_does_not_change_its_argument():
    made = sample()
    copies = [array.copy() for array in arrays(made)]
    flip(made)
    for before, after in zip(copies, arrays(made), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("seed", range(8))
def test_a_border_takes_picture_and_labels_from_one_side_alone(seed):
    made = replace(
        sample(512, True), region=np.full((256, 256), 255, np.uint8), known=np.ones((128, 128), np.float32)
    )
    made = replace(made, image=np.full((512, 512, 3), 9, np.uint8), detail=np.ones((512, 512), np.float32))
    image, cut = border(made.image, made, np.random.default_rng(seed))
    shares = [1 - array.astype(bool).mean() for array in (image, cut.region, cut.known, cut.detail)]
    assert 0.02 < min(shares)
    assert max(shares) < 0.45
    assert max(shares) - min(shares) < 0.01  # a coarse pixel
    assert len({array.shape for array in (image[..., 0], cut.detail)}) == 1
    for array in (image[..., 0], cut.region, cut.known, cut.detail):
        gone = array == 0
        edges = gone[0], gone[-1], gone[:, 0], gone[:, -1]
        assert max(edge.mean() for edge in edges) > 0.6
        for lines in (gone, gone.T):  # each row and column is cut at most once: beyond a line, nothing else
            assert (np.diff(lines.astype(int), axis=1) != 0).sum(1).max() <= 1
    np.testing.assert_array_equal(cut.coarse, made.coarse)


def test_augmenting_keeps_kind_and_size_and_depends_on_the_generator_alone():
    made = sample()
    for seed in range(30):
        first, second = (augment(made, np.random.default_rng(seed)) for _ in range(2))
        assert first.image.shape == made.image.shape
        assert first.image.dtype == np.uint8
        for one, other in zip(arrays(first), arrays(second), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("change", [tone, soften])
def test_pictures_stay_pictures(change):
    made = sample()
    for seed in range(40):
        out = change(made.image, np.random.default_rng(seed))
        assert out.shape == made.image.shape
        assert out.dtype == np.uint8
