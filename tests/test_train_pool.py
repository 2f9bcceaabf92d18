"""Who is in the pool."""

import numpy as np
import pytest
from heads import ASSETS, needs_assets

from facecli.train import pool


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

    monkeypatch.setattr(pool.np.lib.format, "open_memmap", stop)
    with pytest.raises(Enough):
        pool.build(tmp_path, tmp_path / "landmarks.npz", tmp_path / "pool")
    assert pool.Fits.load(tmp_path / "pool" / "fits.npz").names == ["london/a.jpg", "london/c.jpg"]
