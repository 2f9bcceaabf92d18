"""Batches of source B: whole samples, the same again, and what a training takes."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from heads import head_model, needs_assets, sample
from staged import CPU
from test_train_synth import stage

from facecli.errors import DeviceError, FaceError
from facecli.runtime import device_named
from facecli.train.loader import collate
from facecli.train.sample import FULL, LARGEST_DETAIL, REGION
from facecli.train.shards import SHARE, generate, lot, pack, unpack
from facecli.train.tensor import raster
from facecli.train.tensor.source import FILLED, Source, collated

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
SEEDS = [(1, 0), (1, 1), (1, 2)]


@lru_cache(maxsize=2)
def source(device=CPU):
    return Source(stage(), device)


@lru_cache(maxsize=1)
def fields():
    return source().batch(SEEDS, REGION)


@needs_assets
def test_a_batch_holds_whole_samples():
    made = fields()
    assert made["image"].shape == (3, 256, 256, 3) and made["image"].dtype == torch.uint8
    assert made["coarse"].isfinite().all() and made["footprint"].min() > 0.1
    for k in range(3):
        assert made["known"][k].any()
        share = made["region"][k].reshape(128, 2, 128, 2).float().mean((1, 3)) / 255
        assert (share[made["known"][k] > 0] > 0.5).all()
        assert made["image"][k].float().std() > 5
    template = made["coarse"][..., :3][made["known"] > 0] * 100
    low, high = (torch.from_numpy(bound(head_model().neutral, 0)) for bound in (np.min, np.max))
    assert ((template >= low - 0.1) & (template <= high + 0.1)).all()
    assert not torch.equal(made["image"][0], made["image"][1])


@needs_assets
def test_the_same_batch_is_the_same_to_the_byte():
    again = source().batch(SEEDS, REGION)
    for key, value in fields().items():
        assert torch.equal(again[key], value), key


@needs_assets
def test_another_batch_changes_only_the_rounding():
    alone = source().batch(SEEDS[1:2], REGION)
    for key in ("region", "known", "opening"):
        assert (alone[key][0] == fields()[key][1]).float().mean() > 0.999, key
    off = (alone["image"][0].int() - fields()["image"][1].int()).abs()
    assert (off > 2).float().mean() < 0.002
    assert (alone["coarse"][0] - fields()["coarse"][1]).abs().quantile(0.999) < 1e-3


@needs_assets
def test_of_a_batch_that_is_filled_up_only_the_first_are_given_away():
    some = source().samples(SEEDS, REGION, 2)
    assert len(some) == 2
    for k, one in enumerate(some):
        assert np.array_equal(one.image, fields()["image"][k].numpy())


@needs_assets
def test_it_feeds_a_training_as_shards_do(tmp_path):
    first = next(source().batches(2, 5))
    path = tmp_path / "000000.npz"
    path.write_bytes(pack(source().samples([(5, 0), (5, 1)], REGION)))
    loaded = collate(list(unpack(path)))
    assert first.keys() == loaded.keys()
    for key, value in loaded.items():
        assert first[key].shape == value.shape, key
        assert first[key].dtype == value.dtype, key
        if value.numel() and key != "image":
            np.testing.assert_allclose(first[key].numpy(), value.numpy(), atol=2e-3, err_msg=key)
    assert (
        first["image"].int() - loaded["image"].int()
    ).abs().float().mean() < 5  # JPEG of skins that are noise
    assert collated(fields())["depth_weight"].tolist() == [1.0] * 3


@needs_assets
def test_full_size_has_detail():
    (made,) = source().samples([(2, 3)], FULL)
    assert made.source == "synthetic_detail"
    assert made.image.shape == (512, 512, 3) and made.detail.shape == (512, 512)
    inside = np.isfinite(made.detail)
    assert inside.mean() > 0.01
    assert np.abs(made.detail[inside]).max() < LARGEST_DETAIL + 2.1
    region = made.region.repeat(2, 0).repeat(2, 1)
    assert not inside[region == 0].any()


@needs_assets
def test_a_shards_synthetic_heads_are_drawn_by_size(monkeypatch):
    calls, plain = [], sample()

    def counting(self, seeds, size, count):
        calls.append((size, list(seeds)))
        return [replace(plain, footprint=float(seed[1])) for seed in seeds[:count]]

    monkeypatch.setattr(Source, "samples", counting)
    lots = [one for one in (lot(3, k) for k in range(40)) if one.synthetic]
    made = source().drawn(lots)
    assert made.keys() == {one.seed for one in lots}
    assert all(made[one.seed].footprint == one.seed[1] for one in lots)
    assert {size for size, _ in calls} == {one.size for one in lots}
    assert all(len(seeds) <= 4 for _, seeds in calls)
    # where batches are compiled they come in few sizes, filled up with what nobody sees
    calls.clear()
    monkeypatch.setitem(FILLED, "cpu", 3)
    again = source().drawn(lots)
    assert again.keys() == made.keys()
    assert all(again[one.seed].footprint == one.seed[1] for one in lots)
    assert all(len(seeds) % 3 == 0 for _, seeds in calls)


def test_lots_are_drawn_as_often_as_they_should_be():
    drawn = [lot(0, k) for k in range(1500)]
    for name, share in SHARE.items():
        assert sum(one.source == name for one in drawn) / 1500 == pytest.approx(share, abs=0.04)
    assert all(one.size == (FULL if "detail" in one.source else REGION) for one in drawn)
    assert lot(0, 7).rng.random() == lot(0, 7).rng.random() != lot(1, 7).rng.random()


@needs_assets
def test_no_picture_is_left_half_drawn(monkeypatch):
    monkeypatch.setattr(raster, "ROOM", (0.0, 0.01))
    with pytest.raises(FaceError, match="for want of room"):
        source().batch(SEEDS[:1], REGION)


def test_a_device_that_is_not_there(tmp_path):
    with pytest.raises(DeviceError, match="unknown device 'gpu'"):
        generate(tmp_path, tmp_path, tmp_path / "out", 1, 1, 1.0, "gpu")
    assert device_named("cpu") == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="cuda is not available"):
            generate(tmp_path, tmp_path, tmp_path / "out", 1, 1, 1.0, "cuda")


@needs_assets
@needs_cuda
def test_cuda_draws_as_the_cpu_does():
    made = source(torch.device("cuda")).batch(SEEDS, REGION)
    again = source(torch.device("cuda")).batch(SEEDS, REGION)
    for key, value in fields().items():
        assert torch.equal(made[key], again[key]), key
        if key in ("region", "known", "opening"):
            assert (made[key].cpu() == value).float().mean() > 0.999, key
    assert (made["coarse"].cpu() - fields()["coarse"]).abs().quantile(0.999) < 1e-3
    assert ((made["image"].cpu().int() - fields()["image"].int()).abs() > 2).float().mean() < 0.005
