"""Files that are no good photo, thousands of them, always the same: what disks, transfers and enemies make.

`corrupt_files` damages small valid pictures of every kind that facecli reads: cut short, bits flipped, bytes
overwritten, blocks lost, doubled and swapped, two files glued together, header fields that lie, checksums right
again after the lie; then come bombs and things that are no pictures at all. Run as a program it decodes them (or
the files of a folder) one after the other in this one process and prints two JSON lines for each, its name before
and what came of it after: a crash, a hang or a swollen process names its file.
"""

import faulthandler
import io
import json
import random
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image as pillow
from PIL import ImageCms

EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
HANGS_AFTER = 60  # seconds: then the program ends with a traceback
MOST_MEMORY = 8 << 30  # bytes of addresses: beyond it decoding fails instead of the machine


def corrupt_files() -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of some 3,000 files; the same in every run with the same Pillow."""
    yield from damaged()
    yield from bombs()
    yield from lies()
    yield from no_pictures()


def damaged() -> Iterator[tuple[str, bytes]]:
    """Every seed, whole and after every kind of accident."""
    whole = seeds()
    names = sorted(whole)
    for name in names:
        chance = random.Random(name)  # its own, so that one seed more or less changes no other's files
        yield f"{name} whole", whole[name]
        for kind, (count, damage) in DAMAGES.items():
            for index in range(count):
                yield f"{name} {kind} {index}", damage(whole[name], chance)
        other = whole[chance.choice(names)]
        for index in range(4):
            yield f"{name} glued {index}", _glued(whole[name], other, chance)


def seeds() -> dict[str, bytes]:
    """Small valid pictures: every format, and the variants whose decoders differ."""
    chance = np.random.default_rng(1)
    noise = chance.integers(0, 256, (40, 48, 3)).astype(np.uint8)
    colour = pillow.fromarray(noise // 4 + np.arange(48, dtype=np.uint8)[None, :, None] * 3)
    clear = colour.convert("RGBA")
    clear.putalpha(colour.convert("L"))
    wide = pillow.fromarray(noise[..., 0].astype(np.uint16) * 257)
    real = pillow.fromarray(noise[..., 0].astype(np.float32) / 255)
    exif = pillow.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0xA405] = 28
    made_now = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = made_now[:24] + bytes(12) + made_now[36:]  # without the time
    twice = {"save_all": True, "append_images": [colour.rotate(90)]}
    made = {
        "jpeg": encode(colour, "JPEG"),
        "jpeg progressive": encode(colour, "JPEG", progressive=True),
        "jpeg exif icc": encode(colour, "JPEG", exif=exif, icc_profile=profile),
        "jpeg cmyk": encode(colour.convert("CMYK"), "JPEG"),
        "jpeg grey": encode(colour.convert("L"), "JPEG"),
        "jpeg mpo": encode(colour, "MPO", **twice),
        "png": encode(colour, "PNG"),
        "png alpha": encode(clear, "PNG", exif=exif),
        "png palette": encode(colour.quantize(16), "PNG", transparency=3),
        "png 16 bit": encode(wide, "PNG"),
        "png 1 bit": encode(colour.convert("1"), "PNG"),
        "png text icc": encode(colour, "PNG", icc_profile=profile),
        "png animated": encode(colour, "PNG", **twice),
        "webp": encode(colour, "WEBP"),
        "webp lossless alpha": encode(clear, "WEBP", lossless=True, exif=exif),
        "webp alpha": encode(clear, "WEBP"),
        "webp animated": encode(colour, "WEBP", **twice),
        "tiff": encode(colour, "TIFF", exif=exif),
        "tiff lzw": encode(colour, "TIFF", compression="tiff_lzw"),
        "tiff deflate": encode(clear, "TIFF", compression="tiff_adobe_deflate"),
        "tiff jpeg": encode(colour, "TIFF", compression="jpeg"),
        "tiff fax": encode(colour.convert("1"), "TIFF", compression="group4"),
        "tiff packbits": encode(colour.convert("CMYK"), "TIFF", compression="packbits"),
        "tiff float": encode(real, "TIFF"),
        "tiff 16 bit pages": encode(wide, "TIFF", save_all=True, append_images=[wide]),
        "gif": encode(colour, "GIF"),
        "gif animated": encode(colour, "GIF", **twice),
        "bmp": encode(colour, "BMP"),
        "bmp palette": encode(colour.quantize(200), "BMP"),
        "bmp alpha": encode(clear, "BMP"),
        "avif": encode(colour, "AVIF", speed=10, exif=exif),
        "avif alpha": encode(clear, "AVIF", speed=10),
        "jp2": encode(colour, "JPEG2000"),
        "j2k": encode(clear, "JPEG2000", no_jp2=True),
    }
    try:
        from pillow_heif import HeifFile, from_pillow
    except ImportError:
        return made
    for name, picture in {"heic": colour, "heic alpha": clear}.items():
        heif: HeifFile = from_pillow(picture)
        buffer = io.BytesIO()
        heif.save(buffer, quality=60)
        made[name] = buffer.getvalue()
    return made


def encode(picture: pillow.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def _flipped(data: bytes, chance: random.Random) -> bytes:
    bad = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 8, 64))):
        bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
    return bytes(bad)


def _overwritten(data: bytes, chance: random.Random) -> bytes:
    """A run of zeros, of ones or of noise, often in the header."""
    bad = bytearray(data)
    start = chance.randrange(min(len(bad), chance.choice((64, 600, len(bad)))))
    length = min(chance.choice((1, 2, 4, 16, 512)), len(bad) - start)
    bad[start : start + length] = chance.choice((bytes(length), b"\xff" * length, chance.randbytes(length)))
    return bytes(bad)


def _extreme(data: bytes, chance: random.Random) -> bytes:
    """A number of 16 or 32 bits in the header replaced by one that programmers forget."""
    code = chance.choice((">H", "<H", ">I", "<I"))
    size = struct.calcsize(code)
    at = chance.randrange(max(1, min(len(data), 400) - size))
    number = chance.choice(EXTREMES) % (1 << 8 * size)
    return data[:at] + struct.pack(code, number) + data[at + size :]


def _rearranged(data: bytes, chance: random.Random) -> bytes:
    """A block lost, doubled, put elsewhere, or foreign bytes in between."""
    a, b, c = sorted(chance.randrange(len(data)) for _ in range(3))
    return chance.choice(
        (
            data[:a] + data[b:],
            data[:b] + data[a:],
            data[:a] + data[b:c] + data[a:b] + data[c:],
            data[:a] + chance.randbytes(chance.choice((1, 7, 300))) + data[a:],
        )
    )


def _glued(data: bytes, other: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))] + other[chance.randrange(len(other)) :]


DAMAGES: dict[str, tuple[int, Callable[[bytes, random.Random], bytes]]] = {
    "cut": (16, _cut),
    "flipped": (18, _flipped),
    "overwritten": (16, _overwritten),
    "extreme": (20, _extreme),
    "rearranged": (10, _rearranged),
}


def png(width: int, height: int, bits: int, colour: int, packed: bytes, *chunks: bytes) -> bytes:
    """A PNG whose checksums are right, whatever it says. packed: its rows, deflated."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    body = b"".join(chunks) + png_chunk(b"IDAT", packed) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + body


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed_zeros(count: int) -> bytes:
    """Deflated zeros, a thousandth of their number, without ever holding them all."""
    packer, million = zlib.compressobj(9), bytes(1_000_000)
    whole, rest = divmod(count, len(million))
    return (
        b"".join(packer.compress(million) for _ in range(whole))
        + packer.compress(bytes(rest))
        + packer.flush()
    )


