"""Extended Yale B: normals from photometric stereo, real ground truth for relief, under hard light."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from facecli.pipeline import Face
from facecli.train.benchmark_james import mean_face
from facecli.train.headmodel import HeadModel
from facecli.train.raster import vertex_normals
from facecli.train.table import Line
from facecli.train.trial import Trial, View, angles, largest, view, view_of_face

PADDING = 0.6
"""The crops are as tight as the face: each side is padded by this share of the width."""
UNSURE = 16.0
"""Grey levels by which the light model misses a pixel: from here on its normal counts for nothing."""
EYES = (slice(36, 42), slice(42, 48))
EYE_MARGIN = 1.5
"""How much larger than its landmarks the area left out for an eye is: stereo sees through corneas."""


@dataclass(frozen=True)
class Normals:
    """Angle to the true normal, degrees: over the pixels of a photo, then averaged over photos."""

    mean: float
    median: float


@dataclass(frozen=True)
class Yale:
    """Over the photos whose face was found; all three on the same pixels, `coverage` of those that count."""

    photos: int
    found: int
    coverage: float
    detailed: Normals
    coarse: Normals
    mean_face: Normals


def measure(folder: Path, model: HeadModel, detailed: Trial, coarse: Trial, limit: int | None = None) -> Yale:
    """Reconstruct every person under every light."""
    photos, rows, shares = 0, [], []
    for path in sorted(folder.glob("*.npz"))[:limit]:
        with np.load(path) as archive:
            names, images = [str(name) for name in archive["names"]], archive["images"]
            normal, sure = archive["normal"].astype(np.float64), archive["resid"] < UNSURE
        for name, image in zip(names, images, strict=True):
            photos += 1
            padded, offset = pad(image)
            face, plain = largest(detailed.faces(name, padded)), largest(coarse.faces(name, padded))
            if face is None or plain is None:
                continue
            height, width = padded.shape[:2]
            seen = [view_of_face(face, width, height), view_of_face(plain, width, height)]
            seen.append(view_of_mean(model, face, width, height))
            inside = (slice(offset, height - offset), slice(offset, width - offset))
            counted = sure & ~eyes(face, height, width)[inside]
            compared = counted & np.logical_and.reduce([each.seen[inside] for each in seen])
            if not compared.any():
                continue
            errors = [angles(each.normals[inside][compared], normal[compared]) for each in seen]
            rows.append([[error.mean(), np.median(error)] for error in errors])
            shares.append(compared.sum() / counted.sum())
    table = np.mean(rows, axis=0) if rows else np.full((3, 2), np.nan)
    coverage = float(np.mean(shares)) if shares else 0.0
    return Yale(photos, len(rows), coverage, *(Normals(float(mean), float(median)) for mean, median in table))


def pad(image: UInt8[np.ndarray, "h w"]) -> tuple[UInt8[np.ndarray, "p q 3"], int]:
    """The grey crop as a colour photo with a black border, and the border's width."""
    offset = round(PADDING * image.shape[1])
    return np.repeat(np.pad(image, offset)[..., None], 3, axis=2), offset


def view_of_mean(model: HeadModel, face: Face, width: int, height: int) -> View:
    """The mean face where the reconstruction says that the head is."""
    surface = mean_face(model)
    camera = face.pose.to_camera(surface.vertices.astype(np.float64))
    normals = vertex_normals(surface.vertices, surface.faces) @ face.pose.rotation.T
    return view(face.camera.project(camera), camera, normals, surface.faces, width, height)


def eyes(face: Face, height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """The pixels of both eyes and their lids."""
    import cv2

    mask = np.zeros((height, width), np.uint8)
    for part in EYES:
        points = face.landmarks[part]
        hull = points.mean(0) + (points - points.mean(0)) * EYE_MARGIN
        cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(hull).astype(np.int32)), 1)
    return mask > 0


def lines(result: Yale) -> list[Line]:
    """For the table."""
    data = f"yale, {result.photos} grey photos"
    out = [
        Line(data, f"faces reconstructed of {result.photos}", result.found, digits=0),
        Line(data, "share of the sure pixels that the mesh shows", result.coverage),
    ]
    for name in ("mean", "median"):
        ours, coarse, mean = (
            getattr(each, name) for each in (result.detailed, result.coarse, result.mean_face)
        )
        out.append(Line(data, f"normals, {name} error, degrees", ours, coarse, mean_face=mean, digits=1))
    return out
