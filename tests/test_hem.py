"""The open edge of a pixel mesh: smooth, on the surface, where its uv says, and nothing else moved."""

import numpy as np
import pytest
from surfaces import outline, scene
from test_mesh import assert_sound, build, edges_of, facing

from facecli.hem import hemmed

SIZE = 128


def rim_of(mesh):
    edges = {tuple(edge) for edge in edges_of(mesh.faces)}
    return np.unique([edge for edge in edges if edge[::-1] not in edges])


def disc(truth):
    """A mask whose edge is a circle, its middle, and its radius."""
    y, x = np.mgrid[:SIZE, :SIZE]
    middle, radius = np.array([64.3, 70.6]), 24.4
    return truth.mask & (np.hypot(x - middle[0], y - middle[1]) < radius), middle, radius


@pytest.mark.parametrize(("yaw", "roll"), [(0.0, 0.0), (30.0, 20.0)])
def test_a_round_region_ends_in_a_round_line(yaw, roll):
    truth = scene(yaw, 0.0, roll, 600.0, size=SIZE)
    mask, middle, _ = disc(truth)
    stairs = build(truth, mask)
    smooth = hemmed(stairs, truth.pose, SIZE)
    rim = rim_of(stairs)
    spread = [np.linalg.norm(mesh.uv[rim] * SIZE - 0.5 - middle, axis=1).std() for mesh in (stairs, smooth)]
    assert spread[0] > 0.25 and spread[1] < 0.45 * spread[0]


@pytest.mark.parametrize(("yaw", "distance"), [(0.0, 600.0), (40.0, 300.0), (-80.0, 1500.0)])
def test_the_edge_stays_on_the_surface_and_within_its_pixels(yaw, distance):
    truth = scene(yaw, -10.0, 25.0, distance, size=SIZE, swollen=False)
    stairs = build(truth)
    smooth = hemmed(stairs, truth.pose, SIZE)
    assert_sound(smooth)
    assert facing(smooth, truth.pose).min() > 0
    rim = rim_of(stairs)
    inner = np.setdiff1d(np.arange(len(stairs.vertices)), rim)
    for name in ("vertices", "uv"):
        np.testing.assert_array_equal(getattr(smooth, name)[inner], getattr(stairs, name)[inner])
    for name in ("faces", "colors", "normals"):
        np.testing.assert_array_equal(getattr(smooth, name), getattr(stairs, name))
    assert 0.2 < np.abs(smooth.uv - stairs.uv)[rim].max() * SIZE < 0.5
    seen = truth.camera.project(truth.pose.to_camera(smooth.vertices.astype(np.float64) * 1000))
    crop = truth.crop.to_crop(seen)
    off = np.linalg.norm((crop + 0.5) * SIZE / 256 - smooth.uv * SIZE, axis=1)
    assert off.max() < 1e-3

    def above(mesh):
        points = mesh.vertices[rim].astype(np.float64) * 1000
        distance = np.linalg.norm(points, axis=1)
        return np.abs(distance - outline(points / distance[:, None]))

    assert (
        above(stairs).max() < 0.01
        and np.quantile(above(smooth), 0.95) < 0.5
        and np.median(above(smooth)) < 0.05
    )


def test_random_regions_and_depths_stay_sound():
    truth = scene(size=64)
    random = np.random.default_rng(1)
    for density in (0.3, 0.45, 0.6, 0.75, 0.9):
        for roughness in (0.0, 0.5, 5.0):
            depth = 600 + roughness * random.normal(size=(64, 64))
            mesh = build(truth, random.random((64, 64)) < density, truth.rays * depth[..., None])
            smooth = hemmed(mesh, truth.pose, 64)
            assert_sound(smooth)
            assert facing(smooth, truth.pose).min() > 0
            assert np.abs(smooth.uv - mesh.uv).max() * 64 < 0.5


def test_an_empty_mesh_stays_empty():
    truth = scene(size=64)
    assert len(hemmed(build(truth, np.zeros_like(truth.mask)), truth.pose, 64).vertices) == 0


def test_one_triangle_stays_as_it_was():
    truth = scene(size=64)
    mask = np.zeros_like(truth.mask)
    mask[30:32, 30:32] = True
    mask[31, 31] = False
    mesh = build(truth, mask)
    assert len(mesh.faces) == 1
    np.testing.assert_array_equal(hemmed(mesh, truth.pose, 64).faces, mesh.faces)
    assert_sound(hemmed(mesh, truth.pose, 64))
