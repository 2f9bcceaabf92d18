"""Portraits labelled by several looks: labels lie where the network sees the face, and doubt where looks differ."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from photos import photo

from facecli import Reconstructor
from facecli.crop import Crop
from facecli.runtime import Maps
from facecli.train import teach
from facecli.train.loader import collate
from facecli.train.sample import jittered_frame
from facecli.train.shards import pack, unpack
from facecli.weights import load_template, load_weights


def maps(seed=0):
    """Smooth random maps."""
    rng = np.random.default_rng(seed)

    def smooth(size, channels=1):
        small = rng.random((6, 6, channels)).astype(np.float32)
        return cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC).reshape(size, size, channels)

    coordinate = smooth(128, 3) * 50
    region, depth, sigma, opening = (smooth(size)[..., 0] for size in (256, 128, 128, 128))
    return Maps(region, coordinate, depth * 50, sigma, opening, np.zeros((512, 512), np.float32))


@pytest.fixture(scope="module")
def face():
    return Reconstructor("cpu", threads=1).reconstruct(photo("astronaut.jpg"))[0]


@pytest.fixture(scope="module")
def taught(face):
    rng = np.random.default_rng(3)
    return teach.Teacher(load_weights()).sample(rng, photo("astronaut.jpg").pixels, face.dense.photo)


def test_what_is_turned_and_turned_back_is_as_it_was():
    seen = maps()
    turn = np.array([[0.95, 0.2, 0], [-0.2, 0.95, 0]])
    turn[:, 2] = 127.5 - turn[:, :2] @ [127.5, 127.5]
    there = cv2.invertAffineTransform(turn)
    again = teach.turned_back(teach.turned_back(seen, turn), there)
    for name in ("region", "coordinate", "depth", "opening"):
        middle = slice(len(getattr(seen, name)) // 4, -len(getattr(seen, name)) // 4)
        before, after = (getattr(one, name)[middle, middle] for one in (seen, again))
        assert np.abs(after - before).max() < 0.01 * np.ptp(before), name
    once = teach.turned_back(seen, turn)
    assert np.abs(once.depth - seen.depth).max() > 1, "it was turned"


def test_a_point_is_found_where_it_was_before_the_turn():
    seen = maps()
    spot = np.zeros((256, 256), np.float32)
    spot[60, 90] = 1.0
    matrix = cv2.getRotationMatrix2D((127.5, 127.5), 90.0, 1.0)
    turned = replace(seen, region=np.rot90(spot).copy())  # counterclockwise, as OpenCV's positive angles
    back = teach.turned_back(turned, np.asarray(matrix))
    assert np.unravel_index(back.region.argmax(), (256, 256)) == (60, 90)


def test_looks_that_differ_do_not_know():
    one = maps()
    other = replace(one, depth=one.depth.copy(), coordinate=one.coordinate.copy())
    other.depth[:40] += 4 * teach.APART_MM
    other.coordinate[-40:] -= 4 * teach.APART_MM
    mean, agreed = teach.together([one, other])
    assert agreed[40:-40].all() and not agreed[:40].any() and not agreed[-40:].any()
    np.testing.assert_allclose(mean.depth, (one.depth + other.depth) / 2, rtol=1e-5)
    assert mean.region.min() >= 0 and mean.region.max() <= 1


def test_the_same_crop_at_another_size():
    points = np.random.default_rng(1).uniform(100, 400, (20, 2))
    small, large = (jittered_frame(np.random.default_rng(2), points, 12, size) for size in (256, 512))
    np.testing.assert_allclose(Crop(small).matrix_at(512), large)


def test_a_portraits_labels_are_what_the_network_sees(face, taught):
    """Points of the face, sent through the sample's own crop, lie where its labels say."""
    rng = np.random.default_rng(3)
    crop = Crop(jittered_frame(rng, face.dense.photo, teach.ROLL, 256))
    at = np.rint((crop.to_crop(face.landmarks) + 0.5) / 2 - 0.5).astype(int)
    inside = ((at > 0) & (at < 127)).all(1) & face.landmarks_visible
    column, row = at[inside].T
    known = taught.known[row, column] > 0
    assert known.mean() > 0.8
    told = taught.coarse[row, column, :3] * 100
    wanted = load_template(load_weights()).landmarks[inside]
    assert np.median(np.linalg.norm(told - wanted, axis=1)[known]) < 5.0
    assert taught.region[(row * 2)[known], (column * 2)[known]].min() > 60
    height = np.ptp(face.landmarks[[8, 27]] @ crop.matrix[:, :2].T, axis=0)
    millimetres = np.linalg.norm(face.landmarks_3d[8] - face.landmarks_3d[27]) * 1000
    assert taught.footprint * np.linalg.norm(height) / 2 == pytest.approx(millimetres, rel=0.15)


def test_it_trains_like_other_samples(taught, tmp_path: Path):
    path = tmp_path / "taught-000000.npz"
    path.write_bytes(pack([taught, taught]))
    back = list(unpack(path))
    assert back[0].source == "taught" and back[0].detail is None and back[0].expression is None
    batch = collate(back)
    assert batch["image"].shape == (2, 256, 256, 3) and len(batch["rows"]) == 0
    assert 0 < float(batch["depth_weight"][0]) < 1
