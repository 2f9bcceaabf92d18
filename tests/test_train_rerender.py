"""Re-rendered portraits: exact labels of the new head, the photo's own pixels on it, and nothing it did not show."""

from functools import lru_cache

import numpy as np
import pytest
from heads import head_model, needs_assets
from labels import Watched

from facecli.train import rerender
from facecli.train.fit import Fits
from facecli.train.garment import Wardrobe
from facecli.train.headmodel import BACK, GUMS, TEETH
from facecli.train.lift import TEXTURE
from facecli.train.makehuman import BACK_TEXTURE
from facecli.train.pool import Pool
from facecli.train.rerender import FIT_DEPTH_WEIGHT, Rerenderer, relit
from facecli.train.sample import UNIT

pytestmark = needs_assets

PHOTO = 512
FOCAL, DISTANCE = 1300.0, 900.0
SKIN = np.array([190, 150, 125], np.uint8)


@lru_cache(maxsize=1)
def portrait():
    """A pool of one neutral frontal head; its photo is skin, a little redder to the right and darker downwards."""
    along = np.arange(PHOTO)
    photo = np.empty((PHOTO, PHOTO, 3), np.uint8)
    photo[:] = SKIN
    photo[..., 0] = 160 + along // 8
    photo[..., 1] = 180 - along[:, None] // 8
    model = head_model()
    fits = Fits(
        ["london/0"],
        np.full((1, 2), float(PHOTO)),
        np.zeros((1, len(model.identity)), np.float32),
        np.zeros((1, len(model.expression_names)), np.float32),
        np.diag([1.0, -1, -1])[None],
        np.array([[0.0, 0, DISTANCE]]),
        np.array([FOCAL]),
        np.zeros(1),
    )
    light = np.zeros((1, 9, 3), np.float32)
    light[:, 0] = 1.0
    return Pool(
        fits,
        np.eye(2, 3)[None],
        light,
        np.ones(1),
        photo[None],
        np.full((1, PHOTO, PHOTO), 255, np.uint8),
        np.full((1, TEXTURE, TEXTURE, 3), 150, np.uint8),
        np.full((1, BACK_TEXTURE, BACK_TEXTURE, 3), 150, np.uint8),
    )


@lru_cache(maxsize=1)
def rerenderer():
    return Rerenderer(head_model(), portrait(), Wardrobe(head_model()))


@pytest.fixture
def watched(monkeypatch):
    return Watched(rerender, monkeypatch)


@pytest.mark.parametrize("seed", range(4))
def test_labels_are_those_of_the_new_head(seed, watched):
    made = rerenderer().sample(np.random.default_rng(seed), 256, 0)
    assert made.known.any() and made.depth_weight == 1.0 and made.detail is None
    watched.check(made, seed)


class Sharp(Rerenderer):
    """Nothing in front, and nothing drawn on the skin."""

    def __init__(self):
        super().__init__(head_model(), portrait(), rerenderer().wardrobe)

    def _in_front(self, rng, image, *_):
        return image


@lru_cache(maxsize=1)
def sharp():
    return Sharp()


def test_lids_and_lips_of_a_large_sample_have_detail(watched, monkeypatch):
    monkeypatch.setattr(rerender, "WRINKLED", 0.0)
    made = rerenderer().sample(np.random.default_rng(1), 512, 0)
    assert made.image.shape == (512, 512, 3)
    watched.check_detail(made)


def test_cheeks_and_forehead_are_known_and_brows_are_not():
    made = sharp().sample(np.random.default_rng(1), 512, 0)
    coordinate = made.coarse.repeat(4, 0).repeat(4, 1)[..., :3] * UNIT
    marks = head_model().neutral[head_model().landmark_vertices]

    def known(x, y):
        near = (np.hypot(coordinate[..., 0] - x, coordinate[..., 1] - y) < 3) & (coordinate[..., 2] > 10)
        return np.isfinite(made.detail[near]).mean() if near.any() else np.nan

    for x, y in [(0, 52), (38, -30), (-38, -30), *marks[[30, 51, 57], :2]]:
        assert known(x, y) > 0.9
    for x, y in marks[[18, 19, 20, 23, 24, 25], :2]:
        assert known(x, y) < 0.1


