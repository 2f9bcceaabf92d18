"""Camera and pose: signs, round trips, and the robust fit on exact and on spoilt data."""

import time

import numpy as np
import pytest

from facecli.camera import (
    FRONTAL,
    Camera,
    Pose,
    camera_for,
    fit_pose,
    rotation_from_angles,
)


def seen_ellipsoid(pose, camera, count=3000, seed=0):
    """Template coordinates (mm), depths and rays of the points of an egg-shaped head that face the camera."""
    random = np.random.default_rng(seed)
    direction = random.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    radii = np.array([75.0, 110.0, 95.0])
    points, normals = direction * radii, direction / radii
    nose = 25 * np.exp(-((points[:, 0] / 12) ** 2 + (points[:, 1] / 18) ** 2)) * (points[:, 2] > 0)
    points[:, 2] += nose
    placed = pose.to_camera(points)
    facing = np.einsum("ij,ij->i", normals @ pose.rotation.T, placed) < 0
    points, placed = points[facing], placed[facing]
    return points, pose.translation[2] - placed[:, 2], camera.rays(camera.project(placed))


def pose_at(yaw, pitch, roll, distance, offset=(0.0, 0.0)):
    return Pose(
        rotation_from_angles(float(yaw), float(pitch), float(roll)),
        np.array([offset[0], offset[1], distance], np.float64),
    )


def angle_between(a, b):
    """Degrees, exact for tiny angles too."""
    return np.degrees(2 * np.arcsin(np.clip(np.linalg.norm(a - b) / np.sqrt(8), 0, 1)))


CAMERA = Camera(1200.0, 499.5, 374.5, "default")


def test_focal_option_beats_exif_beats_default():
    assert camera_for(4000, 3000, 28.0, 3210.0) == Camera(3210.0, 1999.5, 1499.5, "option")
    exif = camera_for(3600, 2400, 50.0, None)
    assert exif.source == "exif"
    assert exif.focal == pytest.approx(50 / 36 * 3600, rel=1e-4)  # a 3:2 sensor has full frame's own diagonal
    assert camera_for(3000, 4000, None, None) == Camera(4800.0, 1499.5, 1999.5, "default")


@pytest.mark.parametrize("bad", [0.0, -5.0, float("nan"), float("inf")])
def test_senseless_focal_is_refused(bad):
    with pytest.raises(ValueError, match="focal"):
        camera_for(100, 100, None, bad)
    with pytest.raises(ValueError, match="focal"):
        camera_for(100, 100, bad, None)


def test_empty_photo_is_refused():
    with pytest.raises(ValueError, match="0 x 10"):
        camera_for(0, 10, None, None)


def test_project_is_the_matrix_and_rays_undo_it():
    points = np.random.default_rng(0).normal(size=(50, 3)) * 100 + [0, 0, 800]
    pixels = CAMERA.project(points)
    homogeneous = points @ CAMERA.matrix.T
    np.testing.assert_allclose(pixels, homogeneous[:, :2] / homogeneous[:, 2:], rtol=1e-12)
    np.testing.assert_allclose(CAMERA.rays(pixels) * points[:, 2:], points, atol=1e-9)


def test_frontal_pose_is_zero_degrees_and_keeps_the_subjects_left_on_the_images_right():
    pose = Pose(FRONTAL, np.array([0.0, 0.0, 500.0]))
    assert pose.yaw_pitch_roll == (0.0, 0.0, 0.0)
    left_ear, chin, nose = pose.to_camera(np.array([[70.0, 0, 0], [0, -100.0, 0], [0, 0, 100.0]]))
    assert left_ear[0] > 0 and chin[1] > 0 and nose[2] < 500


def test_signs_of_the_angles():
    nose = np.array([[0.0, 0.0, 100.0]])
    assert pose_at(30, 0, 0, 500).to_camera(nose)[0, 0] > 0  # looks to the image's right
    assert pose_at(0, 30, 0, 500).to_camera(nose)[0, 1] < 0  # looks up
    assert (
        pose_at(0, 0, 30, 500).to_camera(np.array([[0.0, 100.0, 0.0]]))[0, 0] > 0
    )  # top of the head leans clockwise


@pytest.mark.parametrize("angles", [(90, 20, 10), (-90, -40, 5), (30, -20, 170), (-120, 60, -45)])
def test_angles_round_trip(angles):
    pose = pose_at(*angles, 500)
    np.testing.assert_allclose(pose.yaw_pitch_roll, angles, atol=1e-9)
    assert np.linalg.det(pose.rotation) == pytest.approx(1)


def test_the_cameras_own_place_is_the_origin_of_its_frame():
    pose = pose_at(20, 10, -5, 640, (30, -20))
    np.testing.assert_allclose(pose.to_camera(pose.eye[None]), 0, atol=1e-9)
    assert np.linalg.norm(pose.eye) == pytest.approx(np.linalg.norm(pose.translation))


def test_pose_matrix_is_in_metres_and_to_head_undoes_to_camera():
    pose = pose_at(20, 10, -5, 640, (30, -20))
    points = np.random.default_rng(1).normal(size=(20, 3)) * 80
    moved = np.c_[points / 1000, np.ones(20)] @ pose.matrix.T
    np.testing.assert_allclose(moved[:, :3] * 1000, pose.to_camera(points), atol=1e-9)
    np.testing.assert_allclose(pose.to_head(pose.to_camera(points)), points, atol=1e-9)


