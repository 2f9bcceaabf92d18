"""HEIC by the optional extra, and without it."""

import io
import sys

import numpy as np
import pytest
from PIL import Image as pillow
from PIL import UnidentifiedImageError
from quarters import TURNS, scene

from facecli.errors import ImageError
from facecli.images import read_image


def heic(picture: pillow.Image, orientation: int | None = None) -> bytes:
    """As a phone stores it: turned by a property of the container, if at all."""
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra facecli[heic]")
    heif = pillow_heif.from_pillow(picture)
    if orientation is not None:
        exif = pillow.Exif()
        exif[0x0112] = orientation
        heif[0].info["exif"] = exif.tobytes()
    buffer = io.BytesIO()
    heif.save(buffer, quality=-1, chroma=444)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", TURNS)
def test_heic_comes_out_upright(orientation: int) -> None:
    stored = pillow.fromarray(
        np.ascontiguousarray(TURNS[orientation](np.kron(scene(), np.ones((4, 4, 1))))).astype(np.uint8)
    )
    data = heic(stored, orientation)
    assert (orientation == 1) != (b"irot" in data or b"imir" in data)
    small = read_image(data).pixels[2::4, 2::4].astype(int)
    assert small.shape == (24, 40, 3) and np.abs(small - scene()).max() <= 12


def test_heic_shows_transparency_as_white_and_its_main_picture() -> None:
    clear = pillow.new("RGBA", (64, 64), (200, 0, 0, 0))
    clear.paste((200, 0, 0, 255), (0, 0, 32, 64))
    pixels = read_image(heic(clear)).pixels.astype(int)
    assert np.abs(pixels[:, :24] - [200, 0, 0]).max() < 12 and pixels[:, 40:].min() > 243
    pillow_heif = pytest.importorskip("pillow_heif")
    several = pillow_heif.from_pillow(pillow.new("RGB", (64, 64), "red"))
    several.add_from_pillow(pillow.new("RGB", (64, 64), "blue"))
    buffer = io.BytesIO()
    several.save(buffer, primary_index=1)
    image = read_image(buffer.getvalue())
    assert image.pixels[32, 32, 2] > 240 and image.notes == ("the main one of several pictures",)


def test_heic_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for brand in (b"heic", b"mif1", b"hevx"):
        with pytest.raises(ImageError, match=r"pip install 'facecli\[heic\]'; or save it as JPEG"):
            read_image(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(40))


def test_reading_heic_does_not_change_what_pillow_opens_elsewhere() -> None:
    data = heic(pillow.new("RGB", (64, 64)))
    read_image(data)
    with pytest.raises(UnidentifiedImageError):
        pillow.open(io.BytesIO(data))
