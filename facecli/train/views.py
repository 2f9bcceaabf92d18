"""What the detail head is given of a sample, computed once by the rest of the network, and kept on disk."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor

from facecli.model import FaceNetwork
from facecli.train.augment import augment
from facecli.train.loader import collate
from facecli.train.losses import local_mean, steps
from facecli.train.sample import Sample
from facecli.train.shards import unpack

AROUND = 33
"""Pixels (of 512): how deep a place is counts from the mean of a square about it."""
DEEPEST = 1.0
"""mm below or above that mean: deeper is no relief, but a step from one surface to another."""
FEWEST = 3000
"""Pixels of known relief without which a sample is not worth keeping."""
BORDER = 8
"""Pixels kept around what is known: the head sees what is beside it."""
PIXELS = 4
"""Of the crop, to one of the network's features."""


@dataclass(frozen=True, eq=False)
class View:
    """A sample as the detail head sees it, cut to where its relief is known: the crop, the network's shared features
    and coarse maps, `PIXELS` to one of them; what the head is to say, mm; where that is known; and pixels per mm."""

    image: UInt8[Tensor, "3 h w"]
    shared: Float[Tensor, "c h4 w4"]
    coarse: Float[Tensor, "6 h4 w4"]
    relief: Float[Tensor, "h w"]
    known: Bool[Tensor, "h w"]
    per_mm: Float[Tensor, ""]

    def part(self, top: int, left: int, size: int) -> "View":
        """A square of it; beyond its edge there is nothing. All three in whole pixels of the features."""

        def cut(values: Tensor, step: int = 1) -> Tensor:
            there = values[..., top // step : (top + size) // step, left // step : (left + size) // step]
            height, width = there.shape[-2:]
            return F.pad(there, (0, size // step - width, 0, size // step - height))

        features = cut(self.shared, PIXELS), cut(self.coarse, PIXELS)
        return View(cut(self.image), *features, cut(self.relief), cut(self.known), self.per_mm)


def keep_views(network: FaceNetwork, shards: Path, folder: Path, seed: int) -> None:
    """Write the views of each shard's samples that have detail, degraded as in training; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(shards.glob("*.npz")):
        kept = folder / f"{path.stem}.safetensors"
        if kept.exists():
            continue
        rng = np.random.default_rng([seed, int(path.stem)])
        samples = (augment(sample, rng) for sample in unpack(path) if sample.detail is not None)
        views = [view for view in (view_of(network, sample) for sample in samples) if view is not None]
        tensors = {
            f"{k}.{field.name}": getattr(view, field.name).contiguous()
            for k, view in enumerate(views)
            for field in fields(View)
        }
        temporary = kept.with_suffix(".tmp")
        save_file(tensors, temporary)
        temporary.replace(kept)
        sys.stderr.write(f"{path.name}: {len(views)} views\n")


def stored_views(folder: Path) -> Iterator[View]:
    """What `keep_views` wrote."""
    for path in sorted(folder.glob("*.safetensors")):
        tensors = load_file(path)
        for k in range(len(tensors) // len(fields(View))):
            yield View(**{field.name: tensors[f"{k}.{field.name}"] for field in fields(View)})


@torch.no_grad()
def view_of(network: FaceNetwork, sample: Sample) -> View | None:
    """Of a sample with detail; none where too little of it is known."""
    batch = collate([sample])
    relief, per_mm = batch["detail"], PIXELS / batch["footprint"]
    known = sure(relief, per_mm[:, None, None, None])
    if known.sum() < FEWEST:
        return None
    shared, _, coarse = network.surface(batch["image"].permute(0, 3, 1, 2).float() / 255)
    down, across = (_reach(known[0, 0].any(axis)) for axis in (1, 0))
    few_down, few_across = (slice(r.start // PIXELS, r.stop // PIXELS) for r in (down, across))
    return View(
        batch["sharp"][0, down, across].permute(2, 0, 1),
        shared[0, :, few_down, few_across].half(),
        coarse[0, :, few_down, few_across],
        relief[0, 0, down, across].nan_to_num().half(),
        known[0, 0, down, across],
        per_mm[0],
    )


def _reach(known: Bool[Tensor, " n"]) -> slice:
    """From the first to the last, with a border, in whole pixels of the features."""
    first, last = int(known.nonzero()[0]), int(known.nonzero()[-1])
    begin, end = max(0, first - BORDER), min(len(known), last + 1 + BORDER)
    return slice(begin // PIXELS * PIXELS, -(-end // PIXELS) * PIXELS)


def sure(relief: Float[Tensor, "n 1 h w"], per_mm: Float[Tensor, "n 1 1 1"]) -> Bool[Tensor, "n 1 h w"]:
    """Where relief is known, and is relief: not next to steps, which no picture tells to a pixel."""
    there, height = relief.isfinite(), relief.nan_to_num()
    level = local_mean(height * there, AROUND) / local_mean(there.float(), AROUND).clamp(min=1e-3)
    even = there & ~steps(height, per_mm) & ((height - level).abs() < DEEPEST)
    return there & (-F.max_pool2d(-even.float(), 5, 1, 2) > 0.5)
