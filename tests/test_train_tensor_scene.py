"""What is random of batches: each sample its seed's own, and spread as the compiled path's is."""

import numpy as np
import pytest
import torch
from scipy.stats import beta, ks_2samp, kstest
from staged import CPU, batch

from facecli.train.lift import face_box_points
from facecli.train.light import HEIGHT, WIDTH, Light, random_light
from facecli.train.sample import jittered_frame, lively_expression
from facecli.train.second_head import GENERAL, LARGEST, OLD, SINGLE, Morphs
from facecli.train.synth import BORROWED, FARTHEST_MM, NEAREST_MM, SCULPTED, Synthesizer
from facecli.train.tensor import dice as module
from facecli.train.tensor.dice import Dice
from facecli.train.tensor.head import flat, framed
from facecli.train.tensor.scene import acted, cameras, expressions, hair_colour, lights
from facecli.train.tensor.sculptor import Sculptor
from facecli.train.tensor.shade import Lights

NAMES = (
    "browDown_L", "browDown_R", "cheekSquint_L", "eyeBlink_L", "eyeBlink_R", "eyeLookDown_L", "eyeLookIn_R",
    "eyeLookOut_L", "jawOpen", "mouthFunnel", "mouthSmile_L", "mouthSmile_R", "mouthUpperUp_L", "mouthLowerDown_R",
)  # fmt: skip
MANY = 1500
UNLIKELY = 1e-4
"""Of two samples of one distribution, as seldom as this are told apart."""


def many(first=0, count=MANY):
    return Dice([(first, k) for k in range(count)], CPU)


def test_a_sample_is_its_seeds_whatever_it_is_drawn_with():
    together, alone = Dice([(3, 1), (3, 2), (4, 1)], CPU), Dice([(3, 2)], CPU)
    for draw in (
        lambda d: d.uniform(-2, 5, 3),
        lambda d: d.normal(1, 2, 2, 2),
        lambda d: d.below(9),
        lambda d: d.choice([0.2, 0.5, 0.3], 4),
        lambda d: d.beta(1.2, 1.6),
        lambda d: d.chance(0.5),
    ):
        three, one = draw(together), draw(alone)
        assert torch.equal(three[1], one[0])
    again = Dice([(3, 2)], CPU)
    assert torch.equal(again.random(5), Dice([(3, 2)], CPU).random(5))
    assert not torch.equal(again.random(5), Dice([(3, 3)], CPU).random(5))


def test_distributions():
    dice = many(count=4000)
    assert kstest(dice.uniform(2, 3).numpy(), "uniform", (2, 1)).pvalue > UNLIKELY
    assert kstest(dice.normal(1, 2).numpy(), "norm", (1, 2)).pvalue > UNLIKELY
    assert kstest(dice.beta(1.2, 1.6).numpy(), beta(1.2, 1.6).cdf).pvalue > UNLIKELY
    assert np.bincount(dice.below(4).numpy()) / 4000 == pytest.approx([0.25] * 4, abs=0.035)
    assert np.bincount(dice.choice([0.1, 0.6, 0.3]).numpy()) / 4000 == pytest.approx(
        [0.1, 0.6, 0.3], abs=0.035
    )
    several = dice.below(torch.arange(1, 4001))
    assert (several < torch.arange(1, 4001)).all() and (several >= 0).all()
    assert dice.chance(0.2).float().mean() == pytest.approx(0.2, abs=0.03)
    assert set(dice.one_of((3.0, 7.0), (0.5, 0.5)).unique().tolist()) == {3.0, 7.0}


def test_dice_run_out():
    dice = many(count=1)
    dice.random(module.EVEN)
    with pytest.raises(ValueError, match="no more than 4096 even"):
        dice.random()
    with pytest.raises(ValueError, match="no more than 4096 normal"):
        dice.normal(0, 1, module.NORMAL + 1)


def test_expressions_are_spread_as_the_compiled_ones():
    mine = expressions(many(), NAMES).numpy()
    rng = np.random.default_rng(0)
    theirs = np.stack([lively_expression(rng, NAMES) for _ in range(MANY)])
    assert mine.min() == 0 and mine.max() <= 1
    for k, name in enumerate(NAMES):
        assert ks_2samp(mine[:, k], theirs[:, k]).pvalue > UNLIKELY, name
    assert ks_2samp((mine > 0).sum(1), (theirs > 0).sum(1)).pvalue > UNLIKELY
    for a, b in ((0, 1), (10, 11), (6, 7), (8, 10)):  # which go together
        both = [float((e[:, a] * e[:, b] > 0).mean()) for e in (mine, theirs)]
        assert both[0] == pytest.approx(both[1], abs=0.03)


def test_some_heads_have_a_portraits_expression():
    fitted = torch.full((5, len(NAMES)), 0.123) + 0.1 * torch.arange(5.0)[:, None]
    mine = acted(many(), NAMES, fitted)
    theirs = (mine[:, None] == fitted).all(-1)
    assert theirs.any(1).float().mean() == pytest.approx(BORROWED, abs=0.03)
    assert (theirs.float().mean(0) > BORROWED / 8).all()
    assert mine[~theirs.any(1)].min() == 0


