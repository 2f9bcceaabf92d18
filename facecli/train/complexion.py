"""What colour each pixel of a head has: skin, painted hair, scalp, cloth, mouth and eyes."""

from typing import no_type_check

import cv2
import numba
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from facecli.train.hair import hair_colour
from facecli.train.headmodel import BACK, FACE, GUMS, LACRIMAL, SCLERA_LEFT, TEETH
from facecli.train.lift import TEXTURE
from facecli.train.makehuman import BACK_TEXTURE

EYE_CENTRES = np.array([[31.0, -0.65, 43.4], [-31.0, -0.65, 43.4]], np.float32)
IRIS_ANGLE, PUPIL_ANGLE = 0.41, 0.17
"""Angles from the optical axis, seen from the eyeball's centre, radians."""
LINEAR = ((np.arange(256, dtype=np.float32) / 255) ** 2.2).astype(np.float32)
"""Light of each grey value of sRGB."""
FIBRES = 256
"""Side of the noise that strands of hair are made of, pixels; it repeats."""
SHRUNK = np.float32(BACK_TEXTURE / TEXTURE)
BACK_CORNER = np.float32(BACK_TEXTURE + 0.25), np.float32(0.25)
"""Where the tile of the head's back begins, texels of it: texel's halves, and one tile further."""


def colours(
    rng: np.random.Generator,
    albedo: UInt8[np.ndarray, "t t 3"],
    back: UInt8[np.ndarray, "b b 3"],
    texel: Float[np.ndarray, "s s 2"],
    coordinate: Float[np.ndarray, "s s 3"],
    part: Int[np.ndarray, "s s"],
) -> tuple[Float[np.ndarray, "s s 3"], Float[np.ndarray, "s s"], Bool[np.ndarray, "s s"]]:
    """Linear albedo, gloss, and where painted hair covers the skin.

    albedo, back: sRGB, of the face and of the rest of the head; texel: of `albedo`, which `back` follows; coordinate:
    of the template, mm; part: the material of each pixel, less than 0 where there is none, and no colour.
    """
    tone_of_hair = hair_colour(rng)
    fibre = cv2.resize(rng.random((FIBRES, FIBRES // 4), np.float32), (FIBRES, FIBRES))
    hairline = np.zeros(
        5, np.float32
    )  # height, width of its bumps, depth and lowest point of the temples; is it drawn
    if rng.random() < 0.8:
        hairline[:] = *rng.uniform([48, 12, 5, -5], [85, 30, 30, 15]), 1
    coordinate = np.ascontiguousarray(coordinate)
    strands, painted = np.zeros(part.shape, np.float32), np.zeros(part.shape, bool)
    some_painted = _grown(part, coordinate, fibre, hairline, strands, painted)
    nape = rng.uniform(-70, -20)
    haired = some_painted or rng.random() < 0.5  # else it is shaved
    cloth = rng.uniform(0.01, 0.7, 3).astype(np.float32)
    gums = np.array([0.35, 0.09, 0.08], np.float32) * np.float32(rng.uniform(0.6, 1.2))
    teeth = np.array([0.68, 0.6, 0.5], np.float32) * np.float32(rng.uniform(0.7, 1.1))
    colour, gloss = np.zeros((*part.shape, 3), np.float32), np.ones(part.shape, np.float32)
    fixed = np.stack([cloth, gums, teeth, tone_of_hair])
    _coloured(
        part,
        coordinate,
        texel,
        albedo,
        back,
        strands,
        painted,
        haired,
        np.float32(nape),
        fixed,
        LINEAR,
        colour,
    )
    eyes = np.nonzero((part >= SCLERA_LEFT) & (part < LACRIMAL))
    if len(eyes[0]):
        colour[eyes], gloss[eyes] = _eye_colour(rng, coordinate[eyes]), 4
    return colour, gloss, painted


@numba.njit(cache=True, nogil=True)
@no_type_check  # numba compiles the function itself, not a wrapper of it
def _grown(part, coordinate, fibre, hairline, strands, painted):
    """Strands (0..1) at each pixel, and where hair is painted on the face, in place; True if it is anywhere."""
    height, width, temple, low, drawn = hairline
    half, four, some = np.float32(0.5), np.float32(4), False
    for i in range(part.shape[0]):
        for j in range(part.shape[1]):
            what = part[i, j]
            if what != FACE and what != BACK:
                continue
            x, y, z = coordinate[i, j, 0], coordinate[i, j, 1], coordinate[i, j, 2]
            along, down = x * four, z * np.float32(1.2) + y * half
            left, top = int(np.floor(along)), int(np.floor(down))
            u, v = along - np.float32(left), down - np.float32(top)
            a, b, c, d = left % FIBRES, (left + 1) % FIBRES, top % FIBRES, (top + 1) % FIBRES
            above = fibre[c, a] + (fibre[c, b] - fibre[c, a]) * u
            strand = above + (fibre[d, a] + (fibre[d, b] - fibre[d, a]) * u - above) * v
            strands[i, j] = strand
            if what == FACE and drawn > 0:
                aside = z < temple + np.float32(10) * (strand - half) and y > low and abs(x) < np.float32(84)
                if aside or y > height + np.float32(8) * np.sin(x / width) + np.float32(14) * (strand - half):
                    painted[i, j] = some = True
    return some


@numba.njit(cache=True, nogil=True)
@no_type_check
def _coloured(part, coordinate, texel, albedo, back, strands, painted, haired, nape, fixed, linear, colour):
    cloth, gums, teeth, hair = fixed[0], fixed[1], fixed[2], fixed[3]
    half = np.float32(0.5)
    for i in range(part.shape[0]):
        for j in range(part.shape[1]):
            what = part[i, j]
            if what == GUMS:
                colour[i, j] = gums
            elif what == TEETH:
                colour[i, j] = teeth
            elif what == FACE or what == BACK or what == LACRIMAL:
                x, y = coordinate[i, j, 0], coordinate[i, j, 1]
                if what != LACRIMAL and y < np.float32(-165) + np.float32(0.15) * abs(x):
                    colour[i, j] = cloth
                elif haired and (painted[i, j] or (what == BACK and y >= nape)):
                    for k in range(3):
                        colour[i, j, k] = hair[k] * (half + strands[i, j])
                elif what == BACK:
                    column, row = (
                        texel[i, j, 0] * SHRUNK - BACK_CORNER[0],
                        texel[i, j, 1] * SHRUNK - BACK_CORNER[1],
                    )
                    _looked_up(back, column, row, linear, colour[i, j])
                else:
                    _looked_up(albedo, texel[i, j, 0], texel[i, j, 1], linear, colour[i, j])


@numba.njit(cache=True, nogil=True, inline="always")
@no_type_check
def _looked_up(picture, column, row, linear, out):
    """Light of an sRGB picture between its pixels, those at its border repeated."""
    column = min(max(column, np.float32(0)), np.float32(picture.shape[1] - 1))
    row = min(max(row, np.float32(0)), np.float32(picture.shape[0] - 1))
    left, top = min(int(column), picture.shape[1] - 2), min(int(row), picture.shape[0] - 2)
    u, v = column - np.float32(left), row - np.float32(top)
    for k in range(3):
        a, b = np.float32(picture[top, left, k]), np.float32(picture[top, left + 1, k])
        c, d = np.float32(picture[top + 1, left, k]), np.float32(picture[top + 1, left + 1, k])
        above, below = a + (b - a) * u, c + (d - c) * u
        out[k] = linear[int(above + (below - above) * v + np.float32(0.5))]


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
