"""The face model that `facecli.complete` fills hidden parts with: mean and modes of heads on the unrolled grid."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from safetensors.numpy import save_file

from facecli.complete import GROUPS, FaceModel
from facecli.mesh import Group
from facecli.train.headmodel import HeadModel
from facecli.train.raster import vertex_normals
from facecli.train.sample import random_expression
from facecli.train.unwrap import GRID, Unwrapped, outer_faces, unwrap

MODE_GRID = 64
IDENTITY_MODES = 80
"""They leave 0.16 mm of the head model's people out; expressions are kept whole."""
SAMPLES = 3000
ROUND = 0.5
"""Of the way from flat triangles to the planes that touch their corners: half of it is right for a ball."""


def learn(model: HeadModel, seed: int = 0) -> FaceModel:
    """Principal modes of people, then modes of expression, each N(0, 1) in random people with random expressions, mm.

    An expression of weights w is `pinv(spread_of(weights)) @ (w - weights.mean(0))` in the latter.
    """
    place = unwrap(model)
    weights = expressions(model.expression_names, seed)
    head = model.neutral + np.tensordot(weights.mean(0), model.expression, 1)
    mean = on_grid(place, head, vertex_normals(head.astype(np.float32), outer_faces(model)))
    identity, expression = (
        np.stack(
            [
                cv2.resize(
                    on_grid(place, change), (MODE_GRID, MODE_GRID), interpolation=cv2.INTER_AREA
                ).ravel()
                for change in changes
            ]
        )
        for changes in (model.identity, model.expression)
    )
    _, scale, people = np.linalg.svd(identity, full_matrices=False)
    people = people[:IDENTITY_MODES] * scale[:IDENTITY_MODES, None]
    modes = np.concatenate([people, spread_of(weights).T @ expression])
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


def expressions(names: tuple[str, ...], seed: int = 0) -> Float[np.ndarray, "n e"]:
    """Weights of random expressions, half of them neutral."""
    rng = np.random.default_rng(seed)
    return np.stack([random_expression(rng, names) * (k % 2) for k in range(SAMPLES)]).astype(np.float64)


def spread_of(weights: Float[np.ndarray, "n e"]) -> Float[np.ndarray, "e x"]:
    """A factor F of the weights' covariance F F': mean + F N(0, I) is spread as they are."""
    variance, directions = np.linalg.eigh(np.cov(weights.T))
    used = variance > 1e-6 * variance.max()
    return np.asarray(directions[:, used] * np.sqrt(variance[used]))


def on_grid(
    place: Unwrapped, vertices: Float[np.ndarray, "v 3"], normals: Float[np.ndarray, "v 3"] | None = None
) -> Float[np.ndarray, "g g 3"]:
    """A head, or how it changes, at every cell: the inner mouth spans the lips, whose corners lie between the cells
    beside them, and what the head model does not cover repeats the nearest cell.

    normals: of a head's vertices. Between them it is then curved (Boubekeur and Alexa 2008, "Phong Tessellation"); on
    flat triangles, some of which span four cells, it would have facets.
    """
    grid = (vertices[place.corners] * place.shares[..., None]).sum(-2)
    if normals is not None:
        above = np.einsum(
            "ghkc,ghkc->ghk", grid[:, :, None] - vertices[place.corners], normals[place.corners]
        )
        grid = grid - ROUND * np.einsum("ghk,ghkc->ghc", place.shares * above, normals[place.corners])
    cell, top, bottom = place.bag.T
    flat = _continued(grid, place.drawn).reshape(-1, 3)
    # The edges of the lips lie exactly where two surfaces meet, and either may be drawn: go on from further out.
    for edge, step in ((_by_column(top), -GRID), (_by_column(bottom), GRID)):
        flat[edge] = 2 * flat[edge + step] - flat[edge + 2 * step]
        flat[edge[1:-1]] = (flat[edge[:-2]] + 2 * flat[edge[1:-1]] + flat[edge[2:]]) / 4
    share = ((cell - top) / (bottom - top))[:, None]
    flat[cell] = flat[top] * (1 - share) + flat[bottom] * share
    column = cell % GRID
    for last, step in ((column.min(), -1), (column.max(), 1)):
        corner = cell[column == last] + step  # through the slit's end one sees into the mouth
        flat[corner] = (flat[corner - step] + flat[corner + step]) / 2
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
