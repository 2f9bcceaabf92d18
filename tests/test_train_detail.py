"""The detail head alone: what it is given, what is asked of it, and that nothing else of the network moves."""

import csv
import json
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
import torch
from heads import sample
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from facecli.model import FaceNetwork, ModelConfig
from facecli.rounding import Steps
from facecli.train import detail, views
from facecli.train.loop import Recipe
from facecli.train.shards import pack

SMALL = ModelConfig(widths=(8, 8, 12, 12, 16), depths=(1, 1, 1, 1), pyramid=8, head=8, eight_bits=True)
RECIPE = Recipe(seconds=1e9, samples=300, batch_size=4, learning_rate=5e-3, warmup_steps=3, detail_factor=1.0)
PER_MM = 4 / 0.7
HEAD = ("texture.", "relief.", "detail.")


def grooved(seed):
    """A sample that is dark where it is deep, and nothing else; its relief known in a disc."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:512, :512]
    relief = (0.3 * np.sin(x / 6 + rng.uniform(0, 6))).astype(np.float32)
    image = np.repeat((128 + 300 * relief).astype(np.uint8)[..., None], 3, 2)
    relief[np.hypot(x - 250, y - 270) > 140] = np.nan
    return replace(sample(512, True), image=image, detail=relief, known=np.ones((128, 128), np.float32))


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    for number in range(2):
        made = [sample(), grooved(number), grooved(number + 2)]
        (folder / f"{number:06d}.npz").write_bytes(pack(made))
    return folder


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A published network of some age."""
    torch.manual_seed(3)
    network = FaceNetwork(SMALL)
    for module in network.modules():
        if isinstance(module, Steps):
            module.step.fill_(0.05)
    path = tmp_path_factory.mktemp("start") / "network.safetensors"
    halves = {name: tensor.half() for name, tensor in network.state_dict().items()}
    save_file(halves, path, {"config": json.dumps(asdict(SMALL))})
    return path


def seen(start):
    network = FaceNetwork(SMALL).eval()
    network.load_state_dict({name: tensor.float() for name, tensor in load_file(start).items()})
    return network


def last_line(folder):
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))[-1]


