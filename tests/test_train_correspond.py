"""MediaPipe's points on the head model: on its surface, symmetric, and where the iBUG landmarks are."""

from functools import lru_cache

import numpy as np
import trimesh
from heads import ASSETS, head_model, needs_assets

from facecli.train.correspond import (
    FACE_OVAL,
    LOWER_LIP,
    MEDIAPIPE_68,
    UPPER_LIP,
    canonical_points,
    move,
    register,
)
from facecli.train.headmodel import FACE_VERTICES

pytestmark = needs_assets


@lru_cache(maxsize=1)
def attached():
    return register(head_model(), canonical_points(ASSETS / "landmarks" / "canonical_face_model.obj"))


def places(attachment):
    triples, bary = attachment
    return (head_model().neutral[triples] * bary[..., None]).sum(1)


def test_every_point_is_on_a_triangle_of_the_skin():
    triples, bary = attached()
    assert triples.shape == bary.shape == (468, 3)
    assert triples.max() < FACE_VERTICES
    assert bary.min() > -1e-5
    np.testing.assert_allclose(bary.sum(1), 1, atol=1e-5)
    edges = {tuple(sorted(face)) for face in head_model().faces.tolist()}
    assert all(tuple(sorted(triple)) in edges for triple in triples.tolist())


def test_the_points_are_symmetric():
    points = places(attached())
    canonical = canonical_points(ASSETS / "landmarks" / "canonical_face_model.obj")
    twin = ((canonical[:, None] * [-1, 1, 1] - canonical[None]) ** 2).sum(-1).argmin(1)
    off = np.linalg.norm(points * [-1, 1, 1] - points[twin], axis=1)
    assert np.median(off) < 0.5
    assert off.max() < 4


def test_the_points_are_where_the_landmarks_are():
    model = head_model()
    truth = model.neutral[model.landmark_vertices][17:]
    off = np.linalg.norm(places(attached())[MEDIAPIPE_68][17:] - truth, axis=1)
    assert np.median(off) < 2.5
    assert off.max() < 8


def test_lips_keep_their_side():
    points = places(attached())
    middle_up, middle_down = points[13], points[14]  # inner lips, middle
    assert middle_up[1] >= middle_down[1]
    assert not set(UPPER_LIP) & set(LOWER_LIP)
    assert len(set(FACE_OVAL)) == 36


def test_each_lips_points_go_with_their_own_lip_when_the_mouth_opens():
    from facecli.train.correspond import calibrated

    model = head_model()
    expression = np.zeros(len(model.expression_names), np.float32)
    expression[model.expression_names.index("jawOpen")] = 0.5
    open_ = model.vertices(np.zeros(len(model.identity), np.float32), expression)
    for triples, bary in (attached(), calibrated(model)):
        moved = ((open_ - model.neutral)[triples] * bary[..., None]).sum(1)
        middle = [13, 14, 0, 17]  # inner and outer rims, upper and lower in turn
        assert moved[UPPER_LIP, 1].min() > moved[LOWER_LIP, 1].max() - 6, (
            "but at the corners they go together"
        )
        np.testing.assert_allclose(
            moved[middle], (open_ - model.neutral)[model.landmark_vertices[[62, 66, 51, 57]]], atol=1.5
        )


def test_moving_slides_both_sides_alike():
    shift = np.zeros((468, 2))
    shift[33] = [1.0, 2.0]  # outer corner of the right eye: to the image's right and down
    before, after = places(attached()), places(move(head_model(), attached(), shift))
    right, left = (after - before)[33], (after - before)[263]
    np.testing.assert_allclose(right * [-1, 1, 1], left, atol=0.4)  # the surface is not exactly symmetric
    assert right[0] > 0.2
    assert right[1] < -0.4


def test_calibrated_points_lie_on_the_head_near_where_registration_put_them():
    from facecli.train.correspond import CALIBRATED, calibrated

    triples, bary = calibrated(head_model())
    surface = (head_model().neutral[triples] * bary[..., None]).sum(1)
    np.testing.assert_allclose(surface, np.loadtxt(CALIBRATED), atol=0.02)
    moved = np.linalg.norm(surface - places(attached()), axis=1)
    assert np.median(moved) < 3
    assert moved.max() < 20


def test_brow_landmarks_are_lower_than_the_head_models_and_all_but_some_of_the_lips_are_its_own():
    from facecli.train.correspond import BROWS, IN_COLUMNS, calibrated, landmarks68

    ours, own = landmarks68(head_model(), calibrated(head_model())), head_model().neutral
    own = own[head_model().landmark_vertices]
    lowered = (own - ours)[BROWS, 1]
    assert (lowered > 1.5).all() and (lowered < 6).all()
    np.testing.assert_allclose(ours[22:27] * [-1, 1, 1], ours[17:22][::-1], atol=0.1)
    others = np.setdiff1d(np.r_[0:17, 27:68], list(IN_COLUMNS))
    np.testing.assert_array_equal(ours[others], own[others])


@needs_assets
def test_lip_landmarks_stand_in_columns_on_their_lips():
    """In iBUG's mean shape 50, 61, 67 and 58 are above one another, and so are 52, 63, 65 and 56."""
    from facecli.train.correspond import calibrated, landmarks68

    ours = landmarks68(head_model(), calibrated(head_model()))
    for column in ([50, 61, 67, 58], [52, 63, 65, 56]):
        np.testing.assert_allclose(ours[column, 0], ours[column[0], 0], atol=0.05)
        assert (np.diff(ours[column, 1]) < 0).all()
    head = trimesh.Trimesh(head_model().neutral, head_model().faces, process=False)
    off = trimesh.proximity.closest_point(head, ours[[61, 67, 58, 63, 65, 56]])[1]
    assert off.max() < 0.8  # mm