@pytest.mark.parametrize("distance", [250, 600, 1500, 5000])
@pytest.mark.parametrize(
    ("yaw", "pitch", "roll"),
    [(0, 0, 0), (90, 0, 0), (-90, 0, 20), (45, 40, -30), (-20, -40, 60), (90, 40, 0)],
)
def test_pose_is_exact_on_exact_data(distance, yaw, pitch, roll):
    truth = pose_at(yaw, pitch, roll, distance, (0.1 * distance, -0.05 * distance))
    coordinate, depth, rays = seen_ellipsoid(truth, CAMERA)
    pose, found = fit_pose(coordinate, depth, rays, np.ones(len(depth)))
    assert found == pytest.approx(distance, abs=1e-3)
    np.testing.assert_allclose(pose.translation, truth.translation, atol=1e-3)
    assert angle_between(pose.rotation, truth.rotation) < 1e-3
    np.testing.assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(pose.rotation) > 0


@pytest.mark.parametrize("kind", ["random", "shifted together", "mirrored", "collapsed"])
@pytest.mark.parametrize(("yaw", "distance"), [(0, 300), (70, 600), (-30, 4000)])
def test_a_quarter_of_gross_outliers_does_not_move_the_pose(kind, yaw, distance):
    truth = pose_at(yaw, 10, 5, distance)
    coordinate, depth, rays = seen_ellipsoid(truth, CAMERA, 6000, seed=3)
    random = np.random.default_rng(4)
    bad = random.random(len(depth)) < 0.25
    spoilt = coordinate.copy()
    if kind == "random":
        spoilt[bad] = random.uniform(-150, 150, (bad.sum(), 3))
    elif kind == "shifted together":
        spoilt[bad] += [40, 30, -20]
    elif kind == "mirrored":
        spoilt[bad, 0] *= -1
    else:
        spoilt[bad] = [0, 0, 90]
    pose, found = fit_pose(spoilt, depth, rays, np.ones(len(depth)))
    assert found == pytest.approx(distance, abs=0.05)
    assert angle_between(pose.rotation, truth.rotation) < 0.01
    np.testing.assert_allclose(pose.translation, truth.translation, atol=0.05)


@pytest.mark.parametrize("distance", [300, 1000])
def test_noise_of_millimetres_averages_out(distance):
    truth = pose_at(-25, 8, 3, distance)
    coordinate, depth, rays = seen_ellipsoid(truth, CAMERA, 12000, seed=5)
    random = np.random.default_rng(6)
    noisy = coordinate + random.normal(size=coordinate.shape) * 2.5
    pose, found = fit_pose(noisy, depth + random.normal(size=len(depth)) * 2.0, rays, np.ones(len(depth)))
    assert found == pytest.approx(distance, rel=0.01)
    assert angle_between(pose.rotation, truth.rotation) < 0.3


def test_points_of_no_weight_or_not_finite_are_not_looked_at():
    truth = pose_at(15, 0, 0, 700)
    coordinate, depth, rays = seen_ellipsoid(truth, CAMERA)
    weights = np.ones(len(depth))
    coordinate[::2], weights[::2] = 0.0, 0.0
    depth[1], coordinate[3, 1] = np.nan, np.inf
    pose, found = fit_pose(coordinate, depth, rays, weights)
    assert found == pytest.approx(700, abs=1e-3)
    assert angle_between(pose.rotation, truth.rotation) < 1e-3


def test_single_precision_is_enough():
    truth = pose_at(40, -10, 0, 900)
    data = [part.astype(np.float32) for part in seen_ellipsoid(truth, CAMERA)]
    pose, found = fit_pose(*data, np.ones(len(data[1]), np.float32))
    assert found == pytest.approx(900, abs=0.01)
    assert angle_between(pose.rotation, truth.rotation) < 1e-2


def test_same_input_gives_the_same_bytes():
    coordinate, depth, rays = seen_ellipsoid(pose_at(10, 0, 0, 500), CAMERA, 9000)
    noisy = coordinate + np.random.default_rng(0).normal(size=coordinate.shape)
    first, second = (fit_pose(noisy, depth, rays, np.ones(len(depth)))[0] for _ in range(2))
    assert first.matrix.tobytes() == second.matrix.tobytes()


@pytest.mark.parametrize("count", [0, 7])
def test_too_few_points_are_refused(count):
    coordinate, depth, rays = (part[:count] for part in seen_ellipsoid(pose_at(0, 0, 0, 500), CAMERA))
    with pytest.raises(ValueError, match="8 points"):
        fit_pose(coordinate, depth, rays, np.ones(count))


def test_points_that_no_head_explains_are_refused():
    """Every pixel claims the same place on the template: the head would have no size and no distance."""
    coordinate, depth, rays = seen_ellipsoid(pose_at(0, 0, 0, 500), CAMERA)
    with pytest.raises(ValueError, match="no head"):
        fit_pose(np.zeros_like(coordinate), depth, rays, np.ones(len(depth)))


def test_eight_thousand_points_take_milliseconds():
    coordinate, depth, rays = seen_ellipsoid(pose_at(10, 0, 0, 500), CAMERA, 16000)
    noisy = coordinate + np.random.default_rng(0).normal(size=coordinate.shape)
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        fit_pose(noisy, depth, rays, np.ones(len(depth)))
        best = min(best, time.perf_counter() - start)
    assert best < 0.1, best  # 15 ms on an idle core; the slack is for busy machines
