"""One synthetic sample: its labels are the geometry that was drawn."""

from functools import lru_cache

import cv2
import numpy as np
import pytest
from heads import head_model, needs_assets, pushing_morphs
from labels import Watched, placed

from facecli.geometry import displace, normals
from facecli.train import synth
from facecli.train.fit import Fits
from facecli.train.hair import Hair
from facecli.train.lift import TEXTURE
from facecli.train.light import HEIGHT, WIDTH, Light
from facecli.train.makehuman import BACK_TEXTURE
from facecli.train.pool import Pool
from facecli.train.relief import DEEPEST
from facecli.train.sample import LARGEST_DETAIL, UNIT
from facecli.train.stage import Stage
from facecli.train.synth import SCULPTED, Synthesizer
from facecli.upsample import upsample_masked

pytestmark = needs_assets


def people(count=3):
    """A pool of nobody: random skins before random backgrounds."""
    rng = np.random.default_rng(0)
    fits = Fits(
        [f"london/{k}" for k in range(count)],
        np.full((count, 2), 64.0),
        np.zeros((count, 100)),
        np.zeros((count, 53)),
        np.repeat(np.diag([1.0, -1, -1])[None], count, 0),
        np.tile([0.0, 0, 800], (count, 1)),
        np.full(count, 140.0),
        np.zeros(count),
    )
    return Pool(
        fits,
        np.zeros((count, 2, 3)),
        np.zeros((count, 9, 3)),
        np.ones(count),
        rng.integers(0, 256, (count, 64, 64, 3), np.uint8),
        np.full((count, 64, 64), 255, np.uint8),
        rng.integers(90, 200, (count, TEXTURE, TEXTURE, 3), np.uint8),
        rng.integers(90, 200, (count, BACK_TEXTURE, BACK_TEXTURE, 3), np.uint8),
    )


def stage(count=3, morphs=None):
    """People, one light and one strand of hair."""
    grey = np.zeros((9, 3), np.float32)
    grey[0] = 3.0
    lamp = np.array([0.3, 0.5, 0.8], np.float32)
    light = Light(
        grey, np.ones((HEIGHT, WIDTH, 3), np.float32), lamp / np.linalg.norm(lamp), np.ones(3, np.float32)
    )
    corners = np.array([[-40.0, 110, -60], [40, 110, -60], [0, 60, -90]], np.float32)
    strand = Hair(
        corners,
        np.array([[0, 1, 2]], np.int32),
        np.zeros((1, 3, 2), np.float32),
        np.full((4, 4, 4), 200, np.uint8),
    )
    return Stage(head_model(), people(count), [light], [strand], morphs)


@lru_cache(maxsize=1)
def synthesizer():
    return Synthesizer(stage())


@pytest.fixture
def watched(monkeypatch):
    return Watched(synth, monkeypatch)


@pytest.mark.parametrize("seed", range(4))
def test_known_pixels_lie_on_the_head(seed, watched):
    made = synthesizer().sample(np.random.default_rng(seed), 256)
    assert made.known.any()
    watched.check(made, seed)


@pytest.mark.parametrize("seed", [11, 12])
def test_a_sample_with_detail(seed):
    made = synthesizer().sample(np.random.default_rng(seed), 512)
    assert made.image.shape == (512, 512, 3)
    assert made.image.dtype == np.uint8
    assert made.detail.shape == (512, 512)
    assert np.nanmax(np.abs(made.detail)) <= LARGEST_DETAIL + DEEPEST
    region = np.repeat(np.repeat(made.region, 2, 0), 2, 1)
    assert np.isnan(made.detail[region == 0]).all()
    assert np.isfinite(made.detail[region == 255]).mean() > 0.85


def test_coarse_surface_and_detail_are_the_true_surface(watched, monkeypatch):
    monkeypatch.setattr(Synthesizer, "_relief_map", lambda *_: np.zeros((512, 512), np.float32))
    made = synthesizer().sample(np.random.default_rng(11), 512)
    watched.check_detail(made)
    assert 0.1 < made.footprint < 10
    assert made.depth_weight == 1.0
    assert np.isfinite(made.coarse).all()


