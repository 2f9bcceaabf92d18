"""What many tests share: pictures made in memory, an album of them, the face model of the weights, one real face."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image as pillow

import facecli

if TYPE_CHECKING:  # heavy: only the tests that ask for them wait
    from facecli.blendshapes import Blendshapes
    from facecli.complete import FaceModel
    from facecli.pipeline import Face, Reconstructor


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


@pytest.fixture
def album(tmp_path: Path, make_picture: Callable[..., bytes]) -> Path:
    """one.jpg: a face; none.png: no face; text.jpg: no picture; two/pair.jpg: two faces."""
    album = tmp_path / "album"
    (album / "two").mkdir(parents=True)
    (album / "one.jpg").write_bytes(make_picture("JPEG", (60, 41)))
    (album / "none.png").write_bytes(make_picture("PNG", (60, 40)))
    (album / "text.jpg").write_text("not a picture")
    (album / "two/pair.jpg").write_bytes(make_picture("JPEG", (60, 42)))
    return album


@pytest.fixture(scope="session")
def model() -> "FaceModel":
    from facecli.complete import load_face_model
    from facecli.weights import load_weights

    return load_face_model(load_weights())


@pytest.fixture(scope="session")
def shapes(model: "FaceModel") -> "Blendshapes":
    from facecli.blendshapes import load_blendshapes
    from facecli.weights import load_weights

    return load_blendshapes(load_weights(), model)


@pytest.fixture(scope="module")
def reconstructor() -> "Reconstructor":
    from facecli.pipeline import Reconstructor

    return Reconstructor(device="cpu", threads=1)


@pytest.fixture(scope="module")
def astronaut(reconstructor: "Reconstructor") -> "Face":
    from photos import photo

    faces = reconstructor.reconstruct(photo("astronaut.jpg"))
    assert len(faces) == 1
    return faces[0]
