"""Photos on many machines: the callable for Ray Data, which turns bytes of photos into rows of results.

    ray.data.read_binary_files("s3://bucket/photos", include_paths=True)
        .map_batches(FaceBatch, batch_size=16, num_cpus=1, compute=ActorPoolStrategy(min_size=1, max_size=100))
        .write_parquet("s3://bucket/rows")

One row a photo, whatever became of it (`SCHEMA`). A row holds the bytes of the very files that `facecli reconstruct`
would write, so that `facecli assemble` only has to put them where they belong; a folder of files for every photo is
what a million photos do to a file system. Needs the extra `ray`; pyarrow alone reads the rows again.
"""

import os
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from facecli.batch import explain, start_worker
from facecli.inputs import Input
from facecli.isolate import Crew, Lost, fair_handful, map_handfuls
from facecli.machine import default_handful
from facecli.options import Options, Settings
from facecli.outcome import Outcome
from facecli.store import Writer
from facecli.weights import load_weights

SCHEMA = pa.schema(
    {
        "path": pa.string(),  # as Ray read it: the id of a row
        "name": pa.string(),  # the result's folder in OUT
        "status": pa.string(),  # ok, no_face or failed
        "error": pa.string(),  # why it failed, else null
        "faces": pa.int32(),
        "seconds": pa.float64(),  # spent on the photo
        "size": pa.int64(),  # of the photo, bytes
        "settings": pa.string(),  # what decides the results, hashed, as in manifest.jsonl
        "weights": pa.string(),
        "files": pa.list_(pa.struct({"name": pa.string(), "data": pa.large_binary()})),  # face0/mesh.ply, ...
    }
)
COMPACT = Settings(Options(formats=("ply",), preview=False))  # binary; OBJ and previews are larger

Start = Callable[[Settings, int, Writer], Callable[..., Iterator[Outcome]]]


@dataclass(frozen=True)
class Photo:
    """One photo on its way to a worker. place: in its batch."""

    place: int
    path: str
    name: str
    data: bytes


class FaceBatch:
    """Batches of photos -> rows, for `Dataset.map_batches`: made once in each actor, then called batch by batch.

    settings: what to make of a face. root: photos are named relative to it, as `facecli reconstruct ROOT` does;
    default: by their whole path. timeout: seconds for one photo. memory: bytes for one worker, None = no limit.
    threads: of the CPU, for one worker. workers: processes of this actor; on a GPU each takes a handful of the batch at
    once. start: what a worker calls once; another function can stand in for the network.

    The work is done in processes of their own, because an actor that dies takes its batch along, and Ray starts it
    again for ever: here a crash, a hang or a swollen process costs its photo, which gets a row that says so.

    Raises WeightsError and DeviceError, which concern every photo: those end the job.
    """

    def __init__(
        self,
        settings: Settings = COMPACT,
        root: str = "",
        timeout: float = 300.0,
        memory: int | None = None,
        threads: int = 1,
        workers: int = 1,
        start: Start = start_worker,
    ) -> None:
        self.settings, self.root = settings, root
        self.handful = default_handful(settings.device, timeout)
        self.weights = load_weights().manifest.identity
        # Workers inherit it: they import NumPy with this module, before start_worker could tell its BLAS.
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        make = partial(_start_photos, settings, threads, start)
        self._crew: Crew[tuple[Photo, ...], list[tuple[Photo, Outcome, dict[str, bytes]]]]
        self._crew = Crew(make, workers, timeout, memory)

    def __call__(self, batch: Mapping[str, np.ndarray]) -> pa.Table:
        """A batch with the columns `path` and `bytes` -> a table of SCHEMA in the same order."""
        photos = [
            Photo(place, str(path), result_name(str(path), self.root), bytes(data))
            for place, (path, data) in enumerate(zip(batch["path"], batch["bytes"], strict=True))
        ]
        rows: dict[int, dict[str, Any]] = {}
        most = fair_handful(self.handful, len(photos), self._crew.workers)
        for some, done in map_handfuls(self._crew, photos, most):
            if isinstance(done, Lost):
                item = Input(Path(some[0].path), some[0].name)
                done = [(some[0], Outcome(item, "failed", {}, explain(done)), {})]
            for photo, outcome, files in done:
                rows[photo.place] = self._row(photo, outcome, files)
        return pa.Table.from_pylist([rows[photo.place] for photo in photos], schema=SCHEMA)

    def _row(self, photo: Photo, outcome: Outcome, files: Mapping[str, bytes]) -> dict[str, Any]:
        return {
            "path": photo.path,
            "name": photo.name,
            "status": outcome.status,
            "error": outcome.error,
            "faces": len(outcome.faces),
            "seconds": round(outcome.seconds, 3),
            "size": len(photo.data),
            "settings": self.settings.key,
            "weights": self.weights,
            "files": [{"name": name, "data": data} for name, data in files.items()],
        }


def result_name(path: str, root: str = "") -> str:
    """The name of a photo's result: its path below root, without scheme; all of it when it lies elsewhere."""
    path, root = (text.split("://", 1)[-1] for text in (path, root))
    root = root.rstrip("/") + "/"
    inner = path.removeprefix(root) if root != "/" else path
    return posixpath.normpath("/" + inner).lstrip("/")


@dataclass(frozen=True)
class _Kept(Writer):
    """A writer that keeps the files of one photo instead of writing them."""

    files: dict[str, bytes] = field(default_factory=dict)

    def hold(self) -> None:
        """There is no folder to hold."""

    def write(self, name: str, files: Mapping[str, bytes]) -> Path:
        """Keep them."""
        self.files.update(files)
        return Path(name)


def _start_photos(
    settings: Settings, threads: int, start: Start
) -> Callable[[Sequence[Photo]], list[tuple[Photo, Outcome, dict[str, bytes]]]]:
    """What a worker calls once."""
    kept = _Kept(Path(), Path())
    do_photos = start(settings, threads, kept)

    def do(photos: Sequence[Photo]) -> list[tuple[Photo, Outcome, dict[str, bytes]]]:
        items = [Input(Path(photo.path), photo.name) for photo in photos]
        # Photos may share a name, here or for pathlib: they are told apart by the objects that stand for them.
        photo_of = dict(zip(map(id, items), photos, strict=True))
        done = []
        for outcome in do_photos(items, read=lambda item: photo_of[id(item)].data):
            done.append((photo_of[id(outcome.input)], outcome, dict(kept.files)))
            kept.files.clear()
        return done

    return do
