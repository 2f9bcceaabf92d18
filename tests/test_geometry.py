"""Maps to surfaces: exact positions, normals and landmarks of a head made of formulas."""

import numpy as np
import pytest
from surfaces import disc, landmarks, person_point, scene

from facecli.camera import fit_pose
from facecli.geometry import (
    connected,
    displace,
    inner,
    inner_mouth,
    landmarks_from_maps,
    normals,
    positions,
    region_mask,
)


def flat_wall(size=32, z=500.0, spread=0.3):
    """Positions of a wall that faces the camera."""
    at = np.linspace(-spread, spread, size)
    x, y = np.meshgrid(at, at)
    return np.stack([x, y, np.ones_like(x)], axis=-1) * z


def test_positions_undo_the_depth():
    truth = scene(20.0, size=64)
    found = positions(truth.depth, truth.rays, 600.0)
    np.testing.assert_allclose(found[truth.mask], truth.positions[truth.mask], atol=1e-6)


def test_normals_of_a_wall_and_of_a_lonely_pixel():
    wall = flat_wall()
    mask = np.ones(wall.shape[:2], dtype=bool)
    np.testing.assert_allclose(normals(wall, mask), np.broadcast_to([0.0, 0.0, -1.0], wall.shape), atol=1e-12)
    mask[:] = False
    mask[5, 7] = True
    found = normals(wall, mask)
    np.testing.assert_allclose(found[5, 7], -wall[5, 7] / np.linalg.norm(wall[5, 7]), atol=1e-12)
    assert not found[~mask].any()


def test_normals_of_a_sphere_are_its_radii():
    at = np.linspace(-0.12, 0.12, 161)
    x, y = np.meshgrid(at, at)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1)
    centre, radius = np.array([0.0, 0.0, 500.0]), 60.0
    a, b = (rays**2).sum(-1), rays @ centre
    inside = b**2 - a * (centre @ centre - radius**2)
    mask = inside > 0.05 * radius**2
    surface = rays * ((b - np.sqrt(np.clip(inside, 0, None))) / a)[..., None]
    found, truth = normals(surface, mask), (surface - centre) / radius
    assert ((found * surface).sum(-1)[mask] < 0).all()
    np.testing.assert_allclose(np.linalg.norm(found[mask], axis=-1), 1, atol=1e-12)
    inner = mask & np.roll(mask, 1, 0) & np.roll(mask, -1, 0) & np.roll(mask, 1, 1) & np.roll(mask, -1, 1)
    facing = (truth * surface).sum(-1) / np.linalg.norm(surface, axis=-1) < -0.35
    angle = np.degrees(np.arccos(np.clip((found * truth).sum(-1), -1, 1)))
    assert angle[inner & facing].max() < 0.6
    assert angle[mask & facing].max() < 6  # one-sided differences at the edge


def test_normals_do_not_look_across_a_cut_or_outside_the_mask():
    wall = flat_wall()
    wall[:, 16:] *= 1.2  # the right half is 100 mm behind
    mask = np.ones(wall.shape[:2], dtype=bool)
    mask[:4] = False
    wall[:4] = np.nan
    found = normals(wall, mask)
    np.testing.assert_allclose(found[4:], np.broadcast_to([0.0, 0.0, -1.0], found[4:].shape), atol=1e-12)
    sideways, downwards = connected(wall, mask)
    assert not sideways[:, 15].any() and sideways[4:, :15].all() and sideways[4:, 16:].all()
    assert downwards[4:].all() and not downwards[:4].any()


@pytest.mark.parametrize(("degrees", "whole"), [(60, True), (78, True), (84, False)])
def test_a_slope_is_cut_only_when_nearly_edge_on(degrees, whole):
    size, focal = 40, 2000.0
    at = (np.arange(size) - size / 2) / focal
    x, y = np.meshgrid(at, at)
    z = 600 / (1 - np.tan(np.radians(degrees)) * x)  # the plane z = 600 + tan * X
    sideways, downwards = connected(np.stack([x * z, y * z, z], -1), np.ones((size, size), dtype=bool))
    assert sideways.all() == whole and sideways.any() == whole and downwards.all()


def test_displacement_is_outwards_in_millimetres():
    truth = scene(size=64)
    normal = normals(truth.positions, truth.mask)
    moved = displace(truth.positions, normal, np.full(truth.depth.shape, 2.0))
    np.testing.assert_allclose(np.linalg.norm((moved - truth.positions)[truth.mask], axis=-1), 2, atol=1e-9)
    assert (moved[truth.mask][:, 2] <= truth.positions[truth.mask][:, 2] + 2).all()
    assert (moved - truth.positions)[truth.mask][:, 2].mean() < -1


