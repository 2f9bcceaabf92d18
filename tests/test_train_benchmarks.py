"""The parts of each benchmark that could be wrong without anyone noticing, and the table they make."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
from heads import SHARED, head_model, needs_assets, needs_evaluation, reconstructor, view

from facecli.detect import Detection
from facecli.images import Image
from facecli.pipeline import Face, Reconstructor
from facecli.train import benchmark_dlib68, benchmark_james, benchmark_region, benchmark_yale
from facecli.train.benchmark_dlib68 import Dlib68, Match
from facecli.train.benchmark_james import James, Photo, Relief, Shape
from facecli.train.benchmark_region import Region
from facecli.train.contest import averaged, shown_by_all
from facecli.train.mean_face import INNER, MeanFace
from facecli.train.scan import similarity
from facecli.train.table import COLUMNS, MEAN_FACE, MEDIAPIPE, OURS, TDDFA, Line, as_json, markdown
from facecli.train.trial import Trial, View, angles, largest, relief_of, view_of_face
from facecli.train.trial import view as draw


def test_a_table_has_a_cell_for_every_column():
    lines = [Line("a", "b", {OURS: 1.234, MEAN_FACE: 2.0}), Line("c", "d", {MEDIAPIPE: 3.0}, digits=1)]
    rows = markdown(lines, ["note"]).splitlines()
    assert rows[0].count("|") == len(COLUMNS) + 3
    assert rows[2] == "| a | b | 1.23 |  |  | 2.00 |  |  |"
    assert rows[3] == "| c | d |  |  |  |  | 3.0 |  |"
    assert rows[-1] == "note"
    assert as_json(lines)[0]["facecli"] == 1.234
    assert json.loads(json.dumps(as_json(lines)))[1][TDDFA] is None


def test_a_line_has_only_the_columns_of_the_table():
    with pytest.raises(ValueError, match="no such column: DECA"):
        Line("a", "b", {"DECA": 1.0})


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
    assert sorted(pairs) == [(0, 2), (1, 0)]


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
        scene.look(),
        {},
    )
    camera = {
        "K": scene.camera.matrix.tolist(),
        "R": scene.pose.rotation.tolist(),
        "t": scene.pose.translation.tolist(),
        "size": [1200, 900],
    }
    truth = benchmark_james.view_of_scan(camera, model.neutral.astype(np.float64), model.faces)
    ours = view_of_face(face, 1200, 900)
    result, pixels = benchmark_james.relief({OURS: ours}, {OURS: 1.0}, truth)
    assert result[OURS].depth < 0.1
    assert result[OURS].normal_median < 3
    assert pixels > 0.95 * ours.seen.sum()
    assert benchmark_james.surface_of(face, face.mesh).landmarks is face.landmarks_3d

    mean = MeanFace.of(model)
    assert 0.3 * len(model.faces) < len(mean.surface.faces) < len(model.faces)
    landmarks = scene.camera.project(scene.pose.to_camera(mean.surface.landmarks.astype(np.float64)))
    pose = mean.placed(landmarks, scene.camera)
    np.testing.assert_allclose(pose.rotation, scene.pose.rotation, atol=1e-3)
    np.testing.assert_allclose(pose.translation, scene.pose.translation, atol=0.5)
    posed = mean.view(pose, scene.camera, 1200, 900)
    both = shown_by_all({OURS: posed}, truth.seen)
    assert both.sum() > 1000
    assert np.median(angles(posed.normals[both], truth.normals[both])) < 0.1
    part = (slice(300, 500), slice(400, 700))
    np.testing.assert_array_equal(posed.cut(part).depth, posed.depth[part])
    mask = benchmark_yale.eyes(face, 900, 1200)
    centres = np.rint([face.landmarks[part].mean(0) for part in benchmark_yale.EYES]).astype(int)
    assert mask[centres[:, 1], centres[:, 0]].all()
    assert mask.mean() < 0.01
    region = benchmark_region.region_of([face], Image(np.zeros((900, 1200, 3), np.uint8)))
    assert benchmark_region.intersection_over_union(region, ours.seen) > 0.95


@needs_assets
@needs_evaluation
def test_the_landmarks_of_the_scan_are_those_of_ibug():
    """In any other order the seven that align mesh and scan are other points, and nothing would tell."""
    model = head_model()
    mean = model.neutral[model.landmark_vertices].astype(np.float64)
    scan, triangles = benchmark_james.load_scan(SHARED / "eval" / "james")
    assert sorted(benchmark_james.IBUG) == list(range(68)) and triangles.max() < len(scan.points)
    place = similarity(mean[INNER], scan.landmarks[INNER])
    # A man is not the mean, but with the order of the file the worst is 82 mm away.
    assert np.linalg.norm(place(mean[INNER]) - scan.landmarks[INNER], axis=1).max() < 12
    assert place.scale == pytest.approx(1, abs=0.1), "the scan is of life size"


def test_lines_of_james_name_every_photo():
    shape, relief = Shape(1.0, 2.0), Relief(1.0, 2.0, 3.0)
    photos = [
        Photo("left", {OURS: shape, MEAN_FACE: shape}, {OURS: relief}, 5),
        Photo("right", {OURS: shape, MEDIAPIPE: shape}, {MEDIAPIPE: relief}, 5),
    ]
    lines = benchmark_james.lines(James(photos, 50.0, {OURS: 2.0, MEDIAPIPE: 1.0}))
    shares = [line for line in lines if line.measure == "scan-to-mesh median, % of outer eye distance"]
    assert [line.data for line in shares] == ["left", "right"]
    assert shares[0].values == {OURS: 2.0, MEAN_FACE: 2.0}
    assert shares[1].values == {OURS: 2.0, MEDIAPIPE: 2.0}
    assert benchmark_james.lines(James([], 50.0, {OURS: 0.0}))[0].values == {OURS: 0.0}


@pytest.mark.parametrize("degrees", [0, 40, 180, -100])
def test_offsets_of_landmarks_are_told_along_the_face(degrees):
    truth = np.random.default_rng(0).normal(size=(68, 2)) * 30
    truth[36], truth[45] = [-50, 0], [50, 0]
    moved = truth + np.array([10.0, 0])  # towards the subject's left
    moved[8] += [0, 20.0]  # down the face
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    match = Match(truth @ turn * 3 + 7, moved @ turn * 3 + 7, None)
    offsets = benchmark_dlib68.offsets(match, match.ours)
    np.testing.assert_allclose(np.delete(offsets, 8, 0), np.tile([0.1, 0.0], (67, 1)), atol=1e-12)
    np.testing.assert_allclose(offsets[8], [0.1, 0.2], atol=1e-12)
    np.testing.assert_allclose(np.delete(benchmark_dlib68.errors(match, match.ours), 8), 0.1)
    result = Dlib68(1, [match], {OURS: 1.0})
    np.testing.assert_allclose(benchmark_dlib68.mean_offsets(result)[OURS], offsets)
    np.testing.assert_allclose(
        benchmark_dlib68.mean_shape(result)[[36, 45]], [[-0.5, 0], [0.5, 0]], atol=1e-12
    )


def test_landmarks_are_compared_on_faces_that_both_found():
    truth = np.random.default_rng(0).normal(size=(68, 2))
    right, wrong = Match(truth, truth, truth + 1.0), Match(truth, truth + 5.0, None)
    lines = benchmark_dlib68.lines(Dlib68(3, [right, wrong], {OURS: 2.0, MEDIAPIPE: 1.0}))
    assert lines[0].values == {OURS: 2.0, MEDIAPIPE: 1.0}
    assert lines[1].values[OURS] == 0
    assert lines[1].values[MEDIAPIPE] > 0
    assert {line.measure.split(",")[1].strip() for line in lines[1:8]} == set(benchmark_dlib68.PARTS)
    assert lines[-1].values == {OURS: 1.0}
    alone = benchmark_dlib68.lines(Dlib68(3, [wrong], {OURS: 1.0}))
    assert all(set(line.values) == {OURS} for line in alone)
    assert len(benchmark_dlib68.lines(Dlib68(3, [], {OURS: 0.0}))) == 1


def test_lines_of_the_region():
    mean, worst = benchmark_region.lines(Region({OURS: [0.5, 1.0], MEDIAPIPE: [0.25, 0.75]}))
    assert mean.values == {OURS: 0.75, MEDIAPIPE: 0.5}
    assert worst.values == {OURS: 0.5, MEDIAPIPE: 0.25}


def test_averages_count_the_photos_that_have_the_column():
    assert averaged([{OURS: 1.0, MEDIAPIPE: 4.0}, {OURS: 3.0}]) == {OURS: 2.0, MEDIAPIPE: 4.0}
    assert averaged([]) == {}


def test_what_all_show():
    left, top = np.zeros((2, 2)), np.zeros((2, 2))
    left[:, 0], top[0] = 1, 1
    views = {name: View(depth, np.zeros((2, 2, 3))) for name, depth in ((OURS, left), (MEDIAPIPE, top))}
    np.testing.assert_array_equal(shown_by_all(views, np.ones((2, 2), bool)), [[True, False], [False, False]])
    assert not shown_by_all(views, np.zeros((2, 2), bool)).any()


@needs_assets
def test_relief_is_told_at_the_pixels_of_the_photo():
    scene = view(head_model().neutral)
    maps = scene.maps()
    slope = np.tile(np.linspace(-1, 1, 512, dtype=np.float32), (512, 1))
    face = reconstructor()._assemble(
        Image(np.zeros((900, 1200, 3), np.uint8)),
        scene.camera,
        Detection(np.zeros(4), np.zeros((5, 2)), 1.0, 0.0, 9.0),
        scene.look(replace(maps, detail=slope)),
        {},
    )
    relief = relief_of(face, 1200, 900)
    seen = view_of_face(face, 1200, 900).seen
    assert np.isfinite(relief[seen]).mean() > 0.97
    assert np.isnan(relief[0, 0])
    rows, columns = np.nonzero(np.isfinite(relief))
    across = scene.crop.to_crop(np.stack([columns, rows], 1).astype(np.float64))[:, 0]
    expected = (across * 2 + 0.5) / 511 * 2 - 1
    assert np.abs(relief[rows, columns] - expected).max() < 0.01
