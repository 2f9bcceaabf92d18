"""Many photos: which are left to do, workers to do them, a manifest of what was done. No photo stops the rest."""

import hashlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import TypeAlias

from facecli.errors import FolderTakenError
from facecli.inputs import Input
from facecli.interrupt import Interrupt
from facecli.isolate import Crew, Lost, fair_handful, map_handfuls
from facecli.manifest import Identity, Manifest, belongs_to_another, read_rows
from facecli.options import Settings
from facecli.outcome import Outcome
from facecli.store import Writer


@dataclass(frozen=True)
class Plan:
    """What a run will do, and what it need not do."""

    todo: tuple[tuple[Input, Identity], ...]
    skipped: tuple[Outcome, ...]
    refused: tuple[Outcome, ...]  # their folders hold another photo's result


def plan(inputs: Sequence[Input], manifest: Manifest, overwrite: bool, retry_failed: bool) -> Plan:
    """Compare the photos with the manifest of earlier runs. overwrite: do them all, whatever it says."""
    rows = {} if overwrite else read_rows(manifest.root, {item.name for item in inputs})
    todo, skipped, refused = [], [], []
    for item in inputs:
        row, identity = rows.get(item.name), Identity.of(item.path)
        if row is None:
            todo.append((item, identity))
        elif manifest.is_settled(row, identity, retry_failed):
            skipped.append(Outcome.from_json(row, item))
        elif belongs_to_another(row, identity) and os.path.lexists(manifest.root / item.name):
            taken = f"{item.name!r} in the output folder is the result of another photo, {row['input']!r}"
            error = FolderTakenError(f"{taken}; choose another folder with -o, or --overwrite it")
            refused.append(Outcome(item, "failed", {}, str(error)))
        else:
            todo.append((item, identity))
    return Plan(tuple(todo), tuple(skipped), tuple(refused))


# What a worker does with a handful of photos: each photo's outcome, as it is finished.
DoPhotos: TypeAlias = Callable[[Sequence[Input]], Iterator[Outcome]]


def process(
    planned: Plan,
    manifest: Manifest,
    make: Callable[[], DoPhotos],
    workers: int,
    timeout: float,
    memory: int | None,
    interrupt: Interrupt,
    handful: int = 1,
) -> Generator[Outcome, None, None]:
    """Do what is planned in worker processes -> outcomes as they come, earlier runs' first.

    make: what a worker calls once (start_worker with its arguments). timeout: seconds for a photo. memory: bytes for a
    worker. handful: photos that a worker takes at once, where there are enough for all workers. After an interrupt
    nothing new begins. FaceErrors of the whole run (exit_code 2) are raised.
    """
    yield from planned.skipped
    yield from planned.refused
    identities = {item.name: identity for item, identity in planned.todo}
    inputs = takewhile(lambda _: not interrupt.wanted, (item for item, _ in planned.todo))
    workers = max(1, min(workers, len(planned.todo)))
    most = fair_handful(handful, len(planned.todo), workers)
    with Crew(partial(_make_listing, make), workers, timeout, memory) as crew:
        for items, done in map_handfuls(crew, inputs, most):
            if isinstance(done, Lost):
                seconds = timeout if done.why == "late" else 0.0
                done = [Outcome(items[0], "failed", {}, explain(done), seconds=seconds)]
            for outcome in done:
                manifest.append(outcome, identities[outcome.input.name])
                yield outcome


def _make_listing(make: Callable[[], DoPhotos]) -> Callable[[tuple[Input, ...]], list[Outcome]]:
    """What a worker calls once: its outcomes travel together."""
    do_photos = make()
    return lambda items: list(do_photos(items))


def start_worker(settings: Settings, threads: int, writer: Writer) -> DoPhotos:
    """worker.start, with all that is heavy to import, in the worker's process."""
    # NumPy's BLAS reads it when it is imported. On more threads it adds up in another order: other last bits.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["OMP_NUM_THREADS"] = str(threads)  # torch's; beside a GPU it only copies
    from facecli.worker import start

    return start(settings, threads, writer)


def explain(lost: Lost) -> str:
    """Why a photo has no result, and what to do about it."""
    if lost.why == "late":
        return f"took longer than {lost.reason}; scale it down, or raise --timeout"
    if lost.reason == "SIGKILL":
        return "its worker was killed, perhaps for lack of memory; scale it down, or use fewer --workers"
    return f"a native library crashed on it ({lost.reason}); save it anew with another program"


def in_shard(item: Input, shard: tuple[int, int]) -> bool:
    """Whether a photo is in part i of n (from 1): by a hash of its name, so new photos move no other."""
    digest = hashlib.sha256(os.fsencode(item.name)).digest()
    return int.from_bytes(digest[:8], "big") % shard[1] == shard[0] - 1
