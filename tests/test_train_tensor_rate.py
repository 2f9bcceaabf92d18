"""What is counted of a batch of tensors, and what that allows."""

import pytest
import torch

from facecli.train.tensor.fusion import calling, fused
from facecli.train.tensor.rate import Rate, _Counting, measure
from facecli.train.tensor.source import Source

# torch's compiler is not done with its own deprecations
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


def counted(work):
    with _Counting() as counting:
        work()
    return sum(counting.moved), counting.flop, len(counting.moved)


def test_operands_and_results_are_counted_once():
    a, b = torch.ones(100), torch.ones(1)
    assert counted(lambda: a + b) == (4 * 201, 0, 1)
    assert counted(lambda: a.reshape(10, 10).T[2:]) == (0, 0, 0)  # nothing moves
    assert counted(lambda: a[None].expand(50, -1) * 2) == (4 * (100 + 5000), 0, 1)


def test_of_a_table_counts_what_is_looked_up():
    table, at = torch.ones(10_000), torch.arange(10)
    assert counted(lambda: table[at]) == (2 * 4 * 10 + 8 * 10, 0, 1)
    assert counted(lambda: table.gather(0, at)) == (2 * 4 * 10 + 8 * 10, 0, 1)


def test_products_are_counted():
    assert counted(lambda: torch.ones(3, 5) @ torch.ones(5, 7))[1] == 2 * 3 * 5 * 7
    picture, kernel = torch.ones(1, 4, 8, 8), torch.ones(6, 4, 3, 3)
    assert counted(lambda: torch.nn.functional.conv2d(picture, kernel))[1] == 2 * 6 * 6 * 6 * 4 * 9


@fused
def chain(a, b):
    return (a + b) * 2 - a


def test_what_is_fused_moves_what_its_kernels_do():
    a, b = torch.ones(100), torch.ones(100)
    assert counted(lambda: chain(a, b)) == (4 * 800, 0, 3)
    with _Counting() as counting, calling(counting.fuse):
        assert torch.equal(chain(a, b) + 1, torch.full((100,), 4.0))
    assert counting.moved[:2] == [4 * 300, 4 * 200]


def test_products_in_what_is_fused_are_counted():
    a, b = torch.ones(3, 5), torch.ones(5, 7)
    with _Counting() as counting, calling(counting.fuse):
        fused(torch.mm)(a, b)
    assert counting.flop == 2 * 3 * 5 * 7
    assert counting.moved == [4 * (15 + 35 + 21)]


def test_a_ceiling_is_of_memory_or_start_for_each_kernel():
    rate = Rate(64, 256, 100.0, 1e8, (2 * 10**9,) * 64)
    assert rate.traffic == 2e9
    assert rate.ceiling(3e12, 0.0) == pytest.approx(1500)
    small = Rate(64, 256, 100.0, 1e8, (1,) * 1000)
    assert small.ceiling(3e12, 1e-5) == pytest.approx(6400)
    both = Rate(64, 256, 100.0, 1e8, (2 * 10**9,) * 64 + (1,) * 1000)
    assert 1 / both.ceiling(3e12, 1e-5) == pytest.approx(1 / 1500 + 1 / 6400)


def test_a_source_is_timed():
    asked = []

    class Sums(Source):
        """Draws nothing; adds once."""

        def __init__(self):
            self.device = torch.device("cpu")

        def batch(self, seeds, size):
            asked.append(list(seeds))
            return torch.ones(len(seeds), size) + 1

    rate = measure(Sums(), 4, 8, runs=2)
    assert len(asked) == 4 and all(len(seeds) == 4 for seeds in asked)
    assert asked[0] != asked[1]  # new heads each time, and the last once more to be counted
    assert rate.per_second > 0 and (rate.heads, rate.size, len(rate.moved)) == (4, 8, 2)
    assert rate.traffic == (4 + 4 + 4) * 4 * 8 / 4
