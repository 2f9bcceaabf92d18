"""Source B: heads that never were, with exact depth, correspondence and relief, under measured light."""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from facecli.train.crease import Creases, cavity
from facecli.train.garment import Wardrobe
from facecli.train.hair import Hair, draw_hair, hair_colour, lay
from facecli.train.headmodel import (
    BACK,
    FACE,
    GUMS,
    LACRIMAL,
    SCLERA_LEFT,
    TEETH,
    HeadModel,
)
from facecli.train.lift import TEXTURE, face_box_points, region_vertices, texture_of
from facecli.train.light import Light, random_light
from facecli.train.makehuman import BACK_TEXTURE
from facecli.train.pool import Pool
from facecli.train.props import Projection, background, glasses, occluder, speech
from facecli.train.raster import interpolate, rasterize, unit, vertex_normals
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
from facecli.train.tongue import Tongue

EYE_CENTRES = np.array([[31.0, -0.65, 43.4], [-31.0, -0.65, 43.4]], np.float32)
IRIS_ANGLE, PUPIL_ANGLE = 0.41, 0.17
"""Angles from the optical axis, seen from the eyeball's centre, radians."""
WORLD = np.array([1.0, -1.0, -1.0], np.float32)
"""Camera frame to the lights' frame: y up, z towards the camera."""
LINEAR = ((np.arange(256, dtype=np.float32) / 255) ** 2.2).astype(np.float32)
"""Light of each grey value of sRGB."""
DRESSED = 0.45
"""Share of heads with a fringe, a hat, a hood, a mask or a scarf."""
STUCK_OUT = 0.05
"""Share of heads with the tongue out."""
WELL_SEEN = 0.22
"""Portraits that show less of the skin's UV tile than this lend no albedo."""


