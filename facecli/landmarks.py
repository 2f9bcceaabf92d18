"""Landmarks of a face by name: the iBUG 68, and MediaPipe's 468 points on the whole face."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from facecli.camera import Camera, Pose
from facecli.complete import FaceModel
from facecli.grid import sample
from facecli.texture import Skin

# From the subject's right to the left, the order of iBUG (Sagonas et al. 2013); right and left are the subject's.
_IBUG = (
    ("jaw", 17),
    ("right_brow", 5),
    ("left_brow", 5),
    ("nose_bridge", 4),
    ("nose_bottom", 5),
    ("right_eye", 6),
    ("left_eye", 6),
    ("outer_lip", 12),
    ("inner_lip", 8),
)
IBUG_NAMES = tuple(f"{part}_{place}" for part, count in _IBUG for place in range(count))

# MediaPipe's annotations (face-landmarks-detection, Apache-2.0); a point of two parts is named after the first.
_PARTS = {
    "lips_upper_outer": "61 185 40 39 37 0 267 269 270 409 291",
    "lips_lower_outer": "146 91 181 84 17 314 405 321 375",
    "lips_upper_inner": "78 191 80 81 82 13 312 311 310 415 308",
    "lips_lower_inner": "95 88 178 87 14 317 402 318 324",
    "right_eye_upper": "246 161 160 159 158 157 173",
    "right_eye_lower": "33 7 163 144 145 153 154 155 133",
    "right_lid_upper": "247 30 29 27 28 56 190",
    "right_lid_lower": "130 25 110 24 23 22 26 112 243",
    "right_brow_upper": "156 70 63 105 66 107 55 193",
    "right_brow_lower": "35 124 46 53 52 65",
    "left_eye_upper": "466 388 387 386 385 384 398",
    "left_eye_lower": "263 249 390 373 374 380 381 382 362",
    "left_lid_upper": "467 260 259 257 258 286 414",
    "left_lid_lower": "359 255 339 254 253 252 256 341 463",
    "left_brow_upper": "383 300 293 334 296 336 285 417",
    "left_brow_lower": "265 353 276 283 282 295",
    "between_eyes": "168",
    "nose_tip": "1",
    "nose_bottom": "2",
    "nose_right_corner": "98",
    "nose_left_corner": "327",
    "right_cheek": "205",
    "left_cheek": "425",
    "silhouette": (
        "10 338 297 332 284 251 389 356 454 323 361 288 397 365 379 378 400 377 152 148 176 149 150 136 172 58 "
        "132 93 234 127 162 21 54 103 67 109"
    ),
}


def _dense_names() -> tuple[str, ...]:
    named = {
        int(number): part if " " not in numbers else f"{part}_{place}"
        for part, numbers in _PARTS.items()
        for place, number in enumerate(numbers.split())
    }
    return tuple(named.get(number, f"face_{number}") for number in range(468))


DENSE_NAMES = _dense_names()


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Named points of one face."""

    photo: Float[np.ndarray, "n 2"]  # pixels, centres at integers
    mesh: Float[np.ndarray, "n 3"]  # metres, head frame
    visible: Bool[np.ndarray, " n"]  # whether the photo shows them


def dense_landmarks(
    model: FaceModel, template: Float[np.ndarray, "468 3"], skin: Skin, camera: Camera, pose: Pose
) -> Landmarks:
    """The 468 points on a whole face. template: their coordinates on the mean head, mm."""
    cells = model.chart.cells(template)
    places = sample(skin.surface.positions, cells)
    scale = skin.visibility.shape[0] / model.mean.shape[0]
    column, row = np.rint((cells + 0.5) * scale - 0.5).astype(int).clip(0, skin.visibility.shape[0] - 1).T
    visible = skin.visibility[row, column] > 127
    return Landmarks(camera.project(pose.to_camera(places)), places / 1000, visible)


def part_indices() -> dict[str, list[int]]:
    """The points of each named part of the 468, in order along it."""
    return {part: [int(number) for number in numbers.split()] for part, numbers in _PARTS.items()}
