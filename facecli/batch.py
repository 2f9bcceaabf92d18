"""Many photos, one by one: read, decode, reconstruct, write. What spoils one photo never stops the rest."""

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from facecli.errors import FaceError
from facecli.images import Image, read_image
from facecli.inputs import Input, read_bytes
from facecli.outcome import Outcome, Status
from facecli.store import Store

F = TypeVar("F", covariant=True)
G = TypeVar("G")


@runtime_checkable
class Reconstructs(Protocol[F]):
    """Anything that turns a photo into faces; pipeline.Reconstructor does."""

    def reconstruct(self, image: Image) -> Sequence[F]: ...


def process(
    inputs: Sequence[Input],
    reconstructor: Reconstructs[G],
    files_of: Callable[[G, int, Image, str], dict[str, bytes]],
    store: Store,
) -> Iterator[Outcome]:
    """Do every photo in order, yielding its outcome as soon as its results stand under their final name.

    files_of(face, index, image, name) serialises one face into {file name: bytes}. Errors of one photo,
    internal ones included, become its outcome; FaceErrors of the whole run (exit_code 2) are raised.
    """
    for item in inputs:
        began = time.perf_counter()
        faces: dict[str, list[str]] = {}
        error = trace = None
        try:
            faces = _process_one(item, reconstructor, files_of, store)
            status: Status = "ok" if faces else "no_face"
        except FaceError as exc:
            if exc.exit_code != 1:
                raise
            status, error = "failed", str(exc)
        except Exception as exc:  # the one boundary: a fault on this photo is this photo's
            status, error = "failed", f"internal error ({type(exc).__name__}: {exc}); please report it"
            trace = traceback.format_exc()
        yield Outcome(item, status, faces, error, trace, time.perf_counter() - began)


def _process_one(
    item: Input,
    reconstructor: Reconstructs[G],
    files_of: Callable[[G, int, Image, str], dict[str, bytes]],
    store: Store,
) -> dict[str, list[str]]:
    image = read_image(read_bytes(item.path))
    faces = {
        f"face{index}": files_of(face, index, image, item.name)
        for index, face in enumerate(reconstructor.reconstruct(image))
    }
    store.write(
        item.name, {f"{face}/{name}": data for face, files in faces.items() for name, data in files.items()}
    )
    return {f"{item.name}/{face}": list(files) for face, files in faces.items()}
