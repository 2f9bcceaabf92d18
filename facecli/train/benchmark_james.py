"""Two half-profile photos of a man and his stereo scan (menpo3d, BSD-3): shape, depth, normals."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from facecli.mesh import Mesh
from facecli.pipeline import Face
from facecli.train.contest import normal_errors, shown_by_all, views
from facecli.train.mean_face import MeanFace
from facecli.train.peer import MediaPipe, Sighting, nearest, surface
from facecli.train.raster import vertex_normals
from facecli.train.scan import SEVEN, Scan, Surface, scan_to_mesh, similarity
from facecli.train.table import COARSE, MEAN_FACE, MEDIAPIPE, OURS, WHOLE, Line
from facecli.train.trial import Trial, View, largest, view

PHOTOS = ("james_view0", "james_view1")
IBUG = np.r_[0:17, 29:34, 43:48, 34:38, 38:43, 17:23, 23:29, 48:68]
"""Where the file has the landmarks of iBUG 68: it lists the eyes before the brows and the nose."""


@dataclass(frozen=True)
class Shape:
    """Scan-to-mesh distance over the scan's face, mm."""

    median: float
    mean: float


@dataclass(frozen=True)
class Relief:
    """Errors over the pixels of a photo: depth (mm of the scan, its median taken off, after the scale that the seven
    landmarks ask for), normals (degrees)."""

    depth: float
    normal_median: float
    normal_mean: float


@dataclass(frozen=True)
class Photo:
    """One photo's figures, by the table's columns; `pixels` are what every view and the scan show."""

    name: str
    shapes: dict[str, Shape]
    reliefs: dict[str, Relief]
    pixels: int


@dataclass(frozen=True)
class James:
    """The photos whose face was found; `eyes` is the scan's outer eye distance, mm."""

    photos: list[Photo]
    eyes: float
    found: dict[str, float]


def measure(
    folder: Path, mean: MeanFace, detailed: Trial, coarse: Trial, peer: MediaPipe | None = None
) -> James:
    """Reconstruct both photos with the camera that a user's would have: none given."""
    scan, triangles = load_scan(folder)
    cameras = json.loads((folder / "cameras.json").read_text())
    seen = [detailed.faces_of(folder / f"{name}.jpg") for name in PHOTOS]
    pixels, faces = [image.pixels for image, _ in seen], [found for _, found in seen]
    sightings = peer.see(pixels, faces) if peer else [[], []]
    photos = []
    for name, (image, found), sighted in zip(PHOTOS, seen, sightings, strict=True):
        face, plain = largest(found), largest(coarse.faces(name, image))
        if face is None:
            continue
        truth = view_of_scan(cameras[name], scan.points, triangles)
        photos.append(_compare(name, scan, truth, face, plain, mean, nearest(sighted, face), peer))
    found_by = {OURS: float(len(photos))}
    if peer:
        found_by[MEDIAPIPE] = float(sum(any(not s.helped for s in sighted) for sighted in sightings))
    return James(photos, scan.outer_eyes, found_by)


def load_scan(folder: Path) -> tuple[Scan, Int[np.ndarray, "f 3"]]:
    """The scan with its landmarks in the order of iBUG 68, and its triangles."""
    with np.load(folder / "james_mesh.npz") as archive:
        points, landmarks = (archive[key].astype(np.float64) for key in ("points", "landmarks"))
        return Scan(points, landmarks[IBUG]), archive["triangles"]


def _compare(
    name: str,
    scan: Scan,
    truth: View,
    face: Face,
    plain: Face | None,
    mean: MeanFace,
    sighting: Sighting | None,
    peer: MediaPipe | None,
) -> Photo:
    meshes = {OURS: surface_of(face, face.mesh), MEAN_FACE: mean.surface}
    if plain is not None:
        meshes[COARSE] = surface_of(plain, plain.mesh)
    if face.complete is not None:
        meshes[WHOLE] = surface_of(face, face.complete)
    if peer is not None and sighting is not None:
        meshes[MEDIAPIPE] = surface(sighting, peer.faces)
    height, width = truth.depth.shape
    seen = views(face, plain, mean, sighting, peer, width, height)
    # Metres for the camera's meshes, millimetres here: the landmarks' scale speaks of the view's own unit.
    units = {name: 1000.0 if name in (OURS, COARSE, WHOLE) else 1.0 for name in meshes}
    scales = {
        name: similarity(mesh.landmarks[SEVEN].astype(np.float64) * units[name], scan.landmarks[SEVEN]).scale
        for name, mesh in meshes.items()
    }
    reliefs, pixels = relief(seen, scales, truth)
    return Photo(name, {name: shape(mesh, scan) for name, mesh in meshes.items()}, reliefs, pixels)


def surface_of(face: Face, mesh: Mesh) -> Surface:
    """One of the meshes of a face, with the landmarks that are written beside it."""
    return Surface(mesh.vertices, mesh.faces, face.landmarks_3d)


def shape(mesh: Surface, scan: Scan) -> Shape:
    """The numbers of the protocol."""
    distance = scan_to_mesh(mesh, scan)
    return Shape(float(np.median(distance)), float(distance.mean()))


def view_of_scan(
    camera: dict[str, list[list[float]]], points: Float[np.ndarray, "n 3"], triangles: Int[np.ndarray, "f 3"]
) -> View:
    """The scan as the photo's calibrated camera (pixel = K (R X + t)) saw it."""
    matrix, rotation = np.array(camera["K"]), np.array(camera["R"])
    placed = points @ rotation.T + np.array(camera["t"])
    pixels = placed @ matrix.T
    width, height = (int(side) for side in np.ravel(camera["size"]))
    normals = vertex_normals(placed.astype(np.float32), triangles)
    return view(pixels[:, :2] / pixels[:, 2:], placed, normals, triangles, width, height)


def relief(seen: dict[str, View], scales: dict[str, float], truth: View) -> tuple[dict[str, Relief], int]:
    """Compare pixel by pixel where all show the face; `scales` take each view's depth to mm of the scan."""
    both = shown_by_all(seen, truth.seen)
    turned = normal_errors(seen, truth.normals, both)
    out = {}
    for name, each in seen.items():
        error = each.depth[both] * scales[name] - truth.depth[both]
        error = np.abs(error - np.median(error))
        out[name] = Relief(
            float(np.median(error)), float(np.median(turned[name])), float(turned[name].mean())
        )
    return out, int(both.sum())


def lines(result: James) -> list[Line]:
    """For the table."""
    out = [Line("james, 2 half profiles", "faces found of 2", result.found, digits=0)]
    for photo in result.photos:
        medians = {name: shape.median for name, shape in photo.shapes.items()}
        share = {name: 100 * value / result.eyes for name, value in medians.items()}
        means = {name: shape.mean for name, shape in photo.shapes.items()}
        out += [
            Line(photo.name, "scan-to-mesh median, mm", medians),
            Line(photo.name, "scan-to-mesh mean, mm", means),
            Line(photo.name, "scan-to-mesh median, % of outer eye distance", share),
        ]
        for measure, field, digits in (
            ("depth per pixel, median error, mm", "depth", 2),
            ("normals, mean error, degrees", "normal_mean", 1),
            ("normals, median error, degrees", "normal_median", 1),
        ):
            values = {name: float(getattr(each, field)) for name, each in photo.reliefs.items()}
            out.append(Line(photo.name, measure, values, digits))
    return out
