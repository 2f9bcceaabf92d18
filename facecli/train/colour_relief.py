"""Colour is not relief: paint and shadows on smooth skin must stay flat."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from facecli.train.lift import TEXTURE
from facecli.train.studio import Paint, Scene, Shot, Studio
from facecli.train.table import OURS, Line
from facecli.train.trial import Trial, relief_of
from facecli.train.verdict import meant

KINDS = ("freckles", "moles", "tattoo", "lipstick", "cast shadows")
WIDTH = 340
"""Pixels of the face: the 512 px crop shows it at about that."""
AROUND = 0.02
"""Relief is looked at as far around what was painted, in widths of the face: edges are where it would appear."""


@dataclass(frozen=True)
class ColourRelief:
    """By kind: root mean square of the relief that the colour adds, and of all relief there, mm; each over faces."""

    added: dict[str, list[float]]
    total: dict[str, list[float]]


def measure(studio: Studio, trial: Trial, people: int, first: int = 900) -> ColourRelief:
    """The same smooth faces without and with each kind of colour."""
    added: dict[str, list[float]] = {kind: [] for kind in KINDS}
    total: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for person in range(first, first + people):
        yaw = float(np.random.default_rng(person).uniform(-25, 25))
        scene = Scene(person, yaw=yaw, width=WIDTH, flat=True)
        plain = studio.photograph(scene)
        smooth = seen_relief(plain, trial)
        for kind in KINDS:
            shot = photograph(studio, scene, kind)
            relief = seen_relief(shot, trial)
            if relief is None or smooth is None:
                continue
            where = painted(plain, shot) & np.isfinite(relief) & np.isfinite(smooth)
            if where.any():
                added[kind].append(float(np.sqrt(((relief - smooth)[where] ** 2).mean())))
                total[kind].append(float(np.sqrt((relief[where] ** 2).mean())))
    return ColourRelief(added, total)


def photograph(studio: Studio, scene: Scene, kind: str) -> Shot:
    """A smooth face with one kind of colour on it."""
    if kind == "cast shadows":
        return studio.photograph(replace(scene, banded=True))
    return studio.photograph(scene, paint_of(kind, scene.person, studio))


def paint_of(kind: str, seed: int, studio: Studio) -> Paint:
    """What changes the skin's texture; the same for the same seed. Raises ValueError for an unknown kind."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    if kind == "freckles":
        return lambda skin: spotted(skin, rng, 260, (0.5, 1.6), 0.45)
    if kind == "moles":
        return lambda skin: spotted(skin, rng, 14, (2.0, 4.5), 0.8)
    if kind == "tattoo":
        return lambda skin: tattooed(skin, rng)
    if kind == "lipstick":
        lips = lip_texels(studio)
        return lambda skin: tinted(skin, lips, np.array([150.0, 12.0, 40.0]))
    raise ValueError(f"no such paint: {kind}")


def spotted(
    skin: UInt8[np.ndarray, "t t 3"],
    rng: np.random.Generator,
    count: int,
    radii: tuple[float, float],
    strength: float,
) -> UInt8[np.ndarray, "t t 3"]:
    """Brown dots of `radii` texels."""
    canvas = np.zeros(skin.shape[:2], np.float32)
    for x, y, radius in np.c_[rng.uniform(0.15, 0.85, (count, 2)) * TEXTURE, rng.uniform(*radii, count)]:
        cv2.circle(canvas, (int(x * 8), int(y * 8)), int(radius * 8), 1.0, -1, cv2.LINE_AA, 3)
    cover = cv2.GaussianBlur(canvas, (0, 0), 0.6)[..., None] * strength
    return (skin * (1 - cover) + np.array([70.0, 42, 30]) * cover).astype(np.uint8)


def tattooed(skin: UInt8[np.ndarray, "t t 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "t t 3"]:
    """Dark blue lines, rings and letters."""
    canvas = np.zeros(skin.shape[:2], np.uint8)
    for _ in range(14):
        start = rng.uniform(0.2, 0.8, 2) * TEXTURE
        points = start + np.cumsum(rng.normal(0, 11, (6, 2)), 0)
        cv2.polylines(
            canvas, [(points * 8).astype(np.int32)], False, 255, int(rng.integers(1, 4)), cv2.LINE_AA, 3
        )
        centre = rng.uniform(0.2, 0.8, 2) * TEXTURE
        cv2.circle(canvas, (int(centre[0]), int(centre[1])), int(rng.integers(5, 16)), 255, 2, cv2.LINE_AA)
    for _ in range(3):
        x, y = (rng.uniform(0.25, 0.7, 2) * TEXTURE).astype(int)
        cv2.putText(canvas, "MAMA", (int(x), int(y)), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2, cv2.LINE_AA)
    cover = cv2.GaussianBlur(canvas.astype(np.float32) / 255, (0, 0), 0.6)[..., None] * 0.85
    return (skin * (1 - cover) + np.array([28.0, 34, 52]) * cover).astype(np.uint8)


def tinted(
    skin: UInt8[np.ndarray, "t t 3"], where: Float[np.ndarray, "t t"], tint: Float[np.ndarray, "3"]
) -> UInt8[np.ndarray, "t t 3"]:
    """Coloured with a little of the skin's own shading."""
    light = skin.mean(-1, keepdims=True) / 160.0
    cover = where[..., None] * 0.8
    return np.clip(skin * (1 - cover) + tint * light * cover, 0, 255).astype(np.uint8)


def lip_texels(studio: Studio) -> Float[np.ndarray, "t t"]:
    """The lips in the skin's texture: the ring between the outer and the inner lip landmarks."""
    model = studio.model
    texel = np.zeros((len(model.neutral), 2))
    texel[model.faces.ravel()] = studio.texel[model.corner_uv.ravel()]
    points = texel[model.landmark_vertices]
    mask = np.zeros((TEXTURE, TEXTURE), np.float32)
    cv2.fillPoly(mask, [np.rint(points[48:60] * 8).astype(np.int32)], 1.0, cv2.LINE_AA, 3)
    cv2.fillPoly(mask, [np.rint(points[60:68] * 8).astype(np.int32)], 0.0, cv2.LINE_AA, 3)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 1.0))


def seen_relief(shot: Shot, trial: Trial) -> Float[np.ndarray, "h w"] | None:
    """The relief of the face that is meant, at the photo's pixels, mm about its mean."""
    face = meant(shot, trial.faces("colour is not relief", shot.image))
    height, width = shot.pixels.shape[:2]
    if face is None:
        return None
    relief = relief_of(face, width, height)
    return relief - np.nanmean(relief) if np.isfinite(relief).any() else relief


def painted(plain: Shot, shot: Shot) -> Bool[np.ndarray, "h w"]:
    """Pixels of the face whose colour was changed, and a little around."""
    change = np.abs(plain.pixels.astype(int) - shot.pixels).max(-1) > 12
    reach = max(int(AROUND * WIDTH), 1)
    return np.asarray(cv2.dilate(change.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0) & shot.face


def lines(result: ColourRelief) -> list[Line]:
    """For the table."""
    out = []
    for kind in KINDS:
        count = len(result.added[kind])
        if count:
            data = f"{kind} on {count} smooth synthetic faces"
            out.append(Line(data, "relief added, RMS, mm", {OURS: float(np.mean(result.added[kind]))}, 3))
            out.append(Line(data, "all relief there, RMS, mm", {OURS: float(np.mean(result.total[kind]))}, 3))
    return out
