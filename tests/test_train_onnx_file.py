"""Networks as ONNX whose numbers are halves: in the file, or in another one."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from facecli.model import Rectifier
from facecli.rounding import ByteConv, Steps
from facecli.runtime import cpu_session
from facecli.train.onnx_file import exported, store_as_halves


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.half())
    return network


@pytest.mark.parametrize("outside", [(), ("0.weight",), ("0.weight", "0.bias", "2.weight", "2.bias")])
def test_the_file_says_what_torch_says_wherever_its_numbers_are(network, outside):
    model = exported(network, (torch.zeros(1, 5),), input_names=["x"], output_names=["y"])
    parameters = network.state_dict()
    store_as_halves(model, set(parameters), dict.fromkeys(outside, "elsewhere.safetensors"))
    data = model.SerializeToString()
    for name, parameter in parameters.items():
        assert parameter.numpy().tobytes() not in data, "not as floats"
        assert (parameter.half().numpy().tobytes() in data) == (name not in outside)
    session = cpu_session(data, tensors={name: parameters[name].half().numpy() for name in outside})
    x = torch.randn(1, 5)
    with torch.no_grad():
        np.testing.assert_allclose(session.run(["y"], {"x": x.numpy()})[0], network(x), atol=1e-6)


def test_numbers_that_the_exporter_lost_are_named(network):
    model = exported(network, (torch.zeros(1, 5),))
    with pytest.raises(RuntimeError, match=r"renamed or folded \['lost'\]"):
        store_as_halves(model, set(network.state_dict()), {"lost": "elsewhere.safetensors"})


@pytest.fixture
def bytes_network():
    """Two convolutions of bytes between layers of float32."""
    torch.manual_seed(1)
    made = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        Steps(),
        ByteConv(8, 8, 3),
        Rectifier(),
        Steps(),
        ByteConv(8, 4, 3),
        Steps(),
        nn.Conv2d(4, 2, 1),
    ).eval()
    for index, (step, zero) in {1: (0.02, 120), 4: (0.01, 0), 6: (0.015, 130)}.items():
        made[index].step.fill_(step)
        made[index].zero.fill_(zero)
    for tensor in made.state_dict().values():
        tensor.copy_(tensor.half())
    return made


@pytest.mark.parametrize("outside", [False, True])
def test_what_is_rounded_is_computed_in_integers(bytes_network, outside, tmp_path):
    """From numbers that are halves in the file: onnxruntime rounds the kernels as it loads them."""
    x = torch.randn(2, 3, 32, 32)
    model = exported(bytes_network, (torch.zeros(2, 3, 32, 32),), input_names=["x"], output_names=["y"])
    state = bytes_network.state_dict()
    where = dict.fromkeys(state, "elsewhere.safetensors") if outside else {}
    store_as_halves(model, set(state), where)
    data = model.SerializeToString()
    session = cpu_session(data, tensors={name: state[name].half().numpy() for name in where})
    with torch.no_grad():
        wanted = bytes_network(x).numpy()
    difference = np.abs(session.run(["y"], {"x": x.numpy()})[0] - wanted)
    assert difference.mean() < 1e-4 * wanted.std() and difference.max() < 0.02, "a step here and there"
    if not outside:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
        options.log_severity_level = 4
        onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        kinds = Counter(node.op_type for node in onnx.load(tmp_path / "loaded.onnx").graph.node)
        assert kinds["QLinearConv"] == 2 and kinds["Conv"] == 2
