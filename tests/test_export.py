"""Files that other programs read back: trimesh as the judge, and our own reading of the bytes."""

import io
import json
import re
import shutil
import struct
import subprocess
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
import trimesh

from facecli.export import _corner_words, to_glb, to_obj, to_ply, to_stl
from facecli.mesh import Group, Mesh, vertex_normals


def wavy(size=20, spread=0.1):
    """A wavy sheet with every kind of number in it: both signs, zeros, beyond one metre."""
    at = np.linspace(-spread, spread, size)
    x, y = np.meshgrid(at, -at)
    vertices = np.stack([x, y, 0.02 * np.sin(40 * x) * np.cos(30 * y)], -1).reshape(-1, 3).astype(np.float32)
    a = np.arange(size * size).reshape(size, size)
    a, b, c, d = a[:-1, :-1], a[:-1, 1:], a[1:, :-1], a[1:, 1:]
    faces = np.concatenate([np.stack([a, c, d], -1).reshape(-1, 3), np.stack([a, d, b], -1).reshape(-1, 3)])
    faces = faces.astype(np.int32)
    colors = np.random.default_rng(0).integers(0, 256, (len(vertices), 3)).astype(np.uint8)
    grid_y, grid_x = np.divmod(np.arange(size * size), size)
    uv = np.stack([(grid_x + 0.5) / size, (grid_y + 0.5) / size], 1).astype(np.float32)
    return Mesh(vertices, faces, vertex_normals(vertices, faces), colors, uv)


def empty():
    three = np.zeros((0, 3), np.float32)
    nothing = np.zeros((0, 3), np.uint8)
    return Mesh(three, np.zeros((0, 3), np.int32), three, nothing, np.zeros((0, 2), np.float32))


MESH = wavy()
TEXTURE = np.random.default_rng(1).integers(0, 256, (32, 32, 3)).astype(np.uint8)


