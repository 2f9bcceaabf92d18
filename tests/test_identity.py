"""Who and with what expression: on faces that the model itself can say, where the truth is known."""

import numpy as np
import pytest

from facecli import identity as module
from facecli.blendshapes import SHAPES, Blendshapes
from facecli.complete import FaceModel
from facecli.grid import enlarge, sample
from facecli.identity import Visible, explain

SMILE = {"mouthSmile_L": 0.7, "mouthSmile_R": 0.7, "cheekSquint_L": 0.4, "cheekSquint_R": 0.4}


def weights_of(**named: float) -> np.ndarray:
    return np.array([named.get(name, 0.0) for name in SHAPES])


def person(model: FaceModel, shapes: Blendshapes, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Identity, and the neutral face on the grid, mm."""
    identity = np.random.default_rng(seed).normal(0, 1, shapes.first)
    modes = np.concatenate([identity, shapes.neutral]).astype(np.float32)
    return identity, model.mean + enlarge(np.tensordot(modes, model.modes, 1), model.mean.shape[0])


def photo(model: FaceModel, grid: np.ndarray, least: float = -1000.0, most: float = 1000.0) -> Visible:
    """The mesh's cells whose x on the template lies between, exactly as they are."""
    cells = model.cells.astype(np.float64)
    across = sample(model.mean.astype(np.float64), cells)[:, 0]
    cells = cells[(across > least) & (across < most)]
    return Visible(cells, sample(grid, cells), np.ones(len(cells)))


@pytest.mark.parametrize(
    "expression",
    [{}, SMILE, {"jawOpen": 0.6}, {"mouthPucker": 0.8}],
    ids=["neutral", "smile", "open", "kiss"],
)
def test_an_expression_is_told(model: FaceModel, shapes: Blendshapes, expression: dict[str, float]) -> None:
    _, neutral = person(model, shapes, 1)
    wanted = weights_of(**expression)
    (found,) = explain(model, shapes, [photo(model, neutral + shapes.offset(model, wanted))]).weights
    assert np.abs(found - wanted).max() < 0.25
    assert np.abs(found - wanted).mean() < 0.02
    assert found.min() >= 0 and found.max() <= 1


def test_closed_eyes_are_told_though_lids_are_few_pixels(model: FaceModel, shapes: Blendshapes) -> None:
    _, neutral = person(model, shapes, 1)
    closed = shapes.offset(model, weights_of(eyeBlink_L=0.9, eyeBlink_R=0.9))
    (found,) = explain(model, shapes, [photo(model, neutral + closed)]).weights
    told = dict(zip(SHAPES, found, strict=True))
    assert 0.3 < told.pop("eyeBlink_L") <= 0.95 and 0.3 < told.pop("eyeBlink_R") <= 0.95
    assert max(told.values()) < 0.25


def test_half_a_face_tells_most_of_an_expression(model: FaceModel, shapes: Blendshapes) -> None:
    _, neutral = person(model, shapes, 2)
    posed = neutral + shapes.offset(model, weights_of(**SMILE))
    (found,) = explain(model, shapes, [photo(model, posed, least=0.0)]).weights
    told = dict(zip(SHAPES, found, strict=True))
    assert told["mouthSmile_L"] == pytest.approx(0.7, abs=0.2)
    assert told["mouthSmile_R"] == pytest.approx(0.7, abs=0.3), "people mostly smile with both sides"


def test_nothing_visible_is_the_average_neutral_person(model: FaceModel, shapes: Blendshapes) -> None:
    nothing = Visible(np.zeros((0, 2)), np.zeros((0, 3)), np.zeros(0))
    found = explain(model, shapes, [nothing])
    assert np.abs(found.weights).max() == 0
    assert np.abs(found.identity).max() < 1e-9 and np.abs(found.motions).max() < 1e-9


def test_a_pose_that_is_off_is_no_expression(model: FaceModel, shapes: Blendshapes) -> None:
    _, neutral = person(model, shapes, 3)
    truth = photo(model, neutral)
    error = np.array([0.02, -0.03, 0.01, 2.0, -1.0, 1.5])
    moved = Visible(truth.cells, truth.moved(-error), truth.weight)
    found = explain(model, shapes, [moved])
    assert np.linalg.norm(moved.moved(found.motions[0]) - truth.points, axis=1).mean() < 1.0
    assert np.linalg.norm(moved.points - truth.points, axis=1).mean() > 3.0
    assert found.weights.sum() < 0.5


def test_gross_errors_do_not_change_the_expression(model: FaceModel, shapes: Blendshapes) -> None:
    _, neutral = person(model, shapes, 4)
    truth = photo(model, neutral + shapes.offset(model, weights_of(**SMILE)))
    spoiled = truth.points.copy()
    rng = np.random.default_rng(0)
    wrong = rng.choice(len(spoiled), len(spoiled) // 20, replace=False)
    spoiled[wrong] += rng.normal(0, 40, (len(wrong), 3))
    (clean,) = explain(model, shapes, [truth]).weights
    (found,) = explain(model, shapes, [Visible(truth.cells, spoiled, truth.weight)]).weights
    assert np.abs(found - clean).max() < 0.15


def test_pixels_without_weight_do_not_count(model: FaceModel, shapes: Blendshapes) -> None:
    _, neutral = person(model, shapes, 5)
    truth = photo(model, neutral)
    half = truth.cells[:, 0] > 60
    nonsense = truth.points + np.where(half, 0, 50.0)[:, None]
    found = explain(model, shapes, [Visible(truth.cells, nonsense, half.astype(np.float64))])
    clean = explain(model, shapes, [Visible(truth.cells, truth.points, half.astype(np.float64))])
    np.testing.assert_allclose(found.weights, clean.weights, atol=1e-3)
    np.testing.assert_allclose(found.identity, clean.identity, atol=1e-2)


def test_photos_share_the_person_but_not_the_expression(model: FaceModel, shapes: Blendshapes) -> None:
    identity, neutral = person(model, shapes, 6)
    looks = [weights_of(**SMILE), weights_of(jawOpen=0.6), weights_of()]
    photos = [photo(model, neutral + shapes.offset(model, look)) for look in looks]
    found = explain(model, shapes, photos)
    assert np.abs(found.weights - looks).mean() < 0.02
    alone = [explain(model, shapes, [each]).identity for each in photos]
    errors = [np.linalg.norm(each - identity) for each in alone]
    assert np.linalg.norm(found.identity - identity) < min(errors)
    turned = explain(model, shapes, photos[::-1])
    np.testing.assert_allclose(turned.weights[::-1], found.weights, atol=2e-3)
    np.testing.assert_allclose(turned.identity, found.identity, atol=2e-2)


def test_the_box_constrained_minimum_is_one() -> None:
    from scipy.optimize import lsq_linear

    rng = np.random.default_rng(0)
    for _ in range(5):
        rows, goal = rng.normal(size=(80, 12)), rng.normal(0, 6, 80)
        found = module._within_0_and_1(rows.T @ rows, rows.T @ goal, np.zeros(12))
        np.testing.assert_allclose(found, lsq_linear(rows, goal, (0, 1), tol=1e-12).x, atol=1e-3)


def test_pixels_that_err_together_are_believed_less(model: FaceModel, shapes: Blendshapes) -> None:
    import cv2

    identity, neutral = person(model, shapes, 6)
    field = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, neutral.shape), (0, 0), 8)
    exact, wrong = (photo(model, neutral + size * field / field.std()) for size in (0.0, 2.0))
    clean, found = (explain(model, shapes, [each]) for each in (exact, wrong))
    assert clean.left_over[0] < 0.1 < 0.5 < found.left_over[0] < 2.5
    assert np.linalg.norm(found.identity) < 0.8 * np.linalg.norm(clean.identity), "nearer to the mean"
    assert np.linalg.norm(found.identity - identity) < np.linalg.norm(identity)
