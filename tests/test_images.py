import struct
import warnings
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from corrupt import encode, png, png_chunk
from PIL import Image as pillow
from PIL import ImageCms
from quarters import TURNS, scene

from facecli import images
from facecli.errors import ImageError
from facecli.images import FORMATS, MAX_PIXELS, read_image

MakePicture = Callable[..., bytes]

BEST: dict[str, dict[str, object]] = {
    "JPEG": {"quality": 100, "subsampling": 0},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_orientation_comes_out_upright(format: str, orientation: int) -> None:
    exif = pillow.Exif()
    exif[0x0112] = orientation
    stored = pillow.fromarray(np.ascontiguousarray(TURNS[orientation](scene())))
    image = read_image(encode(stored, format, exif=exif, **BEST.get(format, {})))
    assert image.pixels.shape == (24, 40, 3) and image.pixels.flags.c_contiguous
    assert np.abs(image.pixels.astype(int) - scene()).max() <= (40 if format in ("JPEG", "AVIF") else 0)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_nonsense_orientation_is_ignored(orientation: int) -> None:
    exif = pillow.Exif()
    exif[0x0112] = orientation
    assert (read_image(encode(pillow.fromarray(scene()), exif=exif)).pixels == scene()).all()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000"])
def test_every_allowed_format_is_read(format: str, make_picture: MakePicture) -> None:
    assert format in FORMATS
    image = read_image(make_picture(format))
    assert image.pixels.dtype == np.uint8 and image.pixels.shape == (48, 64, 3)
    assert image.pixels.flags.writeable and image.pixels.flags.c_contiguous
    assert image.pixels[0, -1, 0] > 220 > 30 > image.pixels[0, 0, 0]
    assert (image.width, image.height) == (64, 48)


@pytest.mark.parametrize("format", ["EPS", "PPM", "TGA", "PCX", "ICO", "PDF", "SGI"])
def test_other_formats_are_refused_even_if_pillow_could(format: str, make_picture: MakePicture) -> None:
    with pytest.raises(ImageError, match="not a picture that can be read"):
        read_image(make_picture(format))


def test_16_bit_grey_keeps_its_whole_range() -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, axis=0)
    for format in ("PNG", "TIFF"):
        pixels = read_image(encode(pillow.fromarray(ramp), format)).pixels
        assert (pixels[0, :, 0] == np.arange(256)).all()
        assert (pixels == pixels[..., :1]).all()


