"""The head that tells a face's expression, and the shapes that take it off again."""

import hashlib
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from safetensors.numpy import load, save

from facecli.blendshapes import (
    LARGEST,
    SHAPES,
    Blendshapes,
    Regressor,
    express,
    load_blendshapes,
    load_regressor,
    load_shapes,
    openings,
    to_arkit,
)
from facecli.camera import Camera, Pose
from facecli.complete import FaceModel, Surface, with_even_lips
from facecli.crop import Crop
from facecli.errors import WeightsError
from facecli.grid import sample
from facecli.runtime import Maps
from facecli.weights import Manifest, Weights, WeightsFile, load_weights


def weights_of(**named: float) -> np.ndarray:
    return np.array([named.get(name, 0.0) for name in SHAPES])


def surface_of(model: FaceModel, change: np.ndarray | float = 0.0) -> Surface:
    return Surface(model.mean.astype(np.float64) + change, np.ones(model.mean.shape[:2]))


def toy() -> Regressor:
    """Two places and the left eye's opening, which tell the first shape."""
    by_place, by_opening = np.zeros((2, 3, len(SHAPES)), np.float32), np.zeros((9, len(SHAPES)), np.float32)
    by_place[0, 1, 0], by_place[1, 2, 0], by_opening[0, 0] = 0.1, -0.05, 0.5
    usual = np.full(len(SHAPES), 0.25, np.float32)
    return Regressor(np.array([[64.0, 40.0], [30.0, 70.0]], np.float32), by_place, by_opening, usual)


def test_the_head_is_linear_between_0_and_1(model: FaceModel) -> None:
    change = np.array([0.0, 1.5, 2.0])
    told = toy().weights(model, surface_of(model, change), np.arange(1.0, 10.0) / 10)
    assert told[0] == pytest.approx(0.25 + 0.15 - 0.1 + 0.05, abs=1e-6)
    assert told[1:] == pytest.approx(0.25)
    for far, bound in ((1000.0, 1.0), (-1000.0, 0.0)):
        assert toy().weights(model, surface_of(model, far * change), np.zeros(9))[0] == bound


def look(opening: np.ndarray, region: float = 1.0) -> Maps:
    """A view from the front in which a pixel of the coarse maps spans 1 mm of the template."""
    row, column = np.mgrid[:128, :128].astype(np.float32)
    coordinate = np.stack([column - 64, 20 - row, np.zeros_like(row)], 2)
    flat = np.zeros((128, 128), np.float32)
    full = np.full((256, 256), region, np.float32)
    return Maps(full, coordinate, flat, flat, opening.astype(np.float32), np.zeros((512, 512), np.float32))


def place(distance: float = 500.0, larger: float = 1.0) -> tuple[Camera, Pose, Crop]:
    """At 500 mm a crop's pixel is half a millimetre, so a pixel of the coarse maps is one. larger: the photo's
    pixels, so many on one of the crop's."""
    return (
        Camera(1000.0 * larger, 128.0 * larger, 128.0 * larger, "option"),
        Pose(np.eye(3), np.array([0.0, 0.0, distance])),
        Crop(np.array([[1 / larger, 0, 0], [0, 1 / larger, 0]])),
    )


def test_openings_are_told_by_place_and_size() -> None:
    opening = np.zeros((128, 128))
    opening[20:24, 64 + 26 : 64 + 36] = 0.8  # 40 mm^2 of the left eye, which is at +31
    left, right, mouth = openings(look(opening), *place()).reshape(3, 3)
    rectangle = 4 * 22 * 14
    assert left == pytest.approx([32 / rectangle, 1.0, 0.8], rel=0.05)
    assert right[[0, 2]] == pytest.approx([0, 0]) and right[1] == pytest.approx(1, rel=0.05)
    assert mouth[[0, 2]] == pytest.approx([0, 0]) and mouth[1] == pytest.approx(1, rel=0.05)
    nearer = openings(look(opening), *place(250.0)).reshape(3, 3)
    assert nearer[0] == pytest.approx(left / [4, 4, 1])
    larger = openings(look(opening), *place(larger=3.0)).reshape(3, 3)
    assert larger[0] == pytest.approx(left), "the same face in a photo of more pixels is as open"


