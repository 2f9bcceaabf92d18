"""Creases out of skin's colour: what of an albedo lifted from a portrait is relief, and what is pigment.

A portrait's albedo still holds the shading of its wrinkles and folds. Under the soft light of portraits dark is deep
(Beeler et al. 2010, mesoscopic augmentation), but moles, freckles, stubble and the edges of shadows are dark too: they
are blobs, grain and steps, where a crease is a line. What is a line becomes relief, and the shading leaves the colour,
so that the two never say the same thing twice.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from facecli.train.headmodel import HeadModel
from facecli.train.lift import TEXTURE, texture_of
from facecli.train.relief import DEEPEST, MM_PER_TEXEL

OCTAVES = 4
"""Lines are looked for at widths of about 0.5, 1, 2 and 4 mm."""
DEPTH = 2.0
"""mm of relief per mm of a line's width and unit of its contrast (log of display-referred luminance): a forehead line
1 mm wide and a fifth darker than the skin beside it is 0.4 mm deep."""
SHADED = 0.5
"""Share of the broader changes of luminance that is taken for light which the fit did not explain."""
BULGE = 0.4
"""Lines lighter than the skin are relief only so far: many are the gloss of a ridge."""
NOISE = 0.008
"""Slopes of log luminance, per texel of the octave, that are the grain of skin and photo."""
FAINTEST = 12.0
"""Added to luminance before the logarithm: in the dark contrast is noise."""


@dataclass(frozen=True)
class Skin:
    """`relief` in mm along the normal, `albedo` (sRGB) without the shading of that relief, `sure` where it is known
    that relief is the skin's and not hair's, lids' or lips'; 0..1."""

    relief: Float[np.ndarray, "t t"]
    albedo: UInt8[np.ndarray, "t t 3"]
    sure: Float[np.ndarray, "t t"]


class Creases:
    """Takes creases out of albedos; holds where on the head model they can be (`where`, 0..1, of the skin's UV tile),
    and where its lids, lips and nose are (`features`)."""

    def __init__(self, model: HeadModel) -> None:
        place, skin = texture_of(model, model.neutral.astype(np.float32))
        marks = model.neutral[model.landmark_vertices]
        x, y, z = np.moveaxis(place, -1, 0)
        apart = [_distance(place, curve - [0, 2, 0]) for curve in (marks[17:22], marks[22:27])]
        brows = np.clip((np.minimum(*apart) - 7) / 4, 0, 1)
        lips = np.clip(_distance(place, marks[[*range(48, 60), 48]]) / 4 - 0.5, 0, 1)
        lips = lips * ~((np.abs(x) < 24) & (y < marks[51, 1]) & (y > marks[57, 1]))
        lids = np.clip(np.hypot((np.abs(x) - 31) / 19, (y + 1) / 10) * 4 - 4, 0, 1)
        nostrils = np.clip(np.hypot(np.abs(x) / 20, (y + 44) / 12) * 4 - 4, 0, 1)
        front = np.clip((z - 5) / 20, 0, 1) * np.clip((y + 112) / 12, 0, 1) * np.clip((84 - y) / 10, 0, 1)
        nose = np.clip(np.hypot(x / 13, (y + 20) / 26) * 4 - 4, 0, 1)  # whose lines are gloss
        own = lips * lids * nostrils * nose
        self.features = np.asarray((own < 0.5) & skin)
        where = brows * own * front * skin
        self.where = np.asarray(cv2.GaussianBlur(where.astype(np.float32), (0, 0), 2.0))
        self.bearded = (np.clip((-30 - y) / 8, 0, 1) * skin).astype(np.float32)
        self.cheeks = skin & (np.abs(np.abs(x) - 38) < 12) & (np.abs(y + 32) < 12)

    def split(self, albedo: UInt8[np.ndarray, "t t 3"]) -> Skin:
        """Relief and pigment of one person's skin."""
        light = np.log(cv2.cvtColor(albedo, cv2.COLOR_RGB2GRAY).astype(np.float32) + FAINTEST)
        sure = self.where * (1 - self._beard(light))
        relief, shading = lines(light)
        relief, shading = np.clip(relief * sure, -DEEPEST, DEEPEST), shading * sure
        return Skin(relief, plain(albedo, shading, sure), sure)

    def _beard(self, light: Float[np.ndarray, "t t"]) -> Float[np.ndarray, "t t"]:
        """Where a beard or its stubble is: the lower face darker than the cheeks, 0..1."""
        small = cv2.resize(light, (TEXTURE // 8, TEXTURE // 8), interpolation=cv2.INTER_AREA)
        broad = cv2.resize(small, (TEXTURE, TEXTURE), interpolation=cv2.INTER_LINEAR)
        darker = np.median(light[self.cheeks]) - broad
        return np.asarray(np.clip((darker - 0.35) / 0.25, 0, 1) * self.bearded, np.float32)


def lines(
    light: Float[np.ndarray, "t t"],
) -> tuple[Float[np.ndarray, "t t"], Float[np.ndarray, "t t"]]:
    """Relief (mm) of all that is a line in a log luminance (texels of the skin's UV tile), and the log shading that has
    to leave the colour with it: fine grain stays, faint traces of coarser lines do not, since they would say that
    what looks like a crease is flat."""
    levels = [light]
    for _ in range(OCTAVES + 2):
        levels.append(np.asarray(cv2.pyrDown(levels[-1])))
    shading = np.zeros_like(levels[-1])
    relief = np.zeros_like(levels[OCTAVES])
    for octave in reversed(range(OCTAVES + 2)):
        fine, coarse = levels[octave], levels[octave + 1]
        size = (fine.shape[1], fine.shape[0])
        around = np.asarray(cv2.pyrUp(coarse, dstsize=size), np.float32)
        shading = np.asarray(cv2.pyrUp(shading, dstsize=size), np.float32)
        if octave >= OCTAVES:
            shading += (fine - around) * np.float32(SHADED)
            continue
        smooth = np.asarray(cv2.GaussianBlur(fine, (0, 0), 0.8), np.float32)
        line = likeness(smooth)
        shading += (fine - around) * (np.minimum(line * 4, 1) if octave == 0 else 1)
        band = smooth - around
        contrast = np.where(band < 0, band, band * np.float32(BULGE)) * line
        width = MM_PER_TEXEL * 1.2 * 2**octave
        relief = cv2.pyrUp(relief, dstsize=size) + np.tanh(contrast * 2) * np.float32(DEPTH / 2 * width)
    return relief.astype(np.float32), shading.astype(np.float32)


def likeness(light: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """How much a place is part of a line, 0 to 1: its gradients have one direction (blobs and grain have many) but
    both signs (a step has one), and are stronger than grain."""
    dx, dy = (cv2.Sobel(light, cv2.CV_32F, *axis, ksize=3, scale=1 / 8) for axis in ((1, 0), (0, 1)))
    products = np.dstack([dx * dx - dy * dy, 2 * dx * dy, dx * dx + dy * dy, np.hypot(dx, dy)])
    mean, mean_slope = (
        cv2.GaussianBlur(products, (0, 0), 2.5),
        cv2.GaussianBlur(np.dstack([dx, dy]), (0, 0), 2.5),
    )
    energy = mean[..., 2] + 1e-12
    one_way = np.hypot(mean[..., 0], mean[..., 1]) / energy
    step = np.hypot(mean_slope[..., 0], mean_slope[..., 1]) / (mean[..., 3] + 1e-6)
    heard = energy / (energy + NOISE**2)
    return np.asarray(
        np.clip(one_way * 2.5 - 0.6, 0, 1) * np.clip(1.8 - 2.2 * step, 0, 1) * heard, np.float32
    )


def plain(
    albedo: UInt8[np.ndarray, "t t 3"], shading: Float[np.ndarray, "t t"], sure: Float[np.ndarray, "t t"]
) -> UInt8[np.ndarray, "t t 3"]:
    """Without `shading` (log), and of even hue where `sure`: light that goes to and fro in a crease reddens it."""
    grey = cv2.cvtColor(albedo, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None] + FAINTEST
    hue = (albedo + np.float32(FAINTEST)) / grey
    even = cv2.resize(cv2.GaussianBlur(cv2.resize(hue, None, fx=0.5, fy=0.5), (0, 0), 3), hue.shape[1::-1])
    hue += (even - hue) * sure[..., None]
    colour = hue * grey * np.exp(-shading)[..., None] - FAINTEST
    return np.clip(colour + 0.5, 0, 255).astype(np.uint8)


def cavity(relief: Float[np.ndarray, "h w"], mm_per_pixel: float) -> Float[np.ndarray, "h w"]:
    """Share of the sky that each pixel sees out of its groove, 0 to 1: a groove of depth d and half width w hides all
    but w / sqrt(d^2 + w^2) from its bottom; taken at the scale at which it hides most."""
    levels, steepest = [relief], np.zeros_like(relief)
    for octave in range(OCTAVES):
        levels.append(np.asarray(cv2.pyrDown(levels[-1])))
        around = levels[-1]
        for level in reversed(levels[:-1]):
            around = np.asarray(cv2.pyrUp(around, dstsize=level.shape[::-1]))
        steepest = np.maximum(steepest, (around - relief) / np.float32(mm_per_pixel * 2**octave))
    return np.asarray(1 / np.sqrt(1 + steepest**2), np.float32)


def _distance(place: Float[np.ndarray, "t t 3"], curve: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "t t"]:
    """mm from each texel to a curve, seen from the front."""
    ends = [np.linspace(a, b, 12) for a, b in zip(curve[:-1, :2], curve[1:, :2], strict=True)]
    points = np.concatenate(ends).astype(np.float32)
    apart = np.full(place.shape[:2], np.inf, np.float32)
    for point in points:
        apart = np.minimum(apart, np.hypot(place[..., 0] - point[0], place[..., 1] - point[1]))
    return apart
