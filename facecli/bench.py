"""How fast the engine is on this machine, where its time goes and how much memory it takes.

It runs as for `facecli reconstruct`: worker processes, results on disk.
"""

import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facecli.batch import Plan, process, start_worker
from facecli.errors import FaceError, InputError
from facecli.images import read_image
from facecli.inputs import Input, read_bytes
from facecli.interrupt import Interrupt
from facecli.machine import cores, default_handful, default_limit, default_workers, resident, uses_gpu
from facecli.manifest import Identity, Manifest
from facecli.options import Settings
from facecli.outcome import Outcome
from facecli.peer import mediapipe_python, run_mediapipe
from facecli.roofline import ceiling
from facecli.store import Store

NAMES = 64  # result folders in use at once, so that a long run does not fill the disk
SAMPLING_SECONDS = 0.2
TIMEOUT_SECONDS = 600.0
FEWEST_SAMPLES = 20  # to lay a line through
CEILING_PHOTOS = 8  # enough to count what the networks do


@dataclass(frozen=True)
class Measured:
    """What a run of the engine took. Rates and stages leave the workers' start and first photos out."""

    photos: int
    faces: int
    failed: int
    workers: int
    photos_per_second: float  # warm
    faces_per_second: float
    stages: dict[str, float]  # mean seconds of a photo, in a worker
    gpu_busy: float | None  # share of the time in which the GPU ran the network; None: on the CPU
    peak_bytes: int  # of all processes together
    bytes_per_thousand: float | None  # by how much that grows over a thousand photos; None: too few to tell


def run_bench(
    inputs: Sequence[Input],
    settings: Settings,
    workers: int | None,
    count: int,
    size: int,
    python: str | None,
) -> dict[str, Any]:
    """Everything that `facecli bench` tells. python: one that has MediaPipe; default: this one if it does.

    Raises what a run raises, and UsageError when `python` has no MediaPipe.
    """
    crew = workers or default_workers(settings.device)
    with tempfile.TemporaryDirectory(prefix="facecli-bench-") as folder, Interrupt() as stop:
        photos = prepare(inputs, size, Path(folder))
        facts = asdict(measure(photos, settings, crew, count, stop))
        if not uses_gpu(settings.device):
            top = ceiling(photos[:CEILING_PHOTOS])
            share = facts["photos_per_second"] / top.photos_per_second
            facts["ceiling"] = asdict(top) | {"photos_per_second": top.photos_per_second, "share": share}
        peer = mediapipe_python(python)
        if peer is not None:
            facts["mediapipe"] = run_mediapipe(peer, photos, crew, count)
    return facts


def bench_lines(facts: dict[str, Any]) -> list[str]:
    """The same for people."""
    rate, memory, slope = facts["photos_per_second"], facts["peak_bytes"], facts["bytes_per_thousand"]
    lines = [f"{facts['photos']:,} photos, {facts['workers']} workers, {facts['failed']} failed"]
    lines += [f"{rate:8.2f} photos/s", f"{facts['faces_per_second']:8.2f} faces/s"]
    grows = "" if slope is None else f", {slope / 1e6:+.1f} MB over a thousand photos"
    lines += [f"{memory / 1e6:8.0f} MB of memory at most{grows}"]
    total = sum(facts["stages"].values())
    lines += [f"{total * 1000:8.1f} ms for a photo in its worker:"]
    for stage, seconds in facts["stages"].items():
        lines += [f"{seconds * 1000:8.1f} ms {stage:<10} {seconds / total:4.0%}"]
    if facts["gpu_busy"] is not None:
        lines += [f"{facts['gpu_busy']:8.0%} of the time the GPU runs the network"]
    if "ceiling" in facts:
        top = facts["ceiling"]
        what = (
            f"{top['flop_per_photo'] / 1e9:.1f} GFLOP a photo at {top['flop_per_second'] / 1e9:.0f} GFLOP/s"
        )
        lines += [f"{top['photos_per_second']:8.2f} photos/s is the limit of arithmetic in float32 ({what})"]
        lines += [f"{top['share']:8.0%} of that limit is reached"]
    if "mediapipe" in facts:
        peer = facts["mediapipe"]
        lines += [
            f"{peer['photos_per_second']:8.2f} photos/s by MediaPipe {peer['version']}, mesh written as OBJ"
        ]
    return lines


