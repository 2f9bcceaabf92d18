"""The rasteriser against a loop over every pixel and triangle; the pictures against what they must show."""

import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from surfaces import landmarks, person_point, scene

from facecli.crop import CROP
from facecli.mesh import Mesh, grid_mesh, vertex_normals
from facecli.render import PANEL, _opacity, preview, rasterize, shade


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


def icosphere(divisions=4):
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=divisions)
    return ball.vertices.astype(np.float32), ball.faces.astype(np.int32)


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


def ball_mesh():
    vertices, faces = icosphere()
    vertices = vertices * np.float32(0.09)
    colors = np.full(vertices.shape, 128, np.uint8)
    return Mesh(
        vertices, faces, vertex_normals(vertices, faces), colors, np.zeros((len(vertices), 2), np.float32)
    )


def empty_mesh():
    three = np.zeros((0, 3), np.float32)
    return Mesh(
        three, np.zeros((0, 3), np.int32), three, np.zeros((0, 3), np.uint8), np.zeros((0, 2), np.float32)
    )


def test_clay_ball_is_lit_from_above_left_before_a_dark_backdrop():
    picture = shade(ball_mesh(), 0.0, 200)
    backdrop = shade(empty_mesh(), 0.0, 200)
    assert picture.shape == (200, 200, 3) and picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[0], backdrop[0])
    assert (np.ptp(backdrop.astype(int), axis=2) < 12).all() and backdrop.max() < 110  # all but grey
    brightness = cv2.GaussianBlur(picture.astype(np.float32).mean(2), (0, 0), 2)
    ball = (picture != backdrop).any(2)
    assert 0.2 < ball.mean() < 0.6
    assert brightness[75, 75] > brightness[125, 125] + 30
    assert brightness[ball].min() > 15 and brightness[ball].max() < 253  # nothing drowned, nothing burnt out


def test_colours_are_the_meshs_own_under_the_same_outline():
    mesh = replace(ball_mesh(), colors=np.tile(np.uint8([200, 60, 40]), (len(ball_mesh().vertices), 1)))
    clay, coloured = shade(mesh, 0.0, 96), shade(mesh, 0.0, 96, colors=True)
    backdrop = shade(empty_mesh(), 0.0, 96)
    np.testing.assert_array_equal((clay != backdrop).any(2), (coloured != backdrop).any(2))
    red, green, blue = coloured[40, 44].astype(int)
    assert red > 150 and red - green > 60 and green > blue


