"""The camera that took a photo, and where the head stood in front of it.

Camera frame: millimetres, x right, y down, z forward (OpenCV). Photo frame: pixels, centres at integers.
Head frame: millimetres, right-handed, y up, nose to +z, the subject's left to +x, origin at the head centre.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

# Where a frontal upright head's axes point in the camera frame: the only place where y and z change sign.
FRONTAL = np.diag([1.0, -1.0, -1.0])

FULL_FRAME_DIAGONAL_MM = 43.267
DEFAULT_FOCAL = 1.2  # focal length over the longest side: 45 degrees, between a selfie and a portrait lens

_POINTS_USED = 1024
_HYPOTHESES, _SAMPLE, _SCORED = 128, 8, 300
_ITERATIONS = 30
TUKEY = 4.685
MEDIAN_OF_NORM = 1.538  # median length of a 3D Gaussian vector of unit standard deviation per axis
_SMALLEST_SPREAD_MM = 0.05
_SETTLED_MM, _SETTLED = 0.05, 5e-5  # a step this small, mm and radians, is the last one: maps err by far more


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion, in pixels of the photo; `source` tells where the focal is from."""

    focal: float
    centre_x: float
    centre_y: float
    source: Literal["exif", "option", "default"]

    @property
    def matrix(self) -> Float[np.ndarray, "3 3"]:
        """K, so that pixel = K [X Y Z]^T / Z."""
        return np.array([[self.focal, 0.0, self.centre_x], [0.0, self.focal, self.centre_y], [0.0, 0.0, 1.0]])

    def project(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
        """Camera-frame points (any unit, z > 0) to photo pixels."""
        centre = np.array([self.centre_x, self.centre_y])
        return points[:, :2].astype(np.float64) / points[:, 2:].astype(np.float64) * self.focal + centre

    def rays(self, pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
        """Photo pixels to the directions they see, camera frame, scaled to z = 1."""
        centre = np.array([self.centre_x, self.centre_y])
        slopes = (pixels.astype(np.float64) - centre) / self.focal
        return np.concatenate([slopes, np.ones((len(slopes), 1))], axis=1)


def camera_for(
    width: int, height: int, focal_35mm: float | None = None, focal_px: float | None = None
) -> Camera:
    """The camera of a photo: `focal_px` if given, else by EXIF's 35 mm equivalent, else a default view.

    EXIF's FocalLengthIn35mmFilm is read as CIPA defines it, by equal diagonals. Raises ValueError for a size
    or focal length that is not positive and finite.
    """
    if width < 1 or height < 1:
        raise ValueError(f"a photo of {width} x {height} pixels has no camera")
    for focal in (focal_35mm, focal_px):
        if focal is not None and not (np.isfinite(focal) and focal > 0):
            raise ValueError(f"focal length {focal} is not a positive number")
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    if focal_px is not None:
        return Camera(float(focal_px), centre_x, centre_y, "option")
    if focal_35mm is not None:
        diagonal = float(np.hypot(width, height))
        return Camera(focal_35mm / FULL_FRAME_DIAGONAL_MM * diagonal, centre_x, centre_y, "exif")
    return Camera(DEFAULT_FOCAL * max(width, height), centre_x, centre_y, "default")


@dataclass(frozen=True, eq=False)
class Pose:
    """The rigid motion head frame -> camera frame: `rotation @ point + translation`, in millimetres."""

    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]

    @property
    def matrix(self) -> Float[np.ndarray, "4 4"]:
        """The same motion for points in METRES, the unit of everything written to files."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.rotation
        matrix[:3, 3] = self.translation / 1000.0
        return matrix

    @property
    def yaw_pitch_roll(self) -> tuple[float, float, float]:
        """Degrees; a frontal upright face is (0, 0, 0).

        Yaw > 0: the subject looks to the image's right. Pitch > 0: looks up. Roll > 0: the head leans
        clockwise in the image. Inverse of `rotation_from_angles`.
        """
        turn = FRONTAL @ self.rotation
        yaw = np.arctan2(turn[0, 2], turn[2, 2])
        pitch = np.arcsin(np.clip(turn[1, 2], -1.0, 1.0))
        roll = np.arctan2(-turn[1, 0], turn[1, 1])
        return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))

    @property
    def eye(self) -> Float[np.ndarray, "3"]:
        """Where the camera stands: head frame, mm."""
        return self.to_head(np.zeros((1, 3)))[0]

    def to_camera(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Head frame mm -> camera frame mm."""
        return points @ self.rotation.T + self.translation

    def to_head(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Camera frame mm -> head frame mm."""
        return (points - self.translation) @ self.rotation


def rotation_from_angles(yaw: float, pitch: float, roll: float) -> Float[np.ndarray, "3 3"]:
    """The rotation head -> camera of a head turned by these degrees, signs as in `Pose.yaw_pitch_roll`."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), np.sin(r), 0], [-np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return FRONTAL @ about_y @ about_x @ about_z


def fit_pose(
    coordinate: Float[np.ndarray, "n 3"],
    depth: Float[np.ndarray, " n"],
    rays: Float[np.ndarray, "n 3"],
    weights: Float[np.ndarray, " n"],
) -> tuple[Pose, float]:
    """Where the head is, from pixels that know their template coordinate and relative depth.

    Seeks rotation R, translation t and distance Z0 (mm) with R coordinate + t = ray (Z0 - depth): a rigid fit
    of the template to the back-projected pixels, so the template's own size fixes the distance. Least median
    of squares over closed-form fits of random samples (Rousseeuw 1984) finds the majority, then Gauss-Newton
    with Tukey weights converges on it. Deterministic; tolerates a quarter and more of the points being
    grossly wrong.

    coordinate: mm, head frame. depth: mm, towards the camera positive. rays: camera frame, z = 1. weights: >=
    0, points of weight 0 are not looked at. Returns the pose and Z0; raises ValueError where fewer than 8
    usable points are given or no head in front of the camera explains them.
    """
    usable = np.flatnonzero(
        (weights > 0)
        & np.isfinite(weights)
        & np.isfinite(depth)
        & np.isfinite(coordinate).all(1)
        & np.isfinite(rays).all(1)
    )
    if len(usable) < _SAMPLE:
        raise ValueError(f"a pose needs {_SAMPLE} points, only {len(usable)} are usable")
    random = np.random.default_rng(0)
    usable = usable[:: math.ceil(len(usable) / _POINTS_USED)]  # evenly, not by lot
    template, ray = coordinate[usable].astype(np.float64), rays[usable].astype(np.float64)
    height, weight = depth[usable].astype(np.float64), weights[usable].astype(np.float64)
    weight /= weight.max()

    rotation, translation, distance = _consensus(template, height, ray, random)
    for _ in range(_ITERATIONS):
        turned = template @ rotation.T
        residual = turned + translation - ray * (distance - height)[:, None]
        length = np.sqrt(np.einsum("ij,ij->i", residual, residual))
        spread = max(float(np.median(length)) / MEDIAN_OF_NORM, _SMALLEST_SPREAD_MM)
        tukey = np.clip(1 - (length / (TUKEY * spread)) ** 2, 0, None) ** 2
        turn, shift, further = _gauss_newton(turned, ray, residual, weight * tukey)
        rotation, translation, distance = turn @ rotation, translation + shift, distance + further
        if max(abs(further), np.abs(shift).max()) < _SETTLED_MM and np.abs(turn - np.eye(3)).max() < _SETTLED:
            break
    if not (np.isfinite(distance) and distance > height.max()):
        raise ValueError("no head in front of the camera explains these points")
    left, _, right = np.linalg.svd(
        rotation
    )  # products of rotations drift from orthogonality in the last digits
    return Pose(rotation=left @ right, translation=translation), float(distance)


def _consensus(
    template: Float[np.ndarray, "n 3"],
    depth: Float[np.ndarray, " n"],
    ray: Float[np.ndarray, "n 3"],
    random: np.random.Generator,
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"], float]:
    """The closed-form fit of a random sample whose median residual over the points is least."""
    pick = random.integers(0, len(template), (_HYPOTHESES, _SAMPLE))
    sample, direction, below = template[pick], ray[pick], ray[pick] * depth[pick][..., None]
    sample_mean, direction_mean, below_mean = sample.mean(1), direction.mean(1), below.mean(1)
    sample, direction, below = (
        sample - sample_mean[:, None],
        direction - direction_mean[:, None],
        below - below_mean[:, None],
    )
    # A rigid motion keeps the spread: sum |Z0 direction - below|^2 = sum |template|^2, a quadratic in Z0.
    a = (direction**2).sum((1, 2)) + 1e-300
    b = (direction * below).sum((1, 2))
    c = (below**2).sum((1, 2)) - (sample**2).sum((1, 2))
    distance = (b + np.sqrt(np.clip(b * b - a * c, 0, None))) / a
    points = distance[:, None, None] * direction - below
    left, _, right = np.linalg.svd(points.transpose(0, 2, 1) @ sample)
    left[:, :, 2] *= np.sign(np.linalg.det(left) * np.linalg.det(right))[
        :, None
    ]  # Kabsch: a rotation, never a mirror
    rotation = left @ right
    translation = (
        distance[:, None] * direction_mean - below_mean - (rotation @ sample_mean[:, :, None])[:, :, 0]
    )

    few = random.choice(len(template), min(_SCORED, len(template)), replace=False)
    residual = rotation @ template[few].T + translation[:, :, None]  # s 3 n
    residual -= ray[few].T * (distance[:, None] - depth[few])[:, None]
    score = np.median(np.square(residual).sum(1), axis=1)
    score[distance <= depth.max()] = np.inf
    best = int(np.argmin(score))
    return rotation[best], translation[best], float(distance[best])


def _gauss_newton(
    turned: Float[np.ndarray, "n 3"],
    ray: Float[np.ndarray, "n 3"],
    residual: Float[np.ndarray, "n 3"],
    weight: Float[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"], float]:
    """One step: the rotation to multiply from the left, and what to add to translation and distance."""
    mean_ray = weight @ ray / weight.sum()
    # The rows of the Jacobian are (turned x, I, mean ray - ray): every product of two of its columns, and of one
    # with the residual, is among the weighted second moments of ten numbers per point.
    columns = np.concatenate([turned, mean_ray - ray, residual, np.ones((len(turned), 1))], axis=1)
    moment = columns.T @ (columns * weight[:, None])
    point, away, error = slice(0, 3), slice(3, 6), slice(6, 9)
    spread = moment[point, point]
    system, right = np.zeros((7, 7)), np.empty(7)
    system[:3, :3] = np.trace(spread) * np.eye(3) - spread
    system[:3, 3:6] = _cross_matrix(moment[point, 9])
    system[3:6, 3:6] = moment[9, 9] * np.eye(3)
    # Moving the head along the mean ray with the distance leaves only the spread of rays to tell them apart.
    system[:3, 6] = _turning(moment[point, away])
    system[3:6, 6] = moment[away, 9]
    system[6, 6] = np.trace(moment[away, away])
    system += np.triu(system, 1).T
    right[:3], right[3:6], right[6] = (
        _turning(moment[point, error]),
        moment[error, 9],
        np.trace(moment[away, error]),
    )
    widest = max(float(np.abs(columns[:, away]).max()), 1e-12)
    scale = np.array([0.01, 0.01, 0.01, 1.0, 1.0, 1.0, 1.0 / widest])
    step = -scale * np.linalg.lstsq(system * np.outer(scale, scale), right * scale, rcond=1e-14)[0]
    return rotation_from_vector(step[:3]), step[3:6] + step[6] * mean_ray, float(step[6])


def _cross_matrix(vector: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The matrix of the cross product from the left."""
    x, y, z = vector
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])


def _turning(moment: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3"]:
    """Sum of a x b from the sum of a b^T."""
    off = moment - moment.T
    return np.array([off[1, 2], off[2, 0], off[0, 1]])


def rotation_from_vector(vector: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """Rodrigues' formula."""
    angle = float(np.linalg.norm(vector))
    cross = _cross_matrix(vector)
    sine, cosine = (np.sin(angle) / angle, (1 - np.cos(angle)) / angle**2) if angle > 1e-8 else (1.0, 0.5)
    return np.eye(3) + sine * cross + cosine * cross @ cross
