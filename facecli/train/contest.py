"""Everybody who is measured, on the same pixels of the same photo."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from facecli.pipeline import Face
from facecli.train.mean_face import MeanFace
from facecli.train.peer import MediaPipe, Sighting, view_of_points
from facecli.train.table import COARSE, MEAN_FACE, MEDIAPIPE, OURS, WHOLE
from facecli.train.trial import View, angles, view_of_face


def views(
    face: Face,
    plain: Face | None,
    mean: MeanFace,
    sighting: Sighting | None,
    peer: MediaPipe | None,
    width: int,
    height: int,
) -> dict[str, View]:
    """What each shows of a photo, by the table's columns; `plain` is the face without detail.

    The mean face is placed by the landmarks that facecli found, under the same camera.
    """
    seen = {OURS: view_of_face(face, width, height)}
    if plain is not None:
        seen[COARSE] = view_of_face(plain, width, height)
    if face.complete is not None:
        seen[WHOLE] = view_of_face(face, width, height, face.complete)
    seen[MEAN_FACE] = mean.view(mean.placed(face.landmarks, face.camera), face.camera, width, height)
    if peer is not None and sighting is not None:
        seen[MEDIAPIPE] = view_of_points(sighting, peer.faces, width, height)
    return seen


def shown_by_all(views: Mapping[str, View], counted: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The counted pixels that every view shows: nobody wins by leaving out what is hard."""
    return np.logical_and.reduce([counted, *(view.seen for view in views.values())])


def normal_errors(
    views: Mapping[str, View], truth: Float[np.ndarray, "h w 3"], pixels: Bool[np.ndarray, "h w"]
) -> dict[str, Float[np.ndarray, " n"]]:
    """Angle to the true normal, degrees, at `pixels`."""
    return {name: angles(view.normals[pixels], truth[pixels]) for name, view in views.items()}


def averaged(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean over photos of each column; a column counts the photos that have it."""
    names = {name: None for row in rows for name in row}
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
