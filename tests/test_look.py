"""Looks that are taken again: in a mirror, and where the detector or the network saw what is no face."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from photos import LEFT_EYE, RIGHT_EYE, photo

from facecli.detect import Detection, Detector
from facecli.images import Image
from facecli.look import DISBELIEF_MM
from facecli.pipeline import Face, Reconstructor
from facecli.runtime import Maps


def nobody_like(detection: Detection) -> Detection:
    """Taken for a face, in a corner of the astronaut's photo."""
    return replace(detection, box=np.array([5.0, 400, 85, 500]), landmarks=detection.landmarks + 250)


def led_astray(detector: Detector, nobody: Detection) -> Callable[..., Iterator[list[Detection]]]:
    """The passes of a detector that at first sees nobody but this one."""
    real = detector.passes

    def passes(pixels: np.ndarray) -> Iterator[list[Detection]]:
        yield [nobody]
        yield from real(pixels)

    return passes


def test_who_sits_in_the_dark_is_seen_though_something_else_was_taken_for_a_face(
    reconstructor: Reconstructor, astronaut: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image((photo("astronaut.jpg").pixels * 0.1).astype(np.uint8))
    passes = led_astray(reconstructor.detector, nobody_like(astronaut.detection))
    monkeypatch.setattr(reconstructor.detector, "passes", passes)
    (face,) = reconstructor.reconstruct(image)
    assert np.linalg.norm(face.landmarks[36:48].mean(0) - np.mean([RIGHT_EYE, LEFT_EYE], 0)) < 6, "pixels"


def doubtful(monkeypatch: pytest.MonkeyPatch, reconstructor: Reconstructor, doubt: float) -> None:
    """Let the network doubt all depth, `doubt` times as much as is believed."""
    run, even = reconstructor.network.run, np.full((128, 128), doubt * DISBELIEF_MM, np.float32)
    monkeypatch.setattr(
        reconstructor.network, "run", lambda crops: [replace(maps, sigma=even) for maps in run(crops)]
    )


def test_where_nobody_is_no_pass_is_left_out(
    reconstructor: Reconstructor, astronaut: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, wall = [], Image(np.full((512, 512, 3), 200, np.uint8))

    def passes(pixels: np.ndarray) -> Iterator[list[Detection]]:
        for number in range(3):
            asked.append(number)
            yield [astronaut.detection]

    monkeypatch.setattr(reconstructor.detector, "passes", passes)
    doubtful(monkeypatch, reconstructor, 1.3)
    assert reconstructor.reconstruct(wall) == []
    assert asked == [0, 1, 2]


@pytest.mark.parametrize(("doubt", "count"), [(0.7, 1), (1.3, 0)])
def test_what_the_network_itself_does_not_believe_is_no_face(
    reconstructor: Reconstructor, monkeypatch: pytest.MonkeyPatch, doubt: float, count: int
) -> None:
    doubtful(monkeypatch, reconstructor, doubt)
    assert len(reconstructor.reconstruct(photo("astronaut.jpg"))) == count


def test_a_face_found_at_once_is_not_sought_in_other_ways(
    reconstructor: Reconstructor, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, found = reconstructor.detector._find, []
    monkeypatch.setattr(
        reconstructor.detector, "_find", lambda *given: found.append(given[2]) or real(*given)
    )
    assert reconstructor.reconstruct(photo("astronaut.jpg"))
    assert found == [(0,)]


@pytest.fixture(scope="module")
def in_the_mirror() -> Reconstructor:
    return Reconstructor(device="cpu", threads=1, mirror=True)


def seen_from_behind(detection: Detection, width: int) -> Detection:
    """The same face in the mirrored photo."""
    x0, y0, x1, y1 = detection.box
    points = detection.landmarks[[1, 0, 2, 4, 3]] * [-1, 1] + [width - 1, 0]
    box = np.array([width - 1 - x1, y0, width - 1 - x0, y1])
    return replace(detection, box=box, landmarks=points, roll=-detection.roll)


@pytest.mark.parametrize("name", ["astronaut.jpg", "synthetic_front.jpg"])  # framed well at once
def test_looking_in_the_mirror_too_makes_left_and_right_alike(
    in_the_mirror: Reconstructor, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    image = photo(name)
    found = in_the_mirror.detector.detect(image.pixels)[:1]
    monkeypatch.setattr(in_the_mirror.detector, "passes", lambda pixels: iter([found]))
    (face,) = in_the_mirror.reconstruct(image)
    found = [seen_from_behind(found[0], image.width)]
    (other,) = in_the_mirror.reconstruct(replace(image, pixels=image.pixels[:, ::-1].copy()))
    back = other.landmarks * [-1, 1] + [image.width - 1, 0]
    for ours, theirs in (([30, 33, 8, 51, 57], [30, 33, 8, 51, 57]), ([36, 39, 48, 0], [45, 42, 54, 16])):
        assert np.abs(face.landmarks[ours] - back[theirs]).max() < 0.6, (
            "pixels; one look is off by a whole one"
        )
    # The detector's crops are not quite each other's mirrors, and from there bytes are rounded differently.
    assert np.abs(face.maps.depth - other.maps.depth[:, ::-1]).mean() < 0.5, "mm"


def test_the_mirror_averages_what_two_looks_saw(
    reconstructor: Reconstructor, in_the_mirror: Reconstructor, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, run = [], in_the_mirror.network.run
    monkeypatch.setattr(in_the_mirror.network, "run", lambda crops: shown.append(crops) or run(crops))
    (face,) = in_the_mirror.reconstruct(photo("astronaut.jpg"))
    *_, straight, turned = (picture for crops in shown for picture in crops)
    assert np.array_equal(turned, straight[:, ::-1])
    one, two = run(np.stack([straight, turned]))
    np.testing.assert_allclose(face.maps.depth, (one.depth + two.depth[:, ::-1]) / 2, atol=1e-3)
    np.testing.assert_allclose(
        face.maps.coordinate, (one.coordinate + two.coordinate[:, ::-1] * [-1, 1, 1]) / 2, atol=1e-3
    )
    (plain,) = reconstructor.reconstruct(photo("astronaut.jpg"))
    assert np.array_equal(plain.crop.matrix, face.crop.matrix)
    assert not np.array_equal(plain.mesh.vertices, face.mesh.vertices)


def test_a_mirror_that_shows_nobody_takes_no_face_away(
    in_the_mirror: Reconstructor, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = in_the_mirror.network.run
    looks: list[int] = []

    def blind_at_last(crops: np.ndarray) -> list[Maps]:
        looks.append(len(crops))
        maps = run(crops)
        return [replace(m, region=-np.ones_like(m.region)) for m in maps] if len(looks) == 2 else maps

    monkeypatch.setattr(in_the_mirror.network, "run", blind_at_last)
    assert len(in_the_mirror.reconstruct(photo("synthetic_front.jpg"))) == 1
    assert looks == [1, 1]


def test_a_photo_without_a_face_needs_no_mirror(in_the_mirror: Reconstructor) -> None:
    assert in_the_mirror.reconstruct(np.full((64, 64, 3), 128, np.uint8)) == []
