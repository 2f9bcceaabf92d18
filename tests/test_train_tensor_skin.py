"""Skins of batches: lines, spots and creases as OpenCV and the compiled path draw them."""

import cv2
import numpy as np
import pytest
import torch
from heads import head_model, needs_assets
from scipy.stats import ks_2samp
from staged import CPU, batch
from test_train_synth import people

from facecli.train import relief
from facecli.train.crease import Creases, likeness
from facecli.train.lift import TEXTURE
from facecli.train.tensor import crease, skin
from facecli.train.tensor.dice import Dice
from facecli.train.tensor.skin import People
from facecli.train.tensor.stroke import dabs, strokes

NAMES = ("browInnerUp_L", "browDown_L", "cheekSquint_L", "mouthSmile_L", "jawOpen", "noseSneer_R")


def test_lines_weigh_what_opencvs_do():
    rng = np.random.default_rng(0)
    points = rng.uniform(20, 108, (1, 24, 5, 2)).astype(np.float32)
    canvas = np.zeros((128, 128), np.float32)
    alone = []
    for line in points[0]:
        one = np.zeros_like(canvas)
        cv2.polylines(one, [(line * 8).astype(np.int32)], False, 0.7, 1, cv2.LINE_AA, 3)
        alone.append(one)
    mine = strokes(torch.from_numpy(points), torch.full((1, 24), 0.7), 128, 128)[0].numpy()
    theirs = cv2.GaussianBlur(np.sum(alone, 0), (0, 0), 2.5)
    mine = cv2.GaussianBlur(mine, (0, 0), 2.5)
    assert mine.sum() == pytest.approx(theirs.sum(), rel=0.05)
    assert np.abs(mine - theirs).max() < 0.15 * theirs.max()


def test_what_is_drawn_past_the_border_is_not_drawn():
    points = torch.tensor([[[[-60.0, -60], [-10, -10]], [[140, 20], [300, 20]]]])
    assert not strokes(points, torch.ones(1, 2), 128, 64).any()
    assert not dabs(torch.tensor([[[-8.0, 50]]]), torch.tensor([[3.0]]), torch.ones(1, 1), 128, 9).any()


def test_spots_are_opencvs():
    rng = np.random.default_rng(1)
    at, radius = rng.uniform(10, 118, (40, 2)), rng.uniform(0.6, 3.0, 40)
    canvas = np.zeros((128, 128), np.float32)
    for (x, y), r in zip(at, radius, strict=True):
        one = np.zeros_like(canvas)
        cv2.circle(one, (int(x * 8), int(y * 8)), int(r * 8), 0.5, -1, cv2.LINE_AA, 3)
        canvas = np.maximum(canvas, one)
    mine = dabs(*batch(at.astype(np.float32), radius.astype(np.float32)), torch.full((1, 40), 0.5), 128, 9)[
        0
    ].numpy()
    assert mine.max() == 0.5
    assert mine.sum() == pytest.approx(canvas.sum(), rel=0.15)
    assert np.abs(cv2.GaussianBlur(mine, (0, 0), 0.8) - cv2.GaussianBlur(canvas, (0, 0), 0.8)).max() < 0.2


def test_valleys_are_the_compiled_ones():
    lines = np.zeros((128, 128), np.float32)
    cv2.line(lines, (20, 30), (100, 80), 1.0, 1, cv2.LINE_AA)
    widths, depths = torch.tensor([1.3, 2.8]), torch.tensor([0.5, 2.0])
    mine = skin.creased(batch(lines).expand(2, -1, -1), widths, depths, 3.0)
    for made, width, depth in zip(mine.numpy(), widths.tolist(), depths.tolist(), strict=True):
        theirs = relief._creased(lines, width, depth)
        np.testing.assert_allclose(made, theirs, atol=1e-4)
        assert theirs.min() < -0.01


