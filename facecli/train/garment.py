"""Fringes, hats, hoods, masks and scarves: shells over the head, cut to shape by the alpha of their texture."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from facecli.train.hair import Hair, draw_hair, hair_colour, lay
from facecli.train.headmodel import BACK, FACE, HeadModel
from facecli.train.props import Projection
from facecli.train.raster import vertex_normals

COLUMNS, ROWS = 1024, 512
"""A texture spans all azimuths about the head's axis, 0 (the nose) in the middle, and heights from TOP downwards."""
TOP, TALL = 130.0, 340.0
"""Millimetres of the template's height."""
AXIS = -15.0
"""Template z of the axis that azimuths go about, mm."""
BANK = 24
"""Textures of each sort; a sample mirrors and colours one."""
SMOOTHINGS = 8
"""A cloth spans hollows: averages over the neighbours before it is laid outside the skin."""
SORTS = ("fringe", "beanie", "cap", "hood", "mask", "scarf")
OFTEN = (0.42, 0.14, 0.12, 0.07, 0.15, 0.10)
DYES = np.array(
    [[60, 60, 200], [40, 150, 170], [190, 60, 130], [220, 110, 40], [70, 150, 70], [220, 190, 90]]
)

SURGICAL = np.array([[150, 195, 225], [235, 235, 235], [40, 40, 44]])


@dataclass(frozen=True)
class Pattern:
    """Brightness and alpha of one garment, as laid around the head; how far it stands off, mm."""

    texture: UInt8[np.ndarray, "h w 4"]
    standing_off: float


class Wardrobe:
    """What can be put on heads of one model; holds what is the same for all of them."""

    def __init__(self, model: HeadModel) -> None:
        skin = model.faces[(model.part == FACE) | (model.part == BACK)]
        self.faces = np.concatenate([skin, _over_the_mouth(model, skin)]).astype(np.int32)
        self.count = int(self.faces.max()) + 1
        x, y, z = model.neutral[: self.count].T
        azimuth = np.arctan2(x, z - AXIS)
        self.height = y
        self.outward = np.c_[np.sin(azimuth), np.clip((y - 50) / 70, 0, 2), np.cos(azimuth)].astype(
            np.float32
        )
        self.outward /= np.linalg.norm(self.outward, axis=1, keepdims=True)
        corner = azimuth[self.faces] / (2 * np.pi)
        corner += (np.ptp(corner, axis=1, keepdims=True) > 0.5) & (corner < 0)  # across the seam behind
        rows = np.clip((TOP - y[self.faces]) / TALL * ROWS, 1, ROWS - 2)  # a texture repeats
        self.texel = np.stack([(corner + 0.5) * COLUMNS - 0.5, rows], -1).astype(np.float32)
        self.neighbours = _neighbours(self.faces, self.count)

    def put_on(
        self,
        rng: np.random.Generator,
        sort: str,
        vertices: Float[np.ndarray, "v 3"],
        tone: Float[np.ndarray, "3"],
    ) -> tuple[Hair, Float[np.ndarray, "3"]]:
        """One garment of a sort on one head (mm, head frame), and what its brightness is to be multiplied by.

        tone: of hair, linear, for fringes.
        """
        pattern = bank(sort)[rng.integers(BANK)]
        shell = vertices[: self.count]
        room = np.full((self.count, 1), pattern.standing_off * rng.uniform(0.8, 1.2))
        if sort == "fringe":  # hair stands off more the higher it grows
            room *= np.clip((self.height + 10) / 80, 0.35, 1.0)[:, None]
        else:
            skin = shell
            for _ in range(SMOOTHINGS):
                shell = self.neighbours @ shell
            beneath = np.maximum(((skin - shell) * self.outward).sum(1), 0)
            for _ in range(SMOOTHINGS):
                beneath = np.maximum(beneath, self.neighbours @ beneath)
            room += beneath[:, None]
        shell = (shell + self.outward * room).astype(np.float32)
        faces, texel = self.faces, self.texel
        if rng.random() < 0.5:
            texel = texel * np.array([-1, 1], np.float32) + np.array([COLUMNS - 1, 0], np.float32)
        if sort == "cap":
            brow = shell[np.argmin(np.abs(self.height - 44) + 9 * (self.outward[:, 2] < 0.98))]
            shell, faces, texel = _with_brim(rng, shell, faces, texel, brow)
        return Hair(shell, faces, texel, pattern.texture), _tint(rng, sort, tone)

    def dress(
        self,
        rng: np.random.Generator,
        vertices: Float[np.ndarray, "v 3"],
        to_pixels: Projection,
        bare: Float[np.ndarray, "s s"],
        hairy: Float[np.ndarray, "s s"],
        image: Float[np.ndarray, "s s 3"],
        brightness: Callable[[Float[np.ndarray, "w 3"]], Float[np.ndarray, "w"]],
    ) -> Bool[np.ndarray, "s s"]:
        """A garment of any sort on the head in `image`, in place; returns where it is.

        vertices: mm, head frame; bare, hairy: 1 / depth of the head without and with its hair, hats press that down;
        brightness: of unit normals in the camera frame.
        """
        sort = str(rng.choice(SORTS, p=OFTEN))
        garment, tint = self.put_on(rng, sort, vertices, hair_colour(rng))
        depth = (garment.vertices @ to_pixels.rotation.T + to_pixels.translation)[:, 2]
        normals = vertex_normals(garment.vertices, garment.faces) @ to_pixels.rotation.T.astype(np.float32)
        zbuffer = hairy if sort == "fringe" else bare
        return draw_garment(
            garment, tint, to_pixels(garment.vertices), depth, brightness(normals), zbuffer, image,
            rng.uniform(0, 0.5),
        )  # fmt: skip


