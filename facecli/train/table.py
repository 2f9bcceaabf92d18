"""The table of an evaluation: one line per measure, ours beside the baselines and the peers."""

from collections.abc import Mapping
from dataclasses import dataclass

OURS, COARSE, WHOLE, MEAN_FACE, MEDIAPIPE, TDDFA = COLUMNS = (
    "facecli",
    "without detail",
    "whole face",
    "mean face",
    "MediaPipe",
    "3DDFA_V2",
)


@dataclass(frozen=True)
class Line:
    """One measure on one data set, by column; a value that was not taken is not there.

    `OURS` is of the mesh of what the photo shows, `COARSE` of the same without the third subtask's relief,
    `WHOLE` of the completed face; `MEAN_FACE` is the head model's mean, the same for everybody.
    """

    data: str
    measure: str
    values: Mapping[str, float]
    digits: int = 2

    def __post_init__(self) -> None:
        if unknown := set(self.values) - set(COLUMNS):
            raise ValueError(f"no such column: {', '.join(sorted(unknown))}")


def markdown(lines: list[Line], notes: list[str]) -> str:
    """A table for people, with its notes under it."""
    head = ("measured on", "measure", *COLUMNS)
    rows = [head, tuple("---" for _ in head)]
    for line in lines:
        cells = (f"{line.values[c]:.{line.digits}f}" if c in line.values else "" for c in COLUMNS)
        rows.append((line.data, line.measure, *cells))
    text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return "\n\n".join([text, *notes])


def as_json(lines: list[Line]) -> list[dict[str, object]]:
    """The same for programs: one object per line, values unrounded, by column; null where not taken."""
    return [
        {"data": line.data, "measure": line.measure, **{c: line.values.get(c) for c in COLUMNS}}
        for line in lines
    ]