def test_expressions_fold_as_in_the_compiled_path():
    rng = np.random.default_rng(2)
    beta = rng.random((5, len(NAMES)), np.float32) * (rng.random((5, len(NAMES))) < 0.6)
    plane = rng.uniform(-90, 90, (32, 32, 2)).astype(np.float32)
    folded = skin.strongest(torch.from_numpy(beta), NAMES)
    deeper = skin.moved(torch.from_numpy(plane), folded)
    for mine, row, depth in zip(folded, beta, deeper, strict=True):
        creases = relief.creases_of(row, NAMES)
        assert mine.tolist() == pytest.approx([creases.forehead, creases.frown, creases.eyes, creases.cheeks])
        np.testing.assert_allclose(depth.numpy(), relief.moved(plane, creases), atol=1e-5)


def test_lines_are_told_from_blobs_as_in_the_compiled_path():
    rng = np.random.default_rng(3)
    light = cv2.GaussianBlur(rng.random((96, 96), np.float32), (0, 0), 2) * 3
    cv2.line(light, (10, 20), (90, 60), 1.0, 2, cv2.LINE_AA)
    mine = crease.likeness(batch(light))[0].numpy()
    np.testing.assert_allclose(mine, likeness(light), atol=1e-4)
    assert mine.max() > 0.5


@needs_assets
def test_creases_leave_the_colour_as_in_the_compiled_path():
    rng, creases = np.random.default_rng(4), Creases(head_model())
    albedo = np.full((TEXTURE, TEXTURE, 3), [180, 140, 120], np.float32)
    albedo += cv2.GaussianBlur(rng.normal(0, 60, albedo.shape).astype(np.float32), (0, 0), 4)
    for y in range(60, 400, 30):
        cv2.line(albedo, (60, y), (450, y + int(rng.integers(-20, 20))), (120.0, 90, 80), 3, cv2.LINE_AA)
    albedo = np.clip(albedo, 0, 255).astype(np.uint8)
    theirs = creases.split(albedo)
    raised, plain = crease.Splitter(creases, CPU).split(batch(albedo))
    assert theirs.relief.min() < -0.1
    np.testing.assert_allclose(raised[0].numpy(), theirs.relief, atol=0.01)  # mm
    off = np.abs(plain[0].numpy().astype(int) - theirs.albedo)
    assert off.max() <= 2 and (off > 0).mean() < 0.01


@needs_assets
def test_a_batch_of_skins():
    crowd = People(people(), head_model(), CPU)
    seeds = [(5, k) for k in range(3)]

    def drawn(some, creased):
        dice = Dice(some, CPU)
        albedo, back, lifted = crowd.skins(dice, creased)
        beta = torch.tensor([[0.0, 0, 0, 0.9, 0, 0]]).expand(len(some), -1)
        return albedo, back, lifted, crowd.relief(dice, beta, NAMES, lifted)

    albedo, back, lifted, raised = drawn(seeds, False)
    assert lifted is None
    assert albedo.shape == (3, TEXTURE, TEXTURE, 3) and albedo.dtype == back.dtype == torch.uint8
    assert not torch.equal(albedo[0], albedo[1])
    assert raised.isfinite().all() and raised.abs().max() <= relief.DEEPEST
    assert (raised.std((1, 2)) > 1e-4).all()
    again = drawn(seeds[1:2], False)
    assert torch.equal(again[0][0], albedo[1])
    np.testing.assert_allclose(again[3][0].numpy(), raised[1].numpy(), atol=1e-5)
    _, _, lifted, _ = drawn(seeds[:1], True)
    assert lifted.shape == (1, TEXTURE, TEXTURE) and lifted.abs().max() > 0


@needs_assets
def test_relief_is_as_rough_as_the_compiled_ones():
    crowd = People(people(), head_model(), CPU)
    plane, rng = crowd.plane.numpy(), np.random.default_rng(6)
    theirs = np.array([relief.random_relief(rng, plane).std() for _ in range(40)])
    dice = Dice([(6, k) for k in range(16)], CPU)
    mine = crowd.relief(dice, torch.zeros(16, len(NAMES)), NAMES, None).std((1, 2)).numpy()
    assert ks_2samp(mine, theirs).pvalue > 1e-3
    assert np.median(mine) == pytest.approx(np.median(theirs), rel=0.5)
