"""The network as a second witness: its points of the portraits, beside MediaPipe's."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from facecli.images import read_image
from facecli.pipeline import Reconstructor
from facecli.train.second_look import add_own_points

PHOTO = Path(__file__).parent.parent / "examples/photos/synthetic_front.jpg"


@pytest.fixture(scope="module")
def face():
    return Reconstructor("cpu").reconstruct(read_image(PHOTO.read_bytes()))[0]


@pytest.fixture
def portraits(tmp_path, face):
    """One portrait where MediaPipe saw nearly the same points, and one where it saw another face."""
    folder = tmp_path / "portraits" / "group"
    folder.mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(PHOTO.read_bytes())
    points = np.zeros((2, 478, 3), np.float32)
    points[0, :468, :2] = face.dense.photo + 1.0
    points[1, :468, :2] = face.dense.photo + 400.0
    height, width = cv2.imread(str(PHOTO)).shape[:2]
    names = ["group/a.jpg", "group/b.jpg"]
    np.savez(tmp_path / "points.npz", names=names, landmarks=points, sizes=np.full((2, 2), (width, height)))
    return tmp_path


def test_points_of_the_same_face_are_added_and_what_was_there_stays(portraits, face):
    with np.load(portraits / "points.npz") as archive:
        before = {key: archive[key] for key in archive}
    assert add_own_points(portraits / "points.npz", portraits / "portraits") == 1
    with np.load(portraits / "points.npz") as archive:
        after = {key: archive[key] for key in archive}
    for key, value in before.items():
        np.testing.assert_array_equal(after[key], value)
    np.testing.assert_allclose(after["own"][0], face.dense.photo, atol=0.01)
    np.testing.assert_array_equal(after["own_seen"][0], face.dense.visible)
    assert 0.5 < after["own_seen"][0].mean() < 1  # an ear's side of the head is not seen
    assert not after["own_seen"][1].any()


def test_nothing_half_written_stays(portraits):
    (portraits / "portraits" / "group" / "b.jpg").unlink()
    before = (portraits / "points.npz").read_bytes()
    with pytest.raises(FileNotFoundError):
        add_own_points(portraits / "points.npz", portraits / "portraits")
    assert (portraits / "points.npz").read_bytes() == before
    assert [path.name for path in portraits.glob("*.npz")] == ["points.npz"]
