"""The pixel grid's mesh: manifold, outward, exact under re-projection, cut where the surface is."""

import time

import numpy as np
import pytest
from surfaces import scene

from facecli.mesh import Mesh, grid_mesh, vertex_normals


def build(truth, mask=None, positions=None):
    height, width = truth.mask.shape
    y, x = np.mgrid[:height, :width]
    colors = np.stack([x % 256, y % 256, (x + y) % 256], axis=-1).astype(np.uint8)
    positions = truth.positions if positions is None else positions
    return grid_mesh(positions, truth.mask if mask is None else mask, colors, truth.pose)


def edges_of(faces):
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def assert_sound(mesh: Mesh):
    """Every promise about the topology, in one place."""
    directed, counts = np.unique(edges_of(mesh.faces), axis=0, return_counts=True)
    assert (counts == 1).all(), "two triangles run the same way along an edge"
    _, counts = np.unique(np.sort(directed, axis=1), axis=0, return_counts=True)
    assert counts.max() <= 2, "an edge of more than two triangles"
    assert (np.unique(mesh.faces) == np.arange(len(mesh.vertices))).all(), "an unreferenced vertex"
    a, b, c = (mesh.vertices[mesh.faces[:, k]].astype(float) for k in range(3))
    assert np.linalg.norm(np.cross(b - a, c - a), axis=1).min() > 1e-10, "a degenerate triangle"
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-5)
    assert len(np.unique(mesh.vertices, axis=0)) == len(mesh.vertices)


