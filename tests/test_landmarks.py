from collections import Counter

import numpy as np
import pytest

from facecli.camera import Camera, Pose, rotation_from_angles
from facecli.complete import FaceModel, Surface, load_face_model
from facecli.landmarks import DENSE_NAMES, IBUG_NAMES, Landmarks, dense_landmarks, part_indices
from facecli.texture import Skin
from facecli.weights import Template, load_template, load_weights

CAMERA = Camera(1500.0, 599.5, 449.5, "default")
POSE = Pose(rotation_from_angles(10.0, 5.0, 0.0), np.array([20.0, -10.0, 600.0]))


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model(load_weights())


@pytest.fixture(scope="module")
def template() -> Template:
    return load_template(load_weights())


@pytest.fixture(scope="module")
def found(model: FaceModel, template: Template) -> Landmarks:
    left = np.zeros((1024, 1024), np.uint8)
    left[:, 512:] = 255
    surface = Surface(model.mean.astype(np.float64), np.ones((128, 128)))
    skin = Skin(surface, np.zeros((1024, 1024, 3), np.uint8), left)
    return dense_landmarks(model, template.dense, skin, CAMERA, POSE)


def test_every_point_has_a_name_of_its_own() -> None:
    assert len(IBUG_NAMES) == 68 and len(DENSE_NAMES) == 468
    for names in (IBUG_NAMES, DENSE_NAMES):
        assert Counter(names).most_common(1)[0][1] == 1
    assert (IBUG_NAMES[30], IBUG_NAMES[36], IBUG_NAMES[48], IBUG_NAMES[60]) == (
        "nose_bridge_3",
        "right_eye_0",
        "outer_lip_0",
        "inner_lip_0",
    )
    assert (DENSE_NAMES[1], DENSE_NAMES[168], DENSE_NAMES[33]) == (
        "nose_tip",
        "between_eyes",
        "right_eye_lower_0",
    )


def test_parts_do_not_share_points_and_left_mirrors_right(template: Template) -> None:
    parts = part_indices()
    assert Counter(number for part in parts.values() for number in part).most_common(1)[0][1] == 1
    for name, numbers in parts.items():
        if name.startswith("right_"):
            twin = template.dense[parts[name.replace("right_", "left_")]]
            assert np.linalg.norm(template.dense[numbers] * [-1, 1, 1] - twin, axis=1).max() < 4, name


def test_points_project_where_the_photo_has_them(found: Landmarks) -> None:
    assert np.abs(CAMERA.project(POSE.to_camera(found.mesh * 1000)) - found.photo).max() < 1e-6


def test_points_are_where_the_template_has_them(found: Landmarks, template: Template) -> None:
    off = np.linalg.norm(found.mesh * 1000 - template.dense, axis=1)
    assert np.median(off) < 1.0 and np.percentile(off, 95) < 4, "the mean of all expressions is a little off"
    parts = part_indices()
    upper, lower = (found.mesh[parts[f"lips_{side}_inner"]][:, 1] for side in ("upper", "lower"))
    assert upper[2:-2].min() > lower.max() - 0.003
    nose = parts["nose_tip"][0]
    assert found.mesh[nose, 2] > found.mesh[:, 2].max() - 0.004


def test_only_the_shown_side_is_visible(found: Landmarks) -> None:
    sideways = np.abs(found.mesh[:, 0]) > 0.005
    assert np.array_equal(found.visible[sideways], found.mesh[sideways, 0] > 0)
