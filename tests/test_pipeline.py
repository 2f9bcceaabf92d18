"""The whole method on real photographs, with the weights that ship."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from heads import ASSETS, needs_assets
from photos import LEFT_EYE, MOUTH, NOSE_TIP, RIGHT_EYE, photo

from facecli import runtime
from facecli.clock import Clock
from facecli.crop import crop_from_square
from facecli.errors import DeviceError
from facecli.images import Image
from facecli.pipeline import Face, Reconstructor, _credible, _difference, _is_absurd, _is_off, _texture_size


@pytest.mark.parametrize(
    "name", ["astronaut.jpg", "synthetic_front.jpg", "synthetic_side.jpg", "synthetic_tilted.jpg"]
)
def test_every_example_becomes_a_sound_mesh(reconstructor: Reconstructor, name: str) -> None:
    faces = reconstructor.reconstruct(photo(name))
    assert len(faces) >= 1
    mesh = faces[0].mesh
    assert len(mesh.vertices) > 5000
    assert np.isfinite(mesh.vertices).all() and np.isfinite(mesh.normals).all()
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    assert area.min() > 0
    assert len(np.unique(mesh.faces)) == len(mesh.vertices)
    edges, uses = np.unique(
        np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1), axis=0, return_counts=True
    )
    assert uses.max() <= 2 and len(edges) > len(mesh.faces)
    width = np.ptp(mesh.vertices[:, 0]), np.ptp(mesh.vertices[:, 1])
    assert 0.05 < min(width) and max(width) < 0.35, "a face in metres"


def test_mesh_reprojects_onto_the_photo_within_a_pixel(astronaut: Face) -> None:
    camera_points = astronaut.pose.to_camera(astronaut.mesh.vertices.astype(np.float64) * 1000)
    projected = astronaut.camera.project(camera_points)
    of_texture = astronaut.mesh.uv.astype(np.float64) * 256 - 0.5
    photographed = astronaut.crop.to_photo(of_texture)
    error = np.linalg.norm(projected - photographed, axis=1)
    assert error.max() < 1.0
    assert np.median(error) < 0.1


def test_without_detail_the_mesh_reprojects_exactly() -> None:
    face = Reconstructor(device="cpu", threads=1, detail=False).reconstruct(photo("astronaut.jpg"))[0]
    projected = face.camera.project(face.pose.to_camera(face.mesh.vertices.astype(np.float64) * 1000))
    assert np.abs(projected - face.crop.to_photo(face.mesh.uv.astype(np.float64) * 256 - 0.5)).max() < 0.01


def test_mesh_is_upright_and_faces_plus_z(astronaut: Face) -> None:
    points = astronaut.landmarks_3d
    eyes, chin, nose = points[36:48].mean(0), points[8], points[30]
    assert eyes[1] > nose[1] > chin[1], "y is up"
    assert nose[2] > eyes[2], "the nose points to +z"
    assert points[45][0] > 0 > points[36][0], "the subject's left is +x"
    assert (astronaut.mesh.normals[:, 2] > 0).mean() > 0.9, "outward is towards +z"
    assert abs(points[36:48].mean(0)[0]) < 0.01


def test_landmarks_sit_on_the_face(astronaut: Face) -> None:
    eye_distance = np.hypot(LEFT_EYE[0] - RIGHT_EYE[0], LEFT_EYE[1] - RIGHT_EYE[1])
    found = {
        RIGHT_EYE: astronaut.landmarks[36:42].mean(0),
        LEFT_EYE: astronaut.landmarks[42:48].mean(0),
        NOSE_TIP: astronaut.landmarks[30],
        MOUTH: astronaut.landmarks[48:60].mean(0),
    }
    for wanted, ours in found.items():
        assert np.hypot(*(ours - wanted)) < 0.17 * eye_distance


def test_landmarks_in_the_mesh_frame_project_to_those_in_the_photo(astronaut: Face) -> None:
    projected = astronaut.camera.project(astronaut.pose.to_camera(astronaut.landmarks_3d * 1000))
    error = np.linalg.norm(projected - astronaut.landmarks, axis=1)
    assert error[astronaut.landmarks_visible].max() < 1.5


def test_texture_is_the_crop_of_the_photo(astronaut: Face) -> None:
    assert astronaut.texture.shape[0] == astronaut.texture.shape[1] == _texture_size(astronaut.crop)
    assert np.array_equal(
        astronaut.texture, astronaut.crop.warp(photo("astronaut.jpg").pixels, len(astronaut.texture))
    )


def test_vertex_colours_are_those_of_the_photo(astronaut: Face) -> None:
    pixels = photo("astronaut.jpg").pixels
    projected = astronaut.camera.project(
        astronaut.pose.to_camera(astronaut.mesh.vertices.astype(np.float64) * 1000)
    )
    x, y = np.rint(projected).astype(int).T
    difference = np.abs(pixels[y, x].astype(int) - astronaut.mesh.colors)
    assert np.median(difference) < 12


def test_two_runs_give_the_same_bytes(reconstructor: Reconstructor, astronaut: Face) -> None:
    again = reconstructor.reconstruct(photo("astronaut.jpg"))[0]
    assert again.mesh.vertices.tobytes() == astronaut.mesh.vertices.tobytes()
    assert again.mesh.faces.tobytes() == astronaut.mesh.faces.tobytes()


@pytest.fixture
def on_torch(monkeypatch: pytest.MonkeyPatch) -> Reconstructor:
    """What a GPU gets, on torch's CPU."""
    pytest.importorskip("torch")
    monkeypatch.setattr(runtime, "_choose", lambda device: ("cuda", "cpu"))
    return Reconstructor(device="cuda", threads=1)