def test_openings_of_nothing_are_0_and_of_a_pose_gone_wrong_bounded() -> None:
    opened = np.ones((128, 128))
    assert not openings(look(opened, region=0.0), *place()).any()
    assert openings(look(opened), *place(1e6)).reshape(3, 3) == pytest.approx(
        np.tile([*LARGEST, 1.0], (3, 1))
    )


def test_what_is_told_is_taken_off_the_mesh(model: FaceModel, shapes: Blendshapes) -> None:
    usual = weights_of(mouthSmile_L=0.5, mouthSmile_R=0.5).astype(np.float32)
    smiling = replace(toy(), by_place=toy().by_place * 0, by_opening=toy().by_opening * 0, usual=usual)
    face = surface_of(model, shapes.offset(model, usual))
    colors = np.zeros((len(model.cells), 3), np.uint8)
    found = express(model, replace(shapes, regressor=smiling), face, np.zeros(9), colors)
    np.testing.assert_array_equal(found.weights, usual)
    skin = np.unique(model.groups[0].quads)
    wanted = sample(model.mean.astype(np.float64), model.cells.astype(np.float64))[skin] / 1000
    assert np.abs(found.neutral.vertices[skin] - wanted).max() < 1e-5
    with pytest.raises(ValueError, match="no regressor"):
        express(model, replace(shapes, regressor=None), face, np.zeros(9), colors)


def test_lips_that_are_shut_again_do_not_fray(model: FaceModel, shapes: Blendshapes) -> None:
    """The shapes are coarse, and move the steps of the lips' edges by what lies between the lips, too."""
    size, (_, upper, lower) = len(model.mean), model.bag.T
    weights = weights_of(jawOpen=0.7)
    wide = with_even_lips(model, model.mean + shapes.offset(model, weights))
    told = Regressor(
        np.array([[64.0, 40.0]], np.float32),
        np.zeros((1, 3, len(SHAPES)), np.float32),
        np.zeros((9, len(SHAPES)), np.float32),
        weights.astype(np.float32),
    )
    face, grey = Surface(wide, np.ones((size, size))), np.full((len(model.cells), 3), 128, np.uint8)
    neutral = express(model, replace(shapes, regressor=told), face, np.zeros(9), grey).neutral
    vertex = np.full((size, size), -1)
    vertex[tuple(np.rint(model.cells[:, ::-1]).astype(int).T)] = np.arange(len(model.cells))
    for edge in (np.unique(upper), np.unique(lower)):
        along = edge[np.argsort(edge % size)]
        shut = neutral.vertices[vertex.reshape(-1)[along]] * 1000 - model.mean.reshape(-1, 3)[along]
        assert np.abs(np.diff(shut, 2, axis=0)).max() < 0.6


def test_the_packaged_head_is_small_and_says_something_of_smiles(
    model: FaceModel, shapes: Blendshapes
) -> None:
    assert load_weights().manifest.files["expression.safetensors"].bytes < 500_000
    regressor = shapes.regressor
    assert regressor is not None
    still = regressor.weights(model, surface_of(model), np.zeros(9))
    for name in ("mouthSmile_L", "mouthSmile_R", "jawOpen"):
        one = SHAPES.index(name)
        moved = surface_of(model, shapes.offset(model, weights_of(**{name: 0.8})))
        assert regressor.weights(model, moved, np.zeros(9))[one] > still[one] + 0.1, name


def test_arkit_has_its_52_names() -> None:
    named = to_arkit(np.linspace(0, 1, len(SHAPES)))
    assert len(named) == 52 and list(named) == sorted(named)
    assert {"browInnerUp", "cheekPuff", "jawOpen", "eyeLookInLeft", "mouthSmileRight", "tongueOut"} <= set(
        named
    )
    assert not [name for name in named if "_" in name]
    assert named["tongueOut"] == 0


def test_sides_are_the_subjects_and_middles_are_means() -> None:
    named = to_arkit(weights_of(mouthSmile_L=0.5, browInnerUp_L=0.4, browInnerUp_R=0.2, jawOpen=0.3))
    assert {name: weight for name, weight in named.items() if weight} == pytest.approx(
        {"mouthSmileLeft": 0.5, "browInnerUp": 0.3, "jawOpen": 0.3}
    )


