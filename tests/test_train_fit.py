"""Portraits to head parameters: known heads come back from their landmarks, as far as landmarks can tell."""

import numpy as np
import pytest
from heads import head_model, needs_assets

from facecli.camera import rotation_from_angles
from facecli.train.correspond import calibrated
from facecli.train.fit import CORNERS, OPPOSED, Fits, fit
from facecli.train.headmodel import NARROW_FACE_VERTICES
from facecli.train.scan import similarity

PEOPLE = 12
SIDE = 800
DISTANCE, FOCAL_OVER_SIDE = 800.0, 2.2
NOISE = 0.015
POSE_ERROR = 3.0  # degrees, mean


def people():
    """Identity, view angles (degrees) and translation of each; one neutral face each."""
    for k in range(PEOPLE):
        random = np.random.default_rng([3, k])
        alpha = random.normal(0, 1, len(head_model().identity))
        yield alpha, random.normal(0, [15, 8, 6]), np.array([0.0, 15.0, DISTANCE])


def photographed(path, noise=0.0):
    """The landmark file of `people`; `noise` in shares of the eye distance, independent for each coordinate."""
    model = head_model()
    triples, bary = calibrated(model)
    every = []
    for alpha, angles, translation in people():
        points = (model.vertices(alpha)[triples] * bary[..., None]).sum(1)
        placed = points @ rotation_from_angles(*angles).T + translation
        pixels = placed[:, :2] / placed[:, 2:] * FOCAL_OVER_SIDE * SIDE + (SIDE - 1) / 2
        eyes = np.linalg.norm(pixels[33] - pixels[263])
        pixels = pixels + np.random.default_rng(len(every)).normal(0, 1, pixels.shape) * noise * eyes
        every.append(np.c_[pixels, np.zeros(len(pixels))])
    names = [f"group/{k}.jpg" for k in range(PEOPLE)]
    sizes = np.full((PEOPLE, 2), SIDE)
    np.savez(path, names=names, landmarks=np.array(every, np.float32), sizes=sizes)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    path = tmp_path_factory.mktemp("fit") / "landmarks.npz"
    photographed(path)
    return fit(head_model(), path)


def face_error(alpha, beta, true_alpha):
    """Mean distance, mm, of the narrow face's front to the true one after the best similarity."""
    model = head_model()
    front = np.flatnonzero(model.neutral[:NARROW_FACE_VERTICES, 2] > 0)
    found, truth = model.vertices(alpha, beta)[front], model.vertices(true_alpha)[front]
    found, truth = found.astype(np.float64), truth.astype(np.float64)
    return float(np.linalg.norm(similarity(found, truth)(found) - truth, axis=1).mean())


@needs_assets
def test_identity_comes_back_from_exact_landmarks_far_nearer_than_the_mean_head(fitted):
    errors = []
    for k, (alpha, _, _) in enumerate(people()):
        nobody = face_error(np.zeros_like(alpha), fitted.beta[k] * 0, alpha)
        errors.append((face_error(fitted.alpha[k], fitted.beta[k], alpha), nobody))
    found, nobody = np.array(errors).T
    assert (found < nobody).all()
    assert found.mean() < 0.62 * nobody.mean()


@needs_assets
def test_pose_comes_back(fitted):
    turned = []
    for k, (_, angles, _) in enumerate(people()):
        rotation = fitted.rotation[k].astype(np.float64)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
        assert np.linalg.det(rotation) > 0
        between = rotation @ rotation_from_angles(*angles).T
        turned.append(np.degrees(np.arccos(np.clip((np.trace(between) - 1) / 2, -1, 1))))
    assert np.mean(turned) < POSE_ERROR


