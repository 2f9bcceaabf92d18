"""Relief on the whole face: furrows whose depth is known, on the mean face before a known camera."""

from dataclasses import replace

import numpy as np
import pytest
from photos import photo

from facecli.camera import Camera, Pose, rotation_from_angles
from facecli.complete import FaceModel, Surface
from facecli.crop import CROP, crop_from_square
from facecli.fuse import fuse_relief
from facecli.grid import grid_normals
from facecli.pipeline import Face, Reconstructor
from facecli.relief import displacement, normal_map, raised, relief
from facecli.texture import SIZE, Skin, project

CAMERA = Camera(1500.0, 599.5, 449.5, "default")
POSE = Pose(rotation_from_angles(0.0, 0.0, 0.0), np.array([20.0, -10.0, 600.0]))
FACE = crop_from_square(CAMERA.project(POSE.translation[None])[0], 640.0)
FURROW_MM, FURROW_PX = 0.5, 1.5  # depth, and standard deviation of its width on the crop
FOREHEAD = 55  # mm above the middle of the head


@pytest.fixture(scope="module")
def skin(model: FaceModel) -> Skin:
    """The mean face, all of it seen."""
    surface = Surface(model.mean.astype(np.float64), np.ones(model.mean.shape[:2]))
    return Skin(surface, np.zeros((SIZE, SIZE, 3), np.uint8), np.full((SIZE, SIZE), 255, np.uint8))


def row_of(height_mm: float) -> float:
    """The row of the crop at which the middle of the forehead is so high."""
    return float(FACE.to_crop(CAMERA.project(POSE.to_camera(np.array([[0.0, height_mm, 90.0]]))))[0, 1])


def furrow(size: int, row: float, depth: float = FURROW_MM) -> np.ndarray:
    """A line across the whole crop."""
    rows = (np.arange(size) + 0.5) * CROP / size - 0.5
    valley = -depth * np.exp(-0.5 * ((rows - row) / FURROW_PX) ** 2)
    return np.tile(valley[:, None], (1, size)).astype(np.float32)


def seen_at(skin: Skin) -> np.ndarray:
    """Row of the crop in which each cell is."""
    return project(skin.surface, CAMERA, POSE, FACE)[0][..., 1]


@pytest.mark.parametrize("size", [256, 512])
def test_a_furrow_of_the_photo_is_as_deep_on_the_face(model: FaceModel, skin: Skin, size: int) -> None:
    row = row_of(FOREHEAD)
    height = relief(model, skin, furrow(size, row), CAMERA, POSE, FACE)
    away = seen_at(skin) - row
    ahead = np.abs(model.mean[..., 0]) < 30
    bottom, beside = ahead & (np.abs(away) < 0.6), ahead & (np.abs(np.abs(away) - 6) < 1.5)
    assert bottom.sum() > 10 and beside.sum() > 50
    assert abs(height[beside].mean() - height[bottom].mean() - FURROW_MM) < 0.15 * FURROW_MM
    assert np.abs(height[ahead & (np.abs(away) > 40)]).max() < 0.01


def test_how_deep_a_whole_cheek_lies_is_not_reliefs_to_say(model: FaceModel, skin: Skin) -> None:
    slope = np.tile(np.linspace(-4, 4, CROP, dtype=np.float32)[:, None], (1, CROP))
    height = relief(model, skin, slope + 2, CAMERA, POSE, FACE)
    inside = (np.abs(model.mean[..., 0]) < 50) & (np.abs(model.mean[..., 1] + 10) < 60)
    assert np.abs(height[inside]).max() < 0.06


