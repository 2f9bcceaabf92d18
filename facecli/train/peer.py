"""MediaPipe 0.10.14 beside facecli: the same photos, in a Python of its own."""

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from facecli.errors import UsageError
from facecli.pipeline import Face
from facecli.train.correspond import MEDIAPIPE_68
from facecli.train.raster import vertex_normals
from facecli.train.scan import Surface
from facecli.train.trial import View, view

POINTS = 468
FAR = 1e6
"""Its points are a weak-perspective view: drawn from so far away (pixels) that there is no other."""
ROOM = 1.3
"""A face it does not find by itself is shown to it in a square of so many of facecli's crops."""


@dataclass(frozen=True, eq=False)
class Sighting:
    """One face: 468 points, photo pixels with centres at integers, z (away from the camera) in the same scale.
    `helped`: it did not find the face in the photo and was shown where it is."""

    points: Float[np.ndarray, "468 3"]
    helped: bool

    @property
    def landmarks(self) -> Float[np.ndarray, "68 2"]:
        """The points nearest to the iBUG 68; the first 17, along the jaw, are approximate."""
        return self.points[MEDIAPIPE_68, :2]


@dataclass
class MediaPipe:
    """Runs MediaPipe under `python`; `faces` are the triangles of its 468 points.

    `milliseconds` holds the least times of its parts, `seconds` what each photo took, finding included.
    """

    python: Path
    faces: Int[np.ndarray, "f 3"]
    seconds: list[float] = field(default_factory=list)

    @classmethod
    def beside(cls, python: Path, assets: Path) -> "MediaPipe":
        """With the triangles of MediaPipe's canonical face in `assets`."""
        return cls(python, triangles(assets / "landmarks" / "canonical_face_model.obj"))

    def see(
        self, photos: Sequence[UInt8[np.ndarray, "_ _ 3"]], known: Sequence[Sequence[Face]]
    ) -> list[list[Sighting]]:
        """The faces of each photo; `known` are the faces that facecli found in it."""
        arrays: dict[str, np.ndarray] = {}
        for k, (photo, faces) in enumerate(zip(photos, known, strict=True)):
            arrays[f"photo{k}"] = photo
            arrays[f"squares{k}"] = np.array([_square(face) for face in faces]).reshape(-1, 3)
        result = self._run(arrays)
        self.seconds += result["seconds"].tolist()
        return [
            [
                Sighting(points[:POINTS].astype(np.float64), bool(helped))
                for points, helped in zip(result[f"faces{k}"], result[f"helped{k}"], strict=True)
            ]
            for k in range(len(photos))
        ]

    def timing(self, photo: UInt8[np.ndarray, "_ _ 3"]) -> dict[str, float]:
        """Least milliseconds for the one face of a photo: `whole_ms` with finding it, `tracked_ms` without;
        `network1_ms` and `network2_ms` of the landmark network alone, where that Python has ai-edge-litert."""
        result = self._run({"timing": photo})
        return {name: float(value) for name, value in result.items() if name.endswith("_ms")}

    def _run(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        script = Path(__file__).with_name("landmarks.py")
        with tempfile.TemporaryDirectory() as folder:
            photos, out = Path(folder) / "photos.npz", Path(folder) / "faces.npz"
            np.savez(photos, **arrays)  # type: ignore[arg-type]
            command = [str(self.python), str(script), str(photos), str(out)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except OSError as error:
                raise UsageError(
                    f"cannot run {self.python}: {error.strerror}; give a Python with mediapipe"
                ) from error
            if done.returncode or not out.exists():
                why = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise UsageError(
                    f"{self.python} cannot run MediaPipe: {why}; it needs Python 3.11 or 3.12 with "
                    "mediapipe==0.10.14 and numpy<2"
                )
            with np.load(out) as archive:
                return {name: archive[name] for name in archive}


def triangles(obj: Path) -> Int[np.ndarray, "f 3"]:
    """The triangles of an OBJ file, seen from outside counter-clockwise."""
    lines = (line.split() for line in obj.read_text().splitlines() if line.startswith("f "))
    return np.array([[int(corner.split("/")[0]) - 1 for corner in line[1:4]] for line in lines], np.int32)


def surface(sighting: Sighting, faces: Int[np.ndarray, "f 3"]) -> Surface:
    """Its mesh, right-handed, in pixels."""
    vertices = sighting.points * [1.0, -1.0, -1.0]
    return Surface(vertices, faces, vertices[MEDIAPIPE_68])


def view_of_points(sighting: Sighting, faces: Int[np.ndarray, "f 3"], width: int, height: int) -> View:
    """Its mesh over the photo; depth in pixels, from an arbitrary plane."""
    away = sighting.points + np.array([0.0, 0.0, FAR])
    return view(sighting.points[:, :2], away, vertex_normals(sighting.points, faces), faces, width, height)


def nearest(sightings: Sequence[Sighting], face: Face) -> Sighting | None:
    """Which of the faces it saw is the same as facecli's, if any."""
    middle = face.landmarks.mean(0)
    reach = 0.25 * face.crop.scale * 256
    near = [s for s in sightings if np.linalg.norm(s.landmarks.mean(0) - middle) < reach]
    return min(near, key=lambda s: float(np.linalg.norm(s.landmarks.mean(0) - middle)), default=None)


def _square(face: Face) -> Float[np.ndarray, "3"]:
    """Centre and side, pixels, of where a face is."""
    centre = face.crop.to_photo(np.full((1, 2), 127.5))[0]
    return np.append(centre, ROOM * face.crop.scale * 256)
