"""Where a network in eight bits rounds: hardly anything is lost by it."""

from dataclasses import replace

import pytest
import torch

from facecli.model import FaceNetwork, ModelConfig
from facecli.rounding import LEVELS, Steps
from facecli.train import ranges

SMALL = ModelConfig(widths=(8, 8, 12, 12, 16), depths=(1, 2, 1, 1), pyramid=8, head=8, eight_bits=True)


@pytest.fixture
def crops():
    sharp = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    sharp = torch.nn.functional.interpolate(sharp, (256, 256), mode="bilinear")
    return torch.nn.functional.avg_pool2d(sharp, 2), sharp[:2], torch.tensor([0, 1])


@pytest.fixture
def network():
    torch.manual_seed(0)
    made = FaceNetwork(SMALL).eval()
    for name, parameter in made.named_parameters():
        if name.endswith("weight"):
            torch.nn.init.kaiming_normal_(parameter)
    return made


def answers(network, crops):
    image, sharp, rows = crops
    with torch.inference_mode():
        shared, region, coarse = network.surface(image)
        return region, coarse, network.recover(sharp, shared[rows], coarse[rows])


def ranges_of(network):
    return {name: module for name, module in network.named_modules() if isinstance(module, Steps)}


def test_a_calibrated_network_says_nearly_what_it_says_in_float32(network, crops):
    plain = FaceNetwork(replace(SMALL, eight_bits=False)).eval()
    state = network.state_dict()
    plain.load_state_dict({name: state[name] for name in plain.state_dict()})
    ranges.calibrate(network, *crops)
    for rounded, exact in zip(answers(network, crops), answers(plain, crops), strict=True):
        assert 0 < (rounded - exact).abs().mean() < 0.1 * exact.std()


def test_a_range_holds_all_but_a_few_values_and_nought(network, crops):
    ranges.calibrate(network, *crops)
    beyond = {}

    def count(module, given):
        low, high = -module.zero * module.step, (LEVELS - module.zero) * module.step
        beyond[module] = ((given[0] < low - module.step) | (given[0] > high + module.step)).float().mean()

    for module in ranges_of(network).values():
        assert module.step > 0 and module.zero == module.zero.round() and 0 <= module.zero <= LEVELS
        module.register_forward_pre_hook(count)
    answers(network, crops)
    assert beyond.keys() == set(ranges_of(network).values())
    assert max(beyond.values()) <= 2 * ranges.BEYOND + 1e-3


def test_behind_a_rectifier_no_step_is_wasted_on_what_is_below_nought(network, crops):
    ranges.calibrate(network, *crops)
    found = ranges_of(network)
    behind = [
        name for name in found if not name.startswith("joined") and not name.endswith(("change", "sum"))
    ]
    assert len(behind) > 10 and all(found[name].zero == 0 for name in behind)
    assert all(found[name].zero > 0 for name in found if name.endswith("change"))


def test_a_block_that_says_nothing_yet_gets_steps_that_halves_can_hold(network, crops):
    block = network.stages[0][1]
    torch.nn.init.zeros_(block.second.weight)
    ranges.calibrate(network, *crops)
    assert block.change.step.half() > 0
    assert all(output.isfinite().all() for output in answers(network.half().float(), crops))


def test_calibrated_twice_is_calibrated_once(network, crops):
    ranges.calibrate(network, *crops)
    once = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    ranges.calibrate(network, *crops)
    assert all(torch.equal(tensor, once[name]) for name, tensor in network.state_dict().items())


def test_without_a_sample_that_has_detail_there_is_nothing_to_go_by(network, crops):
    with pytest.raises(ValueError, match="no sample has detail"):
        ranges.calibrate(network, crops[0], crops[1][:0], crops[2][:0])


def test_the_ranges_of_a_part_alone_leave_the_others_as_they_are(network, crops):
    before = {name: (module.step.clone(), module.zero.clone()) for name, module in ranges_of(network).items()}
    ranges.calibrate(network, *crops, network.detail)
    for name, module in ranges_of(network).items():
        same = torch.equal(module.step, before[name][0])
        assert same != name.startswith("detail."), name