def tiff(tags: dict[int, tuple[int, int, int]], *, order: str = "<", following: int = 0) -> bytes:
    """A TIFF of one directory: tag -> (type, count, value or offset)."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entries = b"".join(struct.pack(f"{order}HHII", tag, *entry) for tag, entry in sorted(tags.items()))
    return mark + struct.pack(f"{order}IH", 8, len(tags)) + entries + struct.pack(f"{order}I", following)


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small files that ask for gigabytes or hours; the sizes are real, the pictures (nearly) valid."""
    yield "bomb png 1 bit 40000", png(40_000, 40_000, 1, 0, packed_zeros(5001 * 40_000))
    yield "bomb png rgb 13000", png(13_000, 13_000, 8, 2, packed_zeros(50_000_000))
    yield "bomb png rgba 16 bit 4000", png(4000, 4000, 16, 6, packed_zeros(32_001 * 4000))
    yield "bomb png endless", png(60, 40, 8, 2, packed_zeros(50_000_000))
    for kind, head in (
        (b"zTXt", b"Comment\0\0"),
        (b"iCCP", b"icc\0\0"),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0"),
    ):
        chunk = png_chunk(kind, head + packed_zeros(50_000_000))
        yield f"bomb png {kind.decode()}", png(8, 8, 8, 0, packed_zeros(72), chunk)
    many = [png_chunk(b"tEXt", b"k%d\0" % index + b"x" * 900_000) for index in range(100)]
    yield "bomb png many texts", png(8, 8, 8, 0, packed_zeros(72), *many)
    yield (
        "bomb gif 65535",
        b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;",
    )
    yield (
        "bomb gif frame outside its page",
        b"GIF89a\x08\0\x08\0\x80\0\0" + bytes(6) + b",\xff\xff\xff\xff\xff\xff\xff\xff\0\x02\x02D\x01\0;",
    )
    yield "bomb webp lossless 5790", encode(pillow.new("RGB", (5790, 5790)), "WEBP", lossless=True, method=0)
    yield "bomb webp lossless 16383", b"RIFF\x1e\0\0\0WEBPVP8L\x11\0\0\0/" + b"\xff" * 4 + bytes(12)
    yield "bomb jp2 5790", encode(pillow.new("L", (5790, 5790)), "JPEG2000")
    blank = encode(pillow.new("RGB", (4000, 4000), (90, 120, 20)), "JPEG", progressive=True)
    last_scan = blank[blank.rfind(b"\xff\xc4", 0, blank.rfind(b"\xff\xda")) : -2]
    yield "bomb jpeg 100 scans", blank[:-2] + last_scan * 100 + blank[-2:]
    yield "bomb jpeg 9000 scans", blank[:-2] + last_scan * 9000 + blank[-2:]
    small = encode(pillow.new("RGB", (16, 16)), "JPEG")
    yield "bomb jpeg comments", small[:2] + (b"\xff\xfe\xff\xff" + b"x" * 65_533) * 1500 + small[2:]
    short, long = 3, 4
    plain = {256: (short, 1, 64), 257: (short, 1, 64), 258: (short, 1, 8), 259: (short, 1, 1)}
    plain |= {262: (short, 1, 1), 273: (long, 1, 8), 277: (short, 1, 1), 278: (long, 1, 64)}
    yield "bomb tiff huge strips", tiff(plain | {279: (long, 1, 0xFFFFFFF0), 278: (long, 1, 0xFFFFFFF0)})
    yield "bomb tiff huge tag", tiff(plain | {270: (2, 0xFFFFFF00, 8)})
    yield "bomb tiff many strips", tiff(plain | {273: (long, 0x10000000, 8), 279: (long, 0x10000000, 8)})
    yield (
        "bomb tiff 60000",
        tiff(
            plain
            | {256: (long, 1, 60_000), 257: (long, 1, 60_000), 259: (short, 1, 8), 278: (long, 1, 60_000)}
        ),
    )
    yield "bomb tiff its own next page", tiff(plain, following=8)
    pages = b"".join(
        struct.pack("<HHHIII", 1, 254, long, 1, 0, 8 + 18 * (index + 1)) for index in range(50_000)
    )
    yield "bomb tiff 50000 pages", b"II*\0" + struct.pack("<I", 8) + pages
    yield (
        "bomb bmp 100000",
        b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, 100_000, 100_000, 1, 24, *[0] * 6),
    )


