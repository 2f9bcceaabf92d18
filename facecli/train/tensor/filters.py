"""Filters of pictures in tensors that come out as OpenCV's: blur, pyramids, sizes, morphology; borders are mirrored.

Each picture of a batch has a blur of its own; kernels are as long as the widest could need.
"""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional

from facecli.train.tensor.resident import numbers

PYRAMID = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def blur(
    pictures: Float[Tensor, "n h w"], sigma: Float[Tensor, "n"] | float, widest: float | None = None
) -> Float[Tensor, "n h w"]:
    """Gaussian blur by `sigma` pixels, cut off at four of it; `widest` is the largest that sigma can be."""
    if not isinstance(sigma, Tensor):
        widest = sigma
        sigma = torch.full((len(pictures),), sigma, device=pictures.device)
    if widest is None:
        raise ValueError("how wide a blur can be has to be known before it is drawn")
    reach = round(widest * 4 + 0.5)
    offset = torch.arange(-reach, reach + 1, device=pictures.device, dtype=torch.float32)
    kernel = torch.exp(-(offset**2) / (2 * sigma[:, None] ** 2).clamp(min=1e-9))
    # OpenCV's number of taps: an odd one near eight sigmas
    own = torch.div((sigma * 8 + 1).round(), 2, rounding_mode="floor")
    kernel = torch.where(offset.abs() <= own[:, None], kernel, 0)
    return separable(pictures, kernel / kernel.sum(1, keepdim=True))


def separable(pictures: Float[Tensor, "n h w"], kernel: Float[Tensor, "n k"]) -> Float[Tensor, "n h w"]:
    """Each picture filtered down and across by its kernel."""
    n, taps = kernel.shape
    reach = taps // 2
    if torch.compiler.is_compiling():
        return _weighted(_weighted(pictures, kernel, 2), kernel, 1)
    across = functional.conv2d(mirrored(pictures, reach, -1)[None], kernel[:, None, None, :], groups=n)
    down = mirrored(across[0], reach, -2)[None]
    return functional.conv2d(down, kernel[:, None, :, None], groups=n)[0]


def _weighted(
    pictures: Float[Tensor, "n h w"], kernel: Float[Tensor, "n k"], axis: int
) -> Float[Tensor, "n h w"]:
    """Along one axis, as a compiler takes it best: all taps are read and summed in one kernel, with what comes before
    and after; a convolution would be a kernel of its own, and wide ones of one channel are slow on a GPU."""
    taps, length = kernel.shape[1], pictures.shape[axis]
    step = torch.arange(taps, device=pictures.device) - taps // 2
    at = _folded(torch.arange(length, device=pictures.device) + step[:, None], length)
    if axis == 2:
        return (pictures[:, :, at] * kernel[:, None, :, None]).sum(2)
    return (pictures[:, at] * kernel[:, :, None, None]).sum(1)


def _folded(at: Int[Tensor, "..."], length: int) -> Int[Tensor, "..."]:
    """Places beyond either end mirrored back."""
    period = max(2 * (length - 1), 1)
    at = at % period
    return torch.minimum(at, period - at)


def mirrored(pictures: Float[Tensor, "n h w"], reach: int, axis: int) -> Float[Tensor, "n h2 w2"]:
    """Pictures continued by `reach` pixels at both ends of an axis; what is at the border is not repeated."""
    length = pictures.shape[axis]
    at = torch.arange(-reach, length + reach, device=pictures.device)
    return pictures.index_select(axis, _folded(at, length))


def pyr_down(pictures: Float[Tensor, "n h w"]) -> Float[Tensor, "n h2 w2"]:
    """Half the size, Burt and Adelson's filter (1983)."""
    kernel = numbers(pictures.device, *PYRAMID).expand(len(pictures), 5)
    return separable(pictures, kernel)[:, ::2, ::2]


def pyr_up(pictures: Float[Tensor, "n h w"]) -> Float[Tensor, "n h2 w2"]:
    """Twice the size, by the same filter."""
    for axis in (1, 2):
        last = pictures.narrow(axis, pictures.shape[axis] - 1, 1)
        before = torch.cat([pictures.narrow(axis, min(1, pictures.shape[axis] - 1), 1),
                            pictures.narrow(axis, 0, pictures.shape[axis] - 1)], axis)  # fmt: skip
        after = torch.cat([pictures.narrow(axis, 1, pictures.shape[axis] - 1), last], axis)
        even, odd = (before + 6 * pictures + after) / 8, (pictures + after) / 2
        shape = list(pictures.shape)
        shape[axis] *= 2
        pictures = torch.stack([even, odd], axis + 1).reshape(shape)
    return pictures


def halved(pictures: Float[Tensor, "n h w"]) -> Float[Tensor, "n h2 w2"]:
    """Means of two by two pixels."""
    return functional.avg_pool2d(pictures[:, None], 2)[:, 0]


def resized(pictures: Float[Tensor, "n h w"], size: int, mode: str = "bilinear") -> Float[Tensor, "n s s"]:
    """At another size, `bilinear` or `bicubic` between pixels' centres."""
    return functional.interpolate(pictures[:, None], (size, size), mode=mode, align_corners=False)[:, 0]


def dilated(pictures: Float[Tensor, "n h w"], side: int) -> Float[Tensor, "n h w"]:
    """The largest in a square of so many pixels about each; beyond the border is nothing."""
    return functional.max_pool2d(pictures[:, None], side, 1, side // 2)[:, 0]


def closed(pictures: Float[Tensor, "n h w"], side: int) -> Float[Tensor, "n h w"]:
    """Morphological closing by a square of so many pixels."""
    return -dilated(-dilated(pictures, side), side)


def between(
    pictures: Shaped[Tensor, "n h w *c"], column: Float[Tensor, "n p"], row: Float[Tensor, "n p"]
) -> Float[Tensor, "n p *c"]:
    """Values between pixels, bilinear; those at the border are repeated."""
    n, height, width = pictures.shape[:3]
    column, row = column.clamp(0, width - 1), row.clamp(0, height - 1)
    left, top = column.long().clamp(max=width - 2), row.long().clamp(max=height - 2)
    u, v = column - left, row - top
    base = (torch.arange(n, device=pictures.device) * (height * width))[:, None] + top * width + left
    table = pictures.reshape(n * height * width, *pictures.shape[3:])
    a, b, c, d = (table[base + step].float() for step in (0, 1, width, width + 1))
    if pictures.dim() > 3:
        u, v = u[..., None], v[..., None]
    above, below = a + (b - a) * u, c + (d - c) * u
    return above + (below - above) * v


def repeating(
    noise: Float[Tensor, "n k k"], column: Float[Tensor, "n *p"], row: Float[Tensor, "n *p"]
) -> Float[Tensor, "n *p"]:
    """Values between pixels, bilinear, of noise that repeats in both directions."""
    left, top = column.floor(), row.floor()
    u, v = column - left, row - top
    a, c = left.long(), top.long()
    period, table = noise.shape[-1], noise.flatten(1)

    def at(row: Tensor, column: Tensor) -> Tensor:
        return table.gather(1, (row % period * period + column % period).flatten(1)).reshape(u.shape)

    above = at(c, a) + (at(c, a + 1) - at(c, a)) * u
    below = at(c + 1, a) + (at(c + 1, a + 1) - at(c + 1, a)) * u
    return above + (below - above) * v
