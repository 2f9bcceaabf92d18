"""A finer grid: planes stay planes to the edge of the mask, and nothing outside of it has a say."""

import numpy as np
import pytest
from surfaces import disc, scene

from facecli.geometry import normals, positions
from facecli.upsample import upsample_masked


@pytest.mark.parametrize("size", [128, 256, 512])
def test_upsampling_keeps_a_slanted_plane_to_the_edge_and_ignores_the_outside(size):
    mask = disc(128, 60, 66, 40)
    grid_y, grid_x = np.mgrid[:128, :128].astype(np.float32)
    plane = 0.7 * grid_x - 0.4 * grid_y + 30
    finer_mask = disc(size, (60 + 0.5) * size / 128 - 0.5, (66 + 0.5) * size / 128 - 0.5, 40 * size / 128)
    at = (np.arange(size) + 0.5) * 128 / size - 0.5
    truth = 0.7 * at[None] - 0.4 * at[:, None] + 30
    results = [upsample_masked(np.where(mask, plane, outside), mask, size) for outside in (0, 1e6, np.nan)]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    error = np.abs(results[0] - truth)
    assert results[0].dtype == np.float32 and np.isfinite(results[0]).all()
    assert error[finer_mask].max() < 0.06
    assert error[disc(size, 60.5 * size / 128, 66.5 * size / 128, 36 * size / 128)].max() < 0.01


def test_upsampling_has_smooth_normals():
    truth = scene(size=128, swollen=False)
    finer = scene(size=256, swollen=False)
    depth = upsample_masked(truth.depth, truth.mask, 256)
    inner = finer.mask & (np.abs(finer.positions[..., 0] - finer.pose.translation[0]) < 50)
    assert np.median(np.abs(depth - finer.depth)[inner]) < 0.01
    got, want = normals(positions(depth, finer.rays, 600.0), finer.mask), normals(finer.positions, finer.mask)
    angle = np.degrees(np.arccos(np.clip((got * want).sum(-1), -1, 1)))[inner]
    assert np.median(angle) < 0.3 and np.percentile(angle, 95) < 2.5  # the rest is behind the nose


def test_upsampling_many_channels_is_upsampling_each():
    random = np.random.default_rng(0)
    values, mask = random.normal(size=(32, 32, 3)), disc(32, 16, 15, 11)
    together = upsample_masked(values, mask, 64)
    assert together.shape == (64, 64, 3)
    for k in range(3):
        np.testing.assert_array_equal(together[..., k], upsample_masked(values[..., k], mask, 64))


def test_upsampling_to_the_same_size_changes_nothing():
    values, mask = np.random.default_rng(0).normal(size=(64, 64)), np.ones((64, 64), dtype=bool)
    np.testing.assert_allclose(upsample_masked(values, mask, 64), values, atol=1e-5)


def test_upsampling_nothing_gives_zeros():
    assert not upsample_masked(np.ones((16, 16)), np.zeros((16, 16), dtype=bool), 32).any()
