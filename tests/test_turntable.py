"""The loop: its angles, its frames, its files."""

import io

import numpy as np
import pytest
from PIL import Image
from results import dome

from facecli.errors import UsageError
from facecli.render import shade
from facecli.turntable import angles, encode_loop, turntable


def test_a_swing_goes_to_both_sides_and_a_full_turn_all_round():
    swing = angles(40, 50.0)
    assert swing[0] == 0 and max(swing) == swing[10] == 50 and min(swing) == swing[30] == -50
    assert np.abs(np.diff([*swing, swing[0]])).max() < 8  # no jump where the loop closes
    assert angles(4, 180.0) == [0, 90, 180, 270]


def test_frames_are_the_views_of_render():
    frames = list(turntable(dome(), frames=4, swing=30.0, size=48))
    assert [frame.shape for frame in frames] == [(48, 96, 3)] * 4
    np.testing.assert_array_equal(frames[1][:, :48], shade(dome(), 30.0, 48))
    np.testing.assert_array_equal(frames[1][:, 48:], shade(dome(), 30.0, 48, colors=True))
    np.testing.assert_array_equal(frames[0], frames[2])
    assert next(turntable(dome(), look="clay", frames=2, size=32)).shape == (32, 32, 3)


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".PNG"])
def test_a_loop_comes_back_with_its_frames_and_time_and_never_ends(suffix):
    frames = list(turntable(dome(), "color", 4, 40.0, 32))
    picture = Image.open(io.BytesIO(encode_loop(frames, 2.0, suffix)))
    assert picture.size == (32, 32) and picture.info["loop"] == 0
    shown, lasts = [], 0.0
    for index in range(picture.n_frames):
        picture.seek(index)
        picture.load()
        shown.append(np.asarray(picture.convert("RGB"), int))
        lasts += picture.info["duration"]
    assert lasts == pytest.approx(2000)
    assert np.abs(shown[1] - frames[1]).mean() < 6 and np.abs(shown[1] - frames[3]).mean() > 6


def test_what_is_unknown_is_refused():
    with pytest.raises(UsageError, match=r"cannot write \.mp4; choose from \.webp"):
        encode_loop([np.zeros((4, 4, 3), np.uint8)], 1.0, ".mp4")
    with pytest.raises(UsageError, match="unknown look 'x'; choose from clay, color, both"):
        next(turntable(dome(), "x"))
