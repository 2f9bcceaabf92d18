"""From a checkpoint to weights that both runtimes read alike."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from heads import ASSETS, needs_assets
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save
from safetensors.torch import save as save_torch
from safetensors.torch import save_file

from facecli.complete import load_geometry
from facecli.errors import WeightsError
from facecli.model import FaceNetwork, ModelConfig
from facecli.runtime import Network
from facecli.train import publish as module
from facecli.train.ranges import calibrate
from facecli.weights import load_template, load_weights

SMALL = ModelConfig(widths=(8, 8, 12, 12, 16), depths=(1, 1, 1, 1), pyramid=8, head=8)
EIGHT_BITS = replace(SMALL, eight_bits=True)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(3)
    network = FaceNetwork(SMALL)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.safetensors"
    tensors = {f"average.{name}": tensor for name, tensor in network.state_dict().items()}
    metadata = {"config": json.dumps(asdict(SMALL)), "recipe": "{}", "progress": '{"samples": 7}'}
    save_file(tensors, path, metadata)
    return path


@pytest.fixture(scope="module")
def published(checkpoint, tmp_path_factory):
    if not (ASSETS / "head_model").is_dir():
        pytest.skip(f"needs the licensed training data in {ASSETS}")
    folder = tmp_path_factory.mktemp("weights")
    (folder / "detector.onnx").write_bytes(b"not read here")
    for name in ("completion.onnx", "expression.safetensors"):
        (folder / name).write_bytes(load_weights().read(name))
    difference = module.publish(checkpoint, ASSETS, folder, "1.2.3", "2026-01-01", {"command": "train"})
    return folder, difference


@needs_assets
def test_published_weights_load_and_agree_between_runtimes(published, checkpoint):
    folder, difference = published
    assert difference < 1e-4
    weights = load_weights(folder)
    assert weights.manifest.version == "1.2.3"
    assert weights.manifest.training["progress"] == {"samples": 7}
    assert load_template(weights).landmarks.shape == (68, 3)
    assert len(load_geometry(weights).cells) > 10_000
    assert load_template(weights).dense.shape == (468, 3)
    crops = np.random.default_rng(0).integers(0, 256, (2, 512, 512, 3)).astype(np.uint8)
    maps = Network(weights, device="cpu", threads=1).run(crops)
    network, _, _ = module.averaged(checkpoint)
    halves = {name: tensor.half().float() for name, tensor in network.state_dict().items()}
    network.load_state_dict(halves)
    with torch.inference_mode():
        image = torch.from_numpy(crops.transpose(0, 3, 1, 2).copy()).float() / 255 - 0.5
        wanted = network(image)
    for i in range(2):
        np.testing.assert_allclose(maps[i].depth / 100, wanted.depth[i, 0], atol=1e-3)
        np.testing.assert_allclose(maps[i].detail, wanted.detail[i, 0], atol=1e-3)
        np.testing.assert_allclose(maps[i].region, wanted.region[i, 0].sigmoid(), atol=1e-3)


@needs_assets
def test_numbers_are_stored_once_and_in_half_precision(published):
    folder, _ = published
    tensors = load_tensors((folder / "network.safetensors").read_bytes())
    assert {str(tensor.dtype) for tensor in tensors.values()} == {"float16"}
    assert (folder / "network.onnx").stat().st_size < 100_000


@needs_assets
def test_a_flipped_bit_in_the_numbers_is_found_before_the_graph_runs(published, tmp_path):
    folder, _ = published
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    data = bytearray((tmp_path / "network.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "network.safetensors").write_bytes(bytes(data))
    with pytest.raises(WeightsError, match="expected sha256"):
        Network(load_weights(tmp_path), device="cpu")


@pytest.mark.parametrize("config", [SMALL, EIGHT_BITS], ids=["float32", "eight bits"])
def test_equal_parameters_do_not_get_lost_in_the_export(config):
    graph = module.to_onnx(config)
    names = set(FaceNetwork(config).state_dict())
    assert all(f"{name}.half".encode() in graph for name in names)


@pytest.mark.parametrize("wrong", [None, "joined.0.step", "smooth.1.0.weight"])
def test_in_eight_bits_the_runtimes_round_alike_but_for_a_step_now_and_then(wrong):
    torch.manual_seed(1)
    network = FaceNetwork(EIGHT_BITS).eval()
    for name, parameter in network.named_parameters():
        if name.endswith("weight"):
            torch.nn.init.kaiming_normal_(parameter)
    image = torch.rand(3, 3, 512, 512)
    calibrate(network, torch.nn.functional.avg_pool2d(image, 2), image[:1], torch.tensor([0]))
    halves = {name: tensor.half() for name, tensor in network.state_dict().items()}
    network.load_state_dict({name: tensor.float() for name, tensor in halves.items()})
    if wrong:
        halves[wrong] /= 4
    difference = module.parity(network, module.to_onnx(EIGHT_BITS), save_torch(halves))
    assert (difference > module.ROUGH_PARITY) == bool(wrong)


@pytest.mark.parametrize("difference", [0.5, np.nan])
def test_a_difference_between_the_runtimes_is_refused(checkpoint, tmp_path, monkeypatch, difference):
    monkeypatch.setattr(module, "parity", lambda *_: difference)
    with pytest.raises(RuntimeError, match="differ"):
        module.publish(checkpoint, ASSETS, tmp_path, "1", "today", {})
    assert not (tmp_path / "manifest.json").exists()


@needs_assets
def test_modes_that_differ_in_their_last_bits_stay_for_the_network_that_was_trained_for_them(
    published, tmp_path, capsys
):
    for path in published[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "expression.safetensors").write_bytes(b"for other modes")
    tensors = load_tensors((tmp_path / "completion.safetensors").read_bytes())
    modes = tensors["modes"].copy()
    modes[0, 0, 0] = np.nextafter(modes[0, 0, 0], np.float16(9))
    for change, stays in ((modes, True), (tensors["modes"] * np.float16(1.1), False)):
        (tmp_path / "completion.safetensors").write_bytes(save({**tensors, "modes": change}))
        module.publish_geometry(ASSETS, tmp_path)
        back = load_tensors((tmp_path / "completion.safetensors").read_bytes())["modes"]
        np.testing.assert_array_equal(back, change if stays else tensors["modes"])
        assert "expression.safetensors is for other modes: run fit-blendshapes" in capsys.readouterr().err


@needs_assets
def test_geometry_is_published_anew_and_the_network_stays(published, tmp_path):
    folder, _ = published
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for name in ("template.safetensors", "completion.safetensors"):
        (tmp_path / name).write_bytes(b"of another version")
    module.publish_geometry(ASSETS, tmp_path)
    for name in (*module.FILES, "manifest.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), "reproducible to the byte"


def test_a_mean_with_another_network_is_that_of_every_parameter(checkpoint):
    network, _, _ = module.averaged(checkpoint)
    mine = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    others = {name: torch.randn_like(tensor).half() for name, tensor in mine.items()}
    module.mix(network, others, 0.25)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, 0.75 * mine[name] + 0.25 * others[name].float())


def test_of_a_shallower_network_the_mean_has_blocks_that_say_their_part(checkpoint):
    """The shallower one is the deeper one whose further blocks say nothing."""
    torch.manual_seed(0)
    shallow, deep = FaceNetwork(SMALL).eval(), FaceNetwork(replace(SMALL, depths=(1, 1, 1, 2))).eval()
    deep.load_state_dict(shallow.state_dict(), strict=False)
    torch.nn.init.normal_(deep.stages[3][2].second.weight, std=0.1)
    image, x = torch.rand(1, 3, 512, 512) - 0.5, torch.rand(1, 16, 8, 8)
    change = deep.stages[3][2](x) - x
    module.mix(deep, shallow.state_dict(), 0.75)
    torch.testing.assert_close(deep.stages[3][2](x) - x, change / 4)
    module.mix(deep, shallow.state_dict(), 1.0)
    with torch.inference_mode():
        assert all(torch.equal(*pair) for pair in zip(deep(image), shallow(image), strict=True))


@pytest.mark.parametrize(
    "change", [lambda t: t.popitem(), lambda t: t.update({next(iter(t)): torch.zeros(7)})]
)
def test_of_a_network_of_another_kind_nothing_is_kept(checkpoint, change):
    network, _, _ = module.averaged(checkpoint)
    others = dict(network.state_dict())
    change(others)
    with pytest.raises(RuntimeError, match="nothing of the network that is there can be kept"):
        module.mix(network, others, 0.5)
