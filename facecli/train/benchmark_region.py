"""Portraits with hand-drawn label maps: how well the region fits the visible face."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from facecli.geometry import region_mask
from facecli.images import Image
from facecli.pipeline import Face
from facecli.train.table import Line
from facecli.train.trial import Trial

FACE_LABELS = (1, 2, 4, 5, 6, 7, 10, 11, 12)
"""Skin, nose, eyes, brows, inner mouth, lips; glasses, ears and hair are other labels."""


@dataclass(frozen=True)
class Region:
    """Intersection over union of each photo; a photo without a face found has 0."""

    overlaps: list[float]


def measure(folder: Path, trial: Trial, limit: int | None = None) -> Region:
    """Compare on every photo of the folder that has a label map."""
    from PIL import Image as pillow

    overlaps = []
    for path in sorted(folder.glob("*.jpg"))[:limit]:
        with pillow.open(path.with_suffix(".png")) as labels:
            truth = np.isin(np.asarray(labels), FACE_LABELS)
        image, faces = trial.faces_of(path)
        overlaps.append(intersection_over_union(truth, region_of(faces, image)))
    return Region(overlaps)


def region_of(faces: list[Face], image: Image) -> Bool[np.ndarray, "h w"]:
    """The union of the faces' regions, as pixels of the photo."""
    import cv2

    region = np.zeros((image.height, image.width), bool)
    for face in faces:
        mask = region_mask(face.maps.region).astype(np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        region |= (
            np.asarray(cv2.warpAffine(mask, face.crop.matrix, (image.width, image.height), flags=flags)) > 0.5
        )
    return region


def intersection_over_union(first: Bool[np.ndarray, "h w"], second: Bool[np.ndarray, "h w"]) -> float:
    """Of two masks; two empty ones agree."""
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0


def lines(result: Region) -> list[Line]:
    """For the table."""
    data = f"region, {len(result.overlaps)} portraits"
    return [
        Line(data, "region, mean intersection over union", float(np.mean(result.overlaps)), digits=3),
        Line(data, "region, worst intersection over union", float(np.min(result.overlaps)), digits=3),
    ]
