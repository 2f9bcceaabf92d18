"""Hands and microphones before a face: rounded limbs, lit as round things are."""

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

SOFT = 3.0
"""Neighbouring fingers shade each other over this many thicknesses of a pixel at 256 px."""

Limb = tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"], float, float]
"""From where to where, pixels, and how thick it is at both ends."""


def hand(
    rng: np.random.Generator,
    image: Float[np.ndarray, "s s 3"],
    region: Bool[np.ndarray, "s s"],
    anchor: Float[np.ndarray, "2"],
    unit: float,
    skin: Float[np.ndarray, "3"],
) -> None:
    """A hand whose palm or fingers lie about `anchor`, in place. unit: pixels of a mm; skin: sRGB."""
    size = unit * rng.uniform(0.8, 1.1)
    # Arms come from below and from the sides, seldom from above.
    heading = rng.normal(-np.pi / 2, 0.9)
    along = np.array([np.cos(heading), np.sin(heading)])
    side = np.array([-along[1], along[0]]) * rng.choice([-1.0, 1.0])
    wrist = anchor - along * size * rng.uniform(40, 150)
    limbs = [(wrist - along * 220 * size, wrist, 27 * size, 23 * size)]
    spread, bend = rng.uniform(0.0, 0.16), rng.uniform(-0.25, 0.9) * rng.choice([1.0, 1.0, -0.3])
    curled = rng.uniform(0.35, 1.0)
    for k, (length, thick) in enumerate(((72, 9.0), (80, 9.3), (74, 8.8), (58, 7.6))):
        knuckle = wrist + along * size * (92 - 3 * abs(k - 1)) + side * size * (k - 1.5) * 19
        limbs.append((wrist + side * size * (k - 1.5) * 9, knuckle, 15 * size, 11.5 * size))
        shown = length * size * curled * rng.uniform(0.85, 1.0)
        turn = (k - 1.5) * spread + bend * 0.35
        middle = knuckle + _turned(along, side, turn) * shown * 0.52
        tip = middle + _turned(along, side, turn + bend * 0.5) * shown * 0.48
        limbs += [
            (knuckle, middle, thick * 1.05 * size, thick * size),
            (middle, tip, thick * size, thick * 0.8 * size),
        ]
    root = wrist + along * size * 28 - side * size * 24
    out = _turned(along, side, rng.uniform(-1.1, -0.2))
    joint = root + out * 42 * size
    limbs += [
        (root, joint, 14 * size, 10 * size),
        (joint, joint + _turned(along, side, rng.uniform(-0.7, 0.1)) * 34 * size, 10 * size, 7.5 * size),
    ]
    sleeve = rng.uniform(20, 250, 3) if rng.random() < 0.5 else None
    relief, owner = _relief(limbs, len(image))
    coarse = rng.normal(0, 1, (48, 48)).astype(np.float32)
    grain = cv2.resize(coarse, region.shape[::-1], interpolation=cv2.INTER_CUBIC)[..., None]
    colour = np.broadcast_to(skin * (1 + rng.normal(0, 0.04, 3)), image.shape) * (1 + 0.035 * grain)
    if sleeve is not None:
        colour = np.where((owner == 0)[..., None], sleeve * (1 + 0.08 * grain), colour)
    _paint(rng, image, region, relief, colour)