def some_lights():
    rng = np.random.default_rng(2)
    made = []
    for _ in range(4):
        lamp = rng.normal(size=3).astype(np.float32)
        mirror = rng.random((HEIGHT, WIDTH, 3), np.float32)[:1, :1].repeat(2, 0)
        made.append(Light(rng.uniform(0.5, 3, (9, 3)).astype(np.float32), mirror, lamp / np.linalg.norm(lamp),
                          rng.uniform(0.1, 1, 3).astype(np.float32)))  # fmt: skip
    return made


def test_lights_are_spread_as_the_compiled_ones():
    every = some_lights()
    fields = ("irradiance", "mirror", "lamp", "lamp_colour")
    mine = lights(
        many(), Lights(*(torch.from_numpy(np.stack([getattr(x, f) for x in every])) for f in fields))
    )
    rng = np.random.default_rng(1)
    theirs = [random_light(rng, every) for _ in range(MANY)]
    np.testing.assert_allclose(mine.lamp.norm(dim=1).numpy(), 1, atol=1e-5)
    for field, pick in (("irradiance", (0, 0)), ("irradiance", (3, 2)), ("mirror", (0, 0, 1)), ("lamp", (0,)),
                        ("lamp", (1,)), ("lamp", (2,)), ("lamp_colour", (0,)), ("lamp_colour", (2,))):  # fmt: skip
        ours = getattr(mine, field).numpy()[(slice(None), *pick)]
        other = np.array([getattr(light, field)[pick] for light in theirs])
        # Lamps of environments are the same few again and again, but for rounding.
        assert ks_2samp(ours.round(4), other.round(4)).pvalue > UNLIKELY, (field, pick)


def test_hair_is_dark_oftener_than_fair():
    tones = hair_colour(many()).numpy()
    assert tones.min() > 0 and tones.max() < 0.9
    assert (tones.mean(1) < 0.06).mean() == pytest.approx(0.6, abs=0.05)  # black, brown and half of red


def test_a_crop_is_framed_as_the_compiled_one():
    rng = np.random.default_rng(3)
    vertices = np.random.default_rng(4).normal([20, -10, 600], 80, (8000, 3)).astype(np.float32)
    theirs = jittered_frame(rng, face_box_points(flat(batch(vertices))[0].numpy()), 12, 256)
    again = np.random.default_rng(3)
    larger = np.clip(again.normal(0, 0.09), -0.22, 0.22)
    aside = np.clip(again.normal(0, 0.035, 2), -0.1, 0.1)
    turn = np.arctan2(theirs[1, 0], theirs[0, 0])
    mine = framed(batch(vertices), 256, *(batch(np.asarray(v, np.float32)) for v in (larger, aside, turn)))
    np.testing.assert_allclose(mine[0].numpy(), theirs, rtol=1e-4, atol=1e-2)


def test_poses_are_spread_as_the_compiled_ones():
    vertices = torch.from_numpy(np.random.default_rng(5).normal(0, 80, (7000, 3)).astype(np.float32))
    made = cameras(many(count=800), vertices.expand(800, -1, -1), 256)
    rng = np.random.default_rng(6)
    turns = np.stack([np.diag([1.0, -1, -1]) @ Synthesizer._pose(None, rng) for _ in range(3000)])
    np.testing.assert_allclose(torch.linalg.det(made.rotation).numpy(), 1, atol=1e-5)
    for pick in ((0, 0), (0, 2), (2, 1), (1, 0), (2, 2)):
        ours, other = made.rotation.numpy()[(slice(None), *pick)], turns[(slice(None), *pick)]
        assert ks_2samp(ours, other).pvalue > UNLIKELY, pick
    distance = made.translation[:, 2].numpy()
    assert distance.min() >= NEAREST_MM and distance.max() <= FARTHEST_MM
    spread = np.log(NEAREST_MM), np.log(FARTHEST_MM / NEAREST_MM)
    assert kstest(np.log(distance), "uniform", spread).pvalue > UNLIKELY
    rolls = torch.atan2(made.frame[:, 1, 0], made.frame[:, 0, 0]).rad2deg()
    assert rolls.abs().max() <= 45 and 10 < rolls.std() < 16


def some_morphs():
    names = (*GENERAL, OLD, *SINGLE)
    least = np.array([float({**GENERAL, OLD: 0, **SINGLE}[name]) for name in names])
    change = np.random.default_rng(5).normal(0, 1, (len(names), 7, 3)).astype(np.float32)
    return Morphs(names, least, change)


def test_people_are_sculpted_as_the_compiled_ones():
    morphs = some_morphs()
    mine = Sculptor(morphs, CPU).weights(many()).numpy()
    theirs = np.stack([morphs.weights(np.random.default_rng(seed)) for seed in range(MANY)])
    for members in (list(GENERAL), [OLD], list(SINGLE)):
        some = np.isin(morphs.names, members)
        assert ks_2samp((mine[:, some] != 0).sum(1), (theirs[:, some] != 0).sum(1)).pvalue > UNLIKELY
        used = [part[:, some][part[:, some] != 0] for part in (mine, theirs)]
        assert ks_2samp(*used).pvalue > UNLIKELY
    assert (mine >= morphs.least * LARGEST - 1e-6).all() and mine.max() <= LARGEST


def test_some_people_are_not_sculpted_at_all():
    morphs = some_morphs()
    added = Sculptor(morphs, CPU).added(many())
    still = (added == 0).all(-1).all(-1).float().mean()
    plain = np.mean([not morphs.weights(np.random.default_rng(seed)).any() for seed in range(MANY)])
    assert still == pytest.approx(1 - SCULPTED * (1 - plain), abs=0.04)
