"""The baseline that knows nothing of the person: the head model's mean, placed by landmarks."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from facecli.camera import Camera, Pose
from facecli.train.headmodel import FACE, GUMS, NARROW_FACE_VERTICES, HeadModel
from facecli.train.raster import vertex_normals
from facecli.train.scan import Surface
from facecli.train.trial import View, view

INNER = slice(17, 68)
"""Landmarks that stay on the same skin; the jaw's slide along the outline as the head turns."""


@dataclass(frozen=True, eq=False)
class MeanFace:
    """The mean's narrow face, eyes and mouth; mm, head frame."""

    surface: Surface

    @classmethod
    def of(cls, model: HeadModel) -> "MeanFace":
        """Cut from the head model."""
        inner = (model.part >= GUMS) | ((model.part == FACE) & (model.faces.max(1) < NARROW_FACE_VERTICES))
        return cls(Surface(model.neutral, model.faces[inner], model.neutral[model.landmark_vertices]))

    def placed(self, landmarks: Float[np.ndarray, "68 2"], camera: Camera) -> Pose:
        """The pose that lays it on the landmarks of a photo (pixels): perspective-n-point without a start
        (Terzakis and Lourakis, ECCV 2020), then least squares in the image."""
        points = self.surface.landmarks[INNER].astype(np.float64)
        pixels = np.ascontiguousarray(landmarks[INNER], np.float64)
        _, turn, shift = cv2.solvePnP(points, pixels, camera.matrix, None, flags=cv2.SOLVEPNP_SQPNP)
        turn, shift = cv2.solvePnPRefineLM(points, pixels, camera.matrix, None, turn, shift)
        return Pose(np.asarray(cv2.Rodrigues(turn)[0], np.float64), shift.reshape(3).astype(np.float64))

    def view(self, pose: Pose, camera: Camera, width: int, height: int) -> View:
        """As the camera sees it there."""
        placed = pose.to_camera(self.surface.vertices.astype(np.float64))
        normals = vertex_normals(self.surface.vertices, self.surface.faces) @ pose.rotation.T
        return view(camera.project(placed), placed, normals, self.surface.faces, width, height)
