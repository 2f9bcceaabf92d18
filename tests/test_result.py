import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image as pillow

from facecli.camera import Pose, camera_for, rotation_from_angles
from facecli.complete import Surface
from facecli.crop import crop_from_square
from facecli.detect import Detection
from facecli.errors import UsageError
from facecli.images import Image
from facecli.landmarks import DENSE_NAMES, IBUG_NAMES, Landmarks
from facecli.mesh import grid_mesh
from facecli.options import Options
from facecli.pipeline import Face
from facecli.result import MAP_NOTES, WHOLE_NOTES, encode_affine, face_files, map_files
from facecli.runtime import Maps
from facecli.texture import Skin

_X, _Y = np.meshgrid(np.linspace(-60.0, 60, 64), np.linspace(60.0, -60, 64))
SKIN = Skin(
    Surface(np.stack([_X, _Y, 60 - (_X**2 + _Y**2) / 120], 2), np.ones((64, 64))),
    np.full((512, 512, 3), (180, 130, 100), np.uint8),
    np.repeat(np.linspace(0, 255, 512).astype(np.uint8)[None], 512, 0),
)
VERSIONS = {"facecli": "1", "weights": "2"}
PHOTO = Image(np.full((480, 640, 3), 128, np.uint8), notes=("a note",))


@pytest.fixture(scope="module")
def face() -> Face:
    """A dome of 60 mm radius seen at 600 mm by a turned head's camera: every map known."""
    camera, crop = camera_for(640, 480), crop_from_square(np.array([300.0, 250.0]), 200.0, 0.2)
    pose = Pose(rotation_from_angles(20.0, -5.0, 3.0), np.array([-15.0, 8.0, 600.0]))
    y, x = np.mgrid[:256, :256].astype(np.float64)
    radius = np.hypot(x - 127.5, y - 127.5) / 110
    region = radius < 1
    depth = 60 * np.sqrt(np.maximum(1 - radius**2, 0))
    rays = camera.rays(crop.to_photo(np.stack([x, y], axis=2).reshape(-1, 2))).reshape(256, 256, 3)
    positions = rays * (600 - depth)[..., None]
    mesh = grid_mesh(positions, region, np.full((256, 256, 3), 200, np.uint8), pose)
    maps = Maps(
        region=(region * 0.9).astype(np.float32),
        coordinate=pose.to_head(positions[::2, ::2].reshape(-1, 3)).reshape(128, 128, 3).astype(np.float32),
        depth=depth[::2, ::2].astype(np.float32),
        sigma=np.ones((128, 128), np.float32),
        opening=np.clip(np.abs(x - 127.5) / 50, 0, 1)[::2, ::2].astype(np.float32),
        detail=np.linspace(-3, 3, 512 * 512, dtype=np.float32).reshape(512, 512),
    )
    landmarks = np.linspace(0, 400, 136).reshape(68, 2)
    return Face(
        detection=Detection(
            np.array([200.0, 150, 400, 350]), np.arange(10.0).reshape(5, 2), 0.987, 0.2, 200.0
        ),
        crop=crop,
        camera=camera,
        pose=pose,
        maps=maps,
        mesh=mesh,
        complete=mesh,
        texture=np.full((512, 512, 3), 90, np.uint8),
        landmarks=landmarks,
        landmarks_3d=np.linspace(-0.1, 0.1, 204).reshape(68, 3),
        landmarks_visible=np.arange(68) % 2 == 0,
        seconds={"detect": 0.01234567},
        skin=SKIN,
        dense=Landmarks(
            np.linspace(0, 500, 936).reshape(468, 2), np.zeros((468, 3)), np.arange(468) % 3 == 0
        ),
    )


