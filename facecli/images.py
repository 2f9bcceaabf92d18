"""Untrusted bytes -> an upright sRGB picture, and pixels -> PNG.

The only module that decodes what users bring. Pillow decodes, from bytes, an allow-list of formats (its EPS
reader would start Ghostscript); every failure is one ImageError. What the file says about itself is honoured:
all eight orientations, ICC profiles, transparency (over white), 16-bit and float samples at their full range.
"""

import ctypes
import io
import logging
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32, Shaped, UInt8, UInt16
from PIL import Image as pillow
from PIL import ImageCms, UnidentifiedImageError, _imaging
from PIL.Image import Image as PillowImage

from facecli.errors import ImageError
from facecli.exif import focal_35mm

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000")  # JPEG covers MPO
MAX_PIXELS = 178_956_970  # Pillow's own hard limit: beyond it a few kilobytes can ask for gigabytes

_ORIENTATION, _EXIF_IFD = 0x0112, 0x8769
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"BM": "BMP",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xffO\xffQ": "JPEG 2000",
}

# A few kilobytes can claim any size. Below the first figure that does no harm; above it a file must have a byte
# for so many pixels, which a photo of any codec exceeds many times over, and even a blank baseline JPEG does.
_HARMLESS_PIXELS = 1 << 25
_PIXELS_PER_BYTE = 250
_MAX_SCANNED = 1 << 31  # pixels times scans of a JPEG, and half as much from
_MANY_SCANS = 40  # scans on
_STRIP_PIXELS = 1 << 22

logging.getLogger("PIL").addHandler(logging.NullHandler())  # without any, its complaints land on stderr


@dataclass(frozen=True, eq=False)
class Image:
    """One decoded photo.

    pixels: upright, sRGB, RGB order. focal_35mm: the 35 mm equivalent focal length by what the camera noted, mm.
    notes: what a user might want to know about the decoding ("first of several frames").
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    focal_35mm: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])


def read_image(data: bytes) -> Image:
    """Decode a JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF or JPEG 2000 file into an upright sRGB picture.

    HEIC too where the extra `heic` is installed. Raises ImageError, and nothing else, whatever the bytes are.
    """
    if not data:
        raise ImageError("the file is empty")
    try:
        # Pillow warns of odd metadata and of large pictures; neither concerns the user, the limit is ours.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(data)
    except ImageError:
        raise
    except MemoryError as exc:
        raise ImageError("not enough memory to decode it; scale it down first") from exc
    except Exception as exc:  # decoders raise almost anything on hostile bytes
        raise ImageError(_reason(exc, data)) from exc


def _decode(data: bytes) -> Image:
    picture = _open(data)
    _check_size(picture, data)
    notes = []
    if getattr(picture, "is_animated", False):
        if picture.format == "HEIF":
            notes.append("the main one of several pictures")  # the file says which; it need not be the first
        else:
            notes.append("first of several frames")
            picture.seek(0)
    picture.load()
    exif = _exif(picture)  # after load(): Pillow turns TIFF itself there and drops the tag
    return Image(_to_upright_srgb(picture, exif.get(_ORIENTATION), notes), _focal(exif), tuple(notes))


@cache
def _silence_libtiff() -> None:
    """Pillow's libtiff prints its complaints on stderr, beside the one error that we raise."""
    try:
        library = ctypes.CDLL(_imaging.__file__)
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)
    except (OSError, AttributeError):  # linked otherwise: then it talks
        return


def _open(data: bytes) -> PillowImage:
    kind = _kind(data)
    if kind == "TIFF":
        _silence_libtiff()
    if kind != "HEIC":
        try:
            return pillow.open(io.BytesIO(data), formats=FORMATS)
        except pillow.DecompressionBombError as exc:
            raise _too_large() from exc
    try:
        from pillow_heif import HeifImageFile
    except ImportError as exc:
        raise ImageError(
            "HEIC photos need one more package: pip install 'facecli[heic]'; or save it as JPEG"
        ) from exc
    picture: PillowImage = HeifImageFile(io.BytesIO(data))
    return picture


