"""Relief of skin: where folds lie, how deep they are, and that colour without relief stays colour."""

import numpy as np
import pytest

from facecli.train.lift import TEXTURE
from facecli.train.relief import (
    DEEPEST,
    Creases,
    creases_of,
    folds,
    moles_and_freckles,
    moved,
    pores,
    random_relief,
    wrinkles,
)

HALF = 130.0  # mm from the middle of this flat "head" to the border of its texture


@pytest.fixture
def plane():
    """A head as flat as a wall: x and y run evenly over the texture."""
    along = (np.arange(TEXTURE, dtype=np.float32) + 0.5) / TEXTURE * 2 * HALF - HALF
    return np.dstack(np.meshgrid(along, -along)).astype(np.float32)


def test_folds_grow_with_their_depth_alone(plane):
    shallow, deep = (folds(np.random.default_rng(3), plane, depth) for depth in (0.1, 0.3))
    assert np.ptp(shallow) > 0.02
    np.testing.assert_allclose(deep, 3 * shallow, atol=1e-6)
    assert not folds(np.random.default_rng(3), plane, 0.0).any()


def test_folds_are_valleys_between_low_shoulders(plane):
    for seed in range(8):
        height = folds(np.random.default_rng(seed), plane, 0.5)
        assert -height.min() > 2 * height.max() > 0
        assert abs(height.mean()) < 0.02 * np.ptp(height)


def test_folds_lie_where_faces_have_them(plane):
    """Many faces together: forehead, eyes' corners and nose to mouth are lined, nose and cheekbones are not."""
    lined = sum(np.abs(folds(np.random.default_rng(seed), plane, 0.5)) > 0.02 for seed in range(60))

    def share(x, y):
        column, row = ((np.array([x, -y]) + HALF) / (2 * HALF) * TEXTURE).astype(int)
        return lined[row - 12 : row + 12, column - 12 : column + 12].max()

    for x, y in [(0, 45), (20, 40), (55, 0), (-55, 0), (26, -60), (-26, -60), (31, -20)]:
        assert share(x, y) >= 5, (x, y)
    for x, y in [(0, -20), (60, -35), (-60, -35), (0, -110)]:
        assert share(x, y) <= 1, (x, y)


def test_relief_follows_its_generator(plane):
    first, again, other = (random_relief(np.random.default_rng(seed), plane) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert np.abs(first).max() <= DEEPEST


def test_most_skins_have_a_portrait_s_relief_in_a_strength_of_their_own(plane):
    lifted = np.zeros((TEXTURE, TEXTURE), np.float32)
    lifted[300:310] = -0.2  # on the cheeks
    gains = []
    for seed in range(16):
        plain, creased = (
            random_relief(np.random.default_rng(seed), plane, lifted=own) for own in (lifted * 0, lifted)
        )
        added = creased - plain
        assert (np.abs(creased) >= DEEPEST - 1e-6).any() or not added[lifted == 0].any()
        gains.append(float(np.median(added[300:310])) / -0.2)
    assert 12 <= np.count_nonzero(gains) <= 16
    assert min(g for g in gains if g) >= 0.19 and max(gains) <= 2.51 and 0.6 < np.median(gains) < 1.3
    deeper = random_relief(np.random.default_rng(0), plane, lifted=lifted * 100)
    assert deeper.min() == -np.float32(DEEPEST)


@pytest.mark.parametrize("make", [lambda r: pores(r, 0.05), lambda r: wrinkles(r, 12, 0.3)])
def test_random_skin_has_no_level(make):
    height = make(np.random.default_rng(1))
    assert abs(np.median(height)) < 0.02
    assert 0.01 < np.abs(height).max() < 1.5


def test_moles_and_freckles_darken_red_least_and_nothing_brightens():
    albedo = np.full((TEXTURE, TEXTURE, 3), 170, np.uint8)
    spotted = moles_and_freckles(np.random.default_rng(2), albedo)
    assert (spotted <= albedo).all()
    assert (spotted < albedo).any()


KINDS = {  # where each kind of fold lies on the mean head, mm
    "forehead": lambda x, y: (np.abs(x) < 20) & (y > 40) & (y < 70),
    "frown": lambda x, y: (np.abs(x) < 14) & (y > 14) & (y < 30),
    "eyes": lambda x, y: (np.abs(x) > 52) & (np.abs(x) < 66) & (np.abs(y) < 10),
    "cheeks": lambda x, y: (np.abs(x) > 18) & (np.abs(x) < 36) & (y < -46) & (y > -66),
}


@pytest.mark.parametrize("kind", KINDS)
def test_lifted_relief_deepens_where_the_expression_moves_the_skin(plane, kind):
    there = KINDS[kind](plane[..., 0], plane[..., 1])
    gain = moved(plane, Creases(**{kind: 1.0}))
    assert gain[there].mean() > 1.4 and gain.min() >= 1 and gain.max() <= 1.81
    far = (np.abs(plane[..., 0]) > 100) | (plane[..., 1] < -110)
    assert gain[far].max() < 1.02
    assert (moved(plane, Creases()) == 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_an_expression_folds_the_skin_where_it_moves_it(plane, kind):
    def depth(creases):
        """Mean valley of many people there, mm."""
        there = KINDS[kind](plane[..., 0], plane[..., 1])
        heights = [folds(np.random.default_rng(seed), plane, 0.5, creases)[there] for seed in range(40)]
        return -np.minimum(heights, 0).mean()

    rest, creased = depth(Creases()), depth(Creases(**{kind: 1.0}))
    assert creased > 1.5 * rest > 0


def test_a_smile_creases_eyes_and_cheeks_and_raised_brows_the_forehead():
    names = ("browInnerUp_L", "mouthSmile_L", "mouthSmile_R", "jawOpen")
    assert creases_of(np.array([0.0, 0.7, 0.2, 1.0]), names) == Creases(0, 0, 0.7, 0.7)
    assert creases_of(np.array([0.4, 0.0, 0.0, 1.0]), names) == Creases(0.4, 0, 0, 0)
