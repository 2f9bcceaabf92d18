"""The scan-to-mesh distance: known answers, and the same figures as the reference script."""

import importlib.util

import numpy as np
import pytest
import trimesh
from heads import SHARED, head_model, needs_assets, needs_evaluation

from facecli.train.benchmark_james import IBUG
from facecli.train.scan import SEVEN, Scan, Surface, face_of, sampled, scan_to_mesh, similarity


def turned(points, angle=0.4, scale=1.0, shift=(0.0, 0.0, 0.0)):
    matrix = trimesh.transformations.rotation_matrix(angle, [0.3, 1, 0.2])[:3, :3]
    return scale * points @ matrix.T + np.array(shift)


def test_a_similarity_is_found_again():
    points = np.random.default_rng(0).normal(size=(20, 3))
    found = similarity(points, turned(points, 2.9, 1.7, (3, -2, 5)))
    assert found.scale == pytest.approx(1.7)
    np.testing.assert_allclose(found(points), turned(points, 2.9, 1.7, (3, -2, 5)), atol=1e-12)
    assert np.linalg.det(found.rotation) == pytest.approx(1)


def test_a_similarity_is_never_a_mirror():
    points = np.random.default_rng(0).normal(size=(20, 3))
    assert np.linalg.det(similarity(points, points * [-1, 1, 1]).rotation) == pytest.approx(1)


def test_samples_are_even_and_on_the_surface():
    box = trimesh.creation.box((2.0, 1.0, 1.0))
    points = sampled(box.vertices, np.asarray(box.faces), 20_000)
    on_surface = np.isclose(np.abs(points), [1.0, 0.5, 0.5], atol=1e-9).any(1)
    assert on_surface.all()
    at_ends = np.isclose(np.abs(points[:, 0]), 1.0, atol=1e-9).mean()
    assert at_ends == pytest.approx(2 / 10, abs=0.01)  # two of ten units of area
    np.testing.assert_allclose(points.mean(0), 0, atol=0.02)


@needs_assets
def test_a_scan_of_the_mesh_itself_in_other_units_and_elsewhere():
    model = head_model()
    mesh = Surface(model.neutral, model.faces, model.neutral[model.landmark_vertices])
    away = Scan(
        turned(model.neutral.astype(float), 0.7, 1.0, (10, 20, 30)),
        turned(mesh.landmarks, 0.7, 1.0, (10, 20, 30)),
    )
    metres = Surface(mesh.vertices / 1000, mesh.faces, mesh.landmarks / 1000)
    distance = scan_to_mesh(metres, away)
    assert len(distance) == len(face_of(away)) > 1000
    assert np.median(distance) < 0.6  # the spacing of the samples on the whole head
    raised = Scan(away.points + 0.0, away.landmarks)
    nose = np.argmin(np.linalg.norm(raised.points - raised.landmarks[30], axis=1))
    raised.points[nose] += 3 * (raised.landmarks[30] - raised.points.mean(0)) / 100
    assert scan_to_mesh(metres, raised).max() > 1.5


@needs_evaluation
@needs_assets
def test_the_figures_are_those_of_the_reference_script():
    script = SHARED / "eval" / "scan_to_mesh.py"
    spec = importlib.util.spec_from_file_location("reference", script)
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    model = head_model()
    landmarks = model.neutral[model.landmark_vertices]
    with np.load(SHARED / "eval" / "james" / "james_mesh.npz") as archive:
        scan = {key: archive[key] for key in archive}
    scan["landmarks"] = scan["landmarks"][IBUG]
    theirs = reference.distances(
        {"vertices": model.neutral, "triangles": model.faces, "landmarks68": landmarks}, scan
    )
    ours = scan_to_mesh(
        Surface(model.neutral, model.faces, landmarks), Scan(scan["points"], scan["landmarks"])
    )
    assert len(ours) == len(theirs)
    assert np.median(ours) == pytest.approx(np.median(theirs), abs=0.03)
    assert ours.mean() == pytest.approx(theirs.mean(), abs=0.03)
    assert reference.SEVEN == SEVEN.tolist()
