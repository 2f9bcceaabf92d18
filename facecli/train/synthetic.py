"""What only people that never were can tell, because nothing about them is unknown: generality, perspective, colour."""

from dataclasses import dataclass
from pathlib import Path

from facecli.images import read_image
from facecli.train import colour_relief, generality, perspective
from facecli.train.generality import Series
from facecli.train.perspective import Perspective
from facecli.train.stage import Stage
from facecli.train.studio import Studio
from facecli.train.table import OURS, Line
from facecli.train.trial import Trial


@dataclass(frozen=True)
class Synthetic:
    """Everything, for the table and the plots."""

    series: list[Series]
    perspective: Perspective
    lines: list[Line]


def measure(folder: Path, assets: Path, pool: Path, detailed: Trial, people: int) -> Synthetic:
    """With heads of `assets`, skins of the `pool`, and the portraits of `folder`/region made worse."""
    studio = Studio(Stage.load(assets, pool))
    series = generality.synthetic(studio, detailed, people)
    paths = sorted((folder / "region").glob("*.jpg"))
    photos = [read_image(path.read_bytes()) for path in paths[:: max(len(paths) // people, 1)][:people]]
    series += generality.real(photos, detailed)
    near_and_far = perspective.measure(studio, detailed, people)
    colour = colour_relief.measure(studio, detailed, max(people // 2, 1))
    lines = [line for each in series for line in lines_of(each)]
    return Synthetic(
        series, near_and_far, lines + perspective.lines(near_and_far) + colour_relief.lines(colour)
    )


def lines_of(series: Series) -> list[Line]:
    """For the table: what each step of a series finds and how far off it is."""
    import numpy as np

    out = []
    for step, verdicts in zip(series.steps, series.verdicts, strict=True):
        data = f"{series.name} {step:g}" if isinstance(step, float) else f"{series.name}: {step}"
        out.append(Line(data, f"faces found of {series.asked}", {OURS: float(len(verdicts))}, 0))
        if verdicts:
            middle = float(np.median([each.landmarks for each in verdicts]))
            out.append(Line(data, "landmarks, median, % of outer eye distance", {OURS: middle}))
    return out
