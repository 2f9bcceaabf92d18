"""The head model is laid onto other heads."""

import numpy as np
from heads import head_model, needs_assets

from facecli.train.headmodel import BACK, FACE
from facecli.train.registration import register, spread

TRIANGLE = np.array([[0, 1, 2]])


def test_points_are_spread_evenly_over_a_triangle():
    corners = np.array([[0.0, 0], [4, 0], [0, 4]])
    points = spread(corners, TRIANGLE, 4)
    assert {tuple(point) for point in points.tolist()} == {
        (float(x), float(y)) for x in range(5) for y in range(5 - x)
    }


@needs_assets
def test_a_head_that_is_another_in_size_place_and_person_is_found():
    """The head model bent onto one of its own people, a tenth larger: each vertex comes to lie on that person's skin,
    and near where it is that person's own."""
    model = head_model()
    alpha = np.random.default_rng(3).normal(0, 1, len(model.identity))
    person = (model.vertices(alpha).astype(np.float64) + np.array([0, 1500, -20])) * 1.1
    faces = model.faces[np.isin(model.part, (FACE, BACK))]
    marks = model.landmark_vertices
    laid = register(model, person, faces, person[marks], model.neutral[marks].astype(np.float64), 4)
    front = np.unique(faces)
    front = front[(model.neutral[front, 2] > 20) & (model.neutral[front, 1] > -110)]
    apart = np.linalg.norm(laid[front] - person[front], axis=1)
    assert np.median(apart) < 2.5
    assert np.quantile(apart, 0.95) < 8