def prepare(photos: Sequence[Input], size: int, folder: Path) -> list[Path]:
    """The photos with `size` pixels on their longer side, as JPEG, in a folder; size 0: as they are.

    Raises ImageError and InputError.
    """
    if size == 0:
        return [item.path for item in photos]
    made = []
    for index, item in enumerate(photos):
        try:
            pixels = read_image(read_bytes(item.path)).pixels
        except FaceError as exc:
            raise type(exc)(f"{item.path}: {exc}") from exc
        scale = size / max(pixels.shape[:2])
        wide, high = (max(1, round(length * scale)) for length in (pixels.shape[1], pixels.shape[0]))
        scaled = cv2.resize(pixels, (wide, high), interpolation=cv2.INTER_AREA)
        made.append(folder / f"{index}.jpg")
        made[-1].write_bytes(cv2.imencode(".jpg", scaled[:, :, ::-1])[1].tobytes())
    return made


def measure(
    photos: Sequence[Path], settings: Settings, workers: int, count: int, stop: Interrupt
) -> Measured:
    """Run the engine over `count` photos, these again and again. Raises what a run raises, and InputError."""
    handful = default_handful(settings.device, TIMEOUT_SECONDS)
    names = max(NAMES, 4 * workers * handful)
    items = [Input(photos[n % len(photos)], f"{n % names}.jpg") for n in range(count)]
    todo = tuple((item, Identity.of(item.path)) for item in items)
    limit = default_limit(workers, settings.device)
    done: list[tuple[float, int, Outcome]] = []  # when, bytes in use, what
    with tempfile.TemporaryDirectory(prefix="facecli-bench-") as folder:
        root = Path(folder)
        with Store(root) as store, Manifest(root, settings.key, "bench") as manifest, _Memory() as memory:
            make = partial(start_worker, settings, max(1, cores() // workers), store.writer)
            plan = Plan(todo, (), ())
            for outcome in process(plan, manifest, make, workers, TIMEOUT_SECONDS, limit, stop, handful):
                done.append((time.monotonic(), memory.sample(), outcome))
    warm = done[min(2 * workers * handful, len(done) // 3) :]
    failed = [outcome for _, _, outcome in done if outcome.status == "failed"]
    if len(warm) < 2 or len(failed) == len(done):
        raise InputError(
            failed[0].error or "failed" if failed else "too few photos to measure; raise --photos"
        )
    seconds = warm[-1][0] - warm[0][0]
    outcomes = [outcome for _, _, outcome in warm[1:]]
    stages: dict[str, float] = {}
    for outcome in outcomes:
        for stage, spent in outcome.stages.items():
            stages[stage] = stages.get(stage, 0.0) + spent / len(outcomes)
    rate = len(outcomes) / seconds
    return Measured(
        photos=len(done),
        faces=sum(len(outcome.faces) for _, _, outcome in done),
        failed=len(failed),
        workers=workers,
        photos_per_second=rate,
        faces_per_second=sum(len(outcome.faces) for outcome in outcomes) / seconds,
        stages=stages,
        gpu_busy=rate * stages["gpu"] if "gpu" in stages else None,
        peak_bytes=memory.peak,
        bytes_per_thousand=growth([used for _, used, _ in warm]),
    )


def growth(used: Sequence[int]) -> float | None:
    """By how much a series of bytes grows over a thousand steps, a line laid through its second half."""
    later = np.array(used[len(used) // 2 :], np.float64)
    if len(later) < FEWEST_SAMPLES:
        return None
    return float(np.polyfit(np.arange(len(later)), later, 1)[0] * 1000)


class _Memory:
    """Bytes that this process and its workers occupy, looked at a few times a second; shared pages count twice."""

    def __init__(self) -> None:
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "_Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def sample(self) -> int:
        processes = [os.getpid(), *(child.pid or 0 for child in multiprocessing.active_children())]
        used = sum(map(resident, processes))
        self.peak = max(self.peak, used)
        return used

    def _watch(self) -> None:
        while not self._over.wait(SAMPLING_SECONDS):
            self.sample()
