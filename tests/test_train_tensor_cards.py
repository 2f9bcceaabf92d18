"""Hair and garments of a batch: the same shells, the same pixels as the compiled path's."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from heads import ASSETS, head_model, needs_assets, random_head
from staged import CPU, batch, batch_of

from facecli.train import garment as compiled
from facecli.train.garment import BANK, SORTS, Wardrobe, bank
from facecli.train.hair import Hair, draw_hair, lay, load_hair
from facecli.train.light import Light
from facecli.train.props import Projection
from facecli.train.raster import rasterize, vertex_normals
from facecli.train.sample import euler
from facecli.train.tensor import cards, garment
from facecli.train.tensor.dice import Dice
from facecli.train.tensor.garment import Closet, Garments
from facecli.train.tensor.hair import Styles
from facecli.train.tensor.head import Camera

SIZE = 256
RNG = np.random.default_rng(0)
GREY = np.r_[np.full((1, 3), 3.0), np.zeros((8, 3))].astype(np.float32)
LIGHT = Light(
    GREY, np.ones((4, 4, 3), np.float32), np.array([0.6, 0.0, 0.8], np.float32), np.ones(3, np.float32)
)


@lru_cache(maxsize=1)
def closet():
    return Closet(wardrobe(), CPU)


@lru_cache(maxsize=1)
def wardrobe():
    return Wardrobe(head_model())


def seen(yaw=0.4):
    """A projection of heads into a crop, for both paths."""
    rotation, translation = np.diag([1.0, -1, -1]) @ euler(yaw, 0.1), np.array([10.0, -20, 700])
    frame = np.array([[0.6, 0.1, 120.0], [-0.1, 0.6, 130.0]])
    return Projection(rotation, translation, 1000.0, frame), Camera(
        *batch(rotation, translation, frame), SIZE
    )


def bare(vertices, projection):
    depth = (vertices @ projection.rotation.T + projection.translation)[:, 2]
    return rasterize(projection(vertices), depth, head_model().faces, SIZE, SIZE)[2]


def test_soft_edges_are_the_compiled_ones():
    image, colour = (RNG.uniform(0, 255, (64, 64, 3)).astype(np.float32) for _ in range(2))
    cover = np.zeros((64, 64), bool)
    cover[20:40, 10:50] = True
    drawn = cover & (RNG.random(cover.shape) < 0.9)
    colour *= drawn[..., None]
    for whole in (None, cover):
        theirs = image.copy()
        lay(theirs, colour, drawn, 1.1, whole)
        mine = cards.lay(*batch(image, colour, drawn), 1.1, None if whole is None else batch(whole))
        np.testing.assert_allclose(mine[0].numpy(), theirs, atol=0.02)


@needs_assets
def test_hair_is_drawn_as_the_compiled_one():
    styles = load_hair(ASSETS / "hair" / "hair")[:3]
    projection, camera = seen()
    vertices = random_head(3)
    behind = bare(vertices, projection)
    every, before = Styles(styles, CPU), batch(behind.astype(np.float32))
    for k, style in enumerate(styles):
        shade = RNG.uniform(0.5, 1.2, len(style.vertices)).astype(np.float32)
        depth = (style.vertices @ projection.rotation.T + projection.translation)[:, 2]
        after = behind.copy()
        colour, cover = draw_hair(style, projection(style.vertices), depth, shade, after)
        padded = np.zeros(every.vertices.shape[1], np.float32)
        padded[: len(shade)] = shade
        mine, near, lost = cards.draw(
            every.cards(torch.tensor([k])), camera, batch(padded), torch.tensor([True]), before
        )
        assert lost == 0 and cover.mean() > 0.05
        same = (near[0] > 0).numpy() == cover
        assert same.mean() > 0.999
        off = np.abs(mine[0].numpy() - colour)[same & cover].max(-1)
        assert np.quantile(off, 0.97) < 0.1  # strands that cross are as near as each other
        none, nowhere, _ = cards.draw(
            every.cards(torch.tensor([k])), camera, batch(padded), torch.tensor([False]), before
        )
        assert not none.any() and not nowhere.any()


@needs_assets
@pytest.mark.parametrize("sort", ["fringe", "beanie", "mask"])
def test_shells_and_garments_are_the_compiled_ones(sort):
    projection, camera = seen()
    vertices, number = random_head(5), SORTS.index(sort)
    rng, again = np.random.default_rng(9), np.random.default_rng(9)
    theirs, tint = wardrobe().put_on(rng, sort, vertices, np.array([0.1, 0.06, 0.03], np.float32))
    pattern, room = again.integers(BANK), again.uniform(0.8, 1.2)
    room *= bank(sort)[pattern].standing_off
    shell = closet().shells(batch(vertices), torch.tensor([number]), torch.tensor([float(room)]))
    np.testing.assert_allclose(shell[0].numpy(), theirs.vertices, atol=2e-3)

    normals = vertex_normals(theirs.vertices, theirs.faces) @ projection.rotation.T.astype(np.float32)
    depth = (theirs.vertices @ projection.rotation.T + projection.translation)[:, 2]
    behind, image = bare(vertices, projection), RNG.uniform(0, 255, (SIZE, SIZE, 3)).astype(np.float32)
    picture = image.copy()
    cover = compiled.draw_garment(
        theirs,
        tint,
        projection(theirs.vertices),
        depth,
        LIGHT.brightness(normals),
        behind.copy(),
        picture,
        0.3,
    )
    laid = closet()
    peak = shell[:, :1].expand(-1, garment.AROUND * garment.ALONG, -1)
    texel = laid.texel.clone()
    texel[: len(theirs.texel)] = torch.tensor(theirs.texel)
    one = torch.ones(1, dtype=torch.long)
    worn = cards.Cards(
        torch.cat([shell, peak], 1), laid.faces[None], texel[None], laid.atlas,
        one * int(number * BANK + pattern) * garment.ROWS * garment.COLUMNS, one * garment.COLUMNS, one * garment.ROWS,
    )  # fmt: skip
    clothes = Garments(worn, batch(tint.astype(np.float32)), torch.tensor([sort == "fringe"]))
    near = batch(behind.astype(np.float32))
    mine, where, lost = clothes.dress(
        laid, camera, batch_of(LIGHT), torch.tensor([True]), near, near, torch.tensor([0.3]), batch(image)
    )
    assert lost == 0 and cover.mean() > 0.02
    assert (where[0].numpy() == cover).mean() > 0.999
    off = np.abs(mine[0].numpy() - picture).max(-1)
    assert np.quantile(off, 0.99) < 2


@needs_assets
def test_caps_alone_have_peaks():
    dice = Dice([(1, k) for k in range(24)], CPU)
    vertices = torch.tensor(random_head(6)).expand(24, -1, -1)
    worn = closet().put_on(dice, vertices, torch.full((24, 3), 0.1))
    count = closet().count
    peaks = worn.cards.vertices[:, count:]
    spread = (peaks - peaks[:, :1]).norm(dim=-1).amax(1)
    capped = (
        torch.div(worn.cards.begin, garment.ROWS * garment.COLUMNS * BANK, rounding_mode="floor")
        == garment.CAP
    )
    assert 0 < capped.sum() < 24
    assert torch.equal(spread > 0, capped)
    assert (peaks[capped][..., 2].amax(1) > worn.cards.vertices[capped][:, :count, 2].amax(1)).all()


def test_styles_of_other_sizes_share_an_atlas():
    def strand(side, grey):
        corners = np.array([[-200.0, -200, 0], [200, -200, 0], [0, 300, 0]], np.float32)
        texel = np.array([[[0, 0], [side - 1, 0], [0, side - 1]]], np.float32)
        return Hair(corners, np.array([[0, 1, 2]], np.int32), texel, np.full((side, side, 4), grey, np.uint8))

    every = Styles([strand(2, 120), strand(8, 200), strand(4, 250)], CPU)
    _, camera = seen()
    four = Camera(
        *(a.expand(4, *a.shape[1:]) for a in (camera.rotation, camera.translation, camera.frame)), SIZE
    )
    made, near, lost = cards.draw(
        every.cards(torch.tensor([2, 0, 1, 0])), four, torch.ones(4, 3), torch.tensor([True, True, True, False]),
        torch.zeros(4, SIZE, SIZE),
    )  # fmt: skip
    assert lost == 0
    assert [made[k][near[k] > 0].round().unique().tolist() for k in range(4)] == [[250], [120], [200], []]