class Synthesizer:
    """Makes samples; holds what is the same for all heads."""

    def __init__(self, model: HeadModel, pool: Pool, lights: list[Light], styles: list[Hair]) -> None:
        self.model, self.pool, self.lights, self.styles = model, pool, lights, styles
        self.wardrobe, self.tongue = Wardrobe(model), Tongue(model)
        self.region = region_vertices(model).astype(np.float32)[:, None]
        self.occlusion = ambient_occlusion(
            model.neutral, vertex_normals(model.neutral, model.faces), model.faces
        )
        self.creases = Creases(model)
        self.plane = texture_of(model, model.neutral[:, :2].astype(np.float32))[0].astype(np.float32)
        self.donors = np.flatnonzero(pool.quality > WELL_SEEN)
        self.back_corner = np.array(
            [BACK_TEXTURE + 0.25, 0.25], np.float32
        )  # texel's halves, and one tile further
        self.texel = model.uv * np.array([TEXTURE, -TEXTURE], np.float32) + np.array(
            [-0.5, TEXTURE - 0.5], np.float32
        )

    def sample(self, rng: np.random.Generator, size: int) -> Sample:
        """One head: who, its look, from where, under which light, behind what; detail at full size only."""
        model = self.model
        alpha = rng.normal(0, rng.uniform(0.6, 1.25), len(model.identity))
        beta = lively_expression(rng, model.expression_names)
        out = bool(rng.random() < STUCK_OUT)
        if out:
            beta = self.tongue.parted(rng, beta)
        vertices, lip = self.tongue.moved(rng, model.vertices(alpha, beta), out)
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
        distance = np.exp(rng.uniform(np.log(230), np.log(1800)))
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
        channels = np.c_[model.neutral, camera, normals, self.region, self.occlusion]
        maps = interpolate(channels, model.faces, face_index, bary)
        coordinate, position = maps[..., :3], maps[..., 3:6]
        texel = interpolate(self.texel, model.corner_uv, face_index, bary)
        region = drawn & (maps[..., 9] > 0.5)

        height = self._relief_map(relief, texel, coordinate, part)
        colour, gloss, hair_paint = self._colours(rng, albedo, back, texel, coordinate, part)
        occlusion = self._occlusion(maps[..., 10], coordinate, part)
        tongue = self.tongue.paint(
            rng, face_index, bary, coordinate, lip, to_pixels.pixels_per_mm, colour, gloss, occlusion, height
        )
        region &= ~hair_paint & ~tongue  # before lip and chin it is no more of the face than a hand
        smooth = unit(maps[..., 6:9])
        normal = bump(smooth, position, height)

        light = random_light(rng, self.lights)
        shadow = self._shadow(camera, position, drawn, light, rng.uniform(1.0, 4.0) * size / FULL)
        grooves = cavity(height, 1 / to_pixels.pixels_per_mm)
        shadow, occlusion = shadow * grooves, occlusion * grooves
        shine = gloss * np.float32(rng.uniform(0.2, 2.2))
        radiance = self._radiance(position, drawn, normal, colour, occlusion, shadow, shine, light)
        level = np.median(radiance[region].mean(-1)) if region.any() else 0.3
        exposure = np.float32(rng.uniform(0.12, 0.5) / max(float(level), 1e-3))
        inside = np.flatnonzero(drawn)
        lit = radiance.reshape(-1, 3).take(inside, 0) * exposure
        head = np.clip(lit, 0, 1) ** np.float32(1 / 2.2) * 255
        image = background(rng, self.pool.crops, size)
        cover = cv2.GaussianBlur(drawn.astype(np.float32), (0, 0), 0.7).reshape(-1, 1).take(inside, 0)
        behind = image.reshape(-1, 3)
        behind[inside] = head * cover + behind.take(inside, 0) * (1 - cover)
        image = behind.reshape(size, size, 3)
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
        height = cv2.remap(relief, texel, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        skin = np.nonzero(part == FACE)
        x, y, z = coordinate[skin].T
        lips = np.exp(-((x / 26) ** 2) - ((y + 71) / 10) ** 2)
        eyes = np.exp(-(((np.abs(x) - 31) / 17) ** 2) - ((y + 1) / 8) ** 2)
        front = np.clip((z + 5) / 25, 0, 1) * np.clip((y + 125) / 15, 0, 1)
        out = np.zeros(part.shape, np.float32)
        out[skin] = height[skin] * (1 - 0.7 * lips) * (1 - 0.8 * eyes) * front
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
        inside = np.nonzero(drawn)
        seen = np.ones(drawn.shape, np.float32)
        seen[inside] = visible_from(
            (placed * WORLD).astype(np.float64),
            self.model.faces,
            light.lamp.astype(np.float64),
            position[inside] * WORLD,
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
        inside = np.flatnonzero(
            drawn
        )  # rows taken from a flat picture: several times as fast as by row and column

        def there(field: Float[np.ndarray, "s s *c"]) -> Float[np.ndarray, "p *c"]:
            return field.reshape(drawn.size, *field.shape[2:]).take(inside, 0)

        radiance = np.zeros((drawn.size, 3), np.float32)
        radiance[inside] = shade(
            there(colour),
            there(normal) * WORLD,
            unit(-there(position) * WORLD),
            there(occlusion),
            there(lamp_seen),
            there(gloss),
            light,
        )
        return radiance.reshape(*drawn.shape, 3)

    def _occlusion(
        self, occlusion: Float[np.ndarray, "s s"], coordinate: Float[np.ndarray, "s s 3"], part: np.ndarray
    ) -> Float[np.ndarray, "s s"]:
        """Ambient occlusion, with the mouth darkening inwards and the eyes shaded by their lids."""
        out = (0.25 + 0.75 * occlusion).astype(np.float32)
        mouth = (part == GUMS) | (part == TEETH)
        out[mouth] = np.clip((coordinate[mouth, 2] - 25) / 50, 0.03, 0.75)
        eye = (part >= SCLERA_LEFT) & (part < LACRIMAL)
        out[eye] = np.clip(0.75 - coordinate[eye, 1] / 22, 0.35, 0.85)
        return out

    def _colours(
        self,
        rng: np.random.Generator,
        albedo: UInt8[np.ndarray, "t t 3"],
        back: UInt8[np.ndarray, "b b 3"],
        texel: Float[np.ndarray, "s s 2"],
        coordinate: Float[np.ndarray, "s s 3"],
        part: np.ndarray,
    ) -> tuple[Float[np.ndarray, "s s 3"], Float[np.ndarray, "s s"], Bool[np.ndarray, "s s"]]:
        """Linear albedo, gloss, and where painted hair covers the skin."""
        skin = cv2.remap(albedo, texel, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        inside = np.nonzero(part >= 0)
        what, tone_of_hair = part[inside], hair_colour(rng)
        colour = LINEAR[skin[inside]]
        x, y, z = coordinate[inside].T
        fibre = cv2.resize(rng.random((256, 64), np.float32), (256, 256), interpolation=cv2.INTER_LINEAR)
        along, down = coordinate[..., 0] * 4 + 512, coordinate[..., 2] * 1.2 + coordinate[..., 1] * 0.5 + 256
        strands = cv2.remap(np.tile(fibre, (2, 4)), along, down, cv2.INTER_LINEAR)[inside]
        painted = np.zeros(len(x), bool)
        if rng.random() < 0.8:
            line = rng.uniform(48, 85) + 8 * np.sin(x / rng.uniform(12, 30)) + 14 * (strands - 0.5)
            temple = rng.uniform(5, 30)
            beside = (z < temple + 10 * (strands - 0.5)) & (y > rng.uniform(-5, 15)) & (np.abs(x) < 84)
            painted = ((y > line) | beside) & (what == FACE)
        face = what == FACE
        behind = what == BACK
        if behind.any():
            there = texel * np.float32(BACK_TEXTURE / TEXTURE) - self.back_corner
            colour[behind] = LINEAR[cv2.remap(back, there, None, cv2.INTER_LINEAR)[inside][behind]]  # type: ignore[call-overload]
        nape = y < rng.uniform(-70, -20)
        scalp = painted | (behind & ~nape)
        if painted.any() or rng.random() < 0.5:  # else it is shaved
            colour[scalp] = tone_of_hair * (0.5 + strands[scalp, None])
        cloth = (y < -165 + 0.15 * np.abs(x)) & (face | behind)
        colour[cloth] = rng.uniform(0.01, 0.7, 3).astype(np.float32)
        colour[what == GUMS] = np.array([0.35, 0.09, 0.08], np.float32) * np.float32(rng.uniform(0.6, 1.2))
        colour[what == TEETH] = np.array([0.68, 0.6, 0.5], np.float32) * np.float32(rng.uniform(0.7, 1.1))
        eyes = (what >= SCLERA_LEFT) & (what < LACRIMAL)
        if eyes.any():
            colour[eyes] = _eye_colour(rng, np.stack([x[eyes], y[eyes], z[eyes]], 1))
        maps = (
            np.zeros((*part.shape, 3), np.float32),
            np.ones(part.shape, np.float32),
            np.zeros(part.shape, bool),
        )
        maps[0][inside], maps[1][inside], maps[2][inside] = colour, np.where(eyes, 4, 1), painted
        return maps

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
        grey = colour.mean(-1, keepdims=True)
        colour = grey * 0.8 * tint + colour * 0.2
        lay(image, colour, cover, 0.8)
        return cover


def _eye_colour(rng: np.random.Generator, coordinate: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "p 3"]:
    """Sclera, iris with a dark limbus, pupil, from where on the eyeball a point sits in the mean head."""
    centre = EYE_CENTRES[(coordinate[:, 0] < 0).astype(int)]
    ray = coordinate - centre
    angle = np.arctan2(np.hypot(ray[:, 0], ray[:, 1]), ray[:, 2])
    around = np.arctan2(ray[:, 1], ray[:, 0])
    irises = np.array(
        [[0.08, 0.04, 0.02], [0.03, 0.015, 0.01], [0.12, 0.2, 0.3], [0.12, 0.17, 0.08], [0.2, 0.13, 0.06]]
    )
    iris = irises[rng.choice(len(irises), p=[0.35, 0.3, 0.15, 0.1, 0.1])] * rng.uniform(0.7, 1.4)
    fibres = 0.75 + 0.25 * np.sin(around * rng.integers(18, 40) + rng.uniform(0, 6))
    out = np.tile(np.array([0.72, 0.66, 0.63]) * rng.uniform(0.7, 1.1), (len(ray), 1))
    out[angle < IRIS_ANGLE] = (iris * fibres[:, None])[angle < IRIS_ANGLE]
    edge = np.exp(-(((angle - IRIS_ANGLE) / 0.035) ** 2))[:, None]
    out *= 1 - 0.7 * edge
    pupil = PUPIL_ANGLE * rng.uniform(0.7, 1.5)
    out *= np.clip((angle - pupil) / 0.03, 0.03, 1)[:, None]
    return out.astype(np.float32)
