"""What the completion network is given, and which network is taken."""

import hashlib
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from facecli.complete import FaceModel
from facecli.completion import CELLS, DENSE, FAR_MM, fingerprint, glimpse, load_completion
from facecli.errors import WeightsError
from facecli.weights import Manifest, Weights, WeightsFile, load_weights

SIZE = 128


def test_pixels_are_averaged_where_they_lie() -> None:
    cells = np.array([[0.0, 0.0], [1.0, 2.0], [127.0, 64.0]])
    offset = np.array([[1.0, 2, 3], [3, 4, 5], [7, 8, 9]])
    given, visibility, confidence = glimpse(cells, offset, np.array([1.0, 0.5, 0.2]), SIZE)
    np.testing.assert_allclose(given[0, 0], [2, 3, 4])
    np.testing.assert_allclose(given[16, CELLS - 1], [7, 8, 9])
    assert visibility[0, 0] == pytest.approx(2 / DENSE) and confidence[0, 0] == pytest.approx(0.75)
    assert confidence[16, CELLS - 1] == pytest.approx(0.2)
    assert np.count_nonzero(visibility) == 2 and visibility.max() <= 1
    given[0, 0] = given[16, CELLS - 1] = 0
    assert not given.any(), "nothing where nothing is seen"


def test_many_pixels_fill_a_cell_and_no_more() -> None:
    _, visibility, confidence = glimpse(np.zeros((500, 2)), np.zeros((500, 3)), None, SIZE)
    assert visibility[0, 0] == 1 and (confidence == 1).all()


def test_what_is_nothing_of_a_face_is_left_out() -> None:
    offset = np.array([[1.0, 0, 0], [FAR_MM + 1, 0, 0]])
    given, visibility, _ = glimpse(np.zeros((2, 2)), offset, None, SIZE)
    assert given[0, 0, 0] == 1 and visibility[0, 0] == pytest.approx(1 / DENSE)


def test_places_beyond_the_grid_count_for_its_edge() -> None:
    _, visibility, _ = glimpse(np.array([[-0.5, 127.5]]), np.zeros((1, 3)), None, SIZE)
    assert visibility[CELLS - 1, 0] > 0


def test_the_network_says_the_same_of_the_same(model: FaceModel) -> None:
    assert model.network is not None
    random = np.random.default_rng(0)
    offset = random.normal(0, 3, (CELLS, CELLS, 3)).astype(np.float32)
    visibility = (random.random((CELLS, CELLS)) < 0.5).astype(np.float32)
    offset *= visibility[..., None]
    full = np.ones((CELLS, CELLS), np.float32)
    first = model.network.change(offset, visibility, full)
    assert first.shape == (*model.modes.shape[1:3], 3) and np.isfinite(first).all()
    assert first.tobytes() == model.network.change(offset, visibility, full).tobytes()


@pytest.mark.parametrize("scale", [0.0, 1e3, 1e6])
def test_nonsense_stays_finite(model: FaceModel, scale: float) -> None:
    assert model.network is not None
    offset = np.full((CELLS, CELLS, 3), scale, np.float32)
    full = np.ones((CELLS, CELLS), np.float32)
    assert np.isfinite(model.network.change(offset, full, full)).all()
    assert np.isfinite(model.network.change(offset, 0 * full, 0 * full)).all()


def test_other_modes_are_refused(model: FaceModel) -> None:
    other = replace(model, modes=model.modes[::-1].copy())
    assert fingerprint(other.modes) != fingerprint(model.modes) == fingerprint(model.modes.astype(np.float16))
    with pytest.raises(WeightsError, match=r"another completion\.safetensors: install facecli again"):
        load_completion(load_weights(), other.modes)


@pytest.mark.parametrize("data", [b"", b"not a network"])
def test_a_damaged_network_is_refused(tmp_path: Path, model: FaceModel, data: bytes) -> None:
    (tmp_path / "completion.onnx").write_bytes(data)
    entry = WeightsFile(hashlib.sha256(data).hexdigest(), len(data), "Apache-2.0")
    files = MappingProxyType({"completion.onnx": entry})
    weights = Weights(tmp_path, Manifest("1", "today", files, MappingProxyType({}), MappingProxyType({})))
    with pytest.raises(WeightsError, match=r"completion\.onnx"):
        load_completion(weights, model.modes)
