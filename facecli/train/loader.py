"""Shards on disk to batches, shuffled across shards, augmented; new shards join as they appear."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from facecli.train.augment import augment
from facecli.train.sample import FULL, Sample
from facecli.train.shards import unpack

OPEN_SHARDS = 6
"""Samples are drawn from this many shards at a time."""
WITHOUT = ("portraits", "degradations", "correspondence")
"""What a training can do without, to find out what it is worth: the samples made of portraits (sources A and C), what
cameras do to pictures, and the loss of the template coordinates."""


class Stream(IterableDataset[Sample]):
    """Endless augmented samples of a folder of shards; `detailed`: of those alone that have detail; `without`: see
    `WITHOUT`."""

    def __init__(
        self, folder: Path, seed: int, detailed: bool = False, without: tuple[str, ...] = ()
    ) -> None:
        self.folder, self.seed, self.detailed, self.without = folder, seed, detailed, without

    def __iter__(self) -> Iterator[Sample]:
        cv2.setNumThreads(1)
        info = get_worker_info()
        rng = np.random.default_rng([self.seed, 0 if info is None else info.id])
        buffer: list[Sample] = []
        for path in self._paths(rng):
            buffer.extend(sample for sample in unpack(path) if self._wanted(sample))
            while len(buffer) > (OPEN_SHARDS - 1) * 128:
                k = int(rng.integers(len(buffer)))
                buffer[k], buffer[-1] = buffer[-1], buffer[k]
                yield augment(buffer.pop(), rng, degrade="degradations" not in self.without)

    def _wanted(self, sample: Sample) -> bool:
        rendered = sample.source.startswith("synthetic")
        return (sample.detail is not None or not self.detailed) and (
            rendered or "portraits" not in self.without
        )

    def _paths(self, rng: np.random.Generator) -> Iterator[Path]:
        while True:
            paths = sorted(self.folder.glob("*.npz"))
            yield from (paths[i] for i in rng.permutation(len(paths)))


def collate(samples: list[Sample]) -> dict[str, torch.Tensor]:
    """Stack. `image` is 256 px for all; `sharp` and `detail` are 512 px, for the `rows` that have detail."""
    half = FULL // 2
    images = np.empty((len(samples), half, half, 3), np.uint8)
    rows = [k for k, sample in enumerate(samples) if sample.detail is not None]
    for k, sample in enumerate(samples):
        image = sample.image
        images[k] = (
            image if len(image) == half else cv2.resize(image, (half, half), interpolation=cv2.INTER_AREA)
        )
    sharp = np.zeros((len(rows), FULL, FULL, 3), np.uint8)
    detail = np.zeros((len(rows), 1, FULL, FULL), np.float32)
    for row, k in enumerate(rows):
        sharp[row], detail[row, 0] = samples[k].image, samples[k].detail
    return {
        "image": torch.from_numpy(images),
        "sharp": torch.from_numpy(sharp),
        "rows": torch.tensor(rows, dtype=torch.long),
        "region": torch.from_numpy(np.stack([s.region for s in samples])[:, None].astype(np.float32) / 255),
        "coarse": torch.from_numpy(
            np.ascontiguousarray(np.stack([s.coarse for s in samples]).transpose(0, 3, 1, 2))
        ),
        "known": torch.from_numpy(np.stack([s.known for s in samples])[:, None]),
        "opening": torch.from_numpy(np.stack([s.opening for s in samples])[:, None].astype(np.float32) / 255),
        "detail": torch.from_numpy(detail),
        "footprint": torch.tensor([s.footprint for s in samples]),
        "depth_weight": torch.tensor([s.depth_weight for s in samples]),
    }


def batches(
    folder: Path,
    batch_size: int,
    seed: int,
    workers: int = 1,
    detailed: bool = False,
    without: tuple[str, ...] = (),
) -> Iterator[dict[str, torch.Tensor]]:
    """Endless batches, prepared in `workers` processes."""
    loader = DataLoader(
        Stream(folder, seed, detailed, without),
        batch_size,
        num_workers=workers,
        collate_fn=collate,
        prefetch_factor=4 if workers else None,
    )
    return iter(loader)
