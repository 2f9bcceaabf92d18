"""Crop: where it looks, and that what it returns is the photo there."""

from collections.abc import Callable

import numpy as np
import pytest

from facecli.camera import Camera
from facecli.crop import BRIGHT, CROP, Crop, crop_from_detection, crop_from_square, exposed
from facecli.detect import Detection


def waves(period: float, phase: float = 0.3) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A smooth colour picture as a function of real x, y: 0..255 in three channels."""
    k = 2 * np.pi / period

    def at(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        red = 127.5 + 100 * np.sin(k * x + phase) * np.cos(0.7 * k * y)
        green = 127.5 + 100 * np.sin(0.8 * k * (x + y) + 1)
        blue = 127.5 + 100 * np.cos(0.6 * k * x - k * y)
        return np.stack([red, green, blue], axis=-1)

    return at


def photo_of(scene: Callable[[np.ndarray, np.ndarray], np.ndarray], height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width].astype(float)
    return np.round(scene(x, y)).astype(np.uint8)


def crop_points(size: int) -> np.ndarray:
    """The 256-crop coordinates of every pixel centre of the crop at size x size."""
    y, x = np.mgrid[:size, :size].astype(float)
    return (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) * CROP / size - 0.5


def test_square_maps_its_corners_to_the_crop_corners() -> None:
    crop = crop_from_square(np.array([100.0, 60.0]), 64.0, 0.0)
    edges = np.array([[68.0, 28.0], [132.0, 92.0]])
    assert crop.to_crop(edges) == pytest.approx(np.array([[-0.5, -0.5], [255.5, 255.5]]))
    assert crop.scale == pytest.approx(0.25)


def test_roll_is_undone() -> None:
    roll = 0.4
    crop = crop_from_square(np.array([100.0, 60.0]), 128.0, roll)
    right_eye = np.array([100.0, 60.0]) - 10 * np.array([np.cos(roll), np.sin(roll)])
    left_eye = np.array([100.0, 60.0]) + 10 * np.array([np.cos(roll), np.sin(roll)])
    assert crop.to_crop(np.stack([right_eye, left_eye])) == pytest.approx(
        np.array([[107.5, 127.5], [147.5, 127.5]])
    )


def test_there_and_back() -> None:
    crop = crop_from_square(np.array([513.2, 99.9]), 333.3, -2.5)
    points = np.random.default_rng(0).uniform(-500, 1500, (50, 2))
    assert crop.to_photo(crop.to_crop(points)) == pytest.approx(points, abs=1e-9)
    assert np.linalg.det(crop.matrix[:, :2]) * crop.scale**2 == pytest.approx(1)
    round_trip = np.vstack([crop.matrix, [0, 0, 1]]) @ np.vstack([crop.inverse, [0, 0, 1]])
    assert round_trip == pytest.approx(np.eye(3), abs=1e-9)


@pytest.mark.parametrize("side", [0.0, -3.0, float("nan"), float("inf")])
def test_impossible_side_is_refused(side: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        crop_from_square(np.zeros(2), side, 0.0)


@pytest.mark.parametrize("side", [90.0, 256.0, 300.0, 511.0, 700.0, 1100.0])
@pytest.mark.parametrize("roll", [0.0, 0.35, np.pi / 2])
@pytest.mark.parametrize("size", [160, 256, 512])
def test_warp_samples_a_smooth_picture_within_two_grey_levels(side: float, roll: float, size: int) -> None:
    scene = waves(period=max(60.0, side / 4))
    photo = photo_of(scene, 1700, 1700)
    crop = crop_from_square(np.array([840.3, 861.8]), side, roll)
    where = crop.to_photo(crop_points(size))
    wanted = scene(where[:, 0], where[:, 1]).reshape(size, size, 3)
    error = crop.warp(photo, size) - wanted
    assert np.abs(error).max() <= 2.0
    assert abs(error.mean()) < 0.35  # averaging rounds halves up, up to twice


@pytest.mark.parametrize("side", [120.0, 400.0, 1000.0])
def test_the_crop_at_512_is_the_crop_at_256_seen_finer(side: float) -> None:
    photo = photo_of(waves(period=max(60.0, side / 4)), 1300, 1300)
    crop = crop_from_square(np.array([640.7, 650.2]), side, 0.2)
    fine = crop.warp(photo, 512).astype(float).reshape(256, 2, 256, 2, 3).mean(axis=(1, 3))
    assert np.abs(fine - crop.warp(photo, 256)).max() <= 2.0


@pytest.mark.parametrize("side", [1024.0, 1500.0, 1900.0])
@pytest.mark.parametrize("roll", [0.0, 0.5])
def test_shrinking_does_not_alias(side: float, roll: float) -> None:
    """Stripes too fine for the crop must average out, not turn into coarse ones."""
    x = np.arange(2000)
    photo = np.repeat(np.where(x % 2 == 0, 0, 255).astype(np.uint8)[None, :, None], 2000, axis=0).repeat(
        3, axis=2
    )
    crop = crop_from_square(np.array([1000.0, 1000.0]), side, roll).warp(photo, 256)
    inside = crop[60:-60, 60:-60].astype(float)
    assert np.abs(inside - 127.5).max() < 25
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), dtype=np.uint8)
    spread = crop_from_square(np.array([1000.0, 1000.0]), side, roll).warp(noise, 256)[60:-60, 60:-60].std()
    assert spread < 1.2 * noise.std() / (side / 256)


def test_black_where_the_photo_ends() -> None:
    photo = np.full((100, 100, 3), 200, np.uint8)
    crop = crop_from_square(np.array([0.0, 50.0]), 100.0, 0.0).warp(photo, 256)
    assert (crop[:, :120] == 0).all()
    assert (crop[10:-10, 136:-10] == 200).all()


@pytest.mark.parametrize("side", [50.0, 3000.0])
def test_a_square_wholly_outside_is_black(side: float) -> None:
    photo = np.full((40, 50, 3), 200, np.uint8)
    assert not crop_from_square(np.array([-5000.0, 9000.0]), side, 0.3).warp(photo, 64).any()


def test_tiny_and_narrow_photos_warp() -> None:
    for shape in [(1, 1, 3), (1, 300, 3), (300, 2, 3)]:
        photo = np.full(shape, 255, np.uint8)
        crop = crop_from_square(np.array([shape[1] / 2, shape[0] / 2]), 700.0, 0.1).warp(photo, 256)
        assert crop.shape == (256, 256, 3)
        assert crop.any()


def test_warp_does_not_touch_or_alias_the_photo() -> None:
    photo = photo_of(waves(80.0), 300, 300)
    before = photo.copy()
    crop = Crop(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])).warp(photo, 256)
    crop[:] = 0
    assert (photo == before).all()


def test_identity_crop_is_the_photo() -> None:
    photo = photo_of(waves(50.0), 256, 256)
    crop = Crop(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    assert (crop.warp(photo, 256) == photo).all()


def face(roll: float) -> Detection:
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    upright = np.array([[-20.0, -15], [20, -15], [0, 5], [-15, 28], [15, 28]])
    centre = np.array([300.0, 200.0])
    half = np.array([45.0, 55.0])
    return Detection(
        box=np.concatenate([centre - half, centre + half]),
        landmarks=upright @ turn.T + centre,
        score=0.9,
        roll=roll,
        size=2 * float(np.sqrt(half.prod())),
    )


@pytest.mark.parametrize("roll", [0.0, 0.7, 2.0, np.pi, -1.2])
def test_default_framing_is_upright_and_holds_the_whole_face(roll: float) -> None:
    crop = crop_from_detection(face(roll))
    eyes_and_mouth = crop.to_crop(face(roll).landmarks)
    assert eyes_and_mouth == pytest.approx(
        crop_from_detection(face(0.0)).to_crop(face(0.0).landmarks), abs=1e-6
    )
    assert eyes_and_mouth[0, 0] < eyes_and_mouth[1, 0]
    assert eyes_and_mouth[0, 1] == pytest.approx(eyes_and_mouth[1, 1])
    chin_and_hairline = crop_from_detection(face(0.0)).to_crop(np.array([[300.0, 263.0], [300.0, 142.0]]))
    assert ((chin_and_hairline > 25) & (chin_and_hairline < 231)).all()


def test_a_dark_crop_is_brought_to_light_and_keeps_its_colours() -> None:
    rng = np.random.default_rng(0)
    bright = rng.integers(60, 200, (64, 64, 3)).astype(np.uint8)
    assert exposed(bright) is bright
    dark = (bright * 0.1).astype(np.uint8)
    lit = exposed(dark)
    assert np.percentile(lit[16:-16, 16:-16], 90) == pytest.approx(BRIGHT, abs=2)
    factor = lit.astype(float).sum() / dark.sum()
    np.testing.assert_allclose(lit, dark * factor, atol=2)


def test_a_black_crop_stays_black() -> None:
    assert not exposed(np.zeros((64, 64, 3), np.uint8)).any()


@pytest.mark.parametrize("size", [128, 512])
def test_a_pixel_s_footprint_is_what_a_camera_sees_of_a_ruler(size):
    """Two points a hundred mm apart, 700 mm away, are as many pixels apart in a turned crop."""
    camera = Camera(900.0, 320.0, 240.0, "option")
    crop = crop_from_square(np.array([300.0, 250.0]), 180.0, 0.4)
    ends = camera.project(np.array([[-50.0, 20, 700], [50, 20, 700]]))
    apart = np.linalg.norm(np.diff(crop.to_crop(ends), axis=0)) * size / CROP
    assert crop.footprint(size, 700.0, camera.focal) * apart == pytest.approx(100)
