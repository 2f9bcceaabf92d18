"""What the kernels that torch's compiler makes of a marked function move through memory: counted, not run.

The compiler is asked for its own list, once it has decided which operations share a kernel; such a kernel reads what
it needs from outside and writes what is needed later. Of a table that is read at places only known then, no more is
counted than there is of it, or than is asked for.
"""

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes


class Lowered:
    """Calls marked functions as the compiler takes them apart; `moved`: bytes of each kernel that would have run."""

    def __init__(self) -> None:
        self.moved: list[int] = []
        self._known: dict[Callable[..., Any], Callable[..., Any]] = {}

    def __call__(self, plain: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        from torch._inductor.compile_fx import compile_fx

        if plain not in self._known:
            backend = partial(compile_fx, inner_compile=self._counted)
            self._known[plain] = torch.compile(plain, backend=backend, fullgraph=True, dynamic=False)
        with _disable_current_modes():
            return self._known[plain](*args, **kwargs)

    def _counted(
        self, graph: torch.fx.GraphModule, inputs: Sequence[Any], **options: Any
    ) -> Callable[..., Any]:
        """In place of generating code: the graph, which when it is run says what the code would have moved."""
        moved = kernels(graph, inputs, **options)

        def run(given: list[Any]) -> Any:
            self.moved += moved
            return graph.forward(*given)

        run._boxed_call = True  # type: ignore[attr-defined]  # so it is handed a list
        return run


class _Seen(Exception):
    """Nothing else of the compiler's work is wanted."""


def kernels(graph: torch.fx.GraphModule, inputs: Sequence[Any], **options: Any) -> list[int]:
    """Bytes that each kernel of a graph moves."""
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner

    moved: list[int] = []

    def look(nodes: list[Any]) -> list[Any]:
        moved.extend(_moved(node) for node in nodes)
        raise _Seen

    with config.patch(_post_fusion_custom_pass=look):
        try:
            compile_fx_inner(deepcopy(graph), inputs, **options)
        except Exception as error:
            if not (isinstance(error, _Seen) or isinstance(error.__cause__ or error.__context__, _Seen)):
                raise
    return [some for some in moved if some]


def _moved(node: Any) -> int:
    """Bytes of one kernel."""
    from torch._inductor.dependencies import MemoryDep
    from torch._inductor.scheduler import NopKernelSchedulerNode
    from torch._inductor.virtualized import V

    if isinstance(node, NopKernelSchedulerNode):
        return 0
    parts, own = node.get_nodes(), node.get_buffer_names()
    asked: dict[str, int] = {}
    for part in parts:
        loops = math.prod(int(size) for sizes in getattr(part, "_sizes", ()) for size in sizes)
        for dep in part.read_writes.reads - part.read_writes.writes:
            if dep.name not in own:
                looked_up = isinstance(dep, MemoryDep) and dep.is_indirect()
                many = loops * V.graph.get_dtype(dep.name).itemsize if looked_up else V.graph.get_dep_size_hint(dep)
                asked[dep.name] = asked.get(dep.name, 0) + many
    read = sum(min(many, _whole(name)) for name, many in asked.items())
    users = ((name, {user.node for user in V.graph.scheduler.name_to_buf[name].users}) for name in own)
    return read + sum(_whole(name) for name, these in users if these - set(parts))


def _whole(name: str) -> int:
    """Bytes of a buffer; none of what is no tensor itself, as where a kernel has several."""
    from torch._inductor.virtualized import V

    try:
        return int(V.graph.get_numel(name)) * V.graph.get_dtype(name).itemsize
    except (KeyError, NotImplementedError, AttributeError):
        return 0
