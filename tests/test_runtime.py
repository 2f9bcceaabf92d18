"""Network: units, batches, memory, and the device asked for or an error. The models are made here."""

import hashlib
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save

from facecli import runtime
from facecli.errors import DeviceError, WeightsError
from facecli.runtime import INPUT, OUTPUTS, Maps, Network, cpu_session, is_device_fault, is_out_of_memory
from facecli.weights import Manifest, Weights, WeightsFile


def tiny_model(leave_out: str = "") -> bytes:
    """A network.onnx whose outputs are known: averages of the picture, times known numbers."""
    nodes, constants = [], []

    def constant(name: str, values: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    constants.append(numpy_helper.from_array(np.array([1], np.int64), "channel"))
    nodes.append(helper.make_node("Add", [INPUT, constant("half", 0.5)], ["image"]))
    nodes.append(helper.make_node("ReduceMean", ["image"], ["grey"], axes=[1], keepdims=1))
    for size in (256, 128):
        step = 512 // size
        nodes.append(
            helper.make_node(
                "AveragePool", ["grey"], [f"grey{size}"], kernel_shape=[step] * 2, strides=[step] * 2
            )
        )
    nodes.append(
        helper.make_node("AveragePool", ["image"], ["image128"], kernel_shape=[4, 4], strides=[4, 4])
    )
    for name, source, factor in (
        ("region", "grey256", 1000.0),
        ("coordinate", "image128", 0.5),
        ("depth", "grey128", 0.25),
        ("log_variance", "grey128", -2.0),
        ("opening", "grey128", 8.0),
        ("detail", "grey", 3.0),
    ):
        nodes.append(helper.make_node("Mul", [source, constant(f"{name}_factor", factor)], [name]))
    shapes = {"region": [1, 256, 256], "coordinate": [3, 128, 128], "detail": [1, 512, 512]}
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shapes.get(name, [1, 128, 128])])
        for name in OUTPUTS
        if name != leave_out
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", 3, 512, 512])],
        outputs,
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return model.SerializeToString()


def weights_of(
    folder: Path, data: bytes, name: str = "network.onnx", config: dict[str, Any] | None = None
) -> Weights:
    contents = {"network.safetensors": save({})} | {
        name: data
    }  # a graph whose numbers are all its own needs none
    files = {}
    for key, value in contents.items():
        (folder / key).write_bytes(value)
        files[key] = WeightsFile(hashlib.sha256(value).hexdigest(), len(value), "Apache-2.0")
    fields = MappingProxyType(config or {})
    return Weights(folder, Manifest("1", "today", MappingProxyType(files), fields, MappingProxyType({})))


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    return weights_of(tmp_path, tiny_model())


def crops(count: int) -> np.ndarray:
    """Flat pictures, one level per picture and channel: red 10 i, green 10 i + 1, blue 10 i + 2."""
    levels = 10 * np.arange(count)[:, None] + np.arange(3)
    return np.broadcast_to(levels[:, None, None], (count, 512, 512, 3)).astype(np.uint8)


def check(maps: list[Maps], count: int) -> None:
    assert len(maps) == count
    for i, found in enumerate(maps):
        grey = (10 * i + 1) / 255
        wanted = {
            "region": 1 / (1 + np.exp(-1000 * grey)),
            "coordinate": (10 * i + np.arange(3)) / 255 * 0.5 * 100,
            "depth": grey * 0.25 * 100,
            "sigma": np.exp(-grey) * 100,
            "detail": grey * 3,
        }
        for name, value in wanted.items():
            actual = getattr(found, name)
            np.testing.assert_allclose(actual, np.broadcast_to(value, actual.shape), rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_maps_of_every_crop_in_order_and_in_millimetres(weights: Weights, count: int) -> None:
    check(Network(weights, device="cpu", threads=1).run(crops(count)), count)


def test_position_in_the_crop_is_kept(weights: Weights) -> None:
    crop = np.zeros((1, 512, 512, 3), np.uint8)
    crop[0, 8:12, 20:24, 1] = 255
    maps = Network(weights, device="cpu", threads=1).run(crop)[0]
    assert np.argwhere(maps.coordinate[..., 1] > 0).tolist() == [[2, 5]]
    assert np.argwhere(maps.depth > 0).tolist() == [[2, 5]]
    assert not maps.coordinate[..., [0, 2]].any()


def test_the_answer_does_not_depend_on_the_batch(weights: Weights) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (5, 512, 512, 3), dtype=np.uint8)
    network = Network(weights, device="cpu", threads=1)
    together, again = network.run(pictures), network.run(pictures)
    for i in range(5):
        alone = network.run(pictures[i : i + 1])[0]
        for name in ("region", "coordinate", "depth", "sigma", "detail"):
            assert (getattr(together[i], name) == getattr(alone, name)).all()
            assert (getattr(together[i], name) == getattr(again[i], name)).all()


