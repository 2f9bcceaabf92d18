"""Chains of operations that are compiled to few kernels on a GPU, by torch's own compiler, and stay as they are on a
CPU, where compiling takes minutes.

What is marked takes and gives tensors, dataclasses of tensors and plain numbers, and neither its shapes nor its way
depend on the values of tensors: then it is one graph, compiled once for each shape of a batch.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch.utils._triton import has_triton

P = ParamSpec("P")
T = TypeVar("T")
Way = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""How a marked function is called, of it and its arguments."""

SHAPES = 64
"""So many sets of shapes, and of places in the dice's numbers, is a function compiled for; then it stays plain."""
_way: Way | None = None


def fused(plain: Callable[P, T]) -> Callable[P, T]:
    """Mark a function; others may call it or be marked themselves."""

    @wraps(plain)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        if torch.compiler.is_compiling() or _way is None:
            return plain(*args, **kwargs)
        way = _way
        with _said(None):  # for what this one calls, it has been decided
            answer: T = way(plain, args, kwargs)
        return answer

    return called


def calling(way: Way | None) -> AbstractContextManager[None]:
    """Call marked functions in this way, or as they are, unless somebody around has said how."""
    return _said(_way or way)


@contextmanager
def _said(way: Way | None) -> Iterator[None]:
    global _way
    before, _way = _way, way
    try:
        yield
    finally:
        _way = before


def fastest(device: torch.device) -> Way | None:
    """How a device runs them best."""
    return compiled if device.type == "cuda" and has_triton() else None


def compiled(plain: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
    """As torch compiles it for these shapes; but as it is where checks of shapes are wrapped about it, as in tests: no
    compiler sees through those."""
    if hasattr(plain, "__wrapped__"):
        return plain(*args, **kwargs)
    with torch._dynamo.config.patch(cache_size_limit=SHAPES):
        return _compiler(plain)(*args, **kwargs)


@cache
def _compiler(plain: Callable[..., T]) -> Callable[..., T]:
    return torch.compile(plain, dynamic=False)


def as_on_a_gpu(device: torch.device) -> bool:
    """Whether to do what a GPU has to: a CPU does, too, while somebody watches what marked functions are made of."""
    return device.type != "cpu" or _way is not None
