"""The honest table: facecli on every data set of the evaluation folder, baselines and peers beside it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facecli.images import read_image
from facecli.pipeline import Reconstructor
from facecli.train import (
    benchmark_dlib68,
    benchmark_james,
    benchmark_lps,
    benchmark_region,
    benchmark_yale,
    synthetic,
    timing,
)
from facecli.train.headmodel import HeadModel
from facecli.train.mean_face import MeanFace
from facecli.train.peer import MediaPipe
from facecli.train.table import MEAN_FACE, MEDIAPIPE, OURS, TDDFA, Line, as_json, markdown
from facecli.train.trial import Trial
from facecli.weights import Weights, load_weights

FRONTAL, OBLIQUE = "12 other frontal photo/scan pairs \\*", "9 other oblique photo/scan pairs \\*"
PEERS = (
    Line(FRONTAL, "scan-to-mesh median, mm", {MEAN_FACE: 2.17, MEDIAPIPE: 2.01, TDDFA: 2.16}),
    Line(FRONTAL, "scan-to-mesh mean, mm", {MEAN_FACE: 2.42, MEDIAPIPE: 2.66, TDDFA: 2.71}),
    Line(OBLIQUE, "scan-to-mesh median, mm", {MEAN_FACE: 2.16, MEDIAPIPE: 2.33, TDDFA: 2.97}),
    Line(OBLIQUE, "scan-to-mesh mean, mm", {MEAN_FACE: 2.37, MEDIAPIPE: 2.95, TDDFA: 3.61}),
)
NOTES = (
    "\\* Measured on photos and scans that facecli was not measured on: a yardstick, not a race. "
    "MediaPipe is its Face Landmarker (468 points), 3DDFA_V2 the MobileNet x0.5.",
    "MediaPipe elsewhere is 0.10.14's face mesh with attention, in the same run on the same photos; a face that it "
    "does not find is shown to it in a crop of its own, and counts as not found. Its points nearest to the iBUG 68 are "
    "compared; along the jaw they are approximate.",
    "Scan-to-mesh distances follow the NoW protocol (7 landmarks, similarity, face ball, ICP with scale). "
    "The outer eye corners of james's scan are {eyes:.0f} mm apart; its landmarks are stored in another order than "
    "iBUG's, and are put right here: tables before 2026-11-23 took other points for the seven. Depth and normals are "
    "compared on the pixels that everybody's mesh shows. The mean face is the head model's, placed by the landmarks "
    "that facecli found. The landmarks of dlib68 were drawn by another landmark model, so that row is agreement.",
)


@dataclass(frozen=True)
class Evaluation:
    """Every measure, and the photos that broke it; `pictures` are plots, PNG by file name."""

    version: str
    device: str
    lines: list[Line]
    notes: list[str]
    failures: list[str]
    pictures: dict[str, bytes]

    def markdown(self) -> str:
        """The table with its notes."""
        return markdown(self.lines, self.notes)

    def as_json(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "weights": self.version,
            "device": self.device,
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
    mediapipe: Path | None = None,
    pool: Path | None = None,
    people: int = 12,
    pictures: bool = False,
    mirror: bool = False,
) -> Evaluation:
    """Measure on james, dlib68, region, yale and lps under `folder`; `limit`: only so many photos of each.

    `assets` holds the head model, whose mean face is the baseline; `mediapipe` is a Python that has MediaPipe; with
    a `pool` also on so many synthetic `people`; `pictures`: also draw plots; `mirror`: look at each face mirrored too.

    Raises WeightsError, DeviceError, UsageError where that Python cannot run MediaPipe, and OSError where a data set
    is missing.
    """
    loaded = load_weights(weights)
    model = HeadModel.load(assets / "head_model")
    mean = MeanFace.of(model)
    peer = MediaPipe.beside(mediapipe, assets) if mediapipe else None
    detailed = Trial(_reconstructor(loaded, device, threads, True, mirror))
    coarse = Trial(_reconstructor(loaded, device, threads, False, mirror))
    photo = read_image((folder / "james" / "james_view0.jpg").read_bytes())

    lines = timing.measure(loaded, photo, detailed.reconstructor, coarse.reconstructor, peer)
    james = benchmark_james.measure(folder / "james", mean, detailed, coarse, peer)
    dlib68 = benchmark_dlib68.measure(folder / "dlib68", detailed, peer, limit)
    region = benchmark_region.measure(folder / "region", mean, detailed, peer, limit)
    yale = benchmark_yale.measure(folder / "yale", mean, detailed, coarse, peer, limit)
    lps = benchmark_lps.measure(folder / "lps", mean, detailed, coarse, peer, limit)
    lines = [
        *benchmark_james.lines(james),
        *PEERS,
        *benchmark_dlib68.lines(dlib68),
        *benchmark_region.lines(region),
        *benchmark_yale.lines(yale),
        *benchmark_lps.lines(lps),
        *lines,
    ]
    made = synthetic.measure(folder, assets, pool, detailed, people) if pool else None
    lines += made.lines if made else []
    failures = detailed.failures + coarse.failures
    if detailed.seconds:
        middle = {OURS: 1000 * float(np.median(detailed.seconds))}
        lines.append(Line("all photos", "time per face, median, ms", middle, digits=0))
    lines.append(Line("all photos", "errors raised", {OURS: float(len(failures))}, digits=0))
    drawn = {}
    if pictures:
        from facecli.train import plots

        drawn = {
            "landmarks.png": plots.landmark_offsets(
                benchmark_dlib68.mean_shape(dlib68), benchmark_dlib68.mean_offsets(dlib68)
            ),
            "light_yale.png": plots.normals_by_light(yale.sights, "yale: real photos under one lamp"),
            "light_lps.png": plots.normals_by_light(lps.sights, "lps: renders of a scan under one lamp"),
        }
        if made:
            drawn |= {f"{each.name.replace(' ', '_')}.png": plots.series(each) for each in made.series}
            drawn["perspective.png"] = plots.perspective(made.perspective)
    looks = ", each face looked at in a mirror too" if mirror else ""
    notes = [f"Weights {loaded.manifest.version}, {detailed.reconstructor.network.device}{looks}."]
    notes += [note.format(eyes=james.eyes) for note in NOTES]
    name = detailed.reconstructor.network.device
    return Evaluation(loaded.manifest.version, name, lines, notes, failures, drawn)


def _reconstructor(weights: Weights, device: str, threads: int, detail: bool, mirror: bool) -> Reconstructor:
    return Reconstructor(
        device=device, weights=weights, threads=threads, detail=detail, whole=detail, mirror=mirror
    )