def files(face: Face, **options: Any) -> dict[str, bytes]:
    return face_files(face, 0, PHOTO, "sub/a.jpg", Options(**options), VERSIONS)


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(pillow.open(io.BytesIO(data)))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {},
            "face.mtl face.obj face.ply face.png landmarks.json mesh.mtl mesh.obj mesh.ply preview.png "
            "result.json texture.png",
        ),
        ({"formats": ("ply",), "preview": False}, "face.ply landmarks.json mesh.ply result.json"),
        ({"formats": ("glb",), "preview": False}, "face.glb landmarks.json mesh.glb result.json"),
        ({"formats": ("stl",), "preview": False}, "face.stl landmarks.json mesh.stl result.json"),
        (
            {"formats": ("ply",), "preview": False, "maps": True},
            "correspondence.png depth.png detail.png face.ply face_displacement.png face_normal.png "
            "landmarks.json mesh.ply normal.png opening.png region.png result.json texture_visibility.png",
        ),
    ],
)
def test_the_files_are_those_asked_for_and_listed(face: Face, options: dict[str, Any], expected: str) -> None:
    written = files(face, **options)
    assert " ".join(sorted(written)) == expected
    facts = json.loads(written["result.json"])
    assert facts["files"] == expected.split()
    assert ("maps" in facts) == bool(options.get("maps"))


def test_result_json_says_everything(face: Face) -> None:
    facts = json.loads(files(face, preview=False)["result.json"])
    assert facts["input"] == {"name": "sub/a.jpg", "width": 640, "height": 480, "notes": ["a note"]}
    assert facts["box"] == [200, 150, 400, 350] and facts["score"] == 0.987
    assert facts["detector_landmarks"]["mouth_left"] == [8, 9]
    marks = facts["landmarks"]
    assert np.shape(marks["photo"]) == (68, 2) and np.shape(marks["mesh"]) == (68, 3)
    assert marks["visible"] == [True, False] * 34
    assert np.allclose(marks["mesh"], face.landmarks_3d, atol=1e-6)
    assert facts["camera"]["source"] == "default"
    assert facts["camera"]["field_of_view"] == {"horizontal": 45.24, "vertical": 34.71, "diagonal": 55.02}
    assert (facts["pose"]["yaw"], facts["pose"]["pitch"], facts["pose"]["roll"]) == (20, -5, 3)
    assert "average size" in facts["scale"]["note"] and facts["units"]["mesh"] == "metres"
    assert "seconds" not in facts and facts["versions"] == VERSIONS


def test_the_mesh_reprojects_onto_the_photo_by_what_the_json_says(face: Face) -> None:
    facts = json.loads(files(face, preview=False)["result.json"])
    points = np.column_stack([face.mesh.vertices, np.ones(len(face.mesh.vertices))])
    rays = (points @ np.array(facts["pose"]["matrix"]).T)[:, :3] @ np.array(facts["camera"]["matrix"]).T
    photo = np.column_stack([rays[:, :2] / rays[:, 2:], np.ones(len(rays))])
    crop = photo @ np.array(facts["crop"]["matrix"]).T
    assert np.abs(crop - (face.mesh.uv * 256 - 0.5)).max() < 0.05


def test_lists_of_numbers_stand_on_one_line_and_names_survive(face: Face) -> None:
    name = 'new\nline [ \udcff ] "x".jpg'
    data = face_files(face, 3, PHOTO, name, Options(("ply",), preview=False), VERSIONS)["result.json"]
    assert json.loads(data)["input"]["name"] == name and json.loads(data)["face"] == 3
    assert b'"box": [200.0, 150.0, 400.0, 350.0]' in data and data.isascii()


def test_what_is_not_finite_becomes_null(face: Face) -> None:
    odd = replace(face, landmarks=np.full((68, 2), np.nan))
    facts = json.loads(files(odd, formats=("ply",), preview=False)["result.json"])
    assert facts["landmarks"]["photo"][0] == [None, None]


