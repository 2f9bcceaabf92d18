"""GLB against the specification: our own reading of the bytes, trimesh, and Khronos' validator."""

import io
import json
import shutil
import struct
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from sheet import MESH, TEXTURE, decoded, empty

from facecli.export import to_glb


def parse_glb(data):
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data)) and length % 4 == 0
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON" and size % 4 == 0
    document = json.loads(data[20 : 20 + size])
    if 20 + size == length:
        return document, b""
    rest = 20 + size
    size, kind = struct.unpack_from("<I4s", data, rest)
    assert kind == b"BIN\0" and size % 4 == 0 and rest + 8 + size == length
    assert document["buffers"] == [{"byteLength": size}]
    return document, data[rest + 8 :]


TYPES = {5126: "<f4", 5125: "<u4", 5123: "<u2"}
WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


def read_accessor(document, binary, index):
    accessor = document["accessors"][index]
    view = document["bufferViews"][accessor["bufferView"]]
    dtype, width = np.dtype(TYPES[accessor["componentType"]]), WIDTH[accessor["type"]]
    assert view["byteOffset"] % 4 == 0 and view["byteLength"] == accessor["count"] * width * dtype.itemsize
    assert width * dtype.itemsize % 4 == 0
    data = np.frombuffer(binary, dtype, accessor["count"] * width, view["byteOffset"]).reshape(-1, width)
    if "min" in accessor:
        np.testing.assert_array_equal(np.float32(accessor["min"]), data.min(0))
        np.testing.assert_array_equal(np.float32(accessor["max"]), data.max(0))
    return data


def test_glb_is_sound_gltf():
    document, binary = parse_glb(to_glb(MESH, TEXTURE)["mesh.glb"])
    assert document["asset"]["version"] == "2.0"
    assert document["scenes"][document["scene"]]["nodes"] == [0] and document["nodes"][0]["mesh"] == 0
    (primitive,) = document["meshes"][0]["primitives"]
    attributes = primitive["attributes"]
    assert set(attributes) == {"POSITION", "NORMAL", "TEXCOORD_0"}  # vertex colours would darken the texture
    assert "min" in document["accessors"][attributes["POSITION"]]
    np.testing.assert_array_equal(read_accessor(document, binary, attributes["POSITION"]), MESH.vertices)
    np.testing.assert_array_equal(read_accessor(document, binary, attributes["NORMAL"]), MESH.normals)
    np.testing.assert_array_equal(read_accessor(document, binary, attributes["TEXCOORD_0"]), MESH.uv)
    np.testing.assert_array_equal(
        read_accessor(document, binary, primitive["indices"]).reshape(-1, 3), MESH.faces
    )
    material = document["materials"][primitive["material"]]
    assert material["pbrMetallicRoughness"] == {
        "baseColorFactor": [1, 1, 1, 1],
        "metallicFactor": 0,
        "roughnessFactor": 1,
        "baseColorTexture": {"index": 0},
    }
    view = document["bufferViews"][document["images"][document["textures"][0]["source"]]["bufferView"]]
    png = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    np.testing.assert_array_equal(decoded(png), TEXTURE)
    assert all(
        set(view) <= {"buffer", "byteOffset", "byteLength", "target"} for view in document["bufferViews"]
    )


@pytest.mark.parametrize("texture", [TEXTURE, None])
def test_a_mesh_of_nothing_is_a_scene_without_a_mesh(texture):
    document, binary = parse_glb(to_glb(empty(), texture)["mesh.glb"])
    assert binary == b"" and "meshes" not in document and "accessors" not in document


def test_glb_comes_back_through_trimesh():
    scene = trimesh.load(io.BytesIO(to_glb(MESH, TEXTURE)["mesh.glb"]), "glb", process=False)
    (back,) = scene.geometry.values()
    np.testing.assert_array_equal(back.vertices.astype(np.float32), MESH.vertices)
    np.testing.assert_array_equal(back.faces, MESH.faces)
    np.testing.assert_allclose(back.visual.uv, MESH.uv * [1, -1] + [0, 1], atol=1e-6)
    np.testing.assert_array_equal(np.asarray(back.visual.material.baseColorTexture.convert("RGB")), TEXTURE)
    np.testing.assert_array_equal(
        scene.graph["face"][0] if "face" in scene.graph.nodes else np.eye(4), np.eye(4)
    )


