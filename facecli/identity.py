"""Who several photos of one person show, and with what expressions, from their visible pixels.

One small quadratic problem splits what photos show: the identity is Gaussian in the face model's modes and shared by
all photos of a person; each photo has weights of its own of the blendshapes, 0 to 1, rarely far from 0 and related as
in the training data; and each photo's pose may err a little, as it was fitted to the mean head. Its minimum is the most
probable explanation.

For the expression alone the head of `facecli.blendshapes` is better. What the photos of a person have in common needs
both at once: with the head's weights taken for granted, two half-profiles fuse into a worse face.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from facecli.blendshapes import SHAPES, Blendshapes
from facecli.camera import Pose
from facecli.complete import FaceModel, to_cells
from facecli.crop import CROP
from facecli.geometry import inner, inner_mouth, region_mask
from facecli.grid import sample
from facecli.mesh import Mesh
from facecli.runtime import Maps
from facecli.upsample import upsample_masked

# All pixels of a photo weigh like so many, each of them as wrong as ERROR_FACTOR times what is left over, and at least
# LEAST_ERROR_MM: so the maps of held-back people give away best who they are.
INDEPENDENT, ERROR_FACTOR, LEAST_ERROR_MM = 400, 4.0, 0.6
PIXELS_USED = 2500
SURE_MM = 4.0  # pixels whose depth the network doubts more than this weigh less
RARITY = 10.0  # of the weights' exponential prior: a weight of 0.1 is e times less probable than none
CLOSENESS = (
    0.1  # the training data's expressions are only roughly those of people: their precision counts this much
)
# How far a photo's pose may be off, as standard deviations: rotation (radians), shift (mm).
POSE_SPREAD = np.array([math.radians(3.0)] * 3 + [3.0] * 3)
MEDIAN_OF_NORMAL = 0.6745  # of a normal error's size, in standard deviations
GROSS_MM = 2.0  # left over, at least, what is weighed down: shut lids are few pixels
FIRST_MM, SMALLEST_MM = 0.5, 0.05  # left over along an axis: before it is known, and at least
_FITS, _SWEEPS, _ROUNDS, _STILL = 4, 200, 50, 1e-4


@dataclass(frozen=True, eq=False)
class Visible:
    """The pixels of one photo that show a face."""

    cells: Float[np.ndarray, "n 2"]  # column and row on the face model's grid
    points: Float[np.ndarray, "n 3"]  # mm, head frame
    weight: Float[np.ndarray, " n"]  # 1 for a pixel seen head-on without doubt, less for others

    def moved(self, motion: Float[np.ndarray, "6"]) -> Float[np.ndarray, "n 3"]:
        """The points once the pose's error is taken off."""
        return self.points - motions(self.points) @ motion


@dataclass(frozen=True, eq=False)
class Explanation:
    """The most probable person, and in each photo the expression and the pose's error."""

    identity: Float[np.ndarray, " i"]  # in the face model's modes of identity
    weights: Float[np.ndarray, "p e"]  # of SHAPES, 0 to 1
    motions: Float[np.ndarray, "p 6"]  # rotation about x, y, z (radians), shift (mm)
    left_over: Float[np.ndarray, " p"]  # mm along each axis, standard deviation: what no face explains


def visible(model: FaceModel, maps: Maps, mesh: Mesh, pose: Pose) -> Visible:
    """What a photo shows of a face, weighed by the network's doubt and by how grazing the view is.

    mesh: the face's own, a vertex per pixel, its uv in the crop.
    """
    import cv2

    region = region_mask(maps.region)
    coarse = cv2.resize(region.astype(np.float32), maps.depth.shape[::-1], interpolation=cv2.INTER_AREA) > 0.5
    stacked = np.dstack([maps.coordinate, maps.sigma, maps.opening]).astype(np.float64)
    finer = upsample_masked(stacked, coarse, CROP)
    column, row = np.rint(mesh.uv.astype(np.float64) * CROP - 0.5).astype(int).T
    points, normals = mesh.vertices.astype(np.float64) * 1000, mesh.normals.astype(np.float64)
    cells, usable = to_cells(model, finer[row, column, :3])
    usable &= (inner(region) & ~inner_mouth(finer[..., :3], finer[..., 4]))[row, column]
    sight = pose.eye - points
    sight /= np.linalg.norm(sight, axis=1, keepdims=True)
    cosine = np.clip(np.einsum("nk,nk->n", sight, normals), 0, 1)
    weight = cosine * np.minimum(1, SURE_MM / np.maximum(finer[row, column, 3], 1e-3)) ** 2
    return Visible(cells[usable], points[usable], weight[usable])


