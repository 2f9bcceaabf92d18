"""Results on disk: whole or not at all.

Everything of one photo is written into a run's own hidden folder inside OUT and renamed to its final name in
one step, so what stands under a final name is complete, also after `kill -9` (not after a power cut: nothing
is synced). The hidden folder is locked while its run lives; the next run removes those whose run is dead.
"""

import errno
import os
import re
import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from facecli.errors import FolderTakenError, OutputError

RUN_PREFIX = ".facecli-"
_FACE = re.compile(r"face\d+")
_OCCUPIED = (errno.EEXIST, errno.ENOTEMPTY)
_ATTEMPTS = 100


class Store:
    """The output folder, open for one run: `with Store(out) as store: store.write("a.jpg", {...})`.

    `store.writer` can do the same from another process.

    Raises OutputError on entering when the folder cannot be made or written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.writer = Writer(root, root)
        self._lock: int | None = None

    def __enter__(self) -> "Store":
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            _remove_dead_runs(self.root)
            run, self._lock = _start_run(self.root)
        except OSError as exc:
            raise _cannot_write(self.root, exc) from exc
        self.writer = Writer(self.root, run)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.writer.run, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        _remove_dead_runs(
            self.root
        )  # once more: a killed run's worker may have outlived its run for a moment

    def write(self, name: str, files: Mapping[str, bytes]) -> Path:
        """See Writer.write."""
        return self.writer.write(name, files)


@dataclass(frozen=True)
class Writer:
    """What writes results, in this process or another one; made by Store."""

    root: Path
    run: Path  # the run's hidden folder

    def hold(self) -> None:
        """Share the run's lock until this process ends: nobody sweeps under a worker that outlives its run.

        Raises OutputError when the run is over already.
        """
        if sys.platform != "win32":
            try:
                _lock(self.run, shared=True)
            except OSError as exc:
                raise _cannot_write(self.run, exc) from exc

    def write(self, name: str, files: Mapping[str, bytes]) -> Path:
        """Put files (`"face0/mesh.obj"` -> bytes) under OUT/name, replacing the result of an earlier run.

        No files means that the photo has no face: an earlier result is removed. Returns the final folder.
        Raises FolderTakenError where the name holds something that facecli did not write, OutputError when
        the disk refuses.
        """
        final, fresh = self.root / name, self.run / secrets.token_hex(8)
        try:
            _check_ours(final)
            for inner, data in files.items():
                target = fresh / inner
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            self._place(fresh if files else None, final)
        except OSError as exc:
            shutil.rmtree(fresh, ignore_errors=True)
            raise _cannot_write(final, exc) from exc
        return final

    def _place(self, fresh: Path | None, final: Path) -> None:
        """Move a finished folder to its name, what stood there out of the way; fresh None: only that."""
        for attempt in range(_ATTEMPTS):
            old = self.run / f"{secrets.token_hex(8)}-old"
            # A rename cannot replace a folder that is not empty.
            moved = _moved(final, old)
            try:
                if fresh is not None:
                    final.parent.mkdir(parents=True, exist_ok=True)
                    fresh.rename(final)
            except BaseException as exc:  # Ctrl-C included: the earlier result comes back
                if moved and not final.exists():
                    old.rename(final)
                # Another run on the same photos was faster with the same result.
                if isinstance(exc, OSError) and exc.errno in _OCCUPIED and attempt + 1 < _ATTEMPTS:
                    continue
                raise
            finally:
                shutil.rmtree(old, ignore_errors=True)
            return


def _moved(path: Path, away: Path) -> bool:
    try:
        path.rename(away)
    except FileNotFoundError:
        return False
    return True


def _check_ours(final: Path) -> None:
    """Only results are ever replaced, never a file or folder of the user's that happens to have the name."""
    if not final.exists() and not final.is_symlink():
        return
    if final.is_symlink() or not final.is_dir():
        raise FolderTakenError(f"{str(final)!r} is in the way; choose another output folder with -o")
    try:
        names = [entry.name for entry in final.iterdir()]
    except FileNotFoundError:  # another run on the same photos has just moved it
        return
    if not all(_FACE.fullmatch(name) for name in names):
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
        run = root / f"{RUN_PREFIX}{secrets.token_hex(4)}"
        run.mkdir()
        if sys.platform == "win32":
            return run, None
        try:
            lock, _ = _lock(run, shared=True)
        except (FileNotFoundError, BlockingIOError):
            continue  # another run that starts right now took the unlocked folder for a dead one
        if run.is_dir():
            return run, lock
        os.close(lock)


def _remove_dead_runs(root: Path) -> None:
    if sys.platform == "win32":  # no lock there to tell the living from the dead
        return
    for run in root.glob(f"{RUN_PREFIX}*"):
        try:
            lock, locked = _lock(run, shared=False)
        except OSError:
            continue  # alive, gone, or not a folder
        if locked:
            shutil.rmtree(run, ignore_errors=True)
        os.close(lock)


def _lock(run: Path, shared: bool) -> tuple[int, bool]:
    """Open a folder and lock it -> (descriptor, whether this file system can lock).

    The kernel lets go when the process ends, however it ends. A run and its workers share the lock; who wants to
    sweep wants it alone. Raises BlockingIOError when that is not to be had.
    """
    import fcntl

    descriptor = os.open(run, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:
        return descriptor, False
    return descriptor, True
