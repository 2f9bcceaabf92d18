"""One person from several photos: find the face in each, fuse them, and serialise what came out."""

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facecli import __version__
from facecli.blas import one_thread
from facecli.blendshapes import load_shapes, to_arkit
from facecli.complete import to_mesh
from facecli.errors import FaceError
from facecli.fuse import Fused, fuse
from facecli.grid import sample
from facecli.images import encode_png, read_image
from facecli.inputs import Input, read_bytes
from facecli.landmarks import IBUG_NAMES
from facecli.options import Options
from facecli.pipeline import Face, Reconstructor
from facecli.render import shade
from facecli.result import SCALE_NOTE, mesh_files, number, numbers, to_json
from facecli.texture import vertex_colors
from facecli.weights import Weights

SCHEMA = "facecli.fused/1"
TURNS = (-40.0, 0.0, 40.0)  # degrees: the views of preview.png
PREVIEW_SIZE = 384


@dataclass(frozen=True, eq=False)
class Sighting:
    """What became of one photo. face: the one that was taken, `index` among the photo's `count`."""

    input: Input
    face: Face | None = None
    index: int = 0
    count: int = 0
    error: str | None = None
    trace: str | None = None  # of an internal error


class Sitter:
    """Someone of whom there are several photos.

    wanted: which face of each photo, in the order of detection from 0; else the largest. Raises WeightsError and
    DeviceError.
    """

    def __init__(self, device: str, weights: Weights, focal: float | None, wanted: int | None) -> None:
        self.reconstructor = Reconstructor(device, weights, focal=focal, mirror=True)
        assert self.reconstructor.model is not None  # whole faces are the default
        self.model = self.reconstructor.model
        self.blendshapes = load_shapes(weights, self.model)
        self.versions = {"facecli": __version__, "weights": weights.manifest.version}
        self.wanted = wanted

    def sight(self, item: Input) -> Sighting:
        """Find the face in one photo. What spoils a photo is told, what spoils the run (exit code 2) raised."""
        try:
            faces = self.reconstructor.reconstruct(read_image(read_bytes(item.path)))
        except FaceError as exc:
            if exc.exit_code != 1:
                raise
            return Sighting(item, error=str(exc))
        except Exception as exc:  # a fault on this photo is this photo's
            told = f"internal error ({type(exc).__name__}: {exc}); please report it"
            return Sighting(item, error=told, trace=traceback.format_exc())
        index = choose([face.crop.scale for face in faces], self.wanted)
        return Sighting(item, None if index is None else faces[index], index or 0, len(faces))

    def files(self, sightings: Sequence[Sighting], options: Options) -> dict[str, bytes]:
        """The files of the fused face. Raises ValueError where no photo shows one."""
        taken = [sighting.face for sighting in sightings if sighting.face is not None]
        with one_thread():
            fused = fuse(self.model, self.blendshapes, taken)
        mesh = to_mesh(self.model, fused.skin.surface, vertex_colors(fused.skin.texture, self.model.uv))
        files = mesh_files(mesh, fused.skin.texture, options, "face", "face.png")
        files["texture_visibility.png"] = encode_png(fused.skin.visibility)
        if options.preview:
            views = [shade(mesh, turn, PREVIEW_SIZE) for turn in TURNS]
            files["preview.png"] = encode_png(np.ascontiguousarray(np.hstack(views)))
        landmarks = sample(
            fused.skin.surface.positions, self.model.chart.cells(self.reconstructor.template.landmarks)
        )
        facts = describe(sightings, fused, self.versions)
        facts["landmarks"] = {"names": list(IBUG_NAMES), "mesh": numbers(landmarks / 1000, 6)}
        facts["files"] = sorted([*files, "result.json"])
        files["result.json"] = to_json(facts)
        return files


def choose(sizes: Sequence[float], wanted: int | None) -> int | None:
    """The place of the wanted face, else of the largest; None where there is no such face."""
    if wanted is not None:
        return wanted if wanted < len(sizes) else None
    return max(range(len(sizes)), key=lambda index: sizes[index], default=None)


def describe(sightings: Sequence[Sighting], fused: Fused, versions: Mapping[str, str]) -> dict[str, Any]:
    """What result.json says of the photos, the frame and the units."""
    used = iter(zip(fused.shares, fused.explanation.weights, strict=True))
    photos: list[dict[str, Any]] = []
    for sighting in sightings:
        entry: dict[str, Any] = {"name": str(sighting.input.path), "faces": sighting.count}
        if sighting.face is None:
            entry |= {"status": "failed" if sighting.error else "no_face", "error": sighting.error}
        else:
            share, weights = next(used)
            yaw, pitch, roll = sighting.face.pose.yaw_pitch_roll
            entry |= {
                "status": "ok",
                "face": sighting.index,
                "share": number(share, 4),
                "pose": {"yaw": number(yaw, 2), "pitch": number(pitch, 2), "roll": number(roll, 2)},
                "blendshapes": to_arkit(weights),
            }
        photos.append(entry)
    return {
        "schema": SCHEMA,
        "photos": photos,
        "expression": "neutral; blendshapes: each photo's own expression, which was taken off",
        "scale": {"fixed_by": "mean head", "note": SCALE_NOTE},
        "units": {"mesh": "metres", "angles": "degrees", "share": "of the visible surface, 0 to 1"},
        "axes": {
            "mesh": "right-handed, y up, nose to +z, the subject's left to +x, origin at the head's centre"
        },
        "versions": dict(versions),
    }
