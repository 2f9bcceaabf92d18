"""Skin relief with exact ground truth: displacement maps in UV space, in mm along the normal."""

from dataclasses import dataclass
from typing import no_type_check

import cv2
import numba
import numpy as np
from jaxtyping import Float, UInt8

from facecli.train.lift import TEXTURE

MM_PER_TEXEL = 0.45
"""Roughly, over cheeks and forehead, in the skin's UV tile at `TEXTURE` px."""

DEEPEST = 2.0
"""mm; nothing drawn goes deeper."""

CANVAS, CANVAS_MM = 512, 0.4
"""Folds are drawn on a square of so many pixels, each so many mm of the mean head seen from the front."""


@dataclass(frozen=True)
class Creases:
    """How much an expression folds the skin, 0 to 1: forehead, between the brows, at the eyes, on the cheeks."""

    forehead: float = 0.0
    frown: float = 0.0
    eyes: float = 0.0
    cheeks: float = 0.0


AT_REST = Creases()
_CREASING = {
    "forehead": ("browInnerUp", "browOuterUp"),
    "frown": ("browDown", "noseSneer"),
    "eyes": ("eyeSquint", "cheekSquint", "mouthSmile"),
    "cheeks": ("mouthSmile", "mouthDimple", "mouthStretch", "mouthUpperUp"),
}


def creases_of(beta: Float[np.ndarray, "e"], names: tuple[str, ...]) -> Creases:
    """What an expression of the head model folds: of each kind the strongest of the shapes that do."""
    weights = list(zip(names, beta, strict=True))
    strongest = {
        kind: max((float(weight) for name, weight in weights if name.startswith(shapes)), default=0.0)
        for kind, shapes in _CREASING.items()
    }
    return Creases(**strongest)


def pores(rng: np.random.Generator, depth: float) -> Float[np.ndarray, "t t"]:
    """Irregular fine grain of about a millimetre, uneven over the face."""
    # Even noise does for normal noise, and is drawn in a fifth of the time: the blur sums it over many texels.
    noise = rng.random((TEXTURE, TEXTURE), np.float32)
    grain = cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.8, 1.6))
    patches = cv2.resize(rng.random((9, 9), np.float32), (TEXTURE, TEXTURE), interpolation=cv2.INTER_CUBIC)
    level, spread = cv2.meanStdDev(grain)
    return _grained(
        grain, np.float32(level.item()), np.float32(1 / (spread.item() + 1e-6)), patches, np.float32(depth)
    )


@numba.njit(cache=True, nogil=True)
@no_type_check  # numba compiles the function itself, not a wrapper of it
def _grained(grain, level, sharpness, patches, depth):
    out = np.empty_like(grain)
    for i in range(grain.shape[0]):
        for j in range(grain.shape[1]):
            out[i, j] = min((grain[i, j] - level) * sharpness, np.float32(0.6)) * depth * patches[i, j]
    return out


def wrinkles(rng: np.random.Generator, count: int, depth: float) -> Float[np.ndarray, "t t"]:
    """Smooth folded lines at random places and directions, valleys with soft shoulders."""
    canvas = np.zeros((TEXTURE, TEXTURE), np.float32)
    for _ in range(count):
        start = rng.uniform(0.12, 0.88, 2) * TEXTURE
        angle = (
            rng.choice([0.0, np.pi]) + rng.normal(0, 0.5) if rng.random() < 0.6 else rng.uniform(0, 2 * np.pi)
        )
        length, bend = rng.uniform(20, 130), rng.normal(0, 0.012)
        steps = np.arange(0, length, 4.0)
        heading = angle + bend * steps + rng.normal(0, 0.08, len(steps)).cumsum() * 0.5
        points = start + np.cumsum(np.c_[np.cos(heading), np.sin(heading)] * 4, 0)
        cv2.polylines(
            canvas, [(points * 8).astype(np.int32)], False, float(rng.uniform(0.4, 1)), 1, cv2.LINE_AA, 3
        )
    width = rng.uniform(1.2, 3.0)
    return _creased(canvas, width, 2.2 * depth * width)


