"""A parcel unpacked by the definition in its docstring, and its camera against the photo's."""

import base64
import gzip
import io
import json
import re
import struct

import numpy as np
import pytest
from PIL import Image as pillow
from results import CAMERA, CROP, POSE, dome, facts

from facecli.meshfile import Model
from facecli.parcel import photo_camera, to_parcel


def unpack(data):
    name, text = re.fullmatch(rb'facecli\.deliver\("([0-9a-f]+)","([A-Za-z0-9+/=]+)"\);\n', data).groups()
    packed = gzip.decompress(base64.b64decode(text))
    (length,) = struct.unpack_from("<I", packed)
    header, rest = json.loads(packed[4 : 4 + length]), packed[4 + length :]
    return name.decode(), header, lambda place: rest[place[0] : place[0] + place[1]]


def columns(data, kind, count, width, back=1):
    """Value by value, byte by byte, as the docstring says."""
    size = np.dtype(kind).itemsize
    table = np.frombuffer(data, np.uint8).reshape(width, size, count).transpose(0, 2, 1)
    steps = np.ascontiguousarray(table).view(kind)[..., 0].copy()
    for i in range(back, count):
        steps[:, i] += steps[:, i - back]
    return steps.T


@pytest.mark.parametrize("textured", [False, True])
def test_a_parcel_holds_the_mesh_to_a_hundredth_of_a_millimetre(textured):
    mesh = dome()
    picture = np.full((32, 32, 3), 130, np.uint8) if textured else None
    model = Model(mesh, picture, picture)
    name, header, blob = unpack(to_parcel("0a1b", {"face": model}, facts("a.jpg"), None))
    told = header["meshes"]["face"]
    assert name == "0a1b" and told["vertices"] == len(mesh.vertices) and "photo" not in header
    places = columns(blob(told["positions"]), "<i2", len(mesh.vertices), 3) * told["step"]
    assert np.abs(places - mesh.vertices).max() < 5e-6
    indices = columns(blob(told["indices"]), "<i4", mesh.faces.size, 1, 6)
    np.testing.assert_array_equal(indices.reshape(-1, 3), mesh.faces)
    if textured:
        uv = columns(blob(told["uv"]), "<u2", len(mesh.vertices), 2) / 65535
        assert np.abs(uv - mesh.uv).max() < 1e-5 and "colors" not in told
        for key in ("texture", "normal_map"):
            assert pillow.open(io.BytesIO(blob(told[key]))).size == (32, 32)
    else:
        np.testing.assert_array_equal(columns(blob(told["colors"]), "u1", len(mesh.vertices), 3), mesh.colors)


def test_the_photos_camera_puts_points_where_the_photo_has_them():
    view, projection = photo_camera(facts("a.jpg"))
    points = dome().vertices.astype(np.float64)
    clip = np.column_stack([points, np.ones(len(points))]) @ view.T @ projection.T
    ndc = clip[:, :3] / clip[:, 3:]
    in_crop = CROP.to_crop(CAMERA.project(POSE.to_camera(points * 1000)))
    np.testing.assert_allclose(ndc[:, 0], (in_crop[:, 0] + 0.5) / 128 - 1, atol=1e-9)
    np.testing.assert_allclose(ndc[:, 1], 1 - (in_crop[:, 1] + 0.5) / 128, atol=1e-9)
    assert (np.abs(ndc[:, 2]) < 1).all()
    nearer = np.argsort(POSE.to_camera(points * 1000)[:, 2])
    assert (np.diff(ndc[nearer, 2]) >= 0).all()  # OpenGL: -1 is near


def test_the_same_face_is_the_same_script_and_a_face_without_camera_has_none():
    model, photo = Model(dome()), np.full((64, 64, 3), 99, np.uint8)
    first = to_parcel("ab", {"face": model, "mesh": model}, facts("a.jpg"), photo)
    assert first == to_parcel("ab", {"face": model, "mesh": model}, facts("a.jpg"), photo)
    _, header, blob = unpack(first)
    assert list(header["meshes"]) == ["face", "mesh"]
    assert pillow.open(io.BytesIO(blob(header["photo"]))).size == (64, 64)
    _, header, _ = unpack(to_parcel("ab", {"face": model}, {"face": 0}, photo))
    assert "camera" not in header