def test_faces_that_share_a_batch_by_torch_are_those_of_the_cpu_alone(
    reconstructor: Reconstructor, on_torch: Reconstructor, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["synthetic_side.jpg", "astronaut.jpg", "synthetic_tilted.jpg"]
    blank = Image(np.full((64, 64, 3), 128, np.uint8))
    images, clocks = [*map(photo, names), blank], [Clock() for _ in range(4)]
    batches, forward = [], on_torch.network._forward
    monkeypatch.setattr(
        on_torch.network, "_forward", lambda crops: batches.append(len(crops)) or forward(crops)
    )
    tasks = [on_torch.steps(image, clock) for image, clock in zip(images, clocks, strict=True)]
    none, *found = on_torch.together(tasks)
    assert none == [] and batches[0] == 3
    alone = {
        face.detection.box.tobytes(): face for image in images for face in reconstructor.reconstruct(image)
    }
    assert len(alone) == sum(map(len, found)) == 3
    for faces in found:
        for face in faces:
            other = alone[face.detection.box.tobytes()]
            # In eight bits the last bits of a sum decide between two steps, and every layer carries that on.
            assert np.median(np.abs(face.landmarks - other.landmarks)) < 0.005 * face.detection.size, "pixels"
            assert np.abs(face.pose.matrix - other.pose.matrix)[:3, :3].max() < 0.01
            apart = np.linalg.norm(face.complete.vertices - other.complete.vertices, axis=1)
            assert apart.mean() < 8e-4 and apart.max() < 4e-3, "metres"
            assert np.abs(face.maps.detail - other.maps.detail).mean() < 0.01, "mm"
    assert clocks[1].seconds["gpu"] > 0 and "gpu" not in clocks[3].seconds


def test_on_the_cpu_no_photo_shares_a_batch_so_that_bytes_do_not_depend_on_it(
    reconstructor: Reconstructor, astronaut: Face
) -> None:
    images = [photo("synthetic_side.jpg"), photo("astronaut.jpg")]
    _, (again,) = reconstructor.together(reconstructor.steps(image, Clock()) for image in images)
    assert again.mesh.vertices.tobytes() == astronaut.mesh.vertices.tobytes()
    assert "gpu" not in again.seconds


def test_detail_changes_the_surface_but_not_where_the_face_is(astronaut: Face) -> None:
    coarse = Reconstructor(device="cpu", threads=1, detail=False).reconstruct(photo("astronaut.jpg"))[0]
    assert np.array_equal(coarse.pose.matrix, astronaut.pose.matrix)
    assert np.array_equal(coarse.landmarks, astronaut.landmarks)
    nearest = np.abs(coarse.mesh.vertices.mean(0) - astronaut.mesh.vertices.mean(0))
    assert nearest.max() < 0.001


def test_a_given_focal_length_moves_the_head_not_its_shape(astronaut: Face) -> None:
    far = Reconstructor(device="cpu", threads=1, focal=2 * astronaut.camera.focal).reconstruct(
        photo("astronaut.jpg")
    )[0]
    assert far.camera.source == "option"
    ratio = far.pose.translation[2] / astronaut.pose.translation[2]
    assert 1.7 < ratio < 2.3


def test_a_tight_crop_is_not_taken_from_a_hands_breadth(
    reconstructor: Reconstructor, astronaut: Face
) -> None:
    low, high = astronaut.landmarks.min(0), astronaut.landmarks.max(0)
    margin = 0.25 * (high - low).max()
    (x0, y0), (x1, y1) = (low - margin).astype(int).clip(0), (high + margin).astype(int)
    (tight,) = reconstructor.reconstruct(photo("astronaut.jpg").pixels[y0:y1, x0:x1])
    unwary = tight.pose.translation[2] * 1.2 * max(x1 - x0, y1 - y0) / tight.camera.focal
    assert unwary < 400 < 1.5 * unwary < tight.pose.translation[2] < astronaut.pose.translation[2]
    (known,) = reconstructor.reconstruct(Image(photo("astronaut.jpg").pixels[y0:y1, x0:x1], focal_35mm=35.0))
    assert known.camera.source == "exif" and known.camera.focal < tight.camera.focal


def test_a_mirrored_photo_gives_a_mirrored_head(reconstructor: Reconstructor, astronaut: Face) -> None:
    image = photo("astronaut.jpg")
    mirrored = reconstructor.reconstruct(replace(image, pixels=np.ascontiguousarray(image.pixels[:, ::-1])))[
        0
    ]
    yaw, _, roll = astronaut.pose.yaw_pitch_roll
    other_yaw, _, other_roll = mirrored.pose.yaw_pitch_roll
    assert abs(yaw + other_yaw) < 6 and abs(roll + other_roll) < 6


def test_grey_and_array_input_work(reconstructor: Reconstructor) -> None:
    pixels = photo("astronaut.jpg").pixels
    grey = np.repeat(pixels.mean(2, keepdims=True).astype(np.uint8), 3, axis=2)
    assert len(reconstructor.reconstruct(grey)) == 1


def test_no_face_gives_no_result(reconstructor: Reconstructor) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3)).astype(np.uint8)
    assert reconstructor.reconstruct(noise) == []
    assert reconstructor.reconstruct(np.full((64, 64, 3), 128, np.uint8)) == []


