"""Hair before the faces of portraits that its colour does not tell from skin: outlines drawn by hand."""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

OUTLINES = Path(__file__).with_name("fringes.txt")
"""A polygon a line: the portrait's name, then its corners as x,y in pixels of the photo."""
FRACTION = 3
"""Binary digits after the point with which polygons are filled."""


@lru_cache(maxsize=1)
def outlines() -> dict[str, list[Float[np.ndarray, "p 2"]]]:
    """The polygons of each portrait that has any, in pixels of its photo."""
    drawn: dict[str, list[Float[np.ndarray, "p 2"]]] = {}
    for line in OUTLINES.read_text().splitlines():
        name, *corners = line.split()
        points = [[float(number) for number in corner.split(",")] for corner in corners]
        drawn.setdefault(name, []).append(np.array(points))
    return drawn


def without(
    mask: UInt8[np.ndarray, "s s"],
    polygons: list[Float[np.ndarray, "p 2"]],
    to_crop: Float[np.ndarray, "2 3"],
) -> UInt8[np.ndarray, "s s"]:
    """The mask with 0 inside the polygons; `to_crop` takes pixels of the photo to the mask's."""
    cut = mask.copy()
    for polygon in polygons:
        corners = polygon @ to_crop[:, :2].T + to_crop[:, 2]
        cv2.fillPoly(cut, [np.rint(corners * 2**FRACTION).astype(np.int32)], 0, shift=FRACTION)
    return cut
