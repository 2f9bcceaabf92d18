"""What the machine's arithmetic alone would allow: how far the engine is from the ceiling.

The floating point operations of both networks for a photo, counted by onnxruntime, over those that all cores
together do in a second on a matrix product of float32, which is what networks are made of. Everything else (decoding,
meshes, files) counts as nothing, so the ceiling is out of reach, although most of the network computes in bytes, which
is faster than that.
"""

import json
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facecli.images import read_image
from facecli.inputs import read_bytes
from facecli.pipeline import INPUT, Reconstructor
from facecli.runtime import cpu_session
from facecli.weights import Weights, load_weights

DETECTOR_SIZE = 320  # any multiple of 32: the detector does as much on every pixel


@dataclass(frozen=True)
class Ceiling:
    """flop: floating point operations; a multiply-add is two."""

    flop_per_photo: float
    flop_per_second: float  # of all cores

    @property
    def photos_per_second(self) -> float:
        return self.flop_per_second / self.flop_per_photo if self.flop_per_photo else math.inf


class _Counting:
    """An onnxruntime session that adds up the pixels it is given."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.pixels = 0

    def run(self, outputs: Any, feeds: dict[str, np.ndarray]) -> Any:
        for given in feeds.values():
            self.pixels += given.shape[0] * given.shape[2] * given.shape[3]
        return self.session.run(outputs, feeds)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)


def ceiling(photos: Sequence[Path]) -> Ceiling:
    """Count what the networks do on these photos, and time what the CPU can do.

    Raises WeightsError, ImageError and InputError.
    """
    weights = load_weights()
    reconstructor = Reconstructor("cpu", weights, whole=False)
    detector = _Counting(reconstructor.detector._session)
    reconstructor.detector._session = detector
    forward, crops = reconstructor.network._forward, 0

    def counting(pictures: np.ndarray) -> tuple[dict[str, np.ndarray], float]:
        nonlocal crops
        crops += len(pictures)
        return forward(pictures)

    reconstructor.network._forward = counting
    for photo in photos:
        reconstructor.reconstruct(read_image(read_bytes(photo)))
    flop = crops * count_flop(weights, "network.onnx", INPUT)
    flop += detector.pixels / DETECTOR_SIZE**2 * count_flop(weights, "detector.onnx", DETECTOR_SIZE)
    return Ceiling(flop / len(photos), peak_flop())


def count_flop(weights: Weights, name: str, size: int) -> float:
    """Floating point operations of a packaged network on one picture of size x size pixels."""
    tensors = weights.tensors("network.safetensors") if name == "network.onnx" else None
    with tempfile.TemporaryDirectory() as folder:
        session = cpu_session(weights.read(name), 1, name, tensors, profile=Path(folder))
        (given,) = session.get_inputs()
        session.run(None, {given.name: np.zeros((1, 3, size, size), np.float32)})
        events = json.loads(Path(session.end_profiling()).read_bytes())
    return sum(_flop(event["args"]) for event in events if "output_type_shape" in event.get("args", {}))


def _flop(node: dict[str, Any]) -> float:
    kind = node["op_name"]
    inputs = [next(iter(entry.values())) for entry in node["input_type_shape"]]
    outputs = [next(iter(entry.values())) for entry in node["output_type_shape"]]
    if kind == "Conv":
        return 2.0 * math.prod(outputs[0]) * math.prod(inputs[1][1:])
    if kind == "ConvTranspose":  # every pixel of the input, not of the output, meets the kernel
        return 2.0 * math.prod(inputs[0]) * math.prod(inputs[1][1:])
    if kind in ("Gemm", "MatMul"):
        return 2.0 * math.prod(outputs[0]) * inputs[0][-1]
    return 0.0


def peak_flop(size: int = 1024, repeats: int = 7) -> float:
    """Floating point operations in a second on a matrix product of float32, with all cores, at best."""
    matrix, best = np.ones((size, size), np.float32), math.inf
    for _ in range(repeats):
        began = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - began)
    return 2.0 * size**3 / best
