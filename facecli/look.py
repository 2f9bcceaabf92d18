"""One look of the network at one crop of a photo: what it saw, and where a head would have to be to look like this."""

from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from facecli.camera import Camera, Pose, fit_pose
from facecli.clock import Clock
from facecli.crop import CROP, Crop
from facecli.geometry import inner_mouth, region_mask
from facecli.handful import Ask, Steps
from facecli.images import Image
from facecli.runtime import Maps

COARSE = 128  # the coarse maps
SMALLEST_REGION = 400  # pixels of the 256 px crop: less is no face to make a mesh of
# Where the network itself doubts depth more, at the median, it sees no face: 4 is usual, hard heads give up to 12.
DISBELIEF_MM = 15.0


@dataclass(frozen=True, eq=False)
class Look:
    """What the network saw in one crop."""

    crop: Crop
    maps: Maps
    region: Bool[np.ndarray, "256 256"]
    place: tuple[Pose, float] | None  # of the template, and its distance in mm; None: no face


def ask(image: Image, pictures: UInt8[np.ndarray, "n 512 512 3"], clock: Clock) -> Steps[list[Maps]]:
    """What the network sees in pictures of a photo; it keeps its own time."""
    clock.stop()
    seen = yield Ask(pictures, image.width * image.height)
    clock.resume(seen.seconds)
    if seen.gpu_seconds:
        clock.move("gpu", seen.gpu_seconds)
    return seen.maps


def look_at(camera: Camera, crop: Crop, maps: Maps) -> Look:
    """The region of a crop's maps, and where the template would have to be to look like this."""
    region = region_mask(maps.region)
    return Look(crop, maps, region, placed_at(camera, crop, maps, region))


def placed_at(
    camera: Camera, crop: Crop, maps: Maps, region: Bool[np.ndarray, "256 256"]
) -> tuple[Pose, float] | None:
    """Where the template would have to be to look like this, if it is a face."""
    mask = coarse_mask(region)
    if region.sum() >= SMALLEST_REGION and np.median(maps.sigma[mask]) < DISBELIEF_MM:
        with suppress(ValueError):  # too few points, or no head explains them: not a face
            return fit_pose(*evidence(camera, crop, maps, mask))
    return None


def evidence(
    camera: Camera, crop: Crop, maps: Maps, mask: Bool[np.ndarray, "128 128"]
) -> tuple[
    Float[np.ndarray, "n 3"], Float[np.ndarray, " n"], Float[np.ndarray, "n 3"], Float[np.ndarray, " n"]
]:
    """Coordinate, depth, ray and trust of the coarse pixels in the mask: what a pose is fitted to."""
    rays = rays_through(camera, crop, COARSE)[1]
    mask = mask & ~inner_mouth(maps.coordinate, maps.opening)
    trust: Float32[np.ndarray, n] = 1 / np.maximum(maps.sigma[mask], 1.0)
    return maps.coordinate[mask], maps.depth[mask], rays[mask], trust


def coarse_mask(region: Bool[np.ndarray, "256 256"]) -> Bool[np.ndarray, "128 128"]:
    import cv2

    return np.asarray(
        cv2.resize(region.astype(np.uint8) * 4, (COARSE, COARSE), interpolation=cv2.INTER_AREA) > 2
    )


def rays_through(
    camera: Camera, crop: Crop, size: int
) -> tuple[Float[np.ndarray, "s s 2"], Float[np.ndarray, "s s 3"]]:
    """Photo pixel and camera ray of each pixel of the crop at a resolution.

    Depth counts along the line of sight through the crop's centre, so the rays reach to 1 along that: then a face
    at the photo's edge has the depth of the same face in its middle, which is all that a crop can tell.
    """
    pixels = crop.to_photo(_pixel_grid(size))
    rays = reaching(camera.rays(pixels), line_of_sight(camera, crop))
    return pixels.reshape(size, size, 2), rays.reshape(size, size, 3)


def line_of_sight(camera: Camera, crop: Crop) -> Float[np.ndarray, "3"]:
    """The ray through the crop's centre, z = 1."""
    return np.asarray(camera.rays(crop.to_photo(np.full((1, 2), (CROP - 1) / 2)))[0])


def reaching(rays: Float[np.ndarray, "n 3"], axis: Float[np.ndarray, "3"]) -> Float[np.ndarray, "n 3"]:
    """The same rays, as long as reaches to 1 along the axis."""
    return np.asarray(rays / (rays @ (axis / np.linalg.norm(axis)))[:, None])


@lru_cache(maxsize=4)
def _pixel_grid(size: int) -> Float[np.ndarray, "n 2"]:
    """The centres of a size x size grid over the crop, in its 256 px frame."""
    along = (np.arange(size) + 0.5) * CROP / size - 0.5
    x, y = np.meshgrid(along, along)
    return np.stack([x.ravel(), y.ravel()], 1)