def _over_the_mouth(model: HeadModel, skin: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "g 3"]:
    """Triangles between the inner rims of the lips: cloth spans a mouth, however wide it is open.

    The rims run along the mesh from landmark to landmark; on straight lines between those, gaps would stay.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import dijkstra

    ends = np.concatenate([skin[:, [0, 1]], skin[:, [1, 2]], skin[:, [2, 0]]]).T
    count = int(skin.max()) + 1
    length = np.linalg.norm(model.neutral[ends[0]] - model.neutral[ends[1]], axis=1)
    edges = coo_matrix((length, ends), (count, count)).tocsr()

    def rim(marks: list[int]) -> list[int]:
        path = [int(model.landmark_vertices[marks[0]])]
        for mark in marks[1:]:
            start, at = path[-1], int(model.landmark_vertices[mark])
            _, before = dijkstra(edges, directed=False, indices=start, return_predecessors=True)
            steps = [at]
            while before[steps[-1]] != start:
                steps.append(int(before[steps[-1]]))
            path += steps[::-1]
        return path

    upper, lower = rim([60, 61, 62, 63, 64]), rim([60, 67, 66, 65, 64])
    x = model.neutral[:, 0]
    i = j = 0
    triangles = []
    while i + 1 < len(upper) or j + 1 < len(lower):  # on along the rim that lags behind
        if j + 1 == len(lower) or (i + 1 < len(upper) and x[upper[i + 1]] < x[lower[j + 1]]):
            triangles.append((upper[i], lower[j], upper[i + 1]))
            i += 1
        else:
            triangles.append((upper[i], lower[j], lower[j + 1]))
            j += 1
    return np.array([t for t in triangles if len(set(t)) == 3], np.int32)


def draw_garment(
    garment: Hair,
    tint: Float[np.ndarray, "3"],
    pixels: Float[np.ndarray, "v 2"],
    depth: Float[np.ndarray, "v"],
    shade: Float[np.ndarray, "v"],
    zbuffer: Float[np.ndarray, "s s"],
    image: Float[np.ndarray, "s s 3"],
    contact: float,
) -> Bool[np.ndarray, "s s"]:
    """Over the image, in place, with a shadow of strength `contact` where it ends; returns where it is."""
    colour, drawn = draw_hair(garment, pixels, depth, shade, zbuffer)
    colour *= tint.astype(np.float32)
    size = len(image)
    slit = np.ones((1 + 2 * (size // 256),) * 2, np.uint8)  # between the lips, a pixel wide
    cover = np.asarray(cv2.morphologyEx(drawn.astype(np.uint8), cv2.MORPH_CLOSE, slit) > 0)
    near = np.asarray(cv2.GaussianBlur(cover.astype(np.float32), (0, 0), size / 36))
    image *= 1 - contact * near[..., None]
    lay(image, colour, drawn, 0.7 * size / 256, cover)
    return cover


@lru_cache(maxsize=len(SORTS))
def bank(sort: str) -> list[Pattern]:
    """The patterns of a sort, the same in every process."""
    rng = np.random.default_rng([SORTS.index(sort), 20])
    return [_hair(rng) if sort == "fringe" else _cloth(rng, sort) for _ in range(BANK)]


def _hair(rng: np.random.Generator) -> Pattern:
    """Hair combed down the forehead: straight, parted, swept aside, short, or a few strands."""
    height, azimuth = _grid()
    degrees = azimuth[0]
    style = rng.choice(["straight", "parted", "swept", "short", "strands"], p=[0.3, 0.2, 0.2, 0.15, 0.15])
    low = rng.uniform(-2, 40)
    if style == "straight":
        line = np.full(COLUMNS, low)
    elif style == "parted":
        line = low - 15 + (95 - low) * np.exp(-(((degrees - rng.normal(0, 12)) / rng.uniform(12, 30)) ** 2))
    elif style == "swept":
        line = 35 + np.clip(degrees / rng.uniform(30, 60), -1, 1) * rng.uniform(25, 45)
    else:
        line = np.full(COLUMNS, rng.uniform(42, 72) if style == "short" else rng.uniform(0, 30))
    sides = rng.choice([-115.0, -60.0, -25.0, 10.0], p=[0.35, 0.2, 0.2, 0.25]) + rng.normal(0, 8)
    begins = rng.uniform(42, 72)
    aside = 1 / (1 + np.exp((begins - np.abs(degrees)) / 3))
    line = line * (1 - aside) + sides * aside
    tuft = _noise(rng, 1, COLUMNS // int(rng.integers(8, 26)))[0] - 0.5
    line = line + tuft * rng.uniform(6, 34) * (1 - 0.5 * aside)
    fine, tufts = _noise(rng, 14, COLUMNS // 2), _noise(rng, 8, COLUMNS // int(rng.integers(8, 20)))
    taper = rng.uniform(4, 26)
    above = (height - line) / taper
    dense = above > 0.4 + 1.1 * (fine - 0.6) + 0.8 * (tufts - 0.5)
    if style == "strands":
        dense &= (tufts * 0.5 + fine * 0.5 > rng.uniform(0.5, 0.62)) | (above * taper > 45) | (aside > 0.5)
    streaks = 70 + 100 * tufts * rng.uniform(0.4, 1) + 85 * fine
    shine = np.exp(-(((height - rng.uniform(30, 80)) / 22) ** 2)) * rng.uniform(0, 70)
    grey = np.clip(streaks + shine * fine * 2 - 40 * np.clip(1 - above / 3, 0, 1), 5, 255)
    rows, columns = np.mgrid[0:ROWS, 0:COLUMNS].astype(np.float32)
    down = np.clip((95 - height) / 100, 0, 1.5) ** 1.3
    across = rng.normal(0, 26) * down * (1 - aside) + rng.uniform(0, 9) * np.sin(
        rows / rng.uniform(9, 40) + columns / rng.uniform(20, 90)
    )
    moved = ((columns + across) % COLUMNS).astype(np.float32)
    both = [
        cv2.remap(plane.astype(np.float32), moved, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for plane in (grey, dense * 255.0)
    ]
    return Pattern(_texture(*both), rng.uniform(4, 11))


def _cloth(rng: np.random.Generator, sort: str) -> Pattern:
    """A hat, hood, mask or scarf: its outline, and knit, folds, stripes or nothing on it."""
    height, degrees = _grid()
    behind = (1 - np.cos(np.deg2rad(degrees))) / 2
    wave = (_noise(rng, 1, 12) - 0.5) * rng.uniform(0, 14)
    level = rng.uniform(22, 62) + wave + rng.normal(0, 0.08) * degrees
    edge = np.zeros_like(height)
    off = rng.uniform(4, 9)
    if sort in ("beanie", "cap"):
        level = level if sort == "beanie" else np.full_like(level, 44.0)
        inside = height > level - behind * rng.uniform(0, 50)
        edge = (height - level < rng.uniform(25, 45)) * rng.uniform(-45, 35)
        off = rng.choice([rng.uniform(5, 9), rng.uniform(12, 24)], p=[0.75, 0.25])
    elif sort == "hood":
        middle, wide, tall = rng.uniform(-35, -15), rng.uniform(48, 74), rng.uniform(62, 88)
        inside = (degrees / wide) ** 2 + ((height - middle) / tall) ** 2 > 1 + wave / 60
        off = rng.uniform(8, 14)
    elif sort == "mask":
        wide = rng.uniform(58, 80)
        nose = rng.uniform(-52, -8)
        slope = rng.uniform(0.05, 0.35)
        top = nose - slope * np.abs(degrees) + wave / 4
        inside = (np.abs(degrees) < wide) & (height < top) & (height > rng.uniform(-146, -120))
        for strap in (rng.uniform(-20, 0), rng.uniform(-95, -70)):
            reach = (np.abs(degrees) - wide * 0.96) / 30
            centre = strap + (rng.uniform(-8, 8) - strap) * np.clip(reach, 0, 1) * 0.8
            inside |= (np.abs(height - np.minimum(centre, top)) < 1.8) & (reach > -0.1) & (reach < 1.1)
        off = rng.uniform(2.5, 5)
    else:
        inside = height < rng.uniform(-92, -22) + wave * 1.5 + 12 * np.cos(np.deg2rad(degrees) * 2)
        off = rng.uniform(5, 14)
    weave = rng.choice(["plain", "knit", "folds", "stripes", "checks"])
    if sort == "mask":
        weave = rng.choice(["plain", "pleats"])
    grey = 165 + edge + 24 * (_noise(rng, 14, 24) - 0.5) + 10 * (_noise(rng, ROWS // 2, COLUMNS // 2) - 0.5)
    period = rng.uniform(3, 12)
    if weave == "knit":
        grey = grey + 34 * np.sin(degrees * 2 * np.pi / rng.uniform(2, 5)) * np.abs(
            np.sin(height / rng.uniform(1, 4))
        )
    elif weave == "folds":
        bent = height + 40 * _noise(rng, 3, 8) + degrees * rng.uniform(-0.5, 0.5)
        grey = grey + 45 * np.sin(bent / period)
    elif weave == "stripes":
        grey = grey + rng.uniform(-90, 60) * (np.sin(height * np.pi / period) > 0)
    elif weave == "checks":
        stripes = (np.sin(height / period) > 0.3).astype(float) + (np.sin(degrees * 1.6 / period) > 0.3)
        grey = grey - rng.uniform(20, 60) * stripes
    elif weave == "pleats":
        for pleat in rng.uniform(-100, -45, 3):
            grey = grey - 38 * np.exp(-(((height - pleat) / 1.6) ** 2))
    return Pattern(_texture(np.clip(grey, 5, 255), inside * 255), float(off))


def _texture(grey: Float[np.ndarray, "h w"], alpha: Shaped[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 4"]:
    light = grey.astype(np.uint8)
    return np.asarray(cv2.merge([light, light, light, alpha.astype(np.uint8)]))


def _tint(rng: np.random.Generator, sort: str, tone: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    """What brightness 165 becomes, as a factor of it, sRGB."""
    if sort == "fringe":
        tint = tone ** (1 / 2.2) * 255 * 1.35
        if rng.random() < 0.15:
            tint = DYES[rng.integers(len(DYES))] * rng.uniform(0.6, 1.3)
    elif sort == "mask" and rng.random() < 0.6:
        tint = SURGICAL[rng.integers(len(SURGICAL))] * rng.uniform(0.9, 1.1)
    else:
        tint = rng.uniform(15, 250) + rng.normal(0, 45, 3)
    return np.asarray(np.clip(tint, 8, 300) / 165)


def _with_brim(
    rng: np.random.Generator,
    shell: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    texel: Float[np.ndarray, "f 3 2"],
    brow: Float[np.ndarray, "3"],
) -> tuple[Float[np.ndarray, "w 3"], Int[np.ndarray, "g 3"], Float[np.ndarray, "g 3 2"]]:
    """The shell with a peak that begins at `brow` and juts forward, or, wide enough, a brim all around."""
    around = rng.random() < 0.35
    half = np.pi if around else np.deg2rad(rng.uniform(48, 66))
    angle, along = np.meshgrid(np.linspace(-half, half, 41), np.linspace(-0.12, 1, 6), indexing="ij")
    reach = rng.uniform(35, 80) * (1 if around else np.cos(angle / half * np.pi / 2) ** 0.4)
    droop = rng.uniform(-0.15, 0.5) * reach * along + (0 if around else 14 * (angle / half) ** 2)
    radius = (brow[2] - AXIS) * np.where(
        np.cos(angle) > 0, 1 - 0.12 * np.sin(angle) ** 2, 0.98
    ) + reach * along
    wide = 0.92 * np.sin(angle)
    peak = np.stack([radius * wide, brow[1] + 3 - droop, AXIS + radius * np.cos(angle)], -1).reshape(-1, 3)
    index = np.arange(41 * 6).reshape(41, 6)
    a, b, c, d = (
        index[:-1, :-1].ravel(),
        index[1:, :-1].ravel(),
        index[1:, 1:].ravel(),
        index[:-1, 1:].ravel(),
    )
    added = np.concatenate([np.c_[a, b, c], np.c_[a, c, d]]).astype(np.int32)
    flat = np.c_[(angle.ravel() * 30 + COLUMNS / 2), (30 + 60 * (1 - along)).ravel()].astype(np.float32)
    return (
        np.concatenate([shell, peak.astype(np.float32)]),
        np.concatenate([faces, added + len(shell)]),
        np.concatenate([texel, flat[added]]),
    )


def _grid() -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """Template height, mm, and azimuth, degrees, of each texel."""
    height = TOP - (np.arange(ROWS, dtype=np.float32) + 0.5) / ROWS * TALL
    degrees = ((np.arange(COLUMNS, dtype=np.float32) + 0.5) / COLUMNS - 0.5) * 360
    return np.repeat(height[:, None], COLUMNS, 1), np.repeat(degrees[None], ROWS, 0)


def _noise(rng: np.random.Generator, rows: int, columns: int) -> Float[np.ndarray, "h w"]:
    """Smooth noise of 0 to 1 with so many bumps down and around."""
    return np.asarray(
        cv2.resize(rng.random((rows, columns), np.float32), (COLUMNS, ROWS), interpolation=cv2.INTER_LINEAR)
    )


def _neighbours(faces: Int[np.ndarray, "f 3"], count: int) -> Any:
    """Sparse matrix that averages every vertex with those it shares an edge with."""
    from scipy.sparse import coo_matrix, diags, eye

    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    near = coo_matrix((np.ones(len(edges), np.float32), edges.T), (count, count)).tocsr() + eye(count)
    return (diags(1 / np.asarray(near.sum(1)).ravel()) @ near).tocsr().astype(np.float32)