def test_glb_without_texture_has_linear_vertex_colours():
    document, binary = parse_glb(to_glb(MESH, None)["mesh.glb"])
    assert "images" not in document and "textures" not in document
    primitive = document["meshes"][0]["primitives"][0]
    index = primitive["attributes"]["COLOR_0"]
    assert document["accessors"][index]["normalized"] is True
    light = read_accessor(document, binary, index) / 65535.0
    assert (light[:, 3] == 1).all()
    srgb = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_array_equal(np.round(srgb[:, :3] * 255), MESH.colors)
    (back,) = trimesh.load(io.BytesIO(to_glb(MESH, None)["mesh.glb"]), "glb", process=False).geometry.values()
    np.testing.assert_array_equal(back.vertices.astype(np.float32), MESH.vertices)


NORMALS = np.full((16, 16, 3), (128, 128, 255), np.uint8)


def test_glb_carries_a_normal_map_with_its_tangents():
    document, binary = parse_glb(to_glb(MESH, TEXTURE, normal_map=NORMALS)["mesh.glb"])
    (material,) = document["materials"]
    assert material["pbrMetallicRoughness"]["baseColorTexture"] == {"index": 0}
    assert material["normalTexture"] == {"index": 1}
    pictures = []
    for image in document["images"]:
        view = document["bufferViews"][image["bufferView"]]
        pictures.append(decoded(binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]))
    np.testing.assert_array_equal(pictures[0], TEXTURE)
    np.testing.assert_array_equal(pictures[1], NORMALS)
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    tangent = read_accessor(document, binary, attributes["TANGENT"])
    np.testing.assert_allclose(np.linalg.norm(tangent[:, :3], axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.einsum("ij,ij->i", tangent[:, :3], MESH.normals), 0, atol=1e-5)
    # On this sheet u runs along x and the picture's top is y: so do tangent and bitangent.
    assert tangent[:, 0].min() > 0.3 and np.abs(tangent[:, 1]).max() < 0.5
    bitangent = np.cross(MESH.normals, tangent[:, :3]) * tangent[:, 3:]
    assert bitangent[:, 1].min() > 0.3


def test_tangents_exist_even_where_the_texture_has_no_direction():
    flat = replace(MESH, uv=np.zeros_like(MESH.uv))
    document, binary = parse_glb(to_glb(flat, TEXTURE, normal_map=NORMALS)["mesh.glb"])
    tangent = read_accessor(document, binary, document["meshes"][0]["primitives"][0]["attributes"]["TANGENT"])
    np.testing.assert_allclose(np.linalg.norm(tangent[:, :3], axis=1), 1, atol=1e-5)


VALIDATE = """
const validator = require('gltf-validator'), fs = require('fs');
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])))
  .then(report => process.stdout.write(JSON.stringify(report.issues)));
"""


def has_validator():
    node = shutil.which("node")
    if node is None:
        return False
    return subprocess.run([node, "-e", "require('gltf-validator')"], capture_output=True).returncode == 0


@pytest.mark.skipif(
    not has_validator(),
    reason="needs node and the Khronos validator: npm install gltf-validator, NODE_PATH at its node_modules",
)
@pytest.mark.parametrize(
    "data",
    [
        to_glb(MESH, TEXTURE),
        to_glb(MESH, None),
        to_glb(empty(), TEXTURE),
        to_glb(MESH, TEXTURE, normal_map=NORMALS),
    ],
    ids=["textured", "vertex colours", "empty", "normal map"],
)
def test_the_khronos_validator_finds_nothing(data, tmp_path):
    (tmp_path / "mesh.glb").write_bytes(data["mesh.glb"])
    command = ["node", "-e", VALIDATE, str(tmp_path / "mesh.glb")]
    report = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert report["numErrors"] == 0 and report["numWarnings"] == 0, report["messages"]
