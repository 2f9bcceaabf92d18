"""Renders of a head scanned down to its pores (Lee Perry-Smith, CC BY 3.0) under varied light: relief, exactly."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from facecli.camera import Pose, camera_for, rotation_from_angles
from facecli.train.areas import folded_and_smooth
from facecli.train.contest import shown_by_all, views
from facecli.train.light import Light, basis
from facecli.train.mean_face import MeanFace
from facecli.train.normals import Sight, sight
from facecli.train.normals import lines as normal_lines
from facecli.train.peer import MediaPipe, Sighting, nearest
from facecli.train.raster import interpolate, rasterize, vertex_normals
from facecli.train.shade import ambient_occlusion, bump, shade, visible_from
from facecli.train.table import MEDIAPIPE, OURS, Line
from facecli.train.trial import Trial, largest

MM_PER_UNIT = 42.0
DISPLACEMENT = 0.14 * MM_PER_UNIT
"""Of the displacement map from black to white, mm."""
CENTRE = np.array([0.0, 1.2, 0.6])
"""What the camera looks at, model units: behind the bridge of the nose."""
SIZE = 800
DISTANCES = 480.0, 800.0
RENDERS = 48
POSES = 6
"""So many poses, each under every light."""
FACE = (-2.2, 4.0)
"""Heights of the face in model units: below is neck, where nothing is measured."""
WORLD = np.array([1.0, -1.0, -1.0])
TO_LUMINANCE = 2.2
STEEPEST = -0.2
"""Skin whose normal is turned farther from the camera (z, camera frame) is not measured."""
SHADOW_BIAS = 8.0
"""mm; with less the shadow map draws stripes on skin that the lamp only grazes."""


@dataclass(frozen=True, eq=False)
class Head:
    """The scan: mm, y up, nose to +z, about `CENTRE`; `uv` from the image's top left, in shares of its sides.
    `displacement` in mm; `colour` sRGB."""

    vertices: Float[np.ndarray, "v 3"]
    normals: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "v 2"]
    occlusion: Float[np.ndarray, " v"]
    displacement: Float[np.ndarray, "h w"]
    colour: UInt8[np.ndarray, "c c 3"]
    texels_per_mm: float


@dataclass(frozen=True, eq=False)
class Render:
    """A photo of the head, its true normals (x right, y up, z to the camera), where they count, and the angle
    between the light and the camera, degrees."""

    photo: UInt8[np.ndarray, "s s 3"]
    normals: Float[np.ndarray, "s s 3"]
    counted: Bool[np.ndarray, "s s"]
    mm_per_pixel: float
    light: float


@dataclass(frozen=True)
class Lps:
    """Over the renders whose face was found."""

    renders: int
    found: dict[str, float]
    sights: list[Sight]


def measure(
    folder: Path,
    mean: MeanFace,
    detailed: Trial,
    coarse: Trial,
    peer: MediaPipe | None = None,
    limit: int | None = None,
) -> Lps:
    """Render, reconstruct with the camera that a user's would have, compare."""
    renders = render_all(load(folder), limit or RENDERS)
    pixels = [render.photo for render in renders]
    found = [detailed.faces(f"lps {k}", photo) for k, photo in enumerate(pixels)]
    sightings: list[list[Sighting]] = peer.see(pixels, found) if peer else [[] for _ in pixels]
    sights = []
    for k, (render, faces, sighted) in enumerate(zip(renders, found, sightings, strict=True)):
        face, plain = largest(faces), largest(coarse.faces(f"lps {k}", render.photo))
        if face is None or plain is None:
            continue
        seen = views(face, plain, mean, nearest(sighted, face), peer, SIZE, SIZE)
        compared = shown_by_all(seen, render.counted)
        folded, smooth = folded_and_smooth(render.normals, render.counted, render.mm_per_pixel)
        if compared.any():
            sights.append(sight(seen, render.normals, compared, folded, smooth, render.light))
    found_by = {OURS: float(len(sights))}
    if peer:
        found_by[MEDIAPIPE] = float(sum(any(not s.helped for s in sighted) for sighted in sightings))
    return Lps(len(renders), found_by, sights)


