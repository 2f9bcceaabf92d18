"""The reconstructor at work on evaluation photos: what it found, what it cost, where it broke."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from facecli.geometry import region_mask
from facecli.images import Image, read_image
from facecli.mesh import Mesh
from facecli.pipeline import Face, Reconstructor
from facecli.train.raster import interpolate, rasterize


@dataclass
class Trial:
    """Runs a reconstructor and keeps count: seconds per face found, photo and error of each failure."""

    reconstructor: Reconstructor
    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def faces(self, name: str, photo: Image | UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        """The faces of one photo; none, and a failure noted, where the reconstructor raises anything."""
        try:
            found = self.reconstructor.reconstruct(photo)
        except Exception as error:  # the one boundary: a photo that breaks it must not end the evaluation
            self.failures.append(f"{name}: {type(error).__name__}: {error}")
            return []
        self.seconds += [sum(face.seconds.values()) for face in found]
        return found

    def faces_of(self, path: Path) -> tuple[Image, list[Face]]:
        """A photo and its faces."""
        image = read_image(path.read_bytes())
        return image, self.faces(path.name, image)


def largest(faces: list[Face]) -> Face | None:
    """The face that takes the most of its photo."""
    return max(faces, key=lambda face: face.crop.scale, default=None)


@dataclass(frozen=True, eq=False)
class View:
    """A surface as a camera sees it: per pixel the depth z (camera frame, the surface's unit; 0 where it is
    not) and the unit normal (x right, y up, z to the camera)."""

    depth: Float[np.ndarray, "h w"]
    normals: Float[np.ndarray, "h w 3"]

    @property
    def seen(self) -> np.ndarray:
        """Which pixels show the surface."""
        return self.depth > 0

    def cut(self, part: tuple[slice, slice]) -> "View":
        """Rows and columns of it."""
        return View(self.depth[part], self.normals[part])


def view(
    pixels: Float[np.ndarray, "v 2"],
    camera: Float[np.ndarray, "v 3"],
    normals: Float[np.ndarray, "v 3"],
    faces: np.ndarray,
    width: int,
    height: int,
) -> View:
    """Draw a surface of camera-frame vertices and normals (x right, y down, z forward) at their pixels."""
    index, bary, inverse = rasterize(pixels, camera[:, 2], faces, width, height)
    normal = interpolate(normals * [1.0, -1.0, -1.0], faces, index, bary)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    depth = np.where(inverse > 0, 1 / np.maximum(inverse, 1e-12), 0)
    return View(depth, normal / np.maximum(length, 1e-9))


def view_of_face(face: Face, width: int, height: int, mesh: Mesh | None = None) -> View:
    """One of a face's meshes, the photo's own by default, over its photo, mm."""
    mesh = face.mesh if mesh is None else mesh
    camera = face.pose.to_camera(mesh.vertices.astype(np.float64) * 1000)
    normals = mesh.normals.astype(np.float64) @ face.pose.rotation.T
    return view(face.camera.project(camera), camera, normals, mesh.faces, width, height)


def relief_of(face: Face, width: int, height: int) -> Float[np.ndarray, "h w"]:
    """The third subtask's displacement, mm, at the pixels of the photo; not a number off the face's region."""
    import cv2

    region = np.repeat(np.repeat(region_mask(face.maps.region), 2, 0), 2, 1)
    maps = np.dstack([face.maps.detail * region, region.astype(np.float32)])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    matrix = face.crop.matrix_at(len(region))
    drawn = cv2.warpAffine(maps.astype(np.float32), matrix, (width, height), flags=flags)
    return np.where(drawn[..., 1] > 0.5, drawn[..., 0] / np.maximum(drawn[..., 1], 1e-6), np.nan)


def angles(first: Float[np.ndarray, "n 3"], second: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """Degrees between unit vectors."""
    return np.degrees(np.arccos(np.clip((first * second).sum(-1), -1, 1)))
