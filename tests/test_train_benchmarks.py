"""The parts of each benchmark that could be wrong without anyone noticing, and the table they make."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
from heads import head_model, needs_assets, reconstructor, view

from facecli.detect import Detection
from facecli.images import Image
from facecli.pipeline import Face, Reconstructor
from facecli.train import benchmark_dlib68, benchmark_james, benchmark_region, benchmark_yale
from facecli.train.benchmark_james import James, Photo, Relief, Shape
from facecli.train.table import COLUMNS, Line, as_json, markdown
from facecli.train.trial import Trial, angles, largest, view_of_face
from facecli.train.trial import view as draw


def test_a_table_has_a_cell_for_every_column():
    lines = [Line("a", "b", 1.234, mean_face=2.0), Line("c", "d", None, peers=(3.0, None), digits=1)]
    rows = markdown(lines, ["note"]).splitlines()
    assert rows[0].count("|") == len(COLUMNS) + 3
    assert rows[2] == "| a | b | 1.23 |  |  | 2.00 |  |  |"
    assert rows[3] == "| c | d |  |  |  |  | 3.0 |  |"
    assert rows[-1] == "note"
    assert as_json(lines)[0]["facecli"] == 1.234
    assert json.loads(json.dumps(as_json(lines)))[1]["3DDFA_V2"] is None


def square(x, y, side=10.0):
    """68 points around a square."""
    along = np.linspace(0, 1, 17)
    edge = np.c_[along, np.zeros(17)]
    points = np.r_[edge, np.c_[np.ones(17), along], 1 - edge, np.c_[np.zeros(17), 1 - along]]
    return points * side + [x, y]


def test_faces_are_matched_once_each_and_best_first():
    truth = np.array([square(0, 0), square(20, 0), square(100, 100)])
    found = np.array([square(21, 0), square(2, 0), square(1, 0)])
    pairs = benchmark_dlib68.matched(truth, found)
    assert [(ours[0, 0], theirs[0, 0]) for ours, theirs in pairs] in ([(0, 1), (20, 21)], [(20, 21), (0, 1)])


@pytest.mark.parametrize(("found", "truth"), [(0, 2), (2, 0), (0, 0)])
def test_nothing_matches_nothing(found, truth):
    both = (np.array([square(0, 0)] * count).reshape(-1, 68, 2) for count in (truth, found))
    assert benchmark_dlib68.matched(*both) == []


def test_landmark_boxes_overlap():
    overlap = benchmark_dlib68.intersection_over_union
    assert overlap(square(0, 0), square(0, 0)) == pytest.approx(1)
    assert overlap(square(0, 0), square(5, 0)) == pytest.approx(1 / 3)
    assert overlap(square(0, 0), square(50, 0)) == 0


def test_annotations_are_read(tmp_path):
    parts = "".join(f"<part name='{k:02d}' x='{k}' y='{2 * k}'/>" for k in reversed(range(68)))
    first = f"<image file='a.jpg'><box>{parts}</box><box/></image>"
    text = f"<dataset><images>{first}<image file='b.jpg'/></images></dataset>"
    (tmp_path / "a.xml").write_text(text)
    first, second = benchmark_dlib68.annotations(tmp_path / "a.xml")
    assert first.file == "a.jpg"
    np.testing.assert_array_equal(first.landmarks[0, 30], [30, 60])
    assert (len(first.landmarks), len(second.landmarks)) == (1, 0)


def test_regions_overlap():
    overlap, left = benchmark_region.intersection_over_union, np.zeros((4, 4), bool)
    left[:, :2] = True
    assert overlap(left, left) == 1
    assert overlap(left, ~left) == 0
    assert overlap(left, np.ones((4, 4), bool)) == 0.5
    assert overlap(np.zeros((4, 4), bool), np.zeros((4, 4), bool)) == 1


def test_angles_are_in_degrees():
    x, y = np.array([[1.0, 0, 0]]), np.array([[0.0, 1, 0]])
    np.testing.assert_allclose(angles(np.r_[x, x, x], np.r_[x, y, -x]), [0, 90, 180], atol=1e-5)


def test_the_view_of_a_ball():
    ball = trimesh.creation.icosphere(4, 50.0)
    camera = ball.vertices + np.array([0, 0, 1000.0])
    pixels = camera[:, :2] / camera[:, 2:] * 1000 + 63.5
    seen = draw(pixels, camera, ball.vertices / 50.0, np.asarray(ball.faces, np.int32)[:, ::1], 128, 128)
    if not seen.seen.any():
        pytest.fail("outward triangles must be drawn")
    assert seen.depth[64, 64] == pytest.approx(950, abs=0.2)
    np.testing.assert_allclose(seen.normals[64, 64], [0, 0, 1], atol=0.02)
    assert seen.normals[64, 100, 0] > 0.5  # right of the middle: to the right
    assert seen.normals[30, 64, 1] > 0.5  # above it: up


class Broken(Reconstructor):
    def __init__(self):
        pass

    def reconstruct(self, image):
        raise ValueError("of all things")


def test_a_photo_that_breaks_the_reconstructor_is_counted_not_fatal():
    trial = Trial(Broken())
    assert trial.faces("a.jpg", np.zeros((4, 4, 3), np.uint8)) == []
    assert trial.failures == ["a.jpg: ValueError: of all things"]
    assert trial.seconds == []


def test_the_largest_face_is_taken():
    near, far = (Face.__new__(Face) for _ in range(2))
    for face, scale in ((near, 2.0), (far, 1.0)):
        object.__setattr__(face, "crop", SimpleNamespace(scale=scale))
    assert largest([far, near]) is near
    assert largest([]) is None


def test_yale_gets_a_black_border():
    image = np.random.default_rng(0).integers(0, 256, (192, 168), np.uint8)
    padded, offset = benchmark_yale.pad(image)
    assert padded.shape == (192 + 2 * offset, 168 + 2 * offset, 3)
    np.testing.assert_array_equal(padded[offset:-offset, offset:-offset, 1], image)
    assert not padded[:offset].any()


@needs_assets
def test_a_perfect_reconstruction_scores_perfectly():
    model = head_model()
    scene = view(model.neutral, yaw=20.0)
    face = reconstructor()._assemble(
        Image(np.zeros((900, 1200, 3), np.uint8)),
        scene.camera,
        Detection(np.zeros(4), np.zeros((5, 2)), 1.0, 0.0, 9.0),
        scene.crop,
        scene.maps(),
        {},
    )
    scan = benchmark_james.Scan(model.neutral.astype(np.float64), face.landmarks_3d * 1000)
    camera = {
        "K": scene.camera.matrix.tolist(),
        "R": scene.pose.rotation.tolist(),
        "t": scene.pose.translation.tolist(),
        "size": [1200, 900],
    }
    truth = benchmark_james.view_of_scan(camera, model.neutral.astype(np.float64), model.faces)
    ours = view_of_face(face, 1200, 900)
    result = benchmark_james.relief(face, scan, ours, truth)
    assert result.depth_median < 0.1
    assert result.normal_median < 3
    assert result.pixels > 0.95 * ours.seen.sum()

    surface = benchmark_james.mean_face(model)
    assert 0.3 * len(model.faces) < len(surface.faces) < len(model.faces)
    posed = benchmark_yale.view_of_mean(model, face, 1200, 900)
    both = posed.seen & truth.seen
    assert np.median(angles(posed.normals[both], truth.normals[both])) < 0.1
    mask = benchmark_yale.eyes(face, 900, 1200)
    centres = np.rint([face.landmarks[part].mean(0) for part in benchmark_yale.EYES]).astype(int)
    assert mask[centres[:, 1], centres[:, 0]].all()
    assert mask.mean() < 0.01
    region = benchmark_region.region_of([face], Image(np.zeros((900, 1200, 3), np.uint8)))
    assert benchmark_region.intersection_over_union(region, ours.seen) > 0.95


def test_lines_of_james_name_every_photo():
    shape, relief = Shape(1.0, 2.0, 3.0), Relief(1, 2, 3, 4, 5)
    photos = [Photo("left", shape, shape, None, relief), Photo("right", shape, None, shape, relief)]
    lines = benchmark_james.lines(James(photos, 50.0, shape))
    shares = [line for line in lines if line.measure == "scan-to-mesh median, % of outer eye distance"]
    assert [line.data for line in shares] == ["left", "right"]
    assert shares[0].values == (2.0, 2.0, None, 2.0, None, None)
    assert shares[1].values == (2.0, None, 2.0, 2.0, None, None)
    assert benchmark_james.lines(James([], 50.0, shape))[0].ours == 0
