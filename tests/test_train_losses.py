"""Every loss is nothing for the truth, more for more error, and blind where nothing is known."""

from itertools import pairwise

import pytest
import torch

from facecli.train.losses import (
    WEIGHTS,
    Targets,
    local_mean,
    losses,
    normals_of,
    relief,
    total,
)


def target(count=2, detail=1):
    """A bowl with template coordinates, known in a disc, seen by a region of the same disc."""
    generator = torch.Generator().manual_seed(0)
    along = torch.linspace(-1, 1, 128)
    y, x = torch.meshgrid(along, along, indexing="ij")
    disc = (x**2 + y**2 < 0.6).float()[None, None].repeat(count, 1, 1, 1)
    depth = (0.6 - 0.3 * (x**2 + y**2))[None].repeat(count, 1, 1)
    coarse = torch.stack([x, -y, depth[0], depth[0]])[None].repeat(count, 1, 1, 1)
    fine = torch.nn.functional.interpolate(disc, scale_factor=2.0)
    return Targets(
        fine,
        coarse,
        disc,
        disc * (x.abs() < 0.2) * (y > 0.6) * (y < 0.75),
        torch.full((count,), 1.5),
        torch.ones(count),
        torch.randn(detail, 1, 512, 512, generator=generator) * 0.05,
    )


def perfect(truth):
    """The network's raw maps that say exactly the truth."""
    logit = (truth.region * 2 - 1) * 30
    opening = (truth.opening * 2 - 1) * 30
    return logit, torch.cat([truth.coarse, torch.full_like(truth.known, -12.0), opening], 1)


GEOMETRIC = ("coordinate", "depth", "gradient", "normal")


def test_the_truth_costs_nothing():
    truth = target()
    terms = losses(*perfect(truth), truth)
    for name in (*GEOMETRIC, "region", "dice", "opening"):
        assert terms[name] == pytest.approx(0, abs=1e-3), name
    assert terms["depth_nll"] == pytest.approx(-6, abs=1e-3)  # the log of the least deviation allowed
    for name, term in relief(truth.detail, truth, torch.tensor([1])).items():
        assert term == pytest.approx(0, abs=1e-6), name


def bumps(amount):
    """Error that is neither constant nor linear: 0.1 units at amount 1."""
    along = torch.arange(128) * 0.7
    return amount * 0.1 * torch.sin(along)[:, None] * torch.cos(along)


@pytest.mark.parametrize("name", GEOMETRIC)
def test_geometric_losses_grow_with_the_error(name):
    truth = target()
    logit, coarse = perfect(truth)
    values = []
    for amount in (0.0, 0.05, 0.2, 0.6):
        wrong = coarse.clone()
        wrong[:, :4] += bumps(amount)
        values.append(float(losses(logit, wrong, truth)[name]))
    assert all(low < high for low, high in pairwise(values)), values


def test_an_opening_that_is_missed_costs_more_the_more_of_it_is_missed():
    truth = target()
    logit, coarse = perfect(truth)
    values = []
    for rows in (0, 2, 6, 128):
        wrong = coarse.clone()
        wrong[:, 5, : 104 + rows] = -30
        values.append(float(losses(logit, wrong, truth)["opening"]))
    assert values[0] < values[1] < values[2] < values[3], values


def test_an_opening_weighs_more_in_the_mouth_than_on_the_forehead():
    truth = target()
    logit, coarse = perfect(truth)
    costs = {}
    for name, row in (("forehead", 20), ("mouth", 104)):
        wrong = coarse.clone()
        wrong[:, 5, row : row + 2, 60:64] *= -1
        costs[name] = float(losses(logit, wrong, truth)["opening"])
    assert costs["mouth"] == pytest.approx(10 * costs["forehead"], rel=0.01)


def test_coordinates_of_teeth_are_not_asked_for():
    truth = target()
    logit, coarse = perfect(truth)
    wrong = coarse.clone()
    wrong[:, :3] += 0.3 * (truth.opening > 0.5)
    assert (truth.opening > 0.5).any()
    assert losses(logit, wrong, truth)["coordinate"] == pytest.approx(0, abs=1e-6)
    wrong[:, :3] += 0.3 * (truth.opening < 0.5)
    assert losses(logit, wrong, truth)["coordinate"] > 0.1


@pytest.mark.parametrize("name", ["region", "dice"])
def test_region_losses_grow_with_the_error(name):
    truth = target()
    logit, coarse = perfect(truth)
    values = [float(losses(logit.roll(shift, -1), coarse, truth)[name]) for shift in (0, 4, 12, 40)]
    assert all(low < high for low, high in pairwise(values)), values


def test_nothing_is_asked_where_nothing_is_known():
    truth = target()
    logit, coarse = perfect(truth)
    wrong = torch.where(truth.known > 0, coarse, torch.full_like(coarse, 7.0))
    expected, found = losses(logit, coarse, truth), losses(logit, wrong, truth)
    for name in GEOMETRIC:
        assert found[name] == pytest.approx(float(expected[name]), abs=1e-6), name


def test_a_fit_counts_less_for_depth_than_for_correspondence():
    truth = target()
    fitted = Targets(**{**truth.__dict__, "depth_weight": torch.tensor([1.0, 0.0])})
    logit, coarse = perfect(truth)
    wrong = coarse.clone()
    wrong[1] += bumps(1.0)  # only the sample that is a fit
    terms = losses(logit, wrong, fitted)
    for name in ("depth", "gradient", "normal"):
        assert terms[name] == pytest.approx(0, abs=1e-4), name
    assert terms["coordinate"] > 0.01


