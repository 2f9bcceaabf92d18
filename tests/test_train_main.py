"""`python -m facecli.train`: commands parse, light ones stay light, mistakes are one line."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from facecli.train import __main__ as command

COMMANDS = ("landmarks", "pool", "synth", "synth-rate", "fit-network", "publish", "evaluate", "look")
run = CliRunner().invoke


def test_every_command_is_there_and_explains_itself():
    text = run(command.app, ["--help"]).output
    for name in COMMANDS:
        assert name in text
        assert run(command.app, [name, "--help"]).exit_code == 0


def test_help_loads_nothing_heavy():
    code = (
        "import sys; import facecli.train.__main__; "
        "heavy = ('torch', 'numpy', 'cv2', 'trimesh', 'numba', 'onnx'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "facecli.train", "--help"], capture_output=True, text=True, check=True
    )
    assert "fit-network" in done.stdout


def test_landmarks_without_a_python_shows_the_command(tmp_path):
    (tmp_path / "portraits").mkdir()
    found = run(command.app, ["landmarks", "out.npz", "--assets", str(tmp_path)])
    assert found.exit_code == 0
    assert "landmarks.py" in found.output
    assert "out.npz" in found.output


def test_landmarks_runs_the_given_python(tmp_path):
    found = run(command.app, ["landmarks", "out.npz", "--assets", str(tmp_path), "--python", "/bin/false"])
    assert found.exit_code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["pool", "nowhere.npz", "out"],
        ["synth", "nowhere", "out", "--shards", "1"],
        ["fit-network", "nowhere", "out", "--seconds", "1"],
        ["publish", "nowhere", "out", "--version", "1"],
        ["look", "out.png", "nowhere"],
        ["evaluate", "nowhere"],
        ["synth"],
    ],
)
def test_what_is_missing_is_a_usage_error(arguments):
    found = run(command.app, arguments)
    assert found.exit_code == 2
    assert "Traceback" not in found.output


def test_facecli_errors_are_one_line(tmp_path):
    (tmp_path / "eval").mkdir()
    (tmp_path / "assets").mkdir()
    arguments = [
        "evaluate",
        str(tmp_path / "eval"),
        "--assets",
        str(tmp_path / "assets"),
        "--weights",
        str(tmp_path),
    ]
    done = subprocess.run([sys.executable, "-m", "facecli.train", *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("facecli.train: ")
    assert "manifest.json" in done.stderr
    assert len(done.stderr.splitlines()) == 1
