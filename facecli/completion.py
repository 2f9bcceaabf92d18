"""The completion network: what a photo shows of a face, on a coarse grid, to the whole face that is most probable.

It is an unfolded solver (Gregor and LeCun 2010; Adler and Oektem 2018): conjugate gradients for the face model's
weights, a few steps of them, whose preconditioner, noise, doubt of outliers and prior are learned, and which a small
perceptron mends at the end (`facecli.train.completer`). Graph and numbers are `completion.onnx`; the modes that it
speaks in are those of `completion.safetensors`.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from facecli.errors import WeightsError
from facecli.runtime import cpu_session
from facecli.weights import REPAIR, Weights

CELLS = 32  # of the network's grid, along each side
DENSE = 27.0  # pixels in one of its cells that show it wholly, head-on
FAR_MM = 40.0  # farther from the mean face, a pixel is nothing of a face
INPUTS, OUTPUT, FINGERPRINT = ("offset", "visibility", "confidence"), "change", "modes"


@dataclass(frozen=True, eq=False)
class Completion:
    """The network in onnxruntime, on one thread: the same bytes for the same input, however many there are."""

    session: Any

    def change(
        self,
        offset: Float32[np.ndarray, "m m 3"],
        visibility: Float32[np.ndarray, "m m"],
        confidence: Float32[np.ndarray, "m m"],
    ) -> Float32[np.ndarray, "k k 3"]:
        """The whole face less the mean face, mm, on the modes' grid.

        offset: the same of what is visible, 0 elsewhere. visibility: 0 to 1, how densely pixels lie in a cell.
        confidence: 0 to 1, how sure they are.
        """
        inputs = (offset, visibility, confidence)
        feed = {name: value[None] for name, value in zip(INPUTS, inputs, strict=True)}
        return np.asarray(self.session.run([OUTPUT], feed)[0][0])


def glimpse(
    cells: Float[np.ndarray, "n 2"],
    offset: Float[np.ndarray, "n 3"],
    confidence: Float[np.ndarray, " n"] | None,
    size: int,
) -> tuple[Float32[np.ndarray, "m m 3"], Float32[np.ndarray, "m m"], Float32[np.ndarray, "m m"]]:
    """What the network is given, from pixels.

    cells: column and row on a grid of `size`; offset: from the mean face, mm; confidence: 0 to 1, default 1.
    """
    column, row = ((cells + 0.5) * (CELLS / size)).astype(int).clip(0, CELLS - 1).T
    index = row * CELLS + column
    near = (np.einsum("ij,ij->i", offset, offset) < FAR_MM**2).astype(np.float64)
    count = np.bincount(index, near, CELLS**2)
    parts = [*offset.T] if confidence is None else [*offset.T, confidence]
    means = [np.bincount(index, part * near, CELLS**2) / np.maximum(count, 1) for part in parts]
    grids = np.stack([*means[:3], np.minimum(count / DENSE, 1), *(means[3:] or [np.ones(CELLS**2)])], 1)
    grids = grids.reshape(CELLS, CELLS, 5).astype(np.float32)
    return np.ascontiguousarray(grids[..., :3]), grids[..., 3].copy(), grids[..., 4].copy()


def fingerprint(modes: np.ndarray) -> str:
    """Tells the modes that a network was trained for from others."""
    return hashlib.sha256(np.ascontiguousarray(modes, np.float16).tobytes()).hexdigest()[:16]


def load_completion(weights: Weights, modes: np.ndarray) -> Completion:
    """The packaged network. modes: of the face model.

    Raises WeightsError when it is missing, damaged, or was trained for other modes.
    """
    halves = modes.astype(np.float16)
    session = cpu_session(weights.read("completion.onnx"), 1, "completion.onnx", {"modes": halves})
    known = session.get_modelmeta().custom_metadata_map.get(FINGERPRINT)
    if known != fingerprint(halves):
        raise WeightsError(f"completion.onnx was trained for another completion.safetensors: {REPAIR}")
    return Completion(session)
