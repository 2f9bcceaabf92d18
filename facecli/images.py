"""Untrusted bytes -> an upright sRGB picture, and pixels -> PNG.

The only module that decodes what users bring. Pillow decodes, from bytes, an allow-list of formats (its EPS
reader would start Ghostscript); every failure is one ImageError. What the file says about itself is honoured:
all eight orientations, ICC profiles, transparency (over white), 16-bit and float samples at their full range.
"""

import io
import math
import warnings
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8, UInt16
from PIL import Image as pillow
from PIL import ImageCms, UnidentifiedImageError
from PIL.Image import Image as PillowImage

from facecli.errors import ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000")  # JPEG covers MPO
MAX_PIXELS = 178_956_970  # Pillow's own hard limit: beyond it a few kilobytes can ask for gigabytes

_ORIENTATION, _EXIF_IFD, _FOCAL_35MM = 0x0112, 0x8769, 0xA405
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


@dataclass(frozen=True, eq=False)
class Image:
    """One decoded photo.

    pixels: upright, sRGB, RGB order. focal_35mm: the 35 mm equivalent focal length that the camera noted, mm.
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

    Raises ImageError, and nothing else, whatever the bytes are.
    """
    if not data:
        raise ImageError("the file is empty")
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS and b"avif" not in data[8:64]:
        raise ImageError("HEIC photos cannot be read; save it as JPEG or PNG")
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
        raise ImageError(_reason(exc)) from exc


def _decode(data: bytes) -> Image:
    try:
        picture: PillowImage = pillow.open(io.BytesIO(data), formats=FORMATS)
    except pillow.DecompressionBombError as exc:
        raise _too_large() from exc
    if picture.width * picture.height > MAX_PIXELS:
        raise _too_large()
    notes = ["first of several frames"] if getattr(picture, "is_animated", False) else []
    picture.seek(0)
    picture.load()
    exif = _exif(picture)  # after load(): Pillow turns TIFF itself there and drops the tag
    pixels = _to_srgb(picture, notes)
    return Image(_upright(pixels, exif.get(_ORIENTATION)), _focal(exif), tuple(notes))


def _exif(picture: PillowImage) -> Any:
    try:
        exif = picture.getexif()
        exif.get(_ORIENTATION)  # parses lazily: broken metadata shows here
        return exif
    except Exception:  # broken metadata does not make a broken picture
        return {}


def _focal(exif: Any) -> float | None:
    try:
        focal = float(exif.get_ifd(_EXIF_IFD).get(_FOCAL_35MM, 0))
    except Exception:
        return None
    return focal if math.isfinite(focal) and focal > 0 else None


def _to_srgb(picture: PillowImage, notes: list[str]) -> UInt8[np.ndarray, "h w 3"]:
    """Any Pillow mode -> sRGB: wide samples scaled, profile applied, transparency over white."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        grey = _to_8_bit(np.asarray(picture), notes)
        return np.repeat(grey[:, :, None], 3, axis=2)

    transparent = picture.has_transparency_data
    if picture.mode in ("P", "PA", "1") or (transparent and picture.mode != "LA"):
        picture = picture.convert("RGBA" if transparent else "RGB")
    alpha = picture.getchannel("A") if transparent else None
    if alpha is not None:
        picture = picture.convert("L" if picture.mode == "LA" else "RGB")  # profiles speak of colour only
    picture = _apply_profile(picture).convert("RGB")
    if alpha is not None:
        page = pillow.new("RGB", picture.size, "white")
        page.paste(picture, mask=alpha)
        picture = page
    return np.array(picture)  # a copy of our own: writable, independent of Pillow


def _to_8_bit(samples: Shaped[np.ndarray, "h w"], notes: list[str]) -> UInt8[np.ndarray, "h w"]:
    """Grey of more than 8 bits: 16 bit as a whole, 0..1 and 0..255 as they are, the rest by its own range."""
    values = np.nan_to_num(samples.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    whole = samples.dtype.kind in "iu"
    if samples.dtype == np.uint16 or (whole and low >= 0 and 255 < high <= 65535):
        low, high = 0.0, 65535.0
    elif whole and low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    elif not whole and low >= 0 and high <= 255:
        low, high = 0.0, 1.0 if high <= 1 else 255.0
    else:
        notes.append(f"grey values {low:g} to {high:g} stretched to black and white")
    scaled = (values - low) * (255.0 / max(high - low, 1e-12))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _apply_profile(picture: PillowImage) -> PillowImage:
    """Into sRGB by the embedded ICC profile; without one, or with a bad one, the numbers count as sRGB."""
    embedded = picture.info.get("icc_profile")
    if not embedded and picture.mode != "LAB":
        return picture
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(embedded)) if embedded else ImageCms.createProfile("LAB")
        if embedded and "sRGB" in ImageCms.getProfileDescription(source):
            return picture
        converted = ImageCms.profileToProfile(
            picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
        return converted or picture
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return picture


def _upright(pixels: UInt8[np.ndarray, "h w 3"], orientation: object) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Undo EXIF orientation 2..8; anything else is upright already."""
    turned = {
        2: lambda: pixels[:, ::-1],
        3: lambda: pixels[::-1, ::-1],
        4: lambda: pixels[::-1],
        5: lambda: pixels.transpose(1, 0, 2),
        6: lambda: pixels.transpose(1, 0, 2)[:, ::-1],
        7: lambda: pixels.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda: pixels.transpose(1, 0, 2)[::-1],
    }
    if isinstance(orientation, int) and orientation in turned:
        return np.ascontiguousarray(turned[orientation]())
    return pixels


def _too_large() -> ImageError:
    return ImageError(f"larger than {MAX_PIXELS // 1_000_000} megapixels; scale it down first")


def _reason(exc: Exception) -> str:
    if isinstance(exc, UnidentifiedImageError):
        return "not a picture that can be read (JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF and JPEG 2000 can)"
    text = " ".join(str(exc).split()) or type(exc).__name__
    return f"damaged picture: {text}"


def encode_png(
    pixels: UInt8[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"],
) -> bytes:
    """RGB, grey, or 16-bit grey -> PNG. Only the pixels are written: no profile, no EXIF."""
    # OpenCV takes BGR; it writes PNG about a third faster than Pillow, and twice as fast, and smaller, when it need
    # not try every filter on every row (which OpenCV before 4.11 never did).
    quick = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    if hasattr(cv2, "IMWRITE_PNG_FILTER"):
        quick += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    ordered = np.ascontiguousarray(pixels[:, :, ::-1]) if pixels.ndim == 3 else np.ascontiguousarray(pixels)
    done, encoded = cv2.imencode(".png", ordered, quick)
    if not done:
        raise ImageError(f"cannot encode {pixels.shape} {pixels.dtype} as PNG")
    return encoded.tobytes()


def encode_jpeg(pixels: UInt8[np.ndarray, "h w 3"], quality: int) -> bytes:
    """RGB -> JPEG; quality 1 to 100. Only the pixels are written."""
    done, encoded = cv2.imencode(
        ".jpg", np.ascontiguousarray(pixels[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise ImageError(f"cannot encode {pixels.shape} {pixels.dtype} as JPEG")
    return encoded.tobytes()
