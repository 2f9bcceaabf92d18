"""Filters, light and labels of batches: value by value what OpenCV and the compiled functions give."""

import cv2
import numpy as np
import pytest
import torch
from staged import batch, batch_of

from facecli.train import sample, shade
from facecli.train.crease import cavity
from facecli.train.light import HEIGHT, WIDTH, Light
from facecli.train.tensor import filters, labels
from facecli.train.tensor import shade as tensor
from facecli.upsample import upsample_masked

RNG = np.random.default_rng(0)
PICTURES = RNG.random((3, 64, 48), np.float32)
LAMP = np.array([0.6, 0.64, 0.48], np.float32)
LIGHT = Light(
    RNG.random((9, 3), np.float32), RNG.random((HEIGHT, WIDTH, 3), np.float32), LAMP, np.ones(3, np.float32)
)


def directions(seed):
    vectors = np.random.default_rng(seed).normal(size=(64, 48, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    vectors[:4] = 0
    return vectors


def test_each_picture_has_its_own_blur():
    sigmas = (0.4, 1.3, 2.9)
    blurred = filters.blur(torch.from_numpy(PICTURES), torch.tensor(sigmas), 3.0).numpy()
    for picture, sigma, mine in zip(PICTURES, sigmas, blurred, strict=True):
        np.testing.assert_allclose(mine, cv2.GaussianBlur(picture, (0, 0), sigma), atol=1e-6)


def test_the_widest_blur_has_to_be_told():
    with pytest.raises(ValueError, match="how wide a blur can be"):
        filters.blur(torch.zeros(2, 8, 8), torch.ones(2))


@pytest.mark.parametrize(
    "mine, theirs",
    [
        (filters.pyr_down, cv2.pyrDown),
        (filters.pyr_up, cv2.pyrUp),
        (lambda p: filters.closed(p, 3), lambda p: cv2.morphologyEx(p, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))),
        (lambda p: filters.dilated(p, 5), lambda p: cv2.dilate(p, np.ones((5, 5), np.uint8))),
        (lambda p: filters.resized(p, 99, "bicubic"), lambda p: cv2.resize(p, (99, 99), interpolation=cv2.INTER_CUBIC)),
        (lambda p: filters.resized(p, 200), lambda p: cv2.resize(p, (200, 200))),
        (filters.halved, lambda p: cv2.resize(p, (24, 32), interpolation=cv2.INTER_AREA)),
    ],
)  # fmt: skip
def test_filters_are_opencvs(mine, theirs):
    out = mine(torch.from_numpy(PICTURES)).numpy()
    for picture, made in zip(PICTURES, out, strict=True):
        np.testing.assert_allclose(made, theirs(picture), atol=1e-5)


def test_values_between_pixels():
    rng = np.random.default_rng(1)
    column, row = (rng.uniform(-3, side + 3, 500).astype(np.float32) for side in (48, 64))
    mine = filters.between(*(torch.from_numpy(a) for a in (PICTURES[:1], column[None], row[None])))[0]
    # OpenCV's coordinates are rounded to 1/32 of a pixel.
    theirs = cv2.remap(PICTURES[0], column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).ravel()
    np.testing.assert_allclose(mine.numpy(), theirs, atol=0.05)
    whole = filters.between(torch.from_numpy(PICTURES), torch.full((3, 1), 7.0), torch.full((3, 1), 9.0))
    np.testing.assert_array_equal(whole[:, 0].numpy(), PICTURES[:, 9, 7])


def test_relief_bends_normals_as_the_compiled_one():
    normals, positions = directions(2), directions(3) * 5
    mine = tensor.bump(*batch(normals, positions, PICTURES[0]))[0].numpy()
    np.testing.assert_allclose(mine, shade.bump(normals, positions, PICTURES[0]), atol=1e-5)


def test_grooves_hide_the_sky_as_the_compiled_one():
    mine = tensor.cavity(torch.from_numpy(PICTURES), torch.tensor([0.3, 0.7, 2.0]))
    for picture, made, scale in zip(PICTURES, mine.numpy(), (0.3, 0.7, 2.0), strict=True):
        np.testing.assert_allclose(made, cavity(picture, scale), atol=1e-6)


def test_skin_shines_as_the_compiled_one():
    albedo, normals, view = np.abs(directions(4)), directions(5), directions(6) * 300
    fields = (albedo, normals, view, *PICTURES)
    mine = tensor.shade(*batch(*fields), batch_of(LIGHT))[0].numpy()
    flat = [field.reshape(-1, *field.shape[2:]) for field in fields]
    theirs = shade.shade(*flat, LIGHT, np.array([1, -1, -1], np.float32)).reshape(mine.shape)
    off = np.abs(mine - theirs).max(-1)
    assert (
        np.quantile(off, 0.999) < 1e-5
    )  # but for the odd reflection on the border of two pixels of the mirror
    assert (mine[:4] == 0).all()


def test_brightness_of_props():
    normals = directions(7).reshape(-1, 3)
    np.testing.assert_allclose(
        batch_of(LIGHT).brightness(batch(normals))[0].numpy(), LIGHT.brightness(normals), atol=1e-5
    )


@pytest.mark.parametrize("size", [256, 512])
def test_labels_are_packed_alike(size):
    rng = np.random.default_rng(size)
    part, surface = rng.integers(-1, 9, (size, size)), rng.random((size, size)) < 0.6
    coordinate = (rng.normal(size=(size, size, 3)) * 80).astype(np.float32)
    depth = (rng.normal(size=(size, size)) * 50).astype(np.float32)
    np.testing.assert_array_equal(
        labels.pack_opening(*batch(part, surface))[0], sample.pack_opening(part, surface)
    )
    np.testing.assert_array_equal(labels.pack_region(batch(surface))[0], sample.pack_region(surface))
    mine, known = labels.pack_coarse(*batch(coordinate, depth, surface))
    theirs, also_known = sample.pack_coarse(coordinate, depth, surface)
    np.testing.assert_allclose(mine[0], theirs, atol=1e-6)
    np.testing.assert_array_equal(known[0], also_known)


def bowl():
    y, x = np.mgrid[:128, :128] / 64 - 1
    depth = (60 * np.cos(x * 1.2) * np.cos(y) + 3 * np.sin(9 * x)).astype(np.float32)
    return depth, x**2 + 1.5 * y**2 < 0.5


def test_the_smooth_surface_is_the_pipelines():
    depth, mask = bowl()
    mine = labels.smoothed(*batch(depth, mask))[0].numpy()
    inside = mask.repeat(4, 0).repeat(4, 1)
    off = np.abs(mine - upsample_masked(depth, mask, 512))[inside]
    assert off.max() < 0.005  # mm
    assert off.mean() < 1e-4


def test_no_surface_is_no_detail():
    depth, mask = bowl()
    nothing = np.zeros_like(mask)
    assert not labels.smoothed(*batch(depth, nothing)).any()
    big = np.zeros((512, 512), np.float32)
    coarse = np.dstack([depth] * 4)
    packed = labels.pack_detail(*batch(big, big, big, coarse, nothing.astype(np.float32), big > -1))
    assert packed.isnan().all()


def test_detail_is_packed_alike():
    depth, mask = bowl()
    rng = np.random.default_rng(8)
    fine = cv2.resize(depth, (512, 512)) + rng.normal(0, 0.2, (512, 512)).astype(np.float32)
    fine[200:230, 200:300] -= 20  # a step
    facing = rng.uniform(0.3, 1, (512, 512)).astype(np.float32)
    relief = rng.normal(0, 0.1, (512, 512)).astype(np.float32)
    coarse = np.dstack([np.zeros((128, 128, 3), np.float32), depth / sample.UNIT])
    skin = cv2.resize(mask.astype(np.uint8), (512, 512)) > 0
    given = (fine, facing, relief, coarse, mask.astype(np.float32), skin)
    mine, theirs = labels.pack_detail(*batch(*given))[0].numpy(), sample.pack_detail(*given)
    assert (np.isnan(mine) == np.isnan(theirs)).mean() > 0.9999
    both = np.isfinite(mine) & np.isfinite(theirs)
    assert both.mean() > 0.2
    np.testing.assert_allclose(mine[both], theirs[both], atol=0.005)