def decoded(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


def load_obj(files):
    data, resolver = io.BytesIO(files["mesh.obj"]), MemoryResolver(files)
    return trimesh.load(data, "obj", process=False, maintain_order=True, resolver=resolver)


class MemoryResolver(trimesh.visual.resolvers.Resolver):
    """Finds the files an OBJ names among the ones we wrote, and nowhere else."""

    def __init__(self, files):
        self.files = files

    def get(self, name):
        return self.files[name]

    def keys(self):
        return self.files.keys()

    def write(self, name, data):
        raise NotImplementedError

    def namespaced(self, namespace):
        raise NotImplementedError


def test_obj_comes_back_through_trimesh():
    files = to_obj(MESH, TEXTURE)
    assert set(files) == {"mesh.obj", "mesh.mtl", "texture.png"}
    back = load_obj(files)
    np.testing.assert_allclose(back.vertices, MESH.vertices, atol=0.51e-6)
    np.testing.assert_array_equal(back.faces, MESH.faces)
    np.testing.assert_allclose(back.visual.uv, MESH.uv * [1, -1] + [0, 1], atol=0.6e-6)
    np.testing.assert_allclose(back.vertex_normals, MESH.normals, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(back.visual.material.image.convert("RGB")), TEXTURE)
    np.testing.assert_array_equal(back.visual.material.diffuse[:3], [255, 255, 255])


def lines_of(obj):
    """Without the spaces that make words as wide as each other."""
    return [re.sub(r" +", " ", line) for line in obj.decode("ascii").split("\n")]


def test_every_line_of_the_obj_is_what_python_would_write():
    lines = lines_of(to_obj(MESH, TEXTURE)["mesh.obj"])
    assert lines[:3] == ["# facecli", "# units: metres, y up, right-handed, facing +z", "mtllib mesh.mtl"]
    assert lines[-1] == "" and "usemtl face" in lines

    def expected(number, decimals):
        return re.sub(r"^-(0\.0+)$", r"\1", f"{number:.{decimals}f}")  # no minus zero

    def rows(keyword, values, decimals):
        return [" ".join([keyword, *(expected(float(x), decimals) for x in row)]) for row in values]

    count = len(MESH.vertices)
    assert lines[3 : 3 + count] == rows("v", MESH.vertices, 6)
    got = [line for line in lines if line.startswith("vn ")]
    assert got == rows("vn", MESH.normals, 4)
    got = [line for line in lines if line.startswith("f ")]
    assert got == ["f " + " ".join(f"{i + 1}/{i + 1}/{i + 1}" for i in face) for face in MESH.faces]


def test_obj_writes_awkward_numbers_exactly():
    numbers = np.array([[0.0, -0.0, 1e-7], [-1e-7, 0.9999999, -0.9999999], [123.25, -0.5, 1e-6]], np.float32)
    three, nothing = np.zeros((3, 3), np.float32), np.zeros((3, 3), np.uint8)
    mesh = Mesh(numbers, np.array([[0, 1, 2]], np.int32), three, nothing, np.zeros((3, 2), np.float32))
    lines = [line for line in lines_of(to_obj(mesh, TEXTURE)["mesh.obj"]) if line.startswith("v ")]
    assert lines == [
        "v 0.000000 0.000000 0.000000",
        "v 0.000000 1.000000 -1.000000",
        "v 123.250000 -0.500000 0.000001",
    ]


def test_obj_writes_a_mesh_far_from_the_origin():
    numbers = np.array(
        [[250000.0, -1e6, 0.5], [99.984375, 4096.25, -7.0], [100.0, 99.5, -250000.0]], np.float32
    )
    three, nothing = np.zeros((3, 3), np.float32), np.zeros((3, 3), np.uint8)
    mesh = Mesh(numbers, np.array([[0, 1, 2]], np.int32), three, nothing, np.zeros((3, 2), np.float32))
    lines = [
        line.split()[1:] for line in lines_of(to_obj(mesh, TEXTURE)["mesh.obj"]) if line.startswith("v ")
    ]
    np.testing.assert_array_equal(np.array(lines, np.float64), numbers)


@pytest.mark.parametrize("count", [1, 9, 10, 11, 99, 100, 1001])
def test_corners_of_every_length_are_whole_words(count):
    words = [f"{number}/{number}/{number}" for number in range(1, count + 1)]
    assert [word.decode().strip() for word in _corner_words(count)] == words


def test_obj_material_is_bright_and_names_only_our_files():
    files = to_obj(MESH, TEXTURE)
    material = files["mesh.mtl"].decode().split("\n")
    assert "Kd 1 1 1" in material and "map_Kd texture.png" in material and "newmtl face" in material
    np.testing.assert_array_equal(decoded(files["texture.png"]), TEXTURE)


def test_obj_without_texture_carries_vertex_colours():
    files = to_obj(MESH, None)
    assert set(files) == {"mesh.obj"} and b"mtl" not in files["mesh.obj"]
    back = trimesh.load(io.BytesIO(files["mesh.obj"]), "obj", process=False, maintain_order=True)
    np.testing.assert_allclose(back.vertices, MESH.vertices, atol=0.51e-6)
    rows = np.array(
        [line.split()[4:] for line in files["mesh.obj"].decode().split("\n") if line.startswith("v ")],
        dtype=float,
    )
    np.testing.assert_array_equal(np.round(rows * 255), MESH.colors)


def test_ply_comes_back_through_trimesh_bit_for_bit():
    files = to_ply(MESH)
    back = trimesh.load(io.BytesIO(files["mesh.ply"]), "ply", process=False)
    np.testing.assert_array_equal(back.vertices.astype(np.float32), MESH.vertices)
    np.testing.assert_array_equal(back.faces, MESH.faces)
    np.testing.assert_array_equal(back.visual.vertex_colors[:, :3], MESH.colors)
    np.testing.assert_allclose(back.vertex_normals, MESH.normals, atol=1e-6)


def test_ply_header_says_units_and_axes_and_the_size_adds_up():
    data = to_ply(MESH)["mesh.ply"]
    header, body = data.split(b"end_header\n", 1)
    assert header.startswith(b"ply\nformat binary_little_endian 1.0\n")
    assert b"\ncomment units metres\n" in header and b"\ncomment y up, right-handed, facing +z\n" in header
    assert len(body) == 27 * len(MESH.vertices) + 13 * len(MESH.faces)


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


@pytest.mark.parametrize("texture", [TEXTURE, None])
def test_a_mesh_of_nothing_gives_readable_files(texture):
    assert b"\nf " not in to_obj(empty(), texture)["mesh.obj"]
    assert to_ply(empty())["mesh.ply"].endswith(b"end_header\n")
    document, binary = parse_glb(to_glb(empty(), texture)["mesh.glb"])
    assert binary == b"" and "meshes" not in document and "accessors" not in document


def test_same_mesh_gives_the_same_bytes_in_any_memory_layout():
    strided = Mesh(
        np.asfortranarray(MESH.vertices), np.asfortranarray(MESH.faces), MESH.normals, MESH.colors, MESH.uv
    )
    assert to_obj(strided, TEXTURE) == to_obj(MESH, TEXTURE)
    assert to_ply(strided) == to_ply(MESH)
    assert to_glb(strided, TEXTURE) == to_glb(MESH, TEXTURE)


def test_thirty_thousand_vertices_take_milliseconds():
    mesh = wavy(173)
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        to_obj(mesh, TEXTURE)
        best = min(best, time.perf_counter() - start)
    assert best < 0.3, best  # 40 ms on an idle core; the slack is for busy machines


def grouped():
    """The sheet as quads with a hole's worth of triangles, in two named groups."""
    a = np.arange(400).reshape(20, 20)
    quads = np.stack([a[:-1, :-1], a[1:, :-1], a[1:, 1:], a[:-1, 1:]], -1).reshape(-1, 4).astype(np.int32)
    a, b, c, d = quads[:5].T
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    none = np.zeros((0, 3), np.int32)
    return replace(MESH, groups=(Group("face", quads[5:], none), Group("left_eye", quads[:0], triangles)))


def test_obj_writes_groups_as_polygons():
    mesh = grouped()
    files = to_obj(mesh, TEXTURE, "face", "face.png")
    assert set(files) == {"face.obj", "face.mtl", "face.png"}
    text = files["face.obj"].decode()
    assert "mtllib face.mtl\n" in text and "map_Kd face.png\n" in files["face.mtl"].decode()
    face, eye = text.split("g face\n")[1].split("g left_eye\n")

    def corners(lines):
        return [[int(word.split("/")[0]) - 1 for word in line.split()[1:]] for line in lines.splitlines()]

    np.testing.assert_array_equal(corners(face), mesh.groups[0].quads)
    np.testing.assert_array_equal(corners(eye), mesh.groups[1].triangles)


def test_polygons_come_back_through_trimesh_with_the_same_vertices():
    mesh = grouped()
    files = to_obj(mesh, TEXTURE)
    back = load_obj(files)
    back = (
        back if isinstance(back, trimesh.Trimesh) else trimesh.util.concatenate(list(back.geometry.values()))
    )
    assert len(back.faces) == len(MESH.faces)
    assert back.area == pytest.approx(MESH.to_trimesh().area, rel=0.01)


def test_stl_comes_back_through_trimesh():
    data = to_stl(MESH, "face")["face.stl"]
    assert len(data) == 84 + 50 * len(MESH.faces)
    back = trimesh.load(io.BytesIO(data), "stl", process=False)
    np.testing.assert_array_equal(back.triangles.astype(np.float32), MESH.vertices[MESH.faces])
    np.testing.assert_allclose(back.face_normals, MESH.to_trimesh().face_normals, atol=1e-5)
    assert len(to_stl(empty())["mesh.stl"]) == 84


def test_names_are_the_ones_asked_for():
    assert set(to_ply(MESH, "face")) == {"face.ply"} and set(to_glb(MESH, None, "face")) == {"face.glb"}
    assert to_ply(MESH, "face")["face.ply"] == to_ply(MESH)["mesh.ply"]


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