def test_what_is_added_to_a_portrait_is_in_its_label_and_in_its_light(monkeypatch):
    """The same seed without and with furrows, 0.3 mm deep: label and picture differ by them, and by nothing else."""

    def furrows(rng, plane, *_):
        return (0.3 * np.sin(plane[..., 1] * 2 * np.pi / 6)).astype(np.float32)

    def slanting(rng, light):
        out = light.copy()
        out[2] = -0.8  # from above: y points down
        return out

    monkeypatch.setattr(rerender, "relit", slanting)
    monkeypatch.setattr(rerender, "WRINKLED", 1.0)
    made = {}
    for kind, relief in (("smooth", lambda rng, plane, *_: plane[..., 0] * 0), ("furrowed", furrows)):
        monkeypatch.setattr(rerender, "random_relief", relief)
        made[kind] = sharp().sample(np.random.default_rng(4), 512, 0)
    smooth, furrowed = made["smooth"], made["furrowed"]
    np.testing.assert_array_equal(smooth.coarse, furrowed.coarse)
    np.testing.assert_array_equal(smooth.region, furrowed.region)
    added = furrowed.detail - smooth.detail
    assert 0.25 < np.nanmax(np.abs(added)) <= 0.301
    both = np.isfinite(added) & (smooth.image.min(-1) > 0)
    brighter = np.log(furrowed.image[both].mean(-1) + 1) - np.log(smooth.image[both].mean(-1) + 1)
    downhill = np.nan_to_num(np.gradient(np.nan_to_num(added))[0])[both]  # faces up where it falls downwards
    there = np.abs(downhill) > 0.01
    assert np.corrcoef(brighter[there], downhill[there])[0, 1] > 0.7


def test_an_unchanged_portrait_is_the_photo_itself_and_its_depth_hardly_counts():
    made = rerenderer().sample(np.random.default_rng(3), 256, 0, changed=False)
    assert made.depth_weight == FIT_DEPTH_WEIGHT
    known = np.repeat(np.repeat(made.known, 2, 0), 2, 1) > 0
    across = np.ptp(made.image[known].reshape(-1, 3).astype(int), axis=0)
    assert across[0] > 15 and across[1] > 15  # the photo's slopes
    assert (made.image[known][:, 2] == SKIN[2]).mean() > 0.99  # and its constant channel


def test_a_mouth_that_the_photo_kept_shut_is_filled_with_teeth_and_gums(watched, monkeypatch):
    names = head_model().expression_names

    def wide_open(rng, _):
        beta = np.zeros(len(names), np.float32)
        beta[names.index("jawOpen")] = 1.0
        return beta

    class Mouth(rerender.Rerenderer):
        def _in_front(self, rng, image, *_):
            return image  # nothing that could hide it

    monkeypatch.setattr(rerender, "lively_expression", wide_open)
    part = head_model().part[head_model().part != BACK]
    seen = 0
    for seed in range(6):
        watched.drawings.clear()
        made = Mouth(head_model(), portrait(), rerenderer().wardrobe).sample(
            np.random.default_rng(seed), 256, 0
        )
        index = watched.index
        material = np.where(index >= 0, part[index], -1)
        gums, teeth = made.image[material == GUMS], made.image[material == TEETH]
        if len(gums) < 100:
            continue  # the expression was drawn at no strength, or is seen from the side
        seen += 1
        skin = made.image[(index >= 0) & (material != GUMS) & (material != TEETH)].mean()
        assert gums.mean() < 0.7 * skin
        assert len(teeth) < 20 or teeth.mean() > gums.mean()
        share = made.opening[made.known > 0] > 128
        assert share.sum() > 20
    assert seen >= 2


def test_a_sample_is_made_by_its_generator_alone():
    first, second, other = (rerenderer().sample(np.random.default_rng(seed), 256, 0) for seed in (5, 5, 6))
    for field in ("image", "region", "coarse", "known", "opening"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))
    assert not np.array_equal(first.image, other.image)


def test_what_stands_in_front_is_not_face(monkeypatch):
    """With something in front of every portrait, the region is smaller, and never larger."""
    for seed in range(3):
        bare_rng, rng = (np.random.default_rng(seed) for _ in range(2))
        with monkeypatch.context() as patched:
            patched.setattr(rerender, "glasses", lambda *_: None)
            patched.setattr(rerender, "occluder", lambda *_: None)
            bare = rerenderer().sample(bare_rng, 256, 0)
        covered = []

        def cover(_rng, image, region, *_, covered=covered):
            covered.append(region.sum())
            region[100:150, 100:150] = False

        with monkeypatch.context() as patched:
            patched.setattr(rerender, "glasses", cover)
            patched.setattr(rerender, "occluder", cover)
            made = rerenderer().sample(rng, 256, 0)
        assert (made.region <= bare.region).all()
        assert (made.region[101:149, 101:149] == 0).all() or not covered


def test_new_light_is_near_the_old_in_strength():
    old = np.zeros((9, 3), np.float32)
    old[0] = 1.0
    for seed in range(20):
        new = relit(np.random.default_rng(seed), old)
        assert 0.55 < (new[0] / old[0]).mean() < 1.15
        assert np.linalg.norm(new[1:4].mean(1)) < 0.8
