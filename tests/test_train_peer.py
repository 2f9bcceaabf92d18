"""MediaPipe in a Python of its own: what is sent, what comes back, and what a wrong Python says."""

import stat
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import trimesh

from facecli.crop import crop_from_square
from facecli.errors import UsageError
from facecli.pipeline import Face
from facecli.train import landmarks, peer
from facecli.train.correspond import MEDIAPIPE_68
from facecli.train.peer import MediaPipe, Sighting


def script(tmp_path, text):
    """Something that can be run as a Python, and does as it likes."""
    path = tmp_path / "python"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


ANSWERS = """
import sys
import numpy as np
photos, out = sys.argv[2:]
assert sys.argv[1].endswith("landmarks.py")
with np.load(photos) as archive:
    given = {name: archive[name] for name in archive}
written = {}
for k in range(sum(name.startswith("photo") for name in given)):
    squares = given[f"squares{k}"]
    written[f"faces{k}"] = np.full((len(squares), 478, 3), given[f"photo{k}"].mean(), np.float32) + squares[:, None]
    written[f"helped{k}"] = np.arange(len(squares)) > 0
if "timing" in given:
    written["whole_ms"] = np.array(7.0)
np.savez(out, seconds=np.arange(2.0), **written)
"""
NO_FACES = np.zeros((0, 3), np.int32)


def face_at(x, y, side):
    face = Face.__new__(Face)
    object.__setattr__(face, "crop", crop_from_square(np.array([x, y], float), side))
    object.__setattr__(face, "landmarks", np.tile([float(x), float(y)], (68, 1)))
    return face


def test_photos_go_out_and_faces_come_back(tmp_path):
    run = MediaPipe(script(tmp_path, ANSWERS), NO_FACES)
    photos = [np.full((4, 6, 3), 10, np.uint8), np.zeros((9, 3, 3), np.uint8)]
    seen = run.see(photos, [[face_at(2, 3, 100.0), face_at(5, 1, 50.0)], []])
    assert [len(faces) for faces in seen] == [2, 0]
    assert [each.helped for each in seen[0]] == [False, True]
    np.testing.assert_allclose(seen[0][0].points[0], [12, 13, 10 + peer.ROOM * 100], rtol=1e-5)
    assert seen[0][0].points.shape == (468, 3)
    assert seen[0][0].landmarks.shape == (68, 2)
    assert run.seconds == [0.0, 1.0]
    assert run.timing(photos[0]) == {"whole_ms": 7.0}


def test_a_python_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere: No such file or directory; give a Python with mediapipe"):
        MediaPipe(tmp_path / "nowhere", NO_FACES).see([], [])


def test_a_python_without_mediapipe(tmp_path):
    broken = script(
        tmp_path, "raise SystemExit('Traceback\\nModuleNotFoundError: No module named mediapipe')"
    )
    with pytest.raises(
        UsageError, match=r"No module named mediapipe; it needs .*mediapipe==0.10.14 and numpy<2"
    ):
        MediaPipe(broken, NO_FACES).see([], [])


def test_a_python_that_writes_nothing(tmp_path):
    with pytest.raises(UsageError, match="no message"):
        MediaPipe(script(tmp_path, ""), NO_FACES).see([], [])


def test_triangles_of_an_obj(tmp_path):
    (tmp_path / "a.obj").write_text("v 0 0 0\nvt 0 0\nf 1/1 2/2 3/3\nf 3/9 2 4//1\n")
    np.testing.assert_array_equal(peer.triangles(tmp_path / "a.obj"), [[0, 1, 2], [2, 1, 3]])


def test_its_mesh_seen_and_measured():
    ball = trimesh.creation.icosphere(3, 30.0)
    inside = np.asarray(ball.vertices)[np.arange(468) % len(ball.vertices)]
    faces = np.asarray(ball.faces[(ball.faces < 468).all(1)], np.int32)
    # Photo pixels: x right, y down, z away from the camera.
    sighting = Sighting(inside * [1.0, -1, -1] + [50.0, 40, 0], False)
    seen = peer.view_of_points(sighting, faces, 100, 80)
    rows, columns = np.nonzero(seen.seen)
    true = np.stack([columns - 50.0, 40.0 - rows], 1) / 30
    inner = np.linalg.norm(true, axis=1) < 0.8
    np.testing.assert_allclose(seen.normals[rows, columns][inner, :2], true[inner], atol=0.1)
    assert (seen.normals[rows, columns][inner, 2] > 0).all()
    near = seen.depth[seen.seen] - peer.FAR
    assert near.min() == pytest.approx(-30, abs=1)
    surface = peer.surface(sighting, faces)
    np.testing.assert_allclose(surface.landmarks, surface.vertices[MEDIAPIPE_68])
    np.testing.assert_allclose(surface.vertices[0], sighting.points[0] * [1, -1, -1])


