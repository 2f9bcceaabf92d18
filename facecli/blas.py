"""NumPy's matrix products on one thread: ours are too small to gain by more.

On more they keep every core waiting for the others: two thirds more work for the same time on an idle machine, and
several times the time where another program wants a core.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

_lock = threading.Lock()
_inside = 0
_limit: Any = None  # while somebody is inside: it knows how many there were before


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, BLAS has one thread, in the whole process; once the last is outside, as many as before the first."""
    global _inside, _limit
    with _lock:
        if _inside == 0:
            _limit = _changed(lambda blas: blas.limit(limits=1, user_api="blas"))
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _changed(lambda _: _limit.restore_original_limits())
                _limit = None


def _changed(change: Callable[[Any], Any]) -> Any:
    """What a change of BLAS's limits returns. threadpoolctl lets no other thread change them until it is told."""
    blas = _blas()
    try:
        return change(blas)
    finally:
        for library in blas.lib_controllers:
            if hasattr(library, "clear_controlling_thread"):  # OpenBLAS
                library.clear_controlling_thread()


@lru_cache(maxsize=1)
def _blas() -> Any:
    """The libraries that are loaded; looked for once, as that takes a millisecond."""
    import numpy  # noqa: F401  # its BLAS is not found before
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
