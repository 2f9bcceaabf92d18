"""Mesh -> files, as {name: bytes}: OBJ with its material and texture, PLY, GLB, STL.

All are in the mesh's own frame: metres, right-handed, y up, facing +z. Names inside the files are fixed;
nothing that a user chose enters them. Colours and textures are sRGB. OBJ and PLY say unit and axes in
comments; glTF defines them.
"""

import json
import struct
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from facecli.mesh import Mesh

_HEADER = b"# facecli\n# units: metres, y up, right-handed, facing +z\n"
_MATERIAL = "# facecli\nnewmtl face\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {picture}\n"

_FLOAT, _UNSIGNED_INT, _UNSIGNED_SHORT = 5126, 5125, 5123  # glTF component types
_VERTEX_DATA, _TRIANGLE_DATA = 34962, 34963  # glTF buffer targets
_LINEAR, _MIPMAP, _CLAMP = 9729, 9987, 33071


def to_obj(
    mesh: Mesh, texture: UInt8[np.ndarray, "t t 3"] | None, name: str = "mesh", picture: str = "texture.png"
) -> dict[str, bytes]:
    """NAME.obj (micrometre decimals), with NAME.mtl and the picture if there is a texture.

    Without a texture the vertices carry their colours (`v x y z r g b`, 0 to 1, as MeshLab and Blender read
    them). Texture coordinates have OBJ's origin, bottom left: v is flipped from `mesh.uv`. A mesh with groups
    is written as their polygons, each group after its `g` line.
    """
    uv = np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], axis=1)
    places = mesh.vertices
    if texture is None:
        places = np.concatenate([places, mesh.colors / 255.0], axis=1)
    parts = [_HEADER]
    if texture is not None:
        parts.append(f"mtllib {name}.mtl\n".encode("ascii"))
    parts += [_lines(b"v", places, 6), _lines(b"vt", uv, 6), _lines(b"vn", mesh.normals, 4)]
    if texture is not None:
        parts.append(b"usemtl face\n")
    corner = _corner_words(len(mesh.vertices))
    if not mesh.groups:
        parts.append(_joined(b"f", corner.take(mesh.faces, axis=0)))
    for group in mesh.groups:
        parts.append(f"g {group.name}\n".encode("ascii"))
        parts += [_joined(b"f", corner.take(polygons, axis=0)) for polygons in (group.quads, group.triangles)]
    files = {f"{name}.obj": b"".join(parts)}
    if texture is not None:
        files |= {f"{name}.mtl": _MATERIAL.format(picture=picture).encode("ascii"), picture: _png(texture)}
    return files


