"""Batches of people who differ by a second head's morphs."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from facecli.train.second_head import AGED, AGES, LARGEST, MOST, OLD, Morphs
from facecli.train.synth import SCULPTED
from facecli.train.tensor.dice import Dice


class Sculptor:
    """The morphs on a device."""

    def __init__(self, morphs: Morphs, device: torch.device) -> None:
        self.change = torch.from_numpy(morphs.change).to(device)
        self.least = torch.from_numpy(morphs.least).float().to(device)
        self.kinds = [torch.from_numpy(np.isin(morphs.names, list(kind))).to(device) for kind, _ in MOST]
        self.old = morphs.names.index(OLD)

    def weights(self, dice: Dice) -> Float[Tensor, "n m"]:
        """As `Morphs.weights`."""
        count = len(self.least)
        out = torch.zeros(dice.n, count, device=self.least.device)
        for kind, (_, most) in zip(self.kinds, MOST, strict=True):
            place = torch.where(kind, dice.random(count), 2.0).argsort(1).argsort(1)  # others come last
            chosen = place < dice.below(most + 1)[:, None]
            out = torch.where(chosen, dice.uniform(self.least, 1.0, count) * LARGEST, out)
        age = dice.beta(*AGES) * LARGEST
        out[:, self.old] = torch.where(dice.chance(AGED), age, 0.0)
        return out

    def added(self, dice: Dice) -> Float[Tensor, "n v 3"]:
        """What the morphs add to each head of a batch, mm; nothing to some."""
        weights = self.weights(dice) * dice.chance(SCULPTED)[:, None]
        return torch.tensordot(weights, self.change, 1)
