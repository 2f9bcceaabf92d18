"""Each loss with its formula, in the network's own units: 100 mm for coordinate and depth."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from facecli.train.sample import ABOVE, BEHIND, BELOW, BESIDE, UNIT

WEIGHTS = {
    "region": 1.0,
    "dice": 0.5,
    "opening": 6.0,
    "coordinate": 4.0,
    "depth": 4.0,
    "depth_nll": 0.1,
    "gradient": 12.0,
    "normal": 2.0,
    "relief_slope": 1.0,
    "relief_height": 0.5,
}
"""How the terms add up; chosen so that each is of order one early in training."""


CREASE = 0.004
"""Errors of the coarse depth's step to the next pixel beyond this (100 mm) count linearly."""

SLOPE, HEIGHT = 0.1, 0.1
"""Errors of detail beyond these (mm per mm, and mm) count linearly."""

STEEPEST = 1.0
"""mm per mm; where the label changes faster it is the edge of a nose or a lip against what is behind, not relief: half
of the label's variance, in a hundredth of its pixels, and at a place that no picture tells to a pixel."""


@dataclass(frozen=True)
class Targets:
    """A batch of labels: region (n, 1, 256, 256) in 0..1, coarse (n, 4, 128, 128), known and opening (n, 1, 128, 128),
    footprint (mm per coarse pixel) and depth_weight (n,), and for the d samples that have it, detail (d, 1,
    512, 512) in mm."""

    region: Tensor
    coarse: Tensor
    known: Tensor
    opening: Tensor
    footprint: Tensor
    depth_weight: Tensor
    detail: Tensor

    def halved(self) -> "Targets":
        """The same at half the resolution, without detail."""
        known = -F.max_pool2d(-self.known, 2)
        region, coarse, opening = (F.avg_pool2d(map_, 2) for map_ in (self.region, self.coarse, self.opening))
        return Targets(region, coarse, known, opening, self.footprint * 2, self.depth_weight, self.detail[:0])


def losses(region: Tensor, coarse: Tensor, target: Targets) -> dict[str, Tensor]:
    """Every term of the first two subtasks, unweighted, by name; inputs are the network's raw maps."""
    logit, coarse = region.float(), coarse.float()
    coordinate, depth = coarse[:, :3], coarse[:, 3:4]
    exact = target.known * target.depth_weight[:, None, None, None]
    error = depth - target.coarse[:, 3:4]
    return {
        "region": F.binary_cross_entropy_with_logits(logit, target.region),
        "dice": dice(logit, target.region),
        "opening": opening(coarse[:, 5:6], target),
        "coordinate": coordinate_l1(coordinate, target),
        "depth": mean(error.abs(), exact),
        "depth_nll": laplace(error, coarse[:, 4:5], exact),
        "gradient": gradient(error, exact),
        "normal": normal(depth, target, exact),
    }


def total(terms: dict[str, Tensor]) -> Tensor:
    """The one multi-task loss."""
    return torch.stack([WEIGHTS[name] * term for name, term in terms.items()]).sum()


def mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over everything."""
    return (values * weight).sum() / weight.expand_as(values).sum().clamp(min=1.0)


def dice(logit: Tensor, region: Tensor) -> Tensor:
    """1 - 2 |A B| / (|A| + |B|) per sample."""
    probability = logit.sigmoid()
    overlap = (probability * region).sum((1, 2, 3))
    return (1 - (2 * overlap + 1) / (probability.sum((1, 2, 3)) + region.sum((1, 2, 3)) + 1)).mean()


def at_features(target: Targets) -> tuple[Tensor, Tensor]:
    """Where the template's eyes, nose and mouth are seen, and where its mouth is; n 1 128 128, boolean."""
    x, y, z = target.coarse[:, 0:1], target.coarse[:, 1:2], target.coarse[:, 2:3]
    features = (x.abs() < BESIDE / UNIT) & (y < ABOVE / UNIT) & (y > BELOW / UNIT) & (z > BEHIND / UNIT)
    return features, (x.abs() < 0.34) & (y < -0.4) & (y > -0.98)


def opening(logit: Tensor, target: Targets) -> Tensor:
    """Cross entropy of the share that lids and lips uncover, ten times as heavy where it can be as elsewhere."""
    features, mouth = at_features(target)
    weight = target.known * (0.1 + 0.9 * (features | mouth))
    return mean(F.binary_cross_entropy_with_logits(logit, target.opening, reduction="none"), weight)


def coordinate_l1(coordinate: Tensor, target: Targets) -> Tensor:
    """L1 over the three axes, three times as heavy around eyes, nose and mouth (after PRNet's weighting).

    The lips weigh nine times: they are few pixels. Where they part nothing is asked: the coordinates of teeth are
    nearly those of lips, and a network that must tell them apart by a few mm blurs both.
    """
    features, mouth = at_features(target)
    lips = mouth & (target.coarse[:, 1:2] < -0.55) & (target.coarse[:, 1:2] > -0.95)
    weight = target.known * (1 + 2 * features + 6 * lips) * (1 - target.opening * mouth)
    return mean((coordinate - target.coarse[:, :3]).abs(), weight)


