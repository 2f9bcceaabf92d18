"""Group photos with 68 hand-placed points per face, annotated for dlib: detection and landmarks."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float

from facecli.train.scan import OUTER_EYES
from facecli.train.table import Line
from facecli.train.trial import Trial

ANNOTATIONS = ("testing_with_face_landmarks.xml", "training_with_face_landmarks.xml")
SAME_FACE = 0.3
"""Intersection over union of two landmark boxes from which on they are of one face."""
INNER = slice(17, 68)
"""Without the jaw, whose points slide along the outline."""


@dataclass(frozen=True, eq=False)
class Annotated:
    """One photo and the landmarks of its faces, pixels."""

    file: str
    landmarks: Float[np.ndarray, "n 68 2"]


@dataclass(frozen=True)
class Dlib68:
    """Errors are means over the points of a face, over its outer eye distance; one number per face found."""

    faces: int
    errors: list[float]
    inner_errors: list[float]


def measure(folder: Path, trial: Trial, limit: int | None = None) -> Dlib68:
    """Find the annotated faces of every annotated photo and compare the landmarks."""
    annotated = [photo for name in ANNOTATIONS for photo in annotations(folder / name)][:limit]
    errors, inner_errors = [], []
    for photo in annotated:
        _, faces = trial.faces_of(folder / photo.file)
        found = np.array([face.landmarks for face in faces]).reshape(-1, 68, 2)
        for truth, ours in matched(photo.landmarks, found):
            distance = np.linalg.norm(ours - truth, axis=1) / np.linalg.norm(
                truth[OUTER_EYES[0]] - truth[OUTER_EYES[1]]
            )
            errors.append(float(distance.mean()))
            inner_errors.append(float(distance[INNER].mean()))
    return Dlib68(sum(len(photo.landmarks) for photo in annotated), errors, inner_errors)


def annotations(path: Path) -> list[Annotated]:
    """The photos of one of dlib's XML files, with every face that has all 68 points."""
    photos = []
    for image in ElementTree.parse(path).getroot().iter("image"):
        faces = []
        for box in image.iter("box"):
            parts = sorted(box.iter("part"), key=lambda part: int(part.attrib["name"]))
            if len(parts) == 68:
                faces.append([[float(part.attrib["x"]), float(part.attrib["y"])] for part in parts])
        photos.append(Annotated(image.attrib["file"], np.array(faces).reshape(-1, 68, 2)))
    return photos


def matched(
    truth: Float[np.ndarray, "n 68 2"], found: Float[np.ndarray, "m 68 2"]
) -> list[tuple[Float[np.ndarray, "68 2"], Float[np.ndarray, "68 2"]]]:
    """Pairs of one face each, the best overlap first; a face is used once."""
    overlap = np.array([[intersection_over_union(a, b) for b in found] for a in truth]).reshape(
        len(truth), len(found)
    )
    pairs = []
    while overlap.size and overlap.max() >= SAME_FACE:
        i, j = np.unravel_index(int(overlap.argmax()), overlap.shape)
        pairs.append((truth[i], found[j]))
        overlap[i], overlap[:, j] = 0, 0
    return pairs


def intersection_over_union(first: Float[np.ndarray, "n 2"], second: Float[np.ndarray, "n 2"]) -> float:
    """Of the boxes around two sets of points."""
    low, high = np.maximum(first.min(0), second.min(0)), np.minimum(first.max(0), second.max(0))
    both = float(np.prod(np.clip(high - low, 0, None)))
    areas = float(np.prod(np.ptp(first, axis=0)) + np.prod(np.ptp(second, axis=0)))
    return both / max(areas - both, 1e-9)


def lines(result: Dlib68) -> list[Line]:
    """For the table; errors in per cent."""
    data = "dlib68, group photos"
    out = [Line(data, f"faces reconstructed of {result.faces}", len(result.errors), digits=0)]
    if result.errors:
        for name, errors in (("68 points", result.errors), ("51 inner points", result.inner_errors)):
            error = 100 * float(np.mean(errors))
            out.append(Line(data, f"landmarks, {name}, mean error, % of outer eye distance", error))
            out.append(Line(data, f"landmarks, {name}, median of faces, %", 100 * float(np.median(errors))))
    return out
