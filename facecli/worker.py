"""One photo from its bytes to its result folder: what a worker process does, over and over."""

import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import cv2

from facecli import __version__
from facecli.errors import DeviceError, FaceError
from facecli.images import Image, read_image
from facecli.inputs import Input, read_bytes
from facecli.options import Settings
from facecli.outcome import Outcome, Status
from facecli.pipeline import Reconstructor
from facecli.result import face_files
from facecli.runtime import is_out_of_memory
from facecli.store import Writer
from facecli.weights import load_weights

F = TypeVar("F", bound="Timed")
G = TypeVar("G", bound="Timed", covariant=True)

NO_MEMORY = "not enough memory for it; scale it down, or raise --memory"
_KEPT_BYTES = 256 << 20  # of freed memory, for the next photo
_LARGE_BYTES = 32 << 20  # an array from here on is given back at once


@runtime_checkable
class Timed(Protocol):
    """A face that knows how long its stages took; pipeline.Face does."""

    @property
    def seconds(self) -> Mapping[str, float]: ...


@runtime_checkable
class Reconstructs(Protocol[G]):
    """Anything that turns a photo into faces; pipeline.Reconstructor does."""

    def reconstruct(self, image: Image) -> Sequence[G]: ...


def start(settings: Settings, threads: int, writer: Writer) -> Callable[[Input], Outcome]:
    """Load everything once -> do_photo for these settings. threads: this worker's share of the CPU's.

    Raises WeightsError, DeviceError and OutputError.
    """
    _keep_freed_memory()
    cv2.setNumThreads(threads)
    writer.hold()
    weights = load_weights()
    versions = {"facecli": __version__, "weights": weights.manifest.version}
    reconstructor = Reconstructor(
        settings.device,
        weights=weights,
        threads=threads,
        focal=settings.focal,
        detail=settings.detail,
        whole="face" in settings.options.meshes,
        detail_scale=settings.options.detail_scale,
        expression=settings.options.blendshapes or settings.options.neutral,
    )
    files_of = partial(face_files, options=settings.options, versions=versions)
    own_memory = reconstructor.network.device.startswith("CPU")
    return partial(
        do_photo, reconstructor=reconstructor, files_of=files_of, writer=writer, own_memory=own_memory
    )


def do_photo(
    item: Input,
    reconstructor: Reconstructs[F],
    files_of: Callable[[F, int, Image, str], dict[str, bytes]],
    writer: Writer,
    own_memory: bool = True,
    read: Callable[[Path], bytes] = read_bytes,
) -> Outcome:
    """Read, decode, reconstruct, write -> the outcome, when the results stand under their final name.

    files_of(face, index, image, name) serialises one face into {file name: bytes}. Errors of one photo,
    internal ones included, become its outcome; FaceErrors of the whole run (exit_code 2) are raised.
    own_memory: memory runs out because of this photo, not because others fill the GPU. read: where its bytes are had.
    """
    clock = _Clock()
    faces: dict[str, dict[str, int]] = {}
    error = trace = None
    try:
        faces = _do_photo(item, reconstructor, files_of, writer, clock, read)
        status: Status = "ok" if faces else "no_face"
    except Exception as exc:  # the one boundary: a fault on this photo is this photo's
        status = "failed"
        if own_memory and _is_out_of_memory(exc):
            error = NO_MEMORY
        elif isinstance(exc, FaceError):
            if exc.exit_code != 1:
                raise
            error = str(exc)
        else:
            error = f"internal error ({type(exc).__name__}: {exc}); please report it"
            trace = traceback.format_exc()
    return Outcome(item, status, faces, error, trace, clock.total(), clock.seconds)


def _do_photo(
    item: Input,
    reconstructor: Reconstructs[F],
    files_of: Callable[[F, int, Image, str], dict[str, bytes]],
    writer: Writer,
    clock: "_Clock",
    read: Callable[[Path], bytes],
) -> dict[str, dict[str, int]]:
    data = read(item.path)
    clock.mark("read")
    image = read_image(data)
    clock.mark("decode")
    found = reconstructor.reconstruct(image)
    clock.mark("detect")  # all of it, where no face tells more
    for face in found:
        clock.split("detect", face.seconds)
    faces = {f"face{index}": files_of(face, index, image, item.name) for index, face in enumerate(found)}
    clock.mark("encode")
    writer.write(
        item.name, {f"{face}/{name}": data for face, files in faces.items() for name, data in files.items()}
    )
    clock.mark("write")
    return {
        f"{item.name}/{face}": {name: len(data) for name, data in files.items()}
        for face, files in faces.items()
    }


class _Clock:
    """Wall time by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = self._last = time.perf_counter()

    def mark(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = now - self._last
        self._last = now

    def split(self, stage: str, parts: Mapping[str, float]) -> None:
        """Tell parts of a stage by their own names; what they leave over keeps its name."""
        for part, seconds in parts.items():
            if part != stage:
                self.seconds[part] = self.seconds.get(part, 0.0) + seconds
                self.seconds[stage] -= seconds

    def total(self) -> float:
        return time.perf_counter() - self._began


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, FaceError):
        return (
            isinstance(error, DeviceError)
            and error.__cause__ is not None
            and is_out_of_memory(error.__cause__)
        )
    return is_out_of_memory(error)


def _keep_freed_memory() -> None:
    """Let glibc keep what one photo frees for the next one: new pages cost a tenth of the time."""
    if sys.platform != "linux":
        return
    import ctypes

    tune: Any = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:  # another C library may have none
        tune(-3, _LARGE_BYTES)  # M_MMAP_THRESHOLD
        tune(-1, _KEPT_BYTES)  # M_TRIM_THRESHOLD
