"""Source B: heads that never were, with exact depth, correspondence and relief, under measured light."""

from collections.abc import Sequence
from typing import no_type_check

import cv2
import numba
import numpy as np
from jaxtyping import Bool, Float, UInt8

from facecli.train.complexion import colours
from facecli.train.crease import Creases, cavity
from facecli.train.garment import Wardrobe
from facecli.train.hair import draw_hair, hair_colour, lay
from facecli.train.headmodel import FACE, GUMS, LACRIMAL, SCLERA_LEFT, TEETH
from facecli.train.lift import TEXTURE, face_box_points, region_vertices, texture_of
from facecli.train.light import Light, random_light
from facecli.train.props import Projection, background, glasses, occluder, speech
from facecli.train.raster import interpolate, rasterize, rounded, unit, vertex_normals
from facecli.train.relief import creases_of, moles_and_freckles, random_relief
from facecli.train.sample import (
    COARSE,
    FULL,
    Sample,
    euler,
    jittered_frame,
    lively_expression,
    pack_coarse,
    pack_detail,
    pack_opening,
    pack_region,
    viewing_axis,
)
from facecli.train.shade import ambient_occlusion, bump, shade, visible_from
from facecli.train.shards import Lot
from facecli.train.stage import Stage
from facecli.train.tongue import Tongue

WORLD = np.array([1.0, -1.0, -1.0], np.float32)
"""Camera frame to the lights' frame: y up, z towards the camera."""
THIRDS = np.full(3, 1 / 3, np.float32)
TONES = (255 * np.linspace(0, 1, 4096) ** (2 / 2.2)).astype(np.float32)
"""sRGB of the roots of light, 0 to 1: on roots the steps are even enough for a table."""
DRESSED = 0.45
"""Share of heads with a fringe, a hat, a hood, a mask or a scarf."""
STUCK_OUT = 0.05
"""Share of heads with the tongue out."""
BORROWED = 0.35
"""Share of heads with the fitted expression of a portrait: people smile and talk in ways that lots do not draw."""
SCULPTED = 0.6
"""Share of heads that differ by a second head's morphs, too."""
NEAREST_MM, FARTHEST_MM = 230.0, 3000.0
"""From a selfie at arm's length to a portrait from across the room."""
WELL_SEEN = 0.22
"""Portraits that show less of the skin's UV tile than this lend no albedo."""