def test_region_keeps_the_largest_piece_closes_pinholes_and_keeps_a_hand_out():
    face, far, pinhole, hand = (
        disc(256, 110, 128, 80),
        disc(256, 230, 30, 12),
        disc(256, 90, 90, 4),
        disc(256, 120, 160, 25),
    )
    probability = np.where((face & ~pinhole & ~hand) | far, 0.9, 0.1).astype(np.float32)
    mask = region_mask(probability)
    assert mask[90, 90] and not mask[160, 120] and not mask[30, 230]
    assert (mask ^ (face & ~hand)).mean() < 0.002


def test_region_bridges_the_rim_of_spectacles():
    face = disc(256, 128, 128, 90)
    rim = disc(256, 95, 110, 22) & ~disc(256, 95, 110, 19)
    mask = region_mask(np.where(face & ~rim, 1.0, 0.0))
    assert mask[110, 95] and (mask ^ face).mean() < 0.002


def test_region_may_touch_the_border_and_holes_open_to_it_stay():
    probability = np.ones((64, 64))
    probability[:10, 20:40] = 0
    mask = region_mask(probability)
    assert mask[0, 0] and mask[63, 63] and not mask[3, 30]


def test_no_face_gives_an_empty_region():
    assert not region_mask(np.full((64, 64), 0.2, np.float32)).any()


def found_landmarks(truth, noise=0.0, fitted=True):
    mask = truth.mask
    coordinate = truth.coordinate[mask]
    coordinate = coordinate + np.random.default_rng(0).normal(size=coordinate.shape) * noise
    pose = truth.pose
    if fitted:
        pose, _ = fit_pose(coordinate, truth.depth[mask], truth.rays[mask], np.ones(len(coordinate)))
    return landmarks_from_maps(
        coordinate, truth.pixels[mask], truth.positions[mask], landmarks(), pose, truth.camera
    )


def true_landmarks(truth):
    template = landmarks()
    return truth.pose.to_camera(person_point(template) if truth.swollen else template)


@pytest.mark.parametrize(
    ("yaw", "pitch", "roll", "distance"),
    [(0.0, 0.0, 0.0, 600.0), (35.0, 5.0, 20.0, 600.0), (-75.0, 0.0, 0.0, 900.0), (10.0, -30.0, -15.0, 300.0)],
)
def test_landmarks_come_back_and_hidden_ones_are_known_to_be(yaw, pitch, roll, distance):
    truth = scene(yaw, pitch, roll, distance, size=256)
    place = true_landmarks(truth)
    pixels, points, visible = found_landmarks(truth, fitted=False)
    seen = truth.sees(place)
    near = np.linalg.norm(place[:, None] - truth.positions[truth.mask][None], axis=-1).min(
        1
    )  # some are past the region's edge
    in_region = near < 2.0
    both = visible & seen & in_region
    assert both.sum() >= 38
    assert np.linalg.norm(points - place, axis=1)[both].max() < 0.3
    assert np.linalg.norm(pixels - truth.camera.project(place), axis=1)[both].max() < 0.5
    # Sure cases only: what is within reach of the horizon may be called either way.
    clearly_hidden = ~seen & (near > 9)
    assert not visible[clearly_hidden].any()
    assert visible[seen & in_region].mean() > 0.9 and visible.all() == (yaw == 0)
    hidden_error = np.linalg.norm(points - place, axis=1)[~visible]
    assert hidden_error.size == 0 or (hidden_error.mean() < 3.5 and hidden_error.max() < 7)


def test_noise_of_the_coordinates_averages_out():
    truth = scene(20.0, 0.0, 0.0, 600.0, size=256)
    place = true_landmarks(truth)
    _, points, visible = found_landmarks(truth, noise=1.5)
    error = np.linalg.norm(points - place, axis=1)[visible & truth.sees(place)]
    assert error.mean() < 0.6 and error.max() < 2


def test_landmarks_of_the_template_itself_are_exact():
    truth = scene(0.0, swollen=False)
    pixels, points, visible = found_landmarks(truth)
    np.testing.assert_allclose(points, true_landmarks(truth), atol=1e-2)
    np.testing.assert_allclose(pixels, truth.camera.project(true_landmarks(truth)), atol=0.02)
    assert visible.mean() > 0.9


