"""Files that other programs read back: trimesh as the judge, and our own reading of the bytes."""

import io
import re
import time
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from sheet import MESH, TEXTURE, decoded, empty, wavy

from facecli.export import _corner_words, to_glb, to_obj, to_ply, to_stl
from facecli.mesh import Group, Mesh


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


@pytest.mark.parametrize("texture", [TEXTURE, None])
def test_a_mesh_of_nothing_gives_readable_files(texture):
    assert b"\nf " not in to_obj(empty(), texture)["mesh.obj"]
    assert to_ply(empty())["mesh.ply"].endswith(b"end_header\n")


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