@needs_assets
def test_what_is_stored_says_how_far_off_the_landmarks_are(fitted):
    """`error` anew from the stored parameters alone: they are complete, and in the frames they claim."""
    model = head_model()
    triples, bary = calibrated(model)
    for k, (alpha, angles, translation) in enumerate(people()):
        true = (model.vertices(alpha)[triples] * bary[..., None]).sum(1)
        true = true @ rotation_from_angles(*angles).T + translation
        true = true[:, :2] / true[:, 2:] * FOCAL_OVER_SIDE * SIDE + (SIDE - 1) / 2
        ours = (model.vertices(fitted.alpha[k], fitted.beta[k])[triples] * bary[..., None]).sum(1)
        ours = ours @ fitted.rotation[k].T + fitted.translation[k]
        ours = ours[:, :2] / ours[:, 2:] * fitted.focal[k] + (fitted.sizes[k] - 1) / 2
        eyes = np.linalg.norm(true[33] - true[263])
        error = np.sqrt(np.square(ours - true).sum(1).mean()) / eyes
        np.testing.assert_allclose(error, fitted.error[k], atol=2e-4)
        assert error < 0.015


@needs_assets
def test_a_second_witness_makes_noisy_landmarks_better(tmp_path):
    """The same noise twice as strong in MediaPipe's points; the network's, less noisy, are of the true places."""
    photographed(tmp_path / "one.npz", 2 * NOISE)
    photographed(tmp_path / "other.npz", NOISE / 2)
    with np.load(tmp_path / "one.npz") as archive, np.load(tmp_path / "other.npz") as other:
        seen = np.ones((PEOPLE, 468), np.float32)
        seen[:, :200] = 0
        own = other["landmarks"][..., :2].copy()
        own[:, :200] = 0  # not seen: must not count
        np.savez(tmp_path / "both.npz", **archive, own=own, own_seen=seen)
    alone, both = (fit(head_model(), tmp_path / name, steps=300) for name in ("one.npz", "both.npz"))
    errors = [
        [face_error(fits.alpha[k], fits.beta[k], alpha) for k, (alpha, _, _) in enumerate(people())]
        for fits in (alone, both)
    ]
    assert np.mean(errors[1]) < 0.9 * np.mean(errors[0])


@needs_assets
def test_no_face_does_two_opposed_things_at_once(fitted):
    index = {name: i for i, name in enumerate(head_model().expression_names)}
    products = [fitted.beta[:, index[one]] * fitted.beta[:, index[other]] for one, other in OPPOSED]
    assert np.max(products) < 0.02


@needs_assets
def test_corners_of_eyes_and_mouth_are_kept_to_where_landmarks_are_noisy(tmp_path):
    photographed(tmp_path / "noisy.npz", NOISE)
    fitted = fit(head_model(), tmp_path / "noisy.npz", steps=300)
    with np.load(tmp_path / "noisy.npz") as archive:
        points = archive["landmarks"][..., :2]
    triples, bary = (each[CORNERS] for each in calibrated(head_model()))
    off = []
    for k in range(PEOPLE):
        ours = (head_model().vertices(fitted.alpha[k], fitted.beta[k])[triples] * bary[..., None]).sum(1)
        ours = ours @ fitted.rotation[k].T + fitted.translation[k]
        ours = ours[:, :2] / ours[:, 2:] * fitted.focal[k] + (fitted.sizes[k] - 1) / 2
        eyes = np.linalg.norm(points[k, 33] - points[k, 263])
        off.append(np.linalg.norm(ours - points[k, CORNERS], axis=1).mean() / eyes)
    assert np.mean(off) < 0.75 * NOISE * np.sqrt(np.pi / 2)  # what noise alone is from where it came


@needs_assets
def test_expressions_stay_within_bounds_and_small_on_neutral_faces(fitted):
    assert fitted.beta.min() >= 0 and fitted.beta.max() <= 1
    assert np.median(fitted.beta.sum(1)) < 4


@needs_assets
def test_fits_are_read_back_as_they_were_written(fitted, tmp_path):
    fitted.save(tmp_path / "fits.npz")
    again = Fits.load(tmp_path / "fits.npz")
    assert again.names == fitted.names
    for key, value in fitted.__dict__.items():
        if key != "names":
            np.testing.assert_array_equal(getattr(again, key), value)
    two = again.take(np.array([4, 1]))
    assert two.names == ["group/4.jpg", "group/1.jpg"]
    np.testing.assert_array_equal(two.focal, fitted.focal[[4, 1]])
