"""What the README and docs/ say is so."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facecli.images import read_image

ROOT = Path(__file__).parent.parent
PAGES = {
    path: path.read_text("utf-8") for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}
README, OPTIONS, FILES = (PAGES[ROOT / name] for name in ("README.md", "docs/options.md", "docs/files.md"))


def run_the_python_of(text: str) -> dict[str, Any]:
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "example", "exec"), names)
    return names


def first_cells(text: str) -> list[list[str]]:
    """What stands in backticks in the first column of the page's tables, row by row."""
    return [re.findall(r"`([^`]+)`", row.split("|")[1]) for row in text.splitlines() if row.startswith("| ")]


def test_the_python_of_the_readme_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    whole = run_the_python_of(README)["whole"]
    assert "(68, 2)" in capsys.readouterr().out
    assert f"{len(whole.vertices):,} vertices" in README


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `out` has the astronaut with every file there is."""
    there = tmp_path_factory.mktemp("everything")
    photo = str(ROOT / "examples/photos/astronaut.jpg")
    wishes = ["--format", "obj,ply,glb,stl", "--maps", "--neutral", "--blendshapes", "--quiet"]
    command = [sys.executable, "-m", "facecli", "reconstruct", photo, "-o", str(there / "out"), *wishes]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    return there


def test_the_python_of_the_pages_finds_each_vertex_where_the_photo_has_its_colour(
    everything: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(everything)
    names = run_the_python_of(FILES)
    x, y = np.rint(names["pixels"]).astype(int).T
    photo = read_image((ROOT / "examples/photos/astronaut.jpg").read_bytes()).pixels
    apart = np.abs(photo[y, x].astype(int) - names["mesh"].visual.vertex_colors[:, :3])
    beside = np.abs(photo[y, x + 8].astype(int) - names["mesh"].visual.vertex_colors[:, :3])
    assert apart.mean() < beside.mean() / 5
    keys = re.findall(r"^\| `(\w+)\.(\w+)`", FILES.partition("result.json` has")[2], re.MULTILINE)
    assert len(keys) == 4 and all(key in names["facts"][part] for part, key in keys)


def test_every_file_of_a_face_is_told_and_none_that_is_not_there(everything: Path) -> None:
    written = {path.name for path in (everything / "out/astronaut.jpg/face0").iterdir()}
    told = {
        name for row in first_cells(FILES) for name in row if re.search(r"\.(?!matrix|yaw)[a-z*]+$", name)
    }
    neutral = {name for name in written if name.startswith("neutral.")}
    assert len(neutral) == 5 and told - {"neutral.*"} == written - neutral


@pytest.mark.parametrize("start", ["python3 -m venv .venv &&", "python3 -m venv .venv-test &&"])
def test_the_two_commands_are_those_that_are_checked(start: str) -> None:
    (command,) = [line for line in README.splitlines() if line.startswith(start)]
    assert command in (ROOT / ".ci" / "run").read_text()


def test_every_option_that_is_told_exists_and_every_option_is_told() -> None:
    from typer.main import get_command

    from facecli.cli import app

    known = {
        command: {name for parameter in made.params for name in [*parameter.opts, *parameter.secondary_opts]}
        for command, made in get_command(app).commands.items()
    }
    told = {word for row in first_cells(OPTIONS) for cell in row for word in cell.split() if word[0] == "-"}
    assert told == {name for name in known["reconstruct"] if name[0] == "-"}
    assert set(re.findall(r"`(--[a-z-]+)", README)) <= known["reconstruct"]
    lines = [line for text in PAGES.values() for line in re.findall(r"^facecli .+$", text, re.MULTILINE)]
    assert len(lines) > 6
    for line in lines:
        command, *words = line.partition("  #")[0].split()[1:]
        assert {word for word in words if word[0] == "-"} <= known[command], line


def test_pictures_and_files_that_are_named_exist() -> None:
    for path, text in PAGES.items():
        named = re.findall(r"\]\(((?!http)[^)#]+)\)", text) + re.findall(r'src="([^"]+)"', text)
        assert [name for name in named if not (path.parent / name).exists()] == []
