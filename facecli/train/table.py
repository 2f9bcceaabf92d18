"""The table of an evaluation: one line per measure, ours beside the baselines and the peers."""

from dataclasses import dataclass

COLUMNS = ("facecli", "without detail", "whole face", "mean face", "MediaPipe", "3DDFA_V2")


@dataclass(frozen=True)
class Line:
    """One measure on one data set; a value that was not taken is None.

    `ours` is of the mesh of what the photo shows, `coarse` of the same without the third subtask's relief,
    `whole` of the completed face; `mean_face` is the head model's mean, the same for everybody; `peers` are
    MediaPipe and 3DDFA_V2.
    """

    data: str
    measure: str
    ours: float | None
    coarse: float | None = None
    whole: float | None = None
    mean_face: float | None = None
    peers: tuple[float | None, float | None] = (None, None)
    digits: int = 2

    @property
    def values(self) -> tuple[float | None, ...]:
        """In the order of `COLUMNS`."""
        return (self.ours, self.coarse, self.whole, self.mean_face, *self.peers)


def markdown(lines: list[Line], notes: list[str]) -> str:
    """A table for people, with its notes under it."""
    head = ("measured on", "measure", *COLUMNS)
    rows = [head, tuple("---" for _ in head)]
    for line in lines:
        cells = ("" if value is None else f"{value:.{line.digits}f}" for value in line.values)
        rows.append((line.data, line.measure, *cells))
    text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return "\n\n".join([text, *notes])


def as_json(lines: list[Line]) -> list[dict[str, object]]:
    """The same for programs: one object per line, values unrounded, by column."""
    return [
        {"data": line.data, "measure": line.measure, **dict(zip(COLUMNS, line.values, strict=True))}
        for line in lines
    ]
