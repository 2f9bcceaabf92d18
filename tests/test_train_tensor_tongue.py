"""Tongues of a batch take the course that the compiled path's take."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from heads import head_model, needs_assets
from staged import CPU, batch

from facecli.train import tongue as compiled
from facecli.train.sample import random_expression
from facecli.train.tensor.dice import Dice
from facecli.train.tensor.tongue import Tongue
from facecli.train.tongue import TIP

pytestmark = needs_assets


@lru_cache(maxsize=1)
def tongues():
    one = compiled.Tongue(head_model())
    return one, Tongue(one, CPU)


class Replayed(Dice):
    """Dice that fall as a generator's do, for a batch of one; some throws are not asked of it."""

    def __init__(self, seed, skipped=0):
        self.rng, self.skipped = np.random.default_rng(seed), skipped

    def _one(self, draw):
        self.skipped -= 1
        return torch.tensor([0.0 if self.skipped >= 0 else float(draw())])

    def uniform(self, low, high, *shape):
        return self._one(lambda: self.rng.uniform(low, high))

    def normal(self, mean, spread, *shape):
        return self._one(lambda: self.rng.normal(mean, spread))


class FallingOnce(Replayed):
    """Once so many throws are made, the rest are of no account."""

    def __init__(self, seed, counted):
        super().__init__(seed)
        self.counted = counted

    def _one(self, draw):
        self.counted -= 1
        return torch.tensor([float(draw())]) if self.counted >= 0 else torch.tensor([0.5])


def open_mouth(seed):
    rng, model = np.random.default_rng(seed), head_model()
    beta = tongues()[0].parted(rng, random_expression(rng, model.expression_names))
    return model.vertices(rng.normal(0, 1, len(model.identity)), beta)


@pytest.mark.parametrize("seed", range(3))
def test_in_the_mouth(seed):
    one, many = tongues()
    vertices = open_mouth(seed)
    theirs, lip = one.moved(np.random.default_rng(seed), vertices, False)
    mine, station = many.moved(FallingOnce(seed, 2), batch(vertices), torch.tensor([False]))
    assert lip == station.item() == np.inf
    assert np.abs(theirs - vertices).max() > 1
    np.testing.assert_allclose(mine[0].numpy(), theirs, atol=0.15)


@pytest.mark.parametrize("seed", range(4))
def test_stuck_out(seed):
    one, many = tongues()
    vertices = open_mouth(seed)
    theirs, lip = one.moved(np.random.default_rng(seed), vertices, True)
    mine, station = many.moved(Replayed(seed, skipped=2), batch(vertices), torch.tensor([True]))
    assert theirs[TIP, 2] - vertices[TIP, 2] > 5
    assert station.item() == pytest.approx(lip, abs=0.02)
    off = np.linalg.norm(mine[0].numpy() - theirs, axis=1)
    # mm: the compiled course is cut to whole steps of half a millimetre time and again, this one is not
    assert np.median(off[off > 0]) < 0.6
    assert off.max() < 3


def test_only_those_that_stick_it_out_open_their_mouths():
    _, many = tongues()
    names = head_model().expression_names
    dice = Dice([(0, k) for k in range(8)], CPU)
    beta = torch.rand(8, len(names), generator=torch.Generator().manual_seed(0)) * 0.2
    out = torch.arange(8) % 2 == 0
    parted = many.parted(dice, beta, out)
    assert torch.equal(parted[~out], beta[~out])
    assert (parted[out][:, names.index("jawOpen")] >= 0.25).all()
    closing = [name.startswith(compiled.CLOSING) for name in names]
    assert not parted[out][:, closing].any()


def test_a_mixed_batch_is_each_ones_own():
    _, many = tongues()
    heads = batch(open_mouth(1)).expand(2, -1, -1)
    mixed, lips = many.moved(Dice([(1, 0), (1, 1)], CPU), heads, torch.tensor([True, False]))
    alone, lip = many.moved(Dice([(1, 1)], CPU), heads[1:], torch.tensor([False]))
    np.testing.assert_allclose(mixed[1].numpy(), alone[0].numpy(), atol=1e-4)
    assert lips[1] == lip[0] == np.inf and 0 < lips[0] < 1
