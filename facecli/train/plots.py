"""Curves and bars of an evaluation, as PNG."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from facecli.train.generality import Series
from facecli.train.normals import Sight
from facecli.train.perspective import DISTANCES, Perspective
from facecli.train.table import COARSE, COLUMNS, MEAN_FACE, MEDIAPIPE, OURS, WHOLE

COLOURS = {OURS: "#d62728", COARSE: "#ff9896", WHOLE: "#9467bd", MEAN_FACE: "#7f7f7f", MEDIAPIPE: "#1f77b4"}
ENLARGED = 3.0
"""How much longer than life offsets of landmarks are drawn."""
PANEL = (4.2, 3.4)
"""Inches."""


def figure(columns: int, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure and its axes, row by row."""
    made = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
    FigureCanvasAgg(made)
    return made, list(np.ravel(made.subplots(rows, columns, squeeze=False)))


def png(drawn: Figure) -> bytes:
    """Encoded."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def normals_by_light(sights: Sequence[Sight], title: str, steps: int = 6) -> bytes:
    """Mean normal error against the angle between light and camera: all skin, folds, smooth skin."""
    drawn, axes = figure(3)
    kinds = (("all that is measured", "mean"), ("wrinkles and folds", "folded"), ("smooth skin", "smooth"))
    lights = np.array([each.light for each in sights])
    if len(lights):
        edges = np.unique(np.quantile(lights, np.linspace(0, 1, steps + 1)))
        step = np.clip(np.searchsorted(edges, lights, side="right") - 1, 0, max(len(edges) - 2, 0))
        for axis, (name, field) in zip(axes, kinds, strict=True):
            rows: list[dict[str, float]] = [getattr(each, field) for each in sights]
            for column in COLUMNS:
                points = []
                for k in np.unique(step):
                    values = [rows[i][column] for i in np.flatnonzero(step == k) if column in rows[i]]
                    if values:
                        points.append((lights[step == k].mean(), np.mean(values)))
                if points:
                    axis.plot(*np.transpose(points), "o-", color=COLOURS[column], label=column)
            axis.set(title=name, xlabel="light to camera, degrees", ylabel="normal error, degrees")
            axis.grid(alpha=0.3)
        axes[0].legend(fontsize=8)
    drawn.suptitle(title)
    return png(drawn)


MEASURES = (
    ("landmarks", "landmarks, % of outer eye distance"),
    ("shape", "shape, mm"),
    ("normals", "normals, degrees"),
    ("relief", "relief RMS, mm"),
)


def series(result: Series) -> bytes:
    """Median and quartiles of each measure at each step, and the share of the faces that were found."""
    drawn, axes = figure(len(MEASURES) + 1)
    names = [str(step) for step in result.steps]
    numbers = not isinstance(result.steps[0], str)
    where = np.array(result.steps, float) if numbers else np.arange(len(names))
    for axis, (attribute, title) in zip(axes, MEASURES, strict=False):
        values = [[getattr(each, attribute) for each in step] or [np.nan] for step in result.verdicts]
        low, middle, high = np.array([np.percentile(step, (25, 50, 75)) for step in values]).T
        if numbers:
            axis.fill_between(where, low, high, alpha=0.25, color=COLOURS[OURS], linewidth=0)
            axis.plot(where, middle, "o-", color=COLOURS[OURS])
        else:
            axis.barh(where, middle, color=COLOURS[COARSE])
            axis.errorbar(
                middle,
                where,
                xerr=np.abs(np.array([middle - low, high - middle])),
                fmt="none",
                color="#444444",
            )
        axis.set_title(title, fontsize=10)
        (axis.set_ylim if numbers else axis.set_xlim)(bottom_or_left(high))
    share = np.array(result.found) / max(result.asked, 1)
    if numbers:
        axes[-1].plot(where, share, "o-", color="#2ca02c")
        axes[-1].set_ylim(-0.05, 1.05)
    else:
        axes[-1].barh(where, share, color="#98df8a")
        axes[-1].set_xlim(0, 1.05)
    axes[-1].set_title(f"share found of {result.asked}", fontsize=10)
    for axis in axes:
        axis.grid(alpha=0.3)
        if not numbers:
            axis.set_yticks(where, names)
            axis.invert_yaxis()
            continue
        axis.set_xlabel(result.axis)
        if "width" in result.name:
            axis.set_xscale("log")
            axis.set_xticks(where, names, rotation=60, fontsize=7)
            axis.minorticks_off()
    drawn.suptitle(result.name)
    return png(drawn)


def bottom_or_left(highest: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Limits of an axis that starts at nothing."""
    known = highest[np.isfinite(highest)]
    return 0.0, 1.1 * float(known.max(initial=0.0)) + 1e-3


def perspective(result: Perspective) -> bytes:
    """Shape error against distance, with and without the focal length."""
    drawn, axes = figure(1)
    centimetres = np.array(DISTANCES) / 10
    for values, name, colour in (
        (result.visible, "visible mesh, focal length from EXIF", COLOURS[OURS]),
        (result.whole, "whole face, focal length from EXIF", COLOURS[WHOLE]),
        (result.blind, "visible mesh, focal length unknown", COLOURS[MEAN_FACE]),
    ):
        axes[0].plot(centimetres, values, "o-", color=colour, label=name)
    axes[0].set(xlabel="distance, cm", ylabel="shape, mean error, mm", ylim=(0, None), title="perspective")
    axes[0].grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    return png(drawn)


def landmark_offsets(
    shape: Float[np.ndarray, "68 2"], offsets: Mapping[str, Float[np.ndarray, "68 2"]]
) -> bytes:
    """Where each landmark lies on average from the annotated one, drawn `ENLARGED` times."""
    drawn, axes = figure(max(len(offsets), 1), 1)
    drawn.set_size_inches(6 * max(len(offsets), 1), 6)
    for axis, (column, vectors) in zip(axes, offsets.items(), strict=False):
        axis.plot(*shape.T, ".", color="#444444", markersize=4)
        for k, (start, vector) in enumerate(zip(shape, vectors * ENLARGED, strict=True)):
            axis.annotate(
                "",
                start + vector,
                start,
                arrowprops={"arrowstyle": "->", "color": COLOURS[column], "lw": 1.2},
            )
            axis.annotate(str(k), start, fontsize=5, color="#888888")
        reached = np.concatenate([shape, shape + vectors * ENLARGED])
        axis.set_xlim(reached[:, 0].min() - 0.05, reached[:, 0].max() + 0.05)
        axis.set_ylim(reached[:, 1].min() - 0.05, reached[:, 1].max() + 0.05)
        common = 100 * float(np.linalg.norm(vectors, axis=1).mean())
        axis.set(
            title=f"{column}: mean offset {common:.1f} % of the outer eye distance, drawn {ENLARGED:.0f} x"
        )
        axis.set_aspect("equal")
        axis.invert_yaxis()
        axis.set_axis_off()
    return png(drawn)