def test_the_light_falls_on_the_surface_that_the_labels_tell_of(watched, monkeypatch):
    """Coarse surface and detail, put together as a reconstruction is, have the normals that were shaded."""
    shaded, radiance = [], Synthesizer._radiance

    def shading(self, position, drawn, normal, *rest):
        shaded.append(normal)
        return radiance(self, position, drawn, normal, *rest)

    def creased(rng, plane, *_):
        """Furrows across the whole face, 4 mm apart."""
        return (0.25 * np.sin(plane[..., 1] * 2 * np.pi / 4)).astype(np.float32)

    monkeypatch.setattr(Synthesizer, "_radiance", shading)
    monkeypatch.setattr(synth, "random_relief", creased)
    made = synthesizer().sample(np.random.default_rng(11), 512)
    smooth = upsample_masked(made.coarse[..., 3] * UNIT, made.known > 0, 512).astype(np.float64)
    row, column = np.mgrid[:512, :512]
    where = np.stack([column, row], -1).reshape(-1, 2).astype(np.float64)
    coarse = placed(watched.projection, 512, where, smooth.ravel()).reshape(512, 512, 3)
    inside = np.isfinite(made.detail)
    detailed = displace(coarse, normals(coarse, inside), np.nan_to_num(made.detail).astype(np.float64))
    core = cv2.erode(inside.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    # Lids, lips, ears: their edges are finer than the furrows, and the coarse normal is not theirs.
    x, y, _ = np.moveaxis(made.coarse.repeat(4, 0).repeat(4, 1)[..., :3] * UNIT, -1, 0)
    plain = core & ((y > 25) | ((np.abs(x) > 26) & (y < -14) & (y > -50)))
    assert plain.sum() > 1000

    def error(surface):
        cosine = (normals(surface, inside)[plain] * shaded[0][plain]).sum(-1)
        return np.degrees(np.arccos(np.clip(cosine, -1, 1)))

    assert np.median(error(coarse)) > 8
    assert np.median(error(detailed)) < 2.5
    assert np.quantile(error(detailed), 0.9) < 6


def test_a_sample_is_made_by_its_generator_alone():
    first, second, other = (synthesizer().sample(np.random.default_rng(seed), 256) for seed in (5, 5, 6))
    assert first.detail is None
    for field in ("image", "region", "coarse", "known"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))
    assert first.footprint == second.footprint
    assert not np.array_equal(first.image, other.image)


def test_some_heads_have_a_portraits_expression():
    synthesizer_ = Synthesizer(stage())
    fitted = synthesizer_.pool.fits.beta
    fitted[:] = 0.123 + 0.1 * np.arange(3)[:, None]
    rng = np.random.default_rng(4)
    drawn = np.stack([synthesizer_._expression(rng) for _ in range(600)])
    theirs = (drawn[:, None] == fitted.astype(np.float32)).all(-1)
    assert theirs.any(1).mean() == pytest.approx(synth.BORROWED, abs=0.07)
    assert (theirs.mean(0) > synth.BORROWED / 6).all()
    drawn[theirs[:, 0]] = 1
    assert fitted.max() < 0.4, "the pool's own stays as it is"
    assert drawn[~theirs.any(1)].min() == 0


def test_depth_is_known_only_in_the_region():
    for seed in range(20, 24):
        made = synthesizer().sample(np.random.default_rng(seed), 256)
        share = made.region.reshape(128, 2, 128, 2).mean((1, 3)) / 255
        assert (share[made.known > 0] > 0.5).all()
        assert set(np.unique(made.known)) <= {0.0, 1.0}


def test_more_than_half_of_the_people_are_sculpted():
    plain, sculptor = synthesizer(), Synthesizer(stage(morphs=pushing_morphs(1.0)))
    beta = np.zeros(len(head_model().expression_names), np.float32)
    added = []
    for seed in range(60):
        one, other = (who._person(np.random.default_rng(seed), beta) for who in (sculptor, plain))
        shift = (one - other)[0]
        np.testing.assert_allclose(one - other, np.broadcast_to(shift, one.shape), atol=1e-3)
        added.append(shift[0])
    assert np.mean(np.array(added) > 0.01) == pytest.approx(SCULPTED, abs=0.2)
    assert np.ptp(added) > 3
