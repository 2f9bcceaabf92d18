"""The pose of a person's head, who is not the template: what is shape must not be taken for pose.

`camera.fit_pose` lays the template over the visible points as if every head were the mean one. A long nose or a
receding chin then turns the head by some degrees, and a large head comes nearer. Here pose and shape are sought
together, the shape among the modes in which people differ, which are known with their spread.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from facecli.camera import MEDIAN_OF_NORM, TUKEY, Pose, rotation_from_vector
from facecli.complete import FaceModel

POINTS = 400
MODES = 40
ERROR_FACTOR = 6.0  # neighbouring pixels err together: what a shape leaves unexplained counts this much
SMALLEST_ERROR_MM = 0.3
_STEPS = 4
_UNITS = np.array([0.01, 0.01, 0.01, 1.0, 1.0, 1.0, 100.0])  # of a step: radians, mm, mm of distance
RIGID = len(_UNITS)
"""How many numbers place a head, before those of its shape."""


def fit_person(
    model: FaceModel,
    pose: Pose,
    distance: float,
    coordinate: Float[np.ndarray, "n 3"],
    depth: Float[np.ndarray, " n"],
    rays: Float[np.ndarray, "n 3"],
    weights: Float[np.ndarray, " n"],
) -> tuple[Pose, float]:
    """A better pose and distance (mm), from those of `fit_pose` and the points it was given.

    Seeks rotation R, translation t, distance Z0 and shape s with R (coordinate + modes s) + t = ray (Z0 - depth),
    s normally distributed: Gauss-Newton steps on the posterior with Tukey weights. The error that the points are
    credited with is what the fit leaves over: exact maps give the shape away and with it the pose, while from maps
    that are wrong by millimetres nothing is learned that the template did not know, and the pose stays. It also stays
    where the points are of no head at all.
    """
    points = some_points(model, coordinate, depth, rays, weights)
    if points is None:
        return pose, distance
    person = Person.mean(pose, distance)
    for _ in range(_STEPS):
        person = person.stepped(points, -np.linalg.solve(*person.equations(points)))
    if not person.in_front(points):
        return pose, distance
    return Pose(person.rotation, person.translation), float(person.distance)


@dataclass(frozen=True, eq=False)
class Points:
    """Some of what a photo shows of a face: places on the template (mm), how deep they are, the rays they lie on,
    how far each is trusted (1: most), and how the modes move the places."""

    template: Float[np.ndarray, "n 3"]
    depth: Float[np.ndarray, " n"]
    rays: Float[np.ndarray, "n 3"]
    trust: Float[np.ndarray, " n"]
    modes: Float[np.ndarray, "n 3 k"]

    @property
    def mean_ray(self) -> Float[np.ndarray, "3"]:
        """The ray to the middle of what is trusted."""
        return np.asarray(self.trust @ self.rays / self.trust.sum())


def some_points(
    model: FaceModel,
    coordinate: Float[np.ndarray, "n 3"],
    depth: Float[np.ndarray, " n"],
    rays: Float[np.ndarray, "n 3"],
    weights: Float[np.ndarray, " n"],
) -> Points | None:
    """A few hundred of the points, or None where there are too few to tell a shape."""
    step = max(1, len(coordinate) // POINTS)
    template, height, ray = (part[::step].astype(np.float64) for part in (coordinate, depth, rays))
    trust = weights[::step].astype(np.float64) / weights.max()
    usable = np.isfinite(template).all(1) & np.isfinite(height) & (trust > 0)
    template, height, ray, trust = template[usable], height[usable], ray[usable], trust[usable]
    if len(template) < MODES:
        return None
    modes = model.modes_at(template)[..., model.by_size[:MODES]].astype(np.float64)
    return Points(template, height, ray, trust, modes)


@dataclass(frozen=True, eq=False)
class Person:
    """A head and where it stands: head frame -> camera frame, the distance that depth counts from (mm), its shape."""

    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]
    distance: float
    shape: Float[np.ndarray, " k"]

    @classmethod
    def mean(cls, pose: Pose, distance: float) -> "Person":
        """The template itself."""
        return cls(pose.rotation, pose.translation, distance, np.zeros(MODES))

    def in_front(self, points: Points) -> bool:
        """Whether all of it is before the camera: what is no head may end anywhere."""
        return bool(np.isfinite(self.distance) and self.distance > points.depth.max())

    def equations(
        self, points: Points, more: Float[np.ndarray, "n 3 m"] | None = None
    ) -> tuple[Float[np.ndarray, "p p"], Float[np.ndarray, " p"]]:
        """The normal equations of a Gauss-Newton step: RIGID numbers, the shape's, and those of more.

        more: how further unknowns move the points as seen, camera frame, mm.
        """
        seen = (points.rays * (self.distance - points.depth)[:, None] - self.translation) @ self.rotation
        residual = points.template + points.modes @ self.shape - seen
        length = np.sqrt(np.einsum("ij,ij->i", residual, residual))
        error = ERROR_FACTOR * max(
            float(np.median(length)) / MEDIAN_OF_NORM, SMALLEST_ERROR_MM / ERROR_FACTOR
        )
        tukey = np.clip(1 - (length / (TUKEY * error / ERROR_FACTOR)) ** 2, 0, None) ** 2
        shaped = RIGID + len(self.shape)
        jacobian = np.zeros((len(seen), 3, shaped + (0 if more is None else more.shape[2])))
        x, y, z = seen.T
        jacobian[:, 0, 1], jacobian[:, 0, 2] = z, -y
        jacobian[:, 1, 0], jacobian[:, 1, 2] = -z, x
        jacobian[:, 2, 0], jacobian[:, 2, 1] = y, -x
        jacobian[:, [0, 1, 2], [3, 4, 5]] = 1.0
        jacobian[:, :, 6] = (points.mean_ray - points.rays) @ self.rotation
        jacobian[:, :, RIGID:shaped] = points.modes
        if more is not None:
            jacobian[:, :, shaped:] = -np.einsum("nkm,kj->njm", more, self.rotation)
        rows = jacobian.reshape(-1, jacobian.shape[2])
        rows[:, :RIGID] *= _UNITS
        heavy = rows * np.repeat(points.trust * tukey / error**2, 3)[:, None]
        system, right = heavy.T @ rows, heavy.T @ residual.reshape(-1)
        system[range(RIGID), range(RIGID)] += 1e-9
        system[range(RIGID, shaped), range(RIGID, shaped)] += 1
        right[RIGID:shaped] += self.shape
        return system, right

    def stepped(self, points: Points, change: Float[np.ndarray, " p"]) -> "Person":
        """After a step of RIGID numbers and the shape's."""
        turn, shift, further = change[:3] * _UNITS[0], change[3:6], change[6] * _UNITS[6]
        return Person(
            self.rotation @ rotation_from_vector(turn),
            self.translation + self.rotation @ shift + further * points.mean_ray,
            self.distance + further,
            self.shape + change[RIGID:],
        )
