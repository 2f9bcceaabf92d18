"""What is put on heads: where it is in the picture is where it is in space, and it hides what it should."""

from functools import lru_cache

import numpy as np
import pytest
from heads import head_model, needs_assets

from facecli.train.garment import COLUMNS, ROWS, SORTS, Wardrobe, bank, draw_garment
from facecli.train.headmodel import GUMS, TEETH
from facecli.train.props import Projection
from facecli.train.raster import rasterize
from facecli.train.sample import euler

pytestmark = needs_assets

SIZE = 256


@lru_cache(maxsize=1)
def wardrobe():
    return Wardrobe(head_model())


def scene(yaw=0.0, seed=0, opened=0.0):
    """Vertices of somebody, a camera 80 cm away, and what it sees of the bare head."""
    beta = np.zeros(len(head_model().expression_names))
    beta[head_model().expression_names.index("jawOpen")] = opened
    alpha = np.random.default_rng(seed).normal(0, 0.7, len(head_model().identity))
    vertices = head_model().vertices(alpha, beta)
    rotation = np.diag([1.0, -1, -1]) @ euler(np.deg2rad(yaw), 0.0)
    to_pixels = Projection(rotation, np.array([0, 0, 800.0]), 800.0, np.array([[1.0, 0, 128], [0, 1.0, 128]]))
    camera = vertices @ rotation.T + to_pixels.translation
    index, _, zbuffer = rasterize(to_pixels(vertices), camera[:, 2], head_model().faces, SIZE, SIZE)
    return vertices, to_pixels, index, zbuffer


def put_on(sort, seed, yaw=0.0, opened=0.0):
    """Cover of a garment, and what it was put on."""
    vertices, to_pixels, index, zbuffer = scene(yaw, seed, opened)
    rng = np.random.default_rng(seed)
    garment, tint = wardrobe().put_on(rng, sort, vertices, np.full(3, 0.1))
    depth = (garment.vertices @ to_pixels.rotation.T + to_pixels.translation)[:, 2]
    image = np.full((SIZE, SIZE, 3), 128.0, np.float32)
    pixels = to_pixels(garment.vertices)
    lit = np.ones(len(depth), np.float32)
    cover = draw_garment(garment, tint, pixels, depth, lit, zbuffer.copy(), image, 0.0)
    return cover, garment, vertices, to_pixels, index, zbuffer, image


def at(cover, to_pixels, points):
    """Is each point of the head, or the pixel beside it, covered?"""
    column, row = np.rint(to_pixels(points.astype(np.float64))).astype(int).T
    return cover[row, column]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("sort", "hidden", "shown"),
    [
        ("mask", [51, 57, 62, 66], [36, 45, 27, 19]),
        ("beanie", [], [30, 57, 8, 36, 45]),
        ("cap", [], [30, 57, 8, 36, 45]),
        ("hood", [], [30, 57, 39, 42]),
        ("scarf", [], [36, 45, 27, 19]),
        ("fringe", [], [30, 57, 51]),
    ],
)
def test_garments_hide_what_they_should(sort, hidden, shown, seed):
    cover, _, vertices, to_pixels, *_ = put_on(sort, seed)
    landmarks = vertices[head_model().landmark_vertices]
    assert at(cover, to_pixels, landmarks[hidden]).all()
    assert not at(cover, to_pixels, landmarks[shown]).any()
    if sort in ("beanie", "cap", "hood", "fringe"):
        top = vertices[[vertices[:, 1].argmax()]] + np.array([[0, -12, 12]])
        assert at(cover, to_pixels, top).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("opened", "yaw"), [(0.4, 0.0), (0.7, 20.0), (1.0, -30.0)])
def test_nothing_of_an_open_mouth_shows_through_a_mask(opened, yaw, seed):
    cover, *_, index, _, _ = put_on("mask", seed, yaw, opened)
    inside = np.isin(head_model().part[index], (GUMS, TEETH)) & (index >= 0)
    assert inside.sum() > 40
    assert cover[inside].all()


@pytest.mark.parametrize(("sort", "yaw"), [("mask", 35.0), ("fringe", -50.0), ("cap", 10.0)])
def test_cover_is_where_a_ray_meets_the_garment_first(sort, yaw):
    cover, garment, vertices, to_pixels, *_ = put_on(sort, 3, yaw)
    rng = np.random.default_rng(1)
    rows, columns = rng.integers(20, 236, (2, 120))
    rays = np.c_[(np.c_[columns, rows] - 128.0) / 800.0, np.ones(len(rows))]

    def placed(points):
        return points.astype(np.float64) @ to_pixels.rotation.T + to_pixels.translation

    head_distance, *_ = nearest(placed(vertices)[head_model().faces], rays, None)
    distance, alpha = nearest(placed(garment.vertices)[garment.faces], rays, garment)
    expected = distance < head_distance
    assert expected.sum() > 10 and (~expected).sum() > 10
    assert (expected == cover[rows, columns]).mean() > 0.98
    assert (alpha[expected] >= 110).all()


def nearest(triangles, rays, garment):
    """Moller and Trumbore (1997), every ray with every triangle; transparent texels let rays through."""
    a, b, c = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    distance, alpha = np.full(len(rays), np.inf), np.zeros(len(rays), int)
    for k, ray in enumerate(rays):
        p = np.cross(ray, c)
        inverse = 1 / np.where(np.abs(d := (b * p).sum(1)) < 1e-12, 1e-12, d)
        v = -(a * p).sum(1) * inverse
        q = np.cross(-a, b)
        w = (q @ ray) * inverse
        t = (c * q).sum(1) * inverse
        hit = np.flatnonzero((v >= 0) & (w >= 0) & (v + w <= 1) & (t > 0))
        for f in hit[np.argsort(t[hit])]:
            opaque = 255
            if garment is not None:
                u = np.array([1 - v[f] - w[f], v[f], w[f]]) @ garment.texel[f]
                opaque = garment.texture[int(u[1] + 0.5) % ROWS, int(u[0] + 0.5) % COLUMNS, 3]
            if opaque >= 110:
                distance[k], alpha[k] = t[f], opaque
                break
    return distance, alpha


def test_pixels_of_a_garment_have_its_colours_and_far_ones_stay():
    cover, _, _, _, _, _, image = put_on("mask", 4)
    assert cover.any()
    far = np.ones_like(cover)
    rows, columns = np.nonzero(cover)
    far[max(rows.min() - 40, 0) : rows.max() + 40, max(columns.min() - 40, 0) : columns.max() + 40] = False
    assert (image[far] == 128).all()


def test_dressing_is_by_the_generator_alone():
    vertices, to_pixels, _, zbuffer = scene()
    results = []
    for seed in (3, 3, 4):
        image = np.full((SIZE, SIZE, 3), 128.0, np.float32)
        cover = wardrobe().dress(
            np.random.default_rng(seed), vertices, to_pixels, zbuffer.copy(), zbuffer.copy(), image,
            lambda normals: np.ones(len(normals), np.float32),
        )  # fmt: skip
        assert cover.any()
        results.append((cover, image))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])
    assert not np.array_equal(results[0][1], results[2][1])


def test_patterns_are_the_same_in_every_process():
    first, again = bank("scarf"), bank.__wrapped__("scarf")
    assert len(first) == len(again)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.texture, other.texture)
        assert one.standing_off == other.standing_off
    assert {pattern.texture.shape for sort in SORTS for pattern in bank(sort)} == {(ROWS, COLUMNS, 4)}
