"""The training rasteriser against ray casting, and its normals against known surfaces."""

import numpy as np
import pytest
import trimesh
from heads import head_model, needs_assets, random_head, view

from facecli.train.raster import interpolate, rasterize, rounded, unit, vertex_normals


@needs_assets
@pytest.mark.parametrize(("seed", "yaw"), [(0, 0.0), (1, 40.0), (2, -75.0)])
def test_depth_and_place_are_those_of_ray_casting(seed, yaw):
    scene, model = view(random_head(seed), yaw=yaw, pitch=6.0, roll=-9.0, distance=450.0), head_model()
    size = 96
    index, bary, z = scene.draw(size)
    rng = np.random.default_rng(seed)
    rows, columns = np.nonzero(index >= 0)
    chosen = rng.permutation(len(rows))[:60]
    rows, columns = rows[chosen], columns[chosen]
    crop = (np.stack([columns, rows], 1) + 0.5) * 256 / size - 0.5
    rays = scene.camera.rays(scene.crop.to_photo(crop))

    surface = trimesh.Trimesh(scene.placed(), model.faces, process=False)
    front = (surface.face_normals * surface.triangles_center).sum(1) < 0  # the rasteriser culls the others
    surface.update_faces(front)
    hits, ray, triangle = surface.ray.intersects_location(np.zeros_like(rays), rays)
    nearest = np.full(len(rays), np.inf)
    np.minimum.at(nearest, ray, hits[:, 2])
    np.testing.assert_allclose(
        z[rows, columns], nearest, atol=1e-3
    )  # mm; barycentric coordinates are float32

    kept = np.flatnonzero(front)
    first = hits[:, 2] <= nearest[ray] + 1e-9
    places = interpolate(scene.placed(), model.faces, index, bary)[rows[ray[first]], columns[ray[first]]]
    np.testing.assert_allclose(places, hits[first], atol=1e-3)
    same = index[rows[ray[first]], columns[ray[first]]] == kept[triangle[first]]
    assert same.mean() > 0.95  # but for rays through an edge


@needs_assets
def test_reprojected_pixels_are_their_own():
    scene, size = view(random_head(3), yaw=-30.0), 128
    index, bary, _ = scene.draw(size)
    places = interpolate(scene.placed(), head_model().faces, index, bary)
    rows, columns = np.nonzero(index >= 0)
    found = scene.crop.to_crop(scene.camera.project(places[rows, columns].astype(np.float64)))
    expected = (np.stack([columns, rows], 1) + 0.5) * 256 / size - 0.5
    assert np.abs(found - expected).max() < 1e-3


def square(z, winding=1):
    corners = np.array([[-0.5, -0.5], [4.5, -0.5], [4.5, 4.5], [-0.5, 4.5]])
    faces = np.array([[0, 2, 1], [0, 3, 2]], np.int32)[:, ::winding]
    return corners, np.full(4, z), np.ascontiguousarray(faces)


def test_the_nearer_of_two_squares_wins_whatever_the_order():
    (corners, near, faces), (_, far, _) = square(2.0), square(3.0)
    for depth, winner in ((np.r_[near, far], 0), (np.r_[far, near], 1)):
        index, _, inverse = rasterize(np.r_[corners, corners], depth, np.r_[faces, faces + 4], 5, 5)
        assert (index // 2 == winner).all()
        np.testing.assert_allclose(inverse, 0.5)


def test_back_faces_and_what_is_behind_the_camera_are_not_drawn():
    for corners, depth, faces in (square(2.0, winding=-1), square(-2.0)):
        index, bary, inverse = rasterize(corners, depth, faces, 5, 5)
        assert (index == -1).all()
        assert not bary.any()
        assert not inverse.any()


def test_interpolation_is_perspective_correct():
    # A strip from z = 1 at the left to z = 3 at the right: half of the picture is a quarter of the way.
    pixels = np.array([[0.0, -1.0], [8.0, -1.0], [8.0, 9.0], [0.0, 9.0]])
    depth, faces = np.array([1.0, 3.0, 3.0, 1.0]), np.array([[0, 2, 1], [0, 3, 2]], np.int32)
    index, bary, inverse = rasterize(pixels, depth, faces, 9, 9)
    along = interpolate(np.array([[0.0], [1.0], [1.0], [0.0]]), faces, index, bary)[4, :, 0]
    np.testing.assert_allclose(along[4], 0.25, atol=1e-6)
    np.testing.assert_allclose(1 / inverse[4, 4], 1.5)


def test_vertex_normals_of_a_sphere_point_outwards():
    sphere = trimesh.creation.icosphere(3, 20.0)
    found = vertex_normals(sphere.vertices.astype(np.float32), sphere.faces.astype(np.int32))
    assert (found * sphere.vertices / 20).sum(1).min() > 0.999


def test_unit_vectors_keep_their_direction_and_nothing_stays_nothing():
    vectors = np.random.default_rng(0).normal(0, 50, (4, 5, 3)).astype(np.float32)
    vectors[0, 0] = 0
    made = unit(vectors)
    assert made.shape == vectors.shape
    assert (made[0, 0] == 0).all()
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    np.testing.assert_allclose(made * length, vectors, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(made.reshape(-1, 3)[1:], axis=-1), 1, atol=1e-6)


def test_a_coarse_ball_is_round_between_its_corners():
    ball = trimesh.creation.icosphere(subdivisions=2, radius=80.0)
    corners = (ball.vertices + np.array([0, 0, 400])).astype(np.float32)
    pixels, faces = corners[:, :2] / corners[:, 2:] * 300 + 63.5, np.asarray(ball.faces, np.int32)
    index, bary, _ = rasterize(pixels, corners[:, 2], faces, 128, 128)
    outward = (ball.vertices / 80).astype(np.float32)
    flat = interpolate(corners, faces, index, bary)
    round_ = rounded(flat, corners, outward, faces, index, bary)

    def off(places):
        return np.abs(np.linalg.norm(places[index >= 0] - [0, 0, 400], axis=1) - 80)

    assert (index >= 0).mean() > 0.3
    assert off(flat).max() > 1.0  # mm
    assert off(round_).max() < 0.3 * off(flat).max()
    np.testing.assert_array_equal(round_[index < 0], flat[index < 0])
