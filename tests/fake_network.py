"""A network that sees how bright each crop is: for the tests of what is around it."""

from collections.abc import Callable

import numpy as np

from facecli.handful import Ask, Seen
from facecli.runtime import Maps


class FakeNetwork:
    """Remembers the brightness of all crops, batch by batch; `trouble` may raise. Its GPU takes a second a crop."""

    def __init__(self, trouble: Callable[[], None] = lambda: None) -> None:
        self.gpu_seconds = 5.0
        self.batches: list[list[int]] = []
        self.trouble = trouble

    def run(self, crops: np.ndarray) -> list[Maps]:
        self.trouble()
        self.batches.append([int(crop.max()) for crop in crops])
        self.gpu_seconds += len(crops)
        coarse, fine = np.zeros((128, 128), np.float32), np.zeros((256, 256), np.float32)
        points, relief = np.zeros((128, 128, 3), np.float32), np.zeros((512, 512), np.float32)
        return [Maps(fine, points, coarse + level, coarse, coarse, relief) for level in self.batches[-1]]


def ask(*levels: int, pixels: int = 100) -> Ask:
    """For crops of these levels."""
    crops = np.empty((len(levels), 512, 512, 3), np.uint8)
    crops[:] = np.array(levels)[:, None, None, None]
    return Ask(crops, pixels)


def levels(seen: Seen) -> list[int]:
    """What an `ask` was answered."""
    return [int(maps.depth[0, 0]) for maps in seen.maps]
