"""What is marked for a GPU's compiler: how it is called, and that the compiler takes it whole and changes nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from heads import needs_assets

from facecli.train.tensor import fusion
from facecli.train.tensor.fusion import as_on_a_gpu, calling, fastest, fused

JOB = Path(__file__).with_name("fusion_job.py")
CPU = torch.device("cpu")


@fused
def doubled(x):
    """Twice as much."""
    return 2 * x


@fused
def fourfold(x, *, more=0):
    return doubled(doubled(x)) + more


class Asked:
    """Notes who was called."""

    def __init__(self):
        self.names = []

    def __call__(self, plain, args, kwargs):
        self.names.append((plain.__name__, args, kwargs))
        return plain(*args, **kwargs)


def test_marked_functions_are_themselves_until_somebody_says_otherwise():
    assert fourfold(3) == 12 and doubled.__doc__ == "Twice as much."
    asked = Asked()
    with calling(asked):
        assert fourfold(3, more=1) == 13
        assert doubled(2) == 4
    # those that a marked function calls are a part of it
    assert asked.names == [("fourfold", (3,), {"more": 1}), ("doubled", (2,), {})]
    assert fourfold(3) == 12 and len(asked.names) == 2


def test_whoever_is_around_has_the_say():
    asked = Asked()
    with calling(asked):
        with calling(None):
            doubled(1)
        with calling(Asked()):
            doubled(1)
    assert len(asked.names) == 2


def test_a_failure_leaves_nothing_behind():
    def failing(plain, args, kwargs):
        raise ValueError(plain.__name__)

    with pytest.raises(ValueError, match="doubled"), calling(failing):
        doubled(1)
    assert doubled(1) == 2 and fusion._way is None


def test_a_cpu_runs_them_as_they_are():
    assert fastest(CPU) is None
    assert not as_on_a_gpu(CPU)
    with calling(Asked()):
        assert as_on_a_gpu(CPU)
    assert as_on_a_gpu(torch.device("meta"))


def run(what):
    # in a process of its own: the checks of shapes that tests run under cannot be compiled
    done = subprocess.run([sys.executable, str(JOB), what], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()


def test_what_is_compiled_draws_the_same():
    assert run("few") == ["_set_up", "_nearest", "_perspective", "blur", "hair_colour"]


@needs_assets
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_compiles_all_of_a_batch():
    assert len(set(run("cuda"))) >= 30


@needs_assets
@pytest.mark.skipif("SLOW" not in os.environ, reason="takes a minute of a core: SLOW=1 to run it")
def test_every_marked_function_is_one_graph_that_draws_the_same():
    marked = run("all")
    assert {
        "_set_up",
        "_nearest",
        "surface",
        "lit",
        "Head._shown",
        "glasses",
        "thing",
        "speech",
        "pack",
    } <= set(marked)
    assert len(set(marked)) >= 30
