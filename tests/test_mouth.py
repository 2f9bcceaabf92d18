"""The mouth of a whole face: rims lie on the edges of lips, teeth are flat behind them, and the gap has no say."""

from functools import lru_cache

import numpy as np
import pytest

from facecli.complete import load_geometry
from facecli.mouth import even_lips, to_lip_edges, with_inner_mouth
from facecli.rims import rim_points
from facecli.weights import load_template, load_weights

EVERY = np.ones(68, bool)


@lru_cache(maxsize=1)
def model():
    return load_geometry(load_weights())


def edges():
    """Flat cells of the upper and of the lower lip's edge, in each column of the mouth."""
    _, top, bottom = model().bag.T
    return np.unique(top), np.unique(bottom)


@pytest.mark.parametrize("open_mm", [0.5, 6.0, 30.0])
def test_the_inner_mouth_is_a_box_behind_the_lips_and_deeper_the_wider_it_is_open(open_mm):
    cell, top, bottom = model().bag.T
    flat = model().mean.reshape(-1, 3).astype(np.float64)
    flat[bottom, 1] = flat[top, 1] - open_mm
    before = flat.copy()
    made = with_inner_mouth(model().bag, flat.reshape(model().mean.shape)).reshape(-1, 3)
    others = np.setdiff1d(np.arange(len(flat)), cell)
    np.testing.assert_array_equal(made[others], before[others])
    np.testing.assert_array_equal(flat, before)
    gap = made[bottom] - made[top]
    share = np.einsum("ij,ij->i", (made[cell] - made[top])[:, :2], gap[:, :2]) / np.square(gap[:, :2]).sum(1)
    assert (share > 0).all() and (share < 1).all()
    behind = (made[top] + gap * share[:, None] - made[cell])[:, 2]
    assert (behind > 0).all()
    widest = bottom - top == (bottom - top).max()
    deepest = behind[widest].max()
    assert deepest == pytest.approx(4.0 + 0.4 * np.linalg.norm(gap[widest], axis=1).max(), rel=0.05)
    middle = widest & (share > 0.2) & (share < 0.8)
    assert middle.sum() >= 12
    assert behind[middle].min() > 0.9 * deepest


def test_rims_of_lips_lie_on_the_edges_of_their_own_lips_and_those_of_lids_stay():
    template = load_template(load_weights()).landmarks.astype(np.float64)
    cells = model().chart.cells(rim_points(template, EVERY, 0.7))
    moved = to_lip_edges(model().bag, model().lips, cells)
    lids, upper, lower = moved[: len(moved) * 4 // 6], *moved.reshape(6, -1, 2)[4:]
    np.testing.assert_array_equal(lids, cells[: len(lids)])
    size = len(model().lips)
    columns = np.unique(model().bag[:, 0] % size)
    for rim, edge in zip((upper, lower), edges(), strict=True):
        in_mouth = np.isin(np.rint(rim[:, 0]), columns)
        assert in_mouth.mean() > 0.9
        assert np.isin(rim[in_mouth] @ [1, size], edge).all()
        assert set(np.rint(rim[in_mouth, 0]).astype(int)) == set(columns), "each column has its own"
    assert np.abs(moved - cells).max() < 1.6, "no farther than a step of the edge"


def test_lips_are_made_even_each_by_itself():
    shape, bag = model().mean.shape, model().bag
    cell, top, bottom = bag.T
    edge = np.concatenate(edges())
    moved = np.random.default_rng(0).normal(0, 1, shape)
    even = even_lips(bag, moved).reshape(-1, 3)
    assert even[edge].std() < 0.5
    for others, lip in ((bottom, top), (top, bottom)):
        odd = moved.copy()
        odd.reshape(-1, 3)[cell] = 1000.0  # what lies between them has no say
        odd.reshape(-1, 3)[others] += [0.0, 30.0, 0.0]
        # Around the corners a lip goes on as the other one.
        middle = lip[np.abs(lip % shape[0] - shape[0] / 2) < 10]
        np.testing.assert_allclose(even_lips(bag, odd).reshape(-1, 3)[middle], even[middle], atol=1e-4)


def test_a_jaw_that_drops_takes_all_of_the_lower_lip_along():
    size, (_, top, bottom) = len(model().mean), model().bag.T
    moved = np.zeros(model().mean.shape)
    for lowest in np.unique(bottom):
        moved[lowest // size :, lowest % size] = [0.0, -20.0, 0.0]
    even = even_lips(model().bag, moved).reshape(-1, 3)
    middle = np.abs(top % size - size / 2) < 8  # at the corners the lips hang together
    np.testing.assert_allclose(even[top[middle]], 0, atol=0.01)
    np.testing.assert_allclose(even[bottom[middle], 1], -20, atol=0.01)
