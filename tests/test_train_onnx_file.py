"""Networks as ONNX whose numbers are halves: in the file, or in another one."""

import numpy as np
import pytest
import torch
from torch import nn

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