def test_two_people_are_two_faces(reconstructor: Reconstructor) -> None:
    pixels = photo("astronaut.jpg").pixels
    faces = reconstructor.reconstruct(np.concatenate([pixels, pixels], axis=1))
    assert len(faces) == 2
    left, right = sorted(float(face.landmarks[30, 0]) for face in faces)
    assert abs(right - left - 512) < 4


def test_asking_for_a_missing_device_is_an_error() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(DeviceError, match="cuda"):
        Reconstructor(device="cuda")


def test_crops_are_taken_again_only_when_off_and_plausible() -> None:
    centre = np.array([100.0, 100.0])
    good = crop_from_square(centre, 200.0)
    assert not _is_off(good, crop_from_square(centre + 4, 205.0))
    shifted = crop_from_square(centre + 30, 200.0)
    assert _is_off(good, shifted) and not _is_absurd(good, shifted)
    assert _difference(good, shifted)[0] == pytest.approx(30 * 2**0.5 / 200, rel=0.05)
    assert _is_off(good, crop_from_square(centre, 200.0, 0.4))
    assert _is_absurd(good, crop_from_square(centre, 600.0))


def test_detections_that_do_not_mean_what_the_network_sees_are_dropped(astronaut: Face) -> None:
    size = astronaut.detection.size
    elsewhere = replace(
        astronaut,
        detection=replace(astronaut.detection, landmarks=astronaut.detection.landmarks + 0.5 * size),
    )
    assert _credible([elsewhere]) == []
    assert _credible([]) == []


