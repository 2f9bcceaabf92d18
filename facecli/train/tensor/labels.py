"""The labels of a batch of samples in the network's layout: `facecli.train.sample`'s `pack_*` in tensors."""

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from facecli.train.headmodel import GUMS, LACRIMAL, SCLERA_LEFT, TEETH
from facecli.train.sample import COARSE, FAR, FULL, KNOWN, LARGEST_DETAIL, REGION, STEEP, UNIT
from facecli.train.tensor.filters import dilated
from facecli.train.tensor.fusion import fused
from facecli.train.tensor.resident import resident
from facecli.upsample import FIT_RADIUS, FIT_SIGMA, FLATTENING, spline_matrix

GROWN = 8
"""Coarse pixels by which a surface is continued past where the spline over it could feel anything."""


def cells(field: Float[Tensor, "n s s"]) -> Float[Tensor, "n 128 128"]:
    """Sums over the pixels of each coarse cell."""
    n, size = field.shape[:2]
    step = size // COARSE
    return field.reshape(n, COARSE, step, COARSE, step).sum((2, 4))


@fused
def pack(
    image: Float[Tensor, "n s s 3"],
    region: Bool[Tensor, "n s s"],
    coordinate: Float[Tensor, "n s s 3"],
    depth: Float[Tensor, "n s s"],
    part: Int[Tensor, "n s s"],
) -> dict[str, Tensor]:
    """All labels but the detail, and the image as it is stored."""
    coarse, known = pack_coarse(coordinate, depth, region)
    return {
        "image": image.clamp(0, 255).to(torch.uint8),
        "region": pack_region(region),
        "coarse": coarse,
        "known": known,
        "opening": pack_opening(part, region),
    }


def pack_opening(part: Int[Tensor, "n s s"], surface: Bool[Tensor, "n s s"]) -> UInt8[Tensor, "n 128 128"]:
    """Share, 0..255, of each cell's surface that shows eyes, teeth or gums."""
    open_ = (part == GUMS) | (part == TEETH) | ((part >= SCLERA_LEFT) & (part < LACRIMAL))
    shown, drawn = cells((open_ & surface).double()), cells(surface.double())
    return (shown / drawn.clamp(min=1) * 255).round().to(torch.uint8)


def pack_coarse(
    coordinate: Float[Tensor, "n s s 3"], depth: Float[Tensor, "n s s"], surface: Bool[Tensor, "n s s"]
) -> tuple[Float[Tensor, "n 128 128 4"], Float[Tensor, "n 128 128"]]:
    """Average the maps to 128 px over pixels of the surface only; known where most of a cell is surface."""
    maps = torch.cat([coordinate, depth[..., None]], -1).double() * surface[..., None]
    count = cells(surface.double())
    sums = torch.stack([cells(channel) for channel in maps.unbind(-1)], -1)
    mean = sums / (count.clamp(min=1) * UNIT)[..., None]
    step = surface.shape[1] // COARSE
    return mean.float(), (count > KNOWN * step * step).float()


