"""Rims of lids and lips: the width of a gap comes back however blurred it is, and nothing moves without one."""

import cv2
import numpy as np
import pytest

from facecli.rims import on_rims, rim_edges, rim_points

SIZE = 128
MOUTH = {
    60: (-20, 0),
    64: (20, 0),
    61: (-10, -1),
    62: (0, -1),
    63: (10, -1),
    67: (-10, 1),
    66: (0, 1),
    65: (10, 1),
    **{50: (-8, -6), 51: (0, -5), 52: (8, -6), 56: (8, 6), 57: (0, 6), 58: (-8, 6)},
}
ABOVE, BELOW = 0.004 * 40, 0.011 * 40


def face(turn=0.0, middle=(64.0, 64.0)):
    """Landmarks with a mouth 40 px wide and shut, everything else in one corner."""
    points = np.zeros((68, 2))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    for index, place in MOUTH.items():
        points[index] = rotation @ np.array(place, float) + middle
    return points


def band(height, shift=0.0, turn=0.0, blur=0.0, size=SIZE):
    """A gap of so many pixels' height, shifted downwards, turned about the middle and blurred."""
    fine = 8
    along = (np.arange(size * fine) + 0.5) / fine - 0.5 - size / 2
    x, y = np.meshgrid(along, along)
    across = -x * np.sin(turn) + y * np.cos(turn) - shift
    length = x * np.cos(turn) + y * np.sin(turn)
    gap = ((np.abs(across) < height / 2) & (np.abs(length) < 24)).astype(np.float32)
    share = cv2.resize(gap, (size, size), interpolation=cv2.INTER_AREA)
    return (cv2.GaussianBlur(share, (0, 0), blur) if blur else share).astype(np.float64)


@pytest.mark.parametrize("blur", [0.0, 0.7, 1.5])
@pytest.mark.parametrize("height", [2.0, 3.3, 9.0])
@pytest.mark.parametrize("turn", [0.0, 0.6, -2.5])
def test_a_gap_is_as_wide_as_it_is_however_blurred(height, blur, turn):
    if height == 2.0 and blur == 1.5:
        height = 3.0  # less would be taken for a shadow
    moved = on_rims(face(turn), band(height, turn=turn, blur=blur))
    down = np.array([-np.sin(turn), np.cos(turn)])
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        gap = (moved[lower] - moved[upper]) @ down
        assert gap == pytest.approx(height + ABOVE + BELOW, abs=0.15)
        assert np.abs((moved[lower] + moved[upper]) / 2 - 64).max() < 24


def test_rims_follow_a_gap_that_is_not_where_the_lips_were_thought_to_meet():
    moved = on_rims(face(), band(4.0, shift=3.0))
    np.testing.assert_allclose(moved[62], [64, 64 + 3 - 2 - ABOVE], atol=0.1)
    np.testing.assert_allclose(moved[66], [64, 64 + 3 + 2 + BELOW], atol=0.1)


def test_inner_lips_that_are_lost_in_a_wide_mouth_are_found_between_the_outer_ones():
    lost = face()
    lost[[61, 67], 1] += 15
    np.testing.assert_allclose(
        on_rims(lost, band(9.0))[[61, 67]], on_rims(face(), band(9.0))[[61, 67]], atol=0.1
    )


def test_only_rims_move():
    points = face()
    moved = on_rims(points, band(6.0))
    still = np.setdiff1d(np.arange(68), [61, 62, 63, 65, 66, 67])
    np.testing.assert_array_equal(moved[still], points[still])
    assert not np.array_equal(moved[62], points[62])
    np.testing.assert_array_equal(points, face())  # nor is the argument changed


@pytest.mark.parametrize(
    "opening",
    [np.zeros((SIZE, SIZE)), band(6.0) * 0.25, band(4.0, shift=15.0), np.ones((SIZE, SIZE))],
    ids=["shut", "a shadow", "another's", "without end"],
)
def test_nothing_moves_without_a_gap_of_its_own(opening):
    points = face()
    np.testing.assert_array_equal(on_rims(points, opening), points)


def test_a_mouth_seen_from_the_side_has_no_across():
    points = face()
    points[64] = points[60] + 0.5
    np.testing.assert_array_equal(on_rims(points, band(6.0)), points)


def test_a_mouth_beyond_the_picture_stays():
    points = face(middle=(64.0, 300.0))
    np.testing.assert_array_equal(on_rims(points, band(6.0)), points)


