"""The pose of a person's head, who is not the template: what is shape must not be taken for pose.

`camera.fit_pose` lays the template over the visible points as if every head were the mean one. A long nose or a
receding chin then turns the head by some degrees, and a large head comes nearer. Here pose and shape are sought
together, the shape among the modes in which people differ, which are known with their spread.
"""

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
    that are wrong by millimetres nothing is learned that the template did not know, and the pose stays.
    """
    step = max(1, len(coordinate) // POINTS)
    template, height, ray = (part[::step].astype(np.float64) for part in (coordinate, depth, rays))
    trust = weights[::step].astype(np.float64) / weights.max()
    usable = np.isfinite(template).all(1) & np.isfinite(height) & (trust > 0)
    template, height, ray, trust = template[usable], height[usable], ray[usable], trust[usable]
    if len(template) < MODES:
        return pose, distance
    modes = model.modes_at(template)[..., model.by_size[:MODES]].astype(np.float64)
    rotation, translation, shape = pose.rotation, pose.translation, np.zeros(modes.shape[2])
    jacobian = np.zeros((len(template), 3, 7 + modes.shape[2]))
    jacobian[:, :, 7:] = modes
    mean_ray = trust @ ray / trust.sum()
    for _ in range(_STEPS):
        seen = (ray * (distance - height)[:, None] - translation) @ rotation  # in the head frame
        residual = template + modes @ shape - seen
        length = np.sqrt(np.einsum("ij,ij->i", residual, residual))
        error = ERROR_FACTOR * max(
            float(np.median(length)) / MEDIAN_OF_NORM, SMALLEST_ERROR_MM / ERROR_FACTOR
        )
        tukey = np.clip(1 - (length / (TUKEY * error / ERROR_FACTOR)) ** 2, 0, None) ** 2
        x, y, z = seen.T
        jacobian[:, 0, 1], jacobian[:, 0, 2] = z, -y
        jacobian[:, 1, 0], jacobian[:, 1, 2] = -z, x
        jacobian[:, 2, 0], jacobian[:, 2, 1] = y, -x
        jacobian[:, [0, 1, 2], [3, 4, 5]] = 1.0
        jacobian[:, :, 6] = (mean_ray - ray) @ rotation
        rows = jacobian.reshape(-1, jacobian.shape[2]).copy()
        rows[:, :7] *= _UNITS
        heavy = rows * np.repeat(trust * tukey / error**2, 3)[:, None]
        system, right = heavy.T @ rows, heavy.T @ residual.reshape(-1)
        system[range(7), range(7)] += 1e-9
        system[range(7, len(system)), range(7, len(system))] += 1
        right[7:] += shape
        change = -np.linalg.solve(system, right)
        turn, shift, further = change[:3] * _UNITS[0], change[3:6], change[6] * _UNITS[6]
        translation = translation + rotation @ shift + further * mean_ray
        rotation = rotation @ rotation_from_vector(turn)
        distance, shape = distance + further, shape + change[7:]
    return Pose(rotation, translation), float(distance)
