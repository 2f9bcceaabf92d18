"""The example photos, as tests read them, and what is known of one."""

from pathlib import Path

from facecli.images import Image, read_image

PHOTOS = Path(__file__).parent.parent / "examples" / "photos"
# Eileen Collins: points read off the picture, six times enlarged, by eye; pixels.
RIGHT_EYE, LEFT_EYE, NOSE_TIP, MOUTH = (203.0, 104.0), (246.0, 103.0), (224.0, 127.0), (223.5, 147.0)


def photo(name: str) -> Image:
    return read_image((PHOTOS / name).read_bytes())
