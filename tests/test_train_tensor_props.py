"""Hands, glasses and things before a batch of faces are of the shapes that OpenCV draws."""

import cv2
import numpy as np
import pytest
import torch
from heads import head_model, needs_assets, random_head
from staged import CPU, batch

from facecli.train import limb as compiled
from facecli.train import props as drawn_by_opencv
from facecli.train.props import Projection
from facecli.train.sample import euler
from facecli.train.tensor import props
from facecli.train.tensor.dice import Dice
from facecli.train.tensor.head import Camera
from facecli.train.tensor.limb import Lamp, Limbs, hands, microphones, paint

SIZE = 128


def test_limbs_are_the_compiled_ones():
    rng = np.random.default_rng(0)
    limbs = [(rng.uniform(-20, 150, 2), rng.uniform(-20, 150, 2), *rng.uniform(2, 20, 2)) for _ in range(7)]
    limbs.append((limbs[0][0], limbs[0][0], 9.0, 9.0))  # a ball
    relief, owner = compiled._relief(limbs, SIZE)
    fields = (np.array([limb[k] for limb in limbs], np.float32) for k in range(4))
    mine, whose = Limbs(*batch(*fields)).relief(SIZE)
    assert (relief > 0).mean() > 0.2
    np.testing.assert_allclose(mine[0].numpy(), relief, atol=0.05)
    assert (whose[0].numpy() == owner)[relief > 1].mean() > 0.999


def test_hands_and_microphones_are_of_a_size():
    dice = Dice([(1, k) for k in range(200)], CPU)
    limbs, sleeves = hands(dice, torch.full((200, 2), 64.0), torch.full((200,), 0.5))
    assert limbs.start.shape == (200, 15, 2)
    assert sleeves[:, 0].mean() == pytest.approx(0.5, abs=0.12) and not sleeves[:, 1:].any()
    reach = (limbs.end[:, 12] - limbs.end[:, 0]).norm(dim=1) / 0.5  # mm from the wrist to a fingertip
    assert reach.min() > 80 and reach.max() < 220
    limbs, radius = microphones(dice, torch.full((200, 2), 64.0), torch.full((200,), 0.5))
    held = (limbs.thick[:, 2] > 0).float()
    assert held.mean() == pytest.approx(0.6, abs=0.12)
    assert radius.min() >= 8.5 and radius.max() <= 15


def test_paint_covers_where_there_is_a_limb():
    limbs = Limbs(*batch(np.array([[40.0, 40]]), np.array([[90.0, 70]]), np.array([15.0]), np.array([10.0])))
    relief, _ = Limbs(*(getattr(limbs, f).float().expand(2, *[-1] * (getattr(limbs, f).dim() - 1))
                        for f in ("start", "end", "thick", "thin"))).relief(SIZE)  # fmt: skip
    image, region = torch.full((2, SIZE, SIZE, 3), 100.0), torch.ones(2, SIZE, SIZE, dtype=torch.bool)
    colour = torch.zeros_like(image)
    lamp = Lamp.drawn(Dice([(2, 0), (2, 1)], CPU))
    painted, left = paint(image, region, relief, colour, torch.tensor([True, False]), lamp)
    assert torch.equal(painted[1], image[1]) and left[1].all()
    core = relief[0] > 6
    assert painted[0][core].max() < 1
    assert not left[0][core].any()
    assert left[0][relief[0] == 0].float().mean() > 0.97
    assert (painted[0] <= 100.01).all()


def test_polygons_are_filled_as_by_opencv():
    rng = np.random.default_rng(3)
    for _ in range(5):
        angle = np.sort(rng.uniform(0, 2 * np.pi, 7))
        corners = 64 + np.c_[np.cos(angle), np.sin(angle)] * rng.uniform(20, 50, (7, 1))
        canvas = np.zeros((SIZE, SIZE), np.uint8)
        cv2.fillPoly(canvas, [np.rint(corners * 256).astype(np.int32)], 1, cv2.LINE_8, 8)
        mine = props.inside(batch(corners.astype(np.float32)), SIZE)[0].numpy()
        edge = cv2.dilate(canvas, np.ones((3, 3))) > cv2.erode(canvas, np.ones((3, 3)))
        np.testing.assert_array_equal(mine[~edge], canvas[~edge] > 0)
        assert mine.sum() > 200


def test_any_pixel_of_the_region_may_be_picked():
    region = np.zeros((1, 16, 16), bool)
    region[0, 3:9, 5:7] = True
    shares = torch.linspace(0, 0.9999, 2400)
    picked = props.some_pixel(torch.from_numpy(region).expand(2400, -1, -1), shares).numpy().astype(int)
    counts = np.zeros((16, 16), int)
    np.add.at(counts, (picked[:, 1], picked[:, 0]), 1)
    assert (counts[region[0]] == 200).all() and counts[~region[0]].sum() == 0


