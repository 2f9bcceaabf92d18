"""Scan-to-mesh distance by the protocol of the NoW benchmark (Sanyal et al., CVPR 2019)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from facecli.identity import motions

SEVEN = np.array([36, 39, 42, 45, 33, 48, 54])
"""Eye corners, nose bottom, mouth corners in iBUG 68 order: what aligns mesh and scan at first."""
OUTER_EYES, INNER_EYES, NOSE_BOTTOM = (36, 45), (39, 42), 33
SAMPLES = 250_000
"""Points that stand for the mesh: their spacing, about 0.5 mm on a face, is the finest distance seen."""
SCAN_POINTS = 8_000
"""Points of the scan that the alignment looks at; all of them are measured."""
ROUNDS, KEPT = 30, 0.95


@dataclass(frozen=True, eq=False)
class Surface:
    """A mesh with its 68 landmarks: right-handed, any unit, any place."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    landmarks: Float[np.ndarray, "68 3"]


@dataclass(frozen=True, eq=False)
class Scan:
    """The measured points of a face and its 68 landmarks, mm."""

    points: Float[np.ndarray, "n 3"]
    landmarks: Float[np.ndarray, "68 3"]

    @property
    def outer_eyes(self) -> float:
        """Distance of the outer eye corners, mm."""
        right, left = self.landmarks[list(OUTER_EYES)]
        return float(np.linalg.norm(right - left))


@dataclass(frozen=True, eq=False)
class Similarity:
    """`scale * rotation @ point + shift`."""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, "3"]

    def __call__(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        return self.scale * points @ self.rotation.T + self.shift


def motions_and_growth(points: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "q 7"]:
    """How points move when they are turned about x, y and z, shifted along them, and grow; x, y, z of each in a row."""
    return np.concatenate([motions(points), points[..., None]], 2).reshape(-1, 7)


def similarity(source: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"]) -> Similarity:
    """The least-squares similarity that carries `source` onto `target` (Umeyama 1991); never a mirror."""
    middle, goal = source.mean(0), target.mean(0)
    a, b = source - middle, target - goal
    left, spread, right = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = (left * sign) @ right
    scale = float((spread * sign).sum() / (a**2).sum())
    return Similarity(scale, rotation, goal - scale * rotation @ middle)


def scan_to_mesh(mesh: Surface, scan: Scan) -> Float[np.ndarray, " n"]:
    """Distance in mm of every point of the scan's face to the mesh, once the mesh is laid onto the scan.

    The mesh is carried over by its seven landmarks, then refined, scale and all, by iterated closest points
    from the scan to the mesh without the worst twentieth. The scan's face is what lies within a ball about
    the nose.
    """
    from scipy.spatial import cKDTree

    place = similarity(mesh.landmarks[SEVEN].astype(np.float64), scan.landmarks[SEVEN].astype(np.float64))
    cloud = sampled(place(mesh.vertices.astype(np.float64)), mesh.faces)
    face = face_of(scan)
    few = np.random.default_rng(1).permutation(len(face))[:SCAN_POINTS]
    for _ in range(ROUNDS):
        distance, nearest = cKDTree(cloud).query(face[few])
        kept = distance <= np.quantile(distance, KEPT)
        step = similarity(cloud[nearest[kept]], face[few][kept])
        before = cloud[:: len(cloud) // 64]
        moved = np.linalg.norm(step(before) - before, axis=1).max()
        cloud = step(cloud)
        if moved < 0.01:
            break
    return np.asarray(cKDTree(cloud).query(face)[0])


def face_of(scan: Scan) -> Float[np.ndarray, "n 3"]:
    """The points of the scan within the ball that the protocol calls the face."""
    landmarks = scan.landmarks.astype(np.float64)
    nose, brow = landmarks[NOSE_BOTTOM], landmarks[list(INNER_EYES)].mean(0)
    centre = nose + 0.3 * (brow - nose)
    radius = 0.7 * (scan.outer_eyes + np.linalg.norm(brow - nose))
    points = scan.points.astype(np.float64)
    return points[np.linalg.norm(points - centre, axis=1) <= radius]


def sampled(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], count: int = SAMPLES, seed: int = 0
) -> Float[np.ndarray, "n 3"]:
    """Points spread evenly over the triangles by area (Osada et al. 2002, section 3.2)."""
    random = np.random.default_rng(seed)
    a, b, c = vertices[faces[:, 0]], vertices[faces[:, 1]], vertices[faces[:, 2]]
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = random.choice(len(faces), count, p=area / area.sum())
    root, along = np.sqrt(random.random((count, 1))), random.random((count, 1))
    return (1 - root) * a[chosen] + root * (1 - along) * b[chosen] + root * along * c[chosen]
