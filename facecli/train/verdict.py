"""How right one reconstruction of a photo with known geometry is."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from facecli.mesh import Mesh
from facecli.pipeline import Face
from facecli.train.scan import similarity
from facecli.train.studio import Shot
from facecli.train.trial import angles, relief_of, view_of_face

NEAR = 0.5
"""A face whose landmarks' middle is farther from the truth than this, in outer eye distances, is another one."""
FEWEST = 200


@dataclass(frozen=True)
class Verdict:
    """One face: landmarks in per cent of the outer eye distance (in 3D, so that profiles count alike); shape in mm,
    the mean distance of the visible points to the true ones of the same pixels after the best similarity; normals in
    degrees; the strength of the relief, mm."""

    landmarks: float
    shape: float
    normals: float
    relief: float


def judge(shot: Shot, faces: list[Face]) -> Verdict | None:
    """The face that is meant, or None where it was not found."""
    face = meant(shot, faces)
    if face is None:
        return None
    height, width = shot.pixels.shape[:2]
    seen = view_of_face(face, width, height)
    both = seen.seen & shot.face
    return Verdict(
        100 * float(np.linalg.norm(face.landmarks - shot.landmarks, axis=1).mean()) / shot.eyes,
        shape_error(shot, face, face.mesh),
        float(angles(seen.normals[both], shot.normals[both]).mean()) if both.any() else float("nan"),
        strength(relief_of(face, width, height)),
    )


def strength(relief: Float[np.ndarray, "h w"]) -> float:
    """Root mean square of a relief, mm, about its mean: the same everywhere, it would not be seen. Nothing where it is
    not a number."""
    return float(np.nanstd(relief)) if np.isfinite(relief).any() else 0.0


def meant(shot: Shot, faces: list[Face]) -> Face | None:
    """The face at the place of the true one."""
    middle = shot.landmarks.mean(0)
    far = {k: float(np.linalg.norm(face.landmarks.mean(0) - middle)) for k, face in enumerate(faces)}
    best = min(far, key=lambda k: far[k], default=None)
    return None if best is None or far[best] > NEAR * shot.eyes else faces[best]


def shape_error(shot: Shot, face: Face, mesh: Mesh) -> float:
    """Mean distance, mm, of the points that one of the face's meshes has at each pixel to the true ones."""
    height, width = shot.pixels.shape[:2]
    seen = view_of_face(face, width, height, mesh)
    both = seen.seen & shot.face
    if both.sum() < FEWEST:
        return float("nan")
    rows, columns = np.nonzero(both)
    rays = face.camera.rays(np.stack([columns, rows], 1).astype(np.float64))
    ours, truth = rays * seen.depth[both][:, None], shot.position[both].astype(np.float64)
    return float(np.linalg.norm(similarity(ours, truth)(ours) - truth, axis=1).mean())
