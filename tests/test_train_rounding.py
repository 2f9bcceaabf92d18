"""What a byte holds, and what training sees of it."""

import torch

from facecli.rounding import KERNEL_LEVELS, LEVELS, ByteConv, rounded


def test_rounding_is_to_the_nearest_of_256_values_and_no_further():
    x, step = torch.tensor([-9.0, -0.31, -0.24, 0.0, 0.26, 1.0, 126.9, 127.3, 200.0]), torch.tensor(0.5)
    wanted = torch.tensor([-1.0, -0.5, 0.0, 0.0, 0.5, 1.0, 126.5, 126.5, 126.5])
    assert torch.equal(rounded(x, step, torch.tensor(2.0), LEVELS), wanted)


def test_each_channel_is_rounded_in_its_own_steps():
    x = torch.tensor([[[1.3]], [[1.3]]])
    assert torch.equal(
        rounded(x, torch.tensor([1.0, 0.25]), torch.tensor(63.0), 126), torch.tensor([[[1.0]], [[1.25]]])
    )


def test_the_gradient_passes_as_if_nothing_had_been_rounded_but_not_beyond_the_last_step():
    x = torch.tensor([-9.0, -0.6, -0.3, 0.0, 0.1, 60.0, 101.7, 101.9, 300.0], requires_grad=True)
    out = rounded(x, torch.tensor(0.4), torch.tensor(1.0), LEVELS)
    (gradient,) = torch.autograd.grad((out * torch.arange(9)).sum(), x)
    assert torch.equal(gradient, torch.tensor([0.0, 0, 2, 3, 4, 5, 6, 0, 0]))


def test_halves_hold_every_step():
    """bfloat16 has eight bits, too: what is trained in it rounds to the same steps."""
    x, step, zero = torch.linspace(-2, 2, 9999), torch.tensor(2**-6), torch.tensor(128.0)
    exact = rounded(x.bfloat16().float(), step, zero, LEVELS)
    assert torch.equal(rounded(x.bfloat16(), step, zero, LEVELS).float(), exact)


def test_kernels_use_their_seven_bits_channel_by_channel():
    torch.manual_seed(0)
    layer = ByteConv(3, 2, 1, bias=False).requires_grad_(False)
    layer.weight[1] *= 1000
    kernels = layer(torch.eye(3).view(3, 3, 1, 1))[:, :, 0, 0].T  # what is made of each input alone
    for kernel, exact in zip(kernels, layer.weight[:, :, 0, 0], strict=True):
        steps = kernel / (exact.abs().max() / KERNEL_LEVELS)
        torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
        assert steps.abs().max().round() == KERNEL_LEVELS
        torch.testing.assert_close(
            kernel, exact, atol=float(exact.abs().max()) / KERNEL_LEVELS / 1.99, rtol=0
        )
