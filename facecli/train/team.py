"""Several processes that train one network, one CPU thread each: faster than one process with as many threads."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True)
class Team:
    """This process's place among those that train together."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process reports and saves."""
        return self.rank == 0

    def agree(self, parameters: Iterable[nn.Parameter], seconds: float) -> float:
        """Average the gradients over the team, in place, and the clock, which is returned: so all members take the
        same steps and stop at the same one."""
        if self.size == 1:
            return seconds
        wanted = list(parameters)
        for parameter in wanted:
            if parameter.grad is None:  # this member's batch had nothing for it
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in wanted if parameter.grad is not None]
        flat = torch.cat([*(gradient.reshape(-1) for gradient in gradients), torch.tensor([seconds])])
        dist.all_reduce(flat)
        flat /= self.size
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients] + [1]), strict=False):
            gradient.copy_(part.view(gradient.shape))
        return float(flat[-1])


def together(size: int, meeting: Path, work: Callable[[Team], None]) -> None:
    """Run `work` in `size` new processes that can reach one another through the file `meeting`; `work` must pickle."""
    if size == 1:
        work(Team())
        return
    meeting.parent.mkdir(parents=True, exist_ok=True)
    meeting.unlink(missing_ok=True)
    torch.multiprocessing.spawn(_member, (size, meeting, work), nprocs=size)  # type: ignore[attr-defined]


def _member(rank: int, size: int, meeting: Path, work: Callable[[Team], None]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting.resolve()}", rank=rank, world_size=size)
    try:
        work(Team(rank, size))
    finally:
        dist.destroy_process_group()
