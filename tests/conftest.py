"""Pictures made in memory: what a camera or a hostile neighbour might have written."""

import io
import os
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image as pillow

import facecli


def picture_bytes(format: str = "JPEG", size: tuple[int, int] = (64, 48), **options: object) -> bytes:
    """A colour gradient, encoded; options go to Pillow's save()."""
    width, height = size
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0] = np.linspace(0, 255, width).astype(np.uint8)
    ramp[..., 1] = np.linspace(0, 255, height).astype(np.uint8)[:, None]
    ramp[..., 2] = 128
    buffer = io.BytesIO()
    pillow.fromarray(ramp).save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def children_find_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is not installed, and from any folder."""
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(os.path.dirname(facecli.__file__)))  # noqa: PTH120


@pytest.fixture
def make_picture() -> Callable[..., bytes]:
    return picture_bytes


@pytest.fixture
def jpeg() -> bytes:
    return picture_bytes()
