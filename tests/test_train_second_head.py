"""What a second head's morphs do arrives on the head model, in place, and eyes and teeth go along."""

from functools import lru_cache

import numpy as np
import pytest
from heads import ASSETS, head_model, needs_assets

from facecli.train import second_head
from facecli.train.headmodel import FACE, LACRIMAL, SCLERA_LEFT, TEETH
from facecli.train.second_head import GENERAL, LARGEST, OLD, SINGLE, load_morphs


@lru_cache(maxsize=1)
def morphs():
    return load_morphs(head_model(), ASSETS / "second_head" / "vitruvian")


def change(name):
    return morphs().change[morphs().names.index(name)]


def landmark(number):
    return head_model().landmark_vertices[number]


def test_what_follows_a_rim_moves_as_one():
    rng = np.random.default_rng(1)
    rim, inner = rng.normal(0, 10, (30, 3)), rng.normal(0, 5, (12, 3))

    def moved(points):
        return np.array([1.0, -2, 3]) + np.cross([0.01, 0.02, -0.03], points) + 0.1 * points

    found, follows = second_head._as_one(rim, inner)
    np.testing.assert_allclose(follows @ (found @ moved(rim).ravel()), moved(inner).ravel(), atol=1e-9)


@needs_assets
def test_each_morph_moves_what_it_is_named_after():
    chin, nose, eye = change("Chin_PosZ"), change("Nose_NoseHeight"), change("Eyes_Size")
    for moved, at, still in ((chin, 8, 27), (nose, 30, 8), (eye, 37, 8)):
        assert np.linalg.norm(moved[landmark(at)]) > 1.5
        assert np.linalg.norm(moved[landmark(still)]) < 0.3


@needs_assets
@pytest.mark.parametrize("name", [OLD, "Jaw_Width", "Mouth_Lips_Length", "Race_African"])
def test_left_moves_as_right_does(name):
    model = head_model()
    face = np.unique(model.faces[model.part == FACE])
    apart = np.linalg.norm(change(name) - change(name)[model.mirror] * [-1, 1, 1], axis=1)[face]
    size = np.linalg.norm(change(name), axis=1)[face]
    assert np.sqrt((apart**2).mean()) < 0.2 * np.sqrt((size**2).mean())


@needs_assets
def test_old_age_has_folds():
    """The skin beside the nose sinks and rises again within a centimetre, as no component of the head model does."""
    model = head_model()
    face = np.unique(model.faces[model.part == FACE])
    near = face[np.linalg.norm(model.neutral[face] - [28, -55, 60], axis=1) < 14]
    assert np.ptp(change(OLD)[near, 2]) > 3.5
    assert np.ptp(model.identity[:5, near, 2], axis=1).max() < 2.5


@needs_assets
def test_eyes_and_teeth_go_along_with_the_skin():
    model = head_model()
    teeth = np.unique(model.faces[model.part == TEETH])
    eyes = np.unique(model.faces[(model.part >= SCLERA_LEFT) & (model.part < LACRIMAL)])
    left = eyes[model.neutral[eyes, 0] > 0]
    apart = change("Eyes_Distance")[left].mean(0) - change("Eyes_Distance")[model.mirror[left]].mean(0)
    assert abs(apart[0]) > 2
    size = np.linalg.norm(model.neutral[left] - model.neutral[left].mean(0), axis=1)
    larger = model.neutral[left] + change("Eyes_Size")[left]
    assert np.linalg.norm(larger - larger.mean(0), axis=1).mean() / size.mean() == pytest.approx(
        1.15, abs=0.15
    )
    jaw = change("Jaw_Mandible")
    assert np.linalg.norm(jaw[teeth].mean(0)) < np.linalg.norm(jaw, axis=1).max()
    assert np.isfinite(morphs().change).all()


@needs_assets
def test_people_are_within_the_limits_and_all_different():
    people = [morphs().weights(np.random.default_rng(seed)) for seed in range(200)]
    least = np.array([{**GENERAL, OLD: 0, **SINGLE}[name] for name in morphs().names])
    for weights in people:
        assert (weights >= least * LARGEST).all() and (weights <= LARGEST).all()
    used = np.mean([weights != 0 for weights in people], axis=0)
    assert used.min() > 0
    assert len({weights.tobytes() for weights in people}) > 195
    assert 0.25 < used[morphs().names.index(OLD)] < 0.45
    again = morphs().weights(np.random.default_rng(7))
    np.testing.assert_array_equal(again, people[7])


@needs_assets
def test_people_differ_by_millimetres():
    model = head_model()
    face = np.unique(model.faces[model.part == FACE])
    moved = [
        np.sqrt((morphs().moved(morphs().weights(np.random.default_rng(seed)))[face] ** 2).sum(1).mean())
        for seed in range(40)
    ]
    assert 1.5 < np.median(moved) < 6
    np.testing.assert_array_equal(morphs().moved(np.zeros(len(morphs().names))), 0)
