"""The head model of the training data, posed and rendered exactly; a pool of people that never were."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from facecli.camera import Camera, Pose, rotation_from_angles
from facecli.crop import CROP, Crop, crop_from_square
from facecli.runtime import Maps

SHARED = Path(__file__).resolve().parents[2] / "shared"
ASSETS = SHARED / "assets"
needs_assets = pytest.mark.skipif(
    not (ASSETS / "head_model").is_dir(), reason=f"needs the licensed training data in {ASSETS}"
)
needs_evaluation = pytest.mark.skipif(
    not (SHARED / "eval").is_dir(), reason=f"needs the evaluation data in {SHARED / 'eval'}"
)


@lru_cache(maxsize=1)
def head_model():
    from facecli.train.headmodel import HeadModel

    return HeadModel.load(ASSETS / "head_model")


def pushing_morphs(millimetres):
    """A second head's, each of which moves the whole head so far to its left."""
    from facecli.train.second_head import GENERAL, OLD, SINGLE, Morphs

    names = (*GENERAL, OLD, *SINGLE)
    change = np.zeros((len(names), len(head_model().neutral), 3), np.float32)
    change[..., 0] = millimetres
    return Morphs(names, np.zeros(len(names)), change)


def random_head(seed):
    """Vertices (mm, head frame) of one random person with a random expression."""
    from facecli.train.sample import random_expression

    model, rng = head_model(), np.random.default_rng(seed)
    return model.vertices(
        rng.normal(0, 1, len(model.identity)), random_expression(rng, model.expression_names)
    )


def sample(size=256, detail=False):
    """Random labels: anything that is moved wrongly shows."""
    rng = np.random.default_rng(0)
    from facecli.train.sample import Sample

    return Sample(
        rng.integers(0, 256, (size, size, 3), np.uint8),
        rng.integers(0, 256, (256, 256), np.uint8),
        rng.normal(size=(128, 128, 4)).astype(np.float32),
        rng.integers(0, 2, (128, 128)).astype(np.float32),
        rng.normal(0, 0.02, (512, 512)).astype(np.float32) if detail else None,
        0.7,
        1.0,
        rng.integers(0, 256, (128, 128), np.uint8),
    )


