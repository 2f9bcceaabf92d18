"""The aligned square crop of one face: a similarity warp of the photo, and the way back.

Frames: photo pixels and crop pixels, x right, y down, pixel CENTRES at integers. The matrix speaks of the
crop at 256 x 256; the same square at another resolution R is x_R = (x_256 + 0.5) * R / 256 - 0.5.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

if TYPE_CHECKING:
    from facecli.detect import Detection

CROP = 256

# Framing, in units of the detector's upright box. On portraits with fitted heads the face area that training
# frames (hairline to chin) is 1.15 long and lies 0.06 below the box's centre; training's squares are 1.45
# times as large. A touch wider and higher keeps high hairlines inside, frontal to profile.
SIDE = 1.7  # side of the square / sqrt(width * height)
DROP = 0.04  # how far the square's centre lies towards the chin from the box's centre / sqrt(width * height)

BRIGHT, DARKEST = (
    110.0,
    4.0,
)  # of a face's brightest tenth: what it is raised to, and from where on at the most


@dataclass(frozen=True, eq=False)
class Crop:
    """A similarity from the photo to the 256-pixel crop: crop = matrix @ (x, y, 1)."""

    matrix: Float[np.ndarray, "2 3"]

    @property
    def inverse(self) -> Float[np.ndarray, "2 3"]:
        """256-crop pixels -> photo pixels."""
        linear = np.linalg.inv(self.matrix[:, :2])
        return np.column_stack([linear, -linear @ self.matrix[:, 2]])

    @property
    def scale(self) -> float:
        """Photo pixels per pixel of the 256 crop."""
        return 1.0 / math.sqrt(abs(float(np.linalg.det(self.matrix[:, :2]))))

    def footprint(self, size: int, distance: float, focal: float) -> float:
        """How many mm one pixel of the crop at size x size spans, `distance` mm before a camera whose focal length is
        `focal` pixels of the photo."""
        return distance / focal * self.scale * CROP / size

    def to_crop(self, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Photo pixels -> 256-crop pixels."""
        return _transform(self.matrix, points)

    def to_photo(self, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """256-crop pixels -> photo pixels."""
        return _transform(self.inverse, points)

    def matrix_at(self, size: int) -> Float[np.ndarray, "2 3"]:
        """The matrix photo pixels -> pixels of the crop at size x size."""
        ratio = size / CROP
        matrix = self.matrix * ratio
        matrix[:, 2] += 0.5 * ratio - 0.5
        return matrix

    def warp(self, pixels: UInt8[np.ndarray, "h w 3"], size: int = CROP) -> UInt8[np.ndarray, "size size 3"]:
        """The crop at size x size; black where the photo ends; anti-aliased where the photo is the finer one.

        Enlarging is bilinear. Shrinking by a factor s filters twice: the photo is averaged over whole blocks
        of floor(s) pixels, then the crop is sampled twice as finely as asked and averaged down, so that each
        output pixel has seen all of the photo under it.
        """
        import cv2

        matrix = self.matrix_at(size)
        shrink = 1.0 / math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
        if shrink <= 1.0:
            source, offset, block, fine = *_window(pixels, matrix, size, 1), 1, 1
        else:
            block, fine = int(shrink), 2
            source, offset = _window(pixels, matrix, size, block)
        if source.size == 0:
            return np.zeros((size, size, 3), np.uint8)

        # Both the block averaging (photo = block * reduced + offset + (block - 1) / 2) and the finer sampling
        # (finer = fine * crop + (fine - 1) / 2) keep centres where the half-pixel rule puts them.
        linear = matrix[:, :2] * (block * fine)
        start = matrix[:, :2] @ (offset + (block - 1) / 2) + matrix[:, 2]
        start = start * fine + (fine - 1) / 2
        if block > 1:
            height, width = source.shape[0] // block, source.shape[1] // block
            source = cv2.resize(source, (width, height), interpolation=cv2.INTER_AREA)
        # OpenCV warps pictures of four channels in less than half the time of three.
        crop = cv2.warpAffine(
            cv2.cvtColor(source, cv2.COLOR_RGB2RGBA),
            np.column_stack([linear, start]),
            (size * fine, size * fine),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(0, 0, 0, 0),
        )
        crop = cv2.cvtColor(crop, cv2.COLOR_RGBA2RGB)
        if fine > 1:
            crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
        return np.asarray(crop, np.uint8)


def crop_from_square(centre: Float[np.ndarray, "2"], side: float, roll: float = 0.0) -> Crop:
    """The crop that maps a square of the photo to 256 pixels.

    centre and side in photo pixels. roll in radians is the angle by which the face leans in the photo,
    clockwise as seen: the line from the right eye to the left runs along (cos roll, sin roll). The crop
    undoes it.
    Raises ValueError for a side that is not a positive number.
    """
    if not (side > 0 and math.isfinite(side)):
        raise ValueError(f"the side of a crop must be a positive number of pixels, got {side}")
    zoom = CROP / side
    cosine, sine = zoom * math.cos(roll), zoom * math.sin(roll)
    linear = np.array([[cosine, sine], [-sine, cosine]])
    middle = (CROP - 1) / 2
    return Crop(np.column_stack([linear, middle - linear @ np.asarray(centre, np.float64)]))


def crop_from_detection(detection: "Detection") -> Crop:
    """The default framing: upright, centred on the face, hairline to chin and both ears inside."""
    down = np.array([-math.sin(detection.roll), math.cos(detection.roll)])
    centre = detection.box.reshape(2, 2).mean(axis=0) + DROP * detection.size * down
    return crop_from_square(centre, SIDE * detection.size, detection.roll)


def _transform(
    matrix: Float[np.ndarray, "2 3"], points: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n 2"]:
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


def _window(
    pixels: UInt8[np.ndarray, "h w 3"], matrix: Float[np.ndarray, "2 3"], size: int, block: int
) -> tuple[UInt8[np.ndarray, "_ _ 3"], Float[np.ndarray, "2"]]:
    """The part of the photo under the crop, black past its end to fill whole blocks, and where it starts."""
    import cv2

    edge = size - 0.5
    corners = np.array([[-0.5, -0.5], [edge, -0.5], [-0.5, edge], [edge, edge]])
    in_photo = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    margin = 2 * block + 2
    height, width = pixels.shape[:2]
    low = np.maximum(np.floor(in_photo.min(axis=0)) - margin, 0).astype(int)
    high = np.minimum(np.ceil(in_photo.max(axis=0)) + margin, (width, height)).astype(int)
    if (high <= low).any():
        return np.zeros((0, 0, 3), np.uint8), np.zeros(2)
    window = pixels[low[1] : high[1], low[0] : high[0]]
    spare_y, spare_x = -window.shape[0] % block, -window.shape[1] % block
    if spare_x or spare_y:
        window = np.asarray(cv2.copyMakeBorder(window, 0, spare_y, 0, spare_x, cv2.BORDER_CONSTANT), np.uint8)
    return np.ascontiguousarray(window), low.astype(np.float64)


def exposed(pixels: UInt8[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "s s 3"]:
    """A crop in which the face has light enough to be read: a dark one is multiplied, others stay as they are."""
    quarter = len(pixels) // 4
    bright = float(np.percentile(pixels[quarter:-quarter, quarter:-quarter], 90))
    if bright >= BRIGHT:
        return pixels
    return np.clip(pixels * (BRIGHT / max(bright, DARKEST)), 0, 255).astype(np.uint8)
