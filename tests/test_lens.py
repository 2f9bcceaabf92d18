"""The lens of a photo that does not tell it: by exact maps it is found, by doubtful ones not far from what is usual."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from heads import View, needs_assets, random_head, view
from photos import photo

from facecli.camera import DEFAULT_FOCAL, Camera
from facecli.complete import FaceModel
from facecli.images import Image
from facecli.lens import DISTANCE_SPREAD, FOCAL_SPREAD, SURE_MM, USUAL_MM, likely_camera
from facecli.look import Look, look_at
from facecli.pipeline import Face, Reconstructor


def seen(view: View, wrong: float) -> tuple[Camera, Look]:
    """What exact maps show a camera whose focal length was guessed so many times as long as it is."""
    guess = replace(view.camera, focal=view.camera.focal * wrong)
    return guess, look_at(guess, view.crop, view.maps())


def off(model: FaceModel, views: Sequence[View], wrong: float) -> float:
    """The logarithm of the focal length found over the true one, its mean size over people."""
    found = []
    for each in views:
        guess, look = seen(each, wrong)
        found.append(abs(math.log(likely_camera(model, guess, [look]).focal / each.camera.focal)))
    return float(np.mean(found))


@needs_assets
@pytest.mark.parametrize("distance", [350.0, 700.0, 1400.0])
@pytest.mark.parametrize("wrong", [0.5, 2.0])
def test_exact_maps_give_the_lens_away(model: FaceModel, distance: float, wrong: float) -> None:
    people = [
        view(random_head(seed), yaw=-30.0 + 12 * seed, pitch=5.0, distance=distance) for seed in range(6)
    ]
    assert off(model, people, wrong) < 0.36 * math.log(2)


@needs_assets
def test_all_faces_of_a_photo_tell_of_its_one_lens(model: FaceModel) -> None:
    people = [view(random_head(seed), yaw=8.0 * seed - 20, distance=900.0 + 30 * seed) for seed in range(4)]
    guess, looks = replace(people[0].camera, focal=600.0), []
    for each in people:
        looks.append(look_at(guess, each.crop, each.maps()))
    alone = [abs(math.log(likely_camera(model, guess, [look]).focal / 1500)) for look in looks]
    together = abs(math.log(likely_camera(model, guess, looks).focal / 1500))
    assert together < np.mean(alone)


@needs_assets
def test_what_is_no_face_does_not_tell(model: FaceModel) -> None:
    guess, look = seen(view(random_head(1), yaw=15.0, distance=700.0), 0.6)
    maps, random = look.maps, np.random.default_rng(0)
    noise = maps.coordinate + random.normal(0, 60, maps.coordinate.shape).astype(np.float32)
    mess = replace(look, maps=replace(maps, coordinate=noise))
    doubtful = replace(look, maps=replace(maps, sigma=np.full_like(maps.sigma, 1.1 * SURE_MM)))
    alone = likely_camera(model, guess, [look])
    assert likely_camera(model, guess, [doubtful, look]) == alone
    assert likely_camera(model, guess, [mess, look]).focal == pytest.approx(alone.focal, rel=0.25)


@pytest.mark.parametrize("source", ["exif", "option"])
def test_a_known_lens_stays(model: FaceModel, astronaut: Face, source: str) -> None:
    known = Camera(300.0, 255.5, 255.5, source)  # type: ignore[arg-type]
    assert likely_camera(model, known, [look_at(known, astronaut.crop, astronaut.maps)]) is known


def test_without_a_face_the_guess_stays(model: FaceModel, astronaut: Face) -> None:
    camera = Camera(300.0, 255.5, 255.5, "default")
    assert likely_camera(model, camera, []) == camera
    nobody = replace(look_at(camera, astronaut.crop, astronaut.maps), place=None)
    assert likely_camera(model, camera, [nobody]) == camera


def test_from_a_face_that_the_network_doubts_the_camera_steps_back_no_farther_than_usual(
    model: FaceModel, astronaut: Face
) -> None:
    maps = replace(astronaut.maps, sigma=np.full_like(astronaut.maps.sigma, 1.1 * SURE_MM))
    for focal in (500.0, 1000.0, 4000.0):
        camera = Camera(focal, 255.5, 255.5, "default")
        look = look_at(camera, astronaut.crop, maps)
        assert look.place is not None
        nearest = look.place[1]
        share = FOCAL_SPREAD**2 / (FOCAL_SPREAD**2 + DISTANCE_SPREAD**2)
        longer = max(USUAL_MM / nearest, 1.0) ** share
        assert likely_camera(model, camera, [look]).focal == pytest.approx(focal * longer)


def test_a_photo_at_half_its_size_has_half_the_focal_length(
    reconstructor: Reconstructor, astronaut: Face
) -> None:
    import cv2

    small = cv2.resize(photo("astronaut.jpg").pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    (face,) = reconstructor.reconstruct(Image(np.asarray(small)))
    assert face.camera.focal == pytest.approx(astronaut.camera.focal / 2, rel=0.1)
    assert face.camera.source == astronaut.camera.source == "default"


def test_a_face_cut_out_of_its_photo_was_not_taken_from_so_much_nearer(
    reconstructor: Reconstructor, astronaut: Face
) -> None:
    x, y = astronaut.landmarks.mean(0).astype(int)
    cut = np.ascontiguousarray(photo("astronaut.jpg").pixels[y - 80 : y + 80, x - 80 : x + 80])
    (face,) = reconstructor.reconstruct(Image(cut))
    assert face.camera.focal > 2 * DEFAULT_FOCAL * 160, "of the cut's longest side"
    assert face.pose.translation[2] > 700, "mm"
