"""MakeHuman's head under the head model: the model is bent onto it, and each texel finds where it comes to lie."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from facecli.train import registration
from facecli.train.headmodel import BACK, FACE, HeadModel
from facecli.train.lift import TEXTURE
from facecli.train.raster import interpolate, pieces, rasterize
from facecli.train.registration import spread

BACK_TEXTURE = 256
"""Side of the texture of the back of the head, neck and shoulders: 1.3 mm a texel."""
LOWEST = 5.2
"""Of MakeHuman's body only what is higher than this is a head with its shoulders, dm."""
MM = 100.0
"""In a dm."""
PLACES = Path(__file__).with_name("makehuman_points.txt")
"""The same points on MakeHuman's head, dm, and on the mean head, mm: of the iBUG 68, the lids and the ears."""
NEAREST = 4


@dataclass(frozen=True, eq=False)
class Body:
    """MakeHuman's head and shoulders. vertices: mm, y up, nose to +z; uv: as in OBJ, v up."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "u 2"]
    corner_uv: Int[np.ndarray, "f 3"]

    @classmethod
    def load(cls, obj: Path) -> "Body":
        """The group `body` of MakeHuman's base mesh, down to the shoulders."""
        vertices, uv, corners, group = [], [], [], ""
        for line in obj.read_text().splitlines():
            kind, *words = line.split() or [""]
            if kind == "v":
                vertices.append([float(word) for word in words])
            elif kind == "vt":
                uv.append([float(word) for word in words[:2]])
            elif kind == "g":
                group = words[0]
            elif kind == "f" and group == "body":
                quad = [[int(n) - 1 for n in word.split("/")] for word in words]
                corners += [[quad[0], quad[k - 1], quad[k]] for k in range(2, len(quad))]
        points, triangles = np.array(vertices), np.array(corners, np.int32)
        kept = triangles[(points[triangles[..., 0], 1] > LOWEST).all(1)]
        kept = kept[_outside(kept[..., 1])]
        return cls(points * MM, kept[..., 0].copy(), np.array(uv), kept[..., 1].copy())


def _outside(corners: Int[np.ndarray, "f 3"]) -> Bool[np.ndarray, "f"]:
    """Triangles of the two largest pieces of a texture: head and trunk, without sockets and mouth."""
    piece = pieces(corners)
    return np.isin(piece, np.argsort(np.bincount(piece))[-2:])


def register(model: HeadModel, body: Body) -> Float[np.ndarray, "v 3"]:
    """The head model's vertices laid on MakeHuman's surface, mm of MakeHuman's."""
    theirs, ours = np.split(np.loadtxt(PLACES), 2, axis=1)
    return registration.register(model, body.vertices, body.faces, theirs * MM, ours)


def _spread(
    body: Body, values: Float[np.ndarray, "v c"]
) -> tuple[Float[np.ndarray, "p c"], Float[np.ndarray, "p 2"]]:
    """Values of vertices, and texture coordinates, at evenly spaced points of every triangle."""
    return spread(values, body.faces), spread(body.uv, body.corner_uv)


@dataclass(frozen=True, eq=False)
class Chart:
    """Where on MakeHuman's texture (v up) each texel of a texture of ours finds its colour, at several places with
    their shares; `place`: the texel's on the mean head, mm; `drawn`: whether it is of the surface, and not beside."""

    uv: Float[np.ndarray, "t t n 2"]
    shares: Float[np.ndarray, "t t n"]
    place: Float[np.ndarray, "t t 3"]
    drawn: Bool[np.ndarray, "t t"]

    def baked(self, texture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "t t 3"]:
        """MakeHuman's texture in our layout; what lies beside the surface is the nearest of it."""
        height, width = texture.shape[:2]
        x, y = self.uv[..., 0] * width - 0.5, (1 - self.uv[..., 1]) * height - 0.5
        side = len(x)
        columns, rows = (np.ascontiguousarray(a, np.float32).reshape(side, -1) for a in (x, y))
        colours = cv2.remap(texture, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        mean = (colours.reshape(side, side, NEAREST, 3) * self.shares[..., None]).sum(2)
        return np.asarray(np.rint(mean), np.uint8)


def charts(model: HeadModel, body: Body) -> tuple[Chart, Chart]:
    """For the textures of the face and of the back of the head."""
    from scipy.spatial import cKDTree

    placed = register(model, body).astype(np.float32)
    dense, uv = _spread(body, body.vertices)
    tree = cKDTree(dense)
    made = []
    for part, tile, size in ((FACE, 0, TEXTURE), (BACK, 1, BACK_TEXTURE)):
        triangles = np.flatnonzero(model.part == part)
        texel = (model.uv - [tile, 0]) * [size, -size] + [-0.5, size - 0.5]
        index, bary, _ = rasterize(texel, np.ones(len(texel)), model.corner_uv[triangles], size, size)
        drawn = index >= 0
        both = np.c_[placed, model.neutral]
        points, place = np.split(
            interpolate(both, model.faces[triangles], index, bary)[_nearest(drawn)], 2, -1
        )
        apart, found = tree.query(points, NEAREST)
        shares = 1 / np.maximum(apart, 0.1)
        shares /= shares.sum(-1, keepdims=True)
        made.append(Chart(uv[found].astype(np.float32), shares.astype(np.float32), place, drawn))
    return made[0], made[1]


def _nearest(drawn: Bool[np.ndarray, "t t"]) -> tuple[Int[np.ndarray, "t t"], ...]:
    """Rows and columns of the drawn texels nearest to all."""
    from scipy.ndimage import distance_transform_edt

    return tuple(distance_transform_edt(~drawn, return_distances=False, return_indices=True))
