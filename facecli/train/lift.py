"""A fitted portrait to its parts: face crop, mask of the visible face, light, albedo in UV space."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from facecli.train.fringe import without
from facecli.train.headmodel import FACE, FACE_VERTICES, NARROW_FACE_VERTICES, HeadModel
from facecli.train.matte import cut_out
from facecli.train.raster import interpolate, rasterize, vertex_normals

CROP = 512
"""Pixels of a stored portrait crop; its side is `CONTEXT` times the longer side of the face's box."""
CONTEXT = 2.2
TEXTURE = 512
FOREHEAD_ABOVE = 35.0
"""Scalp vertices in front, higher than this (mm) over the ears' level, count as forehead."""
JAW_HEIGHT, JAW_SLOPE = -86.0, -0.46
"""Lower edge of the jaw from its angles to the chin, as y = height + slope z in mm on the mean head: about where the
surface begins to face more downwards than outwards. What lies below is the neck's, as face parsing draws it."""


def spherical_harmonics(normals: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 9"]:
    """The first nine real spherical harmonics, without their constants, at unit `normals`."""
    x, y, z = normals[..., 0], normals[..., 1], normals[..., 2]
    one = np.ones_like(x)
    return np.stack([one, x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1], -1)


def front_vertices(model: HeadModel) -> Bool[np.ndarray, "v"]:
    """What is unrolled into a face's chart: narrow face, forehead and temples, eyeballs and mouth, and the skin between
    the jaw and the throat; not ears, not the rest of the neck."""
    inside = np.ones(len(model.neutral), bool)
    skin = np.arange(FACE_VERTICES)
    forehead = (model.neutral[skin, 1] > FOREHEAD_ABOVE) & (model.neutral[skin, 2] > 0)
    inside[skin] = (skin < NARROW_FACE_VERTICES) | forehead
    inside[model.faces[model.part == 1]] = False
    return inside


def region_vertices(model: HeadModel) -> Bool[np.ndarray, "v"]:
    """The face region: what `front_vertices` has down to the lower edge of the jaw."""
    skin = model.neutral[:FACE_VERTICES]
    inside = front_vertices(model)
    inside[:FACE_VERTICES] &= skin[:, 1] > JAW_HEIGHT + JAW_SLOPE * skin[:, 2]
    return inside


def face_box_points(points: Float[np.ndarray, "v c"]) -> Float[np.ndarray, "p c"]:
    """Of per-vertex positions, in pixels or mm, those whose box frames a crop: the narrow face, thinned out."""
    return points[:NARROW_FACE_VERTICES:7]


@lru_cache(maxsize=1)
def texture_grid(model_id: int, size: int) -> tuple[Int[np.ndarray, "t t"], Float[np.ndarray, "t t 3"]]:
    """Face drawn at each texel of the skin's UV tile, and the barycentric coordinates there."""
    model = _MODELS[model_id]
    skin = np.flatnonzero(model.part == FACE)
    uv = model.uv * [size, -size] + [-0.5, size - 0.5]
    index, bary, _ = rasterize(uv, np.ones(len(uv)), model.corner_uv[skin], size, size)
    return np.where(index >= 0, skin[index], -1).astype(np.int32), bary


_MODELS: dict[int, HeadModel] = {}


def texture_of(
    model: HeadModel, values: Float[np.ndarray, "v c"], size: int = TEXTURE
) -> tuple[Float[np.ndarray, "t t c"], Bool[np.ndarray, "t t"]]:
    """Vertex values laid out in the skin's UV tile, and which texels are skin."""
    _MODELS[id(model)] = model
    index, bary = texture_grid(id(model), size)
    return interpolate(values, model.faces, index, bary), index >= 0


@dataclass(frozen=True)
class Lifted:
    """What one portrait gives. `to_crop` maps photo pixels to the crop's; `light` are spherical-harmonic
    coefficients of the shading, RGB in columns, normalised to a mean of 1 over the face; `albedo` is
    display-referred (sRGB), and `seen` says where it came from the photo."""

    crop: UInt8[np.ndarray, "s s 3"]
    mask: UInt8[np.ndarray, "m m"]
    to_crop: Float[np.ndarray, "2 3"]
    light: Float[np.ndarray, "9 3"]
    albedo: UInt8[np.ndarray, "t t 3"]
    seen: Bool[np.ndarray, "t t"]


def frame(pixels: Float[np.ndarray, "p 2"], context: float, size: int) -> Float[np.ndarray, "2 3"]:
    """The upright square of `context` times the longer side of the points' box, as photo -> crop matrix."""
    low, high = pixels.min(0), pixels.max(0)
    scale = size / (context * (high - low).max())
    centre = (low + high) / 2
    return np.array(
        [[scale, 0, size / 2 - 0.5 - scale * centre[0]], [0, scale, size / 2 - 0.5 - scale * centre[1]]]
    )


def warp(
    photo: UInt8[np.ndarray, "h w 3"], matrix: Float[np.ndarray, "2 3"], size: int
) -> UInt8[np.ndarray, "s s 3"]:
    """Similarity warp with an area prefilter when it shrinks; the border is replicated."""
    scale = float(np.hypot(*matrix[:, 0]))
    if scale < 0.7:
        small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        grow = np.array([photo.shape[1] / small.shape[1], photo.shape[0] / small.shape[0]])
        shift = matrix[:, :2] @ ((grow - 1) / 2) + matrix[:, 2]
        photo, matrix = small, np.c_[matrix[:, :2] * grow, shift]
    return cv2.warpAffine(photo, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def covered(
    matrix: Float[np.ndarray, "2 3"], photo: UInt8[np.ndarray, "h w 3"], size: int
) -> Bool[np.ndarray, "s s"]:
    """Which pixels of a warp are inside the photo."""
    full = np.full(photo.shape[:2], 255, np.uint8)
    return np.asarray(cv2.warpAffine(full, matrix, (size, size), flags=cv2.INTER_NEAREST) > 0)


def lift(
    model: HeadModel,
    vertices: Float[np.ndarray, "v 3"],
    rotation: Float[np.ndarray, "3 3"],
    translation: Float[np.ndarray, "3"],
    focal: float,
    photo: UInt8[np.ndarray, "h w 3"],
    covers: list[Float[np.ndarray, "p 2"]],
) -> Lifted:
    """Take one fitted portrait apart. Pose as in `fit.Fits`, principal point at the photo's centre; `covers` are
    polygons in pixels of the photo that are known not to be face."""
    height, width = photo.shape[:2]
    camera = vertices @ rotation.T + translation
    pixels = camera[:, :2] / camera[:, 2:] * focal + [(width - 1) / 2, (height - 1) / 2]
    to_crop = frame(face_box_points(pixels), CONTEXT, CROP)
    crop = warp(photo, to_crop, CROP)
    in_crop = pixels @ to_crop[:, :2].T + to_crop[:, 2]
    normals = vertex_normals(vertices, model.faces) @ rotation.T.astype(np.float32)
    mask = cut_out(model, region_vertices(model), crop, covered(to_crop, photo, CROP), in_crop, camera[:, 2])
    mask = without(mask, covers, to_crop)

    _, _, inverse = rasterize(in_crop, camera[:, 2], model.faces, CROP, CROP)
    attributes = np.c_[in_crop, camera[:, 2], normals]
    texels, is_skin = texture_of(model, attributes)
    x, y = texels[..., 0], texels[..., 1]
    colour = cv2.remap(crop, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    nearest = cv2.remap(inverse.astype(np.float32), x, y, cv2.INTER_NEAREST, borderValue=0)
    front = (nearest > 0) & (np.abs(1 / np.maximum(nearest, 1e-9) - texels[..., 2]) < 4)
    seen = is_skin & front & (texels[..., 5] < -0.25) & (cv2.remap(mask, x, y, cv2.INTER_LINEAR) > 127)
    seen = cv2.erode(seen.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    light = estimate_light(colour[seen], texels[seen][:, 3:])
    shading = spherical_harmonics(texels[..., 3:]) @ light
    albedo = np.clip(colour / np.clip(shading, 0.35, 2.5), 0, 255).astype(np.uint8)
    return Lifted(crop, mask, to_crop, light, albedo, seen)


def estimate_light(
    colours: UInt8[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "9 3"]:
    """Spherical-harmonic shading of an even skin: ridge regression, outliers (brows, lips) down-weighted."""
    basis = spherical_harmonics(normals.astype(np.float64))
    target = colours.astype(np.float64)
    weight = np.ones(len(basis))
    ridge = np.diag([0.0, *[0.02] * 3, *[0.08] * 5]) * len(basis)
    coefficients = np.zeros((9, 3))
    for _ in range(3):
        weighted = basis * weight[:, None]
        coefficients = np.linalg.solve(weighted.T @ basis + ridge, weighted.T @ target)
        error = np.linalg.norm(basis @ coefficients - target, axis=1)
        weight = 1 / (1 + (error / (np.median(error) + 1e-6)) ** 2)
    mean = (basis @ coefficients).mean(0)
    return (coefficients / np.maximum(mean, 1)).astype(np.float32)
