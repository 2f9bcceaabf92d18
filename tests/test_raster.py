"""The rasteriser against a loop over every pixel and triangle."""

import numpy as np
import pytest
from surfaces import icosphere

from facecli import raster
from facecli.raster import corners_of, nearest, rasterize


def by_brute_force(vertices, faces, width, height):
    """The definition: each pixel, each triangle."""
    index, share = np.full((height, width), -1), np.zeros((height, width, 3))
    best = np.full((height, width), -np.inf)
    for number, (a, b, c) in enumerate(vertices[faces]):
        matrix = np.array([[a[0], b[0], c[0]], [a[1], b[1], c[1]], [1, 1, 1]])
        if not np.isfinite(matrix).all() or np.linalg.det(matrix) == 0:
            continue
        inverse = np.linalg.inv(matrix)
        for y in range(height):
            for x in range(width):
                weights = inverse @ [x, y, 1]
                z = weights @ [a[2], b[2], c[2]]
                if weights.min() >= -1e-9 and z > best[y, x]:
                    best[y, x], index[y, x], share[y, x] = z, number, weights
    return index, share


@pytest.mark.parametrize(
    ("seed", "spread", "count"), [(0, 3.0, 150), (1, 12.0, 60), (2, 60.0, 12), (3, 500.0, 8)]
)
def test_random_triangles_small_to_huge_are_drawn_by_definition(seed, spread, count):
    random = np.random.default_rng(seed)
    width, height = 37, 29
    centre = random.uniform(-4, 42, (count, 1, 2))
    places = centre + random.normal(size=(count, 3, 2)) * spread
    vertices = np.concatenate([places, random.normal(size=(count, 3, 1))], axis=2).reshape(-1, 3)
    faces = np.arange(count * 3, dtype=np.int32).reshape(-1, 3)
    got_index, got_share = rasterize(vertices, faces, width, height)
    want_index, want_share = by_brute_force(vertices, faces, width, height)
    np.testing.assert_array_equal(got_index, want_index)
    np.testing.assert_allclose(got_share, want_share, atol=1e-8)
    assert (want_index >= 0).mean() > 0.1


def test_vertices_on_pixel_centres_and_shared_edges_leave_no_gap_and_the_first_wins():
    vertices = np.array([[2, 2, 0], [8, 2, 0], [8, 8, 0], [2, 8, 0]], dtype=float)
    index, share = rasterize(vertices, np.array([[0, 1, 2], [0, 2, 3]], np.int32), 11, 11)
    expected = np.full((11, 11), -1)
    expected[2:9, 2:9] = 1
    expected[np.triu_indices(11)] = np.where(expected[np.triu_indices(11)] == 1, 0, -1)
    np.testing.assert_array_equal(index, expected)
    np.testing.assert_allclose(share.sum(2), index >= 0, atol=1e-12)


def test_larger_z_is_nearer_and_both_windings_are_drawn():
    vertices = np.array([[0, 0, 1], [9, 0, 1], [0, 9, 1], [0, 0, 2], [0, 9, 2], [9, 0, 2]], dtype=float)
    index, _ = rasterize(vertices, np.array([[0, 1, 2], [3, 4, 5]], np.int32), 10, 10)
    assert set(np.unique(index)) == {-1, 1}


def test_what_cannot_be_drawn_is_left_out():
    vertices = np.array(
        [
            [1, 1, 0],
            [5, 1, 0],
            [9, 1, 0],
            [np.nan, 0, 0],
            [np.inf, 3, 0],
            [1, 5, 0],
            [5, 9, 0],
            [-90, -90, 0],
            [-80, -90, 0],
        ]
    )
    faces = np.array([[0, 1, 2], [0, 0, 5], [3, 5, 6], [4, 5, 6], [7, 8, 7], [7, 8, 8]], np.int32)
    index, share = rasterize(vertices, faces, 12, 12)
    assert (index == -1).all() and not share.any()
    index, _ = rasterize(vertices, np.zeros((0, 3), np.int32), 5, 4)
    assert index.shape == (4, 5) and (index == -1).all()


@pytest.mark.parametrize("radius", [20.0, 90.0])
def test_silhouette_of_a_ball_has_the_area_of_its_disc(radius):
    vertices, faces = icosphere()
    screen = vertices * radius + np.float32([100.3, 99.6, 0])
    index, share = rasterize(screen, faces, 200, 200)
    assert (index >= 0).sum() == pytest.approx(np.pi * radius**2, rel=0.006)
    seen = index >= 0
    z = np.einsum("nk,nk->n", share[seen], screen[faces[index[seen]]][..., 2])
    y, x = np.nonzero(seen)
    truth = np.sqrt(np.clip(radius**2 - (x - 100.3) ** 2 - (y - 99.6) ** 2, 0, None))
    assert np.abs(z - truth)[truth > radius / 3].max() < 0.02 * radius  # the near side, everywhere


@pytest.mark.parametrize("at_once", [1, 500])
def test_triangles_in_small_portions_give_the_same_picture(monkeypatch, at_once):
    vertices, faces = icosphere(3)
    screen = vertices * 30.0 + np.float32([32, 32, 0])
    whole = rasterize(screen, faces, 64, 64)
    monkeypatch.setattr(raster, "_AT_ONCE", at_once)
    for got, wanted in zip(rasterize(screen, faces, 64, 64), whole, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_staggered_rows_are_seen_half_a_pixel_further_right():
    vertices, faces = icosphere(3)
    screen = vertices * 27.0 + np.float32([31.3, 30.1, 0])
    face = nearest(corners_of(screen, faces), 64, 62, 0.5).reshape(62, 64)
    np.testing.assert_array_equal(face[::2], rasterize(screen, faces, 64, 62)[0][::2])
    moved = rasterize(screen - np.float32([0.5, 0, 0]), faces, 64, 62)[0]
    np.testing.assert_array_equal(face[1::2], moved[1::2])


def test_a_sliver_neither_tears_a_hole_nor_stands_out():
    # Two large triangles in one plane, and one of next to no area along their common side.
    vertices = np.array([[0, 0, 0], [20, 0, 0], [20, 20, 0], [0, 20, 0], [10, 10 + 1e-11, 0]], float)
    faces = np.array([[0, 1, 2], [0, 2, 3], [0, 4, 2]], np.int32)
    index, share = rasterize(vertices, faces, 21, 21)
    assert (index >= 0).all() and (index < 2).all()
    assert share.min() > -1e-6 and np.abs(share.sum(2) - 1).max() < 1e-12