class Scarce:
    """A forward pass that runs out of memory for more than `room` pictures, and keeps count."""

    def __init__(self, network: Network, room: int, error: Exception) -> None:
        self.forward, self.room, self.error = network._forward, room, error
        self.batches: list[int] = []

    def __call__(self, pictures: np.ndarray) -> tuple[dict[str, np.ndarray], float]:
        self.batches.append(len(pictures))
        if len(pictures) > self.room:
            raise self.error
        return self.forward(pictures)


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


def random_maps(seed: int) -> Maps:
    rng = np.random.default_rng(seed)
    shapes = [(256, 256), (128, 128, 3), (128, 128), (128, 128), (128, 128), (512, 512)]
    return Maps(*(rng.standard_normal(shape).astype(np.float32) for shape in shapes))


def test_a_mirror_s_mirror_shows_the_maps_themselves() -> None:
    maps = random_maps(0)
    turned = maps.mirrored()
    assert np.array_equal(turned.depth[:, 0], maps.depth[:, -1])
    assert np.array_equal(turned.coordinate[5, 3], maps.coordinate[5, 124] * [-1, 1, 1])
    for name, value in vars(turned.mirrored()).items():
        assert np.array_equal(value, getattr(maps, name)), name


def test_the_mean_of_two_looks_is_half_way_whichever_came_first() -> None:
    one, other = random_maps(1), random_maps(2)
    for name, value in vars(one.mean(other)).items():
        assert np.array_equal(value, getattr(other.mean(one), name)), name
        np.testing.assert_allclose(value, (getattr(one, name) + getattr(other, name)) / 2, atol=1e-6)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("no room"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError(
            "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer"
        ),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_out_of_memory_halves_the_batch_and_remembers(weights: Weights, error: Exception) -> None:
    network = Network(weights, device="cpu", threads=1)
    network._batch = 8
    network._forward = scarce = Scarce(network, 2, error)
    check(network.run(crops(9)), 9)
    assert scarce.batches == [8, 4, 2, 2, 2, 2, 1]
    scarce.batches.clear()
    check(network.run(crops(3)), 3)
    assert scarce.batches == [2, 1]


def test_out_of_memory_for_one_face_is_a_device_error(weights: Weights) -> None:
    network = Network(weights, device="cpu", threads=1)
    network._forward = Scarce(network, 0, MemoryError())
    with pytest.raises(DeviceError, match=r"out of memory for even one face.*--device"):
        network.run(crops(3))


def test_other_faults_are_not_taken_for_exhausted_memory(weights: Weights) -> None:
    network = Network(weights, device="cpu", threads=1)
    network._forward = scarce = Scarce(network, 0, RuntimeError("shape mismatch"))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        network.run(crops(3))
    assert scarce.batches == [3]
    assert not is_out_of_memory(ValueError("no room for doubt"))


@pytest.mark.parametrize(
    "device", ["gpu", "", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "CUDA", "auto:1", "cuda:1:2"]
)
def test_unknown_device(weights: Weights, device: str) -> None:
    with pytest.raises(DeviceError, match="choose auto, cpu, cuda or cuda:N"):
        Network(weights, device=device)


def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_that_is_not_there_is_an_error(
    weights: Weights, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_cuda(monkeypatch)
    with pytest.raises(DeviceError, match=rf"device {device} is not available: PyTorch .*--device cpu"):
        Network(weights, device=device)


def test_cuda_without_torch_says_what_to_install(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(DeviceError, match=r"pip install 'facecli\[torch\]'"):
        Network(weights, device="cuda")


def test_cuda_index_beyond_the_last(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(is_available=lambda: True, device_count=lambda: 2)
    monkeypatch.setitem(__import__("sys").modules, "torch", SimpleNamespace(cuda=cuda))
    with pytest.raises(
        DeviceError, match=r"cuda:2 does not exist: PyTorch sees 2 CUDA device\(s\), cuda:0 to cuda:1"
    ):
        Network(weights, device="cuda:2")


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_the_cpu_is_named(weights: Weights, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    no_cuda(monkeypatch)
    assert Network(weights, device=device).device == "CPU (onnxruntime)"


def test_auto_without_torch_is_the_cpu(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    assert Network(weights).device == "CPU (onnxruntime)"


def test_model_without_an_output_is_another_version(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no detail: .*another version"):
        Network(weights_of(tmp_path, tiny_model(leave_out="detail")), device="cpu")


@pytest.mark.parametrize("model", [b"", b"junk", tiny_model()[:300]], ids=["empty", "junk", "cut"])
def test_bytes_that_are_no_model_neither_print_nor_fall_back(
    model: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(WeightsError, match="onnxruntime cannot load it"):
        cpu_session(model, 1, "it")
    assert capfd.readouterr() == ("", "")


def test_session_runs_on_the_cpu_only_with_the_threads_asked(capfd: pytest.CaptureFixture[str]) -> None:
    session = cpu_session(tiny_model(), 3)
    assert session.get_providers() == ["CPUExecutionProvider"]
    options = session.get_session_options()
    assert options.intra_op_num_threads == 3
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.get_session_config_entry("session.dynamic_block_base") == "4"
    assert capfd.readouterr() == ("", "")
    onnx.checker.check_model(onnx.load_from_string(tiny_model()))


# --- torch: the same code that runs on CUDA, here on torch's CPU

SMALL = {"widths": [4, 4, 8, 8, 8], "depths": [1, 1, 1, 1], "pyramid": 8, "head": 4}


def torch_weights(folder: Path, eight_bits: bool = False, **changes: Any) -> tuple[Weights, Any]:
    """Random weights of a small network, in halves as they ship, and the network itself."""
    torch = pytest.importorskip("torch")
    from facecli.model import FaceNetwork, ModelConfig

    torch.manual_seed(0)
    sizes = {k: tuple(v) if isinstance(v, list) else v for k, v in SMALL.items()}
    network = FaceNetwork(ModelConfig(**sizes, eight_bits=eight_bits))
    for name, tensor in network.state_dict().items():
        if name.endswith("step"):
            tensor.fill_(1 / 64)
    changes["eight_bits"] = eight_bits
    network = network.half().float().eval()
    tensors = {key: value.half().numpy() for key, value in network.state_dict().items()}
    return weights_of(folder, save(tensors), "network.safetensors", SMALL | changes), network


@pytest.fixture
def torch_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    """device="cuda" is what it is with a GPU, on torch's CPU."""
    pytest.importorskip("torch")
    monkeypatch.setattr(runtime, "_choose", lambda device: ("cuda", "cpu"))


@pytest.mark.parametrize("eight_bits", [False, True])
def test_torch_runs_the_network_of_the_safetensors(
    tmp_path: Path, torch_instead: None, eight_bits: bool
) -> None:
    import torch

    weights, network = torch_weights(tmp_path, eight_bits)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 512, 512, 3), np.uint8)
    ours = Network(weights, device="cuda")
    assert (ours.device, ours.room > 0, ours.gpu_seconds) == ("no GPU (cpu, torch)", True, 0.0)
    found = ours.run(pictures)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(pictures.transpose(0, 3, 1, 2) / np.float32(255) - np.float32(0.5)))
    for i, maps in enumerate(found):
        expected = {
            "region": torch.sigmoid(wanted.region[i, 0]),
            "coordinate": 100 * wanted.coordinate[i].permute(1, 2, 0),
            "depth": 100 * wanted.depth[i, 0],
            "sigma": 100 * torch.exp(wanted.log_variance[i, 0] / 2),
            "opening": torch.sigmoid(wanted.opening[i, 0]),
            "detail": wanted.detail[i, 0],
        }
        for name, values in expected.items():
            np.testing.assert_allclose(getattr(maps, name), values.numpy(), atol=2e-3, err_msg=name)


def test_a_gpu_computes_in_float32_and_leaves_the_setting_to_others(
    tmp_path: Path, torch_instead: None
) -> None:
    from torch.backends import cudnn

    network, before = Network(torch_weights(tmp_path)[0], device="cuda"), cudnn.allow_tf32
    seen = []
    network._forward._network.register_forward_pre_hook(lambda *_: seen.append(cudnn.allow_tf32))
    network.run(crops(1))
    assert before and seen == [False] and cudnn.allow_tf32


def test_a_gpu_s_seconds_add_up_over_batches(tmp_path: Path, torch_instead: None) -> None:
    network = Network(torch_weights(tmp_path)[0], device="cuda")
    told = []
    for count in (1, 2):
        network.run(crops(count))
        told.append(network.gpu_seconds)
    assert 0 < told[0] < told[1]


def test_a_gpu_without_room_for_the_batch_gets_half(tmp_path: Path, torch_instead: None) -> None:
    network = Network(torch_weights(tmp_path)[0], device="cuda")
    at_once = network.run(crops(7))
    network._batch = 8
    network._forward = scarce = Scarce(network, 2, OutOfMemoryError("CUDA out of memory"))
    for alone, together in zip(network.run(crops(7)), at_once, strict=True):
        np.testing.assert_allclose(alone.coordinate, together.coordinate, atol=2e-3)
    assert scarce.batches == [7, 3, 1, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("changes", [{"pyramid": 16}, {"colour": "blue"}])
def test_torch_weights_of_another_network(
    tmp_path: Path, changes: dict[str, Any], torch_instead: None
) -> None:
    weights, _ = torch_weights(tmp_path, **changes)
    with pytest.raises(WeightsError, match="does not fit this version's network"):
        Network(weights, device="cuda")


def test_a_gpu_that_has_no_memory_for_the_network_says_so(
    tmp_path: Path, torch_instead: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, network = torch_weights(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(type(network), "to", full)
    with pytest.raises(DeviceError, match=r"no memory left for the network.*fewer --workers"):
        Network(weights, device="cuda")


def test_cuda_that_fails_is_told_from_cuda_that_is_full() -> None:
    assert is_device_fault(RuntimeError("CUDA error: an illegal memory access was encountered"))
    for error in (RuntimeError("CUDA error: out of memory"), RuntimeError("shape mismatch"), MemoryError()):
        assert not is_device_fault(error)