def lies() -> Iterator[tuple[str, bytes]]:
    """Every field of every header that gives a size, lying, with checksums to match."""
    rows = zlib.compress(b"".join(b"\0" + bytes(range(48)) * 3 for _ in range(40)))
    for width in (0, 1, 47, 49, 5000, 0x7FFFFFFF, 0xFFFFFFFF):
        for height in (0, 1, 39, 41, 5000, 0x7FFFFFFF, 0xFFFFFFFF):
            yield f"lie png {width} x {height}", png(width, height, 8, 2, rows)
    for bits in (0, 1, 2, 3, 4, 8, 16, 32, 255):
        for colour in (0, 1, 2, 3, 4, 5, 6, 255):
            yield f"lie png {bits} bits colour {colour}", png(48, 40, bits, colour, rows)
    jpeg = encode(pillow.new("RGB", (48, 40)), "JPEG")
    frame = jpeg.index(b"\xff\xc0") + 5
    for height in (0, 1, 39, 41, 400, 65_500):
        for width in (0, 1, 47, 49, 400, 65_500):
            yield (
                f"lie jpeg {width} x {height}",
                jpeg[:frame] + struct.pack(">HH", height, width) + jpeg[frame + 4 :],
            )
    bmp = encode(pillow.new("RGB", (48, 40)), "BMP")
    for at, what in (
        (10, "offset"),
        (14, "header"),
        (18, "width"),
        (22, "height"),
        (28, "bits"),
        (30, "packing"),
    ):
        for number in EXTREMES:
            yield f"lie bmp {what} {number}", bmp[:at] + struct.pack("<I", number) + bmp[at + 4 :]
    short, long = 3, 4
    good = {
        256: (short, 1, 48),
        257: (short, 1, 40),
        258: (short, 1, 8),
        259: (short, 1, 1),
        262: (short, 1, 1),
    }
    good |= {273: (long, 1, 8), 277: (short, 1, 1), 278: (long, 1, 40), 279: (long, 1, 1920)}
    for tag in good:
        for number in (0, 1, 7, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF):
            for order in "<>":
                yield f"lie tiff {tag} = {number} {order}", tiff(good | {tag: (long, 1, number)}, order=order)