def test_points_of_a_rim_run_through_its_landmarks_from_corner_to_corner():
    landmarks = np.random.default_rng(0).normal(size=(68, 3))
    points = rim_points(landmarks, np.ones(68, bool))
    assert len(points) % 6 == 0
    upper_lip = points.reshape(6, -1, 3)[4]
    for index, nearest in ((60, 0), (64, -1)):
        np.testing.assert_array_equal(upper_lip[nearest], landmarks[index])
    for index in (61, 62, 63):
        assert np.linalg.norm(upper_lip - landmarks[index], axis=1).min() < 0.05
    assert np.linalg.norm(np.diff(upper_lip, axis=0), axis=1).max() < 0.1


def test_a_rim_that_is_hidden_in_part_has_no_points():
    landmarks, visible = np.random.default_rng(0).normal(size=(68, 3)), np.ones(68, bool)
    every = rim_points(landmarks, visible)
    visible[38] = False  # the right eye's upper lid
    np.testing.assert_array_equal(rim_points(landmarks, visible), every[len(every) // 6 :])
    visible[60] = False  # between parted lips there is nothing to see
    assert len(rim_points(landmarks, visible)) == len(every) * 5 // 6
    visible[48] = False  # the mouth's corner, of both lips
    assert len(rim_points(landmarks, visible)) == len(every) // 2
    assert rim_points(landmarks, np.zeros(68, bool)).shape == (0, 3)


def lens(half, size=SIZE):
    """A gap that is an ellipse, as wide as the mouth and twice `half` high."""
    fine = 8
    along = (np.arange(size * fine) + 0.5) / fine - 0.5 - size / 2
    x, y = np.meshgrid(along, along)
    gap = (np.square(x / 20) + np.square(y / half) < 1).astype(np.float32)
    return cv2.resize(gap, (size, size), interpolation=cv2.INTER_AREA).astype(np.float64)


def test_edges_of_a_gap_are_round_where_lines_between_landmarks_are_not():
    every, opening = np.ones(68, bool), lens(7.0)
    landmarks = on_rims(face(), opening)
    lines, edges = (points.reshape(6, -1, 2)[4:] for points in (
        rim_points(landmarks, every), rim_edges(landmarks, opening, every)
    ))  # fmt: skip
    off = []
    for points in (lines, edges):
        x, y = np.moveaxis(points - 64, -1, 0)
        inside = np.abs(x) < 17  # beyond, the last place that is looked at is joined to the corner
        true = 7.0 * np.sqrt(1 - np.square(x[inside] / 20))
        beyond = np.where(y[inside] < 0, ABOVE, BELOW)
        off.append(np.abs(np.abs(y[inside]) - true - beyond))
    assert off[0].max() > 1.3
    assert off[1].max() < 0.35
    np.testing.assert_array_equal(edges[:, [0, -1]], lines[:, [0, -1]])


def test_edges_are_the_lines_where_nothing_is_open():
    landmarks, every = face(), np.ones(68, bool)
    edges = rim_edges(landmarks, np.zeros((SIZE, SIZE)), every)
    np.testing.assert_array_equal(edges, rim_points(landmarks, every))


def test_edges_and_points_leave_the_same_rims_out():
    visible = np.ones(68, bool)
    visible[[38, 66]] = False
    opening = band(6.0)
    landmarks = on_rims(face(), opening)
    edges = rim_edges(landmarks, opening, visible)
    assert edges.shape == rim_points(landmarks, visible).shape
    whole = rim_edges(landmarks, opening, np.ones(68, bool)).reshape(6, -1, 2)
    np.testing.assert_array_equal(edges, whole[[1, 2, 3, 4]].reshape(-1, 2))


def test_points_of_touching_rims_lie_apart_but_at_the_corners():
    landmarks = np.random.default_rng(0).normal(size=(68, 3))
    landmarks[[61, 62, 63]] = landmarks[[67, 66, 65]]
    upper, lower = rim_points(landmarks, np.ones(68, bool), apart=0.7).reshape(6, -1, 3)[4:]
    np.testing.assert_allclose((upper - lower)[30:-30], np.tile([0, 1.4, 0], (len(upper) - 60, 1)), atol=1e-9)
    np.testing.assert_array_equal(upper[[0, -1]], lower[[0, -1]])
    assert (np.diff((upper - lower)[:30, 1]) >= 0).all()
