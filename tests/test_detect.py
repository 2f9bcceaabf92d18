"""Detector: the decoding on a scripted network, the whole on a real portrait, turned, cut, in the dark."""

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from facecli.crop import crop_from_detection
from facecli.detect import Detection, Detector, roll_of
from facecli.errors import WeightsError

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "weights" / "detector.onnx"
# NASA's portrait of Eileen Collins, public domain, 512 x 512; points read off the picture by eye.
PORTRAIT = next(iter(sorted((ROOT / "examples" / "photos").glob("*astronaut*"))), None)
RIGHT_EYE, LEFT_EYE, NOSE = (203, 104), (246, 103), (226, 128)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(MODEL.read_bytes(), threads=1)


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    if PORTRAIT is None:
        pytest.skip("examples/photos has no astronaut portrait")
    pixels = cv2.imdecode(np.frombuffer(PORTRAIT.read_bytes(), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert pixels is not None and pixels.shape == (512, 512, 3)
    return np.asarray(pixels, np.uint8)


def turned(pixels: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """The photo turned clockwise about its centre on a larger ground, and the matrix old -> new pixels."""
    height, width = pixels.shape[:2]
    side = int(np.hypot(height, width)) + 2
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -degrees, 1.0)
    matrix[:, 2] += (side - 1) / 2 - np.array([(width - 1) / 2, (height - 1) / 2])
    ground = (128, 128, 128)
    return np.asarray(cv2.warpAffine(pixels, matrix, (side, side), borderValue=ground), np.uint8), matrix


def distance(face: Detection, landmarks: np.ndarray) -> float:
    """Mean landmark distance as a share of the face's size."""
    return float(np.linalg.norm(face.landmarks - landmarks, axis=1).mean() / face.size)


# --- the network's file


def test_the_model_is_the_one_that_was_built() -> None:
    digest = hashlib.sha256(MODEL.read_bytes()).hexdigest()
    assert digest == "3b4d41490e01295f2cc5eafd52eef38ef477612e1035a99ee99a41ee071f9cfd"
    assert "3-clause BSD" in (ROOT / "weights" / "LICENSE-detector").read_text()


def test_bytes_that_are_no_model() -> None:
    with pytest.raises(WeightsError, match=r"cannot load detector\.onnx"):
        Detector(MODEL.read_bytes()[:1000])


# --- decoding


class Script:
    """In place of the network: a face at one cell of one stride, in every picture of this (width, height)."""

    def __init__(self, stride: int, row: int, column: int, size: tuple[int, int]) -> None:
        self.stride, self.row, self.column, self.size = stride, row, column, size
        self.seen: list[np.ndarray] = []

    def run(self, names: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        blob = feed["input"]
        self.seen.append(blob)
        count, channels, height, width = blob.shape
        assert channels == 3 and height % 32 == 0 and width % 32 == 0 and blob.dtype == np.float32
        outputs: list[np.ndarray] = []
        for channels_out in (1, 1, 4, 10):
            for stride in (8, 16, 32):
                out = np.zeros((count, height * width // stride**2, channels_out), np.float32)
                if stride == self.stride and (width, height) == self.size:
                    cell = self.row * (width // stride) + self.column
                    values: dict[int, Any] = {
                        1: [0.81],
                        4: [0.25, 0.5, np.log(4.0), np.log(2.0)],
                        10: np.arange(10) / 10,
                    }
                    out[:, cell] = values[channels_out]
                outputs.append(out)
        return outputs


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_a_cell_decodes_to_its_place_in_pixels(stride: int) -> None:
    detector = Detector(MODEL.read_bytes(), threads=1)
    detector._session = Script(stride, 1, 2, (96, 96))
    found = detector._infer(np.zeros((2, 70, 90, 3), np.uint8), 0.6)
    assert found.picture.tolist() == [0, 1]
    assert found.scores == pytest.approx([0.81, 0.81])
    centre = [2.25 * stride - 0.5, 1.5 * stride - 0.5]  # from the network's pixel edges to our centres
    assert found.boxes[1] == pytest.approx([*centre, 4 * stride, 2 * stride])
    points = (np.array([2.0, 1.0]) + (np.arange(10) / 10).reshape(5, 2)) * stride - 0.5
    assert found.landmarks[0] == pytest.approx(points, rel=1e-5)


def test_the_network_gets_bgr_padded_with_black_at_the_far_edges() -> None:
    detector = Detector(MODEL.read_bytes(), threads=1)
    detector._session = script = Script(8, 0, 0, (0, 0))
    detector._infer(np.full((1, 33, 20, 3), (10, 20, 30), np.uint8), 0.6)
    blob = script.seen[0]
    assert blob.shape == (1, 3, 64, 32)
    assert blob[0, :, 5, 5].tolist() == [30, 20, 10]
    assert not blob[:, :, 33:].any() and not blob[:, :, :, 20:].any()


def test_weak_cells_are_left_out() -> None:
    detector = Detector(MODEL.read_bytes(), threads=1)
    detector._session = Script(8, 2, 3, (96, 96))
    assert len(detector._infer(np.zeros((1, 96, 96, 3), np.uint8), 0.82).scores) == 0


@pytest.mark.parametrize("quarter", [0, 1, 2, 3])
def test_boxes_of_a_turned_view_come_back_to_the_upright_one(quarter: int) -> None:
    from facecli.detect import _turn_back

    view = np.zeros((40, 70), np.uint8)
    view[10:14, 50:58] = 1  # centre 53.5, 11.5; 8 x 4
    rows, columns = np.nonzero(np.rot90(view, quarter))
    low, high = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()])
    box = np.concatenate([(low + high) / 2, high - low + 1.0])[None]
    assert _turn_back(box, quarter, 70, 40)[0] == pytest.approx([53.5, 11.5, 8, 4])


@pytest.mark.parametrize("degrees", range(-180, 180, 20))
@pytest.mark.parametrize("width", [1.0, 0.3, 0.0], ids=["frontal", "half profile", "profile"])
def test_roll_is_steady_as_the_head_turns(degrees: int, width: float) -> None:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    upright = np.array([[-20.0 * width, -15], [20 * width, -15], [9, 5], [-15 * width, 25], [15 * width, 25]])
    error = roll_of(upright @ turn.T + 70) - angle
    assert (error + np.pi) % (2 * np.pi) - np.pi == pytest.approx(0, abs=1e-9)


# --- real photos


def test_portrait(detector: Detector, portrait: np.ndarray) -> None:
    (face,) = detector.detect(portrait)
    assert face.score > 0.85
    assert np.abs(face.landmarks[:3] - [RIGHT_EYE, LEFT_EYE, NOSE]).max() < 0.06 * face.size
    assert abs(face.roll) < np.radians(8)
    assert face.size == pytest.approx(np.sqrt((face.box[2:] - face.box[:2]).prod()), rel=0.1)
    assert (face.box[:2] < face.landmarks.min(axis=0)).all() and (
        face.landmarks.max(axis=0) < face.box[2:]
    ).all()


def test_the_same_twice_and_with_another_detector(detector: Detector, portrait: np.ndarray) -> None:
    first, second = detector.detect(portrait), Detector(MODEL.read_bytes(), threads=1).detect(portrait)
    assert len(first) == len(second) == 1
    assert (first[0].landmarks == second[0].landmarks).all() and (first[0].box == second[0].box).all()
    assert first[0].score == second[0].score


def test_mirror_image_gives_the_mirror_landmarks(detector: Detector, portrait: np.ndarray) -> None:
    (face,) = detector.detect(portrait)
    (mirrored,) = detector.detect(np.ascontiguousarray(portrait[:, ::-1]))
    expected = face.landmarks[[1, 0, 2, 4, 3]] * [-1, 1] + [511, 0]
    assert distance(mirrored, expected) < 0.04
    assert mirrored.roll == pytest.approx(-face.roll, abs=np.radians(5))


@pytest.mark.parametrize("degrees", range(0, 360, 45))
def test_a_leaning_face_is_read_upright(detector: Detector, portrait: np.ndarray, degrees: int) -> None:
    (face,) = detector.detect(portrait)
    photo, matrix = turned(portrait, degrees)
    found = detector.detect(photo)[0]
    assert distance(found, face.landmarks @ matrix[:, :2].T + matrix[:, 2]) < 0.08
    lean = found.roll - face.roll - np.radians(degrees)
    assert abs((lean + np.pi) % (2 * np.pi) - np.pi) < np.radians(8)
    assert found.size == pytest.approx(face.size, rel=0.1)
    points = crop_from_detection(found).to_crop(found.landmarks)
    assert points == pytest.approx(crop_from_detection(face).to_crop(face.landmarks), abs=14)


@pytest.mark.parametrize("longest", [40, 100, 1500, 3000, 8000])
def test_photos_of_any_size(detector: Detector, portrait: np.ndarray, longest: int) -> None:
    (face,) = detector.detect(portrait)
    way = cv2.INTER_AREA if longest < 512 else cv2.INTER_LINEAR
    cut = portrait[:400, 60:460]  # in the smallest, the face is 11 pixels wide
    found = detector.detect(np.asarray(cv2.resize(cut, (longest, longest), interpolation=way), np.uint8))
    scale = longest / 400
    expected = (face.landmarks - [60, 0] + 0.5) * scale - 0.5
    assert len(found) == 1
    assert distance(found[0], expected) < (0.12 if longest < 100 else 0.06)


def test_grey_dark_and_noisy(detector: Detector, portrait: np.ndarray) -> None:
    (face,) = detector.detect(portrait)
    grey = np.repeat(cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    noise = portrait + np.random.default_rng(0).normal(0, 30, portrait.shape)
    for photo in (grey, (portrait * 0.15).astype(np.uint8), np.clip(noise, 0, 255).astype(np.uint8)):
        assert distance(detector.detect(photo)[0], face.landmarks) < 0.08


def test_a_face_cut_by_the_edge_keeps_its_box(detector: Detector, portrait: np.ndarray) -> None:
    (face,) = detector.detect(portrait)
    middle = int(face.landmarks[:2, 0].mean())
    (cut,) = detector.detect(np.ascontiguousarray(portrait[:, middle - 10 :]))
    assert cut.box[0] < -0.15 * cut.size
    assert cut.box[2] == pytest.approx(face.box[2] - (middle - 10), abs=0.2 * face.size)


def test_every_face_of_a_group_best_first(detector: Detector, portrait: np.ndarray) -> None:
    head = portrait[0:230, 110:340]
    sizes = [230, 150, 90, 60]
    group = np.full((500, 640, 3), 90, np.uint8)
    places = [(10, 10), (300, 20), (320, 260), (100, 320)]
    for size, (x, y) in zip(sizes, places, strict=True):
        group[y : y + size, x : x + size] = cv2.resize(head, (size, size), interpolation=cv2.INTER_AREA)
    found = detector.detect(group)
    assert len(found) == 4
    assert [face.score for face in found] == sorted((face.score for face in found), reverse=True)
    for size, place in zip(sizes, places, strict=True):
        nose = np.array(place) + (np.array(NOSE) - [110, 0]) * size / 230
        assert min(np.linalg.norm(face.landmarks[2] - nose) for face in found) < 0.06 * size


def test_more_than_one_batch_of_faces(detector: Detector, portrait: np.ndarray) -> None:
    head = cv2.resize(portrait[0:230, 110:340], (100, 100), interpolation=cv2.INTER_AREA)
    assert len(detector.detect(np.tile(head, (4, 6, 1)))) == 24


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (1, 1), (1, 500), (900, 1), (31, 33), (40, 4000)])
@pytest.mark.parametrize("level", [0, 255])
def test_no_face_in_blank_photos_of_odd_shapes(
    detector: Detector, shape: tuple[int, int], level: int
) -> None:
    assert detector.detect(np.full((*shape, 3), level, np.uint8)) == []


def test_no_face_in_noise(detector: Detector) -> None:
    assert detector.detect(np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)) == []


def test_threshold(detector: Detector, portrait: np.ndarray) -> None:
    assert detector.detect(portrait, threshold=0.99) == []
    assert all(face.score >= 0.3 for face in detector.detect(portrait, threshold=0.3))


def test_detecting_is_silent_and_leaves_the_photo_alone(
    detector: Detector, portrait: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    before = portrait.copy()
    detector.detect(portrait)
    assert capfd.readouterr() == ("", "")
    assert (portrait == before).all()


def test_passes_are_made_when_they_are_asked_for(
    detector: Detector, portrait: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = detector._find, []
    monkeypatch.setattr(detector, "_find", lambda *given: made.append(given[2]) or real(*given))
    passes = detector.passes(portrait)
    assert made == []
    (first,) = next(passes)
    assert made == [(0,)]
    (turned,) = next(passes)
    assert made == [(0,), (1, 2, 3)]
    assert distance(turned, first.landmarks) < 0.1, "the same face, however it was found"
    assert list(passes) == []
    assert len(made) == 2, "a bright photo is not brightened"


# --- in the dark


def in_the_dark(pixels: np.ndarray, gain: float) -> np.ndarray:
    """Underexposed, with a sensor's noise."""
    noise = np.random.default_rng(0).normal(0, 1.0, pixels.shape)
    return np.clip((pixels / 255) ** 1.5 * 255 * gain + noise, 0, 255).astype(np.uint8)


def test_a_face_in_the_dark_is_found_where_it_is(detector: Detector, portrait: np.ndarray) -> None:
    by_day = detector.detect(portrait)[0]
    dark = in_the_dark(portrait, 0.04)
    assert np.median(dark) < 10
    by_night = detector.detect(dark)[0]
    assert distance(by_night, by_day.landmarks) < 0.12


def test_a_dark_wall_has_no_face(detector: Detector, portrait: np.ndarray) -> None:
    wall = cv2.resize(portrait[400:500, 0:100], (400, 400))
    assert detector.detect(in_the_dark(wall, 0.1)) == []
