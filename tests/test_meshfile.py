"""What export wrote comes back, vertex by vertex."""

import numpy as np
import pytest
from results import dome

from facecli import export
from facecli.errors import InputError
from facecli.meshfile import best_file, read_model

TEXTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)


@pytest.mark.parametrize("textured", [False, True])
@pytest.mark.parametrize("kind", ["glb", "ply", "obj"])
def test_every_format_comes_back_with_its_order_colours_and_texture(kind, textured):
    mesh = dome()
    picture = TEXTURE if textured else None
    files = {
        "glb": lambda: export.to_glb(mesh, picture),
        "obj": lambda: export.to_obj(mesh, picture),
        "ply": lambda: export.to_ply(mesh),
    }[kind]()
    model = read_model(files, f"mesh.{kind}")
    np.testing.assert_allclose(model.mesh.vertices, mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(model.mesh.faces, mesh.faces)
    assert (np.einsum("ij,ij->i", model.mesh.normals, mesh.normals) > 0.999).all()
    if kind == "ply" or not textured:
        assert model.texture is None
        np.testing.assert_allclose(model.mesh.colors.astype(int), mesh.colors, atol=1)
    else:
        np.testing.assert_array_equal(model.texture, TEXTURE)
        np.testing.assert_allclose(model.mesh.uv, mesh.uv, atol=1e-5)
        column, row = np.clip(np.rint(mesh.uv * 64 - 0.5), 0, 63).astype(int).T
        np.testing.assert_array_equal(model.mesh.colors, TEXTURE[row, column])


@pytest.mark.parametrize(
    ("names", "best"),
    [
        (["face.ply", "face.obj", "face.glb", "face.mtl"], "face.glb"),
        (["face.ply", "face.obj", "face.mtl"], "face.obj"),
        (["face.ply", "face.obj"], "face.ply"),
        (["face.obj"], "face.obj"),
        (["mesh.glb", "face.png"], None),
    ],
)
def test_the_file_with_a_texture_is_the_best(names, best):
    assert best_file(names, "face") == best


@pytest.mark.parametrize("kind", ["glb", "ply", "obj", "stl"])
@pytest.mark.parametrize(
    "data", [b"", b"not a mesh", b"ply\nformat ascii 1.0\nend_header\n", b"glTF\2\0\0\0\xff"]
)
def test_what_is_no_mesh_is_one_error(kind, data):
    with pytest.raises(InputError, match=f"mesh.{kind} is not a mesh that can be read"):
        read_model({f"mesh.{kind}": data}, f"mesh.{kind}")


def test_an_empty_mesh_and_one_cut_short_are_refused():
    whole = export.to_ply(dome())["mesh.ply"]
    with pytest.raises(InputError):
        read_model({"a.ply": whole[: len(whole) // 2]}, "a.ply")
