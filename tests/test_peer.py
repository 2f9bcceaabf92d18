import sys
from pathlib import Path

import pytest

from facecli.errors import UsageError
from facecli.peer import mediapipe_python, run_mediapipe


def python(tmp_path: Path, script: str) -> str:
    """A stand-in for another Python: says what the script says."""
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_the_rates_of_all_processes_add_up(tmp_path: Path) -> None:
    said = '{"version": "0.10.14", "faces": 8, "seconds": 2.0}'
    found = run_mediapipe(python(tmp_path, f"echo INFO: talk; echo '{said}'"), [Path("a.jpg")], 2, 20)
    assert found == {"version": "0.10.14", "photos_per_second": 10.0, "faces_per_second": 8.0}


def test_the_program_is_python(tmp_path: Path) -> None:
    if mediapipe_python(None) is not None:
        pytest.skip("MediaPipe is installed here")
    with pytest.raises(UsageError, match="No module named 'mediapipe'; name a Python that has it"):
        run_mediapipe(sys.executable, [Path("a.jpg")], 1, 4)


def test_a_python_that_fails_or_is_not_there_is_told(tmp_path: Path) -> None:
    broken = python(tmp_path, "echo one >&2; echo the reason >&2; exit 3")
    with pytest.raises(UsageError, match=r"--mediapipe .*python: the reason; name a Python"):
        run_mediapipe(broken, [Path("a.jpg")], 1, 4)
    with pytest.raises(UsageError, match="No such file"):
        run_mediapipe(str(tmp_path / "nowhere"), [Path("a.jpg")], 1, 4)
    assert mediapipe_python("any") == "any"
