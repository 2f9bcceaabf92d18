"""The face model that `facecli.complete` fills hidden parts with: mean and modes of heads on the unrolled grid."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from safetensors.numpy import save_file

from facecli.complete import GROUPS, FaceModel
from facecli.mesh import Group
from facecli.train.headmodel import HeadModel
from facecli.train.sample import random_expression
from facecli.train.unwrap import GRID, Unwrapped, unwrap

MODE_GRID = 64
MODES = 100
SAMPLES = 3000


def learn(model: HeadModel, seed: int = 0) -> FaceModel:
    """Principal modes of random people with random expressions, half of them neutral, mm."""
    place = unwrap(model)
    rng = np.random.default_rng(seed)
    beta = np.stack([random_expression(rng, model.expression_names) * (k % 2) for k in range(SAMPLES)])
    mean = on_grid(place, model.neutral + np.tensordot(beta.mean(0), model.expression, 1))
    changes = np.concatenate([model.identity, model.expression])
    coarse = np.stack(
        [
            cv2.resize(on_grid(place, change), (MODE_GRID, MODE_GRID), interpolation=cv2.INTER_AREA).ravel()
            for change in changes
        ]
    )
    identity, expression = np.split(coarse, [len(model.identity)])
    # Identity is N(0, I); with a factor of the expressions' covariance the whole is a linear map of N(0, I).
    spread, directions = np.linalg.eigh(np.cov(beta.T))
    factor = directions * np.sqrt(np.maximum(spread, 0))
    _, scale, modes = np.linalg.svd(np.concatenate([identity, factor.T @ expression]), full_matrices=False)
    modes = modes[:MODES] * scale[:MODES, None]
    groups = tuple(
        Group(
            name,
            place.quads[place.quad_group == number].astype(np.int32),
            place.triangles[place.triangle_group == number].astype(np.int32),
        )
        for number, name in enumerate(GROUPS)
    )
    return FaceModel(
        place.chart,
        mean.astype(np.float32),
        modes.reshape(-1, MODE_GRID, MODE_GRID, 3).astype(np.float32),
        place.cells.astype(np.float32),
        groups,
        place.bag.astype(np.int32),
    )


def on_grid(place: Unwrapped, vertices: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "g g 3"]:
    """A head, or how it changes, at every cell: the inner mouth spans the lips, and what the head model does not cover
    repeats the nearest cell."""
    grid = (vertices[place.corners] * place.shares[..., None]).sum(-2)
    cell, top, bottom = place.bag.T
    flat = _continued(grid, place.drawn).reshape(-1, 3)
    # The edges of the lips lie exactly where two surfaces meet, and either may be drawn: go on from further out.
    for edge, step in ((_by_column(top), -GRID), (_by_column(bottom), GRID)):
        flat[edge] = 2 * flat[edge + step] - flat[edge + 2 * step]
        flat[edge[1:-1]] = (flat[edge[:-2]] + 2 * flat[edge[1:-1]] + flat[edge[2:]]) / 4
    share = ((cell - top) / (bottom - top))[:, None]
    flat[cell] = flat[top] * (1 - share) + flat[bottom] * share
    return flat.reshape(GRID, GRID, 3)


def _by_column(cells: Int[np.ndarray, " b"]) -> Int[np.ndarray, " n"]:
    found = np.unique(cells)
    return found[np.argsort(found % GRID)]


def _continued(
    grid: Float[np.ndarray, "g g 3"], known: Bool[np.ndarray, "g g"]
) -> Float[np.ndarray, "g g 3"]:
    _, label = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label = np.zeros((int(label.max()) + 1, 3))
    by_label[label[known]] = grid[known]
    return by_label[label]


def save(face_model: FaceModel, path: Path) -> None:
    """Write completion.safetensors; modes as fp16 (0.01 mm)."""
    chart, groups = face_model.chart, face_model.groups
    save_file(
        {
            "range": np.array([chart.angle_range, *chart.height_range], np.float32),
            "lips": chart.lips,
            "shift": chart.shift.astype(np.float16),
            "mean": face_model.mean,
            "modes": face_model.modes.astype(np.float16),
            "cells": face_model.cells,
            "quads": np.concatenate([group.quads for group in groups]).astype(np.uint16),
            "quad_group": np.repeat(np.arange(len(groups), dtype=np.uint8), [len(g.quads) for g in groups]),
            "triangles": np.concatenate([group.triangles for group in groups]).astype(np.uint16),
            "triangle_group": np.repeat(
                np.arange(len(groups), dtype=np.uint8), [len(g.triangles) for g in groups]
            ),
            "bag": face_model.bag.astype(np.uint16),
        },
        path,
    )