class Synthesizer:
    """Makes samples; holds what is the same for all heads."""

    def __init__(self, stage: Stage) -> None:
        model, pool = stage.model, stage.pool
        self.model, self.pool, self.lights, self.styles = model, pool, stage.lights, stage.styles
        self.morphs = stage.morphs
        self.wardrobe, self.tongue = Wardrobe(model), Tongue(model)
        self.region = region_vertices(model).astype(np.float32)[:, None]
        self.occlusion = ambient_occlusion(
            model.neutral, vertex_normals(model.neutral, model.faces), model.faces
        )[:, None]
        self.creases = Creases(model)
        self.plane = texture_of(model, model.neutral[:, :2].astype(np.float32))[0].astype(np.float32)
        self.donors = np.flatnonzero(pool.quality > WELL_SEEN)
        self.texel = model.uv * np.array([TEXTURE, -TEXTURE], np.float32) + np.array(
            [-0.5, TEXTURE - 0.5], np.float32
        )

    def drawn(self, lots: Sequence[Lot]) -> dict[tuple[int, int], Sample]:
        """The samples of a shard that are source B's, by their seeds."""
        return {one.seed: self.sample(one.rng, one.size) for one in lots}

    def sample(self, rng: np.random.Generator, size: int) -> Sample:
        """One head: who, its look, from where, under which light, behind what; detail at full size only."""
        model = self.model
        beta = self._expression(rng)
        out = bool(rng.random() < STUCK_OUT)
        if out:
            beta = self.tongue.parted(rng, beta)
        vertices, lip = self.tongue.moved(rng, self._person(rng, beta), out)
        (albedo, back), lifted = self._albedo(rng), None
        if size == FULL:  # at half of it creases hardly show, and nothing asks for them
            own = self.creases.split(albedo)
            albedo, lifted = own.albedo, own.relief
            if rng.random() < 0.5:  # another's, the more creased of two: most of the pool is smooth
                two = [self.creases.split(self._albedo(rng)[0]).relief for _ in range(2)]
                lifted = max(two, key=lambda relief: float(relief.std()))
        relief = random_relief(rng, self.plane, creases_of(beta, model.expression_names), lifted)
        albedo = moles_and_freckles(rng, albedo)

        turn = self._pose(rng)
        rotation = np.diag([1.0, -1, -1]) @ turn
        distance = np.exp(rng.uniform(np.log(NEAREST_MM), np.log(FARTHEST_MM)))
        off_axis = np.clip(rng.normal(0, 0.12, 2), -0.35, 0.35)
        translation = np.array([off_axis[0] * distance, off_axis[1] * distance, distance])
        camera = (vertices @ rotation.T + translation).astype(np.float32)
        plane = camera[:, :2] / camera[:, 2:] * 1000
        frame = jittered_frame(rng, face_box_points(plane), 12, size)
        pixels = plane @ frame[:, :2].T + frame[:, 2]
        axis = viewing_axis(frame, size, 1000.0, np.zeros(2))
        to_pixels = Projection(rotation, translation, 1000.0, frame)

        face_index, bary, zbuffer = rasterize(pixels, camera[:, 2], model.faces, size, size)
        drawn = face_index >= 0
        part = np.where(drawn, model.part[face_index], -1)
        normals = vertex_normals(vertices, model.faces) @ rotation.T.astype(np.float32)
        channels = np.concatenate([model.neutral, camera, normals, self.region, self.occlusion], 1)
        maps = interpolate(channels, model.faces, face_index, bary)
        coordinate, flat, turned = (np.ascontiguousarray(maps[..., k : k + 3]) for k in (0, 3, 6))
        position = rounded(flat, camera, normals, model.faces, face_index, bary)
        texel = interpolate(self.texel, model.corner_uv, face_index, bary)
        region = drawn & (maps[..., 9] > 0.5)

        height = self._relief_map(relief, texel, coordinate, part)
        colour, gloss, hair_paint = colours(rng, albedo, back, texel, coordinate, part)
        occlusion = self._occlusion(maps[..., 10], coordinate, part)
        tongue = self.tongue.paint(
            rng, face_index, bary, coordinate, lip, to_pixels.pixels_per_mm, colour, gloss, occlusion, height
        )
        region &= ~hair_paint & ~tongue  # before lip and chin it is no more of the face than a hand
        smooth = unit(turned)
        normal = bump(smooth, position, height)

        light = random_light(rng, self.lights)
        shadow = self._shadow(camera, position, drawn, light, rng.uniform(1.0, 4.0) * size / FULL)
        grooves = cavity(height, 1 / to_pixels.pixels_per_mm)
        shadow, occlusion = shadow * grooves, occlusion * grooves
        shine = gloss * np.float32(rng.uniform(0.2, 2.2))
        radiance = self._radiance(position, drawn, normal, colour, occlusion, shadow, shine, light)
        level = np.median((radiance @ THIRDS)[region]) if region.any() else 0.3
        exposure = np.float32(rng.uniform(0.12, 0.5) / max(float(level), 1e-3))
        image = background(rng, self.pool.crops, size)
        cover = cv2.GaussianBlur(drawn.astype(np.float32), (0, 0), 0.7)
        _exposed(radiance, exposure, drawn, cover, TONES, image)
        bare = np.where(tongue, 0, zbuffer)  # cloth presses hair down, and keeps tongues in
        if rng.random() < 0.55:
            hair = self._hair(rng, rotation, translation, to_pixels, zbuffer, image, light)
            region &= ~hair
        if rng.random() < DRESSED:
            region &= ~self.wardrobe.dress(rng, vertices, to_pixels, bare, zbuffer, image, light.brightness)
        landmarks = vertices[model.landmark_vertices]
        if rng.random() < 0.22:
            glasses(rng, image, region, landmarks, to_pixels)
        while rng.random() < 0.22:
            occluder(rng, image, region, self.pool.crops, to_pixels.pixels_per_mm)
        if rng.random() < 0.04:
            speech(rng, image, region, landmarks, to_pixels)

        depth = (translation - position) @ axis
        coarse, known = pack_coarse(coordinate, depth, region)
        detail = None
        if size == FULL:
            skin = region & (part != GUMS) & (part != TEETH)
            facing = -(smooth * unit(position)).sum(-1)
            detail = pack_detail(depth, facing, height, coarse, known, skin)
        footprint = size / COARSE / to_pixels.pixels_per_mm
        return Sample(
            np.clip(image, 0, 255).astype(np.uint8),
            pack_region(region),
            coarse,
            known,
            detail,
            float(footprint),
            1.0,
            pack_opening(part, region),
            expression=beta,
        )

    def _person(self, rng: np.random.Generator, beta: Float[np.ndarray, "e"]) -> Float[np.ndarray, "v 3"]:
        """Somebody with an expression."""
        alpha = rng.normal(0, rng.uniform(0.6, 1.25), len(self.model.identity))
        vertices = self.model.vertices(alpha, beta)
        if self.morphs is not None and rng.random() < SCULPTED:
            vertices += self.morphs.moved(self.morphs.weights(rng))
        return vertices

    def _expression(self, rng: np.random.Generator) -> Float[np.ndarray, "e"]:
        """Weights of the head model's shapes: a portrait's, or drawn by lot."""
        if rng.random() < BORROWED:
            fitted = self.pool.fits.beta
            return np.asarray(fitted[rng.integers(len(fitted))], np.float32).copy()
        return lively_expression(rng, self.model.expression_names)

    def _pose(self, rng: np.random.Generator) -> Float[np.ndarray, "3 3"]:
        yaw = rng.uniform(-90, 90) if rng.random() < 0.3 else np.clip(rng.normal(0, 28), -90, 90)
        pitch = rng.uniform(-40, 40) if rng.random() < 0.25 else np.clip(rng.normal(0, 13), -40, 40)
        return euler(*np.deg2rad([yaw, pitch]))

    def _albedo(
        self, rng: np.random.Generator
    ) -> tuple[UInt8[np.ndarray, "t t 3"], UInt8[np.ndarray, "b b 3"]]:
        """One person's skin, or two people's mixed, with another exposure and tone: of the face, and of the back."""
        one = other = rng.choice(self.donors)
        if rng.random() < 0.3:
            other = rng.choice(self.donors)
        gain = np.float32(np.exp(rng.normal(0, 0.25))) * (1 + rng.normal(0, 0.04, 3)).astype(np.float32)
        mean = np.arange(256 if one == other else 511, dtype=np.float32) * (1.0 if one == other else 0.5)
        table = np.clip(mean[:, None] * gain, 0, 250).astype(np.uint8)

        def toned(skins: UInt8[np.ndarray, "p n n 3"]) -> UInt8[np.ndarray, "n n 3"]:
            if one == other:
                return np.asarray(cv2.LUT(np.asarray(skins[one]), table[None]))
            both = skins[one] + skins[other].astype(np.uint16)
            return np.stack([table[:, k].take(both[..., k]) for k in range(3)], -1)

        return toned(self.pool.albedos), toned(self.pool.backs)

    def _relief_map(
        self,
        relief: Float[np.ndarray, "t t"],
        texel: Float[np.ndarray, "s s 2"],
        coordinate: Float[np.ndarray, "s s 3"],
        part: np.ndarray,
    ) -> Float[np.ndarray, "s s"]:
        """Relief at each pixel; none on eyes, teeth, or where skin ends, little on the lips."""
        out = np.zeros(part.shape, np.float32)
        _raised(relief, np.ascontiguousarray(texel), np.ascontiguousarray(coordinate), part, out)
        return out

    def _shadow(
        self,
        placed: Float[np.ndarray, "v 3"],
        position: Float[np.ndarray, "s s 3"],
        drawn: Bool[np.ndarray, "s s"],
        light: Light,
        softness: float,
    ) -> Float[np.ndarray, "s s"]:
        """Share of the lamp that each pixel sees; the shadow's edge blurred by `softness` pixels.

        placed: vertices, position: what each pixel shows; camera frame, mm.
        """
        inside = np.flatnonzero(drawn)
        seen = np.ones(drawn.shape, np.float32)
        seen.reshape(-1)[inside] = visible_from(
            (placed * WORLD).astype(np.float64),
            self.model.faces,
            light.lamp.astype(np.float64),
            position.reshape(-1, 3).take(inside, 0) * WORLD,
            3.0,
        )
        return np.asarray(cv2.GaussianBlur(seen, (0, 0), softness), np.float32)

    def _radiance(
        self,
        position: Float[np.ndarray, "s s 3"],
        drawn: Bool[np.ndarray, "s s"],
        normal: Float[np.ndarray, "s s 3"],
        colour: Float[np.ndarray, "s s 3"],
        occlusion: Float[np.ndarray, "s s"],
        lamp_seen: Float[np.ndarray, "s s"],
        gloss: Float[np.ndarray, "s s"],
        light: Light,
    ) -> Float[np.ndarray, "s s 3"]:
        """Linear light from each drawn pixel; position and normal in the camera frame."""
        radiance = shade(
            colour.reshape(-1, 3),
            normal.reshape(-1, 3),
            np.negative(position).reshape(-1, 3),
            occlusion.reshape(-1),
            lamp_seen.reshape(-1),
            gloss.reshape(-1),
            light,
            WORLD,
        )
        return radiance.reshape(*drawn.shape, 3)

    def _occlusion(
        self, occlusion: Float[np.ndarray, "s s"], coordinate: Float[np.ndarray, "s s 3"], part: np.ndarray
    ) -> Float[np.ndarray, "s s"]:
        """Ambient occlusion, with the mouth darkening inwards and the eyes shaded by their lids."""
        out = np.empty(part.shape, np.float32)
        _darkened(occlusion, coordinate, part, out)
        return out

    def _hair(
        self,
        rng: np.random.Generator,
        rotation: Float[np.ndarray, "3 3"],
        translation: Float[np.ndarray, "3"],
        to_pixels: Projection,
        zbuffer: Float[np.ndarray, "s s"],
        image: Float[np.ndarray, "s s 3"],
        light: Light,
    ) -> Bool[np.ndarray, "s s"]:
        """Hair cards over the image, in place; returns where they are."""
        style = self.styles[rng.integers(len(self.styles))]
        local = style.vertices * rng.uniform(0.97, 1.08, 3) + [0, rng.normal(0, 4), rng.normal(0, 5)]
        if rng.random() < 0.5:
            local = local * [-1, 1, 1]
        camera = local @ rotation.T + translation
        outward = camera - translation
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        world = outward * [1, -1, -1]
        lit = 0.5 + 0.5 * np.clip(world @ light.lamp, 0, 1) + 0.25 * world[:, 1]
        colour, cover = draw_hair(style, to_pixels(local), camera[:, 2], lit, zbuffer)
        tint = np.clip(hair_colour(rng) ** (1 / 2.2) * 2.2, 0, 1.8)
        mixed = np.outer(tint, np.full(3, 0.8 / 3)) + 0.2 * np.eye(
            3
        )  # mostly the tint, as light as the strand
        lay(image, np.asarray(cv2.transform(colour, mixed.astype(np.float32))), cover, 0.8)
        return cover