@dataclass(frozen=True)
class View:
    """A head before a camera of 1500 px focal, off the middle of a photo of 1200 x 900, in a tight crop."""

    vertices: np.ndarray  # mm, head frame
    pose: Pose
    camera: Camera
    crop: Crop

    def placed(self):
        """Vertices in the camera frame, mm."""
        return self.pose.to_camera(self.vertices.astype(np.float64))

    def draw(self, size, faces=None):
        """Face index, barycentric coordinates and z (mm) at each pixel of the crop at size x size."""
        from facecli.train.raster import rasterize

        placed = self.placed()
        pixels = (self.crop.to_crop(self.camera.project(placed)) + 0.5) * size / CROP - 0.5
        index, bary, inverse = rasterize(
            pixels, placed[:, 2], head_model().faces if faces is None else faces, size, size
        )
        return index, bary, np.where(inverse > 0, 1 / np.maximum(inverse, 1e-12), np.nan)

    def maps(self):
        """What a perfect network would answer, made the way that training labels are made."""
        from facecli.train.lift import region_vertices
        from facecli.train.raster import interpolate
        from facecli.train.sample import UNIT, pack_coarse, pack_opening

        model = head_model()
        faces = model.faces
        index, bary, _ = self.draw(512)
        inside = region_vertices(model).astype(np.float32)[:, None]
        region = (index >= 0) & (interpolate(inside, faces, index, bary)[..., 0] > 0.5)
        coordinate = interpolate(model.neutral, faces, index, bary)
        axis = self.camera.rays(self.crop.to_photo(np.full((1, 2), (CROP - 1) / 2)))[0]
        places = interpolate(self.placed(), faces, index, bary)
        depth = ((self.pose.translation - places) @ (axis / np.linalg.norm(axis))).astype(np.float32)
        part = np.where(index >= 0, model.part[index], -1)
        coarse, _ = pack_coarse(coordinate, depth, region)
        coarse = coarse * np.float32(UNIT)
        return Maps(
            region=region.reshape(CROP, 2, CROP, 2).mean((1, 3)).astype(np.float32),
            coordinate=np.ascontiguousarray(coarse[..., :3]),
            depth=np.ascontiguousarray(coarse[..., 3]),
            sigma=np.ones((128, 128), np.float32),
            opening=pack_opening(part, region).astype(np.float32) / 255,
            detail=np.zeros((512, 512), np.float32),
        )

    def look(self, maps=None):
        """What the pipeline has after the network; maps as `maps` makes them, or others."""
        from facecli.look import look_at

        return look_at(self.camera, self.crop, self.maps() if maps is None else maps)

    @property
    def distance(self):
        """From the camera to the head centre along the line of sight through the crop, mm."""
        axis = self.camera.rays(self.crop.to_photo(np.full((1, 2), (CROP - 1) / 2)))[0]
        return float(self.pose.translation @ axis / np.linalg.norm(axis))

    def with_relief(self, maps):
        """The maps with all that the coarse ones leave over in `detail`: displacement along their surface's normal.

        Found by walking from each pixel's coarse surface along its normal to the plane of the triangle seen there.
        """
        from dataclasses import replace

        from facecli.geometry import normals, positions, region_mask
        from facecli.look import coarse_mask, rays_through
        from facecli.upsample import upsample_masked

        region, fine = region_mask(maps.region), 1024
        depth = upsample_masked(maps.depth, coarse_mask(region), CROP).astype(np.float64)
        surface = positions(depth, rays_through(self.camera, self.crop, CROP)[1], self.distance)
        normal = normals(surface, region)
        corners = self.placed()[head_model().faces]
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        offset, seen = (across * corners[:, 0]).sum(1), self.draw(fine)[0]
        height = np.zeros(surface.shape[:2])
        for _ in range(6):
            point = (surface + height[..., None] * normal).reshape(-1, 3)
            at = (self.crop.to_crop(self.camera.project(point)) + 0.5) * fine / CROP - 0.5
            x, y = np.clip(np.rint(at).astype(int), 0, fine - 1).T
            face = seen[y, x].reshape(height.shape)
            steep = (normal * across[face]).sum(-1)
            steep = np.where(np.abs(steep) < 1e-9, 1e-9, steep)
            walk = (offset[face] - (surface * across[face]).sum(-1)) / steep
            height = np.where(region & (face >= 0), np.clip(walk, -3, 3), 0)
        return replace(maps, detail=height.repeat(2, 0).repeat(2, 1).astype(np.float32))

    def jumps(self):
        """Pixels of the 256 px crop within one and a half coarse pixels of where the seen surface jumps."""
        import cv2

        from facecli.geometry import STEEPEST

        z = np.nan_to_num(self.draw(512)[2], nan=1e9)
        width = np.linalg.norm(
            np.diff(self.camera.rays(self.crop.to_photo(np.array([[0.0, 0], [0.5, 0]]))), axis=0)
        )
        jump = np.zeros((512, 512), np.uint8)
        for axis in (0, 1):
            low, high = (np.take(z, range(k, 511 + k), axis) for k in (0, 1))
            cut = np.abs(high - low) > STEEPEST * width * np.minimum(low, high)
            jump[tuple(slice(0, n) for n in cut.shape)] |= cut
        near = cv2.dilate(jump, np.ones((13, 13), np.uint8))
        return near.reshape(CROP, 2, CROP, 2).max((1, 3)) > 0


def view(vertices, yaw=0.0, pitch=0.0, roll=0.0, distance=600.0):
    """The framing that the pipeline gives: 1.45 times the box of the face, upright."""
    from facecli.train.lift import face_box_points

    camera = Camera(1500.0, 599.5, 449.5, "default")
    pose = Pose(
        rotation_from_angles(yaw, pitch, roll), np.array([0.06 * distance, -0.04 * distance, distance])
    )
    pixels = camera.project(pose.to_camera(face_box_points(vertices).astype(np.float64)))
    low, high = pixels.min(0), pixels.max(0)
    crop = crop_from_square((low + high) / 2, 1.45 * float((high - low).max()), float(np.radians(roll)))
    return View(vertices, pose, camera, crop)


def reconstructor(detail=False):
    """The pipeline without its networks: only what assembly needs."""
    from facecli.complete import load_face_model
    from facecli.pipeline import Reconstructor
    from facecli.weights import Template, load_weights

    model = head_model()
    made = Reconstructor.__new__(Reconstructor)
    made.template = Template(
        model.neutral[model.landmark_vertices].astype(np.float64),
        model.neutral[:6706:7].astype(np.float64),
        model.neutral[:468].astype(np.float64),
    )
    made.model, made.blendshapes = load_face_model(load_weights()), None
    made.focal, made.whole = None, False
    made.detail, made.detail_scale = detail, float(detail)
    return made
