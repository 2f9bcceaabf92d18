"""Group photos with 68 hand-placed points per face, annotated for dlib: detection and landmarks."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float

from facecli.train.peer import MediaPipe, Sighting
from facecli.train.scan import OUTER_EYES
from facecli.train.table import MEDIAPIPE, OURS, Line
from facecli.train.trial import Trial

ANNOTATIONS = ("testing_with_face_landmarks.xml", "training_with_face_landmarks.xml")
SAME_FACE = 0.3
"""Intersection over union of two landmark boxes from which on they are of one face."""
INNER = slice(17, 68)
"""Without the jaw, whose points slide along the outline."""
PARTS = {
    "68 points": slice(0, 68),
    "51 inner points": INNER,
    "jaw": slice(0, 17),
    "brows": slice(17, 27),
    "nose": slice(27, 36),
    "eyes": slice(36, 48),
    "mouth": slice(48, 68),
}


@dataclass(frozen=True, eq=False)
class Annotated:
    """One photo and the landmarks of its faces, pixels."""

    file: str
    landmarks: Float[np.ndarray, "n 68 2"]


@dataclass(frozen=True, eq=False)
class Match:
    """One annotated face and what was found for it, pixels; `theirs` is MediaPipe's."""

    truth: Float[np.ndarray, "68 2"]
    ours: Float[np.ndarray, "68 2"]
    theirs: Float[np.ndarray, "68 2"] | None


@dataclass(frozen=True)
class Dlib68:
    """Of `faces` annotated faces those that facecli found; `found` by column, each without help."""

    faces: int
    matches: list[Match]
    found: dict[str, float]


def measure(folder: Path, trial: Trial, peer: MediaPipe | None = None, limit: int | None = None) -> Dlib68:
    """Find the annotated faces of every annotated photo and compare the landmarks."""
    annotated = [photo for name in ANNOTATIONS for photo in annotations(folder / name)][:limit]
    seen = [trial.faces_of(folder / photo.file) for photo in annotated]
    pixels, faces = [image.pixels for image, _ in seen], [found for _, found in seen]
    sightings: list[list[Sighting]] = peer.see(pixels, faces) if peer else [[] for _ in seen]
    matches, alone = [], 0
    for photo, found, sighted in zip(annotated, faces, sightings, strict=True):
        theirs = dict(_pairs(photo.landmarks, [each.landmarks for each in sighted]))
        alone += sum(not sighted[j].helped for j in theirs.values())
        for i, j in _pairs(photo.landmarks, [face.landmarks for face in found]):
            peers = sighted[theirs[i]].landmarks if i in theirs else None
            matches.append(Match(photo.landmarks[i], found[j].landmarks, peers))
    found_by = {OURS: float(len(matches))} | ({MEDIAPIPE: float(alone)} if peer else {})
    return Dlib68(sum(len(photo.landmarks) for photo in annotated), matches, found_by)


def _pairs(
    truth: Float[np.ndarray, "n 68 2"], found: list[Float[np.ndarray, "68 2"]]
) -> list[tuple[int, int]]:
    return matched(truth, np.array(found).reshape(-1, 68, 2))


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


def matched(truth: Float[np.ndarray, "n 68 2"], found: Float[np.ndarray, "m 68 2"]) -> list[tuple[int, int]]:
    """Rows that are of one face, the best overlap first; a face is used once."""
    overlap = np.array([[intersection_over_union(a, b) for b in found] for a in truth]).reshape(
        len(truth), len(found)
    )
    pairs = []
    while overlap.size and overlap.max() >= SAME_FACE:
        i, j = np.unravel_index(int(overlap.argmax()), overlap.shape)
        pairs.append((int(i), int(j)))
        overlap[i], overlap[:, j] = 0, 0
    return pairs


def intersection_over_union(first: Float[np.ndarray, "n 2"], second: Float[np.ndarray, "n 2"]) -> float:
    """Of the boxes around two sets of points."""
    low, high = np.maximum(first.min(0), second.min(0)), np.minimum(first.max(0), second.max(0))
    both = float(np.prod(np.clip(high - low, 0, None)))
    areas = float(np.prod(np.ptp(first, axis=0)) + np.prod(np.ptp(second, axis=0)))
    return both / max(areas - both, 1e-9)


def errors(match: Match, found: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, "68"]:
    """Distance of each landmark to the annotated one, over the face's outer eye distance."""
    right, left = match.truth[list(OUTER_EYES)]
    return np.linalg.norm(found - match.truth, axis=1) / np.linalg.norm(left - right)


def offsets(match: Match, found: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, "68 2"]:
    """Where each landmark lies from the annotated one, over the outer eye distance: x along the eyes towards the
    subject's left, y down the face."""
    right, left = match.truth[list(OUTER_EYES)]
    along = (left - right) / np.sum((left - right) ** 2)
    down = np.array([-along[1], along[0]])
    return (found - match.truth) @ np.stack([along, down], 1)


def lines(result: Dlib68) -> list[Line]:
    """For the table; errors in per cent of the outer eye distance."""
    data = "dlib68, group photos"
    out = [Line(data, f"faces found of {result.faces}", result.found, digits=0)]
    both = [match for match in result.matches if match.theirs is not None] or result.matches
    if not both:
        return out
    ours = np.array([errors(match, match.ours) for match in both])
    table = {OURS: ours}
    if both[0].theirs is not None:
        table[MEDIAPIPE] = np.array([errors(m, m.theirs) for m in both if m.theirs is not None])
    for name, part in PARTS.items():
        mean = {column: 100 * float(values[:, part].mean()) for column, values in table.items()}
        out.append(Line(data, f"landmarks, {name}, mean error, % of outer eye distance", mean))
    for name, part in (("68 points", slice(0, 68)), ("51 inner points", INNER)):
        middle = {c: 100 * float(np.median(values[:, part].mean(1))) for c, values in table.items()}
        out.append(Line(data, f"landmarks, {name}, median of faces, %", middle))
    out.append(Line(data, f"faces compared, of {result.faces}", {OURS: float(len(both))}, digits=0))
    return out


def mean_offsets(result: Dlib68) -> dict[str, Float[np.ndarray, "68 2"]]:
    """By column, what all faces have in common in `offsets`: how far a landmark's definition is another one."""
    both = [match for match in result.matches if match.theirs is not None] or result.matches
    out = {OURS: np.array([offsets(match, match.ours) for match in both])}
    if both and both[0].theirs is not None:
        out[MEDIAPIPE] = np.array([offsets(m, m.theirs) for m in both if m.theirs is not None])
    return {column: values.reshape(-1, 68, 2).mean(0) for column, values in out.items() if len(values)}


def mean_shape(result: Dlib68) -> Float[np.ndarray, "68 2"]:
    """The annotated faces' mean in the frame of `offsets`, the outer eye corners at (-0.5, 0) and (0.5, 0)."""
    shapes = []
    for match in result.matches:
        middle = match.truth[list(OUTER_EYES)].mean(0)
        shapes.append(offsets(match, np.broadcast_to(middle, (68, 2))) * -1)
    return np.mean(shapes, axis=0)
