"""Portraits with hand-drawn label maps: how well the region fits the visible face."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from facecli.geometry import region_mask
from facecli.images import Image
from facecli.pipeline import Face
from facecli.train.mean_face import MeanFace
from facecli.train.peer import MediaPipe, Sighting, view_of_points
from facecli.train.table import MEAN_FACE, MEDIAPIPE, OURS, Line
from facecli.train.trial import Trial

FACE_LABELS = (1, 2, 4, 5, 6, 7, 10, 11, 12)
"""Skin, nose, eyes, brows, inner mouth, lips; glasses, ears and hair are other labels."""


@dataclass(frozen=True)
class Region:
    """Intersection over union of each photo, by column; a photo without a face found has 0."""

    overlaps: dict[str, list[float]]


def measure(
    folder: Path, mean: MeanFace, trial: Trial, peer: MediaPipe | None = None, limit: int | None = None
) -> Region:
    """Compare on every photo of the folder that has a label map; peers by the outline of their mesh."""
    from PIL import Image as pillow

    paths = sorted(folder.glob("*.jpg"))[:limit]
    seen = [trial.faces_of(path) for path in paths]
    pixels, found = [image.pixels for image, _ in seen], [faces for _, faces in seen]
    sightings: list[list[Sighting]] = peer.see(pixels, found) if peer else [[] for _ in seen]
    overlaps: dict[str, list[float]] = {}
    for path, (image, faces), sighted in zip(paths, seen, sightings, strict=True):
        with pillow.open(path.with_suffix(".png")) as labels:
            truth = np.isin(np.asarray(labels), FACE_LABELS)
        regions = {OURS: region_of(faces, image)}
        placed = [
            mean.view(mean.placed(f.landmarks, f.camera), f.camera, image.width, image.height) for f in faces
        ]
        regions[MEAN_FACE] = _union([view.seen for view in placed], truth.shape)
        if peer:
            drawn = [view_of_points(each, peer.faces, image.width, image.height) for each in sighted]
            regions[MEDIAPIPE] = _union([view.seen for view in drawn], truth.shape)
        for name, region in regions.items():
            overlaps.setdefault(name, []).append(intersection_over_union(truth, region))
    return Region(overlaps)


def _union(masks: list[np.ndarray], shape: tuple[int, ...]) -> Bool[np.ndarray, "h w"]:
    return np.logical_or.reduce([np.zeros(shape, bool), *masks])


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
    data = f"region, {len(result.overlaps[OURS])} portraits"
    return [
        Line(
            data,
            f"region, {name} intersection over union",
            {column: float(of(values)) for column, values in result.overlaps.items()},
            digits=3,
        )
        for name, of in (("mean", np.mean), ("worst", np.min))
    ]
