"""Dead channels begin anew: the network says what it said, and they can learn."""

import pytest
import torch

from facecli.model import FaceNetwork, ModelConfig
from facecli.train.revive import AWAKE, DORMANT, revive

SMALL = ModelConfig(widths=(8, 8, 12, 12, 16), depths=(1, 1, 1, 1), pyramid=8, head=8)
HIDDEN = len(FaceNetwork(SMALL).hidden())
DEEP_IN_THE_DARK = -1e4


@pytest.fixture
def crops():
    """Image, sharp and rows of a batch, one crop without detail."""
    sharp = torch.rand(3, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.avg_pool2d(sharp, 2), sharp[:2], torch.tensor([0, 1])


@pytest.fixture
def network(crops):
    """All of it alive."""
    torch.manual_seed(0)
    made = FaceNetwork(SMALL)
    for name, parameter in made.named_parameters():
        if name.endswith("weight"):
            torch.nn.init.kaiming_normal_(parameter)
    revive(made, *crops)
    return made


def answers(network, crops):
    image, sharp, rows = crops
    shared, region, coarse = network.surface(image)
    return region, coarse, network.recover(sharp, shared[rows], coarse[rows])


@pytest.mark.parametrize("index", range(HIDDEN))
def test_one_layer_alone_listens_to_a_hidden_one(network, crops, index):
    """With its kernels at nothing it does not matter what the hidden layer says."""
    layer, listener = network.hidden()[index]
    with torch.no_grad():
        listener.weight.zero_()
        before = answers(network, crops)
        layer.weight.normal_()
        after = answers(network, crops)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("index", range(HIDDEN))
def test_a_dead_channel_begins_anew_unheard(network, crops, index):
    layer, _ = network.hidden()[index]
    with torch.no_grad():
        layer.bias[1:3] = DEEP_IN_THE_DARK
        before = answers(network, crops)
    kept = layer.weight[3:].clone()
    names = {module: name for name, module in network.named_modules()}
    assert revive(network, *crops)[names[layer]] == 2  # others may have fallen silent with it
    with torch.no_grad():
        after = answers(network, crops)
    for a, b in zip(before, after, strict=True):
        assert ((a - b).abs() > 1e-5).float().mean() < 10 * DORMANT
    assert torch.equal(layer.weight[3:], kept)
    lengths = layer.weight.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths[1:3], torch.cat([lengths[:1], lengths[3:]]).median().expand(2))


@pytest.mark.parametrize("index", range(HIDDEN))
def test_it_fires_and_learns_to_be_heard(network, crops, index):
    layer, listener = network.hidden()[index]
    with torch.no_grad():
        layer.bias[1:3] = DEEP_IN_THE_DARK
    revive(network, *crops)
    fired = []
    hook = layer.register_forward_hook(
        lambda *told: fired.append((told[2][:, 1:3] > 0).float().mean((0, 2, 3)))
    )
    sum(answer.square().mean() for answer in answers(network, crops)).backward()
    hook.remove()
    assert (fired[0] - AWAKE).abs().max() < 0.05
    assert (listener.weight.grad[:, 1:3].flatten(1).norm(dim=1) > 0).any()


def test_where_all_live_nothing_changes(network, crops):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert revive(network, *crops) == {}
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_layer_all_dead_begins_anew_as_a_whole(network, crops):
    layer, _ = network.hidden()[0]
    with torch.no_grad():
        layer.bias[:] = DEEP_IN_THE_DARK
    assert sum(revive(network, *crops).values()) == len(layer.bias)
    assert revive(network, *crops) == {}


def test_without_a_sample_that_has_detail_its_head_is_left_alone(network, crops):
    image, sharp, rows = crops
    with torch.no_grad():
        network.detail[1][0].bias[:] = DEEP_IN_THE_DARK
    assert revive(network, image, sharp[:0], rows[:0]) == {}


def test_a_channel_that_fires_now_and_then_is_not_dead(network, crops):
    layer, _ = network.hidden()[0]
    told = []
    hook = layer.register_forward_hook(lambda *given: told.append(given[2][:, 0]))
    with torch.no_grad():
        answers(network, crops)
        hook.remove()
        layer.bias[0] -= told[0].flatten().quantile(1 - 3 * DORMANT)
    assert revive(network, *crops) == {}