def test_an_open_mouth_parts_the_lips():
    """The lips touch on the template; on this person the lower one, and all below, hangs 15 mm lower."""
    truth = scene(0.0, swollen=False, size=256)
    template = landmarks()
    opened = (
        truth.coordinate[..., 1] < np.interp(truth.coordinate[..., 0], *mouth_line(template))
    ) & truth.mask
    down = truth.pose.rotation @ np.array([0.0, -15.0, 0.0])
    moved = truth.positions + np.where(opened[..., None], down, 0)
    mask = truth.mask
    pixels = truth.camera.project(moved[mask])
    found, points, visible = landmarks_from_maps(
        truth.coordinate[mask], pixels, moved[mask], template, truth.pose, truth.camera
    )
    resting = truth.pose.to_camera(template)
    upper, lower = [50, 51, 52, 61, 62, 63], [56, 57, 58, 65, 66, 67]
    assert visible[upper + lower].all()
    np.testing.assert_allclose(points[upper], resting[upper], atol=0.5)
    np.testing.assert_allclose(points[lower], resting[lower] + down, atol=0.5)
    assert (found[[67, 66, 65], 1] - found[[61, 62, 63], 1] > 30).all()


def test_teeth_say_nothing_about_the_lips_but_that_nothing_hides_them():
    """Pixels of teeth that have the lips' coordinates move the landmarks, unless they are known not to be skin."""
    truth = scene(0.0, swollen=False, size=256)
    template, mask = landmarks(), truth.mask
    coordinate, pixels, positions = truth.coordinate[mask], truth.pixels[mask], truth.positions[mask]
    mouth = (np.abs(coordinate[:, 0]) < 20) & (np.abs(coordinate[:, 1] - template[62, 1]) < 2)
    wrong = coordinate + np.where(mouth[:, None], [0.0, 4.0, 0.0], 0.0)
    given = (wrong, pixels, positions, template, truth.pose, truth.camera)
    expected = truth.camera.project(truth.pose.to_camera(template))
    misled, _, _ = landmarks_from_maps(*given)
    found, _, visible = landmarks_from_maps(*given, ~mouth)
    lips = [61, 62, 63, 65, 66, 67]
    assert np.abs(found - expected)[lips].max() < 0.5 < np.abs(misled - expected)[lips].max()
    assert visible[lips].all()


def mouth_line(template):
    middle = (template[[60, 61, 62, 63, 64]] + template[[60, 67, 66, 65, 64]]) / 2
    return middle[:, 0], middle[:, 1]


def test_no_pixels_are_refused():
    truth = scene(size=32)
    nothing = np.zeros((0, 3))
    with pytest.raises(ValueError, match="no pixels"):
        landmarks_from_maps(nothing, np.zeros((0, 2)), nothing, landmarks(), truth.pose, truth.camera)


def test_a_handful_of_pixels_gives_finite_landmarks():
    truth = scene(size=64)
    few = np.argwhere(truth.mask)[1000:1003]
    rows = tuple(few.T)
    pixels, points, visible = landmarks_from_maps(
        truth.coordinate[rows],
        truth.pixels[rows],
        truth.positions[rows],
        landmarks(),
        truth.pose,
        truth.camera,
    )
    assert np.isfinite(pixels).all() and np.isfinite(points).all() and visible.sum() <= 3


def test_inner_drops_the_rim_and_nothing_else():
    mask = np.zeros((256, 256), bool)
    mask[50:150, 60:200] = True
    kept = inner(mask)
    rows, columns = np.nonzero(kept)
    assert (kept <= mask).all()
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (53, 146, 63, 196)
    assert not inner(np.zeros((256, 256), bool)).any()


def test_the_inner_mouth_is_what_opens_below_the_nose():
    coordinate = np.array(
        [[[31.0, -1, 58], [0, -30, 90], [0, -71, 70], [0, -71, 76], [0, 5, 90], [3, -20, 90]]]
    )
    found = inner_mouth(coordinate, np.array([[0.9, 0.1, 0.9, 0.1, 0.1, 0.9]]))
    np.testing.assert_array_equal(found, [[False, False, True, False, False, False]])


def test_deep_in_a_mouth_coordinates_say_nothing():
    """They did, and half a throat became a cheek and pulled the upper lip down."""
    coordinate, opening = np.full((12, 12, 3), [0.0, -70, 70]), np.zeros((12, 12))
    opening[3:9, 2:10] = 0.9
    coordinate[4:8, 3:9] = [60, 20, 90]
    np.testing.assert_array_equal(inner_mouth(coordinate, opening), opening > 0.5)
    coordinate[..., 1] = 0
    coordinate[3, 2, 1] = -50
    assert not inner_mouth(coordinate, opening).any(), "one pixel astray makes no mouth of an eye"
