"""Ctrl-C: asked once, finish what has begun; asked twice, stop at once."""

import os
import signal
import threading
from types import FrameType, TracebackType

_HEARD = b"\nfinishing the photos that have begun; once more stops at once\n"


class Interrupt:
    """While it is entered, the first SIGINT or SIGTERM is only noted; the second raises KeyboardInterrupt.

    Outside the main thread, where signals are not to be had, it never hears any.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.number = 0  # of the signal; 0: none came
        self._quiet = quiet
        self._before: dict[int, object] = {}

    @property
    def wanted(self) -> bool:
        """Whether to begin nothing new."""
        return self.number != 0

    @property
    def exit_code(self) -> int:
        """128 + the signal, what shells report: 130 for Ctrl-C."""
        return 128 + (self.number or signal.SIGINT)

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            raise KeyboardInterrupt
        self.number = number
        if not self._quiet:
            try:
                os.write(
                    2, _HEARD
                )  # a stream may be in the middle of a write, and is not to be entered twice
            except OSError:
                pass
