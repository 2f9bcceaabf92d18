"""PNG as we write it, read back by Pillow and OpenCV."""

import io
import sys

import cv2
import numpy as np
import pytest
from PIL import Image as pillow

from facecli.errors import ImageError
from facecli.images import encode_png


@pytest.fixture(params=["isal", "zlib"])
def packer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """PNG as it is written with ISA-L, and where that is not installed."""
    if request.param == "zlib":
        monkeypatch.setitem(sys.modules, "isal", None)
    else:
        pytest.importorskip("isal", reason="ISA-L does not run on this machine")
    return str(request.param)


@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7), (1, 1), (200, 300, 3)])
def test_png_round_trip_8_bit(shape: tuple[int, ...], packer: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    data = encode_png(pixels)
    decoded = pillow.open(io.BytesIO(data))
    assert (np.asarray(decoded) == pixels).all() and not decoded.info
    again = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(again[..., ::-1] if len(shape) == 3 else again, pixels)


def test_png_round_trip_16_bit(packer: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 65536, (5, 7)).astype(np.uint16)
    assert (np.asarray(pillow.open(io.BytesIO(encode_png(pixels)))) == pixels).all()


def test_png_of_a_view_is_that_of_its_copy_and_smooth_pictures_are_small(packer: str) -> None:
    ramp = np.add.outer(np.arange(300), np.arange(400)).astype(np.uint8)
    turned = np.stack([ramp, ramp // 2, ramp // 3], 2)[::-1, ::2]
    assert encode_png(turned) == encode_png(turned.copy())
    assert len(encode_png(turned)) < turned.size / 4


def test_a_picture_of_nothing_is_no_png() -> None:
    with pytest.raises(ImageError, match="cannot encode"):
        encode_png(np.zeros((0, 4, 3), np.uint8))
