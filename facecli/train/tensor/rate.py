"""How many synthetic heads a second a device draws, and what its memory and arithmetic alone would allow.

Like `facecli.roofline`: every operation of a batch is taken to read its operands from memory and to write its result
there, since each is a kernel of its own. What is marked for fusion is taken as the compiler makes kernels of it; what
lies in caches only makes it less.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from facecli.train.tensor.fusion import calling, fastest
from facecli.train.tensor.lowered import kernels
from facecli.train.tensor.source import Source

H100 = 3.35e12, 5e-6
"""Bytes a second of its memory, and seconds that a kernel takes to start from Python, at least."""
LOOKED_UP = ("index", "gather", "index_select")
"""Of tables these read what they answer, not all of it."""


@dataclass(frozen=True)
class Rate:
    """Of batches of `heads` pictures of `size` px: heads a second as measured; the floating point operations of matrix
    products and convolutions for a head; and bytes that each kernel of a batch moves."""

    heads: int
    size: int
    per_second: float
    flop: float
    moved: tuple[int, ...]

    @property
    def traffic(self) -> float:
        """Bytes moved for a head."""
        return sum(self.moved) / self.heads

    def ceiling(self, bytes_per_second: float, start: float) -> float:
        """Heads a second of a device of that memory, on which each kernel takes `start` seconds at least."""
        return self.heads / sum(max(moved / bytes_per_second, start) for moved in self.moved)


class _Counting(TorchDispatchMode):
    """What every kernel moves, bytes, and what is multiplied; what is marked for fusion moves what its kernels do."""

    def __init__(self) -> None:
        super().__init__()
        self.moved: list[int] = []
        self.flop, self._fused = 0, False

    def fuse(self, plain: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a marked function."""
        self.moved += kernels(plain, args, kwargs)
        self._fused = True
        try:
            return plain(*args, **kwargs)
        finally:
            self._fused = False

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        answer = function(*args, **(kwargs or {}))
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        made = [leaf for leaf in tree_leaves(answer) if isinstance(leaf, Tensor)]
        name = function.overloadpacket.__name__
        if function.is_view or not (given or made):
            return answer
        if name == "convolution":
            self.flop += 2 * made[0].numel() * math.prod(args[1].shape[1:])
        elif name in ("mm", "bmm", "addmm"):
            self.flop += 2 * made[0].numel() * given[-2].shape[-1]
        if not self._fused:
            looked_up = name in LOOKED_UP  # of the table, what is answered
            read = sum(_bytes(tensor) for tensor in given[looked_up:])
            self.moved.append(read + (1 + looked_up) * sum(_bytes(tensor) for tensor in made))
        return answer


def _bytes(tensor: Tensor) -> int:
    """Of the values that are there: what is expanded is stored once."""
    return tensor.element_size() * math.prod(
        size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride
    )


def measure(source: Source, heads: int, size: int, runs: int = 3) -> Rate:
    """Draw batches of `heads` heads; the first is to warm up."""
    taken = []
    for run in range(runs + 1):
        seeds = [(run, k) for k in range(heads)]
        begin = time.perf_counter()
        source.batch(seeds, size)  # waits for the device
        taken.append(time.perf_counter() - begin)
    # a CPU has nothing fused; what is counted there is what a GPU would do
    fusing = source.device.type == "cpu" or fastest(source.device) is not None
    with _Counting() as counted, calling(counted.fuse if fusing else None):
        source.batch(seeds, size)
    return Rate(heads, size, heads / min(taken[1:]), counted.flop / heads, tuple(counted.moved))
