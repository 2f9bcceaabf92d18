"""A photographer of people that never were: whole photos, known camera, exact surface; who was never trained on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from facecli.camera import FULL_FRAME_DIAGONAL_MM, Camera, Pose, rotation_from_angles
from facecli.images import Image
from facecli.train.complexion import colours
from facecli.train.lift import TEXTURE
from facecli.train.light import Light, random_light
from facecli.train.props import Projection, background, glasses
from facecli.train.raster import interpolate, rasterize, unit, vertex_normals
from facecli.train.relief import moles_and_freckles, random_relief
from facecli.train.scan import OUTER_EYES
from facecli.train.shade import bump
from facecli.train.synth import WORLD, Synthesizer

FAR_SEED = 1_000_003
"""People of the training have other seeds than [FAR_SEED, n]."""
FACE_MM = 150.0
"""Width of a face, for choosing a focal length."""
ROOM = 2.5
"""Side of a photo over the width of its face."""
DONORS_LOOKED_AT = 48
"""Portraits whose skin is compared before a dark or a light one is taken."""
ALIKE = 6
OUT_OF_FOCUS = 14

Paint = Callable[[UInt8[np.ndarray, "t t 3"]], UInt8[np.ndarray, "t t 3"]]


@dataclass(frozen=True)
class Scene:
    """Who, and how they stand: degrees as `Pose.yaw_pitch_roll`, mm, pixels of the face's width.

    `expression` gives strengths of the model's blend shapes by the start of their name. `tone` is 0 for dark skin to
    1 for light, None for anybody's. `flat`: skin without relief, in one even light, without hair.
    """

    person: int
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    distance: float = 700.0
    width: float = 300.0
    expression: Mapping[str, float] = field(default_factory=dict)
    glasses: bool = False
    tone: float | None = None
    flat: bool = False
    banded: bool = False
    sculpted: bool = False


@dataclass(frozen=True, eq=False)
class Shot:
    """A photo and what it shows. Positions: camera frame, mm, not a number off the face; normals: x right, y up, z to
    the camera; `texel` where on the skin's texture, pixels of it."""

    pixels: UInt8[np.ndarray, "h w 3"]
    camera: Camera
    landmarks: Float[np.ndarray, "68 2"]
    eyes: float
    position: Float[np.ndarray, "h w 3"]
    normals: Float[np.ndarray, "h w 3"]
    texel: Float[np.ndarray, "h w 2"]

    @property
    def face(self) -> Bool[np.ndarray, "h w"]:
        """Pixels that show the face."""
        return np.isfinite(self.position[..., 0])

    @property
    def focal_35mm(self) -> float:
        """As EXIF tells it."""
        return self.camera.focal * FULL_FRAME_DIAGONAL_MM / float(np.hypot(*self.pixels.shape[:2]))

    @property
    def image(self) -> Image:
        """The photo with its focal length, as from a phone."""
        return Image(self.pixels, focal_35mm=self.focal_35mm)


