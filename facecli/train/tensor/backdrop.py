"""What is behind a batch of heads: parts of portraits, mostly out of focus, or smooth gradients."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from facecli.train.tensor.dice import Dice
from facecli.train.tensor.filters import blur, resized
from facecli.train.tensor.fusion import fused

OUT_OF_FOCUS = (0.0, 3.0, 8.0, 20.0)
"""Blur, pixels at 512 px."""
COARSER = 4
"""Blurred ones are made at this part of the resolution."""


@fused
def backdrop(dice: Dice, crops: UInt8[Tensor, "p c c 3"], size: int) -> Float[Tensor, "n s s 3"]:
    """sRGB, 0..255, as `facecli.train.props.background` draws it."""
    n, side = dice.n, crops.shape[1]
    pick = dice.below(len(crops))
    wide = dice.uniform(0.25, 1.0).mul(side).floor()
    corner = (dice.random(2) * (side - wide[:, None] + 1)).floor()
    mirrored = dice.chance(0.5)[:, None]
    # Two by two points of the part for each pixel: about the mean over its area.
    at = (torch.arange(2 * size, device=dice.device) + 0.5) / (2 * size)
    across = torch.where(mirrored, 1 - at, at.expand(n, -1)) * wide[:, None] + corner[:, :1] - 0.5
    down = at * wide[:, None] + corner[:, 1:] - 0.5
    column, row = (a.round().long().clamp(0, side - 1) for a in (across, down))
    points = crops[pick[:, None, None], row[:, :, None], column[:, None, :]]
    sharp = functional.avg_pool2d(points.permute(0, 3, 1, 2).float(), 2)
    small = functional.avg_pool2d(sharp, COARSER).flatten(0, 1)
    sigma = dice.one_of(OUT_OF_FOCUS, (0.25, 0.25, 0.3, 0.2))
    scale = size / 512 / COARSER
    soft = blur(small, (sigma.clamp(min=1) * scale).repeat_interleave(3), OUT_OF_FOCUS[-1] * scale)
    soft = resized(soft, size).reshape(sharp.shape)
    photo = torch.where((sigma > 0)[:, None, None, None], soft, sharp)
    corners = (dice.uniform(0, 255, 1, 2, 2) + dice.normal(0, 30, 3, 2, 2)).clamp(0, 255)
    gradient = resized(corners.flatten(0, 1), size).reshape(sharp.shape)
    return torch.where(dice.chance(0.2)[:, None, None, None], gradient, photo).permute(0, 2, 3, 1)
