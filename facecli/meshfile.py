"""Mesh files back into meshes: what `export` wrote, read again by the report and the turntable."""

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from facecli.errors import InputError
from facecli.mesh import Mesh, vertex_normals


@dataclass(frozen=True, eq=False)
class Model:
    """A mesh and the pictures that its uv points into: sRGB colour, and tangent-space normals (glTF's y up)."""

    mesh: Mesh
    texture: UInt8[np.ndarray, "t t2 3"] | None = None
    normal_map: UInt8[np.ndarray, "n n2 3"] | None = None


def best_file(names: Collection[str], stem: str) -> str | None:
    """The best of a folder's files that hold this mesh, None where there is none: texture first, then speed."""
    textured = ".obj" if f"{stem}.mtl" in names else ".ply"
    return next(
        (stem + suffix for suffix in (".glb", textured, ".ply", ".obj") if stem + suffix in names), None
    )


def read_model(files: Mapping[str, bytes], name: str) -> Model:
    """The mesh file `name`; an OBJ finds its material and texture among `files`.

    Vertices keep their number and order. Colours of vertices that have none are the texture's, or grey.
    Raises InputError, and nothing else, when it is not a mesh of triangles.
    """
    import trimesh

    kind = name.rpartition(".")[2].lower()
    beside = trimesh.resolvers.ZipResolver({other: io.BytesIO(data) for other, data in files.items()})
    try:
        scene: Any = trimesh.load_scene(
            io.BytesIO(files[name]), file_type=kind, resolver=beside, process=False, maintain_order=True
        )
        parts = list(scene.geometry.values())  # of one part, since to_mesh() drops colours beside a material
        loaded = parts[0] if len(parts) == 1 else scene.to_mesh()
        vertices = np.asarray(loaded.vertices, np.float32)
        faces = np.asarray(loaded.faces, np.int32)
        if len(faces) == 0 or not np.isfinite(vertices).all():
            raise ValueError("no triangles")
        model = _model(loaded, vertices, faces)
    except Exception as exc:  # a foreign file can break a parser in any way
        raise InputError(f"{name} is not a mesh that can be read ({type(exc).__name__}: {exc})") from exc
    return model


def _model(loaded: Any, vertices: np.ndarray, faces: np.ndarray) -> Model:
    count = len(vertices)
    uv, texture, normal_map = np.zeros((count, 2), np.float32), None, None
    colors = np.full((count, 3), 190, np.uint8)
    if loaded.visual.kind == "texture" and loaded.visual.uv is not None:
        uv = np.array(loaded.visual.uv, np.float32)
        uv[:, 1] = 1 - uv[:, 1]  # trimesh counts from the bottom
        material = loaded.visual.material
        painted = loaded.vertex_attributes.get("color")  # OBJ's: sRGB, 0 to 1; its texture then is a stand-in
        light = loaded.visual.vertex_attributes.get("color")  # GLB's: linear
        if painted is None:
            texture = _pixels(getattr(material, "baseColorTexture", None) or getattr(material, "image", None))
            normal_map = _pixels(getattr(material, "normalTexture", None))
        if texture is not None:
            colors = _sampled(texture, uv)
        elif painted is not None:
            colors = np.rint(np.clip(np.asarray(painted)[:, :3], 0, 1) * 255).astype(np.uint8)
        elif light is not None:
            colors = _from_linear(np.asarray(light)[:, :3])
    elif loaded.visual.kind == "vertex":
        colors = np.asarray(loaded.visual.vertex_colors, np.uint8)[:, :3]
    mesh = Mesh(vertices, faces, vertex_normals(vertices, faces), np.ascontiguousarray(colors), uv)
    return Model(mesh, texture, normal_map)


def _pixels(picture: Any) -> np.ndarray | None:
    return None if picture is None else np.asarray(picture.convert("RGB"), np.uint8)


def _sampled(texture: UInt8[np.ndarray, "t t2 3"], uv: Float[np.ndarray, "v 2"]) -> UInt8[np.ndarray, "v 3"]:
    """The texel under each vertex."""
    height, width = texture.shape[:2]
    column = np.clip(np.rint(uv[:, 0] * width - 0.5), 0, width - 1).astype(int)
    row = np.clip(np.rint(uv[:, 1] * height - 0.5), 0, height - 1).astype(int)
    return texture[row, column]


def _from_linear(light: np.ndarray) -> UInt8[np.ndarray, "v 3"]:
    """glTF's vertex colours, integers of full range or 0 to 1, as sRGB."""
    top = np.iinfo(light.dtype).max if light.dtype.kind == "u" else 1.0
    share = np.clip(light.astype(np.float64) / top, 0, 1)
    encoded = np.where(share <= 0.0031308, share * 12.92, 1.055 * share ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)
