"""Extended Yale B: normals from photometric stereo, real ground truth for relief, under hard light."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8

from facecli.pipeline import Face
from facecli.train.areas import folded_and_smooth
from facecli.train.contest import shown_by_all, views
from facecli.train.mean_face import MeanFace
from facecli.train.normals import Sight, consistency, sight
from facecli.train.normals import lines as normal_lines
from facecli.train.peer import MediaPipe, Sighting, nearest
from facecli.train.table import MEDIAPIPE, OURS, Line
from facecli.train.trial import Trial, largest, relief_of

PADDING = 0.6
"""The crops are as tight as the face: each side is padded by this share of the width."""
UNSURE = 16.0
"""Grey levels by which the light model misses a pixel: from here on its normal counts for nothing."""
EYES = (slice(36, 42), slice(42, 48))
EYE_MARGIN = 1.5
"""How much larger than its landmarks the area left out for an eye is: stereo sees through corneas."""


@dataclass(frozen=True)
class Yale:
    """Over the photos whose face was found; everybody on the same pixels, `coverage` of those that count.

    `agreement` and `spread` say how alike the relief of one person is under two lights: the mean correlation and the
    root mean square of the difference, mm.
    """

    photos: int
    found: dict[str, float]
    coverage: float
    sights: list[Sight]
    agreement: float
    spread: float


def measure(
    folder: Path,
    mean: MeanFace,
    detailed: Trial,
    coarse: Trial,
    peer: MediaPipe | None = None,
    limit: int | None = None,
) -> Yale:
    """Reconstruct every person under every light."""
    sights, shares, agreements, photos, alone = [], [], [], 0, 0
    for path in sorted(folder.glob("*.npz"))[:limit]:
        with np.load(path) as archive:
            names, images = [str(name) for name in archive["names"]], archive["images"]
            normal, sure = archive["normal"].astype(np.float64), archive["resid"] < UNSURE
        padded = [pad(image) for image in images]
        pixels, offset = [each for each, _ in padded], padded[0][1]
        height, width = pixels[0].shape[:2]
        inside = (slice(offset, height - offset), slice(offset, width - offset))
        found = [detailed.faces(name, each) for name, each in zip(names, pixels, strict=True)]
        sightings: list[list[Sighting]] = peer.see(pixels, found) if peer else [[] for _ in names]
        alone += sum(any(not each.helped for each in sighted) for sighted in sightings)
        photos += len(names)
        reliefs = []
        for name, each, faces, sighted in zip(names, pixels, found, sightings, strict=True):
            face, plain = largest(faces), largest(coarse.faces(name, each))
            if face is None or plain is None:
                continue
            seen = views(face, plain, mean, nearest(sighted, face), peer, width, height)
            seen = {column: view.cut(inside) for column, view in seen.items()}
            counted = sure & ~eyes(face, height, width)[inside]
            compared = shown_by_all(seen, counted)
            if not compared.any():
                continue
            millimetres = float(face.pose.translation[2]) / face.camera.focal
            folded, smooth = folded_and_smooth(normal, counted, millimetres)
            sights.append(sight(seen, normal, compared, folded, smooth, light_angle(name)))
            shares.append(compared.sum() / counted.sum())
            reliefs.append(np.where(counted, relief_of(face, width, height)[inside], np.nan))
        agreements += consistency(reliefs)
    coverage = float(np.mean(shares)) if shares else 0.0
    agreement, spread = np.mean(agreements, axis=0) if agreements else (np.nan, np.nan)
    found_by = {OURS: float(len(sights))} | ({MEDIAPIPE: float(alone)} if peer else {})
    return Yale(photos, found_by, coverage, sights, float(agreement), float(spread))


def light_angle(name: str) -> float:
    """Degrees between the light and the camera, from a name such as `yaleB01_P00A-035E+15`: azimuth, elevation."""
    found = re.search(r"A([+-]\d+)E([+-]\d+)", name)
    if found is None:
        raise ValueError(f"{name} does not tell where the light stood")
    azimuth, elevation = np.radians([float(part) for part in found.groups()])
    return float(np.degrees(np.arccos(np.cos(azimuth) * np.cos(elevation))))


def pad(image: UInt8[np.ndarray, "h w"]) -> tuple[UInt8[np.ndarray, "p q 3"], int]:
    """The grey crop as a colour photo with a black border, and the border's width."""
    offset = round(PADDING * image.shape[1])
    return np.repeat(np.pad(image, offset)[..., None], 3, axis=2), offset


def eyes(face: Face, height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """The pixels of both eyes and their lids."""
    import cv2

    mask = np.zeros((height, width), np.uint8)
    for part in EYES:
        points: Float[np.ndarray, "6 2"] = face.landmarks[part]
        hull = points.mean(0) + (points - points.mean(0)) * EYE_MARGIN
        cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(hull).astype(np.int32)), 1)
    return mask > 0


def lines(result: Yale) -> list[Line]:
    """For the table."""
    data = f"yale, {result.photos} grey photos"
    out = [
        Line(data, f"faces found of {result.photos}", result.found, digits=0),
        Line(data, "share of the sure pixels that every mesh shows", {OURS: result.coverage}),
        *normal_lines(data, result.sights),
    ]
    if np.isfinite(result.agreement):
        out += [
            Line(data, "relief of one person under two lights, correlation", {OURS: result.agreement}),
            Line(data, "relief of one person under two lights, RMS difference, mm", {OURS: result.spread}, 3),
        ]
    return out
