"""What a face costs: the network alone beside MediaPipe's, and everything from photo to mesh."""

import time
from collections.abc import Callable

import numpy as np

from facecli.images import Image
from facecli.pipeline import INPUT, Reconstructor
from facecli.runtime import Network
from facecli.train.peer import MediaPipe
from facecli.train.table import COARSE, MEDIAPIPE, OURS, Line
from facecli.weights import Weights

RUNS = 12
THREADS = (1, 2)


def measure(
    weights: Weights,
    photo: Image,
    detailed: Reconstructor,
    coarse: Reconstructor,
    peer: MediaPipe | None = None,
) -> list[Line]:
    """Least times for the one face of a photo, ms. Anything else that runs on the machine counts for everybody."""
    crop = np.zeros((1, INPUT, INPUT, 3), np.uint8)
    theirs = peer.timing(photo.pixels) if peer else {}
    out = []
    for threads in THREADS:
        network = Network(weights, "cpu", threads)
        values = {OURS: least(lambda network=network: network.run(crop))}  # type: ignore[misc]
        if f"network{threads}_ms" in theirs:
            values[MEDIAPIPE] = theirs[f"network{threads}_ms"]
        out.append(Line("one face", f"network alone, {threads} CPU thread(s), ms", values, digits=1))
    values = {
        OURS: least(lambda: detailed.reconstruct(photo)),
        COARSE: least(lambda: coarse.reconstruct(photo)),
    }
    if theirs:
        values[MEDIAPIPE] = theirs["whole_ms"]
    out.append(Line("one face", "photo to mesh, finding it included, ms", values, digits=0))
    return out


def least(call: Callable[[], object], runs: int = RUNS) -> float:
    """Least wall time of a call, ms, after one to warm up."""
    call()
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return 1000 * min(taken)