def test_maps_decode_by_their_notes(face: Face) -> None:
    maps = map_files(face)
    assert maps.keys() == MAP_NOTES.keys() - {"frame"}
    inside = face.maps.region >= 0.5
    coarse = inside.reshape(128, 2, 128, 2).mean(axis=(1, 3)) >= 0.5

    region = decoded(maps["region.png"])
    assert region.dtype == np.uint8 and np.abs(region / 255 - face.maps.region).max() <= 0.51 / 255

    opening = decoded(maps["opening.png"])
    assert opening.dtype == np.uint8 and np.ptp(opening[coarse]) > 200 and not opening[~coarse].any()
    assert np.abs(opening / 255 - face.maps.opening)[coarse].max() <= 0.51 / 255

    for name, truth, mask in (
        ("depth.png", face.maps.depth, coarse),
        ("detail.png", face.maps.detail, inside.repeat(2, 0).repeat(2, 1)),
        ("correspondence.png", face.maps.coordinate, coarse),
    ):
        notes, values = MAP_NOTES[name], decoded(maps[name])
        assert values.dtype == (np.uint16 if notes["bits"] == 16 else np.uint8)
        millimetres = values / notes["scale"] - notes["offset"]
        assert np.abs(millimetres - truth)[mask].max() <= 0.51 / notes["scale"]
        assert (values[~mask] == 0).all() and (values[mask] > 0).all()
    assert MAP_NOTES["correspondence.png"]["range"] == [-127, 127]


def test_the_normal_map_points_out_of_the_dome(face: Face) -> None:
    picture = decoded(map_files(face)["normal.png"])
    inside = (face.maps.region >= 0.5).repeat(2, 0).repeat(2, 1)
    covered = picture.any(axis=2)
    assert not covered[~inside].any() and covered[inside].mean() > 0.9  # the steep rim is trimmed off
    normals = picture.astype(np.float64) / 127.5 - 1
    assert np.abs(np.linalg.norm(normals[covered], axis=1) - 1).max() < 0.02
    towards_camera = face.pose.rotation.T @ [0, 0, -1]
    centre = normals[256, 256]
    assert centre @ towards_camera > 0.98


@pytest.mark.parametrize("value", [-1e9, 1e9, np.nan, np.inf, -np.inf])
def test_affine_codes_never_reach_the_no_data_value(value: float) -> None:
    assert 1 <= encode_affine(np.array([value]), 100.0, 327.68, 65535)[0] <= 65535


def test_unknown_formats_are_refused() -> None:
    for formats in (("obj", "fbx"), ()):
        with pytest.raises(UsageError, match="choose from obj, ply, glb, stl"):
            Options(formats)


def test_the_whole_face_is_written_beside_the_pixels_without_touching_their_files(face: Face) -> None:
    both, pixel, whole = files(face), files(face, meshes=("pixel",)), files(face, meshes=("face",))
    assert {name for name in both if name.startswith("mesh.")} == {"mesh.obj", "mesh.mtl", "mesh.ply"}
    assert {name for name in both if name.startswith("face.")} == {
        "face.obj",
        "face.mtl",
        "face.png",
        "face.ply",
    }
    assert both["mesh.obj"] == pixel["mesh.obj"] and both["face.ply"] == whole["face.ply"]
    assert b"mtllib face.mtl" in both["face.obj"] and b"map_Kd face.png" in both["face.mtl"]
    assert np.array_equal(decoded(both["face.png"]), SKIN.texture)
    assert not [name for name in whole if name.startswith("mesh.") or name == "texture.png"]


def test_unknown_meshes_are_refused() -> None:
    with pytest.raises(UsageError, match="pixel, face"):
        Options(meshes=("whole",))


def test_landmarks_json_names_every_point(face: Face) -> None:
    facts = json.loads(files(face, preview=False)["landmarks.json"])
    for key, names, found in (
        ("ibug68", IBUG_NAMES, Landmarks(face.landmarks, face.landmarks_3d, face.landmarks_visible)),
        ("mediapipe468", DENSE_NAMES, face.dense),
    ):
        marks = facts[key]
        assert marks["names"] == list(names) and marks["visible"] == found.visible.tolist()
        assert np.allclose(marks["photo"], found.photo, atol=0.006)
        assert np.allclose(marks["mesh"], found.mesh, atol=1e-6)
    assert all(0 <= number < 468 for part in facts["mediapipe468"]["parts"].values() for number in part)
    alone = json.loads(files(replace(face, dense=None), preview=False)["landmarks.json"])
    assert "mediapipe468" not in alone and "ibug68" in alone


