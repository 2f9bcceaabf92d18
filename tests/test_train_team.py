"""Members of a team take the same steps."""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from facecli.train.team import Team, together


def _agree(folder: Path, team: Team) -> None:
    layer = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    unused = nn.Parameter(torch.zeros(3))
    if team.leads:
        layer(torch.tensor([[2.0, 0.0]])).sum().backward()
    else:
        (layer(torch.tensor([[0.0, 6.0]])).sum() + unused.sum() * 4).backward()
    seconds = team.agree([layer.weight, unused], 10.0 * team.rank)
    grads = torch.cat([layer.weight.grad.reshape(-1), unused.grad, torch.tensor([seconds])])
    np.save(folder / f"{team.rank}.npy", grads.numpy())


def test_two_members_average_gradients_and_clock(tmp_path: Path) -> None:
    together(2, tmp_path / "meeting", partial(_agree, tmp_path))
    for rank in range(2):
        np.testing.assert_allclose(np.load(tmp_path / f"{rank}.npy"), [1, 3, 2, 2, 2, 5])


def test_alone_nothing_changes() -> None:
    parameter = nn.Parameter(torch.ones(2))
    parameter.sum().backward()
    assert Team().agree([parameter], 7.0) == 7.0
    assert torch.equal(parameter.grad, torch.ones(2))
    assert Team().leads and not Team(1, 2).leads


def test_a_team_of_one_runs_here(tmp_path: Path) -> None:
    seen: list[Team] = []
    together(1, tmp_path / "meeting", seen.append)
    assert seen == [Team()] and not list(tmp_path.iterdir())
