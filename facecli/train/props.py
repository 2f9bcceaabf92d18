"""What stands before and behind a synthetic head: backgrounds, glasses, hands, things."""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from facecli.train.limb import hand, microphone

OUT_OF_FOCUS = (0.0, 1), (3.0, 1), (8.0, 2), (20.0, 4)
"""Blur of backgrounds, pixels at 512 px, and at which part of the resolution it can be made: it is as smooth."""
SOME_SKIN = np.array([190.0, 150.0, 130.0])
"""Of hands before a face that shows none, sRGB."""


def background(
    rng: np.random.Generator, crops: UInt8[np.ndarray, "n c c 3"], size: int
) -> Float[np.ndarray, "s s 3"]:
    """Part of another portrait, mostly out of focus, or a smooth gradient."""
    if rng.random() < 0.2:
        corners = rng.uniform(0, 255, (2, 2, 1)) + rng.normal(0, 30, (2, 2, 3))
        return cv2.resize(
            np.clip(corners, 0, 255).astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR
        )
    crop = crops[rng.integers(len(crops))]
    side = int(rng.uniform(0.25, 1.0) * crop.shape[0])
    x, y = rng.integers(0, crop.shape[0] - side + 1, 2)
    mirrored = rng.random() < 0.5
    blur, coarser = OUT_OF_FOCUS[rng.choice(len(OUT_OF_FOCUS), p=[0.25, 0.25, 0.3, 0.2])]
    part = cv2.resize(crop[y : y + side, x : x + side], (size // coarser,) * 2, interpolation=cv2.INTER_AREA)
    if mirrored:
        part = cv2.flip(part, 1)
    if not blur:
        return part.astype(np.float32)
    blurred = cv2.GaussianBlur(part.astype(np.float32), (0, 0), blur * size / 512 / coarser)
    return cv2.resize(blurred, (size, size), interpolation=cv2.INTER_LINEAR)


def glasses(
    rng: np.random.Generator,
    image: Float[np.ndarray, "s s 3"],
    region: Bool[np.ndarray, "s s"],
    landmarks: Float[np.ndarray, "68 3"],
    to_pixels: "Projection",
) -> None:
    """Draw spectacles over `image`, take them out of `region`, in place. Landmarks in mm, head frame."""
    right, left = landmarks[36:42].mean(0), landmarks[42:48].mean(0)
    size = np.array([rng.uniform(21, 29), rng.uniform(15, 24)])
    power = rng.uniform(1.0, 2.8)
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    shape = np.c_[np.cos(angle), np.sin(angle)]
    shape = np.sign(shape) * np.abs(shape) ** (1 / power) * size
    plane = max(right[2], left[2]) + rng.uniform(12, 20)
    colour = rng.choice([15, 30, 60, 120, 200], p=[0.45, 0.2, 0.15, 0.1, 0.1]) + rng.uniform(-12, 30, 3)
    width_mm = rng.choice([1.0, 2.0, 3.5, 5.0])
    dark = rng.random() < 0.25
    tint, opacity = (
        rng.uniform(0, 60, 3),
        rng.uniform(0.75, 1.0) if dark else rng.choice([0.0, 0.0, 0.08, 0.2]),
    )
    rims = []
    for eye in (right, left):
        rim = np.c_[eye[:2] + shape, np.full(len(shape), plane)]
        rim[:, 2] -= 0.004 * np.abs(rim[:, 0] - (right[0] + left[0]) / 2) ** 1.6
        rims.append(rim)
    bridge = np.stack([rims[0][0], (rims[0][0] + rims[1][20]) / 2 + [0, 4, 3], rims[1][20]])
    lines = [(np.r_[rim, rim[:1]], width_mm) for rim in rims] + [(bridge, width_mm)]
    camera_side = to_pixels.camera_x
    for rim, ear, hinge, sign in ((rims[0], landmarks[0], 20, -1), (rims[1], landmarks[16], 0, 1)):
        if sign * camera_side > -0.15:  # the temple on the far side hides behind the face
            lines.append(
                (np.stack([rim[hinge], ear * [1.0, 0, 0.6] + [sign * 3, rim[hinge][1], 6]]), max(width_mm, 2))
            )
    for rim in rims:
        lens = np.zeros(region.shape, np.float32)
        cv2.fillPoly(lens, [(to_pixels(rim) * 8).astype(np.int32)], 1.0, cv2.LINE_AA, 3)
        if opacity > 0:
            image += (tint - image) * (lens * opacity)[..., None]
        if dark:
            region &= lens < 0.5
    frame = np.zeros(region.shape, np.float32)
    for points, millimetres in lines:
        thickness = max(1, round(millimetres * to_pixels.pixels_per_mm))
        cv2.polylines(
            frame, [(to_pixels(points) * 8).astype(np.int32)], False, 1.0, thickness, cv2.LINE_AA, 3
        )
    highlight = rng.uniform(0.6, 1.3)
    image += (colour * highlight - image) * frame[..., None]
    region &= frame < 0.5


class Projection:
    """Head-frame mm to crop pixels, for props that hang on the head."""

    def __init__(
        self,
        rotation: Float[np.ndarray, "3 3"],
        translation: Float[np.ndarray, "3"],
        focal: float,
        frame: Float[np.ndarray, "2 3"],
    ) -> None:
        self.rotation, self.translation, self.focal, self.frame = rotation, translation, focal, frame
        self.pixels_per_mm = float(focal / translation[2] * np.hypot(*frame[:, 0]))
        self.camera_x = float((rotation.T @ -translation)[0] / np.linalg.norm(translation))

    def __call__(self, points: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "p 2"]:
        camera = points @ self.rotation.T + self.translation
        return (camera[:, :2] / camera[:, 2:] * self.focal) @ self.frame[:, :2].T + self.frame[:, 2]


def occluder(
    rng: np.random.Generator,
    image: Float[np.ndarray, "s s 3"],
    region: Bool[np.ndarray, "s s"],
    crops: UInt8[np.ndarray, "n c c 3"],
    unit: float,
) -> None:
    """Put one thing in front, in place: a hand about as light as the face, or a random shape with a photo's texture.

    unit: pixels of a mm.
    """
    skin = (image[region].mean(0) if region.any() else SOME_SKIN) * rng.uniform(0.7, 1.2)
    rows, columns = np.nonzero(region)
    if len(rows) == 0:
        return
    pick = rng.integers(len(rows))
    anchor = np.array([columns[pick], rows[pick]], float) + rng.normal(0, 0.06, 2) * len(region)
    if rng.random() < 0.5:
        hand(rng, image, region, anchor, unit, skin)
        return
    mask = np.zeros(region.shape, np.float32)
    count = rng.integers(4, 10)
    angle = np.sort(rng.uniform(0, 2 * np.pi, count))
    radius = rng.uniform(0.05, 0.25) * len(region) * rng.uniform(0.5, 1.2, count)
    stretch = np.array([1.0, rng.uniform(0.3, 1.0)])
    points = anchor + np.c_[np.cos(angle), np.sin(angle)] * radius[:, None] * stretch
    cv2.fillPoly(mask, [(points * 8).astype(np.int32)], 1.0, cv2.LINE_AA, 3)
    if rng.random() < 0.5:
        mask = (cv2.GaussianBlur(mask, (0, 0), len(region) / 56) > 0.5).astype(np.float32)
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.4, 1.2) * len(region) / 256), np.float32)
    texture = background(rng, crops, len(region))
    image += (texture - image) * mask[..., None]
    region &= mask < 0.5


def speech(
    rng: np.random.Generator,
    image: Float[np.ndarray, "s s 3"],
    region: Bool[np.ndarray, "s s"],
    landmarks: Float[np.ndarray, "68 3"],
    to_pixels: Projection,
) -> None:
    """A microphone before the mouth, in place. landmarks: of the head, mm."""
    mouth = to_pixels(landmarks[60:68].astype(np.float64)).mean(0)
    microphone(rng, image, region, mouth, to_pixels.pixels_per_mm, SOME_SKIN * rng.uniform(0.3, 1.1))
