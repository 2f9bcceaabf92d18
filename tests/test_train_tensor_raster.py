"""The batched rasteriser: the same pixels, the same places on them, as the compiled one."""

import numpy as np
import pytest
import torch
from heads import head_model, needs_assets, random_head

from facecli.train import raster as compiled
from facecli.train.sample import euler
from facecli.train.tensor import raster
from facecli.train.tensor.raster import Fan, interpolate, rasterize, rounded

SIZE = 96


def scattered(seed, count=200, spread=9.0):
    """Triangles of all sizes and both windings about a picture and past its border."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform(-10, SIZE + 10, (count, 1, 2))
    reach = rng.exponential(spread, (count, 1, 1))
    pixels = (middle + rng.normal(0, 1, (count, 3, 2)) * reach).reshape(-1, 2)
    depth = rng.uniform(300, 900, 3 * count)
    depth[rng.random(3 * count) < 0.01] = -1.0
    return pixels, depth, np.arange(3 * count, dtype=np.int32).reshape(-1, 3)


def together(meshes, **options):
    pixels, depth, faces = (torch.from_numpy(np.stack(a)) for a in zip(*meshes, strict=True))
    near = torch.where(depth > 1e-6, 1 / depth, -1.0)
    return rasterize(pixels, near, faces.long(), SIZE, **options)


def test_a_batch_is_drawn_as_one_mesh_after_another():
    meshes = [scattered(seed, spread=spread) for seed, spread in enumerate((3.0, 9.0, 40.0))]
    drawing = together(meshes, room=(60.0, 0.0))
    assert drawing.lost == 0
    for k, (pixels, depth, faces) in enumerate(meshes):
        index, bary, near = compiled.rasterize(pixels, depth, faces, SIZE, SIZE)
        assert (index >= 0).mean() > 0.03
        same = drawing.index[k].numpy() == index
        assert same.mean() > 0.9995
        np.testing.assert_allclose(drawing.bary[k].numpy()[same], bary[same], atol=1e-5)
        np.testing.assert_allclose(drawing.near[k].numpy()[same], near[same], rtol=1e-5)


def test_of_equally_near_faces_the_first_is_drawn():
    pixels, depth, faces = scattered(3)
    twice = np.concatenate([faces, faces])
    drawing = together([(pixels, depth, twice)], room=(60.0, 0.0))
    assert (drawing.index < len(faces)).all()


def test_faces_are_seen_from_both_sides_when_asked():
    pixels, depth, faces = scattered(4)
    front, turned, both = (
        together([(pixels, np.abs(depth), f)], room=(80.0, 0.0), both_sides=sides).drawn
        for f, sides in ((faces, False), (faces[:, ::-1].copy(), False), (faces, True))
    )
    assert torch.equal(front | turned, both)
    assert not torch.equal(front, both)


def test_what_is_not_accepted_shows_what_is_behind():
    corners = np.array([[-10.0, -10], [-10, 300], [300, -10]])
    pixels, depth = np.concatenate([corners, corners]), np.repeat([400.0, 500.0], 3)
    faces = np.arange(6, dtype=np.int32).reshape(2, 3)

    def but_the_left_half(owner, u, v, w):
        return (owner > 0) | (w * 310 - 10 > SIZE / 2 - 0.5)

    index = together([(pixels, depth, faces)], accept=but_the_left_half).index[0]
    columns = torch.arange(SIZE).expand(SIZE, -1)
    assert torch.equal(index, (columns < SIZE / 2).long())


def test_what_finds_no_room_is_counted():
    mesh = scattered(5, spread=40.0)
    full, cramped = together([mesh], room=(60.0, 0.0)), together([mesh], room=(2.0, 0.0))
    assert full.lost == 0
    assert cramped.lost > 0
    room = 2 * SIZE * SIZE
    exact = together([mesh], room=(0.0, (room + int(cramped.lost)) / SIZE**2))
    assert exact.lost == 0
    assert torch.equal(exact.index, full.index)


@pytest.mark.parametrize("room", [(30.0, 0.0), (0.0, 90.0)])
def test_room_that_is_left_over_changes_nothing(room, monkeypatch):
    """As on a device that is not asked how many candidates there are."""
    meshes = [scattered(seed) for seed in (1, 2)]
    counted = together(meshes, room=room)
    monkeypatch.setattr(raster, "as_on_a_gpu", lambda device: True)
    drawing = together(meshes, room=room)
    assert drawing.lost == 0
    assert torch.equal(drawing.index, counted.index) and torch.equal(drawing.bary, counted.bary)

    def none(owner, u, v, w):
        assert owner.max() < 2 * len(meshes[0][2])
        return torch.zeros_like(owner, dtype=torch.bool)

    assert not together(meshes, room=room, accept=none).drawn.any()
    assert not together([(m[0] + 1000, *m[1:]) for m in meshes], room=room).drawn.any()


def test_what_is_nowhere_has_a_place_however_much_room_is_left_over():
    pixels, depth, faces = scattered(1)
    tensors = (torch.from_numpy(array)[None] for array in (pixels, depth, faces))
    _, boxes, *_ = raster._set_up(*tensors, 512, False)
    _, columns, base, _ = boxes[-1].tolist()
    last = 2**31 - 1
    assert base + last // columns * 512 < last  # of whole numbers of 32 bits


def test_nothing_drawn_is_nothing():
    pixels, depth, faces = scattered(6)
    drawing = together([(pixels + 1000, depth, faces)])
    assert not drawing.drawn.any()
    assert not drawing.bary.any() and not drawing.near.any()


@needs_assets
@pytest.mark.parametrize("yaw", [-80, 0, 35])
def test_a_head_is_drawn_as_the_compiled_one(yaw):
    model = head_model()
    vertices = random_head(7)
    placed = (vertices @ (np.diag([1.0, -1, -1]) @ euler(np.deg2rad(yaw), 0.1)).T + [0, 0, 700]).astype(
        np.float32
    )
    pixels = placed[:, :2] / placed[:, 2:].astype(np.float64) * 1000 * SIZE / 400 + SIZE / 2
    index, bary, _ = compiled.rasterize(pixels, placed[:, 2], model.faces, SIZE, SIZE)
    faces = torch.from_numpy(model.faces).long()[None]
    drawing = rasterize(
        torch.from_numpy(pixels)[None], 1 / torch.from_numpy(placed[:, 2])[None].double(), faces, SIZE
    )
    same = drawing.index[0].numpy() == index
    assert same.mean() > 0.999
    values = torch.from_numpy(placed)[None]
    mine = interpolate(values, faces, drawing.index, drawing.bary)[0].numpy()
    theirs = compiled.interpolate(placed, model.faces, index, bary)
    np.testing.assert_allclose(mine[same], theirs[same], atol=1e-3)

    normals = compiled.vertex_normals(placed, model.faces)
    round_ = compiled.rounded(theirs, placed, normals, model.faces, index, bary)
    assert np.abs(round_ - theirs).max() > 0.05  # mm
    batch = torch.from_numpy(np.stack([placed, placed]))  # of two, to see that each has its own corners
    upright, flat = (
        torch.from_numpy(np.stack([normals, normals])),
        torch.from_numpy(mine).expand(2, -1, -1, -1),
    )
    both = (drawn.expand(2, *drawn.shape[1:]) for drawn in (drawing.index, drawing.bary))
    for mine_round in rounded(flat, batch, upright, faces[0], *both).numpy():
        np.testing.assert_allclose(mine_round[same], round_[same], atol=1e-3)


@needs_assets
def test_normals_of_a_batch():
    model = head_model()
    heads = np.stack([random_head(seed) for seed in (1, 2)])
    fan = Fan(torch.from_numpy(model.faces).long(), len(model.neutral))
    normals = fan.normals(torch.from_numpy(heads)).numpy()
    for mine, head in zip(normals, heads, strict=True):
        np.testing.assert_allclose(mine, compiled.vertex_normals(head, model.faces), atol=1e-5)
