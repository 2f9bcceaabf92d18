"""From a selfie to a portrait: the same people from near and far, with the matching field of view given."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facecli.images import Image, read_image
from facecli.train.studio import Scene, Shot, Studio
from facecli.train.table import OURS, WHOLE, Line
from facecli.train.trial import Trial
from facecli.train.verdict import meant, shape_error

DISTANCES = (250, 350, 500, 1000)
"""mm."""
WIDTH = 260
EXIF_FOCAL_35MM, EXIF_FOLDER = 0xA405, 0x8769


@dataclass(frozen=True)
class Perspective:
    """Mean shape error (mm) at each of `DISTANCES`, of the visible mesh and of the whole face on the same pixels;
    `blind` without EXIF; `found` of `people` faces; `sources` are where facecli says it has the focal length from.
    """

    people: int
    found: list[int]
    visible: list[float]
    whole: list[float]
    blind: list[float]
    sources: frozenset[str]


def measure(studio: Studio, trial: Trial, people: int, first: int = 500) -> Perspective:
    """Photographs by JPEG files with EXIF, read as a user's would be."""
    found, sources = [], set()
    visible: list[float] = []
    whole: list[float] = []
    blind: list[float] = []
    for distance in DISTANCES:
        rows = []
        for person in range(first, first + people):
            yaw = float(np.random.default_rng(person).uniform(-25, 25))
            shot = studio.photograph(Scene(person, yaw=yaw, distance=float(distance), width=WIDTH))
            name = f"perspective {distance} mm ({person})"
            image = read_image(jpeg_with_focal(shot))
            face = meant(shot, trial.faces(name, image))
            guessed = meant(shot, trial.faces(name + " blind", Image(image.pixels)))
            if face is None or guessed is None or face.complete is None:
                continue
            sources.add(face.camera.source)
            rows.append(
                [
                    shape_error(shot, face, face.mesh),
                    shape_error(shot, face, face.complete),
                    shape_error(shot, guessed, guessed.mesh),
                ]
            )
        means = np.nanmean(rows, axis=0) if rows else np.full(3, np.nan)
        found.append(len(rows))
        for values, value in zip((visible, whole, blind), means, strict=True):
            values.append(float(value))
    return Perspective(people, found, visible, whole, blind, frozenset(sources))


def jpeg_with_focal(shot: Shot) -> bytes:
    """The photo as a phone writes it: FocalLengthIn35mmFilm, whole millimetres, in its EXIF."""
    from PIL import Image as pillow

    buffer = io.BytesIO()
    exif = pillow.Exif()
    exif.get_ifd(EXIF_FOLDER)[EXIF_FOCAL_35MM] = round(shot.focal_35mm)
    pillow.fromarray(shot.pixels).save(buffer, "JPEG", quality=95, exif=exif)
    return buffer.getvalue()


def lines(result: Perspective) -> list[Line]:
    """For the table."""
    out = []
    every: Sequence[tuple[int, int, float, float, float]] = list(
        zip(DISTANCES, result.found, result.visible, result.whole, result.blind, strict=True)
    )
    for distance, found, visible, whole, blind in every:
        data = f"{result.people} synthetic people at {distance // 10} cm"
        out += [
            Line(data, f"faces found of {result.people}", {OURS: float(found)}, 0),
            Line(data, "shape, focal length from EXIF, mean error, mm", {OURS: visible, WHOLE: whole}),
            Line(data, "shape, focal length unknown, mean error, mm", {OURS: blind}),
        ]
    near, far = result.visible[0], result.visible[-1]
    if far > 0:
        name = f"shape at {DISTANCES[0] // 10} cm over shape at {DISTANCES[-1] // 10} cm, %"
        out.append(Line(f"{result.people} synthetic people", name, {OURS: 100 * near / far}, 0))
    return out