def test_who_is_not_sure_of_a_face_has_to_agree_better(astronaut: Face) -> None:
    size, maps = astronaut.detection.size, astronaut.maps
    beside = replace(
        astronaut,
        detection=replace(astronaut.detection, landmarks=astronaut.detection.landmarks + 0.2 * size),
    )
    unsure = replace(maps, sigma=np.full_like(maps.sigma, 9.0))
    assert _credible([beside]) == [beside]
    assert _credible([replace(beside, maps=unsure)]) == []
    assert len(_credible([replace(astronaut, maps=unsure)])) == 1


@needs_assets
@pytest.mark.parametrize(
    ("name", "third"),
    [("blender_courtyard", 2), ("chinese_garden", 2), ("royal_esplanade", 2), ("st_peters_square_night", 1)],
)
def test_buildings_and_stones_are_no_faces(reconstructor: Reconstructor, name: str, third: int) -> None:
    """Places of which the detector takes something for a face."""
    exr = pytest.importorskip("OpenEXR")
    with exr.File(str(ASSETS / "hdri" / f"{name}.exr")) as file:
        light = np.nan_to_num(np.asarray(file.channels()["RGB"].pixels, np.float32), posinf=6e4)
    height, width = light.shape[:2]
    seen = light[height // 5 : height * 4 // 5, third * width // 3 : (third + 1) * width // 3]
    picture = 255 * np.clip(seen / np.percentile(seen, 95), 0, 1) ** (1 / 2.2)
    pixels = cv2.resize(picture.astype(np.uint8), (800, int(800 * seen.shape[0] / seen.shape[1])))
    assert reconstructor.detector.detect(pixels)
    assert reconstructor.reconstruct(pixels) == []


def test_of_what_was_only_a_part_the_whole_face_is_found(
    reconstructor: Reconstructor, astronaut: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of noses lit from below, which the detector takes for faces."""
    seen, nose = astronaut.detection, astronaut.landmarks[30]
    shrunk = replace(
        seen,
        box=np.concatenate([nose - 0.2 * seen.size, nose + 0.2 * seen.size]),
        landmarks=nose + (seen.landmarks - nose) * 0.25,
        size=0.3 * seen.size,
    )
    pixels = photo("astronaut.jpg").pixels
    (whole,) = reconstructor.detector.around(pixels, [shrunk])
    np.testing.assert_allclose(whole.box, seen.box, atol=0.15 * seen.size)
    monkeypatch.setattr(reconstructor.detector, "passes", lambda _: iter([[shrunk]]))
    (face,) = reconstructor.reconstruct(pixels)
    assert np.linalg.norm(face.landmarks - astronaut.landmarks, axis=1).mean() < 0.03 * seen.size


def test_of_two_readings_of_one_face_the_better_stays(astronaut: Face) -> None:
    size = astronaut.detection.size
    worse = replace(
        astronaut,
        detection=replace(astronaut.detection, landmarks=astronaut.detection.landmarks + 0.1 * size),
    )
    neighbour = replace(
        astronaut,
        landmarks=astronaut.landmarks + 1.5 * size,
        detection=replace(astronaut.detection, landmarks=astronaut.detection.landmarks + 1.5 * size),
    )
    kept = _credible([worse, neighbour, astronaut])
    assert [id(face) for face in kept] == [id(neighbour), id(astronaut)]


def test_a_photo_taken_in_the_dark_gives_the_same_face(reconstructor: Reconstructor, astronaut: Face) -> None:
    by_day = photo("astronaut.jpg").pixels
    noise = np.random.default_rng(0).normal(0, 1.0, by_day.shape)
    dark = np.clip(by_day * 0.05 + noise, 0, 255).astype(np.uint8)
    (face,) = reconstructor.reconstruct(dark)
    apart = np.linalg.norm(face.landmarks - astronaut.landmarks, axis=1).mean()
    assert apart < 0.05 * astronaut.detection.size


@pytest.mark.parametrize(
    ("side", "expected"),
    [(20, 256), (256, 256), (257, 384), (640, 640), (641, 768), (1024, 1024), (9000, 1024)],
)
def test_a_texture_is_as_fine_as_the_photo_within_bounds(side: float, expected: int) -> None:
    assert _texture_size(crop_from_square(np.zeros(2), side, 0.3)) == expected
