"""The face model that `facecli.complete` fills hidden parts with: mean and modes of heads on the unrolled grid."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from safetensors.numpy import save_file

from facecli.complete import AXIS_Z, FaceModel
from facecli.train.headmodel import BACK, HeadModel
from facecli.train.lift import region_vertices
from facecli.train.raster import rasterize
from facecli.train.sample import random_expression

GRID, MODE_GRID = 128, 64
MODES = 100
SAMPLES = 3000
ANGLE = np.deg2rad(92.0)
HEIGHTS = (92.0, -122.0)


def unroll(
    model: HeadModel, size: int
) -> tuple[Int[np.ndarray, "s s 3"], Float[np.ndarray, "s s 3"], Bool[np.ndarray, "s s"]]:
    """For each cell of the grid, the triangle of the mean head outermost there (its vertices and weights), and whether
    that is face."""
    x, y, z = model.neutral.T
    radius = np.hypot(x, z - AXIS_Z)
    column = (np.arctan2(x, z - AXIS_Z) / ANGLE + 1) / 2 * size - 0.5
    row = (y - HEIGHTS[0]) / (HEIGHTS[1] - HEIGHTS[0]) * size - 0.5
    wanted = model.part != BACK
    faces = model.faces[wanted]
    ahead = (z[faces] - AXIS_Z).max(1) > -30  # nothing that wraps round behind the axis
    faces = faces[ahead]
    index, bary, _ = rasterize(np.stack([column, row], 1), 1000 - radius, faces, size, size)
    # The unrolled picture is no perspective: give the weights back that are linear on the grid.
    corners = faces[np.maximum(index, 0)]
    linear = bary * (1000 - radius[corners])
    linear /= np.maximum(linear.sum(-1, keepdims=True), 1e-9)
    inside = (index >= 0) & (region_vertices(model)[corners].mean(-1) > 0.5)
    return corners, linear, inside


def learn(model: HeadModel, seed: int = 0) -> FaceModel:
    """Principal modes of random people with random expressions, half of them neutral, mm."""
    corners, weights, inside = unroll(model, GRID)
    few, few_weights, _ = unroll(model, MODE_GRID)
    rng = np.random.default_rng(seed)
    identity = (model.identity[:, few] * few_weights[..., None]).sum(-2).reshape(len(model.identity), -1)
    expression = (
        (model.expression[:, few] * few_weights[..., None]).sum(-2).reshape(len(model.expression), -1)
    )
    beta = np.stack([random_expression(rng, model.expression_names) * (k % 2) for k in range(SAMPLES)])
    mean_beta = beta.mean(0)
    # Identity is N(0, I); with a factor of the expressions' covariance the whole is a linear map of N(0, I).
    spread, directions = np.linalg.eigh(np.cov(beta.T))
    factor = directions * np.sqrt(np.maximum(spread, 0))
    _, scale, modes = np.linalg.svd(np.concatenate([identity, factor.T @ expression]), full_matrices=False)
    modes = modes[:MODES] * scale[:MODES, None]
    mean_head = model.neutral + np.tensordot(mean_beta, model.expression, 1)
    mean = (mean_head[corners] * weights[..., None]).sum(-2)
    return FaceModel(
        float(ANGLE),
        HEIGHTS,
        mean.astype(np.float32),
        inside,
        modes.reshape(-1, MODE_GRID, MODE_GRID, 3).astype(np.float32),
    )


def save(face_model: FaceModel, path: Path) -> None:
    """Write completion.safetensors; modes as fp16 (0.01 mm)."""
    save_file(
        {
            "range": np.array([face_model.angle_range, *face_model.height_range], np.float32),
            "mean": face_model.mean,
            "inside": face_model.inside.astype(np.uint8),
            "modes": face_model.modes.astype(np.float16),
        },
        path,
    )
