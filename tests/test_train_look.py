"""Contact sheets show what they say."""

import numpy as np
import pytest
from heads import head_model, needs_assets, reconstructor, sample, view

from facecli.detect import Detection
from facecli.images import Image
from facecli.train.look import GAP, contact_sheet, label_pictures, normals_of, sample_sheet, tiled


@pytest.mark.parametrize(("count", "columns", "shape"), [(5, 2, (3, 2)), (2, 4, (1, 2)), (1, 1, (1, 1))])
def test_tiles_fill_rows(count, columns, shape):
    tiles = [np.full((10, 20, 3), k, np.uint8) for k in range(count)]
    sheet = tiled(tiles, columns)
    assert sheet.shape == (shape[0] * (10 + GAP) - GAP, shape[1] * (20 + GAP) - GAP, 3)
    last = divmod(count - 1, min(columns, count))
    y, x = last[0] * (10 + GAP), last[1] * (20 + GAP)
    assert (sheet[y : y + 10, x : x + 20] == count - 1).all()


def test_no_tiles_make_a_picture_all_the_same():
    assert tiled([], 3).shape == (1, 1, 3)


@pytest.mark.parametrize("detail", [False, True])
def test_a_sample_makes_five_pictures(detail):
    made = sample(512 if detail else 256, detail)
    if detail:
        made.detail[:100] = np.nan  # nobody knows
    pictures = label_pictures(made)
    assert [picture.shape for picture in pictures] == [(256, 256, 3)] * 5
    assert all(picture.dtype == np.uint8 for picture in pictures)
    unknown = np.repeat(np.repeat(made.known == 0, 2, 0), 2, 1)
    assert not pictures[2][unknown].any()
    assert pictures[4].std() > 0 if detail else pictures[4].std() == 0
    assert sample_sheet([made] * 3, 2).shape == (2 * 256 + GAP, 2 * 5 * 256 + GAP, 3)


def test_normals_of_a_slope_lean_away_from_it():
    x = np.arange(8.0) * 2.0  # mm
    depth = np.broadcast_to(0.5 * x, (8, 8))  # nearer to the right
    found = normals_of(depth, 2.0)[4, 4]
    np.testing.assert_allclose(found, np.array([-0.5, 0, 1]) / np.hypot(0.5, 1), atol=1e-12)
    up = normals_of(depth.T, 2.0)[4, 4]  # nearer to the bottom: faces up
    np.testing.assert_allclose(up, np.array([0, 0.5, 1]) / np.hypot(0.5, 1), atol=1e-12)


@needs_assets
def test_a_contact_sheet_has_a_row_of_three_for_each_face():
    scene, photo = view(head_model().neutral), Image(np.full((900, 1200, 3), 90, np.uint8))
    made = reconstructor()
    face = made._assemble(
        photo,
        scene.camera,
        Detection(np.zeros(4), np.zeros((5, 2)), 1.0, 0.0, 9.0),
        scene.look(),
        {},
    )
    answers = iter([[face, face], []])
    made.reconstruct = lambda image: next(answers)
    sheet = contact_sheet([photo, photo], made, 1)
    assert sheet.shape == (3 * 384 + 2 * GAP, 3 * 384, 3)
    assert (sheet[-100:] == 128).all()  # the photo without a face
    assert sheet[:384, 2 * 384 :].std() > 10