@numba.njit(cache=True, nogil=True)
@no_type_check  # numba compiles the function itself, not a wrapper of it
def _raised(relief, texel, coordinate, part, out):
    one, none, last = np.float32(1), np.float32(0), np.float32(len(relief) - 1)
    for i in range(part.shape[0]):
        for j in range(part.shape[1]):
            if part[i, j] != FACE:
                continue
            x, y, z = abs(coordinate[i, j, 0]), coordinate[i, j, 1], coordinate[i, j, 2]
            front = min(max((z + np.float32(5)) / np.float32(25), none), one)
            front *= min(max((y + np.float32(125)) / np.float32(15), none), one)
            if front <= 0:
                continue
            column, row = min(max(texel[i, j, 0], none), last), min(max(texel[i, j, 1], none), last)
            left, top = min(int(column), len(relief) - 2), min(int(row), len(relief) - 2)
            u, v = column - np.float32(left), row - np.float32(top)
            above = relief[top, left] + (relief[top, left + 1] - relief[top, left]) * u
            below = relief[top + 1, left] + (relief[top + 1, left + 1] - relief[top + 1, left]) * u
            a, b = x / np.float32(26), (y + np.float32(71)) / np.float32(10)
            c, d = (x - np.float32(31)) / np.float32(17), (y + one) / np.float32(8)
            kept = (one - np.float32(0.7) * np.exp(-a * a - b * b)) * (
                one - np.float32(0.8) * np.exp(-c * c - d * d)
            )
            out[i, j] = (above + (below - above) * v) * kept * front


