"""Skin relief with exact ground truth: displacement maps in UV space, in mm along the normal."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from facecli.train.lift import TEXTURE

MM_PER_TEXEL = 0.45
"""Roughly, over cheeks and forehead, in the skin's UV tile at `TEXTURE` px."""


def relief_from_colour(albedo: UInt8[np.ndarray, "t t 3"], strength: float) -> Float[np.ndarray, "t t"]:
    """Creases are darker than skin: band-passed log luminance as relief, `strength` mm at most."""
    luminance = np.log(cv2.cvtColor(albedo, cv2.COLOR_RGB2GRAY).astype(np.float32) + 12)
    band = cv2.GaussianBlur(luminance, (0, 0), 1.2) - cv2.GaussianBlur(luminance, (0, 0), 6)
    return (np.tanh(band * 6) * strength).astype(np.float32)


def pores(rng: np.random.Generator, depth: float) -> Float[np.ndarray, "t t"]:
    """Irregular fine grain of about a millimetre, uneven over the face."""
    noise = rng.standard_normal((TEXTURE, TEXTURE), np.float32)
    grain = cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.8, 1.6))
    patches = cv2.resize(rng.random((9, 9), np.float32), (TEXTURE, TEXTURE), interpolation=cv2.INTER_CUBIC)
    return np.minimum(grain / (grain.std() + 1e-6), 0.6) * np.float32(depth) * patches


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
    valley = cv2.GaussianBlur(canvas, (0, 0), width) * width * 2.2
    shoulder = cv2.GaussianBlur(canvas, (0, 0), width * 2.5) * width * 2.2
    return (shoulder * 1.0 - valley) * np.float32(depth)


def random_relief(rng: np.random.Generator, albedo: UInt8[np.ndarray, "t t 3"]) -> Float[np.ndarray, "t t"]:
    """Relief of one random skin, mm; often nearly smooth, sometimes old."""
    age = rng.beta(1.0, 1.6)
    out = pores(rng, rng.uniform(0.0, 0.06))
    if rng.random() < 0.75:
        out = out + relief_from_colour(albedo, rng.uniform(0.05, 0.45) * (0.3 + age))
    if rng.random() < 0.7:
        out = out + wrinkles(rng, int(rng.integers(2, 10 + 40 * age)), rng.uniform(0.1, 0.5) * (0.4 + age))  # type: ignore[call-overload]
    return np.clip(out, -1.5, 1.5).astype(np.float32)


def moles_and_freckles(
    rng: np.random.Generator, albedo: UInt8[np.ndarray, "t t 3"]
) -> UInt8[np.ndarray, "t t 3"]:
    """Colour without relief, so that colour is not mistaken for shape: spots of pigment and blotches."""
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
    spots = cv2.GaussianBlur(canvas, (0, 0), 0.8)[..., None]
    out = albedo * (1 - spots * rng.uniform(0.3, 0.9) * np.array([0.6, 1.0, 1.0], np.float32))
    if rng.random() < 0.4:  # make-up, redness, shadow of a beard: large soft patches
        patch = cv2.resize(rng.random((6, 6), np.float32), (TEXTURE, TEXTURE), interpolation=cv2.INTER_CUBIC)[
            ..., None
        ]
        out = out * (1 - patch * rng.uniform(0, 0.3) * rng.random(3).astype(np.float32))
    return np.clip(out, 0, 255).astype(np.uint8)
