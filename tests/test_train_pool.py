"""Who is in the pool."""

import numpy as np
import pytest
from heads import ASSETS, needs_assets

from facecli.train import pool
from facecli.train.lift import TEXTURE
from facecli.train.makehuman import BACK_TEXTURE
from facecli.train.skins import Skins


def test_the_list_of_spectacles_is_sorted_and_says_each_name_once():
    names = pool.SPECTACLES.read_text().split()
    assert names == sorted(set(names))
    assert len(names) > 300


@needs_assets
def test_every_name_on_the_list_of_spectacles_is_a_portrait():
    missing = [
        name for name in pool.SPECTACLES.read_text().split() if not (ASSETS / "portraits" / name).is_file()
    ]
    assert missing == []


def test_bad_fits_and_spectacles_stay_out(tmp_path, monkeypatch):
    names = ["london/a.jpg", pool.SPECTACLES.read_text().split()[0], "london/b.jpg", "london/c.jpg"]
    fits = pool.Fits(
        names,
        np.zeros((4, 2)),
        np.zeros((4, 100)),
        np.zeros((4, 53)),
        np.zeros((4, 3, 3)),
        np.zeros((4, 3)),
        np.zeros(4),
        np.array([0.01, 0.01, pool.WORST_FIT + 0.01, 0.02]),
    )
    monkeypatch.setattr(pool, "fit", lambda *_: fits)
    monkeypatch.setattr(pool.HeadModel, "load", lambda _: None)

    class Enough(Exception):
        """Before the costly part."""

    def stop(*_):
        raise Enough

    monkeypatch.setattr(pool.Skins, "bake", stop)
    with pytest.raises(Enough):
        pool.build(tmp_path, tmp_path / "landmarks.npz", tmp_path / "pool")
    assert pool.Fits.load(tmp_path / "pool" / "fits.npz").names == ["london/a.jpg", "london/c.jpg"]


@needs_assets
def test_after_the_portraits_come_the_skins_that_complete_them(tmp_path, monkeypatch):
    names = sorted(path.name for path in (ASSETS / "portraits" / "london").glob("*.jpg"))[:2]
    names = [f"london/{name}" for name in names]
    fits = pool.Fits(
        names,
        np.full((2, 2), 1000.0),
        np.zeros((2, 100)),
        np.zeros((2, 53)),
        np.repeat(np.diag([1.0, -1, -1])[None], 2, 0),
        np.tile([0.0, 0, 900], (2, 1)),
        np.full(2, 2500.0),
        np.zeros(2),
    )
    skin = np.random.default_rng(0).integers(100, 200, (3, TEXTURE, TEXTURE, 3), np.uint8)
    lent = Skins(
        skin,
        skin[:, :BACK_TEXTURE, :BACK_TEXTURE].copy(),
        np.full((3, 3), 150, np.float32),
        np.ones((TEXTURE, TEXTURE), np.float32),
        np.ones((TEXTURE, TEXTURE), np.float32),
    )
    monkeypatch.setattr(pool, "fit", lambda *_: fits)
    monkeypatch.setattr(pool.Skins, "bake", lambda *_: lent)
    pool.build(ASSETS, tmp_path / "landmarks.npz", tmp_path / "pool", 1)
    made = pool.Pool.load(tmp_path / "pool")
    assert made.fits.names == names
    assert len(made.crops) == len(made.masks) == 2
    assert len(made.albedos) == len(made.backs) == len(made.quality) == 5
    np.testing.assert_array_equal(made.albedos[2:], lent.face)
    np.testing.assert_array_equal(made.backs[2:], lent.back)
    assert (made.quality[2:] == 1).all() and (made.quality[:2] < 1).all()
    for k in range(2):  # each has a back of its own tone: the lender's, times one number a channel
        ratio = np.stack([made.backs[k] / skin for skin in lent.back])
        assert ratio.std((1, 2)).max(1).min() < 0.02
