"""The pose of people who are not the template: better than the template's own, and never worse where it counts."""

from functools import lru_cache

import numpy as np
import pytest
from heads import needs_assets, random_head, view

from facecli.camera import Camera, Pose, fit_pose, rotation_from_angles
from facecli.complete import load_face_model
from facecli.pose import MODES, fit_person
from facecli.weights import load_weights

CAMERA = Camera(1200.0, 499.5, 374.5, "default")


@lru_cache(maxsize=1)
def model():
    return load_face_model(load_weights())


def seen(shape, pose):
    """What maps would say of the front of a head of these modes: coordinate, depth, rays, weights."""
    front = np.linspace(-60, 60, 45)
    x, y = (part.ravel() for part in np.meshgrid(front, front - 20))
    template = np.stack([x, y, 95 - (x / 11) ** 2 - (y / 22) ** 2], 1)
    placed = pose.to_camera(template + model().modes_at(template)[..., : len(shape)] @ shape)
    rays = CAMERA.rays(CAMERA.project(placed))
    return template, pose.translation[2] - placed[:, 2], rays, np.ones(len(rays))


def pose_at(yaw, pitch, distance=600.0):
    return Pose(rotation_from_angles(yaw, pitch, 5.0), np.array([20.0, -10.0, distance]))


def degrees(first, second):
    return float(np.degrees(np.arccos(np.clip((np.trace(first @ second.T) - 1) / 2, -1, 1))))


def test_the_template_itself_stays_where_it_is():
    truth = pose_at(20.0, -5.0)
    points = seen(np.zeros(3), truth)
    pose, distance = fit_person(model(), *fit_pose(*points), *points)
    assert distance == pytest.approx(600, abs=1e-2)
    assert degrees(pose.rotation, truth.rotation) < 1e-2
    np.testing.assert_allclose(pose.translation, truth.translation, atol=1e-2)
    np.testing.assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(pose.rotation) > 0


@pytest.mark.parametrize("distance", [350.0, 900.0])
def test_shape_is_no_longer_taken_for_pose(distance):
    random = np.random.default_rng(0)
    turned, scaled = [], []
    for yaw in (-30.0, -10.0, 0.0, 15.0, 40.0):
        truth = pose_at(yaw, 8.0, distance)
        points = seen(random.normal(size=30), truth)
        rigid = fit_pose(*points)
        both = rigid, fit_person(model(), *rigid, *points)
        turned.append([degrees(pose.rotation, truth.rotation) for pose, _ in both])
        scaled.append([abs(found / distance - 1) for _, found in both])
    for before, after in (np.mean(turned, axis=0), np.mean(scaled, axis=0)):
        assert after < 0.5 * before


def test_from_maps_that_are_wrong_by_millimetres_little_is_learned():
    truth = pose_at(10.0, 0.0)
    coordinate, depth, rays, weights = seen(np.zeros(3), truth)
    x, y = coordinate[:, 0], coordinate[:, 1]
    wrong = coordinate + 3 * np.stack([np.sin(y / 9), np.sin(x / 8), np.cos((x + y) / 10)], 1)
    points = wrong, depth + 3 * np.sin((x - y) / 9), rays, weights
    rigid, distance = fit_pose(*points)
    pose, found = fit_person(model(), rigid, distance, *points)
    assert abs(found / distance - 1) < 0.015
    assert degrees(pose.rotation, rigid.rotation) < 1


def test_points_that_are_not_finite_or_have_no_weight_are_not_looked_at():
    truth = pose_at(10.0, 0.0)
    coordinate, depth, rays, weights = seen(np.zeros(3), truth)
    coordinate[::7], depth[1::7], weights[2::7] = np.nan, np.inf, 0
    coordinate[2::7] = 1e6
    pose, distance = fit_person(model(), truth, 600.0, coordinate, depth, rays, weights)
    assert distance == pytest.approx(600, abs=1e-2)
    assert degrees(pose.rotation, truth.rotation) < 1e-2


def test_fewer_points_than_modes_say_nothing():
    truth = pose_at(10.0, 0.0)
    few = [part[: MODES - 1] for part in seen(np.ones(3), truth)]
    assert fit_person(model(), truth, 600.0, *few) == (truth, 600.0)


@needs_assets
def test_random_heads_of_the_training_data_are_posed_better_than_by_the_template():
    from facecli.look import coarse_mask, evidence

    errors = []
    for seed in range(8):
        scene = view(random_head(100 + seed), yaw=-40.0 + 12 * seed, pitch=6.0, distance=400.0 + 100 * seed)
        look = scene.look()
        points = evidence(scene.camera, scene.crop, look.maps, coarse_mask(look.region))
        both = look.place, fit_person(model(), *look.place, *points)
        errors.append(
            [(degrees(p.rotation, scene.pose.rotation), 100 * abs(d / scene.distance - 1)) for p, d in both]
        )
    (angle_before, distance_before), (angle, distance) = np.mean(errors, axis=0)
    assert angle < 0.6 * angle_before and angle < 1.2
    assert distance < 0.6 * distance_before and distance < 2


@pytest.mark.parametrize("seed", range(8))
def test_what_is_no_head_is_not_moved_behind_the_camera(seed):
    random = np.random.default_rng(seed)
    coordinate, depth, rays, weights = seen(np.zeros(3), pose_at(10.0, 0.0))
    mess = random.permutation(coordinate) + random.normal(0, 60, coordinate.shape)
    points = mess, random.normal(0, 40, depth.shape), rays, weights
    pose, distance = fit_person(model(), pose_at(10.0, 0.0), 150.0, *points)
    assert distance > points[1].max() and np.isfinite(pose.translation).all()
