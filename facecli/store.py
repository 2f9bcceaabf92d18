"""Results on disk: whole or not at all.

Everything of one photo is written into a run's own hidden folder inside OUT and renamed to its final name in
one step, so what stands under a final name is complete, also after `kill -9` (not after a power cut: nothing
is synced). The hidden folder is locked while its run lives; the next run removes those whose run is dead.
"""

import os
import re
import secrets
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from facecli.errors import FolderTakenError, OutputError

_RUN_PREFIX = ".facecli-"
_FACE = re.compile(r"face\d+")


class Store:
    """The output folder, open for one run: `with Store(out) as store: store.write("a.jpg", {...})`.

    Raises OutputError on entering when the folder cannot be made or written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._run: Path = root
        self._lock: int | None = None
        self._count = 0

    def __enter__(self) -> "Store":
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            _remove_dead_runs(self.root)
            self._run, self._lock = _start_run(self.root)
        except OSError as exc:
            raise _cannot_write(self.root, exc) from exc
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._run, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write(self, name: str, files: Mapping[str, bytes]) -> Path:
        """Put files (`"face0/mesh.obj"` -> bytes) under OUT/name, replacing the result of an earlier run.

        No files means that the photo has no face: an earlier result is removed. Returns the final folder.
        Raises FolderTakenError where the name holds something that facecli did not write, OutputError when
        the disk refuses.
        """
        final = self.root / name
        self._count += 1
        fresh, old = self._run / f"{self._count}", self._run / f"{self._count}-old"
        try:
            _check_ours(final)
            for inner, data in files.items():
                target = fresh / inner
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            if final.is_dir():  # a rename cannot replace a folder that is not empty
                final.rename(old)
            try:
                if files:
                    final.parent.mkdir(parents=True, exist_ok=True)
                    fresh.rename(final)
            except BaseException:  # Ctrl-C included: the earlier result comes back
                if old.is_dir():
                    old.rename(final)
                raise
            shutil.rmtree(old, ignore_errors=True)
        except OSError as exc:
            shutil.rmtree(fresh, ignore_errors=True)
            raise _cannot_write(final, exc) from exc
        return final


def _check_ours(final: Path) -> None:
    """Only results are ever replaced, never a file or folder of the user's that happens to have the name."""
    if not final.exists() and not final.is_symlink():
        return
    if final.is_symlink() or not final.is_dir():
        raise FolderTakenError(f"{str(final)!r} is in the way; choose another output folder with -o")
    if not all(_FACE.fullmatch(entry.name) for entry in final.iterdir()):
        raise FolderTakenError(
            f"{str(final)!r} holds files of something else; choose another output folder with -o"
        )


def _cannot_write(path: Path, exc: OSError) -> OutputError:
    if isinstance(exc, FileExistsError | NotADirectoryError):
        return OutputError(f"{str(exc.filename or path)!r} is not a folder; choose another with -o")
    return OutputError(
        f"cannot write {str(path)!r}: {exc.strerror or exc}; free space or choose another with -o"
    )


def _start_run(root: Path) -> tuple[Path, int | None]:
    """A new hidden folder and the descriptor that holds its lock."""
    while True:
        run = root / f"{_RUN_PREFIX}{secrets.token_hex(4)}"
        run.mkdir()
        if sys.platform == "win32":
            return run, None
        try:
            lock, _ = _lock(run)
        except (FileNotFoundError, BlockingIOError):
            continue  # another run that starts right now took the unlocked folder for a dead one
        if run.is_dir():
            return run, lock
        os.close(lock)


def _remove_dead_runs(root: Path) -> None:
    if sys.platform == "win32":  # no lock there to tell the living from the dead
        return
    for run in root.glob(f"{_RUN_PREFIX}*"):
        try:
            lock, locked = _lock(run)
        except OSError:
            continue  # alive, gone, or not a folder
        if locked:
            shutil.rmtree(run, ignore_errors=True)
        os.close(lock)


def _lock(run: Path) -> tuple[int, bool]:
    """Open a folder and lock it -> (descriptor, whether this file system can lock).

    The kernel lets go when the process ends, however it ends. Raises BlockingIOError if a living run has it.
    """
    import fcntl

    descriptor = os.open(run, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:
        return descriptor, False
    return descriptor, True
