"""Normals of one photo, against the truth, by kind of skin and direction of light."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float

from facecli.train.contest import averaged, normal_errors
from facecli.train.table import Line
from facecli.train.trial import View

FEWEST = 50
"""Fewer pixels than this say nothing about their kind of skin."""


@dataclass(frozen=True)
class Sight:
    """Angles to the true normal in one photo, degrees, by the table's columns; `light` is the angle between the
    light and the camera, degrees. A kind of skin that the photo hardly shows has no columns."""

    light: float
    mean: dict[str, float]
    median: dict[str, float]
    folded: dict[str, float]
    smooth: dict[str, float]


def sight(
    views: Mapping[str, View],
    truth: Float[np.ndarray, "h w 3"],
    compared: Bool[np.ndarray, "h w"],
    folded: Bool[np.ndarray, "h w"],
    smooth: Bool[np.ndarray, "h w"],
    light: float,
) -> Sight:
    """Everybody over the same pixels."""

    def of(pixels: np.ndarray, summary: str) -> dict[str, float]:
        if pixels.sum() < FEWEST:
            return {}
        errors = normal_errors(views, truth, pixels)
        return {name: float(getattr(np, summary)(error)) for name, error in errors.items()}

    return Sight(
        light,
        of(compared, "mean"),
        of(compared, "median"),
        of(compared & folded, "mean"),
        of(compared & smooth, "mean"),
    )


def consistency(reliefs: list[Float[np.ndarray, "h w"]]) -> list[tuple[float, float]]:
    """For each two photos of one face from one place: correlation of the relief, RMS of the difference, mm.

    Pixels that are not a number in either do not count; a relief that is flat agrees with nothing: correlation 0.
    """
    out = []
    for first, second in combinations(reliefs, 2):
        both = np.isfinite(first) & np.isfinite(second)
        if both.sum() < FEWEST:
            continue
        a, b = first[both], second[both]
        spread = float(a.std() * b.std())
        covariance = float(((a - a.mean()) * (b - b.mean())).mean())
        out.append((covariance / spread if spread > 1e-12 else 0.0, float(np.sqrt(((a - b) ** 2).mean()))))
    return out


def lines(data: str, sights: list[Sight]) -> list[Line]:
    """For the table, averaged over photos."""
    kinds = (
        ("normals, mean error, degrees", "mean"),
        ("normals, median error, degrees", "median"),
        ("normals in wrinkles and folds, mean error, degrees", "folded"),
        ("normals on smooth skin, mean error, degrees", "smooth"),
    )
    averages = [(name, averaged([getattr(each, field) for each in sights])) for name, field in kinds]
    return [Line(data, name, values) for name, values in averages if values]