def facing(mesh, pose):
    """Cosine between each triangle's normal and the way to the camera."""
    placed = pose.to_camera(mesh.vertices.astype(float) * 1000)
    a, b, c = (placed[mesh.faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    middle = (a + b + c) / 3
    return -(normal * middle).sum(1) / np.linalg.norm(normal, axis=1) / np.linalg.norm(middle, axis=1)


@pytest.mark.parametrize(
    ("yaw", "pitch", "roll", "distance"),
    [(0.0, 0.0, 0.0, 600.0), (40.0, -10.0, 25.0, 300.0), (-80.0, 10.0, 0.0, 1500.0)],
)
def test_mesh_is_sound_faces_the_camera_and_reprojects_to_its_pixels(yaw, pitch, roll, distance):
    truth = scene(yaw, pitch, roll, distance, size=128)
    mesh = build(truth)
    assert_sound(mesh)
    assert facing(mesh, truth.pose).min() > 0
    x, y = np.round(mesh.uv * 128 - 0.5).astype(int).T
    np.testing.assert_allclose(mesh.uv, np.stack([(x + 0.5) / 128, (y + 0.5) / 128], 1), atol=1e-7)
    seen = truth.camera.project(truth.pose.to_camera(mesh.vertices.astype(np.float64) * 1000))
    assert np.abs(seen - truth.pixels[y, x]).max() < 1e-3
    np.testing.assert_allclose(truth.pose.to_camera(mesh.vertices * 1000.0), truth.positions[y, x], atol=1e-3)
    np.testing.assert_array_equal(mesh.colors, np.stack([x, y, x + y], 1))
    assert truth.mask[y, x].all() and len(mesh.vertices) > 0.93 * truth.mask.sum()


def test_mesh_is_in_metres_of_the_head_with_the_nose_to_z_and_the_chin_down():
    mesh = build(scene(30.0, 10.0, -20.0, 500.0, swollen=False))
    nose = mesh.vertices[np.argmax(mesh.vertices[:, 2])]
    np.testing.assert_allclose(nose, [0, -0.019, 0.113], atol=0.004)
    assert mesh.vertices[:, 1].min() < -0.08 and np.abs(mesh.vertices).max() < 0.13
    assert (mesh.vertices * mesh.normals).sum(1).mean() > 0.05  # outwards


def test_vertex_normals_agree_with_the_surface():
    truth = scene(swollen=False, size=256)
    mesh = build(truth)
    inner = (np.abs(mesh.vertices[:, 0]) < 0.04) & (mesh.vertices[:, 1] > 0.04)
    from surfaces import outline

    def level(points):
        distance = np.linalg.norm(points, axis=1)
        return distance - outline(points / distance[:, None])

    points = mesh.vertices[inner].astype(float) * 1000
    gradient = np.stack([level(points + step) - level(points - step) for step in np.eye(3) * 0.01], axis=1)
    gradient /= np.linalg.norm(gradient, axis=1, keepdims=True)
    angle = np.degrees(np.arccos(np.clip((gradient * mesh.normals[inner]).sum(1), -1, 1)))
    assert angle.max() < 1


def test_surface_is_cut_at_a_step_and_both_sides_are_kept():
    truth = scene(size=64)
    positions = truth.positions.copy()
    positions[:, 32:] *= 1.1
    mesh = build(truth, positions=positions)
    assert_sound(mesh)
    column = np.round(mesh.uv[:, 0] * 64 - 0.5).astype(int)
    side = column[mesh.faces] >= 32
    assert (side.all(1) | ~side.any(1)).all() and side.any() and not side.all()


def raised(truth, rows, columns):
    """The same surface with a part of it a tenth nearer to the camera."""
    positions = truth.positions.copy()
    positions[rows, columns] *= 0.9
    return positions


def rims(mesh):
    """How many closed lines the open edges make."""
    directed = edges_of(mesh.faces)
    key = directed @ [len(mesh.vertices), 1]
    follows = dict(directed[~np.isin(key, directed[:, ::-1] @ [len(mesh.vertices), 1])])
    count = 0
    while follows:
        count += 1
        _, at = follows.popitem()
        while at in follows:
            at = follows.pop(at)
    return count


def test_a_gap_amid_the_surface_becomes_a_wall():
    """As of a nose, which hides its own flank."""
    truth = scene(size=64)
    inside = truth.mask.copy()
    inside[:, :20] = inside[:, 44:] = inside[:20] = inside[44:] = False
    assert inside.sum() == 24 * 24, "all around there is surface"
    mesh = build(truth, positions=raised(truth, slice(20, 44), slice(20, 44)))
    assert_sound(mesh)
    assert len(mesh.vertices) == len(build(truth).vertices)
    assert rims(mesh) == 1
    assert facing(mesh, truth.pose).min() > 0, "no wall hangs over"


def test_a_gap_that_is_open_to_a_side_stays_open():
    truth = scene(size=64)
    mesh = build(truth, positions=raised(truth, slice(20, None), slice(20, 44)))
    assert_sound(mesh)
    row, column = np.round(mesh.uv[:, ::-1] * 64 - 0.5).astype(int).T
    near = ((row >= 20) & (column >= 20) & (column < 44))[mesh.faces]
    assert (near.all(1) | ~near.any(1)).all() and near.any() and not near.all()


def test_no_teeth_hang_from_a_cut_that_stays_open():
    """Along a cut the maps blur: pixels lie between what is before it and what is behind it, in each row elsewhere."""
    truth = scene(size=64)
    share = np.zeros(truth.mask.shape)
    for row in range(20, 64):
        first = 20 + row // 6 % 3
        share[row, first:44] = 1
        share[row, first - 1] = 0.2  # near enough to the near side to hang together with it
    mesh = build(truth, positions=truth.positions * (1 + 0.2 * share)[..., None])
    assert_sound(mesh)
    row, column = np.round(mesh.uv[:, ::-1] * 64 - 0.5).astype(int).T
    assert (share[row, column] == 1).sum() > 500
    assert not (share[row, column] == 0.2).any()


def test_a_hand_before_the_face_is_no_gap():
    truth = scene(size=64)
    mask = truth.mask.copy()
    mask[28:36, 28:36] = False
    mesh = build(truth, mask=mask, positions=raised(truth, slice(24, 40), slice(24, 40)))
    assert_sound(mesh)
    assert rims(mesh) >= 2
    row, column = np.round(mesh.uv[:, ::-1] * 64 - 0.5).astype(int).T
    assert mask[row, column].all()


def test_a_small_piece_that_hangs_on_the_rest_by_a_line_without_triangles_is_dropped():
    truth = scene()
    y, x = np.argwhere(truth.mask).mean(0).astype(int)
    mask = np.zeros_like(truth.mask)
    mask[y - 30 : y + 10, x - 20 : x + 20] = True
    mask[y + 10 : y + 14, x] = True  # a line one pixel wide
    mask[y + 14 : y + 19, x - 3 : x + 4] = True
    mesh = build(truth, mask)
    assert_sound(mesh)
    rows = np.round(mesh.uv[:, 1] * len(mask) - 0.5)
    assert rows.min() == y - 30 and y + 9 <= rows.max() <= y + 11
    assert len(mesh.vertices) >= 1600


def test_islands_and_crumbs_are_dropped():
    truth = scene(size=128)
    mask = truth.mask.copy()
    mask[64] = False  # two large pieces
    crumbs = np.zeros_like(mask)
    crumbs[30:34, 60:64] = True
    ring = np.zeros_like(mask)
    ring[28:36, 58:66] = True
    mask &= ~ring | crumbs  # a crumb of 16 pixels in a hole
    mesh = build(truth, mask)
    assert_sound(mesh)
    x, y = np.round(mesh.uv * 128 - 0.5).astype(int).T
    assert not crumbs[y, x].any()
    assert (y < 64).any() and (y > 64).any()


def test_random_masks_and_depths_give_sound_meshes():
    truth = scene(size=64)
    random = np.random.default_rng(0)
    for density in (0.3, 0.6, 0.9):
        mask = random.random((64, 64)) < density
        depth = 600 + random.normal(size=(64, 64)) * random.choice([0.5, 5, 20])
        mesh = build(truth, mask, truth.rays * depth[..., None])
        if len(mesh.faces):
            assert_sound(mesh)
            assert facing(mesh, truth.pose).min() > 0


def test_what_is_outside_the_mask_or_not_finite_never_gets_in():
    truth = scene(size=64)
    spoilt = np.where(truth.mask[..., None], truth.positions, np.nan)
    clean, same = build(truth), build(truth, positions=spoilt)
    np.testing.assert_array_equal(clean.vertices, same.vertices)
    np.testing.assert_array_equal(clean.faces, same.faces)
    hole = truth.positions.copy()
    hole[30, 30], hole[31, 31] = np.nan, [0, 0, -5]
    mesh = build(truth, positions=hole)
    assert_sound(mesh)
    assert np.isfinite(mesh.vertices).all() and len(mesh.vertices) == len(clean.vertices) - 2


@pytest.mark.parametrize("pixels", [0, 1, 2])
def test_too_few_pixels_give_an_empty_mesh(pixels):
    truth = scene(size=32)
    mask = np.zeros((32, 32), dtype=bool)
    mask[16, 16 : 16 + pixels] = True
    mesh = build(truth, mask)
    assert [len(part) for part in (mesh.vertices, mesh.faces, mesh.normals, mesh.colors, mesh.uv)] == [0] * 5


def test_three_pixels_make_one_triangle():
    truth = scene(size=32)
    for missing in [(16, 16), (16, 17), (17, 16), (17, 17)]:
        mask = np.zeros((32, 32), dtype=bool)
        mask[16:18, 16:18] = True
        mask[missing] = False
        mesh = build(truth, mask)
        assert_sound(mesh)
        assert len(mesh.faces) == 1 and facing(mesh, truth.pose).min() > 0


def test_same_input_gives_the_same_bytes():
    truth = scene(size=64)
    assert build(truth).faces.tobytes() == build(truth).faces.tobytes()


def test_normal_of_a_vertex_without_triangles_is_defined():
    normals = vertex_normals(np.zeros((2, 3)), np.zeros((0, 3), np.int32))
    np.testing.assert_array_equal(normals, [[0, 0, 1], [0, 0, 1]])


@pytest.mark.parametrize("diagonals", range(8))
def test_normal_of_a_corner_does_not_depend_on_how_its_sides_are_cut(diagonals):
    """Three walls of a box, each two triangles by either diagonal, one of them ten times as long."""
    corner, x, y, z = np.zeros(3), np.array([10.0, 0, 0]), np.array([0, 1.0, 0]), np.array([0, 0, 1.0])
    vertices = np.array([corner, x, y, z, x + y, y + z, z + x])
    walls = [(0, 2, 4, 1), (0, 3, 5, 2), (0, 1, 6, 3)]
    faces = []
    for number, (a, b, c, d) in enumerate(walls):
        faces += [(a, b, c), (a, c, d)] if diagonals >> number & 1 else [(a, b, d), (b, c, d)]
    normals = vertex_normals(vertices, np.array(faces, np.int32))
    np.testing.assert_allclose(normals[0], -np.ones(3) / np.sqrt(3), atol=1e-6)


def test_a_triangle_without_area_bends_no_normal():
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [2, 0, 0]])
    faces = np.array([[0, 1, 2], [0, 1, 3], [1, 1, 2]], np.int32)
    np.testing.assert_array_equal(vertex_normals(vertices, faces)[:3], [[0, 0, 1]] * 3)


def test_a_crop_of_256_takes_milliseconds():
    truth = scene(size=256)
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        build(truth)
        best = min(best, time.perf_counter() - start)
    assert best < 0.2, best  # 25 ms on an idle core; the slack is for busy machines


def test_to_trimesh_keeps_every_vertex_and_its_order():
    mesh = build(scene(20.0, 0.0, 0.0, 600.0, size=64))
    theirs = mesh.to_trimesh()
    assert np.array_equal(theirs.vertices, mesh.vertices)
    assert np.array_equal(theirs.faces, mesh.faces)
    assert np.array_equal(theirs.visual.vertex_colors[:, :3], mesh.colors)
