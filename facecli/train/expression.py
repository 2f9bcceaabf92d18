"""The head of `facecli.blendshapes`: what it learns from, and how it is fitted.

It learns from samples as the pipeline sees them, because the maps' errors are most of what there is to know: exact
meshes tell nearly every shape, the network's hardly more than smiles, jaws and lids. A linear map with a strong prior
is all that some hundred heads support: neither a perceptron, nor heads made by the million from exact geometry and
resampled errors, told more of people who were held back.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32
from safetensors import SafetensorError
from safetensors.numpy import load, save

from facecli.blendshapes import SHAPES, Blendshapes, Regressor, openings
from facecli.complete import FaceModel
from facecli.completion import fingerprint
from facecli.errors import InputError
from facecli.grid import sample
from facecli.pipeline import Reconstructor
from facecli.train.scan import motions_and_growth
from facecli.train.shards import unpack
from facecli.weights import Template, Weights

RIDGE = 0.2
"""Weight of the prior, in heads per head, on inputs of standard deviation 1."""
FOLDS = 5
LEAST_TRUST = 0.15
"""Shapes whose prediction is worth less than this are said to be as usual."""
MIRRORED = np.array(
    [
        SHAPES.index(
            {"L": name[:-1] + "R", "R": name[:-1] + "L"}[name[-1]]
            if name[-2:] in ("_L", "_R")
            else name.replace("Left", "Rgt").replace("Right", "Left").replace("Rgt", "Right")
        )
        for name in SHAPES
    ]
)
"""For each shape the one of the mirrored face."""


@dataclass(frozen=True, eq=False)
class Looks:
    """Heads as the pipeline sees them, each followed by its mirror image."""

    offsets: Float32[np.ndarray, "n p 3"]  # of the completed face from the mean face, mm
    openings: Float[np.ndarray, "n 9"]  # see `facecli.blendshapes.openings`
    weights: Float[np.ndarray, "n e"]  # the true ones


@dataclass(frozen=True, eq=False)
class Accuracy:
    """Per shape: correlation of told and true weights (0 where one is constant), root mean square error, and that of
    saying `usual` always."""

    correlation: Float[np.ndarray, " e"]
    error: Float[np.ndarray, " e"]
    error_of_usual: Float[np.ndarray, " e"]


def places(template: Template, model: FaceModel) -> Float32[np.ndarray, "p 2"]:
    """Where the head looks at a face: MediaPipe's 468 points and the 68 landmarks, as cells of the face model."""
    cells = model.chart.cells(np.concatenate([template.dense, template.landmarks]))
    return cells.astype(np.float32)


def seen(shards: Path, weights: Weights, count: int) -> Looks:
    """The first `count` samples, of those with known expressions in which one face is found.

    Raises InputError where there is none.
    """
    reconstructor = Reconstructor("cpu", weights, threads=1, detail=False)
    model, cells = reconstructor.model, places(reconstructor.template, reconstructor.model).astype(np.float64)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for path in sorted(shards.glob("*.npz")):
        for labelled in unpack(path):
            if len(found) >= 2 * count:
                break
            if labelled.expression is None:
                continue
            faces = reconstructor.reconstruct(labelled.image)
            if len(faces) != 1 or faces[0].skin is None:
                continue
            face = faces[0]
            assert face.skin is not None
            change = face.skin.surface.positions - model.mean
            told = openings(face.maps, face.camera, face.pose, face.crop)
            found.append((sample(change, cells), told, labelled.expression))
            found.append(mirrored(change, told, labelled.expression, cells))
    if not found:
        raise InputError(
            f"{shards} has no sample with a known expression and a face: make shards with `synth`"
        )
    offsets, told, truth = (np.stack(part) for part in zip(*found, strict=True))
    return Looks(offsets.astype(np.float32), told, truth.astype(np.float64))


def mirrored(
    change: Float[np.ndarray, "g g 3"],
    openings: Float[np.ndarray, "9"],
    weights: Float[np.ndarray, " e"],
    cells: Float[np.ndarray, "p 2"],
) -> tuple[Float[np.ndarray, "p 3"], Float[np.ndarray, "9"], Float[np.ndarray, " e"]]:
    """A head's mirror image. change: from the mean face, which is its own mirror image."""
    swapped = np.concatenate([openings[3:6], openings[:3], openings[6:]])
    return sample(change[:, ::-1] * [-1.0, 1.0, 1.0], cells), swapped, weights[MIRRORED]