def test_result_json_says_why_the_focal_length_is_what_it_is(face: Face) -> None:
    facts = json.loads(files(face, preview=False)["result.json"])
    assert "perspective" in facts["camera"]["why"]


def test_maps_of_the_texture_decode_by_their_notes(face: Face) -> None:
    detail = np.zeros((512, 512), np.float32)
    detail[:, ::3] = 0.2  # finer than the mesh
    bumpy = replace(face, maps=replace(face.maps, detail=detail))
    written = files(bumpy, preview=False, maps=True, formats=("glb",))
    assert json.loads(written["result.json"])["maps"].keys() > WHOLE_NOTES.keys()
    notes = WHOLE_NOTES["face_displacement.png"]
    relief = decoded(written["face_displacement.png"]) / notes["scale"] - notes["offset"]
    assert decoded(written["face_displacement.png"]).dtype == np.uint16
    assert np.abs(relief[:, 0]).max() < 1e-3, "nothing is seen there"
    assert 0.02 < np.abs(relief[:, 256:]).max() < 0.25
    normals = (decoded(written["face_normal.png"]).astype(float) - 128) / 127
    assert np.abs(np.linalg.norm(normals, axis=2) - 1).max() < 0.02 and normals[..., 2].min() > 0
    assert np.abs(normals[:, 256:, :2]).max() > 0.05 > np.abs(normals[:, 0, :2]).max()
    assert np.array_equal(decoded(written["texture_visibility.png"]), SKIN.visibility)
    assert b"normalTexture" in written["face.glb"]


def test_without_detail_there_is_no_relief_to_write(face: Face) -> None:
    written = files(replace(face, detail_scale=0.0), preview=False, maps=True, formats=("glb",))
    assert "texture_visibility.png" in written and b"normalTexture" not in written["face.glb"]
    assert not written.keys() & {"face_normal.png", "face_displacement.png"}


def test_twice_the_detail_is_twice_the_displacement(face: Face) -> None:
    detail = np.zeros((512, 512), np.float32)
    detail[:, ::3] = 0.2
    bumpy = replace(face, maps=replace(face.maps, detail=detail))
    once, twice = (
        decoded(files(f, preview=False, maps=True, formats=("ply",))["face_displacement.png"]).astype(float)
        for f in (bumpy, replace(bumpy, detail_scale=2.0))
    )
    zero = 4.0 * 8192
    assert np.abs((twice - zero) - 2 * (once - zero)).max() < 3


def test_albedo_replaces_texture_and_vertex_colours(face: Face) -> None:
    light = np.clip(0.5 + 0.5 * np.linspace(-1, 1, 512), 0.2, None)[None, :, None]
    lit = replace(
        SKIN, texture=(SKIN.texture * light).astype(np.uint8), visibility=np.full((512, 512), 255, np.uint8)
    )
    shown, without = (
        decoded(files(replace(face, skin=lit), preview=False, albedo=albedo)["face.png"]).astype(float)
        for albedo in (False, True)
    )
    unevenness = [picture[..., 0].std() / picture[..., 0].mean() for picture in (shown, without)]
    assert unevenness[0] > 1.7 * unevenness[1]
    plain, evened = (
        files(replace(face, skin=lit), preview=False, albedo=a)["face.ply"] for a in (False, True)
    )
    assert plain != evened


@pytest.mark.parametrize("scale", [-0.1, 10.5, float("nan"), float("inf")])
def test_a_scale_of_detail_that_makes_no_sense_is_refused(scale: float) -> None:
    with pytest.raises(UsageError, match="--detail-scale must be 0 to 10"):
        Options(detail_scale=scale)
