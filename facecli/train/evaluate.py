"""The honest table: facecli on every data set of the evaluation folder, baselines and peers beside it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facecli.pipeline import Reconstructor
from facecli.train import benchmark_dlib68, benchmark_james, benchmark_region, benchmark_yale
from facecli.train.headmodel import HeadModel
from facecli.train.table import Line, as_json, markdown
from facecli.train.trial import Trial
from facecli.weights import Weights, load_weights

FRONTAL, OBLIQUE = "12 other frontal photo/scan pairs \\*", "9 other oblique photo/scan pairs \\*"
PEERS = (
    Line(FRONTAL, "scan-to-mesh median, mm", ours=None, mean_face=2.17, peers=(2.01, 2.16)),
    Line(FRONTAL, "scan-to-mesh mean, mm", ours=None, mean_face=2.42, peers=(2.66, 2.71)),
    Line(OBLIQUE, "scan-to-mesh median, mm", ours=None, mean_face=2.16, peers=(2.33, 2.97)),
    Line(OBLIQUE, "scan-to-mesh mean, mm", ours=None, mean_face=2.37, peers=(2.95, 3.61)),
)
NOTES = (
    "\\* Measured on photos and scans that facecli was not measured on: a yardstick, not a race. "
    "MediaPipe is its Face Landmarker (468 points), 3DDFA_V2 the MobileNet x0.5.",
    "Scan-to-mesh distances follow the NoW protocol (7 landmarks, similarity, face ball, ICP with scale). "
    "The scan of james is smaller than life: its outer eye corners are {eyes:.0f} mm apart. "
    "The mean face is the head model's; on yale it is placed by the predicted pose.",
)


@dataclass(frozen=True)
class Evaluation:
    """Every measure, how long a face took (median, ms, on `device`), and the photos that broke it."""

    version: str
    device: str
    lines: list[Line]
    notes: list[str]
    milliseconds: float
    failures: list[str]

    def markdown(self) -> str:
        """The table with its notes."""
        return markdown(self.lines, self.notes)

    def as_json(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "weights": self.version,
            "device": self.device,
            "milliseconds_per_face": self.milliseconds,
            "failures": self.failures,
            "lines": as_json(self.lines),
        }


def evaluate(
    folder: Path,
    assets: Path,
    weights: Path | None = None,
    device: str = "auto",
    threads: int = 0,
    limit: int | None = None,
) -> Evaluation:
    """Measure on james, dlib68, region and yale under `folder`; `limit`: only so many photos of each.

    `assets` holds the head model, whose mean face is the baseline. Raises WeightsError, DeviceError, and
    OSError where a data set is missing.
    """
    loaded = load_weights(weights)
    model = HeadModel.load(assets / "head_model")
    detailed = Trial(_reconstructor(loaded, device, threads, detail=True))
    coarse = Trial(_reconstructor(loaded, device, threads, detail=False))
    detailed.faces("warm-up", np.zeros((256, 256, 3), np.uint8))

    james = benchmark_james.measure(folder / "james", model, detailed, coarse)
    lines = benchmark_james.lines(james)
    lines += PEERS
    lines += benchmark_dlib68.lines(benchmark_dlib68.measure(folder / "dlib68", detailed, limit))
    lines += benchmark_region.lines(benchmark_region.measure(folder / "region", detailed, limit))
    lines += benchmark_yale.lines(benchmark_yale.measure(folder / "yale", model, detailed, coarse, limit))
    milliseconds = 1000 * float(np.median(detailed.seconds)) if detailed.seconds else float("nan")
    failures = detailed.failures + coarse.failures
    lines.append(Line("all photos", "errors raised", len(failures), digits=0))
    lines.append(Line("all faces", "time per face, median, ms", milliseconds, digits=0))
    notes = [f"Weights {loaded.manifest.version}, {detailed.reconstructor.network.device}."]
    notes += [note.format(eyes=james.eyes) for note in NOTES]
    return Evaluation(
        loaded.manifest.version,
        detailed.reconstructor.network.device,
        lines,
        notes,
        milliseconds,
        failures,
    )


def _reconstructor(weights: Weights, device: str, threads: int, detail: bool) -> Reconstructor:
    return Reconstructor(device=device, weights=weights, threads=threads, detail=detail, whole=detail)
