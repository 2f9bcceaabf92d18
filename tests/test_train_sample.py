"""What a sample is made of: who looks how, and what lids and lips uncover."""

import numpy as np
import pytest
from heads import head_model, needs_assets, view

from facecli.train.headmodel import FACE, IRIS_LEFT, LACRIMAL, TEETH
from facecli.train.sample import COARSE, FULL, UNIT, lively_expression, pack_coarse, pack_detail, pack_opening


def test_an_opening_is_the_share_of_the_surface_that_lids_and_lips_uncover():
    part = np.full((512, 512), -1)
    part[:, 256:] = FACE
    part[128:256, 256:384] = TEETH
    part[256:258, 400:404] = IRIS_LEFT  # half of one coarse pixel
    part[300:340, 400:440] = LACRIMAL
    packed = pack_opening(part, part >= 0)
    assert (packed[32:64, 64:96] == 255).all()
    assert packed[64, 100] == 128
    packed[32:64, 64:96] = packed[64, 100] = 0
    assert not packed.any()  # the lid's corner is skin, and beside the head there is nothing to open


def test_what_stands_in_front_of_a_mouth_is_not_open():
    part = np.full((512, 512), TEETH)
    surface = np.ones((512, 512), bool)
    surface[:, :256] = False
    packed = pack_opening(part, surface)
    assert (packed[:, :64] == 0).all() and (packed[:, 64:] == 255).all()


@pytest.mark.parametrize("size", [256, 512])
def test_a_coarse_pixel_is_the_mean_of_the_surface_in_it(size):
    rng = np.random.default_rng(size)
    coordinate, depth = rng.normal(0, 50, (size, size, 3)).astype(np.float32), rng.normal(0, 90, (size, size))
    surface = rng.random((size, size)) < 0.6
    mean, known = pack_coarse(coordinate, depth, surface)

    def cells(field):
        step = size // COARSE
        return (
            field.reshape(COARSE, step, COARSE, step, -1).swapaxes(1, 2).reshape(COARSE, COARSE, step**2, -1)
        )

    inside = cells(surface)
    count = inside.sum(2)
    expected = (cells(np.dstack([coordinate, depth])) * inside).sum(2) / np.maximum(count, 1) / UNIT
    np.testing.assert_allclose(mean, expected, atol=1e-6)
    np.testing.assert_array_equal(known, count[..., 0] / (size // COARSE) ** 2 > 0.6)
    assert 0.2 < known.mean() < 0.9


@needs_assets
def test_a_neutral_head_opens_its_eyes_alone_and_a_dropped_jaw_its_mouth():
    model = head_model()
    beta = np.zeros(len(model.expression_names), np.float32)
    shut = view(model.vertices(None, beta)).maps()
    beta[model.expression_names.index("jawOpen")] = 0.8
    wide = view(model.vertices(None, beta)).maps()
    mouth = wide.coordinate[..., 1] < -40
    assert ((shut.opening > 0.5) & (shut.coordinate[..., 1] < -40)).sum() < 5
    assert 80 < ((wide.opening > 0.5) & mouth).sum() < 600
    for maps in (shut, wide):
        eyes = (maps.opening > 0.5) & (np.abs(maps.coordinate[..., 1]) < 15)
        assert 30 < eyes.sum() < 250
        assert (np.abs(maps.coordinate[eyes][:, 0]) > 14).all()


@needs_assets
def test_expressions_stay_within_their_range_and_two_of_five_open_the_mouth():
    names = head_model().expression_names
    jaw = names.index("jawOpen")
    rng = np.random.default_rng(0)
    drawn = np.stack([lively_expression(rng, names) for _ in range(800)])
    assert drawn.min() == 0 and drawn.max() <= 1
    assert 0.35 < (drawn[:, jaw] > 0).mean() < 0.55
    assert (drawn[:, jaw] > 0.5).mean() > 0.06
    assert (drawn == 0).all(1).any()  # and some say nothing at all


@pytest.mark.parametrize("seed", range(3))
@needs_assets
def test_an_expression_depends_on_the_generator_alone(seed):
    names = head_model().expression_names
    first, second = (lively_expression(np.random.default_rng(seed), names) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def sphere(size):
    """Depth (mm) and facing of a ball of 80 mm that fills most of a picture, and where it is."""
    y, x = ((np.mgrid[:size, :size] + 0.5) / size - 0.5) * 200
    up = 6400 - x * x - y * y
    depth = np.sqrt(np.maximum(up, 0)).astype(np.float32)
    return depth, depth / 80, up > 0


def test_at_its_end_a_surface_has_its_relief_and_no_more():
    depth, facing, there = sphere(FULL)
    relief = np.full((FULL, FULL), 0.25, np.float32)
    bumps = np.zeros_like(relief)
    bumps[::8] = 0.3  # which no coarse pixel holds
    coarse, known = pack_coarse(np.zeros((FULL, FULL, 3), np.float32), depth + bumps, there)
    detail = pack_detail(depth + bumps, facing, relief, coarse, known, there)
    y, x = np.mgrid[:FULL, :FULL] / (FULL / 2) - 1
    edge, middle = np.hypot(x, y) > 0.75, np.hypot(x, y) < 0.5
    assert np.isfinite(detail[edge]).any()
    np.testing.assert_array_equal(detail[edge & np.isfinite(detail)], np.float32(0.25))
    np.testing.assert_allclose(
        detail[middle & (bumps > 0)] - detail[np.roll(middle & (bumps > 0), 1, 0)], 0.3 * facing[middle & (bumps > 0)],
        atol=0.05,
    )  # fmt: skip
