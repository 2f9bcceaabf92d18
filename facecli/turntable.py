"""A face that turns: frames of a loop, and the loop as an animated picture."""

import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import UInt8

from facecli.errors import UsageError
from facecli.mesh import Mesh
from facecli.render import portraits

KINDS = {".webp": "WEBP", ".gif": "GIF", ".png": "PNG"}
LOOKS = {"clay": (0,), "color": (1,), "both": (0, 1)}


def angles(frames: int, swing: float) -> list[float]:
    """Degrees of yaw of each frame: to both sides and back, or all the way round from 180 on."""
    if swing >= 180:
        return [360 * i / frames for i in range(frames)]
    return [swing * math.sin(2 * math.pi * i / frames) for i in range(frames)]


def turntable(
    mesh: Mesh, look: str = "both", frames: int = 40, swing: float = 50.0, size: int = 384
) -> Iterator[UInt8[np.ndarray, "size width 3"]]:
    """The frames of a loop. look: clay, color, or both side by side.

    Raises UsageError for an unknown look.
    """
    if look not in LOOKS:
        raise UsageError(f"unknown look {look!r}; choose from {', '.join(LOOKS)}")
    drawn: dict[float, UInt8[np.ndarray, "size width 3"]] = {}
    for angle in angles(frames, swing):
        yaw = round(angle, 6) + 0.0  # a swing comes by every angle twice
        if yaw not in drawn:
            views = portraits(mesh, yaw, size)
            drawn[yaw] = np.concatenate([views[k] for k in LOOKS[look]], axis=1)
        yield drawn[yaw]


def encode_loop(frames: list[UInt8[np.ndarray, "h w 3"]], seconds: float, suffix: str) -> bytes:
    """An endless animation as WebP, GIF or PNG (APNG). Raises UsageError for another suffix."""
    from PIL import Image

    if suffix.lower() not in KINDS:
        raise UsageError(f"cannot write {suffix or 'a file without suffix'}; choose from {', '.join(KINDS)}")
    kind = KINDS[suffix.lower()]
    pictures = [Image.fromarray(frame) for frame in frames]
    options: dict[str, dict[str, Any]] = {
        "WEBP": {"quality": 82, "method": 4},
        "GIF": {"optimize": False},
        "PNG": {},
    }
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        kind,
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 * seconds / len(frames)),
        loop=0,
        **options[kind],
    )
    return buffer.getvalue()