@pytest.mark.parametrize("format", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_keeps_its_whole_range(format: str, channels: int) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, axis=0)
    colour = np.dstack([ramp, ramp[:, ::-1], ramp // 2, np.full_like(ramp, 65535)])
    order = [2, 1, 0, 3][:channels]  # OpenCV's
    pixels = read_image(cv2.imencode(format, colour[:, :, order])[1].tobytes()).pixels
    levels = np.arange(256)
    assert (pixels[0] == np.stack([levels, levels[::-1], levels // 2], axis=1)).all()


def test_a_transparent_shade_of_16_bit_grey_is_white() -> None:
    rows = b"\0" + np.array([0, 257, 65535], ">u2").tobytes()
    data = png(3, 1, 16, 0, zlib.compress(rows), png_chunk(b"tRNS", b"\1\1"))
    assert read_image(data).pixels[0, :, 0].tolist() == [0, 255, 255]


def test_dark_16_bit_grey_is_not_brightened() -> None:
    dark = np.full((4, 4), 2570, np.uint16)
    assert (read_image(encode(pillow.fromarray(dark))).pixels == 10).all()


def test_float_and_32_bit_tiff_are_scaled() -> None:
    unit = np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(2, axis=0)
    assert (read_image(encode(pillow.fromarray(unit), "TIFF")).pixels[0, :, 0] == np.arange(256)).all()
    bytes_like = np.arange(256, dtype=np.float32)[None].repeat(2, axis=0)
    assert (read_image(encode(pillow.fromarray(bytes_like), "TIFF")).pixels[0, :, 0] == np.arange(256)).all()
    odd = np.array([[-1000.0, np.nan, 1000.0, np.inf]], np.float32)
    image = read_image(encode(pillow.fromarray(odd), "TIFF"))
    assert image.pixels[0, :, 0].tolist() == [0, 128, 255, 128] and "stretched" in image.notes[0]
    whole = np.array([[0, 65535, 32768]], np.int32)
    assert read_image(encode(pillow.fromarray(whole), "TIFF")).pixels[0, :, 0].tolist() == [0, 255, 128]
    flat = np.full((2, 2), -5, np.int32)
    assert (read_image(encode(pillow.fromarray(flat), "TIFF")).pixels == 0).all()


def test_transparency_shows_white_not_the_hidden_colour() -> None:
    half = pillow.new("RGBA", (3, 1), (255, 0, 0, 0))
    half.putpixel((1, 0), (255, 0, 0, 255))
    half.putpixel((2, 0), (0, 0, 0, 128))
    expected = [[255, 255, 255], [255, 0, 0], [127, 127, 127]]
    for format in ("PNG", "TIFF"):
        assert read_image(encode(half, format)).pixels[0].tolist() == expected
    grey = pillow.new("LA", (2, 1), (7, 0))
    grey.putpixel((1, 0), (7, 255))
    assert read_image(encode(grey)).pixels[0].tolist() == [[255] * 3, [7] * 3]


@pytest.mark.parametrize("mode", ["P", "RGB", "L", "1"])
def test_a_transparent_colour_counts_as_transparency(mode: str) -> None:
    picture = pillow.new(mode, (2, 1), 0)
    key: object = (0, 0, 0) if mode == "RGB" else 0
    picture.putpixel((1, 0), {"P": 1, "RGB": (9, 9, 9), "L": 9, "1": 1}[mode])
    if mode == "P":
        picture.putpalette([1, 2, 3, 9, 9, 9])
    pixels = read_image(encode(picture, transparency=key)).pixels
    assert pixels[0, 0].tolist() == [255] * 3
    assert pixels[0, 1].tolist() == ([255] * 3 if mode == "1" else [9] * 3)


def test_palette_grey_bilevel_and_cmyk_become_rgb() -> None:
    palette = pillow.fromarray(scene()).quantize(8)
    assert np.abs(read_image(encode(palette)).pixels.astype(int) - scene()).max() <= 8
    assert (read_image(encode(pillow.new("L", (5, 4), 77))).pixels == 77).all()
    assert (read_image(encode(pillow.new("1", (5, 4), 1))).pixels == 255).all()
    for format in ("JPEG", "TIFF"):
        cmyk = read_image(encode(pillow.new("CMYK", (16, 16), (0, 255, 255, 0)), format)).pixels
        assert cmyk[8, 8, 0] > 245 and cmyk[8, 8, 1:].max() < 12


def swapped_profile() -> bytes:
    """sRGB with red and blue exchanged: a profile whose effect cannot be missed."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    entries = {bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * profile[131], 12)}
    red, blue = entries[b"rXYZ"] + 4, entries[b"bXYZ"] + 4
    profile[red : red + 8], profile[blue : blue + 8] = profile[blue : blue + 8], profile[red : red + 8]
    return bytes(profile.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be")))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_embedded_profile_is_applied(mode: str) -> None:
    red = pillow.new("RGB", (4, 4), (255, 0, 0)).convert(mode)
    pixel = read_image(encode(red, icc_profile=swapped_profile())).pixels[0, 0].astype(int)
    assert np.abs(pixel - [0, 0, 255]).max() <= 2


@pytest.mark.parametrize("profile", [b"junk", swapped_profile()[:200], b"\0" * 4096])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_bad_or_foreign_profile_is_ignored(mode: str, profile: bytes) -> None:
    plain = pillow.new(mode, (8, 8), 60 if mode == "L" else (60,) * len(mode))
    format = "JPEG" if mode == "CMYK" else "PNG"
    with_profile = read_image(encode(plain, format, icc_profile=profile)).pixels
    assert (with_profile == read_image(encode(plain, format)).pixels).all()


def test_first_frame_of_an_animation_and_a_note() -> None:
    frames = [pillow.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for format in ("GIF", "PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if format == "WEBP" else {}
        data = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
        image = read_image(data)
        assert image.pixels[0, 0].tolist() == [255, 0, 0]
        assert image.notes == ("first of several frames",)


@pytest.mark.parametrize(("stored", "expected"), [(28, 28.0), (0, None), (None, None)])
def test_focal_length_from_exif(stored: int | None, expected: float | None) -> None:
    exif = pillow.Exif()
    if stored is not None:
        exif.get_ifd(0x8769)[0xA405] = stored
    assert read_image(encode(pillow.fromarray(scene()), "JPEG", exif=exif)).focal_35mm == expected


def test_broken_exif_does_not_break_the_picture() -> None:
    for exif in (b"junk", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 40):
        image = read_image(encode(pillow.fromarray(scene()), "JPEG", exif=b"Exif\0\0" + exif))
        assert image.pixels.shape == (24, 40, 3) and image.focal_35mm is None


def test_bomb_is_refused_before_it_is_unpacked() -> None:
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 1, 0, 0, 0, 0)
    data = (
        png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(1000))) + png_chunk(b"IEND", b"")
    )
    with pytest.raises(ImageError, match="larger than 178 megapixels; scale it down"):
        read_image(b"\x89PNG\r\n\x1a\n" + data)
    with pytest.raises(ImageError, match="larger than 178 megapixels"):
        read_image(
            b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;"
        )


def test_what_no_photo_claims_is_refused_and_a_large_blank_one_is_not() -> None:
    with pytest.raises(ImageError, match=r"13000 x 13000 pixels in [\d,]+ bytes, as no photo does"):
        read_image(png(13_000, 13_000, 1, 0, zlib.compress(bytes(1626 * 13_000))))
    blank = read_image(encode(pillow.new("L", (7680, 4320), 99)))  # a screen of 8K
    assert blank.pixels.shape == (4320, 7680, 3) and (blank.pixels[::500, ::500] == 99).all()


def test_a_jpeg_of_a_thousand_passes_is_refused_and_a_progressive_one_is_not() -> None:
    good = encode(pillow.new("RGB", (2000, 1500)), "JPEG", progressive=True)
    assert 5 < good.count(b"\xff\xda") < 20 and read_image(good).width == 2000
    scan = good[good.rfind(b"\xff\xc4", 0, good.rfind(b"\xff\xda")) : -2]
    with pytest.raises(ImageError, match="more passes over the picture than any photo has"):
        read_image(good[:-2] + scan * 1000 + good[-2:])


def test_a_jpeg_of_a_hundred_passes_may_be_half_as_large(monkeypatch: pytest.MonkeyPatch) -> None:
    good = encode(pillow.new("RGB", (200, 150)), "JPEG", progressive=True)
    scan = good[good.rfind(b"\xff\xc4", 0, good.rfind(b"\xff\xda")) : -2]
    many = good[:-2] + scan * 90 + good[-2:]
    passes = many.count(b"\xff\xda")
    monkeypatch.setattr(images, "_MAX_SCANNED", 2 * 200 * 150 * passes)
    assert read_image(many).width == 200
    monkeypatch.setattr(images, "_MAX_SCANNED", 2 * 200 * 150 * passes - 2)
    assert read_image(good).width == 200
    with pytest.raises(ImageError, match="more passes"):
        read_image(many)


@pytest.mark.parametrize("orientation", [1, 4, 7])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "1", "CMYK", "I;16", "I", "F"])
def test_strips_of_a_large_picture_come_out_as_a_small_one_does(
    mode: str, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = np.random.default_rng(3)
    picture = pillow.fromarray(chance.integers(0, 256, (70, 50, 4)).astype(np.uint8), "RGBA")
    if mode in ("I;16", "I", "F"):
        wide = chance.integers(-5 if mode == "F" else 0, 60_000, (70, 50))
        picture = pillow.fromarray(wide.astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]))
    elif mode == "P":
        picture = picture.convert("RGB").quantize(32)
    else:
        picture = picture.convert(mode)
    exif = pillow.Exif()
    exif[0x0112] = orientation
    options: dict[str, object] = {"transparency": 3} if mode == "P" else {}
    if mode in ("RGB", "RGBA"):
        options["icc_profile"] = swapped_profile()
    data = encode(picture, "TIFF" if mode in ("CMYK", "F", "I") else "PNG", exif=exif, **options)
    whole = read_image(data)
    monkeypatch.setattr(images, "_STRIP_PIXELS", 350)
    in_strips = read_image(data)
    assert (whole.pixels == in_strips.pixels).all() and whole.notes == in_strips.notes
    assert whole.pixels.shape == ((50, 70, 3) if orientation == 7 else (70, 50, 3))


def test_a_phone_of_108_megapixels_is_within_the_limit() -> None:
    assert 12_000 * 9_000 < MAX_PIXELS < 1 << 28


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000"])
def test_truncated_files_are_one_clear_error(format: str, make_picture: MakePicture) -> None:
    data = make_picture(format, (200, 160))
    for kept in (0.1, 0.5):
        with pytest.raises(ImageError) as caught:
            read_image(data[: int(len(data) * kept)])
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"This is text, named photo.jpg", "not a picture that can be read"),
        (b"\xff\xd8", "not a picture|damaged"),
        (b"II*\0\x08\0\0\0" + bytes(40), "damaged picture, or a rare kind of TIFF; save it as"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a picture that can be read"),
    ],
)
def test_what_is_no_picture_says_so(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        read_image(data)


def test_hostile_bytes_give_an_image_or_an_image_error(make_picture: MakePicture) -> None:
    random = np.random.default_rng(7)
    outcomes = {"image": 0, "error": 0}
    for format in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"):
        good = np.frombuffer(make_picture(format), np.uint8)
        for _ in range(60):
            bad = good.copy()
            where = random.integers(0, min(len(bad), 400), random.integers(1, 12))
            bad[where] = random.integers(0, 256, len(where))
            try:
                image = read_image(bad.tobytes())
                assert image.pixels.ndim == 3 and image.pixels.dtype == np.uint8
                outcomes["image"] += 1
            except ImageError:
                outcomes["error"] += 1
    assert min(outcomes.values()) > 20


def test_a_damaged_tiff_says_nothing_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    """libtiff would, line by line and without the photo's name."""
    for compression in ("group4", "tiff_lzw", "tiff_adobe_deflate", "jpeg"):
        good = encode(pillow.fromarray(scene()).convert("1" if compression == "group4" else "RGB"), "TIFF",
                      compression=compression)  # fmt: skip
        for at in range(8, len(good), 7):
            try:
                read_image(good[:at] + b"\xa5" * 3 + good[at + 3 :])
            except ImageError:
                continue
    assert capfd.readouterr() == ("", "")


def test_decoding_warns_nobody() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(encode(pillow.new("L", (9500, 9500)), "JPEG"))  # Pillow would warn above 89 megapixels