def test_uncertainty_is_cheapest_when_it_is_right():
    truth = target()
    logit, coarse = perfect(truth)
    coarse[:, 3] += 0.1
    costs = {}
    for deviation in (0.03, 0.05, 0.1, 0.1414, 0.2, 0.4, 1.0):
        coarse[:, 4] = 2 * torch.tensor(deviation).log()
        costs[deviation] = float(losses(logit, coarse, truth)["depth_nll"])
    assert min(costs, key=costs.__getitem__) == 0.1414  # a Laplacian's deviation is sqrt 2 of its mean error


def test_uncertainty_does_not_train_the_depth():
    truth = target()
    logit, coarse = perfect(truth)
    coarse = (coarse + 0.1).requires_grad_()
    losses(logit, coarse, truth)["depth_nll"].backward()
    assert not coarse.grad[:, :4].any()
    assert coarse.grad[:, 4].any()


def test_relief_looks_only_at_the_rows_it_is_given():
    truth = target(count=3, detail=1)
    rows = torch.tensor([2])
    wrong = truth.detail + 0.05 * torch.randn(truth.detail.shape, generator=torch.Generator().manual_seed(1))
    before = relief(wrong, truth, rows)
    emptied = Targets(**{**truth.__dict__, "region": truth.region.clone()})
    emptied.region[:2] = 0  # the samples without detail
    after = relief(wrong, emptied, rows)
    for name in before:
        assert before[name] > 1e-3
        assert before[name] == after[name]
    emptied.region[2] = 0
    assert all(term == 0 for term in relief(wrong, emptied, rows).values())


def test_relief_does_not_ask_for_the_level():
    truth, rows = target(), torch.tensor([0])
    for term in relief(truth.detail + 0.5, truth, rows).values():
        assert term < 0.01
    terms = [relief(truth.detail * gain, truth, rows) for gain in (1.0, 0.8, 0.3)]
    for name in ("relief_slope", "relief_height"):
        assert terms[0][name] < terms[1][name] < terms[2][name]


def test_nothing_is_asked_where_the_detail_is_not_known():
    truth, rows = target(), torch.tensor([0])
    wrong = truth.detail.clone()
    wrong[:, :, 200:260, 200:260] += 1.0
    assert relief(wrong, truth, rows)["relief_slope"] > 1e-3
    truth.detail[:, :, 200:260, 200:260] = torch.nan
    for term in relief(wrong, truth, rows).values():
        assert term == pytest.approx(0, abs=1e-6)


def test_the_edge_of_one_surface_before_another_is_no_relief():
    """A step of the label says nothing, neither at the step nor within three pixels; slopes up to 1 count."""
    truth, rows = target(), torch.tensor([0])
    truth.detail[:] = 0
    truth.detail[..., 256:] = 1.5
    right = truth.detail.clone()
    right[..., 253:259] = torch.randn(512, 6, generator=torch.Generator().manual_seed(3))
    assert relief(right, truth, rows)["relief_slope"] == pytest.approx(0, abs=1e-6)
    right[..., 270] += 0.2
    assert relief(right, truth, rows)["relief_slope"] > 1e-4
    ramp = torch.arange(8) * 0.9 * 1.5 / 4  # 0.9 mm per mm
    truth.detail[..., 256:264], truth.detail[..., 264:] = ramp, ramp[-1]
    assert relief(torch.zeros_like(truth.detail), truth, rows)["relief_slope"] > 1e-3


def test_the_local_mean_is_that_of_a_square():
    values = torch.randn(2, 1, 90, 70, generator=torch.Generator().manual_seed(2))
    expected = torch.nn.functional.avg_pool2d(values, 33, 1, 16)
    torch.testing.assert_close(local_mean(values, 33), expected, atol=1e-5, rtol=0)


def test_normals_of_a_slope():
    footprint, slope = torch.tensor([2.0]), 0.3  # depth grows to the right by 0.3 mm per mm
    depth = torch.arange(16.0).repeat(16, 1)[None, None] * 2.0 * slope / 100
    found = normals_of(depth, footprint)[0, :, 8, 8]
    expected = torch.tensor([-slope, 0.0, 1.0]) / (1 + slope**2) ** 0.5
    torch.testing.assert_close(found, expected)


def test_the_total_weighs_every_term():
    truth = target()
    logit, coarse = perfect(truth)
    terms = losses(logit, coarse + 0.1, truth) | relief(truth.detail * 0, truth, torch.tensor([0]))
    assert set(terms) == set(WEIGHTS)
    expected = sum(WEIGHTS[name] * float(term) for name, term in terms.items())
    assert float(total(terms)) == pytest.approx(expected, rel=1e-5)


def test_half_the_size_keeps_what_is_known_for_sure():
    truth = target().halved()
    assert truth.region.shape[-1] == 128
    assert truth.coarse.shape[-1] == truth.known.shape[-1] == 64
    assert truth.footprint.tolist() == [3.0, 3.0]
    assert len(truth.detail) == 0
    full = target().known
    quads = torch.nn.functional.avg_pool2d(full, 2)
    assert ((truth.known == 1) == (quads == 1)).all()
    terms = losses(*perfect(truth), truth)
    for name in GEOMETRIC:
        assert terms[name] == pytest.approx(0, abs=1e-3), name
