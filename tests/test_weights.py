"""Weights: nothing is used that the manifest does not vouch for."""

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from facecli.errors import WeightsError
from facecli.weights import MANIFEST, find_weights, load_template, load_weights

LANDMARKS = np.arange(204, dtype=np.float32).reshape(68, 3)
OUTLINE = np.arange(30, dtype=np.float32).reshape(10, 3)
DENSE = np.arange(1404, dtype=np.float32).reshape(468, 3)


def entry(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "licence": "Apache-2.0"}


def write_folder(folder: Path, contents: dict[str, bytes], **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    document = {
        "version": "2026.11.1",
        "created": "2026-11-22",
        "files": {name: entry(data) for name, data in contents.items()},
        "config": {"widths": [8, 16]},
        "training": {"command": "python -m facecli.train publish"},
    } | changes
    (folder / MANIFEST).write_text(json.dumps(document))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    template = save({"landmarks68": LANDMARKS, "face_points": OUTLINE, "landmarks468": DENSE})
    return write_folder(tmp_path / "weights", {"template.safetensors": template, "detector.onnx": b"a model"})


def test_reads_what_the_manifest_describes(folder: Path) -> None:
    weights = load_weights(folder)
    assert weights.read("detector.onnx") == b"a model"
    assert weights.manifest.version == "2026.11.1"
    assert weights.manifest.files["detector.onnx"].bytes == 7
    assert weights.manifest.files["detector.onnx"].licence == "Apache-2.0"
    assert weights.manifest.config == {"widths": [8, 16]}


def test_manifest_cannot_be_changed(folder: Path) -> None:
    weights = load_weights(folder)
    with pytest.raises(TypeError):
        weights.manifest.files["other"] = weights.manifest.files["detector.onnx"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        weights.manifest.version = "x"  # type: ignore[misc]


def test_every_single_flipped_bit_is_found(folder: Path) -> None:
    weights = load_weights(folder)
    good = b"a model"
    expected = hashlib.sha256(good).hexdigest()
    for place in range(len(good) * 8):
        bad = bytearray(good)
        bad[place // 8] ^= 1 << place % 8
        (folder / "detector.onnx").write_bytes(bad)
        with pytest.raises(WeightsError) as caught:
            weights.read("detector.onnx")
        message = str(caught.value)
        assert expected in message and hashlib.sha256(bad).hexdigest() in message
        assert str(folder / "detector.onnx") in message and "install facecli again" in message


def test_damage_after_a_good_read_is_found(folder: Path) -> None:
    weights = load_weights(folder)
    weights.read("detector.onnx")
    (folder / "detector.onnx").write_bytes(b"b model")
    with pytest.raises(WeightsError, match="damaged"):
        weights.read("detector.onnx")


@pytest.mark.parametrize("data", [b"", b"a mode", b"a modela"])
def test_wrong_length_is_found(folder: Path, data: bytes) -> None:
    (folder / "detector.onnx").write_bytes(data)
    with pytest.raises(
        WeightsError, match=rf"expected sha256 \w{{64}} \(7 bytes\), found \w{{64}} \({len(data)} bytes\)"
    ):
        load_weights(folder).read("detector.onnx")


def test_missing_file_names_the_file_and_the_remedy(folder: Path) -> None:
    (folder / "detector.onnx").unlink()
    with pytest.raises(WeightsError, match=r"detector\.onnx \(No such file.*FACECLI_WEIGHTS") as caught:
        load_weights(folder).read("detector.onnx")
    assert f"expected sha256 {hashlib.sha256(b'a model').hexdigest()} (7 bytes), found nothing" in str(
        caught.value
    )


def test_a_file_the_manifest_does_not_list_is_never_read(folder: Path) -> None:
    (folder / "extra.onnx").write_bytes(b"anything")
    with pytest.raises(WeightsError, match=r"does not list extra\.onnx"):
        load_weights(folder).read("extra.onnx")


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot read .*manifest\.json"):
        load_weights(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, "\xff", "NaN,"], ids=["empty", "cut", "deep", "bytes", "tail"]
)
def test_manifest_that_is_not_json(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(WeightsError, match="is not JSON"):
        load_weights(folder)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"version": 3}, "version should be a str"),
        ({"files": []}, "files should be a dict"),
        ({"files": {"a": 1}}, r"files\.a should be an object"),
        ({"files": {"a": {"sha256": "00", "bytes": 1, "licence": "x"}}}, "64 hexadecimal"),
        ({"files": {"a": {"sha256": "g" * 64, "bytes": 1, "licence": "x"}}}, "64 hexadecimal"),
        (
            {"files": {"a": {"sha256": "0" * 64, "bytes": "1", "licence": "x"}}},
            r"files\.a\.bytes should be a int",
        ),
        (
            {"files": {"a": {"sha256": "0" * 64, "bytes": True, "licence": "x"}}},
            r"files\.a\.bytes should be a int",
        ),
        ({"files": {"a": {"sha256": "0" * 64, "bytes": 1}}}, r"files\.a\.licence should be a str"),
        ({"files": {"../a": {"sha256": "0" * 64, "bytes": 1, "licence": "x"}}}, "not a plain file name"),
        (
            {"files": {"/etc/passwd": {"sha256": "0" * 64, "bytes": 1, "licence": "x"}}},
            "not a plain file name",
        ),
        ({"config": None}, "config should be a dict"),
    ],
)
def test_malformed_manifest_names_the_place(folder: Path, changes: dict[str, Any], complaint: str) -> None:
    write_folder(folder, {"detector.onnx": b"a model"}, **changes)
    with pytest.raises(WeightsError, match=complaint):
        load_weights(folder)


