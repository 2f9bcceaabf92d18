"""The mouth of a whole face: lips that end in an edge, and what hangs between them.

On the grid of `facecli.complete` the lips are torn apart: a `bag` lists the cells between them, each with the cells of
the upper and the lower lip in its column (flat cells, b x 3).
"""

import numpy as np
from jaxtyping import Bool, Float, Int, Int32

from facecli.grid import around

DEPTH_MM, DEPTH_SHARE = 4.0, 0.4  # of the inner mouth: at least, and as a share of how far it is open
WALLED = 0.5  # how its cells crowd towards the lips: less, and the walls are steeper
FLAT, NARROWS = 6, 4  # how flat its ground is, down and across: 2 would be a bowl
EVEN_CELLS = 1.5  # over so many each lip moves as one


def with_inner_mouth(
    bag: Int32[np.ndarray, "b 3"], positions: Float[np.ndarray, "g g 3"]
) -> Float[np.ndarray, "g g 3"]:
    """The inner mouth hung as a box between the lips, the deeper the wider they are open: lips end in an edge, and what
    is seen between them is nearly flat, as teeth are."""
    cell, top, bottom = bag.T
    flat = positions.reshape(-1, 3).copy()
    upper, lower = flat[top], flat[bottom]
    column = cell % positions.shape[1]
    first, last = column.min() - 1, column.max() + 1
    sideways = ((2 * column - first - last) / (last - first))[:, None]  # -1 and 1 beside the corners
    depth = DEPTH_MM + DEPTH_SHARE * np.linalg.norm(upper - lower, axis=1, keepdims=True)
    depth = depth * (1 - sideways**NARROWS)
    down = 2 * ((cell - top) / (bottom - top))[:, None] - 1  # -1 at the upper lip, 1 at the lower
    share = (1 + np.sign(down) * np.abs(down) ** WALLED) / 2
    flat[cell] = upper + (lower - upper) * share - depth * (1 - down**FLAT) * [0.0, 0.0, 1.0]
    return flat.reshape(positions.shape)


def to_lip_edges(
    bag: Int32[np.ndarray, "b 3"], lips: Bool[np.ndarray, "g g"], cells: Float[np.ndarray, "r 2"]
) -> Float[np.ndarray, "r 2"]:
    """Places (column, row) among the cells of `lips`, moved to the edge of the nearer lip in the nearest column."""
    size = len(lips)
    column, row = np.rint(cells).astype(int).T
    upper, lower = _edges(bag, size)
    at_mouth = (upper[column] >= 0) & lips[row, column]
    nearer = np.where(2 * cells[:, 1] < (upper + lower)[column], upper[column], lower[column])
    return np.where(at_mouth[:, None], np.stack([column, nearer], 1), cells).astype(cells.dtype)


def _edges(bag: Int32[np.ndarray, "b 3"], size: int) -> tuple[Int[np.ndarray, " g"], Int[np.ndarray, " g"]]:
    """In each column the row of the upper lip's edge and of the lower's; -1 beside the mouth."""
    upper, lower = np.full(size, -1), np.full(size, -1)
    cell, top, bottom = bag.T
    upper[cell % size], lower[cell % size] = top // size, bottom // size
    return upper, lower


def even_lips(bag: Int32[np.ndarray, "b 3"], moved: Float[np.ndarray, "g g 3"]) -> Float[np.ndarray, "g g 3"]:
    """How the lips moved, made even, each lip by itself.

    The edges run down the grid in steps, and modes and pixels alike move them by what is between the lips, too: a lip
    that is moved by more or less from step to step is frayed.
    """
    size = len(moved)
    row, (upper, lower) = np.arange(size)[:, None], _edges(bag, size)
    above, below = row <= upper, (row >= lower) & (lower >= 0)
    skin = np.ones((size, size), np.float32)
    skin.reshape(-1)[bag[:, 0]] = 0
    of_lower, of_upper = (around(moved, skin * ~other, EVEN_CELLS) for other in (above, below))
    return np.where(below[..., None], of_lower, of_upper)
