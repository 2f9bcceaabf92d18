"""Lines and spots drawn on a batch of canvases at once, in no order: the sum or the maximum of many small dabs."""

import torch
from jaxtyping import Float
from torch import Tensor

INK = 0.9
"""What OpenCV's smooth line of a pixel's width lays on a canvas for each pixel of its length."""
FRACTION = 2**20
"""Sums are of whole parts of this: they come out the same in any order; they stay below 2**31 of them."""


def along(
    points: Float[Tensor, "n m p 2"], each: int
) -> tuple[Float[Tensor, "n m q 2"], Float[Tensor, "n m q"]]:
    """So many points on each piece of lines through `points`, and what length of the line is each point's."""
    step = (torch.arange(each, device=points.device) + 0.5) / each
    way = points[:, :, 1:] - points[:, :, :-1]
    every = points[:, :, :-1, None] + way[:, :, :, None] * step[:, None]
    length = (way.norm(dim=-1, keepdim=True) / each).expand(-1, -1, -1, each)
    return every.flatten(2, 3), length.flatten(2, 3)


def strokes(
    points: Float[Tensor, "n m p 2"], strength: Float[Tensor, "n m"], size: int, each: int
) -> Float[Tensor, "n s s"]:
    """Thin lines through `points` (pixels: column, row), for creases, which blur them."""
    at, length = along(points, each)
    weight = (strength[..., None] * length * INK).flatten(1)
    column, row = at.flatten(1, 2).unbind(-1)
    left, top = column.floor(), row.floor()
    u, v = column - left, row - top
    canvas = torch.zeros(len(points), size * size, dtype=torch.int32, device=points.device)
    places, parts = [], []
    for dx, across in ((0, 1 - u), (1, u)):
        for dy, down in ((0, 1 - v), (1, v)):
            x, y = left.long() + dx, top.long() + dy
            inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
            parts.append(torch.where(inside, weight * across * down * FRACTION, 0).round().int())
            places.append(y.clamp(0, size - 1) * size + x.clamp(0, size - 1))
    canvas.scatter_add_(1, torch.cat(places, 1), torch.cat(parts, 1))
    return (canvas / FRACTION).float().reshape(-1, size, size)


def dabs(
    at: Float[Tensor, "n d 2"],
    radius: Float[Tensor, "n d"],
    strength: Float[Tensor, "n d"],
    size: int,
    side: int,
) -> Float[Tensor, "n s s"]:
    """Discs of a radius about places (pixels: column, row), where several lie the strongest; `side`: pixels of the
    square that the largest needs."""
    offset = torch.arange(side, device=at.device) - side // 2
    x, y = (at[..., k, None].round().long() + offset for k in (0, 1))
    apart = torch.hypot((x - at[..., :1])[:, :, None, :], (y - at[..., 1:])[:, :, :, None])
    ink = (radius[..., None, None] + 0.6 - apart).clamp(0, 1) * strength[..., None, None]
    inside = ((x >= 0) & (x < size))[:, :, None, :] & ((y >= 0) & (y < size))[:, :, :, None]
    place = y.clamp(0, size - 1)[..., :, None] * size + x.clamp(0, size - 1)[..., None, :]
    canvas = torch.zeros(len(at), size * size, device=at.device)
    canvas.scatter_reduce_(1, place.flatten(1), torch.where(inside, ink, 0).flatten(1), "amax")
    return canvas.reshape(-1, size, size)
