"""Training on a handful of samples: steps, stops, goes on, and forgets nothing."""

import csv
import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from heads import sample
from safetensors import safe_open
from safetensors.torch import save_file

from facecli.model import FaceNetwork, ModelConfig
from facecli.train import loader, loop
from facecli.train.losses import WEIGHTS
from facecli.train.shards import pack
from facecli.train.team import Team

SMALL = ModelConfig(widths=(8, 8, 12, 12, 16), depths=(1, 1, 1, 1), pyramid=8, head=8)
RECIPE = loop.Recipe(seconds=1000, batch_size=4, warmup_steps=3, small_share=0.0, seed=5)


class Clock:
    """Time passes with every batch, and only then."""

    def __init__(self, monkeypatch, tick=1.0):
        self.now = 0.0
        self.tick = tick
        monkeypatch.setattr(loop, "time", self)
        monkeypatch.setattr(loop, "batches", self.batches)

    def monotonic(self):
        return self.now

    def batches(self, *arguments, **options):
        for batch in loader.batches(*arguments, **{**options, "workers": 0}):
            self.now += self.tick
            yield batch


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    rng = np.random.default_rng(0)
    face = np.zeros((256, 256), np.uint8)
    face[60:200, 60:200] = 255
    for number in range(2):
        made = []
        for k in range(4):
            base = sample(512, True) if k == 0 else sample()
            coarse = rng.normal(0, 0.3, (128, 128, 4)).astype(np.float32)
            made.append(replace(base, coarse=coarse, region=face))
        (folder / f"{number:06d}.npz").write_bytes(pack(made))
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No worker process, hardly any shuffling, and a clock of our own."""
    monkeypatch.setattr(loader, "OPEN_SHARDS", 1)
    Clock(monkeypatch)


def steps(count):
    """`stop_after` that allows so many steps."""
    return count - 0.5


def contents(folder):
    with safe_open(folder / "checkpoint.safetensors", "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()


def run(shards, folder, count, recipe=RECIPE):
    loop.train(shards, folder, recipe, SMALL, stop_after=steps(count))
    tensors, metadata = contents(folder)
    return tensors, json.loads(metadata["progress"])


def test_training_stops_and_goes_on(shards, tmp_path):
    first, progress = run(shards, tmp_path / "run", 2)
    assert (progress["step"], progress["samples"]) == (2, 8)
    second, further = run(shards, tmp_path / "run", 3)
    assert (further["step"], further["samples"]) == (5, 20)
    assert further["seconds"] > progress["seconds"]
    step = [key for key in first if key.startswith("optimiser.") and key.endswith(".step")]
    assert step
    assert all(first[key] == 2 and second[key] == 5 for key in step)
    changed = [
        key for key in first if key.startswith("network.") and not torch.equal(first[key], second[key])
    ]
    assert len(changed) > 0.9 * sum(key.startswith("network.") for key in first)


@pytest.mark.parametrize(("fast", "number"), [(True, torch.bfloat16), (False, torch.float32)])
def test_numbers_are_short_only_where_the_processor_computes_with_them(
    shards, tmp_path, monkeypatch, fast, number
):
    """Short ones leave their mark on what the network learns, and so do not get past a processor without them."""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: fast)
    assert loop.number_for("cpu") is number
    assert loop.number_for("cuda:1") is torch.bfloat16
    seen = []
    surface = FaceNetwork.surface

    def watched(self, image):
        shared, region, coarse = surface(self, image)
        seen.append((image.dtype, shared.dtype, region.dtype, coarse.dtype))
        return shared, region, coarse

    monkeypatch.setattr(FaceNetwork, "surface", watched)
    run(shards, tmp_path / "run", 1)
    assert seen == [(number, number, number, torch.float32)]


def test_a_run_of_no_steps_changes_nothing(shards, tmp_path):
    before, progress = run(shards, tmp_path / "run", 2)
    after, again = run(shards, tmp_path / "run", 0)
    assert progress == again
    assert before.keys() == after.keys()
    for key in before:
        assert torch.equal(before[key], after[key]), key


def test_every_optimiser_state_comes_back(shards, tmp_path):
    tensors, _ = run(shards, tmp_path / "run", 2)
    network = FaceNetwork(SMALL)
    average = {name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()}
    optimiser = torch.optim.AdamW(network.parameters())
    progress = loop.load(tmp_path / "run" / "checkpoint.safetensors", network, average, optimiser)
    assert progress.step == 2
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter.detach(), tensors[f"network.{name}"])
        assert torch.equal(average[name], tensors[f"average.{name}"])
        state = optimiser.state[parameter]
        assert set(state) == {"step", "exp_avg", "exp_avg_sq"}
        for key, value in state.items():
            assert torch.equal(value, tensors[f"optimiser.{name}.{key}"])


def test_the_average_lags_behind_the_network(shards, tmp_path):
    tensors, _ = run(shards, tmp_path / "run", 3)
    name = "stem.0.weight"
    network, average = tensors[f"network.{name}"], tensors[f"average.{name}"]
    torch.manual_seed(RECIPE.seed)
    start = FaceNetwork(SMALL).state_dict()[name]
    assert 0 < (average - start).norm() < (network - start).norm()


def test_small_crops_first(shards, tmp_path):
    _, progress = run(shards, tmp_path / "run", 2, replace(RECIPE, small_share=1.0))
    assert progress["step"] == 2


def test_a_stream_of_samples_that_have_detail_has_no_others(shards):
    seen = [made.detail for made, _ in zip(loader.Stream(shards, 0, detailed=True), range(6), strict=False)]
    assert all(detail is not None for detail in seen)


def test_the_log_has_every_term(shards, tmp_path, monkeypatch, capsys):
    Clock(monkeypatch, 20.0)
    loop.train(shards, tmp_path / "run", replace(RECIPE, seconds=70.0), SMALL)
    with (tmp_path / "run" / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    assert {"step", "samples", "seconds", "rate", "total", *WEIGHTS} <= set(rows[0])
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())
    assert "total" in capsys.readouterr().err


def test_the_rate_warms_up_and_falls():
    rate = partial(loop.learning_rate, RECIPE)
    progress = [
        loop.Progress(step=step, seconds=seconds) for step, seconds in ((0, 0), (2, 0), (99, 500), (99, 1e6))
    ]
    first, warm, half, end = map(rate, progress)
    assert first == pytest.approx(RECIPE.learning_rate / 3)
    assert warm == pytest.approx(RECIPE.learning_rate)
    assert half == pytest.approx(RECIPE.learning_rate / 2)
    assert end == pytest.approx(RECIPE.learning_rate / 100)


def test_a_training_may_be_as_long_as_its_samples(shards, tmp_path):
    loop.train(shards, tmp_path / "run", replace(RECIPE, samples=12), SMALL)
    progress = json.loads(contents(tmp_path / "run")[1]["progress"])
    assert (progress["step"], progress["samples"]) == (3, 12)
    rates = [
        loop.learning_rate(replace(RECIPE, samples=400), loop.Progress(step=99, samples=samples))
        for samples in (0, 200, 400)
    ]
    assert rates == pytest.approx([RECIPE.learning_rate * share for share in (1, 0.5, 0.01)])


def test_a_training_without_the_correspondence_loss_learns_all_but_the_coordinates(shards, tmp_path):
    """Relief looks at the coordinates too, so there is none here."""
    for path in shards.glob("*.npz"):
        path.write_bytes(pack([sample() for _ in range(4)]))
    recipe = replace(RECIPE, weight_decay=0.0)
    (before, _), (after, _) = (
        run(shards, tmp_path / "run", count, replace(recipe, without=("correspondence",))) for count in (0, 3)
    )
    last = "network.coarse.1.weight"  # of its six outputs the first three are the coordinates
    changed = (before[last] != after[last]).flatten(1).any(1)
    assert changed.tolist() == [False] * 3 + [True] * 3


def test_a_training_without_portraits_sees_none(shards):
    made = [
        replace(sample(), source=source) for source in ("portrait", "synthetic", "rerendered", "synthetic")
    ]
    for path in shards.glob("*.npz"):
        path.write_bytes(pack(made))

    def sources(**options):
        stream = loader.Stream(shards, 0, **options)
        return {each.source for each, _ in zip(stream, range(16), strict=False)}

    assert sources() == {"portrait", "synthetic", "rerendered"}
    assert sources(without=("portraits",)) == {"synthetic"}


def test_batches_put_detail_into_rows_of_its_own():
    made = [sample(), sample(512, True), sample(), sample(512, True)]
    batch = loader.collate(made)
    assert batch["image"].shape == (4, 256, 256, 3)
    assert batch["sharp"].shape == (2, 512, 512, 3)
    assert batch["rows"].tolist() == [1, 3]
    np.testing.assert_array_equal(batch["detail"][1, 0], made[3].detail)
    np.testing.assert_array_equal(batch["coarse"][2].permute(1, 2, 0), made[2].coarse)
    assert SimpleNamespace(**batch).known.shape == (4, 1, 128, 128)


def test_the_stream_is_the_same_for_the_same_seed(shards):
    streams = [iter(loader.Stream(shards, seed)) for seed in (1, 1, 2)]
    first, second, other = ([next(stream).image for _ in range(5)] for stream in streams)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_training_may_begin_with_published_parameters(shards, tmp_path):
    torch.manual_seed(9)
    published = {name: tensor.half() for name, tensor in FaceNetwork(SMALL).state_dict().items()}
    save_file(published, tmp_path / "network.safetensors")
    loop.train(shards, tmp_path / "run", RECIPE, SMALL, stop_after=-1, start=tmp_path / "network.safetensors")
    tensors, _ = contents(tmp_path / "run")
    for name, tensor in published.items():
        assert torch.equal(tensors[f"network.{name}"], tensor.float())
        assert torch.equal(tensors[f"average.{name}"], tensor.float())


def test_a_network_of_fewer_outputs_is_a_beginning():
    torch.manual_seed(1)
    old, new = FaceNetwork(SMALL).state_dict(), FaceNetwork(SMALL)
    fresh = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    last = "coarse.1.weight"
    loop.begin_with(new, old | {last: old[last][:5].half(), "coarse.1.bias": old["coarse.1.bias"][:5]})
    now = new.state_dict()
    assert torch.equal(now["stem.0.weight"], old["stem.0.weight"])
    assert torch.equal(now[last][:5], old[last][:5].half().float())
    assert torch.equal(now[last][5:], fresh[last][5:])


def test_dead_channels_begin_anew_with_a_training_and_only_then(shards, tmp_path, capsys):
    torch.manual_seed(3)
    network = FaceNetwork(SMALL)
    network.coarse[0][0].bias.data[2] = -1e4
    save_file(network.state_dict(), tmp_path / "network.safetensors")
    recipe, start = replace(RECIPE, revive=True), tmp_path / "network.safetensors"
    loop.train(shards, tmp_path / "run", recipe, SMALL, stop_after=-1, start=start)
    assert "1 dead channels of coarse.0.0 begin anew" in capsys.readouterr().err
    tensors, _ = contents(tmp_path / "run")
    assert tensors["network.coarse.0.0.bias"][2] > -100
    assert torch.equal(tensors["average.coarse.0.0.weight"], tensors["network.coarse.0.0.weight"])
    loop.train(shards, tmp_path / "run", recipe, SMALL, stop_after=-1, start=start)
    assert "begin anew" not in capsys.readouterr().err


def test_all_members_of_a_team_revive_alike(shards):
    """Each holds a network of its own, and from then on they share nothing but gradients."""
    networks = []
    for rank in range(2):
        torch.manual_seed(4)
        network = FaceNetwork(SMALL)
        network.coarse[0][0].bias.data[:3] = -1e4
        loop.prepare(network, shards, replace(RECIPE, revive=True), SMALL, Team(rank, 2))
        networks.append(network.state_dict())
    assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[0])
    assert networks[0]["coarse.0.0.bias"].min() > -100


def test_a_training_in_eight_bits_begins_with_one_in_float32(shards, tmp_path):
    """And finds where to round once, before the first step: that is as it was when the training goes on."""
    config, start = replace(SMALL, eight_bits=True, depths=(1, 1, 2, 1)), tmp_path / "network.safetensors"
    plain = FaceNetwork(SMALL)
    save_file(plain.state_dict(), start)
    loop.train(shards, tmp_path / "run", RECIPE, config, stop_after=-1, start=start)
    before, metadata = contents(tmp_path / "run")
    assert json.loads(metadata["config"])["eight_bits"]
    for name, tensor in plain.state_dict().items():
        assert torch.equal(before[f"network.{name}"], tensor)
    found = {
        name: tensor for name, tensor in before.items() if name.endswith(".step") and "optim" not in name
    }
    assert len(found) > 20 and all(0 < tensor != 1 for tensor in found.values())
    assert not before["network.stages.2.2.second.weight"].any(), "a block that is new changes nothing"
    for stop in (2, 1):
        loop.train(shards, tmp_path / "run", RECIPE, config, stop_after=steps(stop), start=start)
    after, metadata = contents(tmp_path / "run")
    assert json.loads(metadata["progress"])["step"] == 3
    assert all(torch.equal(after[name], tensor) for name, tensor in found.items())
    assert not torch.equal(after["network.stem.0.weight"], before["network.stem.0.weight"])


def test_a_training_in_float32_begins_with_one_in_eight_bits():
    published, network = FaceNetwork(replace(SMALL, eight_bits=True)), FaceNetwork(SMALL)
    loop.begin_with(network, published.state_dict())
    assert all(
        torch.equal(tensor, published.state_dict()[name]) for name, tensor in network.state_dict().items()
    )


@pytest.mark.parametrize("missing", ["stages.2.1.first.0.bias", "enter.zero"])
def test_half_a_block_or_half_a_range_is_no_beginning(missing):
    config = replace(SMALL, eight_bits=True)
    parameters = FaceNetwork(config).state_dict()
    del parameters[missing]
    with pytest.raises(RuntimeError, match=missing):
        loop.begin_with(FaceNetwork(config), parameters)


@pytest.mark.parametrize("change", ["missing", "more", "larger"])
def test_another_network_is_no_beginning(change):
    network = FaceNetwork(SMALL)
    parameters = dict(network.state_dict())
    bias = parameters.pop("coarse.1.bias")
    if change == "more":
        parameters |= {"coarse.1.bias": bias, "coarse.7.bias": bias}
    if change == "larger":
        parameters["coarse.1.bias"] = torch.zeros(len(bias) + 1)
    with pytest.raises(RuntimeError):
        loop.begin_with(network, parameters)
