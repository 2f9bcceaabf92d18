"""Random numbers of a batch of samples: each sample's are its own seed's, whatever it is drawn together with.

They are drawn by NumPy, some thousands for each sample at once, and dealt out on the device in the order of asking,
the same places to every sample, so that nothing that a sample decides moves another's.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from facecli.train.tensor.resident import numbers

EVEN, NORMAL = 4096, 4096
"""Numbers of each kind for a sample."""
STEPS = 1024
"""Entries of the tables of inverse distributions."""
BETAS = (1.2, 1.6), (1.3, 1.8), (1.0, 3.0), (1.0, 1.6)
"""Shapes, a and b, of the beta distributions that are drawn from."""


class Dice:
    """For samples of these seeds."""

    def __init__(self, seeds: Sequence[Sequence[int]], device: torch.device) -> None:
        generators = [np.random.default_rng(list(seed)) for seed in seeds]
        even = np.stack([rng.random(EVEN, np.float32) for rng in generators])
        normal = np.stack([rng.standard_normal(NORMAL, np.float32) for rng in generators])
        self.device, self.n = device, len(generators)
        self._even, self._normal = (torch.from_numpy(a).to(device) for a in (even, normal))
        self._at_even = self._at_normal = 0
        self._inverse = {shape: _inverse_beta(device, *shape) for shape in BETAS}

    def random(self, *shape: int) -> Float[Tensor, "n *shape"]:
        """From 0 up to 1."""
        count = math.prod(shape)
        begin, self._at_even = self._at_even, self._at_even + count
        if self._at_even > EVEN:
            raise ValueError(f"a sample has no more than {EVEN} even numbers")
        return self._even[:, begin : self._at_even].reshape(self.n, *shape)

    def uniform(self, low: float | Tensor, high: float | Tensor, *shape: int) -> Float[Tensor, "n *shape"]:
        """From `low` up to `high`."""
        return low + (high - low) * self.random(*shape)

    def normal(self, mean: float, spread: float | Tensor, *shape: int) -> Float[Tensor, "n *shape"]:
        """Normally distributed."""
        count = math.prod(shape)
        begin, self._at_normal = self._at_normal, self._at_normal + count
        if self._at_normal > NORMAL:
            raise ValueError(f"a sample has no more than {NORMAL} normal numbers")
        return mean + spread * self._normal[:, begin : self._at_normal].reshape(self.n, *shape)

    def chance(self, share: float | Tensor, *shape: int) -> Bool[Tensor, "n *shape"]:
        """True for that share."""
        return self.random(*shape) < share

    def below(self, count: int | Tensor, *shape: int) -> Int[Tensor, "n *shape"]:
        """Whole numbers from 0 to `count` - 1."""
        drawn = (self.random(*shape) * count).long()
        return drawn.clamp(max=count - 1)

    def choice(self, shares: Sequence[float], *shape: int) -> Int[Tensor, "n *shape"]:
        """Which of several, each with its share; those add up to 1."""
        ends = numbers(self.device, *accumulate(shares))
        return (self.random(*shape)[..., None] >= ends[:-1]).sum(-1)

    def one_of(
        self, values: Sequence[float], shares: Sequence[float], *shape: int
    ) -> Float[Tensor, "n *shape"]:
        """One of several numbers."""
        return numbers(self.device, *values)[self.choice(shares, *shape)]

    def beta(self, a: float, b: float, *shape: int) -> Float[Tensor, "n *shape"]:
        """Of a beta distribution, one of `BETAS`."""
        table = self._inverse[a, b]
        at = self.random(*shape) * (STEPS - 1)
        low = at.long().clamp(max=STEPS - 2)
        return table[low] + (table[low + 1] - table[low]) * (at - low)


@lru_cache
def _inverse_beta(device: torch.device, a: float, b: float) -> Float[Tensor, "steps"]:
    from scipy.special import betaincinv

    return torch.tensor(betaincinv(a, b, np.linspace(0, 1, STEPS)), dtype=torch.float32, device=device)
