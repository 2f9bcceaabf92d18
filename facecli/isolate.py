"""A function over items in worker processes that may crash, hang or ask for all memory: each costs one item.

Neither `ProcessPoolExecutor` (one dead worker fails all that is left) nor `multiprocessing.Pool` (it hangs) can
do that. Here each worker has a pipe of its own and one item at a time, so it is known what it died of.
"""

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar

from facecli.errors import WorkerError

Item = TypeVar("Item")
Result = TypeVar("Result")

START_SECONDS = 300.0  # for imports and weights, also from a slow network drive
STARTS = 3  # workers that die one after the other before they are ready: no photo is to blame
_LONGEST_WAIT = 3600.0
_SPAWN = get_context("spawn")  # fork would copy locks that threads of native libraries hold


@dataclass(frozen=True)
class Lost:
    """In the place of a result: the worker died over the item."""

    why: Literal["crashed", "late"]
    reason: str  # `SIGSEGV`, `status 3`, or the seconds it was given


class Crew(Generic[Item, Result]):
    """Workers that each call make() once and then its result on every item: `with Crew(...) as crew: crew.map(...)`.

    make and items travel to spawned processes, so they are pickled by multiprocessing, and made by ourselves.
    timeout: seconds for one item. memory: bytes of private memory for one worker, None = no limit (Linux only).
    Workers start when there are items for them, live until the end of the `with`, and never outlive this process.
    """

    def __init__(
        self,
        make: Callable[[], Callable[[Item], Result]],
        workers: int,
        timeout: float,
        memory: int | None = None,
    ) -> None:
        self.make, self.workers, self.timeout, self.memory = make, workers, timeout, memory
        self._crew: list[_Worker] = []
        self._stillborn = 0

    def __enter__(self) -> "Crew[Item, Result]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._crew:
            worker.process.kill()  # at once: what is done is done, what is not is not to be seen
        for worker in self._crew:
            worker.process.join()
            worker.pipe.close()
        self._crew = []

    def map(self, items: Iterable[Item]) -> Iterator[tuple[Item, Result | Lost]]:
        """(item, result or Lost), in the order in which they are done; items are taken one by one as workers idle.

        Raises what make() or the function raises, and WorkerError when no worker will start.
        """
        try:
            yield from self._map(iter(items))
        finally:  # left early: what is still being done must not turn up in the next map
            for worker in [worker for worker in self._crew if worker.item is not None]:
                self._bury(worker)

    def _map(self, waiting: Iterator[Item]) -> Iterator[tuple[Item, Result | Lost]]:
        more = True
        while True:
            while more and self._has_room():
                try:
                    item = next(waiting)
                except StopIteration:
                    more = False
                else:
                    self._give(item)
            busy = {worker.pipe: worker for worker in self._crew if worker.item is not None}
            if not busy:
                return
            rest = min(worker.deadline for worker in busy.values()) - time.monotonic()
            for pipe in wait(list(busy), timeout=min(max(0.0, rest), _LONGEST_WAIT)):
                yield from self._hear(busy[pipe])  # type: ignore[index]
            for worker in busy.values():
                if time.monotonic() > worker.deadline and not worker.late:
                    worker.late = True
                    worker.deadline = float("inf")
                    worker.process.kill()  # its pipe ends, and so it is heard of

    def _has_room(self) -> bool:
        return len(self._crew) < self.workers or any(worker.item is None for worker in self._crew)

    def _give(self, item: Item) -> None:
        for worker in [worker for worker in self._crew if worker.item is None]:
            if worker.give(item, self.timeout):
                return
            self._bury(worker)  # died while idle: not the item's fault
        worker = _Worker.start(self.make, self.memory)
        self._crew.append(worker)
        worker.give(item, self.timeout)

    def _hear(self, worker: "_Worker") -> Iterator[tuple[Any, Any]]:
        item = worker.item[0] if worker.item else None
        try:
            kind, value = worker.pipe.recv()
        except Exception:  # the pipe ended, perhaps in the middle of a message
            self._bury(worker)
            if worker.ready:
                yield item, worker.obituary(self.timeout)
                return
            self._stillborn += 1
            if self._stillborn >= STARTS:
                lost = worker.obituary(START_SECONDS)
                raise WorkerError(
                    f"worker processes do not start ({lost.reason}); see `facecli info`, or try --workers 1"
                ) from None
            self._give(item)  # type: ignore[arg-type]
            return
        if kind == "ready":
            worker.ready, self._stillborn = True, 0
            worker.deadline = time.monotonic() + self.timeout
        elif kind == "raised":
            raise value
        else:
            worker.item = None
            yield item, value

    def _bury(self, worker: "_Worker") -> None:
        self._crew.remove(worker)
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()


