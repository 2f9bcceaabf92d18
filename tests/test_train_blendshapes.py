"""The shapes come from the head model whole, and are found again in people it never saw."""

import numpy as np
import pytest
from heads import head_model, needs_assets

from facecli.blendshapes import SHAPES
from facecli.grid import sample
from facecli.train import blendshapes as module
from facecli.train import completion
from facecli.train.sample import random_expression
from facecli.train.unwrap import unwrap

pytestmark = needs_assets


@pytest.fixture(scope="module")
def learned():
    model = head_model()
    return model, unwrap(model), completion.learn(model), module.learn(model.expression_names)


def test_another_head_model_is_refused():
    with pytest.raises(ValueError, match="SHAPES"):
        module.learn(SHAPES[::-1])


def test_learning_is_repeatable(learned):
    again = module.learn(SHAPES)
    assert all(
        np.array_equal(getattr(again, name), getattr(learned[3], name))
        for name in ("shapes", "mean", "precision")
    )


def test_every_shape_that_is_ever_used_is_the_head_models(learned):
    model, place, face_model, shapes = learned
    cells = face_model.cells.astype(np.float64)
    for index, name in enumerate(SHAPES):
        wanted = sample(completion.on_grid(place, model.expression[index]), cells)
        found = sample(shapes.offset(face_model, np.eye(len(SHAPES))[index]), cells)
        if name == "mouthClose":  # never seen without an open jaw: left out
            assert np.abs(found).max() < 1e-6
            continue
        size = np.sqrt((wanted**2).sum(1).mean())
        assert np.sqrt(((found - wanted) ** 2).sum(1).mean()) < 0.35 * size, name


def test_neutral_faces_are_neutral(learned):
    model, place, face_model, shapes = learned
    modes = np.concatenate([np.zeros(shapes.first), shapes.neutral]).astype(np.float32)
    mean = face_model.mean + completion.cv2.resize(
        np.tensordot(modes, face_model.modes, 1), (128, 128), interpolation=completion.cv2.INTER_CUBIC
    )
    cells = face_model.cells.astype(np.float64)
    error = sample(mean - completion.on_grid(place, model.neutral), cells)
    assert np.linalg.norm(error, axis=1).mean() < 0.05


def test_expressions_are_the_map_of_independent_numbers():
    weights = completion.expressions(SHAPES)
    factor = completion.spread_of(weights)
    np.testing.assert_allclose(factor @ factor.T, np.cov(weights.T), atol=1e-6)
    z = np.linalg.pinv(factor) @ (weights - weights.mean(0)).T
    np.testing.assert_allclose(z @ z.T / (len(weights) - 1), np.eye(len(z)), atol=1e-6)
    assert len(factor.T) == len(SHAPES) - 1


def test_held_back_people_are_told_from_what_is_visible(learned):
    model, place, face_model, shapes = learned
    found = module.accuracy(model, place, face_model, shapes, count=40, seed=77)
    strong = [SHAPES.index(name) for name in ("jawOpen", "mouthSmile_L", "mouthSmile_R")]
    assert np.nanmin(found.correlation[strong]) > 0.8
    assert np.nanmedian(found.correlation) > 0.7
    # These heads are seen exactly; the solver credits them with the errors of real maps, and shrinks what it finds.
    assert found.error.mean() < 0.95 * found.error_of_zero.mean()


def test_a_head_shows_the_side_it_turns(learned):
    model, place, *_ = learned
    rng = np.random.default_rng(0)
    for yaw in (-60.0, 60.0):
        head = module.random_head(rng, model, place, yaw=yaw)
        middle = (place.cells[:, 0].max() + place.cells[:, 0].min()) / 2
        assert np.sign(head.visible.cells[:, 0].mean() - middle) == np.sign(yaw)
        assert head.weights.shape == random_expression(rng, SHAPES).shape
