"""Several photos of one person -> one neutral face: the most probable identity, bent and coloured by what each shows.

Averaging the faces of the photos would mix what one photo sees with what another only guesses. Here all visible pixels
decide together who it is (`facecli.identity.explain`), every photo with its own expression and a pose that may be a
little off; what pixels leave over from that, and their colours, are then blended by how well each photo shows a place.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8

from facecli.blendshapes import Blendshapes
from facecli.complete import FaceModel, Surface, left_over, with_left_over
from facecli.grid import around, enlarge, sample, splat
from facecli.identity import Explanation, Visible, explain, visible
from facecli.pipeline import Face
from facecli.relief import raised, relief
from facecli.texture import Skin, fill

# What pixels leave over is in good part their error: that it is nothing counts like pixels of this weight.
DOUBT = 0.6
# That of what is broader than so many cells counts like so many more, per mm^2 that pixels err by.
BROAD, BROAD_DOUBT = 4.0, 4.0
LEAST_QUALITY = 0.05  # of a cell that a texture shows although no pixel of the mesh lies in it
BRIGHTER = 2.0  # photos are made at most so much brighter or darker to match the others
SHARP = 4  # fine detail is taken from the best photo: weights to this power, so as not to blur what is out of line


@dataclass(frozen=True, eq=False)
class Fused:
    """One neutral face of several photos."""

    skin: Skin  # surface and texture; visibility counts all photos
    explanation: Explanation
    shares: Float[np.ndarray, " p"]  # of what is visible in any photo, how much was taken from each; sum to 1


@dataclass(frozen=True, eq=False)
class Blend:
    """A surface of several photos. quality: how well each shows each cell, 0 to 1."""

    surface: Surface
    explanation: Explanation
    quality: Float[np.ndarray, "p g g"]


def fuse(model: FaceModel, blendshapes: Blendshapes, faces: list[Face]) -> Fused:
    """One face from faces of the same person, each with its `skin`. Raises ValueError for none, or one without skin."""
    skins = [face.skin for face in faces if face.skin is not None]
    if not faces or len(skins) < len(faces):
        raise ValueError("fusing needs faces, each reconstructed whole")
    photos = [visible(model, face.maps, face.mesh, face.pose) for face in faces]
    blend = fuse_shapes(model, blendshapes, photos)
    texture, visibility = fuse_textures(model, skins, np.maximum(blend.quality, LEAST_QUALITY))
    skin = raised(Skin(blend.surface, texture, visibility), fuse_relief(model, faces, skins, blend.quality))
    taken = (blend.quality / np.maximum(blend.quality.sum(0), 1e-9) * blend.surface.seen).sum((1, 2))
    return Fused(skin, blend.explanation, taken / max(taken.sum(), 1e-9))


def fuse_shapes(model: FaceModel, blendshapes: Blendshapes, photos: list[Visible]) -> Blend:
    """The neutral face that explains all photos best, bent to what each of them shows."""
    size = model.mean.shape[0]
    found = explain(model, blendshapes, photos)
    modes = np.concatenate([found.identity, blendshapes.neutral]).astype(np.float32)
    shape = model.mean + enlarge(np.tensordot(modes, model.modes, 1), size)
    residuals, trusts, quality = [], [], []
    for photo, weights, motion in zip(photos, found.weights, found.motions, strict=True):
        posed = shape + blendshapes.offset(model, weights)
        residual, trust = left_over(model, photo.cells, photo.moved(motion) - sample(posed, photo.cells))
        residuals.append(residual)
        trusts.append(trust)
        quality.append(trust * splat(photo.cells, photo.weight[:, None], size)[0][..., 0])
    doubt = DOUBT + BROAD_DOUBT * float(np.square(found.left_over).mean())
    bend = _believed(np.stack(residuals), np.stack(quality), doubt)
    return Blend(with_left_over(model, shape, bend, np.max(trusts, axis=0)), found, np.stack(quality))


def _believed(
    residuals: Float[np.ndarray, "p g g 3"], quality: Float[np.ndarray, "p g g"], broad_doubt: float
) -> Float[np.ndarray, "g g 3"]:
    """The photos' mean of what is left over from the person, mm, as far as it is to be believed.

    Relief is any photo's own; but where a whole cheek is off, the maps err rather than the model.
    """
    weight = quality.sum(0)[..., None]
    mean = np.einsum("pij,pijk->ijk", quality, residuals) / np.maximum(weight, 1e-9)
    broad = around(mean, weight[..., 0], BROAD)
    return np.asarray(
        broad * weight / (weight + broad_doubt) + (mean - broad) * weight / (weight + DOUBT), np.float64
    )


def fuse_relief(
    model: FaceModel, faces: list[Face], skins: list[Skin], quality: Float[np.ndarray, "p g g"]
) -> Float32[np.ndarray, "g g"]:
    """Relief, mm outwards: of each place that of the photo that shows it best."""
    heights = [
        relief(
            model, skin, face.maps.detail * np.float32(face.detail_scale), face.camera, face.pose, face.crop
        )
        for face, skin in zip(faces, skins, strict=True)
    ]
    return np.asarray((_shares(quality)[1] * heights).sum(0), np.float32)


def fuse_textures(
    model: FaceModel, skins: list[Skin], quality: Float[np.ndarray, "p g g"]
) -> tuple[UInt8[np.ndarray, "t t 3"], UInt8[np.ndarray, "t t"]]:
    """One texture, and how much of it is any photo's; photos are matched in brightness and hue where they overlap.

    Two bands (Burt and Adelson 1983 have more): coarse colours are blended softly, fine detail comes from the photo
    that shows it best.
    """
    import cv2

    size, full = quality.shape[1], skins[0].texture.shape[1::-1]

    def shrink(picture: UInt8[np.ndarray, "t t *c"]) -> Float32[np.ndarray, "g g *c"]:
        return np.asarray(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA), np.float32)

    def widen(grid: Float32[np.ndarray, "g g *c"]) -> Float32[np.ndarray, "t t *c"]:
        return np.asarray(cv2.resize(grid, full, interpolation=cv2.INTER_LINEAR))

    seen = np.stack([shrink(skin.visibility) for skin in skins]) / 255
    weight = (seen * quality).astype(np.float32)
    gains = _matched(np.stack([shrink(skin.texture) for skin in skins]), weight)
    soft, sharp = _shares(weight)
    coarse, fine = np.zeros((size, size, 3), np.float32), np.zeros((*full[::-1], 3), np.float32)
    for skin, gain, softly, sharply in zip(skins, gains, soft, sharp, strict=True):
        picture = np.clip(skin.texture * gain, 0, 255).astype(np.float32)
        colours = cv2.GaussianBlur(
            cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA), (0, 0), 1.5
        )
        coarse += colours * softly[..., None]
        fine += (picture - widen(colours)) * widen(sharply)[..., None]
    whole = np.clip(np.rint(widen(coarse) + fine), 0, 255).astype(np.uint8)
    return fill(model, whole, shrink(whole), seen.max(0))


def _shares(
    weight: Float[np.ndarray, "p g g"],
) -> tuple[Float[np.ndarray, "p g g"], Float[np.ndarray, "p g g"]]:
    """Of each photo in each place, for what is coarse and for fine detail; they sum to 1 where anything is seen."""
    soft = weight / np.maximum(weight.sum(0), 1e-6)
    sharp = soft**SHARP
    return soft, sharp / np.maximum(sharp.sum(0), 1e-6)


def _matched(
    colours: Float32[np.ndarray, "p g g 3"], weight: Float32[np.ndarray, "p g g"]
) -> Float32[np.ndarray, "p 3"]:
    """A factor for each photo's red, green and blue, so that they agree where several show the same place."""
    count = len(colours)
    level = np.log(np.maximum(colours, 1.0))
    area = weight.sum((1, 2)).astype(np.float64)
    rows, goals = [area / max(float(area.max()), 1e-9)], [np.zeros(3)]  # together as bright as they were
    for first in range(count):
        for second in range(first):
            both = np.sqrt(weight[first] * weight[second])
            overlap = float(both.sum())
            row = np.zeros(count)
            row[first], row[second] = 1, -1
            difference = ((level[second] - level[first]) * both[..., None]).sum((0, 1)) / max(overlap, 1e-9)
            trust = np.sqrt(overlap / both.size)
            rows.append(row * trust)
            goals.append(difference * trust)
    found = np.linalg.lstsq(np.stack(rows), np.stack(goals), rcond=1e-6)[0]
    return np.exp(np.clip(found, -np.log(BRIGHTER), np.log(BRIGHTER))).astype(np.float32)
