"""Sources A and C: a licensed portrait again, with another pose, shape, expression and light.

After Guo et al. (TPAMI 2018): the fitted head carries the photo's own texture to its new place, the
background is warped to follow, and the labels of the new head are exact. With no change at all the fit itself
labels the untouched photo (source C): then the depth is only as good as the fit and is marked so.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from facecli.train.crease import Creases, cavity
from facecli.train.garment import Wardrobe
from facecli.train.headmodel import BACK, FACE, FACE_VERTICES, GUMS, TEETH, HeadModel
from facecli.train.lift import TEXTURE, face_box_points, region_vertices, spherical_harmonics, texture_of
from facecli.train.pool import Pool
from facecli.train.props import Projection, glasses, occluder, speech
from facecli.train.raster import interpolate, rasterize, rounded, vertex_normals
from facecli.train.relief import creases_of, random_relief
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
from facecli.train.shade import bump

FIT_DEPTH_WEIGHT = 0.15
"""How much a fit's own depth counts beside exact depth: it is about 2 mm wrong."""
DRESSED = 0.2
"""Share of changed portraits that get a fringe, a hat, a hood, a mask or a scarf."""
WRINKLED = 0.5
"""Share of changed portraits that get more relief than their own."""
GRID = 64
"""The background's warp is computed on this coarse a grid."""


@dataclass(frozen=True)
class Shown:
    """Relief at each pixel, mm: the portrait's `own`, which its photo shows already, and what is `added` to it; `sure`
    where that is all there is."""

    own: Float[np.ndarray, "s s"]
    added: Float[np.ndarray, "s s"]
    sure: Bool[np.ndarray, "s s"]