def load(folder: Path) -> Head:
    """Read the scan; smooth normals across the seams of its texture."""
    import trimesh

    scene: Any = trimesh.load(folder / "LeePerrySmith.glb", process=False, force="mesh")
    vertices = (np.asarray(scene.vertices) - CENTRE) * MM_PER_UNIT
    faces, uv = np.asarray(scene.faces, np.int32), np.asarray(scene.visual.uv)
    _, first, joined = np.unique(np.round(vertices, 4), axis=0, return_index=True, return_inverse=True)
    welded = joined.ravel()[faces].astype(np.int32)
    normals = vertex_normals(vertices[first], welded)[joined.ravel()]
    height = _picture(folder / "Infinite-Level_02_Disp_NoSmoothUV-4096.jpg", cv2.IMREAD_GRAYSCALE)
    colour = _picture(folder / "Map-COL.jpg", cv2.IMREAD_COLOR)[..., ::-1]
    front = np.flatnonzero((vertices[faces][..., 2] > 40).all(1))
    across = np.linalg.norm(np.cross(*_edges(vertices, faces[front])), axis=1)
    corners = uv[faces[front]] * len(height)
    first_edge, second_edge = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    in_map = np.abs(first_edge[:, 0] * second_edge[:, 1] - first_edge[:, 1] * second_edge[:, 0])
    return Head(
        vertices,
        normals.astype(np.float64),
        faces,
        uv,
        ambient_occlusion(vertices.astype(np.float32), normals, faces),
        ((height.astype(np.float32) / 255 - 0.5) * DISPLACEMENT).astype(np.float32),
        np.ascontiguousarray(colour),
        float(np.median(np.sqrt(in_map / np.maximum(across, 1e-9)))),
    )


def _picture(path: Path, flag: int) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), flag)
    if picture is None:
        raise OSError(f"{path} is no picture; put the evaluation data there again")
    return np.asarray(picture)


def _edges(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> tuple[Float[np.ndarray, "f 3"], Float[np.ndarray, "f 3"]]:
    return vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]]


@dataclass(frozen=True, eq=False)
class Stage:
    """The head before a camera, per pixel where `drawn`; camera frame, mm (x right, y down, z forward)."""

    placed: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    drawn: Bool[np.ndarray, "s s"]
    counted: Bool[np.ndarray, "s s"]
    position: Float[np.ndarray, "s s 3"]
    normals: Float[np.ndarray, "s s 3"]
    albedo: Float[np.ndarray, "s s 3"]
    occlusion: Float[np.ndarray, "s s"]
    mm_per_pixel: float


def render_all(head: Head, count: int = RENDERS, seed: int = 0) -> list[Render]:
    """`POSES` poses, each under lamps from all around in front; the same for the same seed."""
    out = []
    poses = min(POSES, count)
    for p in range(poses):
        rng = np.random.default_rng([seed, p])
        yaw, pitch, roll = rng.uniform([-35, -15, -15], [35, 15, 15])
        stage = stand(head, (float(yaw), float(pitch), float(roll)), float(rng.uniform(*DISTANCES)))
        lights = len(range(p, count, poses))
        for k in range(lights):
            # Lamps at all angles to the camera, evenly, above it or beside it.
            angle = np.radians(5 + 80 * (k + rng.random()) / lights)
            around = rng.uniform(-0.4, np.pi + 0.4)
            lamp = [np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around), np.cos(angle)]
            out.append(render(stage, np.array(lamp), float(rng.uniform(0.08, 0.5))))
    return out