def laplace(error: Tensor, log_variance: Tensor, weight: Tensor) -> Tensor:
    """Laplace negative log likelihood under the predicted variance; trains the uncertainty alone."""
    half = log_variance.clamp(-12, 4) / 2
    return mean(1.4142 * error.detach().abs() * torch.exp(-half) + half, weight)


def gradient(error: Tensor, weight: Tensor) -> Tensor:
    """Error of differences at three scales (Li and Snavely 2018), where both pixels are known: squared where small, so
    that an uncertain crease is shallow rather than absent, linear, then constant across cuts."""
    terms = []
    for scale in (1, 2, 4):
        for axis in (2, 3):
            size = error.shape[axis] - scale
            a, b = error.narrow(axis, scale, size), error.narrow(axis, 0, size)
            w = torch.minimum(weight.narrow(axis, scale, size), weight.narrow(axis, 0, size))
            off = pseudo_huber((a - b) / (scale * CREASE)) * CREASE
            terms.append(mean(off.clamp(max=0.05), w))
    return torch.stack(terms).mean()


def normals_of(depth: Tensor, footprint: Tensor) -> Tensor:
    """Unit normals (x right, y down, z to the camera) of a depth map, as if seen from far away.

    From each pixel to the next, not from the one before: over two pixels the crease of a lid or of lips vanishes.
    """
    padded = F.pad(depth, (0, 1, 0, 1), mode="replicate")
    slope = UNIT / footprint[:, None, None, None]
    along_x = (padded[:, :, :-1, 1:] - depth) * slope
    along_y = (padded[:, :, 1:, :-1] - depth) * slope
    towards = (1 + along_x * along_x + along_y * along_y).rsqrt()
    return torch.cat([-along_x * towards, -along_y * towards, towards], 1)


def normal(depth: Tensor, target: Targets, weight: Tensor) -> Tensor:
    """(1 - cosine) + 0.5 L1 between the normals of predicted and true depth, inside the known area; twice as heavy
    around eyes, nose and mouth."""
    inside = -F.max_pool2d(-weight, 3, 1, 1)
    ours, true = normals_of(depth, target.footprint), normals_of(target.coarse[:, 3:4], target.footprint)
    cosine = (ours * true).sum(1, keepdim=True)
    features, _ = at_features(target)
    inside = inside * (1 + features)
    return mean(1 - cosine, inside) + 0.5 * mean((ours - true).abs(), inside)


def relief(detail: Tensor, target: Targets, rows: Tensor) -> dict[str, Tensor]:
    """Detail of the samples `rows`, judged by its slopes and by its height without the local mean."""
    ours, true = detail.float(), target.detail.nan_to_num()
    region = F.interpolate(target.region[rows], scale_factor=2.0, mode="nearest")
    region = region * F.interpolate(target.known[rows], scale_factor=4.0, mode="nearest")
    per_mm = 4 / target.footprint[rows][:, None, None, None]
    even = target.detail.isfinite() & ~steps(true, per_mm)
    inside = (-F.max_pool2d(-region * even, 7, 1, 3) > 0.9).float()
    terms = []
    for axis in (2, 3):
        for step in (1, 3):
            difference = ours.diff(n=1, dim=axis) if step == 1 else _far(ours, axis, step)
            wanted = true.diff(n=1, dim=axis) if step == 1 else _far(true, axis, step)
            w = inside.narrow(axis, step, 512 - step) * inside.narrow(axis, 0, 512 - step)
            terms.append(mean(pseudo_huber((difference - wanted) * per_mm / step / SLOPE), w))
    error = (ours - true) * inside
    level = local_mean(error, 33) / local_mean(inside, 33).clamp(min=0.01)
    height = mean(pseudo_huber((error - level) / HEIGHT), inside)
    return {"relief_slope": torch.stack(terms).mean(), "relief_height": height}


def steps(detail: Tensor, per_mm: Tensor) -> Tensor:
    """Pixels from which detail (n 1 h w, mm) is steeper than `STEEPEST` to the next; per_mm: pixels per mm."""
    right, down = F.pad(detail.diff(dim=3), (0, 1)), F.pad(detail.diff(dim=2), (0, 0, 0, 1))
    return torch.maximum(right.abs(), down.abs()) * per_mm > STEEPEST


def local_mean(values: Tensor, size: int) -> Tensor:
    """Mean over a square, zeros beyond the border, from running sums: the same work for a square of any size."""
    half = size // 2
    sums = F.pad(values, (half + 1, half, half + 1, half)).cumsum(2)
    sums = (sums[:, :, size:] - sums[:, :, :-size]).cumsum(3)
    return (sums[..., size:] - sums[..., :-size]) / size**2


def pseudo_huber(x: Tensor) -> Tensor:
    """sqrt(1 + x^2) - 1: quadratic below 1, so that uncertain relief tends to its mean. An absolute error tends to the
    median, and the median of skin is flat: with it the detail head learned to say nothing at all."""
    return (1 + x * x).sqrt() - 1


def _far(values: Tensor, axis: int, step: int) -> Tensor:
    return values.narrow(axis, step, 512 - step) - values.narrow(axis, 0, 512 - step)
