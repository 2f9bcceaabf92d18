"""Reading, writing and spreading values on a grid."""

import numpy as np
import pytest

from facecli.grid import Places, around, diffuse, enlarge, sample, splat


def test_sampling_undoes_splatting() -> None:
    random = np.random.default_rng(0)
    cells = np.stack(np.meshgrid(np.arange(8.0), np.arange(8.0)), -1).reshape(-1, 2)
    values = random.normal(size=(64, 2))
    grid, weight = splat(cells, values, 8)
    np.testing.assert_allclose(weight, 1)
    np.testing.assert_allclose(sample(grid, cells), values, atol=1e-12)


def test_diffusion_keeps_what_is_known_and_reaches_everywhere() -> None:
    values, trust = np.random.default_rng(0).normal(5, 1, (64, 64, 2)), np.zeros((64, 64))
    trust[20:30, 40:50] = 1
    filled, reach = diffuse(values, trust, (1.0, 2.0, 4.0, 8.0, 16.0, 32.0))
    np.testing.assert_allclose(filled[trust > 0], values[trust > 0], atol=1e-5)
    known = values[trust > 0]
    assert known.min() - 1e-5 <= filled.min() and filled.max() <= known.max() + 1e-5
    assert reach[25, 45, 0] == 1 and 0 < reach[60, 2, 0] < 0.2


def test_what_is_around_counts_by_its_weight_alone() -> None:
    rng = np.random.default_rng(5)
    values, weight = rng.normal(0, 1, (24, 24, 2)), (rng.random((24, 24)) < 0.7).astype(float)
    even = np.broadcast_to([3.0, -2.0], values.shape)
    np.testing.assert_allclose(around(even, weight, 2.0), even, rtol=1e-5)
    hidden = np.where(weight[..., None] > 0, values, 1e3)
    assert np.array_equal(around(hidden, weight, 2.0), around(values, weight, 2.0))
    assert np.array_equal(around(values, np.zeros_like(weight), 2.0), np.zeros_like(values))


def test_between_cells_a_plane_is_itself_and_beyond_the_edge_the_edge_goes_on() -> None:
    column, row = np.meshgrid(np.arange(9.0), np.arange(7.0))
    plane = np.stack([2 * column - row, row + 3], 2)
    places = np.random.default_rng(0).uniform(-2, 10, (200, 2))
    x, y = np.clip(places[:, 0], 0, 8), np.clip(places[:, 1], 0, 6)
    np.testing.assert_allclose(sample(plane, places), np.stack([2 * x - y, y + 3], 1), atol=1e-12)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_values_keep_the_precision_of_their_grid(kind: type) -> None:
    grid = np.ones((4, 4, 2), kind)
    assert sample(grid, np.zeros((3, 2))).dtype == kind
    assert Places.of(np.zeros((3, 2)), 4).sample(grid).dtype == kind


def test_splatting_is_the_adjoint_of_sampling() -> None:
    random = np.random.default_rng(1)
    cells, values, grid = (
        random.uniform(0, 7, (300, 2)),
        random.normal(size=(300, 1)),
        random.normal(size=(8, 8, 1)),
    )
    mean, weight = splat(cells, values, 8)
    assert (mean[..., 0] * weight * grid[..., 0]).sum() == pytest.approx((sample(grid, cells) * values).sum())
    assert weight.sum() == pytest.approx(300)


def test_values_that_are_not_used_leave_no_trace() -> None:
    random = np.random.default_rng(2)
    cells, values = random.uniform(0, 7, (50, 2)), random.normal(size=(50, 3))
    used = np.arange(50) < 20
    spoiled = np.where(used[:, None], values, 1e6)
    some, all_of_them = Places.of(cells[:20], 8).splat(values[:20]), Places.of(cells, 8).splat(spoiled, used)
    for ours, wanted in zip(all_of_them, some, strict=True):
        np.testing.assert_allclose(ours, wanted, atol=1e-9)


def test_nothing_splatted_is_an_empty_grid() -> None:
    mean, weight = splat(np.zeros((0, 2)), np.zeros((0, 3)), 8)
    assert mean.shape == (8, 8, 3) and not mean.any() and not weight.any()


def test_enlarging_keeps_what_is_even_and_where_things_are() -> None:
    column = np.arange(16.0)[None, :, None].repeat(16, 0).repeat(3, 2)
    fine = enlarge(column, 32)
    along = np.arange(8, 24)[None].repeat(32, 0) / 2 - 0.25
    np.testing.assert_allclose(fine[:, 8:-8, 0], along, atol=0.05)
