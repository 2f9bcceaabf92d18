"""Light: spherical harmonics, shadow, occlusion and relief on surfaces with known answers."""

import numpy as np
import pytest
import trimesh

from facecli.train.lift import spherical_harmonics
from facecli.train.light import COSINE_LOBE, Light, basis, directions_of_map
from facecli.train.raster import unit
from facecli.train.shade import WRAP, ambient_occlusion, bump, shade, visible_from


def sphere(radius=80.0):
    made = trimesh.creation.icosphere(4, radius)
    return made.vertices.astype(np.float64), np.asarray(made.faces, np.int32)


def test_the_basis_is_orthonormal():
    directions, solid = directions_of_map()
    products = np.einsum("hwi,hwj,hw->ij", basis(directions), basis(directions), solid)
    np.testing.assert_allclose(products, np.eye(9), atol=2e-3)
    np.testing.assert_allclose(solid.sum(), 4 * np.pi, rtol=1e-3)


def test_a_sky_of_one_gives_an_irradiance_of_pi():
    directions, solid = directions_of_map()
    coefficients = np.einsum("hwk,hw->k", basis(directions), solid) * COSINE_LOBE
    normals = np.eye(3)
    np.testing.assert_allclose(basis(normals) @ coefficients, np.pi, rtol=2e-3)


