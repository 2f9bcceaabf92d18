"""The network: shapes, determinism, and that its config says all there is to say."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from facecli.model import LEAK, FaceNetwork, ModelConfig, Prediction, Rectifier
from facecli.rounding import LEVELS, ByteConv, Steps

SMALL = ModelConfig(widths=(8, 8, 12, 12, 16), depths=(1, 1, 1, 1), pyramid=8, head=8)
EIGHT_BITS = replace(SMALL, eight_bits=True)


@pytest.mark.parametrize("config", [SMALL, ModelConfig(), EIGHT_BITS], ids=["small", "default", "eight bits"])
def test_output_shapes(config):
    network = FaceNetwork(config).eval()
    with torch.inference_mode():
        outputs = network(torch.rand(2, 3, 512, 512))
    assert isinstance(outputs, Prediction)
    assert {name: tuple(output.shape) for name, output in outputs._asdict().items()} == {
        "region": (2, 1, 256, 256),
        "coordinate": (2, 3, 128, 128),
        "depth": (2, 1, 128, 128),
        "log_variance": (2, 1, 128, 128),
        "opening": (2, 1, 128, 128),
        "detail": (2, 1, 512, 512),
    }


def test_a_crop_of_half_the_size_goes_through_the_shared_part():
    _, region, coarse = FaceNetwork(SMALL).surface(torch.rand(1, 3, 128, 128))
    assert region.shape == (1, 1, 128, 128)
    assert coarse.shape == (1, 6, 64, 64)


def test_a_whole_crop_is_seen_as_in_training():
    """Which goes head by head, and reads crops of half the size."""
    network = FaceNetwork(SMALL).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    image = torch.rand(2, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        outputs = network(image - 0.5)
        shared, region, coarse = network.surface(torch.nn.functional.avg_pool2d(image, 2))
        detail = network.recover(image, shared, coarse)
    whole = torch.cat([outputs.coordinate, outputs.depth, outputs.log_variance, outputs.opening], 1)
    torch.testing.assert_close(outputs.region, region, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(whole, coarse, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(outputs.detail, detail, atol=1e-3, rtol=1e-4)
    assert min(output.std() for output in outputs) > 0.003


def test_training_in_halves_sees_the_depth_itself():
    """A step of bfloat16 at the depth of a nose is 0.4 mm: normals of depths rounded to it are 3.5 degrees off."""
    torch.manual_seed(0)
    network, image = FaceNetwork(SMALL), torch.rand(2, 3, 128, 128)
    torch.nn.init.normal_(network.coarse[1].weight, std=0.01)  # a depth that varies little, far from 0
    torch.nn.init.constant_(network.coarse[1].bias, 0.7)
    with torch.autocast("cpu", torch.bfloat16):
        shared, _, coarse = network.surface(image.to(torch.bfloat16))
        rounded = network.coarse(shared)
    assert shared.dtype == rounded.dtype == torch.bfloat16 and coarse.dtype == torch.float32
    exact = network.coarse(shared.float())
    assert (coarse - exact).square().mean() < 0.01 * (rounded - exact).square().mean()
    coarse.sum().backward()
    assert network.stem[0].weight.grad.abs().sum() > 0


def test_faces_of_a_batch_do_not_see_each_other():
    torch.manual_seed(0)
    network, images = FaceNetwork(SMALL).eval(), torch.rand(3, 3, 512, 512)
    with torch.inference_mode():
        together, alone = network(images), network(images[1:2])
    for batch, single in zip(together, alone, strict=True):
        torch.testing.assert_close(batch[1:2], single, atol=1e-4, rtol=1e-4)


def test_the_config_survives_json():
    fields = json.loads(json.dumps(asdict(SMALL)))
    again = ModelConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})
    assert again == SMALL
    FaceNetwork(again).load_state_dict(FaceNetwork(SMALL).state_dict())


@pytest.mark.parametrize("config", [SMALL, EIGHT_BITS], ids=["float32", "eight bits"])
def test_every_parameter_is_trained_end_to_end(config):
    network = FaceNetwork(config)
    for module in network.modules():
        if isinstance(module, Steps):
            module.step.fill_(0.01)
    for parameter in network.parameters():  # the residual blocks start at zero, where gradients do not reach
        torch.nn.init.normal_(parameter, std=0.1)
    outputs = network(torch.rand(1, 3, 512, 512))
    torch.stack([output.square().mean() for output in outputs]).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


def test_a_rectifier_passes_on_what_is_positive_and_leaks_backwards():
    layer, x = Rectifier(), torch.linspace(-2, 2, 21, requires_grad=True)
    fired = layer(x * 1.0)
    assert torch.equal(fired, x.clamp(min=0))
    (gradient,) = torch.autograd.grad(fired.sum(), x)
    assert torch.equal(gradient, torch.where(x > 0, 1.0, LEAK))


def test_in_use_a_rectifier_is_a_plain_one():
    layer, x = Rectifier().eval(), torch.linspace(-2, 2, 21, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x * 1.0).sum(), x)
    assert torch.equal(gradient, (x > 0).float())
    with torch.inference_mode():
        assert torch.equal(Rectifier()(x * 1.0), x.clamp(min=0))


@pytest.mark.parametrize("training", [True, False])
def test_a_channel_that_never_fires_still_learns(training):
    torch.manual_seed(0)
    network = FaceNetwork(SMALL).train(training)
    first = network.coarse[0][0]
    first.bias.data[0] = -100
    network.surface(torch.rand(1, 3, 128, 128))[2].square().mean().backward()
    assert (first.bias.grad[0] != 0) == training
    assert first.bias.grad[1:].abs().max() > 0


def test_in_eight_bits_convolutions_multiply_bytes():
    """Whole numbers of steps on either side, so that integers can compute them."""
    torch.manual_seed(0)
    network, seen = FaceNetwork(EIGHT_BITS).eval(), []
    for module in network.modules():
        if isinstance(module, Steps):
            module.step.fill_(0.03)
            module.zero.fill_(40)

    def look(layer, given):
        steps = given[0] / 0.03
        torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
        assert steps.min() >= -40.5 and steps.max() <= LEVELS - 39.5
        seen.append(layer)

    layers = [module for module in network.modules() if isinstance(module, ByteConv)]
    for layer in layers:
        layer.register_forward_pre_hook(look)
    with torch.inference_mode():
        network(torch.rand(1, 3, 512, 512) - 0.5)
    assert seen and set(seen) == set(layers)


def test_a_deeper_stage_begins_as_the_shallower_one():
    torch.manual_seed(0)
    shallow, deep = FaceNetwork(SMALL).eval(), FaceNetwork(replace(SMALL, depths=(1, 1, 2, 3))).eval()
    deep.load_state_dict(shallow.state_dict(), strict=False)
    image = torch.rand(1, 3, 512, 512) - 0.5
    with torch.inference_mode():
        for one, other in zip(shallow(image), deep(image), strict=True):
            assert torch.equal(one, other)
