"""What a compiler's kernels move, of functions whose kernels are known."""

import pytest
import torch

from facecli.train.tensor.lowered import kernels

# torch's compiler is not done with its own deprecations
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


def test_a_chain_is_one_kernel_that_reads_what_is_given_and_writes_what_is_asked_for():
    a, b = torch.ones(1000), torch.ones(1000)
    assert kernels(lambda a, b: ((a + b) * 2).sin(), (a, b), {}) == [3 * 4000]
    # what is needed twice is kept where it is
    assert kernels(lambda a, b: (a + b).sin() * (a + b).cos(), (a,), {"b": b}) == [3 * 4000]
    assert kernels(lambda a: a.reshape(10, 100).T, (a,), {}) == []  # nothing moves


def test_what_another_kernel_needs_is_written_and_read():
    a = torch.ones(64, 64)
    product = 3 * 4 * 64 * 64
    assert sorted(kernels(lambda a: (a + 1) @ a, (a,), {})) == [2 * 4 * 64 * 64, product]


def test_of_a_table_counts_what_is_looked_up_or_all_of_it():
    at = torch.arange(10)
    assert kernels(lambda table, at: table[at] * 2, (torch.ones(10_000), at), {}) == [10 * (8 + 4 + 4)]
    assert kernels(lambda table, at: table[at] * 2, (torch.ones(3), at % 3), {}) == [10 * (8 + 4) + 3 * 4]
    four = kernels(lambda t, at: t[at] + t[at + 1] + t[at + 2] + t[at + 3], (torch.ones(10_000), at), {})
    assert four == [10 * (8 + 4 * 4 + 4)]


def test_nothing_is_called():
    called = []

    def adding(a):
        return a + 1

    a = torch.ones(4)
    assert kernels(adding, (a,), {}) == [32] == kernels(adding, (a,), {})
    assert called == [] and a.sum() == 4


def test_what_goes_by_values_is_no_graph():
    with pytest.raises(Exception, match="branching"):
        kernels(lambda a: a + 1 if a.sum() > 0 else a, (torch.ones(4),), {})
