"""The lens that a camera noted in a photo (Exif 2.32, section 4.6.5): a 35 mm equivalent, or what it follows from."""

import math
from collections.abc import Mapping
from typing import Any

from facecli.camera import FULL_FRAME_DIAGONAL_MM

_FOCAL_MM, _FOCAL_35MM = 0x920A, 0xA405
_WIDTH, _HEIGHT = 0xA002, 0xA003  # of the picture as the camera took it, pixels
_DENSITY_X, _DENSITY_Y, _DENSITY_UNIT = 0xA20E, 0xA20F, 0xA210  # of the sensor's pixels
_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
# Longer sides of sensors whose cameras note the density of their pixels and no equivalent: full frame, APS-C, APS-H,
# four thirds. Editors that scale a photo note its new size beside the old density: what comes of that is no sensor.
_SENSORS_MM = ((34.9, 36.4), (21.9, 23.9), (27.5, 29.2), (17.0, 18.1))
_SQUARE = 0.04  # so much may the two densities differ


def focal_35mm(tags: Mapping[int, Any]) -> float | None:
    """The 35 mm equivalent focal length, mm, by the tags of the Exif IFD; None where they do not tell."""
    noted = _number(tags, _FOCAL_35MM)
    if noted is not None:
        return noted
    focal, diagonal = _number(tags, _FOCAL_MM), _sensor_diagonal(tags)
    return None if focal is None or diagonal is None else focal * FULL_FRAME_DIAGONAL_MM / diagonal


def _sensor_diagonal(tags: Mapping[int, Any]) -> float | None:
    """Of the sensor, mm, if it is one of those that are built."""
    numbers = [_number(tags, tag) for tag in (_WIDTH, _HEIGHT, _DENSITY_X, _DENSITY_Y, _DENSITY_UNIT)]
    width, height, across, down, unit = (math.nan if number is None else number for number in numbers)
    if math.isnan(width + height + across + down) or abs(across / down - 1) > _SQUARE:
        return None
    millimetres = _UNIT_MM.get(2 if math.isnan(unit) else int(unit), math.nan)
    sides = width / across * millimetres, height / down * millimetres
    built = any(low <= max(sides) <= high for low, high in _SENSORS_MM)
    return math.hypot(*sides) if built else None


def _number(tags: Mapping[int, Any], tag: int) -> float | None:
    """A tag's value where it is a positive number."""
    try:
        number = float(tags[tag])
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None
