"""What CONTRIBUTING.md and CHANGELOG.md say is so, and has its form."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
import trimesh
from results import dome

from facecli.mesh import Mesh

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
CHANGES = (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_new_format_of_the_guide_works_in_under_30_lines() -> None:
    (code,) = re.findall(r"```python\n(def to_off.*?)```", GUIDE, re.DOTALL)
    assert len(code.splitlines()) < 28
    names: dict[str, object] = {"Mesh": Mesh}
    exec(code, names)
    mesh = dome()
    files = names["to_off"](mesh)  # type: ignore[operator]
    read = trimesh.load(io.BytesIO(files["mesh.off"]), file_type="off", process=False)
    np.testing.assert_allclose(read.vertices, mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(read.faces, mesh.faces)


def test_every_module_of_the_house_is_there() -> None:
    table = GUIDE.partition("| | |")[2].partition("\n\n")[0]
    named = re.findall(
        r"`([a-z]+/?)`", "\n".join(line.split("|")[1] for line in table.splitlines() if line.count("|") > 2)
    )
    assert len(named) > 20
    for name in named:
        place = ROOT / "facecli" / (name if name.endswith("/") else f"{name}.py")
        assert place.exists(), name


def test_names_of_tests_that_are_held_up_exist() -> None:
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    for name in re.findall(r"def (test_\w+)\(\): \.\.\.", GUIDE):
        assert f"def {name}(" in tests


def test_the_changelog_has_the_form_of_keep_a_changelog() -> None:
    assert "keepachangelog.com" in CHANGES and "semver.org" in CHANGES
    versions = re.findall(r"^## (.+)$", CHANGES, re.MULTILINE)
    assert versions and all(
        re.fullmatch(r"\[Unreleased\]|\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", version) for version in versions
    )
    kinds = set(re.findall(r"^### (.+)$", CHANGES, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@pytest.mark.parametrize("name", ["Apache-2.0", "BSD-3-Clause", "MIT"])
def test_every_licence_of_what_ships_is_named(name: str) -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    (told,) = re.findall(r'^license = "(.+?)"', project, re.MULTILINE)
    assert name in told.split(" AND ")
    files = re.findall(
        r'"([^"]+)"', re.findall(r"^license-files = \[(.+?)\]", project, re.MULTILINE | re.DOTALL)[0]
    )
    assert all((ROOT / file).is_file() for file in files) and (ROOT / "facecli/py.typed").exists()