def test_an_open_edge_fades_out_and_a_closed_surface_has_none():
    _, _, mesh, _ = fake_face(swollen=False)
    opacity = _opacity(mesh.faces, len(mesh.vertices))
    edges = np.sort(mesh.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    pairs, count = np.unique(edges, axis=0, return_counts=True)
    rim = np.unique(pairs[count == 1])
    assert (opacity[rim] == 0).all() and (opacity == 0).sum() == len(rim)
    next_to = np.setdiff1d(pairs[np.isin(pairs, rim).any(1)].ravel(), rim)
    assert (opacity[next_to] < 1).all() and (opacity > 0.999).mean() > 0.8
    assert (_opacity(ball_mesh().faces, len(ball_mesh().vertices)) == 1).all()


def test_edges_are_anti_aliased():
    picture = shade(ball_mesh(), 0.0, 128).astype(int)
    backdrop = shade(empty_mesh(), 0.0, 128).astype(int)
    row, plain = picture[64].mean(1), backdrop[64].mean(1)
    edge = np.flatnonzero(np.abs(row - plain) > 2)[0]
    assert np.abs(row[edge + 2] - plain[edge]) > 4
    finer = shade(ball_mesh(), 0.0, 512).reshape(128, 4, 128, 4, 3).mean((1, 3))
    assert np.abs(finer - picture).mean() < 2


def fake_face(size=128, **where):
    truth = scene(size=size, **where)
    light = np.clip(255 * (truth.positions[..., 2] > 0), 0, 255)
    photo = np.repeat(light[..., None], 3, axis=2).astype(np.uint8)
    mesh = grid_mesh(truth.positions, truth.mask, photo, truth.pose)
    places = truth.camera.project(truth.pose.to_camera(person_point(landmarks())))
    return truth, photo, mesh, places


def test_yaw_turns_the_nose_to_the_pictures_right():
    _, _, mesh, _ = fake_face(swollen=False)
    tip = []
    for yaw in (-35.0, 0.0, 35.0):
        backdrop = shade(empty_mesh(), yaw, 200)
        nose = Mesh(
            mesh.vertices,
            mesh.faces[(mesh.vertices[mesh.faces, 2] > 0.1).all(1)],
            mesh.normals,
            mesh.colors,
            mesh.uv,
        )
        tip.append(np.nonzero((shade(nose, yaw, 200) != backdrop).any(2))[1].mean())
    assert tip[0] < 85 and abs(tip[1] - 99.5) < 3 and tip[2] > 114


def test_preview_has_five_panels_and_the_overlay_lies_on_the_face():
    truth, photo, mesh, places = fake_face(yaw=25.0, pitch=5.0, roll=20.0, distance=400.0)
    photo[...] = np.where(truth.mask[..., None], [220, 40, 40], [20, 20, 200])
    strip = preview(photo, mesh, truth.camera, truth.pose, truth.crop, places)
    assert strip.shape == (PANEL, 5 * PANEL, 3) and strip.dtype == np.uint8
    panels = np.split(strip, 5, axis=1)
    np.testing.assert_array_equal(panels[2], shade(mesh, 0.0, PANEL))
    np.testing.assert_array_equal(panels[3], shade(mesh, 35.0, PANEL))  # the side that the photo shows
    np.testing.assert_array_equal(panels[4], shade(mesh, 35.0, PANEL, colors=True))
    # Clay hides most of the photo's red; blue around it is untouched.
    overlay = strip[:, PANEL : 2 * PANEL].astype(int)
    mask = cv2.resize(truth.mask.astype(np.uint8), (PANEL, PANEL), interpolation=cv2.INTER_NEAREST) > 0
    solid = cv2.erode(mask.astype(np.uint8), np.ones((17, 17), np.uint8)) > 0
    away = cv2.dilate(mask.astype(np.uint8), np.ones((17, 17), np.uint8)) == 0
    assert (overlay[solid][:, 1] > 55).mean() > 0.95
    near_photo = np.abs(overlay - np.int64([20, 20, 200])).max(2) < 12
    assert near_photo[away].mean() > 0.97  # all but dots of hidden landmarks
    for x, y in (truth.crop.to_crop(places[[30, 33, 48]]) + 0.5) * PANEL / CROP - 0.5:
        red, green, blue = overlay[round(y), round(x)]
        assert red > 150 and green > 120 and blue < 150  # a yellow dot


def test_the_whole_face_stands_in_the_last_panels():
    truth, photo, mesh, places = fake_face(size=64, yaw=-25.0)
    strip = preview(photo, mesh, truth.camera, truth.pose, truth.crop, places, ball_mesh())
    np.testing.assert_array_equal(strip[:, 3 * PANEL : 4 * PANEL], shade(ball_mesh(), -35.0, PANEL))
    other = preview(photo, mesh, truth.camera, truth.pose, truth.crop, places)
    np.testing.assert_array_equal(strip[:, : 2 * PANEL], other[:, : 2 * PANEL])


def test_preview_survives_a_mesh_of_nothing_and_landmarks_of_nowhere():
    truth, photo, _, places = fake_face(size=64)
    places[0], places[1] = np.nan, 1e12
    strip = preview(photo, empty_mesh(), truth.camera, truth.pose, truth.crop, places)
    assert strip.shape == (PANEL, 5 * PANEL, 3)


def test_same_mesh_gives_the_same_picture():
    _, _, mesh, _ = fake_face()
    np.testing.assert_array_equal(shade(mesh, 20.0, 128), shade(mesh, 20.0, 128))


def test_a_panel_takes_tenths_of_a_second():
    _, _, mesh, _ = fake_face(size=256)
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        shade(mesh, -35.0, PANEL)
        best = min(best, time.perf_counter() - start)
    assert best < 1.0, best  # 0.1 s on an idle core; the slack is for busy machines
