"""Where a network in eight bits rounds: the range of each of its `Steps`, from what passes there.

A range that holds every value there is would waste most of its 256 steps on a few: what lies beyond all but one in a
hundred thousand is cut. Cut at one in ten thousand, depth is off by twice as much; the range of least squared error,
layer by layer, is no better.
"""

import torch
from torch import Tensor, nn

from facecli.model import FaceNetwork
from facecli.rounding import LEVELS, Steps
from facecli.train.watch import watch

BEYOND = 1e-5
"""Share of the values that a range leaves out, at either end."""

SMALLEST = 1e-4
"""Of the steps: the file's halves hold no much smaller ones. A block that has learned nothing yet says nought."""

LOOKED_AT = 2_000_000
"""Values of a layer that are sorted."""


@torch.no_grad()
def calibrate(
    network: FaceNetwork, image: Tensor, sharp: Tensor, rows: Tensor, part: nn.Module | None = None
) -> None:
    """Set every range, or those of a part, in the order of use, so that each layer sees what those before it have
    rounded.

    image: many crops, n 3 256 256 in 0..1; sharp: those `rows` of them that have detail, at 512 px. Raises ValueError
    where none has: the detail head would not be seen at work.
    """
    if not len(rows):
        raise ValueError("no sample has detail: the ranges of the detail head cannot be found")
    hooks = [
        module.register_forward_pre_hook(_measure)
        for module in (part or network).modules()
        if isinstance(module, Steps)
    ]
    watch(network, image, sharp, rows, hooks)


def _measure(steps: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
    assert isinstance(steps, Steps)
    values = given[0].flatten()
    values = values[:: max(1, len(values) // LOOKED_AT)].float().sort().values
    edge = int(BEYOND * len(values))
    low, high = min(float(values[edge]), 0.0), max(float(values[-1 - edge]), 0.0)
    steps.step.fill_(max((high - low) / LEVELS, SMALLEST))
    steps.zero.fill_(round(-low / float(steps.step)))
