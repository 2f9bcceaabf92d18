"""The pictures people share: a portrait of the mesh and the preview strip."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from facecli.camera import FRONTAL, Camera, Pose
from facecli.crop import CROP, Crop
from facecli.mesh import Mesh, on_open_edge
from facecli.raster import corners_of, cross, nearest, shares_of

PANEL = 384
THREE_QUARTER = 35.0  # degrees of yaw

_SAMPLES = 2

# Light in linear units, directions in the view's frame: x right, y up, z towards the viewer. One set for all.
_CLAY = np.array([[0.74], [0.675], [0.625]], np.float32)
_BACK_OF_CLAY = 0.35
_LIGHTS = (  # direction, colour times strength, wrap (how far it reaches past the terminator)
    ((-0.80, 0.66, 0.56), (0.86, 0.80, 0.735), 0.08),  # key: a window, upper left
    ((0.90, 0.05, 0.55), (0.09, 0.105, 0.13), 0.45),  # fill
)
_RIM = ((0.70, 0.30, -0.60), (0.50, 0.53, 0.60))
_SKY, _GROUND = np.array([[0.10, 0.108, 0.122], [0.052, 0.047, 0.042]], np.float32)
_GLOSS, _GLOSS_POWER = 0.075, 26.0
_FROM_PHOTO = 0.6  # of the light on the photo's own colours is even: they bring their shadows along
_CREVICE_DARK, _CREVICE_WIDTHS = 0.6, (0.012, 0.036)  # of the picture
_BACKDROP_GLOW, _BACKDROP_CORNER = np.array([0.110, 0.118, 0.135]), np.array([0.022, 0.024, 0.029])
_GLOW_AT = (0.5, 0.42)  # across, down
_VIEWER_DISTANCE = 5.0  # half-heights of the picture: a mild portrait perspective
_MARGIN = 1.08
_FEATHER = 3  # rings of vertices over which the mesh's open edge fades out over the photo
_OVERLAY = 0.65
_DOT, _DOT_RADIUS = np.array([1.0, 0.66, 0.06], np.float32), 1.5 / 384  # linear light; of the panel


def shade(mesh: Mesh, yaw: float, size: int, colors: bool = False) -> UInt8[np.ndarray, "size size 3"]:
    """The mesh as clay before a dark backdrop, turned by `yaw` degrees (positive: to the picture's right).

    colors: with the mesh's own colours in place of clay's. Framed alike for every yaw. A mesh of nothing gives the
    backdrop.
    """
    return _portraits(mesh, yaw, size, (colors,))[0]


def portraits(mesh: Mesh, yaw: float, size: int) -> list[UInt8[np.ndarray, "size size 3"]]:
    """One view in clay and in the mesh's own colours."""
    return _portraits(mesh, yaw, size, (False, True))


def _portraits(
    mesh: Mesh, yaw: float, size: int, looks: tuple[bool, ...]
) -> list[UInt8[np.ndarray, "size size 3"]]:
    """One view per look: whether it has the mesh's own colours."""
    backdrop = _backdrop(size)
    if len(mesh.faces) == 0:
        return [_to_srgb(backdrop)] * len(looks)
    angle = np.radians(yaw)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    width, tall, deep = (high - low) / 2
    placed = (
        (mesh.vertices.astype(np.float64) - (low + high) / 2)
        @ turn.T
        / (_MARGIN * max(tall, np.hypot(width, deep)))
    )
    scale = size / 2 * _VIEWER_DISTANCE / (_VIEWER_DISTANCE - placed[:, 2])
    middle = (size - 1) / 2
    screen = np.stack(
        [middle + placed[:, 0] * scale, middle - placed[:, 1] * scale, 1 / (_VIEWER_DISTANCE - placed[:, 2])],
        axis=1,
    )
    normals = mesh.normals @ turn.T.astype(np.float32)
    lights = [
        _lit(normals, _LINEAR_LIGHT[mesh.colors.T], _FROM_PHOTO) if colors else _lit(normals, _CLAY)
        for colors in looks
    ]
    pictures, cover = _drawn(mesh, screen, placed[:, 2] * size / 2, lights, size)
    behind = _channels(1 - cover, 3) * backdrop
    return [_to_srgb(picture + behind) for picture in pictures]


def preview(
    photo_crop: UInt8[np.ndarray, "s s 3"],
    mesh: Mesh,
    camera: Camera,
    pose: Pose,
    crop: Crop,
    landmarks: Float[np.ndarray, "68 2"],
    whole: Mesh | None = None,
) -> UInt8[np.ndarray, "p q 3"]:
    """Side by side: the crop, the mesh over it with its landmarks, clay in front and three-quarter view, colour.

    photo_crop: the photo under `crop` at any resolution. mesh: a vertex per pixel of the crop, as its uv says.
    landmarks: photo pixels. whole: the complete face, which then stands in the last three. The three-quarter view
    shows the side that the photo shows.
    """
    import cv2

    how = cv2.INTER_AREA if len(photo_crop) > PANEL else cv2.INTER_CUBIC
    photo = np.asarray(cv2.resize(photo_crop, (PANEL, PANEL), interpolation=how), np.uint8)
    model = mesh if whole is None else whole
    side = THREE_QUARTER if pose.yaw_pitch_roll[0] >= 0 else -THREE_QUARTER
    panels = [photo, _overlay(photo, mesh, camera, pose, crop, landmarks)]
    panels += [shade(model, 0.0, PANEL), *portraits(model, side, PANEL)]
    return np.concatenate(panels, axis=1)


def _overlay(
    photo: UInt8[np.ndarray, "p p 3"],
    mesh: Mesh,
    camera: Camera,
    pose: Pose,
    crop: Crop,
    landmarks: Float[np.ndarray, "68 2"],
) -> UInt8[np.ndarray, "p p 3"]:
    """The mesh as clay where it re-projects, half transparent, and a dot on each landmark."""
    import cv2

    panel = _LINEAR_LIGHT[photo]
    if len(mesh.faces):
        placed = pose.to_camera(mesh.vertices.astype(np.float64) * 1000.0)
        # The view's frame is the camera's with y up and z towards it, leaning with the crop.
        across = crop.to_crop(np.array([[0.0, 0.0], [1.0, 0.0]]))
        lean = across[1] - across[0]
        cosine, sine = lean / np.linalg.norm(lean)
        upright = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
        pixels_per_mm = camera.focal * np.linalg.norm(lean) / pose.translation[2]
        normals = mesh.normals @ (pose.rotation.T @ FRONTAL @ upright.T).astype(np.float32)
        # Nothing hides another part of what the photo shows: each vertex is drawn in its pixel, and all enlarged.
        column, row = np.rint(mesh.uv.T * np.float32(CROP) - np.float32(0.5)).astype(np.int64)
        pixel, height = row * CROP + column, (placed[:, 2].mean() - placed[:, 2]) * pixels_per_mm
        shown = np.concatenate([_lit(normals, _CLAY), np.ones((1, len(normals)), np.float32)])
        shown *= _opacity(mesh)
        shown[:3] *= _openness(height.astype(np.float32), pixel, CROP)
        drawn = np.zeros((CROP * CROP, 4), np.float32)
        drawn[pixel] = shown.T
        clay = np.asarray(
            cv2.resize(drawn.reshape(CROP, CROP, 4), (PANEL, PANEL), interpolation=cv2.INTER_LINEAR)
        )
        panel += np.float32(_OVERLAY) * (clay[..., :3] - _channels(clay[..., 3].copy(), 3) * panel)
    dots = _dots((crop.to_crop(landmarks) + 0.5) * PANEL / CROP - 0.5)
    return _to_srgb(panel + _channels(dots, 3) * (_DOT - panel))


def _dots(places: Float[np.ndarray, "n 2"]) -> Float32[np.ndarray, "p p"]:
    """How much of each pixel of a panel the dots cover, 0 to 1. Places nowhere near the panel have none."""
    cover = np.zeros((PANEL, PANEL), np.float32)
    radius = _DOT_RADIUS * PANEL
    near = places[((places > -PANEL) & (places < 2 * PANEL)).all(axis=1)]  # nor not-a-number
    reach = np.arange(-math.ceil(radius + 1), math.ceil(radius + 1) + 1)
    columns, rows = np.rint(near).astype(np.int64).T[:, :, None] + reach
    x, y = near.T[:, :, None]
    distance = np.hypot((columns - x)[:, None, :], (rows - y)[:, :, None])
    inside = ((rows >= 0) & (rows < PANEL))[:, :, None] & ((columns >= 0) & (columns < PANEL))[:, None, :]
    pixel = (rows[:, :, None] * PANEL + columns[:, None, :])[inside]
    np.maximum.at(cover.reshape(-1), pixel, np.clip(radius + 0.5 - distance, 0, 1)[inside].astype(np.float32))
    return cover


def _drawn(
    mesh: Mesh,
    screen: Float[np.ndarray, "v 3"],
    relief: Float[np.ndarray, " v"],
    lights: Sequence[Float32[np.ndarray, "3 v"]],
    size: int,
) -> tuple[list[Float32[np.ndarray, "size size 3"]], Float32[np.ndarray, "size size"]]:
    """Pictures (linear light, times cover) of the mesh drawn at `screen`, and how much it covers each pixel, 0 to 1.

    relief: height towards the viewer in pixels, for the shadow in crevices. lights: of the vertices, by picture. Each
    pixel has two samples, half a pixel apart both ways: they make edges smooth where they are nearly level or
    upright, as four in a square would.
    """
    # The mesh has about a vertex per pixel, so light is worked out at the vertices and blended between them.
    table = np.empty((len(screen), 3 * len(lights) + 1), np.float32)
    for k, light in enumerate(lights):
        table[:, 3 * k : 3 * k + 3] = light.T
    table[:, -1] = relief - relief.mean()

    stagger = (_SAMPLES - 1) / _SAMPLES
    spread = screen * [1, _SAMPLES, 1] + [stagger / 2, (_SAMPLES - 1) / 2, 0]
    corners = corners_of(spread, mesh.faces)
    face = nearest(corners, size, _SAMPLES * size, stagger)
    seen = np.flatnonzero(face >= 0)
    face, (y, x) = face[seen], np.divmod(seen, size)
    pixel = y // _SAMPLES * size + x
    shares = shares_of(corners, face, x + stagger * (y % 2), y).astype(np.float32)
    at_corner = mesh.faces.take(face, axis=0)
    drawn = np.zeros((len(face), table.shape[1]), np.float32)
    for k, share in enumerate(shares):
        drawn += table.take(at_corner[:, k], axis=0) * _channels(share, table.shape[1])

    openness = _openness(np.ascontiguousarray(drawn[:, -1]), pixel, size)
    a, b, c = corners[:, :2]
    openness[(cross(a, b, *c) > 0)[face]] *= _BACK_OF_CLAY  # y down: counter-clockwise has negative area
    samples = np.zeros((size, _SAMPLES, size, table.shape[1]), np.float32)
    drawn *= _channels(openness, table.shape[1])
    drawn[:, -1] = 1
    samples.reshape(-1, table.shape[1])[seen] = drawn
    picture = np.asarray(sum(samples[:, k] for k in range(_SAMPLES)) / np.float32(_SAMPLES))
    return np.split(picture[..., :-1], len(lights), axis=2), picture[..., -1]


def _channels(values: Float32[np.ndarray, "*n"], count: int) -> Float32[np.ndarray, "*n {count}"]:
    """The same number in each channel: products of equal shapes cost a tenth of those that repeat one."""
    import cv2

    return np.asarray(cv2.merge([values] * count)).reshape(*values.shape, count)


def _opacity(mesh: Mesh) -> Float32[np.ndarray, " v"]:
    """Opacity of each vertex: 0 on the open edge of what a photo shows, 1 a few rings further in.

    Drawn a pixel per vertex, the edge is a staircase; where the surface ends is not known to the pixel anyway.
    """
    count, corners = len(mesh.vertices), mesh.faces.T.astype(np.int64)
    inner = (~on_open_edge(mesh.faces, count)).astype(np.float64)
    used = np.maximum(sum(np.bincount(corner, minlength=count) for corner in corners), 1)
    opacity = inner
    for _ in range(_FEATHER - 1):
        lowest = np.minimum.reduce([opacity.take(corner) for corner in corners])
        opacity = inner * sum(np.bincount(corner, lowest, count) for corner in corners) / used
    return opacity.astype(np.float32)


def _lit(
    normals: Float32[np.ndarray, "n 3"], albedo: Float32[np.ndarray, "3 #n"], even: float = 0.0
) -> Float32[np.ndarray, "3 n"]:
    """Linear light that a surface with these normals, turned to the viewer, sends there.

    even: the share of the light that comes from everywhere alike.
    """
    x, y, z = normals.T * np.where(normals[:, 2] < 0, np.float32(-1), np.float32(1))

    def cosine(towards: np.ndarray) -> Float32[np.ndarray, " n"]:
        return np.asarray(x * towards[0] + y * towards[1] + z * towards[2])

    diffuse = _GROUND[:, None] + (_SKY - _GROUND)[:, None] * ((y + 1) / 2)
    gloss = np.zeros_like(z)
    for direction, colour, wrap in _LIGHTS:
        towards = _unit(direction)
        soft = np.clip((cosine(towards) + wrap) / (1 + wrap), 0, None) ** np.float32(1.2)
        diffuse += np.array(colour, np.float32)[:, None] * soft
        half = _unit(towards + np.array([0.0, 0.0, 1.0], np.float32))
        gloss += max(colour) * np.clip(cosine(half), 0, None) ** np.float32(_GLOSS_POWER)
    dark = 1 - np.clip(z, 0, 1)
    grazing = dark * dark * dark * np.clip(cosine(_unit(_RIM[0])) + np.float32(0.2), 0, None)
    rim = grazing * np.array(_RIM[1], np.float32)[:, None]
    return np.asarray(albedo * (even + (1 - even) * diffuse) + (1 - even) * (_GLOSS * gloss + rim))


def _unit(vector: tuple[float, float, float] | np.ndarray) -> Float32[np.ndarray, "3"]:
    return np.asarray(vector, np.float32) / np.float32(np.linalg.norm(vector))


def _openness(
    height: Float32[np.ndarray, " n"], pixel: Int[np.ndarray, " n"], size: int
) -> Float32[np.ndarray, " n"]:
    """How open each sample is to the room: darker where the surface around it is nearer to the viewer.

    height: towards the viewer in pixels. pixel: of each sample; a pixel may have several.
    """
    import cv2

    half = max(size // 2, 1)  # the blurs are wide: half the resolution does
    both = np.empty((size, size, 2), np.float32)
    both[..., 0] = np.bincount(pixel, height, size * size).reshape(size, size)
    both[..., 1] = np.bincount(pixel, minlength=size * size).reshape(size, size)
    small = cv2.resize(both, (half, half), interpolation=cv2.INTER_AREA)
    openness = np.ones_like(height)
    for width in _CREVICE_WIDTHS:
        near = cv2.GaussianBlur(small, (0, 0), width * half)
        around = cv2.resize(near[..., 0] / np.maximum(near[..., 1], 1e-3), (size, size))
        below = np.maximum(around.reshape(-1)[pixel] - height, 0)
        openness *= 1 - _CREVICE_DARK + _CREVICE_DARK * np.exp(below * np.float32(-0.7 / (width * size)))
    return openness


@lru_cache(maxsize=4)
def _backdrop(size: int) -> Float[np.ndarray, "size size 3"]:
    """A dark wall with a glow behind the head."""
    at = (np.arange(size, dtype=np.float32) + 0.5) / size
    distance = np.hypot(at - _GLOW_AT[0], at[:, None] - _GLOW_AT[1])[..., None]
    glow = np.clip(1 - distance / 0.75, 0, 1) ** 2 * (3 - 2 * np.clip(1 - distance / 0.75, 0, 1))
    return (_BACKDROP_CORNER + (_BACKDROP_GLOW - _BACKDROP_CORNER) * glow).astype(np.float32)


_STEP = np.arange(256) / 255.0
_LINEAR_LIGHT = np.where(_STEP <= 0.04045, _STEP / 12.92, ((_STEP + 0.055) / 1.055) ** 2.4).astype(np.float32)


_LEVELS = np.arange(1 << 16) / 65535
_ENCODED = np.round(
    255 * np.where(_LEVELS <= 0.0031308, _LEVELS * 12.92, 1.055 * _LEVELS ** (1 / 2.4) - 0.055)
).astype(np.uint8)


def _to_srgb(light: Float[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    return _ENCODED[(np.clip(light, 0, 1) * np.float32(65535) + np.float32(0.5)).astype(np.uint16)]