def to_ply(mesh: Mesh, name: str = "mesh") -> dict[str, bytes]:
    """NAME.ply: binary little endian, normals, uchar colours."""
    vertices = np.zeros(len(mesh.vertices), [("place", "<f4", 3), ("normal", "<f4", 3), ("color", "u1", 3)])
    vertices["place"], vertices["normal"], vertices["color"] = mesh.vertices, mesh.normals, mesh.colors
    faces = np.zeros(len(mesh.faces), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment facecli",
        "comment units metres",
        "comment y up, right-handed, facing +z",
        f"element vertex {len(vertices)}",
        *(f"property float {name}" for name in ("x", "y", "z", "nx", "ny", "nz")),
        *(f"property uchar {name}" for name in ("red", "green", "blue")),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    return {f"{name}.ply": "\n".join(header).encode("ascii") + vertices.tobytes() + faces.tobytes()}


def to_stl(mesh: Mesh, name: str = "mesh") -> dict[str, bytes]:
    """NAME.stl: binary, triangles with their normals and nothing else; metres."""
    corners = mesh.vertices[mesh.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    facets = np.zeros(len(corners), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("spare", "<u2")])
    facets["normal"], facets["corners"] = normal / np.where(length == 0, 1, length), corners
    header = b"facecli, metres, y up, right-handed, facing +z".ljust(80)
    return {f"{name}.stl": header + struct.pack("<I", len(facets)) + facets.tobytes()}


def to_glb(
    mesh: Mesh,
    texture: UInt8[np.ndarray, "t t 3"] | None,
    name: str = "mesh",
    normal_map: UInt8[np.ndarray, "n n 3"] | None = None,
) -> dict[str, bytes]:
    """NAME.glb: glTF 2.0 with the texture inside; without a texture the vertices carry their colours.

    A matt material of full base colour (glTF multiplies texture, factor and vertex colours), visible from
    both sides because the surface is open. normal_map: tangent space, green up, on the texture's coordinates.
    """
    glb = _Glb()
    attributes = {
        "POSITION": glb.accessor(mesh.vertices.astype("<f4"), "VEC3", _FLOAT, bounds=True),
        "NORMAL": glb.accessor(mesh.normals.astype("<f4"), "VEC3", _FLOAT),
        "TEXCOORD_0": glb.accessor(mesh.uv.astype("<f4"), "VEC2", _FLOAT),
    }
    if normal_map is not None:
        attributes["TANGENT"] = glb.accessor(_tangents(mesh).astype("<f4"), "VEC4", _FLOAT)
    surface: dict[str, Any] = {"baseColorFactor": [1, 1, 1, 1], "metallicFactor": 0, "roughnessFactor": 1}
    document: dict[str, Any] = {"asset": {"version": "2.0", "generator": "facecli"}}
    material: dict[str, Any] = {"name": "face", "pbrMetallicRoughness": surface, "doubleSided": True}
    pictures = {"texture": texture, "normal": normal_map}
    for place, (title, picture) in enumerate((k, p) for k, p in pictures.items() if p is not None):
        image = {"bufferView": glb.view(_png(picture)), "mimeType": "image/png", "name": title}
        document.setdefault("images", []).append(image)
        document.setdefault("textures", []).append({"source": place, "sampler": 0})
        document["samplers"] = [
            {"magFilter": _LINEAR, "minFilter": _MIPMAP, "wrapS": _CLAMP, "wrapT": _CLAMP}
        ]
        into, key = (surface, "baseColorTexture") if title == "texture" else (material, "normalTexture")
        into[key] = {"index": place}
    if texture is None:
        # glTF's vertex colours are linear light; four shorts keep the 4-byte alignment it asks for.
        light = np.full((len(mesh.colors), 4), 65535, "<u2")
        light[:, :3] = np.round(_LINEAR_LIGHT[mesh.colors] * 65535)
        attributes["COLOR_0"] = glb.accessor(light, "VEC4", _UNSIGNED_SHORT, normalized=True)
    triangles = glb.accessor(
        mesh.faces.astype("<u4").reshape(-1), "SCALAR", _UNSIGNED_INT, target=_TRIANGLE_DATA
    )
    if len(
        mesh.faces
    ):  # glTF forbids accessors of nothing; a face without a surface is a scene without a mesh
        primitive = {"attributes": attributes, "indices": triangles, "material": 0}
        document |= {
            "meshes": [{"name": "face", "primitives": [primitive]}],
            "materials": [material],
            "nodes": [{"name": "face", "mesh": 0}],
            "scenes": [{"nodes": [0]}],
            "scene": 0,
        }
        return {f"{name}.glb": glb.assemble(document)}
    return {f"{name}.glb": _Glb().assemble({"asset": document["asset"], "scenes": [{}], "scene": 0})}


def _tangents(mesh: Mesh) -> Float[np.ndarray, "v 4"]:
    """Unit tangents along u, at right angles to the normals, and the sign of the bitangent: towards smaller v, as
    glTF has it (section 3.7.2.1), whose pictures start at the top."""
    a, b, c = mesh.faces.T
    (du1, dv1), (du2, dv2) = (mesh.uv[b] - mesh.uv[a]).T, (mesh.uv[c] - mesh.uv[a]).T
    first, second = mesh.vertices[b] - mesh.vertices[a], mesh.vertices[c] - mesh.vertices[a]
    # Over each triangle the surface moves by this per u, weighted by the triangle's area in the texture.
    along = (first * dv2[:, None] - second * dv1[:, None]) * np.sign(du1 * dv2 - du2 * dv1)[:, None]
    total = np.stack(
        [sum(np.bincount(corner, along[:, k], len(mesh.vertices)) for corner in (a, b, c)) for k in range(3)],
        1,
    )
    total -= np.einsum("ij,ij->i", total, mesh.normals)[:, None] * mesh.normals
    length = np.linalg.norm(total, axis=1, keepdims=True)
    # Where the texture gives no direction, any that is at right angles to the normal.
    spare = np.cross(mesh.normals, np.roll(mesh.normals, 1, axis=1) + np.array([0.1, 0.2, 0.3]))
    total = np.where(length > 1e-9, total, spare)
    tangent = total / np.linalg.norm(total, axis=1, keepdims=True)
    return np.concatenate([tangent, np.ones((len(tangent), 1))], axis=1)


class _Glb:
    """The binary half of a GLB while it grows, and the tables that describe it."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, data: bytes, target: int | None = None) -> int:
        """Adds bytes, padded to a multiple of four; returns the number of the buffer view."""
        described = {"buffer": 0, "byteOffset": self.size, "byteLength": len(data)}
        self.views.append(described | ({} if target is None else {"target": target}))
        padded = data + b"\0" * (-len(data) % 4)
        self.parts.append(padded)
        self.size += len(padded)
        return len(self.views) - 1

    def accessor(
        self,
        values: np.ndarray,
        kind: str,
        component: int,
        target: int = _VERTEX_DATA,
        bounds: bool = False,
        normalized: bool = False,
    ) -> int:
        """Adds an array, first axis the elements; returns the number of the accessor."""
        described = {
            "bufferView": self.view(values.tobytes(), target),
            "componentType": component,
            "count": len(values),
            "type": kind,
        }
        if bounds and len(values):
            described |= {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}
        if normalized:
            described["normalized"] = True
        self.accessors.append(described)
        return len(self.accessors) - 1

    def assemble(self, document: dict[str, Any]) -> bytes:
        """The file: header, JSON chunk, binary chunk (glTF 2.0, section 4.4)."""
        if self.size:
            document = document | {
                "accessors": self.accessors,
                "bufferViews": self.views,
                "buffers": [{"byteLength": self.size}],
            }
        text = json.dumps(document, separators=(",", ":")).encode("ascii")
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text
        if self.size:
            chunks += struct.pack("<I4s", self.size, b"BIN\0") + b"".join(self.parts)
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _png(texture: UInt8[np.ndarray, "t t 3"]) -> bytes:
    from facecli.images import encode_png

    return encode_png(texture)


_SRGB = np.arange(256) / 255.0
_LINEAR_LIGHT = np.where(_SRGB <= 0.04045, _SRGB / 12.92, ((_SRGB + 0.055) / 1.055) ** 2.4)


# Text is looked up rather than formatted: a number is its last four digits and what stands before them, of which a mesh
# has few kinds. Spaces before shorter words make all of a kind as wide, so that the lines are one array: twenty times
# as fast as formatting number by number.
_FOUR_DIGITS = 10_000


def _lines(keyword: bytes, values: Float[np.ndarray, "n k"], decimals: int) -> bytes:
    """One line per row: the keyword and the numbers, rounded to `decimals`, which are four or more."""
    scaled = np.round(np.abs(values.astype(np.float64)) * 10**decimals).astype(np.int64)
    high, low = np.divmod(scaled, _FOUR_DIGITS)
    count = int(high.max(initial=0)) + 1
    kinds, which = (np.arange(count), high) if count < _FOUR_DIGITS else np.unique(high, return_inverse=True)
    shown = decimals - 4
    heads = [f" {kind / 10**shown:.{shown}f}" + "." * (shown == 0) for kind in kinds.tolist()]
    heads += [f" -{head[1:]}" for head in heads]
    negative = (values < 0) & (scaled > 0)
    head = _words(heads).take(which.reshape(high.shape) + len(kinds) * negative)
    words = np.empty(values.shape, [("head", head.dtype), ("tail", "S4")])
    words["head"], words["tail"] = head, _last_digits().take(low)
    return _joined(keyword, words)


def _corner_words(count: int) -> Shaped[np.ndarray, "count"]:
    """` a/a/a` for each vertex: place, texture coordinate and normal have the same number, from 1."""
    width = len(str(count))
    number, digits = np.arange(1, count + 1), np.empty((count, width), np.uint8)
    for place in range(width):
        digits[:, -1 - place] = number // 10**place % 10 + ord("0")
    words = np.full((count, 3 * width + 3), ord(" "), np.uint8)
    for length in range(1, width + 1):
        some = slice(10 ** (length - 1) - 1, 10**length - 1)
        for end, before in ((-2 * length - 2, " "), (-length - 1, "/"), (0, "/")):
            last = 3 * width + 3 + end
            words[some, last - length : last] = digits[some, width - length :]
            words[some, last - length - 1] = ord(before)
    return words.view(f"S{words.shape[1]}")[:, 0]


@cache
def _last_digits() -> Shaped[np.ndarray, "10000"]:
    return np.array([b"%04d" % number for number in range(_FOUR_DIGITS)])


def _words(texts: list[str]) -> Shaped[np.ndarray, " n"]:
    """ASCII of one width, filled up with spaces from the left."""
    width = max(map(len, texts), default=1)
    return np.array([text.rjust(width).encode("ascii") for text in texts], f"S{width}")


def _joined(keyword: bytes, words: Shaped[np.ndarray, "n k"]) -> bytes:
    fields = [("keyword", f"S{len(keyword)}"), ("words", words.dtype, words.shape[1:]), ("end", "S1")]
    lines = np.empty(len(words), np.dtype(fields))
    lines["keyword"], lines["words"], lines["end"] = keyword, words, b"\n"
    return lines.tobytes()