def no_pictures() -> Iterator[tuple[str, bytes]]:
    """What else is called photo.jpg."""
    chance = random.Random("no pictures")
    yield "nothing", b""
    for magic in (
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"BM",
        b"II*\0",
        b"MM\0*",
        b"RIFF\0\0\0\0WEBP",
    ):
        for tail in (b"", bytes(2000), b"\xff" * 2000, chance.randbytes(2000)):
            yield f"magic {magic!r} and {len(tail)} {tail[:1]!r}", magic + tail
    for brand in (b"avif", b"avis", b"heic", b"mif1", b"msf1", b"mp42", b"qt  "):
        yield f"brand {brand.decode()}", b"\0\0\0\x18ftyp" + brand + bytes(4) + brand + b"miaf" + bytes(200)
    yield "text", b"This is no photo.\n" * 50
    yield "html", b"<!doctype html><title>404 Not Found</title>" * 20
    yield "svg", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    yield "postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(x) show\n"
    yield "pdf", b"%PDF-1.7\n1 0 obj<<>>endobj\n"
    yield "zip", b"PK\x03\x04" + chance.randbytes(500)
    yield "elf", b"\x7fELF\x02\x01\x01" + chance.randbytes(500)
    yield (
        "pickle",
        b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
    )
    yield "zeros", bytes(100_000)
    yield "noise", chance.randbytes(100_000)
    good = encode(pillow.new("RGB", (16, 16)), "JPEG")
    yield "jpeg after text", b"text" + good
    yield "jpeg before zip", good + b"PK\x03\x04" + chance.randbytes(500)


def peak_memory() -> int:
    """Bytes of memory this process has held at most."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would tell the parent's peak too
        return next(
            int(line.split()[1]) << 10 for line in status.read_text().splitlines() if line.startswith("VmHWM")
        )
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def judge(data: bytes) -> dict[str, object]:
    """What reading some bytes came to, its processor time, and the most memory held until then."""
    from facecli.errors import ImageError
    from facecli.images import Image, read_image

    began = time.process_time()
    message = None
    try:
        image = read_image(data)
        assert isinstance(image, Image) and image.pixels.dtype == np.uint8
        assert image.pixels.ndim == 3 and image.pixels.shape[2] == 3 and image.pixels.size
        outcome = "picture"
    except ImageError as error:
        outcome, message = "error", str(error)
    except BaseException as error:  # whatever else there is, is what we look for
        outcome, message = type(error).__name__, str(error)
    seconds = time.process_time() - began
    return {"outcome": outcome, "message": message, "seconds": seconds, "peak": peak_memory()}


def main() -> None:
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    files = corrupt_files()
    if len(sys.argv) > 1:
        found = sorted(path for path in Path(sys.argv[1]).rglob("*") if path.is_file())
        files = ((str(path), path.read_bytes()) for path in found)
    for name, data in files:
        sys.stdout.write(f"{json.dumps(name)}\n")
        sys.stdout.flush()  # whatever happens now, its name is known
        faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
        sys.stdout.write(f"{json.dumps(judge(data))}\n")
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