class Studio(Synthesizer):
    """Takes photos with the training data's heads, skins and lights, but of other people and with a real camera."""

    def photograph(self, scene: Scene, paint: Paint | None = None) -> Shot:
        """The same photo for the same scene; `paint` changes the skin's texture (sRGB) before it is lit."""
        model, rng = self.model, np.random.default_rng([FAR_SEED, scene.person])
        alpha = rng.normal(0, 1, len(model.identity))
        vertices = model.vertices(alpha, self._weights(scene.expression))
        if scene.sculpted:
            if self.morphs is None:
                raise ValueError("this studio has no second head's morphs")
            vertices += self.morphs.moved(
                self.morphs.weights(np.random.default_rng([FAR_SEED, scene.person, 1]))
            )
        albedo, back = self._albedo(rng) if scene.tone is None else self._toned(rng, scene.tone)
        skin = self.creases.split(albedo)
        albedo, relief = skin.albedo, np.zeros((TEXTURE, TEXTURE), np.float32)
        if not scene.flat:
            relief = random_relief(rng, self.plane, lifted=skin.relief)
            albedo = moles_and_freckles(rng, albedo)
        if paint is not None:
            albedo = paint(albedo)
        light = _even_light() if scene.flat else random_light(rng, self.lights)

        side = round(ROOM * scene.width)
        middle = (side - 1) / 2
        camera = Camera(scene.width * scene.distance / FACE_MM, middle, middle, "option")
        pose = Pose(
            rotation_from_angles(scene.yaw, scene.pitch, scene.roll), np.array([0.0, 15.0, scene.distance])
        )
        placed = pose.to_camera(vertices.astype(np.float64)).astype(np.float32)
        frame = np.array([[1.0, 0, middle], [0, 1, middle]])
        to_pixels = Projection(pose.rotation, pose.translation, camera.focal, frame)
        index, bary, zbuffer = rasterize(camera.project(placed), placed[:, 2], model.faces, side, side)
        drawn = index >= 0
        part = np.where(drawn, model.part[index], -1)
        turned = vertex_normals(vertices, model.faces) @ pose.rotation.T.astype(np.float32)
        channels = np.concatenate([model.neutral, placed, turned, self.region, self.occlusion], 1)
        maps = interpolate(channels, model.faces, index, bary)
        coordinate, position = maps[..., :3], maps[..., 3:6]
        texel = interpolate(self.texel, model.corner_uv, index, bary)
        height = self._relief_map(relief, texel, coordinate, part)
        smooth = unit(maps[..., 6:9])
        normal = bump(smooth, position, height)
        colour, gloss, painted_hair = colours(rng, albedo, back, texel, coordinate, part)
        region = drawn & (maps[..., 9] > 0.5) & ~painted_hair

        lamp_seen = self._shadow(placed, position, drawn, light, scene.width / 150)
        if scene.banded:
            lamp_seen *= _bands(coordinate)
        occlusion = self._occlusion(maps[..., 10], coordinate, part)
        radiance = self._radiance(position, drawn, normal, colour, occlusion, lamp_seen, gloss, light)
        level = float(np.median(radiance[region].mean(-1))) if region.any() else 0.3
        image = np.clip(radiance * np.float32(0.28 / max(level, 1e-3)), 0, 1) ** np.float32(1 / 2.2) * 255
        if (
            scene.tone is not None
        ):  # dark skin is dark in a photo: half way to the exposure that would hide it
            image *= np.float32(0.7 + 0.5 * scene.tone)
        # Far out of focus: a second face behind the first would be found instead of it.
        behind = cv2.GaussianBlur(background(rng, self.pool.crops, side), (0, 0), side / OUT_OF_FOCUS)
        cover = cv2.GaussianBlur(drawn.astype(np.float32), (0, 0), 0.7)[..., None] * drawn[..., None]
        image = image * cover + behind * (1 - cover)
        if not scene.flat and rng.random() < 0.5:
            hair = self._hair(rng, pose.rotation, pose.translation, to_pixels, zbuffer, image, light)
            region &= ~hair
        landmarks = vertices[model.landmark_vertices]
        if scene.glasses:
            glasses(rng, image, region, landmarks, to_pixels)
        across = np.linalg.norm(landmarks[OUTER_EYES[0]] - landmarks[OUTER_EYES[1]])
        return Shot(
            np.clip(image, 0, 255).astype(np.uint8),
            camera,
            camera.project(pose.to_camera(landmarks.astype(np.float64))),
            float(across * camera.focal / scene.distance),
            np.where(region[..., None], position, np.nan),
            normal * WORLD,
            texel,
        )

    def _weights(self, expression: Mapping[str, float]) -> Float[np.ndarray, "e"]:
        beta = np.zeros(len(self.model.expression_names), np.float32)
        for start, strength in expression.items():
            members = [k for k, name in enumerate(self.model.expression_names) if name.startswith(start)]
            if not members:
                raise ValueError(f"the head model has no blend shape {start}")
            beta[members] = strength
        return beta

    def _toned(
        self, rng: np.random.Generator, tone: float
    ) -> tuple[UInt8[np.ndarray, "t t 3"], UInt8[np.ndarray, "b b 3"]]:
        """The skin of somebody about as light as asked, among a few."""
        few = rng.choice(self.donors, min(DONORS_LOOKED_AT, len(self.donors)), replace=False)
        middle = slice(TEXTURE * 3 // 8, TEXTURE * 5 // 8)
        cheeks = [self.pool.albedos[k, middle, middle].mean(-1) for k in few]
        order = np.argsort([np.median(cheek) for cheek in cheeks])
        start = round(tone * max(len(order) - ALIKE, 0))
        # The plainest of those about as light: the darkest of all is as likely a hard shadow as dark skin.
        best = min(order[start : start + ALIKE], key=lambda i: float(cheeks[i].std()))
        return np.array(self.pool.albedos[few[best]]), np.array(self.pool.backs[few[best]])


def _even_light() -> Light:
    """A soft lamp over the left shoulder of the photographer, and light from everywhere."""
    even = np.zeros((9, 3), np.float32)
    even[0] = 0.8 / 0.282095
    lamp = np.array([-0.45, 0.5, 0.74], np.float32)
    mirror = np.full((64, 128, 3), 0.5, np.float32)
    return Light(even, mirror, lamp / np.linalg.norm(lamp), np.full(3, 1.2, np.float32))


def _bands(coordinate: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """Where a lamp behind a blind reaches: sharp slanting bands 9 mm wide and as far apart."""
    across = (coordinate[..., 1] + 0.5 * coordinate[..., 0]) / 9.0
    return (0.5 + 0.5 * np.clip(np.sin(across * np.pi) * 6, -1, 1)).astype(np.float32)
