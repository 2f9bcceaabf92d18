"""Shards: what goes in comes out, to the precision promised, and the bytes are the same twice."""

from dataclasses import replace

import numpy as np
import pytest
from heads import sample

from facecli.train.shards import DETAILED, SHARE, lot, pack, portrait_weights, unpack


def smooth_image(size):
    """A picture that JPEG can keep: noise has no neighbours to be like."""
    along = np.linspace(0, 255, size)
    return np.dstack(
        [
            np.broadcast_to(along, (size, size)),
            np.broadcast_to(along[:, None], (size, size)),
            np.full((size, size), 90),
        ]
    ).astype(np.uint8)


def samples():
    plain, detailed = sample(), sample(512, True)
    coarse = np.clip(plain.coarse, -1.3, 1.3)
    return [
        replace(plain, image=smooth_image(256), coarse=coarse, source="synthetic"),
        replace(detailed, image=smooth_image(512), coarse=coarse * 0.5, footprint=1.25, depth_weight=0.15),
        replace(plain, image=255 - smooth_image(256), coarse=coarse[::-1].copy()),
    ]


def test_a_shard_gives_back_its_samples(tmp_path):
    path = tmp_path / "000000.npz"
    path.write_bytes(pack(samples()))
    back = list(unpack(path))
    assert len(back) == 3
    for before, after in zip(samples(), back, strict=True):
        np.testing.assert_array_equal(after.region, before.region)
        np.testing.assert_array_equal(after.known, before.known)
        np.testing.assert_array_equal(after.opening, before.opening)
        assert np.abs(after.coarse - before.coarse).max() * 100 <= 0.05  # mm, at 130 mm from the head centre
        assert after.coarse.dtype == np.float32
        assert after.image.shape == before.image.shape
        assert np.abs(after.image.astype(int) - before.image).max() <= 6  # JPEG of quality 97, RGB order kept
        assert (after.detail is None) == (before.detail is None)
        if before.detail is not None:
            shallow = np.abs(before.detail) < 1.5
            assert np.abs(after.detail - before.detail)[shallow].max() < 1e-3  # mm
        assert after.footprint == pytest.approx(before.footprint)
        assert after.depth_weight == pytest.approx(before.depth_weight)
        assert after.source == before.source


def test_packing_twice_gives_the_same_bytes():
    assert pack(samples()) == pack(samples())


def test_a_shard_holds_no_pickled_object(tmp_path):
    path = tmp_path / "000000.npz"
    path.write_bytes(pack(samples()))
    with np.load(path, allow_pickle=False) as archive:
        assert all(archive[key].dtype.kind in "fuiU" for key in archive)


def test_a_shard_without_any_detail(tmp_path):
    path = tmp_path / "000000.npz"
    path.write_bytes(pack(samples()[:1]))
    assert [made.detail for made in unpack(path)] == [None]


def test_the_sources_add_up():
    assert sum(SHARE.values()) == pytest.approx(1)


def test_portraits_weigh_by_folder_not_by_number():
    names = ["london/a", "canada/a", "canada/b", "canada/c", "congress/a"]
    weights = portrait_weights(names)
    assert weights.sum() == pytest.approx(1)
    assert weights[1] == weights[2] == weights[3]
    assert weights[0] / weights[1:4].sum() == pytest.approx(0.14 / 0.06)


def test_lots_for_the_detail_head_all_have_detail_and_others_few():
    for share, least, most in ((DETAILED, 200, 200), (SHARE, 5, 40)):
        lots = [lot(3, k, share) for k in range(200)]
        assert least <= sum(one.size == 512 for one in lots) <= most
        assert {one.source for one in lots} <= set(share)
    assert {one.source for one in lots} == set(SHARE)
