"""A picture without symmetry, and how cameras store it."""

import numpy as np

TURNS = {
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: np.fliplr(np.rot90(p, -1)),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: np.fliplr(np.rot90(p, 1)),
    8: lambda p: np.rot90(p, -1),
}  # what a camera held so writes for an upright scene


def scene() -> np.ndarray:
    """24 x 40, four coloured quarters with a black corner: no symmetry."""
    pixels = np.zeros((24, 40, 3), np.uint8)
    pixels[:12, :20], pixels[:12, 20:] = (250, 10, 10), (10, 250, 10)
    pixels[12:, :20], pixels[12:, 20:] = (10, 10, 250), (240, 240, 240)
    pixels[:4, :4] = 0
    return pixels