def microphone(
    rng: np.random.Generator,
    image: Float[np.ndarray, "s s 3"],
    region: Bool[np.ndarray, "s s"],
    mouth: Float[np.ndarray, "2"],
    unit: float,
    skin: Float[np.ndarray, "3"],
) -> None:
    """A microphone held or standing before the mouth, in place. unit: pixels of a mm; skin: of the hand, sRGB."""
    heading = rng.normal(np.pi / 2, 0.6)
    along = np.array([np.cos(heading), np.sin(heading)])
    head = mouth + along * unit * rng.uniform(5, 45) + rng.normal(0, 8, 2) * unit
    radius = unit * rng.uniform(17, 30)
    limbs = [
        (head, head + along * 0.3 * radius, radius, radius * 0.95),
        (head + along * radius, head + along * radius * 9, radius * 0.62, radius * 0.42),
    ]
    held = rng.random() < 0.6
    if held:
        side = np.array([-along[1], along[0]])
        for k in range(4):
            middle = head + along * radius * (2.6 + 0.72 * k)
            limbs.append((middle - side * radius, middle + side * radius * 0.9, radius * 0.42, radius * 0.36))
        limbs.append((head + along * radius * 4 - side * radius * 1.4, head + along * radius * 14 - side * radius * 5,
                      radius * 1.5, radius * 1.2))  # fmt: skip
    relief, owner = _relief(limbs, len(image))
    body = rng.uniform(8, 60) + rng.normal(0, 4, 3)
    ball = (
        rng.choice([30.0, 90.0, 150.0]) + rng.normal(0, 12, 3)
        if rng.random() < 0.8
        else rng.uniform(20, 240, 3)
    )
    colours = np.stack([ball, body] + [skin] * (len(limbs) - 2))
    ys, xs = np.mgrid[0 : len(image), 0 : len(image)]
    mesh = 1 + 0.3 * ((xs + ys) // max(round(unit * 2), 1) % 2)[..., None] * (owner == 0)[..., None]
    _paint(rng, image, region, relief, colours[owner] * mesh)


def _turned(
    along: Float[np.ndarray, "2"], side: Float[np.ndarray, "2"], angle: float
) -> Float[np.ndarray, "2"]:
    return np.asarray(along * np.cos(angle) + side * np.sin(angle))


def _relief(limbs: list[Limb], size: int) -> tuple[Float[np.ndarray, "s s"], Int[np.ndarray, "s s"]]:
    """How high the highest limb is at each pixel, 0 where there is none, and which it is."""
    ys, xs = np.mgrid[0:size, 0:size].astype(np.float32)
    relief, owner = np.zeros((size, size), np.float32), np.zeros((size, size), np.int32)
    for k, (start, end, thick, thin) in enumerate(limbs):
        low = np.floor(np.minimum(start, end) - thick - 1).astype(int).clip(0, size)
        high = np.ceil(np.maximum(start, end) + thick + 2).astype(int).clip(0, size)
        if (low >= high).any():
            continue
        box = (slice(low[1], high[1]), slice(low[0], high[0]))
        way = end - start
        share = np.clip(
            ((xs[box] - start[0]) * way[0] + (ys[box] - start[1]) * way[1]) / max(way @ way, 1e-6), 0, 1
        )
        off = np.hypot(xs[box] - start[0] - share * way[0], ys[box] - start[1] - share * way[1])
        radius = thick + (thin - thick) * share
        height = np.sqrt(np.maximum(radius**2 - off**2, 0))
        higher = height > relief[box]
        relief[box] = np.where(higher, height, relief[box])
        owner[box] = np.where(higher, k, owner[box])
    return relief, owner


def _paint(
    rng: np.random.Generator,
    image: Float[np.ndarray, "s s 3"],
    region: Bool[np.ndarray, "s s"],
    relief: Float[np.ndarray, "s s"],
    colour: Float[np.ndarray, "s s 3"],
) -> None:
    size = len(image)
    cover = relief > 0
    smooth = np.asarray(cv2.GaussianBlur(relief, (0, 0), SOFT * size / 256 / 2))
    slope = np.stack([cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)], -1) / 8
    normal = np.dstack([-slope, np.ones((size, size), np.float32)])
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    lamp = np.array([rng.normal(0, 0.6), rng.normal(-0.4, 0.5), 1.0])
    shade = 0.45 + 0.7 * np.clip(normal @ (lamp / np.linalg.norm(lamp)), 0, 1)
    soft = np.asarray(cv2.GaussianBlur(cover.astype(np.float32), (0, 0), 0.6 * size / 256))[..., None]
    near = np.asarray(cv2.GaussianBlur(cover.astype(np.float32), (0, 0), size / 50))[..., None]
    image *= 1 - rng.uniform(0.1, 0.5) * near
    image += (colour * shade[..., None] - image) * soft
    region &= soft[..., 0] < 0.5
