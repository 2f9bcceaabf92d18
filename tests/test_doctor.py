"""What the doctor sees on a fit machine, and what it says of an unfit one."""

import json
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from facecli import doctor
from facecli.errors import DeviceError, WeightsError
from facecli.weights import find_weights

STORED = json.loads((find_weights() / doctor.STORED).read_bytes())


def test_the_stored_result_is_of_these_weights_and_of_this_code() -> None:
    """Publishing weights stores it; whoever changes what comes out stores it anew (CONTRIBUTING.md)."""
    finding = doctor.check_example("cpu")
    assert finding.level == "ok", finding
    assert "differs from the stored result by" in finding.fact


def test_a_result_is_compared_number_by_number() -> None:
    assert [difference for difference, *_ in doctor.compare(STORED, STORED)] == [0, 0, 0]
    other = json.loads(json.dumps(STORED))
    other["landmarks_px"][7][1] += 2.5
    other["yaw_pitch_roll"][0] -= 0.5
    assert [round(difference, 6) for difference, *_ in doctor.compare(other, STORED)] == [2.5, 0, 0.5]
    assert doctor.compare(STORED, {})[0][0] == float("inf")


@pytest.mark.parametrize(
    ("result", "stored", "level", "fact"),
    [
        (STORED, STORED, "ok", "by 0 px, 0 mm, 0 degrees"),
        (STORED | {"yaw_pitch_roll": [40, 0, 0]}, STORED, "fail", "degrees"),
        (STORED, {}, "fail", "inf px"),
        (STORED, None, "warn", "no stored result"),
        (None, STORED, "fail", "no face found"),
    ],
)
def test_the_example_is_judged_by_the_stored_result(
    result: Any, stored: Any, level: str, fact: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Weights = namedtuple("Weights", "folder")
    monkeypatch.setattr("facecli.weights.load_weights", lambda: Weights(tmp_path))
    monkeypatch.setattr(doctor, "example_result", lambda device: result)
    if stored is not None:
        (tmp_path / doctor.STORED).write_text(json.dumps(stored))
    finding = doctor.check_example()
    assert finding.level == level and fact in finding.fact
    assert finding.advice or level == "ok"


@pytest.mark.parametrize("error", [DeviceError("no cuda:9"), WeightsError("damaged")])
def test_an_example_that_cannot_run_says_why(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(device: str) -> None:
        raise error

    monkeypatch.setattr(doctor, "example_result", broken)
    finding = doctor.check_example("cuda:9")
    assert (finding.level, finding.fact) == ("fail", str(error)) and finding.advice


def test_damaged_weights_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in find_weights().iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setenv("FACECLI_WEIGHTS", str(tmp_path))
    assert doctor.check_weights().level == "ok"
    data = bytearray((tmp_path / "detector.onnx").read_bytes())
    data[1000] ^= 1
    (tmp_path / "detector.onnx").write_bytes(data)
    finding = doctor.check_weights()
    assert finding.level == "fail" and "detector.onnx is damaged" in finding.fact
    assert "FACECLI_WEIGHTS" in finding.advice and finding.advice not in finding.fact


@pytest.mark.parametrize(
    ("needed", "installed", "level", "said"),
    [
        (["numpy>=1.26"], {"numpy"}, "ok", "numpy "),
        (["numpy>=99.1"], {"numpy"}, "fail", "at least 99.1 is needed"),
        (["no-such-thing>=1"], set(), "fail", "no-such-thing is missing"),
        (["numpy>=1", 'torch>=2; extra == "torch"'], {"numpy"}, "ok", "numpy "),
        (["numpy"], {"onnxruntime", "onnxruntime-gpu"}, "fail", "overwrite each other"),
        (["numpy"], {"opencv-python", "opencv-python-headless"}, "warn", "overwrite each other"),
    ],
)
def test_packages_missing_old_or_in_each_others_way(
    needed: list[str], installed: set[str], level: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "requires", lambda name: needed)
    monkeypatch.setattr(doctor, "_installed", lambda: installed)
    finding = doctor.check_packages()
    assert finding.level == level and said in finding.fact
    assert bool(finding.advice) == (level != "ok")


@pytest.mark.parametrize(
    ("free", "level"), [(8e9, "ok"), (1e9, "warn"), (1e8, "fail"), (None, "ok")], ids=str
)
def test_memory(free: float | None, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_free_memory", lambda: free)
    assert doctor.check_memory().level == level


def test_the_output_folder_must_take_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_output(tmp_path / "not" / "yet").level == "ok"
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_bytes(b"")
    assert doctor.check_output(tmp_path / "file").level == "fail"
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage(5e8))
    assert doctor.check_output(tmp_path).level == "warn"

    def refuse(**where: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    finding = doctor.check_output(tmp_path)
    assert finding.level == "fail" and "Permission denied" in finding.fact and finding.advice


def test_a_card_without_pytorch_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    finding = doctor.check_cuda()
    assert finding.level == "warn" and "facecli[torch]" in finding.advice
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor.Path, "exists", lambda path: False)
    assert doctor.check_cuda().level == "ok"


def test_an_old_python_is_unfit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_python().level == "ok"
    monkeypatch.setattr(doctor.sys, "version_info", (3, 9, 0))
    assert doctor.check_python().level == "fail"


def test_a_check_that_breaks_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr(doctor, "check_onnxruntime", broken)
    monkeypatch.setattr(doctor, "check_example", lambda device: doctor.Finding("example", "ok", "done"))
    findings = {finding.check: finding for finding in doctor.examine(tmp_path)}
    assert len(findings) == 8 and findings["example"].level == "ok"
    assert findings["onnxruntime"].level == "fail" and "libGL" in findings["onnxruntime"].fact


def test_storing_writes_what_the_weights_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = {"landmarks_px": [[1.5, 2.0], [3.0, 4.0]], "yaw_pitch_roll": [1.0, 2.0, 3.0]}
    monkeypatch.setattr(doctor, "example_result", lambda device, folder: result)
    doctor.store_example(tmp_path)
    assert json.loads((tmp_path / doctor.STORED).read_text()) == result


def test_the_command_prints_findings_and_exits_by_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "facecli", "doctor", "--json", "--device", "cpu"],
        capture_output=True,
        text=True,
    )
    told = json.loads(done.stdout)
    assert done.returncode == 0 and told["fit"] is True and len(told["findings"]) == 8
    assert all(finding["advice"] for finding in told["findings"] if finding["level"] != "ok")
    monkeypatch.setenv("FACECLI_WEIGHTS", str(tmp_path))
    done = subprocess.run([sys.executable, "-m", "facecli", "doctor"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout.splitlines()[-1] == "not fit: weights, example"
    assert "Traceback" not in done.stderr and "do: install facecli again" in done.stdout


def test_versions_are_compared_as_numbers() -> None:
    assert doctor._number("2.13.0+cpu") == (2, 13, 0) > doctor._number("2.4")
    assert doctor._number("5.0.0.93") > doctor._number("4.9") and doctor._number("1.18rc1") == (1, 18)
