"""What a photo shows stays, what it does not comes from a whole skin in the person's own tone, without a seam."""

from functools import lru_cache

import cv2
import numpy as np
from heads import ASSETS, head_model, needs_assets

from facecli.train import skins
from facecli.train.lift import TEXTURE
from facecli.train.makehuman import BACK_TEXTURE
from facecli.train.skins import Skins

FRONT = np.zeros((TEXTURE, TEXTURE), bool)
FRONT[100:340, 130:382] = True


def patterned(count=6, side=TEXTURE):
    """Skins from dark to light, each a plain tone with a grain of its own."""
    rng = np.random.default_rng(3)
    tone = np.linspace([60, 40, 30], [210, 170, 150], count).astype(np.float32)

    def grained(size):
        grain = cv2.GaussianBlur(rng.normal(0, 1, (count * size, size)).astype(np.float32), (0, 0), 2)
        grain = 1 + 0.05 * (grain / grain.std()).reshape(count, size, size, 1)
        return np.clip(tone[:, None, None] * grain, 1, 255).astype(np.uint8)

    edge = np.ones((side, side), np.float32)
    edge[:24] = edge[-24:] = edge[:, :24] = edge[:, -24:] = 0
    return Skins(grained(side), grained(BACK_TEXTURE), tone, edge, cv2.GaussianBlur(edge, (0, 0), 4) * edge)


def portrait(tone=(150, 110, 90)):
    rng = np.random.default_rng(1)
    return np.clip(np.array(tone) + rng.normal(0, 8, (TEXTURE, TEXTURE, 1)), 0, 255).astype(np.uint8)


def test_what_the_photo_shows_stays():
    albedo = portrait()
    face, _ = patterned().complete(albedo, FRONT, 0)
    core = cv2.erode(FRONT.astype(np.uint8), np.ones((45, 45), np.uint8)) > 0
    assert np.abs(face[core].astype(int) - albedo[core]).max() <= 1


def test_what_it_does_not_is_a_lent_skin_in_the_persons_tone():
    """Whatever the albedo holds where it was not seen: that is light divided by nothing."""
    whole, lender = patterned(), 3
    spoiled = np.where(FRONT[..., None], portrait(), np.uint8(255))
    made = [whole.complete(albedo, FRONT, lender) for albedo in (portrait(), spoiled)]
    far = cv2.dilate(FRONT.astype(np.uint8), np.ones((61, 61), np.uint8)) == 0
    np.testing.assert_array_equal(made[0][0][far], made[1][0][far])
    face, back = made[0]
    np.testing.assert_allclose(np.median(face[far], 0), (150, 110, 90), atol=4)
    np.testing.assert_allclose(np.median(back.reshape(-1, 3), 0), (150, 110, 90), atol=4)
    uneven = sorted((face[far] / np.maximum(skin[far], 1.0)).std(0).max() for skin in whole.face)
    assert uneven[0] < 0.02  # the grain of one of them, and no other's
    assert uneven[1] > 0.03


def test_the_faces_rim_and_the_back_have_one_tone():
    """A face that is redder on one side is so at its rim no more."""
    whole, albedo = patterned(), portrait()
    albedo[:, : TEXTURE // 2, 0] += 40
    lit = np.ones_like(FRONT)
    face, back = whole.complete(albedo, lit, 0)
    lender = next(k for k in range(6) if np.ptp(back[..., 1] / np.maximum(whole.back[k][..., 1], 1)) < 0.12)
    rim = np.s_[4:20]
    ours = (face[rim] / np.maximum(whole.face[lender][rim], 1.0)).mean((0, 1))
    np.testing.assert_allclose(ours, (back / np.maximum(whole.back[lender], 1.0)).mean((0, 1)), rtol=0.02)


def test_one_side_lends_to_the_other():
    seen = FRONT & (np.arange(TEXTURE) < TEXTURE // 2)
    albedo = portrait()
    albedo[200:240, 180:200] = (20, 30, 200)  # a birthmark
    face, _ = patterned().complete(albedo, seen, 0)
    np.testing.assert_allclose(
        face[210:230, TEXTURE - 195 : TEXTURE - 185].mean((0, 1)), (20, 30, 200), atol=3
    )


def test_a_beard_does_not_darken_what_is_beside_it():
    whole, albedo, plain = patterned(), portrait(), portrait()
    albedo[280:340] = 20
    below = np.s_[365:385, 200:312]
    bearded, shaven = (whole.complete(a, FRONT, 0)[0][below].mean() for a in (albedo, plain))
    assert bearded > 0.9 * shaven


def test_the_lender_is_about_as_light_and_not_always_the_same():
    whole = patterned(12)

    def lender(tone, number):
        _, back = whole.complete(portrait(tone), FRONT, number)
        return int(np.argmin([(back / np.maximum(skin, 1.0)).std((0, 1)).max() for skin in whole.back]))

    dark, light = ({lender(tone, number) for number in range(5)} for tone in ((70, 48, 36), (200, 162, 140)))
    assert len(dark) == len(light) == skins.ALIKE
    assert max(dark) < min(light)
    assert lender((70, 48, 36), 7) == lender((70, 48, 36), 2)


def test_nobody_seen_at_all_is_the_lent_skin_itself():
    face, back = patterned().complete(portrait(), np.zeros_like(FRONT), 1)
    assert face.std() < 30 and back.std() < 30
    assert 40 < face.mean() < 200


def test_saved_and_loaded_they_are_the_same(tmp_path):
    whole = patterned(2)
    whole.save(tmp_path / "skins.npz")
    again = Skins.load(tmp_path / "skins.npz")
    for name in ("face", "back", "tone", "trust", "near"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(again, name))


@lru_cache(maxsize=1)
def baked():
    return Skins.bake(head_model(), ASSETS / "skins")


@needs_assets
def test_the_packaged_skins_lie_on_the_head_model():
    """Lips are redder than the bridge of the nose, and there are no brows."""
    whole = baked()
    assert len(whole.face) == len(whole.back) == len(whole.tone) == 20
    model = head_model()
    texel = {}
    for corners, places in zip(model.faces, model.corner_uv, strict=True):
        for vertex, place in zip(corners, places, strict=True):
            texel.setdefault(int(vertex), place)

    def colour(*points):
        """At the landmarks, or half way between two rows of them."""
        rows = [model.uv[[texel[int(v)] for v in model.landmark_vertices[row]]] for row in points]
        across, up = np.mean(rows, 0).T
        column, row = (np.rint(x * TEXTURE - 0.5).astype(int) for x in (across, 1 - up))
        return whole.face[:, row, column].astype(float).mean(1)

    lips, bridge = colour([50, 51, 52, 58, 57, 56], [61, 62, 63, 67, 66, 65]), colour([27, 28, 29])
    redness = (lips[:, 0] / lips[:, 1:].mean(1)) / (bridge[:, 0] / bridge[:, 1:].mean(1))
    assert np.median(redness) > 1.1
    brows = colour(list(range(17, 27))).mean(1) / bridge.mean(1)
    assert np.median(brows) > 0.75


@needs_assets
def test_a_photo_counts_inside_the_face_and_not_at_its_rim_or_under_the_collar():
    whole = baked()
    assert whole.trust[128:384, 128:384].min() > 0.99
    assert whole.near[128:384, 128:384].min() > 0.99
    for field in (whole.trust, whole.near):
        assert max(side.max() for side in (field[:6], field[-6:], field[:, :6].T, field[:, -6:].T)) == 0
        np.testing.assert_allclose(field, field[:, ::-1], atol=0.3)
    assert whole.trust[480:].max() == 0
