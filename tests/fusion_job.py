"""Compile marked functions and compare: `few` to machine code, `all` of a batch as graphs, or, on `cuda`, to what
runs there; prints their names."""

import dataclasses
import sys

import torch

from facecli.train.tensor import raster
from facecli.train.tensor.dice import Dice
from facecli.train.tensor.filters import blur
from facecli.train.tensor.fusion import calling, fused
from facecli.train.tensor.scene import hair_colour

CPU = torch.device("cpu")


def leaves(value):
    """Tensors in dataclasses, tuples, lists and dicts."""
    if isinstance(value, torch.Tensor):
        return [value]
    if dataclasses.is_dataclass(value):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    elif isinstance(value, dict):
        value = value.values()
    return [leaf for part in value for leaf in leaves(part)] if not isinstance(value, int | float) else []


class Comparing:
    """Calls marked functions as they are and compiled; their answers have to agree but for rounding."""

    def __init__(self, backend):
        self.backend, self.names = backend, []

    def __call__(self, plain, args, kwargs):
        dice = [one for one in args if isinstance(one, Dice)]
        before = [(one._at_even, one._at_normal) for one in dice]
        wanted = plain(*args, **kwargs)
        after = [(one._at_even, one._at_normal) for one in dice]
        if plain.__qualname__ not in self.names:
            self.names.append(plain.__qualname__)
            for one, (even, normal) in zip(dice, before, strict=True):
                one._at_even, one._at_normal = even, normal
            compiled = torch.compile(plain, backend=self.backend, fullgraph=True, dynamic=False)
            made = compiled(*args, **kwargs)
            assert [(one._at_even, one._at_normal) for one in dice] == after, plain.__qualname__
            for a, b in zip(leaves(wanted), leaves(made), strict=True):
                agree(a, b, plain.__qualname__)
        return wanted


def agree(a, b, name):
    assert a.shape == b.shape and a.dtype == b.dtype, name
    a, b = a.double().nan_to_num(-1e9, 1e9, -1e9), b.double().nan_to_num(-1e9, 1e9, -1e9)
    off = (a - b).abs() > 1e-5 * a.abs().max().clamp(min=1e-9)
    # a pixel on the edge of two triangles may be either's
    assert off.double().mean() < 1e-4, (name, float(off.double().mean()))


def few():
    comparing = Comparing("inductor")
    generator = torch.Generator().manual_seed(3)
    pixels = torch.rand(2, 60, 2, generator=generator).double() * 32
    near = torch.rand(2, 60, generator=generator).double() + 0.5
    faces = torch.randint(60, (2, 40, 3), generator=generator)
    with calling(comparing):
        drawing = raster.rasterize(pixels, near, faces, 32, both_sides=True, room=(40.0, 40.0))
        assert drawing.drawn.double().mean() > 0.3 and drawing.lost == 0
        assert drawing.bary.sum(-1)[drawing.drawn].sub(1).abs().max() < 1e-4
        fused(blur)(torch.rand(2, 20, 24, generator=generator), torch.tensor([0.8, 2.5]), 2.5)
        hair_colour(Dice([(1, 0), (1, 1)], CPU))
    return comparing.names


def all_of_a_batch(backend, device):
    from test_train_synth import stage

    from facecli.train.tensor.source import Source

    comparing = Comparing(backend)
    with calling(comparing):
        Source(stage(), device).batch([(1, 0), (1, 1)], 256)
    return comparing.names


JOBS = {
    "few": few,
    "all": lambda: all_of_a_batch("aot_eager_decomp_partition", CPU),
    "cuda": lambda: all_of_a_batch("inductor", torch.device("cuda")),
}


torch.set_num_threads(1)
with torch.no_grad():
    sys.stdout.write("\n".join(JOBS[sys.argv[1]]()))
