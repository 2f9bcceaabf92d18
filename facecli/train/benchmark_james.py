"""Two half-profile photos of a man and his stereo scan (menpo3d, BSD-3): shape, depth, normals."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from facecli.mesh import Mesh
from facecli.pipeline import Face
from facecli.train.headmodel import FACE, GUMS, NARROW_FACE_VERTICES, HeadModel
from facecli.train.raster import vertex_normals
from facecli.train.scan import SEVEN, Scan, Surface, scan_to_mesh, similarity
from facecli.train.table import Line
from facecli.train.trial import Trial, View, angles, largest, view, view_of_face

PHOTOS = ("james_view0", "james_view1")


@dataclass(frozen=True)
class Shape:
    """Scan-to-mesh distance over the scan's face, mm."""

    median: float
    mean: float
    deviation: float


@dataclass(frozen=True)
class Relief:
    """Errors per pixel over what both mesh and scan show: depth (mm of the scan, its median taken off, after
    the scale that the seven landmarks ask for), normals (degrees)."""

    depth_median: float
    depth_mean: float
    normal_median: float
    normal_mean: float
    pixels: int


@dataclass(frozen=True)
class Photo:
    """One photo's figures: the mesh of what it shows, the same without detail, and the whole face."""

    name: str
    detailed: Shape
    coarse: Shape | None
    whole: Shape | None
    relief: Relief


@dataclass(frozen=True)
class James:
    """The photos whose face was found; `eyes` is the scan's outer eye distance, mm."""

    photos: list[Photo]
    eyes: float
    mean_face: Shape


def measure(folder: Path, model: HeadModel, detailed: Trial, coarse: Trial) -> James:
    """Reconstruct both photos with the camera that a user's would have: none given."""
    with np.load(folder / "james_mesh.npz") as archive:
        points, triangles = archive["points"].astype(np.float64), archive["triangles"]
        scan = Scan(points, archive["landmarks"].astype(np.float64))
    cameras = json.loads((folder / "cameras.json").read_text())
    photos = []
    for name in PHOTOS:
        image, faces = detailed.faces_of(folder / f"{name}.jpg")
        face, plain = largest(faces), largest(coarse.faces(name, image))
        if face is None:
            continue
        truth = view_of_scan(cameras[name], points, triangles)
        photo = Photo(
            name,
            shape(surface_of(face, face.mesh), scan),
            None if plain is None else shape(surface_of(plain, plain.mesh), scan),
            None if face.complete is None else shape(surface_of(face, face.complete), scan),
            relief(face, scan, view_of_face(face, image.width, image.height), truth),
        )
        photos.append(photo)
    return James(photos, scan.outer_eyes, shape(mean_face(model), scan))


def surface_of(face: Face, mesh: Mesh) -> Surface:
    """One of the meshes of a face, with the landmarks that are written beside it."""
    return Surface(mesh.vertices, mesh.faces, face.landmarks_3d)


def mean_face(model: HeadModel) -> Surface:
    """The head model's mean: narrow face, eyes and mouth."""
    inner = (model.part >= GUMS) | ((model.part == FACE) & (model.faces.max(1) < NARROW_FACE_VERTICES))
    return Surface(model.neutral, model.faces[inner], model.neutral[model.landmark_vertices])


def shape(mesh: Surface, scan: Scan) -> Shape:
    """The three numbers of the protocol."""
    distance = scan_to_mesh(mesh, scan)
    return Shape(float(np.median(distance)), float(distance.mean()), float(distance.std()))


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


def relief(face: Face, scan: Scan, ours: View, truth: View) -> Relief:
    """Compare pixel by pixel."""
    both = ours.seen & truth.seen
    scale = similarity(face.landmarks_3d[SEVEN].astype(np.float64) * 1000, scan.landmarks[SEVEN]).scale
    error = ours.depth[both] * scale - truth.depth[both]
    error = np.abs(error - np.median(error))
    turned = angles(ours.normals[both], truth.normals[both])
    return Relief(
        float(np.median(error)),
        float(error.mean()),
        float(np.median(turned)),
        float(turned.mean()),
        int(both.sum()),
    )


def lines(result: James) -> list[Line]:
    """For the table; peers were measured on other photos and scans and have lines of their own."""
    out = [Line("james, 2 half profiles", "faces reconstructed of 2", len(result.photos), digits=0)]
    for photo in result.photos:
        relief = photo.relief
        out += [
            _over_shapes(photo, result, "scan-to-mesh median, mm", lambda shape: shape.median),
            _over_shapes(photo, result, "scan-to-mesh mean, mm", lambda shape: shape.mean),
            _over_shapes(
                photo,
                result,
                "scan-to-mesh median, % of outer eye distance",
                lambda shape: 100 * shape.median / result.eyes,
            ),
            Line(photo.name, "depth per pixel, median error, mm", relief.depth_median),
            Line(photo.name, "normals, mean error, degrees", relief.normal_mean, digits=1),
            Line(photo.name, "normals, median error, degrees", relief.normal_median, digits=1),
        ]
    return out


def _over_shapes(photo: Photo, result: James, measure: str, of: Callable[[Shape], float]) -> Line:
    coarse, whole = (None if each is None else of(each) for each in (photo.coarse, photo.whole))
    return Line(photo.name, measure, of(photo.detailed), coarse, whole, of(result.mean_face))