@pytest.fixture(scope="module")
def trained(shards, start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    detail.fit_detail(shards, folder, start, RECIPE)
    return folder


def test_only_the_head_learns(trained, start):
    with safe_open(trained / "checkpoint.safetensors", "pt") as file:
        told = file.metadata()
        found = {name[8:]: file.get_tensor(name) for name in file.keys()}
    assert ModelConfig.of(json.loads(told["config"])) == SMALL
    assert json.loads(told["progress"])["samples"] == RECIPE.samples
    for name, tensor in load_file(start).items():
        same = torch.equal(found[name], tensor.float())
        assert same != name.startswith(HEAD) or name.endswith(".zero"), name


def test_it_learns_what_is_deep(trained, start):
    before, after = seen(start), seen(start)
    found = load_file(trained / "checkpoint.safetensors")
    after.load_state_dict({name[8:]: tensor for name, tensor in found.items()})
    view = views.view_of(before, grooved(9))
    assert view is not None
    part = view.part(40, 40, 160)
    error = []
    for network in (before, after):
        with torch.inference_mode():
            told = network.recover(part.image[None] / 255, part.shared[None].float(), part.coarse[None])[0, 0]
        error.append(((told - part.relief)[part.known] ** 2).mean())
    assert error[1] < 0.3 * error[0]


def test_a_training_that_was_stopped_goes_on(shards, start, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    short = replace(RECIPE, samples=8)
    detail.fit_detail(shards, folder, start, short, stop_after=0.0)
    assert not (folder / "checkpoint.safetensors").exists(), "there is nothing to publish yet"
    monkeypatch.setattr(views, "view_of", None)  # nobody is to be asked twice
    detail.fit_detail(shards, folder, start, short)
    with safe_open(folder / "checkpoint.safetensors", "pt") as file:
        assert json.loads(file.metadata()["progress"])["step"] == 2


def test_shards_without_detail_are_an_error(start, tmp_path):
    (tmp_path / "000000.npz").write_bytes(pack([sample(), sample()]))
    with pytest.raises(ValueError, match=r"no sample in .* has detail"):
        detail.fit_detail(tmp_path, tmp_path / "run", start, RECIPE)


def test_views_are_kept_as_they_were_seen(shards, start, tmp_path):
    network = seen(start)
    views.keep_views(network, shards, tmp_path / "views", seed=0)
    kept = list(views.stored_views(tmp_path / "views"))
    assert len(kept) == 4, "samples without detail have nothing to tell"
    for view in kept:
        height, width = view.known.shape
        assert height % 4 == width % 4 == 0 and 280 < height < 310
        assert view.shared.shape == (8, height // 4, width // 4) and view.coarse.shape[0] == 6
        assert view.image.shape == (3, height, width) and abs(view.per_mm - PER_MM) < 1e-5
        assert view.relief.isfinite().all() and view.relief[view.known].abs().max() > 0.2
    bytes_before = (tmp_path / "views" / "000000.safetensors").read_bytes()
    views.keep_views(network, shards, tmp_path / "views", seed=1)
    assert (tmp_path / "views" / "000000.safetensors").read_bytes() == bytes_before


def test_a_view_shows_what_the_whole_crop_does(start):
    network, one = seen(start), grooved(1)
    view = views.view_of(network, one)
    assert view is not None
    with torch.inference_mode():
        sharp = torch.from_numpy(one.image).permute(2, 0, 1)[None] / 255
        half = torch.nn.functional.avg_pool2d(sharp * 255, 2).round() / 255
        shared, _, coarse = network.surface(half)
        whole = network.recover(sharp, shared, coarse)[0, 0]
        cut = network.recover(view.image[None] / 255, view.shared[None].float(), view.coarse[None])[0, 0]
    relief = torch.from_numpy(one.detail)[None, None]
    known = views.sure(relief, torch.full((1, 1, 1, 1), PER_MM))[0, 0].numpy()
    rows, columns = (np.flatnonzero(known.any(axis)) for axis in (1, 0))
    top, left = (max(0, int(a[0]) - views.BORDER) // 4 * 4 for a in (rows, columns))
    inside = whole[top : top + cut.shape[0], left : left + cut.shape[1]]
    middle = slice(100, -100)  # farther from the edge than the head looks
    assert (cut[middle, middle] - inside[middle, middle]).abs().max() < 0.02 * whole.abs().max()


def test_steps_and_their_surroundings_are_not_asked_for():
    relief = torch.zeros(1, 1, 64, 64)
    relief[..., 40:] = 0.8  # within a pixel
    relief[..., :10, :] = float("nan")
    known = views.sure(relief, torch.full((1, 1, 1, 1), PER_MM))[0, 0]
    assert not known[:10].any() and not known[:, 37:42].any()
    assert known[20:, :35].all() and known[20:, 45:].all()


def test_too_little_relief_makes_no_view(start):
    few = np.full((512, 512), np.nan, np.float32)
    few[200:230, 200:230] = 0
    assert views.view_of(seen(start), replace(grooved(0), detail=few)) is None


def test_a_part_beyond_the_edge_is_empty():
    whole = views.View(
        torch.full((3, 40, 40), 7, dtype=torch.uint8),
        torch.ones(8, 10, 10).half(),
        torch.ones(6, 10, 10),
        torch.ones(40, 40).half(),
        torch.ones(40, 40, dtype=torch.bool),
        torch.tensor(PER_MM),
    )
    part = whole.part(24, 8, 48)
    assert part.image.shape == (3, 48, 48) and part.shared.shape == (8, 12, 12)
    assert part.known[:16, :32].all() and part.known.sum() == 16 * 32
    assert not part.coarse[:, 4:].any() and part.coarse[:, :4, :8].all()


def test_only_what_is_known_counts_and_not_how_deep_all_of_it_lies():
    generator = torch.Generator().manual_seed(0)
    relief = torch.randn(2, 1, 96, 96, generator=generator)
    known = torch.zeros(2, 1, 96, 96)
    known[:, :, 20:76, 20:76] = 1
    per_mm = torch.full((2, 1, 1, 1), PER_MM)
    right = detail.losses(relief + 5, relief, known, per_mm)
    assert all(0 <= term < 1e-4 for term in right.values())
    elsewhere = torch.where(known > 0, relief, torch.randn(2, 1, 96, 96, generator=generator))
    wrong = relief + torch.randn(2, 1, 96, 96, generator=generator)
    there, here = (detail.losses(wrong, told, known, per_mm) for told in (relief, elsewhere))
    assert all(abs(there[name] - here[name]) < 1e-6 and there[name] > 0.1 for name in detail.WEIGHTS)


def test_parts_are_drawn_where_something_is_known(start):
    import random

    view = views.view_of(seen(start), grooved(2))
    assert view is not None
    batch = detail.drawn([view], 8, random.Random(0))
    assert len(batch) == len(fields(views.View))
    image, shared, _, relief, known, per_mm = batch
    assert image.shape == (8, 3, 192, 192) and 0 <= image.min() and image.max() <= 1
    assert shared.shape == (8, 8, 48, 48) and relief.shape == known.shape == (8, 1, 192, 192)
    assert per_mm.shape == (8, 1, 1, 1) and (known.mean((1, 2, 3)) > detail.ENOUGH).all()