def _creased(lines: Float[np.ndarray, "c c"], width: float, depth: float) -> Float[np.ndarray, "c c"]:
    """Valleys as wide as `width` pixels along the lines, `depth` for each unit of those, between soft shoulders.

    The picture of the lines has an even number of pixels a side."""
    rows, columns = (np.flatnonzero(cv2.reduce(lines, across, cv2.REDUCE_MAX)) for across in (1, 0))
    out = np.zeros(lines.shape, np.float32)
    if len(rows) == 0:
        return out
    margin = int(10 * width) + 2  # farther than the blur reaches
    box = tuple(
        slice(max(a[0] - margin, 0) // 2 * 2, min((a[-1] + margin + 2) // 2 * 2, len(lines)))
        for a in (rows, columns)
    )
    there = lines[box]
    size = there.shape[::-1]
    # Shoulders are so smooth that half the resolution tells all of them; resizing there and back blurs too.
    soft = np.sqrt((2.5 * width) ** 2 - 0.9) / 2
    half = cv2.resize(there, (size[0] // 2, size[1] // 2), interpolation=cv2.INTER_AREA)
    wide = cv2.resize(cv2.GaussianBlur(half, (0, 0), soft), size, interpolation=cv2.INTER_LINEAR)
    cv2.addWeighted(wide, depth, cv2.GaussianBlur(there, (0, 0), width), -depth, 0, out[box])
    return out


def folds(
    rng: np.random.Generator, plane: Float[np.ndarray, "t t 2"], depth: float, creases: Creases = AT_REST
) -> Float[np.ndarray, "t t"]:
    """The lines that faces share: on the forehead, between the brows, at the eyes' corners, under the eyes, from
    nose to mouth and below it; each kind there or not, never quite symmetric, and the deeper and the more likely the
    more the expression folds the skin there. `plane`: x and y (mm) of each texel on the mean head."""
    canvas = np.zeros((CANVAS, CANVAS), np.float32)

    def there(share: float, crease: float) -> bool:
        return bool(rng.random() < share + (1 - share) * 0.8 * crease)

    def draw(points: Float[np.ndarray, "p 2"], strength: float, crease: float = 0.0) -> None:
        wavy = points + cv2.GaussianBlur(rng.normal(0, 4.0, points.shape), (1, 9), 2.0)
        pixels = (wavy * [1, -1] / CANVAS_MM + CANVAS / 2) * 8
        cv2.polylines(canvas, [pixels.astype(np.int32)], False, strength * (1 + crease), 1, cv2.LINE_AA, 3)

    t = np.linspace(0, 1, 16)
    if there(0.6, creases.forehead):
        for y in np.cumsum(rng.uniform(6, 11, rng.integers(1, 6))) + rng.uniform(22, 34):
            reach = rng.uniform(15, 48)
            x = (t * 2 - 1) * reach + rng.normal(0, 6)
            draw(np.c_[x, y + rng.normal(0, 3) * np.cos(x / 14)], rng.uniform(0.3, 1), creases.forehead)
    for side in (-1, 1):
        if there(0.4, creases.frown):
            draw(
                np.c_[side * (rng.uniform(4, 9) + 3 * t), rng.uniform(8, 14) + rng.uniform(8, 20) * t],
                rng.uniform(0.3, 1),
                creases.frown,
            )
        if there(0.5, creases.eyes):
            for angle in rng.uniform(-0.7, 0.7, rng.integers(1, 6)):
                start = np.array([side * rng.uniform(48, 54), rng.uniform(-4, 3)])
                ray = np.array([side * np.cos(angle), np.sin(angle)]) * rng.uniform(6, 20)
                draw(start + t[:, None] * ray, rng.uniform(0.2, 0.8), creases.eyes)
        if rng.random() < 0.5:
            for below in rng.uniform(-22, -11, rng.integers(1, 3)):
                x = side * (31 + (t - 0.5) * rng.uniform(18, 32))
                draw(np.c_[x, below - 5 * np.sin(np.pi * t)], rng.uniform(0.2, 0.9))
        if there(0.6, creases.cheeks):
            end = np.array([side * rng.uniform(27, 36), rng.uniform(-82, -66)])
            curve = np.array([side * 17, -40]) * (1 - t[:, None]) + end * t[:, None]
            draw(curve + np.c_[side * 5 * np.sin(np.pi * t), 0 * t], rng.uniform(0.5, 1.5), creases.cheeks)
        if rng.random() < 0.3:
            x = side * (rng.uniform(25, 30) + 3 * t)
            draw(np.c_[x, -76 - rng.uniform(8, 22) * t], rng.uniform(0.3, 1))
    width = rng.uniform(0.7, 2.2) / CANVAS_MM
    return _laid(_creased(canvas, width, 2.2 * depth * width), np.ascontiguousarray(plane, np.float32))


@numba.njit(cache=True, nogil=True)
@no_type_check
def _laid(canvas, plane):
    """What of the canvas is at each texel, interpolated between its pixels."""
    scale, middle, last = np.float32(1 / CANVAS_MM), np.float32(CANVAS / 2), CANVAS - 1
    out = np.zeros(plane.shape[:2], np.float32)
    for i in range(plane.shape[0]):
        for j in range(plane.shape[1]):
            x, y = plane[i, j, 0] * scale + middle, middle - plane[i, j, 1] * scale
            if 0 <= x < last and 0 <= y < last:
                column, row = int(x), int(y)
                u, v = x - np.float32(column), y - np.float32(row)
                above = canvas[row, column] + (canvas[row, column + 1] - canvas[row, column]) * u
                below = canvas[row + 1, column] + (canvas[row + 1, column + 1] - canvas[row + 1, column]) * u
                out[i, j] = above + (below - above) * v
    return out


def random_relief(
    rng: np.random.Generator,
    plane: Float[np.ndarray, "t t 2"],
    creases: Creases = AT_REST,
    lifted: Float[np.ndarray, "t t"] | None = None,
) -> Float[np.ndarray, "t t"]:
    """Relief of one random skin, mm; often nearly smooth, sometimes old. `plane` and `creases` as in `folds`;
    `lifted`: a portrait's own relief, mm, of which this skin has more or less."""
    age = rng.beta(1.0, 1.6)
    out = pores(rng, rng.uniform(0.0, 0.06))
    if lifted is not None and rng.random() < 0.9:
        strength = np.clip(np.exp(rng.normal(-0.1, 0.5)), 0.2, 2.5)
        out += lifted * np.float32(strength) * moved(plane, creases)
    if rng.random() < 0.4:
        out += wrinkles(rng, int(rng.integers(2, 10 + 40 * age)), rng.uniform(0.1, 0.5) * (0.4 + age))  # type: ignore[call-overload]
    if rng.random() < 0.8:
        out += folds(rng, plane, rng.uniform(0.1, 0.8) * (0.3 + age), creases)
    return np.clip(out, -DEEPEST, DEEPEST, out=out)


def moved(plane: Float[np.ndarray, "t t 2"], creases: Creases) -> Float[np.ndarray, "t t"]:
    """How many times deeper than at rest the expression folds the skin at each texel; `plane` as in `folds`."""
    x, y = np.abs(plane[..., 0]), plane[..., 1]
    kinds = (
        (creases.forehead, (x / 50) ** 2 + ((y - 50) / 22) ** 2),
        (creases.frown, (x / 16) ** 2 + ((y - 16) / 14) ** 2),
        (creases.eyes, ((x - 54) / 14) ** 2 + (y / 16) ** 2),
        (creases.cheeks, ((x - 30) / 16) ** 2 + ((y + 58) / 24) ** 2),
    )
    out = np.ones(plane.shape[:2], np.float32)
    for strength, distance in kinds:
        if strength > 0:
            out += np.float32(0.8 * strength) * np.exp(-distance)
    return out


def moles_and_freckles(
    rng: np.random.Generator, albedo: UInt8[np.ndarray, "t t 3"]
) -> UInt8[np.ndarray, "t t 3"]:
    """Colour without relief, so that colour is not mistaken for shape: spots of pigment, ink and blotches."""
    canvas = np.zeros(albedo.shape[:2], np.float32)
    for _ in range(int(rng.integers(0, 25) if rng.random() < 0.8 else rng.integers(50, 300))):
        x, y = rng.uniform(0.1, 0.9, 2) * TEXTURE
        cv2.circle(
            canvas,
            (int(x * 8), int(y * 8)),
            int(rng.uniform(0.6, 3.0) * 8),
            float(rng.uniform(0.1, 0.6)),
            -1,
            cv2.LINE_AA,
            3,
        )
    if rng.random() < 0.15:  # ink and make-up: lines that are no creases
        for _ in range(int(rng.integers(1, 16))):
            points = rng.uniform(0.2, 0.8, 2) * TEXTURE + np.cumsum(rng.normal(0, 11, (6, 2)), 0)
            pixels, width = [(points * 8).astype(np.int32)], int(rng.integers(1, 4))
            cv2.polylines(canvas, pixels, False, float(rng.uniform(0.3, 1)), width, cv2.LINE_AA, 3)
    spots = cv2.GaussianBlur(canvas, (0, 0), 0.8)
    tint = rng.uniform(0.3, 0.9) * np.array([0.6, 1.0, 1.0], np.float32)
    patch, redness = np.zeros((0, 0), np.float32), np.zeros(3, np.float32)
    if rng.random() < 0.4:  # make-up, redness, shadow of a beard: large soft patches
        coarse = rng.random((6, 6), np.float32)
        patch = np.asarray(cv2.resize(coarse, (TEXTURE, TEXTURE), interpolation=cv2.INTER_CUBIC), np.float32)
        redness = np.asarray(rng.uniform(0, 0.3) * rng.random(3).astype(np.float32), np.float32)
    out = np.empty_like(albedo)
    _tinted(albedo, spots, tint.astype(np.float32), patch, redness, out)
    return out


@numba.njit(cache=True, nogil=True)
@no_type_check
def _tinted(albedo, spots, tint, patch, redness, out):
    whole, none, one = patch.size > 0, np.float32(0), np.float32(1)
    for i in range(spots.shape[0]):
        for j in range(spots.shape[1]):
            spot, soft = spots[i, j], patch[i, j] if whole else none
            for k in range(3):
                value = albedo[i, j, k]
                if spot > 0 or whole:
                    kept = (one - spot * tint[k]) * (one - soft * redness[k])
                    out[i, j, k] = min(max(np.float32(value) * kept, none), np.float32(255))
                else:
                    out[i, j, k] = value
