"""Fine relief on the whole face: wrinkles and folds that the third subtask sees, in its vertices and in its texture.

The whole face is bent only to what is broader than a wrinkle (`facecli.complete`). Relief lies on it, along its
normals, in mm: what its grid resolves moves its vertices, and what is finer is left to a displacement and a normal map.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float32, UInt8

from facecli.camera import Camera, Pose
from facecli.complete import FaceModel
from facecli.crop import CROP, Crop
from facecli.grid import around, grid_normals
from facecli.texture import Skin, look_up, project

SURROUNDINGS = 4.0  # cells: the network says how deep a place lies among these, not how deep they all lie
OWN = (
    5,
    2.0,
)  # cells around lids and lips that are the face model's, which has their shape; and how softly it ends
FAINT = 1e-3  # weight of a cell that is not seen


def relief(
    model: FaceModel,
    skin: Skin,
    detail: Float32[np.ndarray, "d d"],
    camera: Camera,
    pose: Pose,
    crop: Crop,
) -> Float32[np.ndarray, "g g"]:
    """What the photo shows of it in each cell of the grid, mm outwards; 0 where the photo does not see.

    detail: mm, on a grid of any resolution over the crop.
    """
    import cv2

    detail = np.asarray(cv2.resize(detail, (CROP, CROP), interpolation=cv2.INTER_AREA))
    size = skin.surface.positions.shape[0]
    places, _ = project(skin.surface, camera, pose, crop)
    seen = cv2.resize(skin.visibility, (size, size), interpolation=cv2.INTER_AREA) / np.float32(255)
    height = look_up(detail, places)
    level = around(height[..., None], np.maximum(seen, FAINT), SURROUNDINGS)[..., 0]
    return np.asarray((height - level) * seen * _skin_share(model), np.float32)


def _skin_share(model: FaceModel) -> Float32[np.ndarray, "g g"]:
    """1 on skin, 0 at lids and lips."""
    import cv2

    reach, softness = OWN
    own = cv2.dilate((model.eyes | model.lips).astype(np.float32), np.ones((2 * reach + 1,) * 2, np.uint8))
    return np.asarray(1 - cv2.GaussianBlur(own, (0, 0), softness))


def raised(skin: Skin, height: Float32[np.ndarray, "g g"]) -> Skin:
    """The skin with relief (mm outwards) on its surface."""
    positions = skin.surface.positions
    return replace(
        skin, surface=replace(skin.surface, positions=positions + grid_normals(positions) * height[..., None])
    )


def displacement(
    skin: Skin, detail: Float32[np.ndarray, "d d"], camera: Camera, pose: Pose, crop: Crop
) -> Float32[np.ndarray, "t t"]:
    """Relief in mm along the mesh's normal that is too fine for the mesh to carry; 0 where the photo does not see.

    detail: mm, on a grid of any resolution over the crop. What the mesh's own grid resolves is in its vertices.
    """
    import cv2

    places, _ = project(skin.surface, camera, pose, crop)
    scale = np.float32(detail.shape[0] / CROP)
    full, size = skin.visibility.shape[::-1], places.shape[0]
    at = np.asarray(cv2.resize((places + 0.5) * scale - 0.5, full, interpolation=cv2.INTER_LINEAR))
    height = look_up(detail, at)
    coarse = cv2.resize(height, (size, size), interpolation=cv2.INTER_AREA)
    fine = height - cv2.resize(coarse, full, interpolation=cv2.INTER_LINEAR)
    return np.asarray(fine * (skin.visibility / np.float32(255)))


def normal_map(skin: Skin, height: Float32[np.ndarray, "t t"]) -> UInt8[np.ndarray, "t t 3"]:
    """Tangent-space normals of a displacement in mm: red along u, green up (against v), blue outwards."""
    import cv2

    step = height.shape[0] / skin.surface.positions.shape[0]
    lengths = [
        np.maximum(np.linalg.norm(np.gradient(skin.surface.positions, axis=axis), axis=2) / step, 0.02)
        for axis in (1, 0)
    ]  # mm between texels
    slopes = []
    for axis, length in zip((1, 0), lengths, strict=True):
        wide = cv2.resize(length.astype(np.float32), height.shape[::-1], interpolation=cv2.INTER_LINEAR)
        slopes.append(np.gradient(height, axis=axis) / wide)
    normal = np.stack([-slopes[0], slopes[1], np.ones_like(height)], axis=2)
    normal /= np.sqrt(np.einsum("ijk,ijk->ij", normal, normal))[..., None]
    return np.rint(normal * 127 + 128).astype(np.uint8)