def _check_size(picture: PillowImage, data: bytes) -> None:
    """Refuse what would fill memory or take minutes, by what the file claims and before it is unpacked."""
    pixels = picture.width * picture.height
    if pixels > MAX_PIXELS:
        raise _too_large()
    if pixels > _HARMLESS_PIXELS and pixels > _PIXELS_PER_BYTE * len(data):
        raise ImageError(
            f"claims {picture.width} x {picture.height} pixels in {len(data):,} bytes, as no photo does; "
            "damaged, or made to fill memory"
        )
    # Every scan of a progressive JPEG goes over the whole picture; cameras and editors write about ten.
    if picture.format in ("JPEG", "MPO"):
        scans = data.count(b"\xff\xda")
        if pixels * scans > (_MAX_SCANNED if scans < _MANY_SCANS else _MAX_SCANNED // 2):
            raise ImageError("more passes over the picture than any photo has; made to waste time")


def _exif(picture: PillowImage) -> Any:
    try:
        exif = picture.getexif()
        exif.get(_ORIENTATION)  # parses lazily: broken metadata shows here
        return exif
    except Exception:  # broken metadata does not make a broken picture
        return {}


def _focal(exif: Any) -> float | None:
    try:
        return focal_35mm(exif.get_ifd(_EXIF_IFD))
    except Exception:  # as above: reading the table is what may fail
        return None


def _to_upright_srgb(
    picture: PillowImage, orientation: object, notes: list[str]
) -> UInt8[np.ndarray, "h w 3"]:
    """Any Pillow picture -> sRGB, in strips: a large one never stands in memory a third time."""
    wide = picture.mode in ("I", "F") or picture.mode.startswith("I;16")
    convert = _wide_grey_converter(picture, notes) if wide else _colour_converter(picture)
    swapped = orientation in (5, 6, 7, 8)
    upright = np.empty((*(picture.size if swapped else picture.size[::-1]), 3), np.uint8)
    stored = _as_stored(upright, orientation)
    for top, strip in _strips(picture):
        stored[top : top + strip.height] = convert(strip)
    return upright


def _strips(picture: PillowImage) -> Iterator[tuple[int, PillowImage]]:
    """Top row and picture of one strip of full width after the other."""
    rows = max(1, _STRIP_PIXELS // picture.width)
    if rows >= picture.height:
        yield 0, picture
        return
    for top in range(0, picture.height, rows):
        yield top, picture.crop((0, top, picture.width, min(top + rows, picture.height)))


def _as_stored(upright: UInt8[np.ndarray, "h w 3"], orientation: object) -> UInt8[np.ndarray, "h2 w2 3"]:
    """A view of an upright picture as a camera of EXIF orientation 1..8 stores it; all else is upright."""
    views = {
        2: lambda: upright[:, ::-1],
        3: lambda: upright[::-1, ::-1],
        4: lambda: upright[::-1],
        5: lambda: upright.transpose(1, 0, 2),
        6: lambda: upright[:, ::-1].transpose(1, 0, 2),
        7: lambda: upright[::-1, ::-1].transpose(1, 0, 2),
        8: lambda: upright[::-1].transpose(1, 0, 2),
    }
    return views[orientation]() if isinstance(orientation, int) and orientation in views else upright


def _colour_converter(picture: PillowImage) -> Callable[[PillowImage], UInt8[np.ndarray, "h w 3"]]:
    """Strips of 8-bit modes -> sRGB: the embedded profile applied, transparency over white."""
    transparent = picture.has_transparency_data
    profile = _profile_converter(picture, transparent)

    def convert(strip: PillowImage) -> UInt8[np.ndarray, "h w 3"]:
        if strip.mode in ("P", "PA", "1") or (transparent and strip.mode != "LA"):
            strip = strip.convert("RGBA" if transparent else "RGB")
        alpha = strip.getchannel("A") if transparent else None
        if alpha is not None:
            strip = strip.convert("L" if strip.mode == "LA" else "RGB")  # profiles speak of colour only
        strip = profile(strip).convert("RGB")
        if alpha is not None:
            page = pillow.new("RGB", strip.size, "white")
            page.paste(strip, mask=alpha)
            strip = page
        return np.asarray(strip)

    return convert


def _wide_grey_converter(
    picture: PillowImage, notes: list[str]
) -> Callable[[PillowImage], UInt8[np.ndarray, "h w 1"]]:
    """Strips of grey of more than 8 bits -> 8 bits: 16 bit as a whole, 0..1 and 0..255 as they are, the rest by
    its own range; a transparent shade is white."""
    low, high = _grey_range(picture, notes)
    clear = picture.info.get("transparency")

    def convert(strip: PillowImage) -> UInt8[np.ndarray, "h w 1"]:
        samples = np.asarray(strip)
        scaled = (_finite(samples) - low) * (255.0 / max(high - low, 1e-12))
        grey = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
        if isinstance(clear, int):
            grey[samples == clear] = 255
        return grey[:, :, None]

    return convert


def _grey_range(picture: PillowImage, notes: list[str]) -> tuple[float, float]:
    """The values that are black and white."""
    if picture.mode.startswith("I;16"):
        return 0.0, 65535.0
    ends = []
    for _, strip in _strips(picture):
        values = _finite(np.asarray(strip))
        ends.append((float(values.min()), float(values.max())))
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    if picture.mode == "I" and low >= 0 and high <= 65535:
        return 0.0, 255.0 if high <= 255 else 65535.0
    if picture.mode == "F" and low >= 0 and high <= 255:
        return 0.0, 1.0 if high <= 1 else 255.0
    notes.append(f"grey values {low:g} to {high:g} stretched to black and white")
    return low, high


def _finite(samples: Shaped[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    return np.nan_to_num(samples.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)


def _profile_converter(picture: PillowImage, transparent: bool) -> Callable[[PillowImage], PillowImage]:
    """Into sRGB by the embedded ICC profile; without one, or with a bad one, the numbers count as sRGB."""
    embedded = picture.info.get("icc_profile")
    mode = picture.mode
    if mode in ("P", "PA", "1") or (transparent and mode != "LA"):
        mode = "RGB"
    elif mode == "LA":
        mode = "L"
    if not embedded and mode != "LAB":
        return lambda strip: strip
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(embedded)) if embedded else ImageCms.createProfile("LAB")
        if embedded and "sRGB" in ImageCms.getProfileDescription(source):
            return lambda strip: strip
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return lambda strip: strip
    return lambda strip: ImageCms.applyTransform(strip, transform) or strip


def _kind(data: bytes) -> str | None:
    """What the first bytes say that the file is, as people call it."""
    if data[4:8] == b"ftyp":
        if data[8:12] in (b"avif", b"avis") or b"avif" in data[8:64]:
            return "AVIF"
        return "HEIC" if data[8:12] in _HEIC_BRANDS else None
    if data[:4] == b"RIFF":
        return "WebP" if data[8:12] == b"WEBP" else None
    return next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)


def _too_large() -> ImageError:
    return ImageError(f"larger than {MAX_PIXELS // 1_000_000} megapixels; scale it down first")


def _reason(exc: Exception, data: bytes) -> str:
    kind = _kind(data)
    if isinstance(exc, UnidentifiedImageError) and kind is None:
        return "not a picture that can be read (JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF and JPEG 2000 can)"
    if isinstance(exc, UnidentifiedImageError):
        return f"damaged picture, or a rare kind of {kind}; save it as JPEG or 8-bit PNG"
    text = " ".join(str(exc).split()) or type(exc).__name__
    return f"damaged picture: {text:.120}"


def encode_png(
    pixels: UInt8[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"],
) -> bytes:
    """RGB, grey, or 16-bit grey -> PNG. Only the pixels are written: no profile, no EXIF."""
    if pixels.size == 0:
        raise ImageError(f"cannot encode {pixels.shape} {pixels.dtype} as PNG")
    height, width = pixels.shape[:2]
    big_endian = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">"))
    samples = big_endian.view(np.uint8).reshape(height, -1)
    # Each row as its difference from the one above. Choosing among the five filters row by row, as libpng does,
    # takes twice the time and saves next to nothing on photos.
    rows = np.empty((height, 1 + samples.shape[1]), np.uint8)
    rows[:, 0], rows[0, 1:] = _PNG_UP, samples[0]
    np.subtract(samples[1:], samples[:-1], out=rows[1:, 1:])
    colour = _PNG_RGB if pixels.ndim == 3 else _PNG_GREY
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", _deflated(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(kind, data) for kind, data in chunks)


_PNG_UP, _PNG_GREY, _PNG_RGB = 2, 0, 2  # PNG specification, sections 9.2 and 11.2.1


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _deflated(rows: UInt8[np.ndarray, "h n"]) -> bytes:
    """A zlib stream, made in the least time: by ISA-L, which needs a quarter of zlib's, wherever it runs."""
    try:
        from isal import isal_zlib
    except ImportError:
        packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
        return packer.compress(rows.data) + packer.flush()
    return isal_zlib.compress(rows, 1)


def encode_jpeg(pixels: UInt8[np.ndarray, "h w 3"], quality: int) -> bytes:
    """RGB -> JPEG; quality 1 to 100. Only the pixels are written."""
    done, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise ImageError(f"cannot encode {pixels.shape} {pixels.dtype} as JPEG")
    return encoded.tobytes()