def explain(model: FaceModel, blendshapes: Blendshapes, photos: list[Visible]) -> Explanation:
    """Who one or several photos of the same person show, and with which expressions."""
    evidence = [_evidence(model, photo) for photo in photos]
    blocks = [_Block.of(matrix, goal, blendshapes) for matrix, goal, _ in evidence]
    precision = np.eye(blendshapes.first) + sum(block.identity for block in blocks)
    goal = np.sum([block.identity_goal for block in blocks], axis=0)
    # Each photo's weights in turn, the identity always the best for them (block Gauss-Seidel on the Schur complement).
    solved = [np.linalg.solve(precision, block.cross.T) for block in blocks]
    curvature = [block.weights - block.cross @ part for block, part in zip(blocks, solved, strict=True)]
    weights = np.zeros((len(blocks), len(SHAPES)))
    for _ in range(_ROUNDS if len(blocks) > 1 else 1):
        moved = 0.0
        for index, block in enumerate(blocks):
            without = goal + block.cross.T @ weights[index]
            pull = block.weights_goal - solved[index].T @ without
            best = _within_0_and_1(curvature[index], pull, weights[index])
            goal = without - block.cross.T @ best
            moved = max(moved, float(np.abs(best - weights[index]).max()))
            weights[index] = best
        if moved < _STILL:
            break
    identity = np.linalg.solve(precision, goal)
    motions = [block.motion(identity, own) for block, own in zip(blocks, weights, strict=True)]
    left = np.array([deviation for *_, deviation in evidence])
    return Explanation(identity, weights, np.reshape(motions, (-1, len(POSE_SPREAD))), left)


def _evidence(
    model: FaceModel, visible: Visible
) -> tuple[Float[np.ndarray, "u u"], Float[np.ndarray, " u"], float]:
    """Matrix and right-hand side of the normal equations of modes and motion, gross errors weighed down; and the
    standard deviation of what is left over, mm.

    As in `facecli.pose.fit_person`, that is what tells how far the pixels are credited: exact ones give the person
    away, and those that are wrong by millimetres, over whole cheeks, leave much of the mean.
    """
    size, coarse, modes = model.mean.shape[0], model.modes.shape[1], len(model.modes)
    some = slice(None, None, max(1, math.ceil(len(visible.points) / PIXELS_USED)))
    cells, points, weight = visible.cells[some], visible.points[some], visible.weight[some]
    count = max(len(points), 1)
    by_mode = sample(model.layers, (cells + 0.5) * coarse / size - 0.5).reshape(len(points), 3, modes)
    rows = np.concatenate([by_mode, motions(points)], 2, dtype=np.float32)
    rows = rows.reshape(3 * len(points), rows.shape[2])
    wanted = (points - sample(model.mean.astype(np.float64), cells)).reshape(-1).astype(np.float32)
    share = np.repeat(weight, 3) * INDEPENDENT / count
    prior = np.diag(np.concatenate([np.ones(modes), POSE_SPREAD**-2.0]))
    huber, left = np.ones(len(wanted)), FIRST_MM
    for _ in range(_FITS):
        sure = share * huber / max(ERROR_FACTOR * left, LEAST_ERROR_MM) ** 2
        heavy = rows * sure[:, None].astype(np.float32)
        matrix, goal = (heavy.T @ rows).astype(np.float64), (heavy.T @ wanted).astype(np.float64)
        error = np.abs(wanted - rows @ np.linalg.solve(matrix + prior, goal))
        middle = float(np.median(error[share > 0])) if (share > 0).any() else 0.0
        left = max(middle / MEDIAN_OF_NORMAL, SMALLEST_MM)
        huber = 1 / np.maximum(1, error / max(2 * left, GROSS_MM))
    return matrix, goal, left