def fit(
    model: FaceModel, blendshapes: Blendshapes, cells: Float32[np.ndarray, "p 2"], looks: Looks
) -> tuple[Regressor, Accuracy]:
    """The head, and how well it tells heads that it did not learn from (by cross-validation).

    Ridge regression on how far a face lies along each shape, motions of the head taken out, and on its openings. Each
    shape is then shrunk towards its mean as far as its cross-validated prediction asks for (Copas 1983).
    """
    directions = _directions(model, blendshapes, cells)
    inputs = np.concatenate(
        [looks.offsets.reshape(len(looks.offsets), -1) @ directions, looks.openings], axis=1, dtype=np.float64
    )
    usual = looks.weights.mean(0)
    told = np.empty_like(looks.weights)
    fold = np.arange(len(told)) // 2 % FOLDS  # with its mirror image
    for part in range(FOLDS):
        kept = fold != part
        slopes, base = _ridge(inputs[kept], looks.weights[kept])
        told[~kept] = inputs[~kept] @ slopes + base
    change = told - usual
    worth = (change * (looks.weights - usual)).mean(0) / np.maximum((change**2).mean(0), 1e-12)
    trust = np.clip(worth, 0, 1)
    trust[trust < LEAST_TRUST] = 0
    slopes, base = _ridge(inputs, looks.weights)
    slopes, base = slopes * trust, usual + (base - usual) * trust
    split, count = directions.shape[1], len(SHAPES)
    regressor = Regressor(
        cells,
        (directions @ slopes[:split]).reshape(-1, 3, count).astype(np.float32),
        slopes[split:].astype(np.float32),
        base.astype(np.float32),
    )
    return regressor, accuracy(np.clip(usual + change * trust, 0, 1), looks.weights, usual)


def accuracy(
    told: Float[np.ndarray, "n e"], true: Float[np.ndarray, "n e"], usual: Float[np.ndarray, " e"]
) -> Accuracy:
    """How well weights are told."""
    a, b = told - told.mean(0), true - true.mean(0)
    spread = np.sqrt((a**2).mean(0) * (b**2).mean(0))
    correlation = np.where(spread > 1e-9, (a * b).mean(0) / np.maximum(spread, 1e-9), 0)
    error, error_of_usual = (np.sqrt(((guess - true) ** 2).mean(0)) for guess in (told, usual))
    return Accuracy(correlation, error, error_of_usual)


def _directions(
    model: FaceModel, blendshapes: Blendshapes, cells: Float32[np.ndarray, "p 2"]
) -> Float[np.ndarray, "q d"]:
    """An orthonormal basis of how the shapes move the places, apart from how a head is turned, shifted or scaled."""
    at = cells.astype(np.float64)
    shapes = [sample(blendshapes.offset(model, one), at).reshape(-1) for one in np.eye(len(SHAPES))]
    rigid, _ = np.linalg.qr(motions_and_growth(sample(model.mean.astype(np.float64), at)))
    moved = np.stack(shapes, 1)
    moved = moved - rigid @ (rigid.T @ moved)
    basis, size, _ = np.linalg.svd(moved, full_matrices=False)
    return np.asarray(basis[:, size > 1e-3 * size[0]])


def _ridge(
    inputs: Float[np.ndarray, "n d"], wanted: Float[np.ndarray, "n e"]
) -> tuple[Float[np.ndarray, "d e"], Float[np.ndarray, " e"]]:
    """Slopes and the value where all inputs are 0."""
    middle, spread, usual = inputs.mean(0), inputs.std(0) + 1e-6, wanted.mean(0)
    scaled = (inputs - middle) / spread
    system = scaled.T @ scaled / len(scaled) + RIDGE * np.eye(len(middle))
    slopes = np.linalg.solve(system, scaled.T @ (wanted - usual) / len(scaled)) / spread[:, None]
    return slopes, usual - middle @ slopes


def to_file(regressor: Regressor, model: FaceModel) -> bytes:
    """expression.safetensors; the numbers as halves."""
    data: bytes = save(
        {
            "cells": regressor.cells,
            "by_place": regressor.by_place.astype(np.float16),
            "by_opening": regressor.by_opening.astype(np.float16),
            "usual": regressor.usual,
            "modes": np.frombuffer(fingerprint(model.modes).encode(), np.uint8),
        }
    )
    return data


def trained_for(data: bytes) -> str:
    """The fingerprint of the modes that an expression.safetensors is for."""
    try:
        return load(data)["modes"].tobytes().decode("ascii", "replace")
    except (SafetensorError, KeyError):
        return ""