def fair_handful(most: int, items: int, workers: int) -> int:
    """How many of so many items a worker takes at once: at most `most`, and so few that every worker has some."""
    return max(1, min(most, -(-items // workers)))


def map_handfuls(
    crew: Crew[tuple[Item, ...], Result], items: Iterable[Item], most: int
) -> Iterator[tuple[tuple[Item, ...], Result | Lost]]:
    """crew.map over handfuls of up to `most` items -> (handful, result), or ((item,), Lost).

    A handful has the time of one item. If it is lost, its items are given again at once, one by one: so only that
    one is lost which is to blame.
    """
    left = iter(items)
    suspects: deque[Item] = deque()

    def handfuls() -> Iterator[tuple[Item, ...]]:
        while handful := (suspects.popleft(),) if suspects else tuple(islice(left, most)):
            yield handful

    while True:
        for handful, result in crew.map(handfuls()):
            if isinstance(result, Lost) and len(handful) > 1:
                suspects.extend(handful)
            else:
                yield handful, result
        if not suspects:  # the last handful may have been lost after the items had run out
            return


@dataclass(eq=False)
class _Worker:
    process: Any  # of the spawn context
    pipe: Connection
    ready: bool = False
    late: bool = False
    item: tuple[Any] | None = None  # in a tuple, for None is an item too
    deadline: float = float("inf")

    @classmethod
    def start(cls, make: Callable[[], Callable[[Any], Any]], memory: int | None) -> "_Worker":
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_serve, args=(theirs, make, memory), daemon=True)
        # Terminals and schedulers signal the whole process group: only this process is to hear it, also while the
        # worker starts. A blocked signal waits, an ignored one would be lost. The tracker, when it starts, unblocks.
        if sys.platform == "win32":
            process.start()
        else:
            resource_tracker.ensure_running()
            deaf = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
            before = signal.pthread_sigmask(signal.SIG_BLOCK, deaf)
            try:
                process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        return cls(process, ours)

    def give(self, item: Any, timeout: float) -> bool:
        """Whether the worker, if it is ready, is alive to take it."""
        try:
            self.pipe.send(item)
        except OSError:
            if self.ready:
                return False
        self.item = (item,)
        self.deadline = time.monotonic() + (timeout if self.ready else START_SECONDS)
        return True

    def obituary(self, timeout: float) -> Lost:
        if self.late:
            return Lost("late", f"{timeout:g} s")
        code = self.process.exitcode or 0
        if code >= 0:
            return Lost("crashed", f"status {code}")
        try:
            return Lost("crashed", signal.Signals(-code).name)
        except ValueError:
            return Lost("crashed", f"signal {-code}")


def _serve(pipe: Connection, make: Callable[[], Callable[[Any], Any]], memory: int | None) -> None:
    """The life of a worker process."""
    _die_with_parent()
    os.dup2(2, 1)  # native libraries print; stdout is for data
    try:
        try:
            work = make()
        except Exception as error:
            pipe.send(("raised", error))
            return
        _limit_memory(memory)
        pipe.send(("ready", None))
        while True:
            item = pipe.recv()
            try:
                answer = "done", work(item)
            except Exception as error:
                answer = "raised", error
            pipe.send(answer)
    except (EOFError, ConnectionError):  # nobody is there to work for
        return


def _die_with_parent() -> None:
    """Also when the parent is killed while this process hangs. Elsewhere than on Linux it ends with its item."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        parent = parent_process()
        if parent is not None and os.getppid() != parent.pid:  # it died before that
            os.kill(os.getpid(), signal.SIGKILL)


def _limit_memory(bytes_of_data: int | None) -> None:
    """What is asked for beyond that fails, in Python with a MemoryError."""
    if bytes_of_data is not None and sys.platform == "linux":
        import resource

        # Private writable memory: address space would count the files and reserves that libraries map.
        resource.setrlimit(resource.RLIMIT_DATA, (bytes_of_data, bytes_of_data))
