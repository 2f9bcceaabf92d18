"""Numbers that fit into bytes, between layers and in kernels: what integers then multiply is what torch computes here.

Torch and onnxruntime round alike, in training too, so that the network learns with what it loses by it (Jacob et al.,
"Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 255
"""The highest byte: what passes between layers is one of 256 values."""

KERNEL_LEVELS = 63
"""Kernels are whole numbers from -63 to 63: with one more bit the sums of two products, which CPUs without instructions
for bytes add up in 16 bits, could overflow there, and the same photo would give another face."""


@torch.library.custom_op("facecli::rounded", mutates_args=())
def rounded(x: Tensor, step: Tensor, zero: Tensor, levels: int) -> Tensor:
    """x in whole steps, from -`zero` to `levels` - `zero` of them. step: one for all, or one for each x[i].

    An operator of its own, so that an exporter can tell it from the arithmetic that it is made of. Its gradient passes
    as if nothing had been rounded, but not where x is beyond the last step: it would go on growing there, unheard.
    """
    each = _alike(step, x)
    return x.div(each).round_().add_(zero).clamp_(0, levels).sub_(zero).mul_(each)


@rounded.register_fake
def _(x: Tensor, step: Tensor, zero: Tensor, levels: int) -> Tensor:
    return torch.empty_like(x)


def _alike(step: Tensor, x: Tensor) -> Tensor:
    return step.view(-1, *[1] * (x.dim() - 1)) if step.dim() else step


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, int], output: Tensor) -> None:
    x, step, zero, ctx.levels = inputs
    ctx.save_for_backward(x, step, zero)


def _straight_through(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
    x, step, zero = ctx.saved_tensors
    whole = x.div(_alike(step, x)).add_(zero)
    return gradient * ((whole > -0.5) & (whole < ctx.levels + 0.5)), None, None, None


rounded.register_autograd(_straight_through, setup_context=_remember)


class Steps(nn.Module):
    """Rounds to what a byte holds: 256 values `step` apart, `zero` of them below nought. See `train.ranges`."""

    step: Tensor
    zero: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("step", torch.ones(()))
        self.register_buffer("zero", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return rounded(x, self.step, self.zero, LEVELS)


class ByteConv(nn.Conv2d):
    """A convolution with kernels of bytes, in each output channel's own steps."""

    def forward(self, x: Tensor) -> Tensor:
        step = self.weight.detach().abs().amax((1, 2, 3)) / KERNEL_LEVELS + 1e-9
        weight = rounded(self.weight, step, step.new_tensor(KERNEL_LEVELS), 2 * KERNEL_LEVELS)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)