def test_lifting_and_shading_span_the_same_functions():
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(200, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    ours = spherical_harmonics(normals)
    fitted = basis(normals) @ np.linalg.lstsq(basis(normals), ours, rcond=None)[0]
    np.testing.assert_allclose(fitted, ours, atol=1e-4)


@pytest.mark.parametrize("direction", [[0.0, 0, 1], [0, 1, 0], [0.6, -0.64, 0.48]])
def test_the_lit_half_of_a_sphere_sees_the_lamp(direction):
    vertices, faces = sphere()
    direction = np.array(direction, float)
    seen = visible_from(vertices, faces, direction, vertices, 2.0)
    height = vertices @ direction
    assert (seen[height > 20] == 1).all()
    assert (seen[height < -20] == 0).all()


def test_something_in_front_casts_a_shadow():
    vertices, faces = sphere(20.0)
    lamp, points = (
        np.array([0.0, 0, 1]),
        np.array([[0.0, 0, -60], [15.0, 0, -60], [28.0, 0, -60], [0.0, 0, 60]]),
    )
    both = np.r_[vertices, vertices + np.array([60.0, 0, 0])]
    seen = visible_from(both, np.r_[faces, faces + len(vertices)], lamp, points, 1.0)
    assert seen.tolist() == [0.0, 0.0, 1.0, 1.0]


def test_nothing_shades_a_sphere_from_the_sky():
    vertices, faces = sphere()
    open_sky = ambient_occlusion(vertices, vertices / 80.0, faces)
    assert open_sky.min() > 0.9
    assert open_sky.max() <= 1.0


def test_a_ball_next_to_a_sphere_darkens_the_side_it_is_on():
    vertices, faces = sphere()
    both = np.r_[vertices, vertices + np.array([170.0, 0, 0])]
    occlusion = ambient_occlusion(
        both, np.r_[vertices, vertices] / 80.0, np.r_[faces, faces + len(vertices)]
    )[: len(vertices)]
    towards = vertices[:, 0] / 80.0
    assert occlusion[towards > 0.9].mean() < 0.7
    assert occlusion[towards < -0.2].min() > 0.9


def test_relief_tilts_the_normal_by_its_slope():
    step, slope = 0.5, 0.2  # mm per pixel; mm of height per mm to the right
    x, y = np.meshgrid(np.arange(32) * step, np.arange(32) * step)
    positions = np.dstack([x, y, np.full_like(x, 500.0)]).astype(np.float32)
    normals = np.zeros_like(positions)
    normals[..., 2] = -1  # towards the camera
    tilted = bump(normals, positions, (slope * x).astype(np.float32))[16, 16]
    np.testing.assert_allclose(tilted, np.array([-slope, 0, -1]) / np.hypot(slope, 1), atol=1e-4)
    np.testing.assert_allclose(bump(normals, positions, np.zeros((32, 32), np.float32)), normals, atol=1e-6)


def test_skin_without_gloss_is_albedo_times_the_irradiance_of_the_basis():
    """The compiled harmonics are those of `light.basis`, the lamp's share falls off as the wrapped cosine."""
    rng = np.random.default_rng(0)
    count = 200
    normals, view = (unit(rng.normal(size=(count, 3)).astype(np.float32)) for _ in range(2))
    albedo = rng.random((count, 3), np.float32)
    occlusion, seen = rng.random((2, count), np.float32)
    harmonics = rng.normal(0, 0.3, (9, 3)).astype(np.float32)
    lamp = np.array([0.6, 0.0, 0.8], np.float32)
    light = Light(harmonics, np.ones((8, 16, 3), np.float32), lamp, np.array([1.0, 2, 3], np.float32))
    made = shade(albedo, normals, view, occlusion, seen, np.zeros(count, np.float32), light)
    ambient = np.maximum(basis(normals) @ harmonics, 0.02) * occlusion[:, None]
    direct = (
        np.maximum(((normals @ lamp)[:, None] + WRAP) / (1 + WRAP), 0) * seen[:, None] * light.lamp_colour
    )
    np.testing.assert_allclose(made, albedo * (ambient + direct), rtol=1e-4, atol=1e-5)


def test_gloss_shows_the_mirrored_sky_and_the_lamp():
    """Looked at from straight ahead, a mirror that faces the camera shows what is behind it; the lamp is brightest."""
    mirror = np.zeros((8, 16, 3), np.float32)
    mirror[3:5, 7:9] = 5.0  # straight ahead
    ahead = np.array([[0.0, 0, 1]], np.float32)
    dark, one = np.zeros((9, 3), np.float32), np.ones(1, np.float32)
    nothing, white = np.zeros(3, np.float32), np.ones(3, np.float32)

    def shine(lamp_colour, seen, normals=ahead):
        light = Light(dark, mirror, ahead[0], lamp_colour)
        return shade(np.zeros((1, 3), np.float32), normals, ahead, one, seen, one, light)[0, 0]

    assert shine(nothing, one) == pytest.approx(5 * 0.028, rel=1e-4)
    assert shine(white, one) > shine(nothing, one)
    assert shine(white, 0 * one) == shine(nothing, one)
    aside = unit(np.array([[1.0, 0, 1]], np.float32))
    assert shine(nothing, one, aside) == 0  # mirrors what is to the right, which is dark


def test_the_way_to_the_camera_may_be_of_any_length_and_nothing_is_black():
    rng = np.random.default_rng(1)
    normals, view = (unit(rng.normal(size=(64, 3)).astype(np.float32)) for _ in range(2))
    albedo, mirror = rng.random((64, 3), np.float32), rng.random((8, 16, 3), np.float32)
    lamp, white, one = (
        unit(np.array([[1.0, 2, 2]], np.float32))[0],
        np.ones(3, np.float32),
        np.ones(64, np.float32),
    )
    light = Light(rng.normal(0, 0.3, (9, 3)).astype(np.float32), mirror, lamp, white)
    made = shade(albedo, normals, view, one, one, one, light)
    assert made.min() > 0
    far = shade(albedo, normals, view * 700, one, one, one, light)
    np.testing.assert_allclose(far, made, rtol=0.01, atol=1e-4)
    flip = np.array([1, -1, -1], np.float32)  # of the camera frame
    np.testing.assert_array_equal(
        shade(albedo, normals * flip, view * flip, one, one, one, light, flip), made
    )
    normals[::2] = 0
    there = shade(albedo, normals, view, one, one, one, light)
    assert not there[::2].any()
    np.testing.assert_array_equal(there[1::2], made[1::2])