def test_the_same_face_is_the_nearest_one():
    far, near, other = (
        Sighting(np.tile([float(x), 0.0, 0.0], (468, 1)), False) for x in (120.0, 103.0, 400.0)
    )
    face = face_at(100, 0, 150.0)
    assert peer.nearest([far, near, other], face) is near
    assert peer.nearest([other], face) is None
    assert peer.nearest([], face) is None


class Mesh:
    """Finds bright dots, but not in large photos: as MediaPipe misses small faces."""

    def __init__(self, max_num_faces, **_):
        self.most = max_num_faces

    def process(self, photo):
        if max(photo.shape) > 250:
            return SimpleNamespace(multi_face_landmarks=None)
        found = []
        total = photo[..., 0].astype(float)
        if total.max() > 100:
            weight = np.where(total > 60, total, 0)
            y, x = (
                np.average(np.arange(n) + 0.5, weights=weight.sum(1 - k)) for k, n in enumerate(total.shape)
            )
            point = SimpleNamespace(x=x / total.shape[1], y=y / total.shape[0], z=0.5)
            found.append(SimpleNamespace(landmark=[point] * 478))
        return SimpleNamespace(multi_face_landmarks=found[: self.most])


@pytest.fixture
def mediapipe(monkeypatch):
    module = ModuleType("mediapipe")
    module.solutions = SimpleNamespace(face_mesh=SimpleNamespace(FaceMesh=Mesh))
    monkeypatch.setitem(sys.modules, "mediapipe", module)
    monkeypatch.setattr(landmarks, "TIMED_RUNS", 2)


@pytest.mark.parametrize("side", [60.0, 300.0])
def test_a_face_that_is_missed_is_shown(tmp_path, mediapipe, side):
    photo = np.zeros((400, 500, 3), np.uint8)
    photo[201:206, 301:306] = 255  # centre at (303, 203)
    # A square of 300 is itself too large to be seen in this stand-in; then nothing is found at all.
    np.savez(tmp_path / "in.npz", photo0=photo, squares0=np.array([[310.0, 195.0, side]]))
    landmarks.main(tmp_path / "in.npz", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as out:
        faces, helped, seconds = out["faces0"], out["helped0"], out["seconds"]
    assert len(seconds) == 1
    if side > 250:
        assert faces.shape == (0, 478, 3)
        return
    assert helped.tolist() == [True]
    np.testing.assert_allclose(faces[0, :, :2], np.tile([303.0, 203.0], (478, 1)), atol=0.1)
    np.testing.assert_allclose(faces[0, :, 2], 0.5 * side, rtol=1e-5)


def test_a_face_that_it_finds_is_not_shown_again(tmp_path, mediapipe):
    photo = np.zeros((200, 200, 3), np.uint8)
    photo[99:102, 49:52] = 255
    squares = np.array([[52.0, 99.0, 80.0]])
    np.savez(tmp_path / "in.npz", photo0=photo, squares0=squares, timing=photo)
    landmarks.main(tmp_path / "in.npz", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as out:
        assert out["helped0"].tolist() == [False]
        np.testing.assert_allclose(out["faces0"][0, 0, :2], [50, 100], atol=1e-3)
        assert out["whole_ms"] > 0
        assert out["tracked_ms"] > 0


def test_portraits_of_a_folder(tmp_path, mediapipe):
    import cv2

    (tmp_path / "people").mkdir()
    photo = np.zeros((100, 150, 3), np.uint8)
    photo[39:42, 69:72] = 255
    cv2.imwrite(str(tmp_path / "people" / "a.png"), photo)
    cv2.imwrite(str(tmp_path / "people" / "b.png"), np.zeros((50, 50, 3), np.uint8))
    landmarks.main(tmp_path, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as out:
        assert out["names"].tolist() == ["people/a.png"]
        np.testing.assert_allclose(out["landmarks"][0, 0, :2], [70, 40], atol=1e-3)
        assert out["sizes"].tolist() == [[150, 100]]
