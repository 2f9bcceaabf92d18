"""Photos from their bytes to their result folders: what a worker process does, over and over."""

import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar, runtime_checkable

import cv2

from facecli import __version__
from facecli.clock import Clock
from facecli.errors import DeviceError, FaceError
from facecli.handful import Result, Steps
from facecli.images import Image, read_image
from facecli.inputs import Input, read_bytes
from facecli.options import Settings
from facecli.outcome import Outcome, Status
from facecli.pipeline import Reconstructor
from facecli.result import face_files
from facecli.runtime import is_device_fault, is_out_of_memory
from facecli.store import Writer
from facecli.weights import load_weights

F = TypeVar("F")
G = TypeVar("G", covariant=True)

NO_MEMORY = "not enough memory for it; scale it down, or raise --memory"
FAULTY_DEVICE = 70  # exit status: the worker's GPU answers no more
_KEPT_BYTES = 256 << 20  # of freed memory, for the next photo
_LARGE_BYTES = 32 << 20  # an array from here on is given back at once


@runtime_checkable
class Reconstructs(Protocol[G]):
    """Anything that turns photos into faces; pipeline.Reconstructor does."""

    def steps(self, image: Image, clock: Clock) -> Steps[Sequence[G]]: ...

    def together(self, tasks: Iterable[Steps[Result]]) -> Iterator[Result]: ...


def start(settings: Settings, threads: int, writer: Writer) -> Callable[[Sequence[Input]], Iterator[Outcome]]:
    """Load everything once -> do_photos for these settings. threads: this worker's share of the CPU's.

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
        mirror=settings.mirror,
    )
    files_of = partial(face_files, options=settings.options, versions=versions)
    own_memory = reconstructor.network.device.startswith("CPU")
    return partial(
        do_photos, reconstructor=reconstructor, files_of=files_of, writer=writer, own_memory=own_memory
    )


def do_photos(
    items: Sequence[Input],
    reconstructor: Reconstructs[F],
    files_of: Callable[[F, int, Image, str], dict[str, bytes]],
    writer: Writer,
    own_memory: bool = True,
    read: Callable[[Input], bytes] = lambda item: read_bytes(item.path),
) -> Iterator[Outcome]:
    """Read, decode, reconstruct, write -> each photo's outcome, when its results stand under their final name.

    They come in the order in which photos are finished, before the next one is. files_of(face, index, image, name)
    serialises one face into {file name: bytes}. Errors of one photo, internal ones included, become its outcome;
    FaceErrors of the whole run (exit_code 2) are raised. own_memory: memory runs out because of this photo, not
    because others fill the GPU. read: where a photo's bytes are had.
    """
    return reconstructor.together(
        _do_photo(item, reconstructor, files_of, writer, own_memory, read) for item in items
    )


def _do_photo(
    item: Input,
    reconstructor: Reconstructs[F],
    files_of: Callable[[F, int, Image, str], dict[str, bytes]],
    writer: Writer,
    own_memory: bool,
    read: Callable[[Input], bytes],
) -> Steps[Outcome]:
    clock = Clock()
    faces: dict[str, dict[str, int]] = {}
    error = trace = None
    try:
        faces = yield from _make_faces(item, reconstructor, files_of, writer, clock, read)
        status: Status = "ok" if faces else "no_face"
    except Exception as exc:  # the one boundary: a fault on this photo is this photo's
        status = "failed"
        if own_memory and _is_out_of_memory(exc):
            error = NO_MEMORY
        elif is_device_fault(exc):  # CUDA answers no more in this process: let another one begin
            raise SystemExit(FAULTY_DEVICE) from exc
        elif isinstance(exc, FaceError):
            if exc.exit_code != 1:
                raise
            error = str(exc)
        else:
            error = f"internal error ({type(exc).__name__}: {exc}); please report it"
            trace = traceback.format_exc()
    return Outcome(item, status, faces, error, trace, clock.total(), clock.seconds)


def _make_faces(
    item: Input,
    reconstructor: Reconstructs[F],
    files_of: Callable[[F, int, Image, str], dict[str, bytes]],
    writer: Writer,
    clock: Clock,
    read: Callable[[Input], bytes],
) -> Steps[dict[str, dict[str, int]]]:
    data = read(item)
    clock.mark("read")
    image = read_image(data)
    clock.mark("decode")
    found = yield from reconstructor.steps(image, clock)
    clock.mark("assemble")
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
