"""OUT/manifest.jsonl: one line for every photo that was done, so that a second run knows what is left.

Lines are only ever appended, each in one write, so runs can share the file on a local disk, and a kill can tear
nothing but the last line, which readers skip. Shards write files of their own (`manifest-2-of-8.jsonl`), because
network drives do not append for two machines at once. The last line of a photo counts, in whatever file.

A photo is known by its name, size and time of last change: hashing a million photos again would take longer than
deciding. A photo that was touched is done again, into the same bytes.
"""

import errno
import json
import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from facecli import __version__
from facecli.errors import OutputError
from facecli.outcome import Outcome

SCHEMA = "facecli.manifest/1"
PATTERN = "manifest*.jsonl"


@dataclass(frozen=True)
class Identity:
    """A photo file as it was when it was chosen; sizes in bytes, -1 for a file that is not there."""

    path: str  # absolute
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> "Identity":
        absolute = os.path.abspath(path)  # noqa: PTH100  Path.absolute() keeps `..`
        try:
            facts = path.stat()
        except (OSError, ValueError):
            return cls(absolute, -1, -1)
        return cls(absolute, facts.st_size, facts.st_mtime_ns)


class Manifest:
    """The manifest of a run, open for appending: `with Manifest(out, settings.key, weights_key) as manifest`.

    shard: (i, n) of `--shard i/n`. append() raises OutputError.
    """

    def __init__(self, root: Path, settings: str, weights: str, shard: tuple[int, int] | None = None) -> None:
        self.root, self.settings, self.weights = root, settings, weights
        self.path = root / ("manifest.jsonl" if shard is None else f"manifest-{shard[0]}-of-{shard[1]}.jsonl")
        self._file: int | None = None  # from the first line on: a run that does nothing leaves nothing

    def __enter__(self) -> "Manifest":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)

    def append(self, outcome: Outcome, identity: Identity) -> None:
        """Note what became of a photo, when its results stand under their final name."""
        row = {
            "schema": SCHEMA,
            **outcome.to_json(),
            "input": identity.path,
            "size": identity.size,
            "mtime_ns": identity.mtime_ns,
            "settings": self.settings,
            "weights": self.weights,
            "version": __version__,
            "finished": round(time.time(), 6),
        }
        line = json.dumps(row).encode("ascii") + b"\n"
        try:
            if self._file is None:
                self._file = _open(self.path)
            if os.write(self._file, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as exc:
            raise self._cannot(exc) from exc

    def is_settled(self, row: Mapping[str, Any], identity: Identity, retry_failed: bool) -> bool:
        """Whether a photo's row says that doing it again would change nothing."""
        if (row.get("settings"), row.get("weights")) != (self.settings, self.weights):
            return False
        if (row.get("size"), row.get("mtime_ns")) != (identity.size, identity.mtime_ns):
            return False
        if row.get("status") == "failed":  # another version may do better
            return not retry_failed and row.get("version") == __version__
        return _is_whole(self.root, row)

    def _cannot(self, exc: OSError) -> OutputError:
        reason = exc.strerror or exc
        return OutputError(f"cannot write {str(self.path)!r}: {reason}; free space or choose another with -o")


def read_rows(root: Path, names: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
    """The last row of each photo, by name; of these names only, if they are given.

    Whatever is no row (a torn line, a blank one, another schema) is skipped. Raises OutputError for a manifest
    that cannot be read.
    """
    rows: dict[str, dict[str, Any]] = {}
    for path in sorted(path for path in root.glob(PATTERN) if path.is_file()):
        try:
            with path.open("rb") as file:
                for line in file:
                    row = _parse(line)
                    if row is None or (names is not None and row["name"] not in names):
                        continue
                    earlier = rows.get(row["name"])
                    if earlier is None or earlier["finished"] <= row["finished"]:
                        rows[row["name"]] = row
        except OSError as exc:
            raise OutputError(
                f"cannot read {str(path)!r}: {exc.strerror or exc}; choose another with -o"
            ) from exc
    return rows


def belongs_to_another(row: Mapping[str, Any], identity: Identity) -> bool:
    """Whether the result under this name is that of a different photo, elsewhere; a moved one is the same."""
    elsewhere = row.get("input") != identity.path
    other = (row.get("size"), row.get("mtime_ns")) != (identity.size, identity.mtime_ns)
    return row.get("status") == "ok" and elsewhere and other


def _open(path: Path) -> int:
    """For appending; behind a line that a dead run tore, ours begin on a new one."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
    end = os.lseek(file, 0, os.SEEK_END)
    if end:
        os.lseek(file, end - 1, os.SEEK_SET)
        if os.read(file, 1) != b"\n":
            os.write(file, b"\n")
    return file


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or row.get("schema") != SCHEMA:
        return None
    sound = isinstance(row.get("name"), str) and isinstance(row.get("finished"), int | float)
    return row if sound else None


def _is_whole(root: Path, row: Mapping[str, Any]) -> bool:
    """Whether every file that a row lists is there in its size, and no face more; a deleted result is redone."""
    try:
        folders = [face["folder"] for face in row["faces"]]
        for face in row["faces"]:
            place = f"{root}/{face['folder']}/"  # strings: pathlib would take half the time of a resumed run
            for name, size in face["files"].items():
                if os.stat(place + name).st_size != size:  # noqa: PTH116
                    return False
        there = sorted(os.listdir(f"{root}/{row['name']}"))  # noqa: PTH208
    except FileNotFoundError:
        return row.get("status") == "no_face" and not os.path.lexists(f"{root}/{row['name']}")
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False
    return there == sorted(folder.rsplit("/", 1)[-1] for folder in folders)