def test_manifest_that_is_a_list(folder: Path) -> None:
    (folder / MANIFEST).write_text("[]")
    with pytest.raises(WeightsError, match="JSON object, found a list"):
        load_weights(folder)


def test_a_pickle_renamed_safetensors_is_refused_even_when_its_hash_is_right(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    folder = write_folder(tmp_path / "weights", {"template.safetensors": pickle.dumps(Trap())})
    with pytest.raises(WeightsError, match=r"template\.safetensors is no safetensors file"):
        load_template(load_weights(folder))
    assert not (tmp_path / "sprung").exists()


def test_template(folder: Path) -> None:
    template = load_template(load_weights(folder))
    assert (template.landmarks == LANDMARKS).all() and template.landmarks.dtype == np.float64
    assert (template.box_points == OUTLINE).all() and (template.dense == DENSE).all()


@pytest.mark.parametrize(
    "tensors",
    [
        {"face_points": OUTLINE, "landmarks468": DENSE},
        {"landmarks68": LANDMARKS, "landmarks468": DENSE},
        {"landmarks68": LANDMARKS[:67], "face_points": OUTLINE, "landmarks468": DENSE},
        {"landmarks68": LANDMARKS[:, :2].copy(), "face_points": OUTLINE, "landmarks468": DENSE},
        {"landmarks68": LANDMARKS * np.float32(np.nan), "face_points": OUTLINE, "landmarks468": DENSE},
        {"landmarks68": LANDMARKS, "face_points": OUTLINE[:0], "landmarks468": DENSE},
        {"landmarks68": LANDMARKS, "face_points": OUTLINE[0], "landmarks468": DENSE},
        {"landmarks68": LANDMARKS, "face_points": OUTLINE},
        {"landmarks68": LANDMARKS, "face_points": OUTLINE, "landmarks468": DENSE[:400]},
    ],
)
def test_template_of_the_wrong_shape(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    folder = write_folder(tmp_path / "weights", {"template.safetensors": save(tensors)})
    with pytest.raises(WeightsError, match=r"template\.safetensors has no finite"):
        load_template(load_weights(folder))


def test_the_environment_variable_is_the_only_place_once_set(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACECLI_WEIGHTS", str(folder))
    assert find_weights() == folder
    assert load_weights().folder == folder
    monkeypatch.setenv("FACECLI_WEIGHTS", str(tmp_path / "nowhere"))
    with pytest.raises(WeightsError, match="nowhere"):
        load_weights()


def test_packaged_weights_come_before_those_of_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import facecli.weights

    monkeypatch.delenv("FACECLI_WEIGHTS", raising=False)
    (tmp_path / "facecli").mkdir()
    monkeypatch.setattr(facecli.weights, "__file__", str(tmp_path / "facecli" / "weights.py"))
    with pytest.raises(WeightsError, match=r"no manifest\.json in .* or "):
        find_weights()
    checkout = write_folder(tmp_path / "weights", {})
    assert find_weights() == checkout.resolve()
    packaged = write_folder(tmp_path / "facecli" / "weights", {})
    assert find_weights() == packaged.resolve()


@pytest.fixture
def packaged(tmp_path: Path) -> Path:
    """A copy of the packaged weights to spoil."""
    shutil.copytree(find_weights(), tmp_path / "copy")
    return tmp_path / "copy"


def flip_a_bit(path: Path) -> tuple[str, str]:
    """Damage a file as a disk does -> the SHA-256 before and after."""
    good = path.read_bytes()
    bad = bytearray(good)
    bad[len(bad) // 2] ^= 0x10
    path.write_bytes(bad)
    return hashlib.sha256(good).hexdigest(), hashlib.sha256(bad).hexdigest()


USED = [
    "detector.onnx",
    "network.onnx",
    "network.safetensors",
    "template.safetensors",
    "completion.safetensors",
]


@pytest.mark.parametrize("name", USED)
def test_a_flipped_bit_in_any_file_stops_the_reconstructor(packaged: Path, name: str) -> None:
    from facecli.pipeline import Reconstructor

    expected, actual = flip_a_bit(packaged / name)
    with pytest.raises(
        WeightsError, match=f"{name} is damaged: expected sha256 {expected} .*, found {actual} "
    ):
        Reconstructor("cpu", load_weights(packaged), threads=1)


@pytest.mark.parametrize("fault", ["bit", "pickle", "missing"])
def test_bad_weights_are_exit_2_with_the_expected_and_the_actual_hash(
    packaged: Path, tmp_path: Path, fault: str, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt = packaged / "template.safetensors"
    expected = hashlib.sha256(spoilt.read_bytes()).hexdigest()
    found = "nothing"
    if fault == "bit":
        expected, found = flip_a_bit(spoilt)
    elif fault == "pickle":
        spoilt.write_bytes(pickle.dumps({"landmarks68": [1.0] * 204}))
        found = hashlib.sha256(spoilt.read_bytes()).hexdigest()
    else:
        spoilt.unlink()
    (tmp_path / "a.jpg").write_bytes(jpeg)
    monkeypatch.setenv("FACECLI_WEIGHTS", str(packaged))
    command = [sys.executable, "-m", "facecli", "reconstruct", "a.jpg", "-o", "out", "--device", "cpu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("facecli: ") and str(spoilt) in last and "install facecli again" in last
    assert f"expected sha256 {expected} (" in last and f"found {found}" in last
    assert "Traceback" not in done.stderr and not list((tmp_path / "out").rglob("*.json"))
