"""The chart that unrolls a face onto a grid: where on it each place of the template lies.

Columns are angles about the head's vertical axis, rows are heights, bent so that the lids follow the rows, and torn
open between the lips for the inner mouth (see `facecli.complete`).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from facecli.grid import Places


@dataclass(frozen=True, eq=False)
class Chart:
    """Template coordinates (mm, head frame) -> column and row of a g x g grid, cell centres at integers.

    `lips`: in each column the row, before bending, where the lips meet. `shift`: rows to add, above and below
    that line, at each place of the grid before bending.
    """

    angle_range: float  # radians: columns run from -angle_range to +angle_range
    height_range: tuple[float, float]  # mm: rows run from the first (top) to the second
    lips: Float32[np.ndarray, " g"]
    shift: Float32[np.ndarray, "2 g g"]

    axis_z = -10.0  # mm: the vertical axis the face is unrolled about runs through (0, y, axis_z)
    denser_across, denser_down = 0.3, 0.12  # cells are so much smaller in the middle than on average

    def cells(self, coordinate: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
        """Column and row of template coordinates."""
        flat = self.flat(coordinate)
        column = np.clip(flat[:, 0], 0, len(self.lips) - 1)
        left = np.minimum(column.astype(int), len(self.lips) - 2)
        share = column - left.astype(column.dtype)
        lips = self.lips.take(left) * (1 - share) + self.lips.take(left + 1) * share
        return np.stack([flat[:, 0], self.bend(flat, flat[:, 1] > lips)], 1)

    def flat(self, coordinate: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
        """Column and row before bending."""
        top, bottom = self.height_range
        across = np.arctan2(coordinate[:, 0], coordinate[:, 2] - self.axis_z) / self.angle_range
        down = 2 * (coordinate[:, 1] - top) / (bottom - top) - 1
        return np.stack(
            [
                (1 + _denser(value, by)) / 2 * len(self.lips) - 0.5
                for value, by in ((across, self.denser_across), (down, self.denser_down))
            ],
            1,
        )

    def bend(self, flat: Float[np.ndarray, "n 2"], below: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The bent row of places that are above or below the line between the lips."""
        size = len(self.lips)
        places = Places.of(flat, size)
        first = places.first + below * (size * size)
        table = self.shift.reshape(-1)
        corners = (table.take(first + step) for step in (0, 1, size, size + 1))
        return flat[:, 1] + sum(share * corner for share, corner in zip(places.shares, corners, strict=True))


def _denser(value: Float[np.ndarray, " n"], by: float) -> Float[np.ndarray, " n"]:
    """-1 to 1 onto itself with slope 1 + by in the middle, and on with the slope of the ends."""
    kept = np.clip(value, -1, 1)
    return kept * (1 + by) - by * (kept * kept * kept) + (value - kept) * (1 - 2 * by)
