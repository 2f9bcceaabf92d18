"""Random expressions as a linear map of independent numbers, and the shapes of `facecli.blendshapes` from it."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float
from safetensors.numpy import save_file

from facecli.blendshapes import SHAPES, Blendshapes
from facecli.complete import FaceModel
from facecli.grid import grid_normals
from facecli.identity import Visible, explain
from facecli.train.completion import IDENTITY_MODES, expressions, on_grid, spread_of
from facecli.train.headmodel import HeadModel
from facecli.train.sample import euler, random_expression
from facecli.train.unwrap import Unwrapped

FLOOR = 1e-6
"""Least variance of a weight: shapes that random expressions never use stay 0."""
SEEN_COSINE = 0.15
"""Cells seen at a more grazing angle are left out of the trial."""


def learn(names: tuple[str, ...]) -> Blendshapes:
    """The shapes in the modes that `completion.learn` gives expressions. Raises ValueError for another head model."""
    if names != SHAPES:
        raise ValueError("the head model's expressions are not those of facecli.blendshapes.SHAPES")
    weights = expressions(names)
    inverse = np.linalg.pinv(spread_of(weights))
    covariance = np.cov(weights.T) + FLOOR * np.eye(len(names))
    return Blendshapes(
        IDENTITY_MODES,
        np.ascontiguousarray(inverse.T, np.float32),
        weights.mean(0).astype(np.float32),
        np.linalg.inv(covariance).astype(np.float32),
    )


def save(blendshapes: Blendshapes, path: Path) -> None:
    """Write blendshapes.safetensors."""
    save_file(
        {
            "first": np.array([blendshapes.first], np.int32),
            "shapes": blendshapes.shapes,
            "mean": blendshapes.mean,
            "precision": blendshapes.precision,
        },
        path,
    )


@dataclass(frozen=True, eq=False)
class Head:
    """A random head, and what a camera would see of it; mm, head frame."""

    identity: Float[np.ndarray, " i"]  # standard deviations
    weights: Float[np.ndarray, " e"]
    visible: Visible


def random_head(
    rng: np.random.Generator,
    model: HeadModel,
    place: Unwrapped,
    identity: Float[np.ndarray, " i"] | None = None,
    yaw: float | None = None,
    noise: float = 1.0,
) -> Head:
    """One of the head model's people as the grid's cells that face a camera: smooth errors of `noise` mm, a pose off
    by a degree or so, now and then something in front.

    yaw: degrees, positive shows more of the subject's left; else up to 60 either way.
    """
    if identity is None:
        identity = rng.normal(0, 1, len(model.identity))
    weights = random_expression(rng, model.expression_names)
    grid = on_grid(place, model.vertices(identity, weights))
    size = len(grid)
    turn = np.deg2rad(rng.uniform(-60, 60) if yaw is None else yaw)
    sight = euler(turn, np.deg2rad(rng.normal(0, 10)))[:, 2]
    cosine = grid_normals(grid) @ sight
    seen = place.drawn & (cosine > SEEN_COSINE)
    row, column = np.nonzero(seen)
    if rng.random() < 0.4:
        centre = grid[row, column][rng.integers(len(row))]
        open_view = np.linalg.norm(grid[row, column] - centre, axis=1) > rng.uniform(10, 40)
        row, column = row[open_view], column[open_view]
    smooth = cv2.GaussianBlur(rng.normal(0, 1, (size, size, 3)), (0, 0), size / 20)
    points = grid[row, column] + noise / 2 * (smooth / smooth.std())[row, column]
    points = points + rng.normal(0, noise / 5, points.shape)
    cells = np.stack([column, row], 1).astype(np.float64)
    exact = Visible(cells, points, np.ones(len(points)))
    error = rng.normal(0, 1, 6) * noise * np.array([0.02, 0.02, 0.02, 1.5, 1.5, 1.5])
    return Head(identity, weights.astype(np.float64), Visible(cells, exact.moved(error), exact.weight))


@dataclass(frozen=True, eq=False)
class Accuracy:
    """Per shape, over random heads: correlation of found and true weights (nan where one is constant), mean absolute
    error, and the mean absolute error of finding 0 always."""

    correlation: Float[np.ndarray, " e"]
    error: Float[np.ndarray, " e"]
    error_of_zero: Float[np.ndarray, " e"]


def accuracy(
    model: HeadModel, place: Unwrapped, face_model: FaceModel, blendshapes: Blendshapes, count: int, seed: int
) -> Accuracy:
    """Weights found from the geometry of `count` random heads."""
    rng = np.random.default_rng(seed)
    heads = [random_head(rng, model, place) for _ in range(count)]
    true = np.stack([head.weights for head in heads])
    found = np.stack([explain(face_model, blendshapes, [head.visible]).weights[0] for head in heads])
    with np.errstate(invalid="ignore"):
        correlation = [np.corrcoef(true[:, k], found[:, k])[0, 1] for k in range(len(SHAPES))]
    return Accuracy(np.array(correlation), np.abs(found - true).mean(0), true.mean(0))