class Rerenderer:
    """Makes samples from the pool of portraits; holds what is the same for all of them."""

    def __init__(self, model: HeadModel, pool: Pool, wardrobe: Wardrobe) -> None:
        self.model, self.pool, self.wardrobe = model, pool, wardrobe
        self.region = region_vertices(model).astype(np.float32)[:, None]
        self.drawn = model.faces[model.part != BACK]
        self.part = model.part[model.part != BACK]
        self.corner_uv = model.corner_uv[model.part != BACK]
        self.texel = model.uv * [TEXTURE, -TEXTURE] + [-0.5, TEXTURE - 0.5]
        self.creases = Creases(model)
        self.plane = texture_of(model, model.neutral[:, :2].astype(np.float32))[0].astype(np.float32)
        self.skin = np.arange(0, FACE_VERTICES, 6)

    def sample(self, rng: np.random.Generator, size: int, index: int, changed: bool = True) -> Sample:
        """Portrait `index`, changed at random (source A) or as it is (source C); detail at full size only."""
        model, pool = self.model, self.pool
        fits = pool.fits
        alpha, beta = fits.alpha[index].copy(), fits.beta[index].copy()
        rotation, translation = (
            fits.rotation[index].astype(np.float64),
            fits.translation[index].astype(np.float64),
        )
        focal, centre = float(fits.focal[index]), (fits.sizes[index] - 1) / 2
        to_crop = pool.to_crop[index]
        old = model.vertices(alpha, beta)
        old_pixels = project(old @ rotation.T + translation, focal, centre) @ to_crop[:, :2].T + to_crop[:, 2]

        new, new_rotation, new_translation, new_focal = old, rotation, translation, focal
        if changed:
            alpha = alpha * 0.7 + rng.normal(0, rng.uniform(0.4, 1.1), len(alpha)).astype(np.float32)
            offset = lively_expression(rng, model.expression_names) * rng.choice([0, 0.5, 1.0])
            beta = np.clip(beta + offset, 0, 1)
            new = model.vertices(alpha, beta)
            turn = euler(
                *np.deg2rad([np.clip(rng.normal(0, 14), -35, 35), np.clip(rng.normal(0, 11), -28, 28)])
            )
            new_rotation = rotation @ turn
            nearer = np.exp(rng.uniform(np.log(280), np.log(1500))) / translation[2]
            new_translation, new_focal = translation * nearer, focal * nearer
        camera = new @ new_rotation.T + new_translation
        photo_pixels = project(camera, new_focal, centre)
        frame = jittered_frame(rng, face_box_points(photo_pixels), 14, size)
        pixels = photo_pixels @ frame[:, :2].T + frame[:, 2]

        face_index, bary, zbuffer = rasterize(pixels, camera[:, 2], self.drawn, size, size)
        normals = vertex_normals(new, model.faces) @ new_rotation.T.astype(np.float32)
        old_normals = vertex_normals(old, model.faces) @ rotation.T.astype(np.float32)
        facing = -np.einsum("ij,ij->i", camera, normals) / np.linalg.norm(camera, axis=1)
        channels = np.c_[
            model.neutral,
            old_pixels,
            self.region,
            normals,
            old_normals,
            facing.astype(np.float32),
            camera,
        ]
        maps = interpolate(channels, self.drawn, face_index, bary)
        position = rounded(maps[..., 13:16], camera, normals, self.drawn, face_index, bary)
        depth = (new_translation - position) @ viewing_axis(frame, size, new_focal, centre)
        drawn = face_index >= 0
        part = np.where(drawn, self.part[face_index], -1)
        footprint = size / COARSE * new_translation[2] / (new_focal * np.hypot(*frame[:, 0]))
        shown = (
            self._relief(rng, index, beta if changed else None, face_index, bary, part)
            if size == FULL
            else None
        )

        crop, mask = pool.crops[index], pool.masks[index]
        source = np.ascontiguousarray(maps[..., 3:5])
        face = cv2.remap(crop, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        face_mask = cv2.remap(mask, source, None, cv2.INTER_LINEAR)  # type: ignore[call-overload]
        light = pool.light[index]
        new_light = relit(rng, light) if changed and rng.random() < 0.6 else light
        if changed:
            before = np.clip(spherical_harmonics(maps[..., 9:12]) @ light, 0.3, 3)
            turned, grooves = maps[..., 6:9], np.ones_like(maps[..., :1])
            if shown is not None and shown.added.any():
                turned = bump(turned, position, shown.added)
                grooves = cavity(shown.added, footprint / (FULL // COARSE))[..., None]
            after = np.clip(spherical_harmonics(turned) @ new_light * grooves, 0.1, 3)
            face = np.clip(face * np.clip(after / before, 0.3, 2.5), 0, 255).astype(np.uint8)
            face = self._fill_mouth(face, part, maps[..., 2], source, old_pixels)
        field = self._background_field(old_pixels, pixels, frame, to_crop, size)
        background = cv2.remap(crop, field, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)  # type: ignore[call-overload]
        gain = new_light[0] / np.maximum(light[0], 0.1)
        background = np.clip(background * np.clip(gain, 0.4, 2), 0, 255).astype(np.uint8)
        alpha_map = cv2.GaussianBlur(
            cv2.erode(drawn.astype(np.float32), np.ones((3, 3))), (0, 0), size / 350
        )[..., None]
        image = (face * alpha_map + background * (1 - alpha_map)).astype(np.uint8)

        region = drawn & (maps[..., 5] > 0.5) & (face_mask > 127)
        if changed:  # along the photo's own outline the mask is read at a grazing angle, and crumbles
            region = cv2.medianBlur(region.astype(np.uint8) * 255, 7) > 127
            region &= drawn
            image = self._in_front(
                rng,
                image,
                region,
                new,
                new_rotation,
                new_translation,
                new_focal,
                frame,
                centre,
                zbuffer,
                new_light,
            )
        coarse, known = pack_coarse(maps[..., :3], depth, region)
        detail = None
        if shown is not None:
            known_there = region & (part == FACE) & shown.sure
            detail = pack_detail(depth, maps[..., 12], shown.own + shown.added, coarse, known, known_there)
        return Sample(
            image,
            pack_region(region),
            coarse,
            known,
            detail,
            float(footprint),
            1.0 if changed else FIT_DEPTH_WEIGHT,
            pack_opening(part, region),
            expression=beta,
        )

    def _relief(
        self,
        rng: np.random.Generator,
        index: int,
        beta: Float[np.ndarray, "e"] | None,
        face_index: Int[np.ndarray, "s s"],
        bary: Float[np.ndarray, "s s 3"],
        part: Int[np.ndarray, "s s"],
    ) -> Shown:
        """The skin's relief: lifted from this portrait, and often another's and drawn folds on top. Not known where
        hair may be; lids, lips and nose are the head's own, and smooth. `beta`: the new expression, none where the
        photo stays as it is."""
        texel = interpolate(self.texel, self.corner_uv, face_index, bary)

        def at_pixels(texels: Float[np.ndarray, "t t"]) -> Float[np.ndarray, "s s"]:
            sampled = cv2.remap(texels, texel, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
            return np.where(part == FACE, sampled, np.float32(0))

        albedos = self.pool.albedos
        skin = self.creases.split(np.asarray(albedos[index]))
        added = np.zeros_like(skin.relief)
        if beta is not None and rng.random() < WRINKLED:
            lender = self.creases.split(np.asarray(albedos[rng.integers(len(albedos))]))
            folded = creases_of(beta, self.model.expression_names)
            added = random_relief(rng, self.plane, folded, lender.relief) * self.creases.where
        sure = np.maximum(skin.sure, self.creases.features.astype(np.float32))
        return Shown(at_pixels(skin.relief), at_pixels(added), at_pixels(sure) > 0.5)

    def _in_front(
        self,
        rng: np.random.Generator,
        image: UInt8[np.ndarray, "s s 3"],
        region: Bool[np.ndarray, "s s"],
        vertices: Float[np.ndarray, "v 3"],
        rotation: Float[np.ndarray, "3 3"],
        translation: Float[np.ndarray, "3"],
        focal: float,
        frame: Float[np.ndarray, "2 3"],
        centre: Float[np.ndarray, "2"],
        zbuffer: Float[np.ndarray, "s s"],
        light: Float[np.ndarray, "9 3"],
    ) -> UInt8[np.ndarray, "s s 3"]:
        """The portrait behind a fringe, a hat, spectacles, a hand or things now and then.

        They leave `region`, in place.
        """
        centred = np.c_[frame[:, :2], frame[:, :2] @ centre + frame[:, 2]]
        to_pixels = Projection(rotation, translation, focal, centred)
        painted = image.astype(np.float32)

        def brightness(normals: Float[np.ndarray, "w 3"]) -> Float[np.ndarray, "w"]:
            return np.clip((spherical_harmonics(normals) @ light).mean(-1), 0.15, 1.6).astype(np.float32)

        if rng.random() < DRESSED:
            region &= ~self.wardrobe.dress(rng, vertices, to_pixels, zbuffer, zbuffer, painted, brightness)
        landmarks = vertices[self.model.landmark_vertices]
        if rng.random() < 0.2:
            glasses(rng, painted, region, landmarks, to_pixels)
        if rng.random() < 0.2:
            occluder(rng, painted, region, self.pool.crops, to_pixels.pixels_per_mm)
        if rng.random() < 0.03:
            speech(rng, painted, region, landmarks, to_pixels)
        return np.clip(painted, 0, 255).astype(np.uint8)

    def _fill_mouth(
        self,
        face: UInt8[np.ndarray, "s s 3"],
        part: Int[np.ndarray, "s s"],
        inwards: Float[np.ndarray, "s s"],
        source: Float[np.ndarray, "s s 2"],
        old_pixels: Float[np.ndarray, "v 2"],
    ) -> UInt8[np.ndarray, "s s 3"]:
        """Paint teeth and gums that the photo hid, and for which lips were lifted. `inwards`: template z, mm."""
        shown = np.zeros(self.pool.masks.shape[1:], np.uint8)
        inner_lips = old_pixels[self.model.landmark_vertices[60:68]]
        cv2.fillPoly(shown, [np.rint(inner_lips * 8).astype(np.int32)], 255, cv2.LINE_AA, 3)
        lifted = cv2.remap(shown, source, None, cv2.INTER_LINEAR)  # type: ignore[call-overload]
        mouth = (part == GUMS) | (part == TEETH)
        if not (mouth & (lifted < 128)).any():
            return face
        cover = cv2.GaussianBlur((mouth & (lifted < 128)).astype(np.float32), (0, 0), 0.8)[..., None]
        level = face[part == FACE].mean() / 150 * np.clip((inwards - 15) / 50, 0.05, 0.9)
        tone = np.where((part == TEETH)[..., None], [205, 188, 168], [125, 58, 54])
        return np.clip(face * (1 - cover) + tone * level[..., None] * cover, 0, 255).astype(np.uint8)

    def _background_field(
        self,
        old_pixels: Float[np.ndarray, "v 2"],
        pixels: Float[np.ndarray, "v 2"],
        frame: Float[np.ndarray, "2 3"],
        to_crop: Float[np.ndarray, "2 3"],
        size: int,
    ) -> Float[np.ndarray, "s s 2"]:
        """For each output pixel, where in the stored crop the background comes from.

        Far from the head the photo stays where it is; at the head it follows; between, the displacement
        diffuses.
        """
        full = np.vstack([frame, [0, 0, 1]])
        back = np.vstack([to_crop, [0, 0, 1]]) @ np.linalg.inv(full)
        still = pixels[self.skin] @ back[:2, :2].T + back[:2, 2]
        moved = old_pixels[self.skin] - still
        cell = np.clip((pixels[self.skin] + 0.5) * GRID / size, 0, GRID - 1).astype(int)
        weight = np.full((GRID, GRID), 1e-4, np.float32)
        total = np.zeros((GRID, GRID, 2), np.float32)
        np.add.at(weight, (cell[:, 1], cell[:, 0]), 1.0)
        np.add.at(total, (cell[:, 1], cell[:, 0]), moved.astype(np.float32))
        field = np.zeros((GRID, GRID, 2), np.float32)
        for sigma in (16.0, 8.0, 4.0, 2.0, 1.0):
            w = cv2.GaussianBlur(weight, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
            t = cv2.GaussianBlur(total, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
            trust = (
                np.clip(w * sigma, 0, 1)[..., None] if sigma < 16 else w[..., None] / (w[..., None] + 0.02)
            )
            field = field * (1 - trust) + t / w[..., None] * trust
        field = np.asarray(cv2.resize(field, (size, size), interpolation=cv2.INTER_CUBIC))
        xs, ys = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
        base = np.dstack(
            [xs * back[0, 0] + ys * back[0, 1] + back[0, 2], xs * back[1, 0] + ys * back[1, 1] + back[1, 2]]
        )
        return (base + field).astype(np.float32)


def project(
    camera: Float[np.ndarray, "v 3"], focal: float, centre: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "v 2"]:
    """Pinhole projection of camera-frame points, pixels."""
    return camera[:, :2] / camera[:, 2:] * focal + centre


def relit(rng: np.random.Generator, light: Float[np.ndarray, "9 3"]) -> Float[np.ndarray, "9 3"]:
    """A new spherical-harmonic light near the photo's: another direction, strength and colour."""
    direction = rng.normal(size=3)
    direction[2] -= 0.8  # towards the camera, whose z points away from it
    direction /= np.linalg.norm(direction)
    strength = rng.uniform(0, 0.7)
    out = light * rng.uniform(0.3, 1.0)
    out[0] = light[0] * rng.uniform(0.6, 1.1)
    tint = 1 + rng.normal(0, 0.06, 3)
    out[1:4] += (direction[:, None] * strength * tint).astype(np.float32)
    return out.astype(np.float32)
