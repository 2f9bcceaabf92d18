"""All that people read, on stderr: a progress bar on a terminal, plain lines elsewhere. stdout is for data.

Names of files are the user's and may hold anything; they pass through `shown` and never through markup.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from facecli.interrupt import Interrupt
from facecli.outcome import Counts, Outcome

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_EVERY_SECONDS = 30.0
_EVERY_PHOTOS = 1000


def shown(name: str) -> str:
    """A name on one line of any terminal: undecodable bytes, control and direction characters escaped."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Console:
    """Messages and progress of one command. quiet: only failures; verbose: every photo."""

    def __init__(self, quiet: bool = False, verbose: bool = False) -> None:
        self.quiet = quiet
        self.verbose = verbose
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._total = 0
        self._what = "photos"
        self._done = 0
        self._last = time.monotonic()

    def error(self, text: str) -> None:
        """What the user must see, also when quiet."""
        self._line(f"facecli: {text}")

    def note(self, text: str) -> None:
        """What the user would like to see."""
        if not self.quiet:
            self._line(text)

    def detail(self, text: str) -> None:
        """What the user sees with -v."""
        if self.verbose and not self.quiet:
            self._line(text)

    def start(self, total: int, what: str = "photos") -> None:
        """Begin to show progress over `total` photos; advance() after each, stop() at the end."""
        self._total, self._done, self._last, self._what = total, 0, time.monotonic(), what
        if self.quiet or not _stderr_is_terminal():
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn(what),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=RichConsole(stderr=True, markup=False, highlight=False, emoji=False),
            transient=True,
        )
        self._task = self._bar.add_task("", total=total)
        self._bar.start()

    def advance(self) -> None:
        """One photo is done."""
        self._done += 1
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task)
            return
        now = time.monotonic()
        if self._done < self._total and (
            self._done % _EVERY_PHOTOS == 0 or now - self._last >= _EVERY_SECONDS
        ):
            self._last = now
            self.note(f"{self._done:,} of {self._total:,} {self._what}")

    def stop(self) -> None:
        """End the progress display; safe to call twice."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def follow(
        self,
        outcomes: Iterator[Outcome],
        total: int,
        where: str,
        interrupt: Interrupt,
        data: "JsonLines | None" = None,
    ) -> int:
        """Tell people, and programs on `data`, about each photo as it finishes; then the sum -> the exit status.

        total: how many are new. where: the output folder. Raises BrokenPipeError when no program reads any more.
        """
        counts, began, stopped = Counts(), time.monotonic(), False
        self.start(total)
        try:
            for outcome in outcomes:
                counts.add(outcome)
                if data is not None:
                    data.write(outcome.to_json())
                self.tell(outcome)
        except KeyboardInterrupt:
            stopped = True
        finally:  # also when the disk is full: what was done until then is worth a line
            stopped = stopped or interrupt.wanted
            self.stop()
            if counts.failed_before:
                photos = "1 photo" if counts.failed_before == 1 else f"{counts.failed_before:,} photos"
                self.error(f"{photos} failed in an earlier run; --retry-failed tries again")
            start = "interrupted: " if stopped else ""
            self.note(f"{start}{counts} in {duration(time.monotonic() - began)} -> {shown(where)}")
        return interrupt.exit_code if stopped else counts.exit_code

    def tell(self, outcome: Outcome) -> None:
        """What became of one photo."""
        name = shown(str(outcome.input.path))
        if outcome.skipped:
            self.detail(f"{name}: {'failed' if outcome.status == 'failed' else 'done'} in an earlier run")
            return
        if outcome.status == "failed":
            self.error(f"{name}: {shown(outcome.error or '')}")
            if outcome.trace:
                self.detail(outcome.trace.rstrip())
        elif outcome.status == "no_face":
            self.note(f"{name}: no face found")
        else:
            faces = "1 face" if len(outcome.faces) == 1 else f"{len(outcome.faces)} faces"
            self.detail(f"{name}: {faces} in {duration(outcome.seconds)}")
        self.advance()

    def _line(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)
            return
        try:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
        except BrokenPipeError:  # nobody reads messages any more; the work goes on
            _forget(sys.stderr.fileno())


class JsonLines:
    """stdout for data alone: what native libraries print from now on lands on stderr, like all other talk."""

    def __init__(self) -> None:
        self._stream = sys.stdout
        try:
            is_real = sys.stdout.fileno() == 1
        except (OSError, ValueError):  # captured, as in tests
            return
        if is_real:
            sys.stdout.flush()
            self._stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
            os.dup2(2, 1)

    def write(self, row: dict[str, Any]) -> None:
        """One line, at once. Raises BrokenPipeError when nobody reads any more."""
        try:
            self._stream.write(json.dumps(row) + "\n")
            self._stream.flush()
        except BrokenPipeError:
            _forget(self._stream.fileno())
            raise


def say(text: str) -> None:
    """What the user asked to see, on stdout, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def forget_stdout() -> None:
    """Nobody reads stdout any more: what is left in its buffer must not raise again when Python ends."""
    _forget(1)


def _forget(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def duration(seconds: float) -> str:
    """`0.8 s`, `42 s`, `4 min 10 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _stderr_is_terminal() -> bool:
    try:
        return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # closed
        return False