def stand(head: Head, angles: tuple[float, float, float], distance: float) -> Stage:
    """The head at yaw, pitch, roll (degrees) before the camera that facecli assumes, mm away."""
    camera = camera_for(SIZE, SIZE)
    pose = Pose(rotation_from_angles(*angles), np.array([0.0, 0.0, distance]))
    placed = pose.to_camera(head.vertices)
    index, bary, _ = rasterize(camera.project(placed), placed[:, 2], head.faces, SIZE, SIZE)
    turned = head.normals @ pose.rotation.T
    height = head.vertices[:, 1] / MM_PER_UNIT + CENTRE[1]
    maps = interpolate(np.c_[placed, turned, head.uv, head.occlusion, height], head.faces, index, bary)
    position, smooth, uv = maps[..., :3], _unit(maps[..., 3:6]), maps[..., 6:8]
    millimetres = distance / camera.focal
    relief = _sampled(head.displacement, uv, head.texels_per_mm * millimetres)
    ratio = head.colour.shape[0] / head.displacement.shape[0]
    colour = _sampled(head.colour.astype(np.float32), uv, head.texels_per_mm * millimetres * ratio) / 255
    drawn = index >= 0
    in_face = (maps[..., 9] > FACE[0]) & (maps[..., 9] < FACE[1])
    return Stage(
        placed,
        head.faces,
        drawn,
        drawn & in_face & (smooth[..., 2] < STEEPEST),
        position,
        bump(smooth, position, relief),
        colour**TO_LUMINANCE,
        0.25 + 0.75 * maps[..., 8],
        float(millimetres),
    )


def render(stage: Stage, lamp: Float[np.ndarray, "3"], ambient: float) -> Render:
    """Under one lamp (unit vector towards it, x right, y up, z to the camera) and even light of `ambient` times its
    strength."""
    inside = np.nonzero(stage.drawn)
    points = stage.position[inside] * WORLD
    shadow = np.ones(stage.drawn.shape, np.float32)
    shadow[inside] = visible_from(stage.placed * WORLD, stage.faces, lamp, points, SHADOW_BIAS)
    shadow = np.asarray(cv2.GaussianBlur(shadow, (0, 0), 1.5), np.float32)
    radiance = np.zeros((*stage.drawn.shape, 3), np.float32)
    radiance[inside] = shade(
        stage.albedo[inside],
        (stage.normals[inside] * WORLD).astype(np.float32),
        (-points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32),
        stage.occlusion[inside],
        shadow[inside],
        np.full(len(points), 0.8, np.float32),
        _light(lamp, ambient),
    )
    level = float(np.quantile(radiance[inside], 0.9))
    photo = np.clip(radiance * (0.6 / max(level, 1e-6)), 0, 1) ** (1 / TO_LUMINANCE) * 235
    photo += np.where(stage.drawn[..., None], 0, 90)
    angle = float(np.degrees(np.arccos(np.clip(lamp[2], -1, 1))))
    return Render(photo.astype(np.uint8), stage.normals * WORLD, stage.counted, stage.mm_per_pixel, angle)


def _unit(vectors: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)


def _sampled(picture: np.ndarray, uv: Float[np.ndarray, "s s 2"], footprint: float) -> np.ndarray:
    """A texture at `uv`, blurred first to what a pixel covers (texels), so that nothing aliases."""
    blurred = cv2.GaussianBlur(picture, (0, 0), max(0.5 * footprint, 0.3))
    where = (uv * [picture.shape[1], picture.shape[0]] - 0.5).astype(np.float32)
    return np.asarray(cv2.remap(blurred, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))  # type: ignore[call-overload]


def _light(lamp: Float[np.ndarray, "3"], ambient: float) -> Light:
    even = np.zeros((9, 3), np.float32)
    even[0] = ambient / float(basis(np.zeros((1, 3)))[0, 0])
    mirror = np.full((64, 128, 3), ambient, np.float32)
    return Light(even, mirror, lamp.astype(np.float32), np.ones(3, np.float32))


def lines(result: Lps) -> list[Line]:
    """For the table."""
    data = f"lps, {result.renders} renders of a scan"
    found = Line(data, f"faces found of {result.renders}", result.found, digits=0)
    return [found, *normal_lines(data, result.sights)]