def motions(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3 6"]:
    """How points move with each number of a small motion."""
    rows = np.zeros((len(points), 3, len(POSE_SPREAD)))
    x, y, z = points.T
    rows[:, 0, 1], rows[:, 0, 2] = z, -y
    rows[:, 1, 0], rows[:, 1, 2] = -z, x
    rows[:, 2, 0], rows[:, 2, 1] = y, -x
    rows[:, [0, 1, 2], [3, 4, 5]] = 1.0
    return rows


@dataclass(frozen=True, eq=False)
class _Block:
    """One photo's part of the quadratic problem: half the square form of identity and weights, less a linear one.

    The motion is eliminated: `motion` finds the best one again.
    """

    identity: Float[np.ndarray, "i i"]
    identity_goal: Float[np.ndarray, " i"]
    cross: Float[np.ndarray, "e i"]
    weights: Float[np.ndarray, "e e"]
    weights_goal: Float[np.ndarray, " e"]
    motion_at_rest: Float[np.ndarray, "6"]
    motion_follows: Float[np.ndarray, "6 u"]

    @classmethod
    def of(
        cls, matrix: Float[np.ndarray, "u u"], goal: Float[np.ndarray, " u"], blendshapes: Blendshapes
    ) -> "_Block":
        """In identity and weights instead of modes, the priors of weights and motion added."""
        first, motion = blendshapes.first, len(POSE_SPREAD)
        shapes = blendshapes.shapes.astype(np.float64)
        expression = slice(first, len(matrix) - motion)
        goal = goal - matrix[:, expression] @ blendshapes.neutral
        change = np.zeros((len(matrix), first + len(shapes) + motion))
        change[:first, :first] = np.eye(first)
        change[expression, first : first + len(shapes)] = shapes.T
        change[-motion:, -motion:] = np.eye(motion)
        matrix, goal = change.T @ matrix @ change, change.T @ goal
        still = matrix[-motion:, -motion:] + np.diag(POSE_SPREAD**-2.0)
        follows = np.linalg.solve(still, matrix[-motion:, :-motion])
        at_rest = np.linalg.solve(still, goal[-motion:])
        goal = goal[:-motion] - matrix[:-motion, -motion:] @ at_rest
        matrix = matrix[:-motion, :-motion] - matrix[:-motion, -motion:] @ follows
        return cls(
            matrix[:first, :first],
            goal[:first],
            matrix[first:, :first],
            matrix[first:, first:] + CLOSENESS * blendshapes.precision.astype(np.float64),
            goal[first:] - RARITY,
            at_rest,
            follows,
        )

    def motion(
        self, identity: Float[np.ndarray, " i"], weights: Float[np.ndarray, " e"]
    ) -> Float[np.ndarray, "6"]:
        return self.motion_at_rest - self.motion_follows @ np.concatenate([identity, weights])


def _within_0_and_1(
    matrix: Float[np.ndarray, "e e"], goal: Float[np.ndarray, " e"], start: Float[np.ndarray, " e"]
) -> Float[np.ndarray, " e"]:
    """The least of half the square form less the linear one, all within 0 to 1, by coordinate descent."""
    found = start.copy()
    slope = matrix @ found - goal
    for _ in range(_SWEEPS):
        moved = 0.0
        for index in range(len(found)):
            best = min(1.0, max(0.0, found[index] - slope[index] / matrix[index, index]))
            step = best - found[index]
            if step != 0:
                slope += matrix[index] * step
                found[index] = best
                moved = max(moved, abs(step))
        if moved < _STILL:
            break
    return found
