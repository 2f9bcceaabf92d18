"""A handful of photos whose faces go through the network together: on a GPU a batch costs little more than one face.

The work on a photo is a generator (`Steps`). It yields the crops that the network is to see, is sent what the network
saw, and returns its result. So the method reads as if there were one photo only, an error stays with its photo, and
how many photos share a batch is decided here.
"""

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from facecli.runtime import Maps

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Ask:
    """What a photo waits for."""

    crops: UInt8[np.ndarray, "n 512 512 3"]  # RGB, at least one
    pixels: int  # of the photo, which stays in memory meanwhile


@dataclass(frozen=True, eq=False)
class Seen:
    """The answer."""

    maps: list[Maps]  # one of each crop
    seconds: float  # this photo's share of the network's time
    gpu_seconds: float  # and of that, what the GPU's work took; 0 on the CPU


Steps: TypeAlias = Generator[Ask, Seen, Result]


@runtime_checkable
class Sees(Protocol):
    """Anything that looks at crops; runtime.Network does."""

    gpu_seconds: float  # spent so far

    def run(self, crops: UInt8[np.ndarray, "n 512 512 3"]) -> list[Maps]: ...


def in_step(tasks: Iterable[Steps[Result]], network: Sees, room: int) -> Iterator[Result]:
    """The results of tasks, as each is finished. room: pixels of photos that may wait for a batch; 0: each runs alone.

    A task is begun when those before it wait, and nothing but what waits is in memory. What a task raises goes through;
    what the network raises is raised in every task that waits for it.
    """
    waiting: list[tuple[Steps[Result], Ask]] = []
    for task in tasks:
        yield from _resume(task, None, waiting)
        if sum(ask.pixels for _, ask in waiting) >= room:
            yield from _finish(waiting, network)
    yield from _finish(waiting, network)


def _finish(waiting: list[tuple[Steps[Result], Ask]], network: Sees) -> Iterator[Result]:
    """Give all that wait what they wait for, until none does."""
    while waiting:
        asking = waiting.copy()
        waiting.clear()
        answers = _look([ask for _, ask in asking], network)
        for (task, _), answer in zip(asking, answers, strict=True):
            yield from _resume(task, answer, waiting)


def _resume(
    task: Steps[Result], answer: Seen | Exception | None, waiting: list[tuple[Steps[Result], Ask]]
) -> Iterator[Result]:
    """Its result, if this was all it waited for; else it waits again."""
    try:
        if answer is None:
            ask = next(task)
        elif isinstance(answer, Exception):
            ask = task.throw(answer)
        else:
            ask = task.send(answer)
    except StopIteration as end:
        yield end.value
    else:
        waiting.append((task, ask))


def _look(asks: Sequence[Ask], network: Sees) -> Sequence[Seen | Exception]:
    began, gpu_before = time.perf_counter(), network.gpu_seconds
    try:
        maps = iter(network.run(np.concatenate([ask.crops for ask in asks])))
    except Exception as error:
        return [error] * len(asks)
    faces = sum(len(ask.crops) for ask in asks)
    seconds, gpu_seconds = (time.perf_counter() - began) / faces, (network.gpu_seconds - gpu_before) / faces
    return [
        Seen(list(islice(maps, count)), seconds * count, gpu_seconds * count)
        for count in (len(ask.crops) for ask in asks)
    ]