def test_left_shapes_move_the_left(model: FaceModel, shapes: Blendshapes) -> None:
    cells = model.cells.astype(np.float64)
    across = sample(model.mean.astype(np.float64), cells)[:, 0]
    for name in ("mouthSmile", "eyeBlink", "browDown", "noseSneer"):
        moved = np.linalg.norm(sample(shapes.offset(model, weights_of(**{f"{name}_L": 1.0})), cells), axis=1)
        assert moved[across > 15].sum() > 5 * moved[across < -15].sum()


def _weights(folder: Path, data: bytes, name: str = "blendshapes.safetensors") -> Weights:
    (folder / name).write_bytes(data)
    entry = WeightsFile(hashlib.sha256(data).hexdigest(), len(data), "Apache-2.0")
    files = MappingProxyType({name: entry})
    return Weights(folder, Manifest("1", "today", files, MappingProxyType({}), MappingProxyType({})))


@pytest.mark.parametrize("fault", ["empty", "fewer", "two firsts", "square"])
def test_a_file_of_another_version_is_refused(tmp_path: Path, model: FaceModel, fault: str) -> None:
    tensors = load(load_weights().read("blendshapes.safetensors"))
    if fault == "empty":
        tensors = {}
    elif fault == "fewer":
        tensors = {name: array[:50].copy() for name, array in tensors.items()}
    elif fault == "two firsts":
        tensors["first"] = np.array([80, 80], np.int32)
    else:
        tensors["precision"] = tensors["precision"][:, :5].copy()
    with pytest.raises(WeightsError, match="not of this version"):
        load_shapes(_weights(tmp_path, save(tensors)), model)


def test_shapes_of_other_modes_are_refused(tmp_path: Path, model: FaceModel) -> None:
    tensors = load(load_weights().read("blendshapes.safetensors"))
    tensors["first"] = tensors["first"] - 1
    with pytest.raises(WeightsError, match="other modes"):
        load_shapes(_weights(tmp_path, save(tensors)), model)


HEAD = "expression.safetensors"


@pytest.mark.parametrize("fault", ["empty", "fewer shapes", "fewer places", "not a number", "two openings"])
def test_a_head_of_another_version_is_refused(tmp_path: Path, model: FaceModel, fault: str) -> None:
    tensors = {name: array.copy() for name, array in load(load_weights().read(HEAD)).items()}
    if fault == "empty":
        tensors = {}
    elif fault == "fewer shapes":
        tensors["usual"] = tensors["usual"][:-1].copy()
    elif fault == "fewer places":
        tensors["cells"] = tensors["cells"][:-1].copy()
    elif fault == "not a number":
        tensors["by_place"][0, 0, 0] = np.nan
    else:
        tensors["by_opening"] = tensors["by_opening"][:2].copy()
    with pytest.raises(WeightsError, match=r"expression\.safetensors is not of this version"):
        load_regressor(_weights(tmp_path, save(tensors), HEAD), model)


def test_a_head_for_other_modes_and_a_damaged_or_missing_one_are_refused(
    tmp_path: Path, model: FaceModel
) -> None:
    data = load_weights().read(HEAD)
    packaged = _weights(tmp_path, data, HEAD)
    assert load_regressor(packaged, model).usual.shape == (len(SHAPES),)
    with pytest.raises(WeightsError, match=r"another completion\.safetensors"):
        load_regressor(packaged, replace(model, modes=model.modes * np.float32(1.01)))
    with pytest.raises(WeightsError, match="no safetensors file"):
        load_regressor(_weights(tmp_path, b"nonsense", HEAD), model)
    (tmp_path / HEAD).unlink()
    with pytest.raises(WeightsError, match="cannot read"):
        load_regressor(packaged, model)


def test_shapes_and_head_are_loaded_together(model: FaceModel) -> None:
    assert load_blendshapes(load_weights(), model).regressor is not None
    assert load_shapes(load_weights(), model).regressor is None
