"""The count of operations is that of another counter, and scales as convolutions do."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from facecli.model import FaceNetwork, ModelConfig
from facecli.roofline import Ceiling, ceiling, count_flop, peak_flop
from facecli.weights import load_weights

EXAMPLES = Path(__file__).parent.parent / "examples/photos"


def test_the_network_s_count_is_that_of_torch() -> None:
    weights = load_weights()
    config = {k: tuple(v) if isinstance(v, list) else v for k, v in weights.manifest.config.items()}
    network = FaceNetwork(ModelConfig(**config)).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(torch.zeros(1, 3, 512, 512))
    assert count_flop(weights, "network.onnx", 512) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_the_detector_does_as_much_on_every_pixel() -> None:
    weights = load_weights()
    small, large = (count_flop(weights, "detector.onnx", size) for size in (160, 320))
    assert large == pytest.approx(4 * small) and small > 1e7


def test_a_photo_with_a_face_costs_a_crop_at_least() -> None:
    found = ceiling([EXAMPLES / "synthetic_front.jpg"])
    assert found.flop_per_photo > count_flop(load_weights(), "network.onnx", 512)
    assert found.photos_per_second == found.flop_per_second / found.flop_per_photo


def test_the_peak_is_that_of_a_computer_of_this_century() -> None:
    assert 1e8 < peak_flop(size=256) < 1e14
    assert Ceiling(0.0, 1.0).photos_per_second == float("inf")