@numba.njit(cache=True, nogil=True)
@no_type_check
def _darkened(occlusion, coordinate, part, out):
    for i in range(part.shape[0]):
        for j in range(part.shape[1]):
            what = part[i, j]
            if what == GUMS or what == TEETH:
                out[i, j] = min(max((coordinate[i, j, 2] - 25) / 50, 0.03), 0.75)
            elif SCLERA_LEFT <= what < LACRIMAL:
                out[i, j] = min(max(0.75 - coordinate[i, j, 1] / 22, 0.35), 0.85)
            else:
                out[i, j] = 0.25 + 0.75 * occlusion[i, j]


@numba.njit(cache=True, nogil=True)
@no_type_check
def _exposed(radiance, exposure, drawn, cover, tones, image):
    """The drawn pixels' light as sRGB, over the image, in place."""
    one, last = np.float32(1), np.float32(len(tones) - 1)
    for i in range(drawn.shape[0]):
        for j in range(drawn.shape[1]):
            if drawn[i, j]:
                for k in range(3):
                    light = min(max(radiance[i, j, k] * exposure, np.float32(0)), one)
                    tone = tones[int(np.sqrt(light) * last + np.float32(0.5))]
                    image[i, j, k] += (tone - image[i, j, k]) * cover[i, j]