def pack_region(region: Bool[Tensor, "n s s"]) -> UInt8[Tensor, "n 256 256"]:
    """Area-averaged region, 0..255."""
    n, size = region.shape[:2]
    step = size // REGION
    total = region.long().reshape(n, REGION, step, REGION, step).sum((2, 4)) * 255
    return torch.div(total + step * step // 2, step * step, rounding_mode="floor").to(torch.uint8)


def pack_detail(
    depth: Float[Tensor, "n 512 512"],
    facing: Float[Tensor, "n 512 512"],
    relief: Float[Tensor, "n 512 512"],
    coarse: Float[Tensor, "n 128 128 4"],
    known: Float[Tensor, "n 128 128"],
    skin: Bool[Tensor, "n 512 512"],
) -> Float[Tensor, "n 512 512"]:
    """What 128 px cannot hold of the surface, and the relief on it, mm along the normal; only known on `skin`, and near
    its end and where it is steep the relief alone."""
    lost = (depth - smoothed(coarse[..., 3] * UNIT, known > 0)) * facing
    near_step = dilated((lost.abs() > LARGEST_DETAIL).float(), 5) > 0
    sure = (known > 0).repeat_interleave(FULL // COARSE, 1).repeat_interleave(FULL // COARSE, 2)
    counted = functional.interpolate(
        _gentle(coarse[..., 3] * UNIT, known)[:, None], (FULL, FULL), mode="bilinear", align_corners=False
    )[:, 0]
    return torch.where(skin & ~near_step & sure, lost * counted + relief, torch.nan)


def _gentle(
    depth: Float[Tensor, "n 128 128"], known: Float[Tensor, "n 128 128"]
) -> Float[Tensor, "n 128 128"]:
    """1 where all pixels around are known, and of nearly one depth (mm); else 0."""
    nearest = dilated(torch.where(known > 0, depth, -FAR), 3)
    farthest = -dilated(torch.where(known > 0, -depth, -FAR), 3)
    everywhere = -dilated(-known, 3)
    return everywhere * (nearest - farthest < STEEP)


def smoothed(values: Float[Tensor, "n h h"], mask: Bool[Tensor, "n h h"]) -> Float[Tensor, "n 512 512"]:
    """The cubic spline through the values inside the mask, at 512 px: as `facecli.upsample.upsample_masked`.

    Past the local planes about the mask's edge, the surface goes on by means of what is beside instead of by what is
    nearest; the spline inside feels a thousandth of that.
    """
    inside = mask.float()
    mean = (values * inside).sum((1, 2), keepdim=True) / inside.sum((1, 2), keepdim=True).clamp(min=1)
    known = torch.where(mask, values - mean, 0)
    filled, there = known, inside
    for _ in range(GROWN):
        weight = functional.avg_pool2d(there[:, None], 3, 1, 1)[:, 0]
        beside = functional.avg_pool2d((filled * there)[:, None], 3, 1, 1)[:, 0] / weight.clamp(min=1e-6)
        filled = torch.where(there > 0, filled, torch.where(weight > 0, beside, 0))
        there = (weight > 0).float()
    ring = (dilated(inside, 2 * FIT_RADIUS - 1) > 0) & ~mask
    filled = torch.where(ring, _planes(known, inside), filled)
    spline = resident(spline_matrix(values.shape[1], FULL), values.device)
    finer = spline @ (filled + mean) @ spline.T
    return torch.where(mask.flatten(1).any(1)[:, None, None], finer, 0)


def _planes(known: Float[Tensor, "n h h"], inside: Float[Tensor, "n h h"]) -> Float[Tensor, "n h h"]:
    """At each pixel the value of the plane that fits what is known about it best, in a Gaussian window."""
    offset = torch.arange(-FIT_RADIUS, FIT_RADIUS + 1, device=known.device, dtype=torch.float32)
    window = torch.exp(-(offset**2) / (2 * FIT_SIGMA**2))

    def moment(field: Float[Tensor, "n h h"], x: int, y: int) -> Float[Tensor, "n h h"]:
        across, down = (window * offset**power for power in (x, y))
        rows = functional.conv2d(field[:, None], across[None, None, None], padding=(0, FIT_RADIUS))
        return functional.conv2d(rows, down[None, None, :, None], padding=(FIT_RADIUS, 0))[:, 0].double()

    m = {(x, y): moment(inside, x, y) for x in range(3) for y in range(3) if x + y <= 2}
    slope = FLATTENING * m[0, 0]
    a, b, c, d, e, f = m[0, 0], m[1, 0], m[0, 1], m[2, 0] + slope, m[1, 1], m[0, 2] + slope
    p, q, r = moment(known, 0, 0), moment(known, 1, 0), moment(known, 0, 1)
    # Cramer's rule for the plane's height; the system is symmetric.
    minor = d * f - e * e
    whole = a * minor - b * (b * f - e * c) + c * (b * e - d * c)
    height = p * minor - b * (q * f - e * r) + c * (q * e - d * r)
    return torch.where(whole.abs() > 1e-12, height / whole, 0).float()