def test_colour_of_a_face_and_of_none():
    image = torch.rand(2, 8, 8, 3) * 255
    region = torch.zeros(2, 8, 8, dtype=torch.bool)
    region[0, 2:4, 5] = True
    mean = props.mean_colour(image, region)
    np.testing.assert_allclose(mean[0], image[0, 2:4, 5].mean(0), rtol=1e-5)
    np.testing.assert_allclose(mean[1], drawn_by_opencv.SOME_SKIN)


@needs_assets
@pytest.mark.parametrize("yaw", [0.0, 0.6])
def test_lenses_and_rims_are_where_opencv_draws_them(yaw, monkeypatch):
    rotation, translation = np.diag([1.0, -1, -1]) @ euler(yaw, 0.15), np.array([0.0, 10, 600])
    frame = np.array([[0.75, -0.1, 130.0], [0.1, 0.75, 110.0]])
    projection = Projection(rotation, translation, 1000.0, frame)
    camera = Camera(*batch(rotation, translation, frame), 256)
    monkeypatch.setattr(props, "GLASSES", 1.0)

    class Plain(Dice):
        """Lots that fall in the middle, but sunglasses with rims of 2 mm."""

        def uniform(self, low, high, *shape):
            return torch.full((1, *shape), (low + high) / 2)

        def chance(self, share, *shape):
            return torch.ones(1, *shape, dtype=torch.bool)

        def one_of(self, values, shares, *shape):
            return torch.full((1, *shape), {15: 30.0, 1.0: 2.0}.get(values[0], 0.0))

    marks = random_head(2)[head_model().landmark_vertices]
    image, region = np.full((256, 256, 3), 200.0, np.float32), np.ones((256, 256), bool)
    mine, left = props.glasses(Plain([(0, 0)], CPU), *batch(image, region), batch(marks), camera)

    class Middle(np.random.Generator):
        """The same lots for the compiled path."""

        def uniform(self, low, high, *_):
            return np.full(3, (low + high) / 2) if high in (30, 60) else (low + high) / 2

        def random(self):
            return 0.0

        def choice(self, values, p=None):
            return {15: 30, 1.0: 2.0}.get(values[0], 0.0)

    theirs = region.copy()
    drawn_by_opencv.glasses(Middle(np.random.PCG64()), image, theirs, marks, projection)
    ours, other = ~left[0].numpy(), ~theirs
    assert other.mean() > 0.02
    assert (ours & other).sum() / (ours | other).sum() > 0.9
    off = np.abs(mine[0].numpy() - image).mean(-1)
    assert (off > 60).mean() < 0.012  # but for a rim a pixel aside


@needs_assets
def test_what_is_before_the_face_leaves_the_region():
    from test_train_synth import people

    from facecli.train.tensor.skin import People

    crowd = People(people(), head_model(), CPU)
    rotation, translation = np.diag([1.0, -1, -1]), np.array([0.0, 0, 700])
    frame = np.array([[0.5, 0, 64.0], [0, 0.5, 64]])
    one = batch(rotation, translation, frame)
    camera = Camera(*(a.expand(8, -1, *[-1] * (a.dim() - 2)) for a in one), SIZE)
    image, region = torch.full((8, SIZE, SIZE, 3), 128.0), torch.zeros(8, SIZE, SIZE, dtype=torch.bool)
    region[:, 30:100, 30:100] = True
    there = torch.tensor([True] * 7 + [False])
    dice = Dice([(7, k) for k in range(8)], CPU)
    after, left, lost = props.thing(dice, image, region, there, 0.9, crowd, camera.pixels_per_mm)
    assert lost == 0
    assert torch.equal(after[7], image[7]) and torch.equal(left[7], region[7])
    gone = (region & ~left).flatten(1).float().mean(1)
    assert (gone[:7] > 0).sum() >= 6  # a little one may lie beside
    assert not (left & ~region).any()
    changed = (after - image).abs().amax(-1) > 20
    assert (changed & left).float().mean() < 0.1  # shadows, no more
    again, nobody = Dice([(7, k) for k in range(8)], CPU), torch.zeros_like(region)
    nothing, empty, _ = props.thing(again, image, nobody, there, 0.9, crowd, camera.pixels_per_mm)
    assert torch.equal(nothing, image) and not empty.any()


def test_few_are_picked_without_a_look_at_how_many():
    there = torch.zeros(400, dtype=torch.bool)
    there[[3, 77, 390]] = True
    rows, lost = props.few(there, 0.02)
    assert len(rows) < 60 and rows[:3].tolist() == [3, 77, 390] and lost == 0
    assert len(set(rows.tolist())) == len(rows)
    rows, lost = props.few(~there, 0.02)
    assert len(rows) + lost == 397
    assert len(props.few(there[:5], 0.5)[0]) == 5
