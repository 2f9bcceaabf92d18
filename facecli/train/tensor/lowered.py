"""What the kernels that torch's compiler makes of a marked function move through memory: counted, not run.

The compiler is asked for its own list, once it has decided which operations share a kernel; such a kernel reads what
it needs from outside and writes what is needed later. Of a table that is read at places only known then, no more is
counted than there is of it, or than is asked for.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

import torch
from torch.utils._python_dispatch import _disable_current_modes


class _Seen(Exception):
    """Nothing else of the compiler's work is wanted."""


def kernels(plain: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[int]:
    """Bytes that each kernel moves when a function is compiled for these arguments' shapes and device; it is not
    called. Raises what the compiler does of a function that is not one graph."""
    from torch._inductor.compile_fx import compile_fx

    moved: list[int] = []
    backend = partial(compile_fx, inner_compile=partial(_listed, moved))
    with _disable_current_modes():
        try:
            torch.compile(plain, backend=backend, fullgraph=True, dynamic=False)(*args, **kwargs)
        except Exception as error:
            if not _ends_in(error, _Seen):
                raise
    return moved


def _listed(moved: list[int], graph: torch.fx.GraphModule, inputs: Sequence[Any], **options: Any) -> NoReturn:
    """In place of generating code: add what each kernel of the graph moves."""
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner

    def look(nodes: list[Any]) -> NoReturn:
        moved.extend(some for some in map(_moved, nodes) if some)
        raise _Seen

    with config.patch(_post_fusion_custom_pass=look):
        compile_fx_inner(graph, inputs, **options)
    raise _Seen  # a graph without a kernel


def _ends_in(error: BaseException | None, kind: type[Exception]) -> bool:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error is not None


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
        for read in part.read_writes.reads:
            if read.name not in own:
                looked_up = isinstance(read, MemoryDep) and read.is_indirect()
                each = V.graph.get_dtype(read.name).itemsize if looked_up else 0
                asked[read.name] = asked.get(read.name, 0) + (
                    loops * each if looked_up else int(V.graph.get_dep_size_hint(read))
                )
    read_in = sum(min(many, _whole(name)) for name, many in asked.items())
    users = ((name, {user.node for user in V.graph.scheduler.name_to_buf[name].users}) for name in own)
    return read_in + sum(_whole(name) for name, these in users if these - set(parts))


def _whole(name: str) -> int:
    """Bytes of a buffer; none of what is no tensor itself, as where a kernel has several."""
    from torch._inductor.virtualized import V

    try:
        return int(V.graph.get_numel(name)) * int(V.graph.get_dtype(name).itemsize)
    except (KeyError, NotImplementedError, AttributeError):
        return 0