def test_lids_lips_and_what_the_photo_does_not_see_have_none(model: FaceModel, skin: Skin) -> None:
    visibility = skin.visibility.copy()
    visibility[:, : SIZE // 2] = 0
    everywhere = sum(furrow(256, row) for row in range(20, 240, 12))
    height = relief(model, replace(skin, visibility=visibility), everywhere, CAMERA, POSE, FACE)
    assert not height[:, : model.mean.shape[1] // 2].any()
    assert np.abs(height[model.eyes | model.mouth]).max() < 0.005
    assert np.abs(height[:, model.mean.shape[1] // 2 :]).max() > 0.2


def test_relief_moves_the_surface_along_its_normals(model: FaceModel, skin: Skin) -> None:
    height = relief(model, skin, furrow(256, row_of(FOREHEAD)), CAMERA, POSE, FACE)
    moved = raised(skin, height).surface.positions - skin.surface.positions
    row, column = np.rint(model.cells[:, ::-1]).astype(int).T  # beyond the mesh some cells are a point
    moved, normals, height = (
        values[row, column] for values in (moved, grid_normals(skin.surface.positions), height)
    )
    assert np.abs(height).max() > 0.2
    assert np.allclose((moved * normals).sum(1), height, atol=1e-6)
    assert np.allclose(np.linalg.norm(moved, axis=1), np.abs(height), atol=1e-6)


def test_fused_relief_is_that_of_the_photo_that_shows_it_best(
    model: FaceModel, skin: Skin, astronaut: Face
) -> None:
    seen = replace(astronaut, skin=skin, camera=CAMERA, pose=POSE, crop=FACE, detail_scale=1.0)
    deep, flat = (
        replace(seen, maps=replace(seen.maps, detail=furrow(512, row_of(FOREHEAD), depth)))
        for depth in (FURROW_MM, 0.0)
    )
    wanted = relief(model, skin, deep.maps.detail, CAMERA, POSE, FACE)
    good, poor = np.ones((2, *wanted.shape))
    poor *= 0.3
    for qualities, share in (((good, poor), 1.0), ((poor, good), 0.0), ((good, good), 0.5)):
        found = fuse_relief(model, [deep, flat], [skin, skin], np.stack(qualities))
        assert np.abs(found - share * wanted).max() < 0.02
    none = fuse_relief(model, [replace(deep, detail_scale=0.0)], [skin], good[None])
    assert not none.any()


def test_whole_face_without_detail_is_the_same_but_for_its_relief(astronaut: Face) -> None:
    plain = Reconstructor(device="cpu", threads=1, detail=False).reconstruct(photo("astronaut.jpg"))[0]
    strong = Reconstructor(device="cpu", threads=1, detail_scale=3.0).reconstruct(photo("astronaut.jpg"))[0]
    meshes = [face.complete for face in (plain, astronaut, strong)]
    smooth, wrinkled, deep = (mesh.vertices * 1000 for mesh in meshes if mesh is not None)
    once, thrice = np.linalg.norm(wrinkled - smooth, axis=1), np.linalg.norm(deep - smooth, axis=1)
    assert 0.1 < once.max() < 1.0, "mm"
    assert np.allclose(thrice, 3 * once, atol=1e-3)


def flat_skin(visible: int = 255) -> Skin:
    """A plane of 0.2 mm a texel before the camera, 128 cells, 256 texels."""
    x, y = np.meshgrid(np.arange(128) - 63.5, 63.5 - np.arange(128))
    positions = np.stack([x, y, np.zeros_like(x)], 2) * 0.4
    return Skin(
        Surface(positions, np.ones((128, 128))),
        np.zeros((256, 256, 3), np.uint8),
        np.full((256, 256), visible, np.uint8),
    )


def test_normals_of_a_displacement_tilt_away_from_the_ridge() -> None:
    height = np.zeros((256, 256), np.float32)
    height[:, 118:138] = 0.2 * (1 - np.abs(np.arange(-10, 10) + 0.5) / 10)
    normals = normal_map(flat_skin(), height).astype(float)
    slope = 0.02 / 0.2
    left, right = normals[128, 122], normals[128, 133]
    assert abs((left[0] - 128) / (left[2] - 128) + slope) < 0.015, "left of a ridge it leans left"
    assert abs((right[0] - 128) / (right[2] - 128) - slope) < 0.015
    assert (normals[20, 20] == [128, 128, 255]).all()
    upright = normal_map(flat_skin(), np.ascontiguousarray(height.T)).astype(float)
    assert upright[122, 128, 1] > 130 and upright[133, 128, 1] < 126, (
        "above the ridge it leans up: green is up"
    )


def test_displacement_is_what_the_mesh_is_too_coarse_for() -> None:
    skin = flat_skin()
    pose = Pose(rotation_from_angles(0.0, 0.0, 0.0), np.array([0.0, 0.0, 600.0]))
    crop = crop_from_square(CAMERA.project(pose.translation[None])[0], 200.0)
    x = np.arange(512, dtype=np.float32)
    fine, broad = 0.1 * np.sin(x * 1.2), 2.0 * np.sin(x / 150)  # 0.8 and 150 mm long
    found = displacement(skin, np.tile(fine + broad, (512, 1)), CAMERA, pose, crop)
    assert found.shape == (256, 256)
    middle = found[64:192, 64:192]
    assert 0.02 < np.abs(middle).max() < 0.11, "the broad part is the mesh's own"
    hidden = replace(skin, visibility=np.zeros((256, 256), np.uint8))
    assert not displacement(hidden, np.tile(fine, (512, 1)), CAMERA, pose, crop).any()
