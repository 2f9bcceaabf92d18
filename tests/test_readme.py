"""What the README says is so."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_python_examples_run(
    code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    compiled = compile(code, "README.md", "exec")
    names: dict[str, object] = {}
    exec(compiled, names)
    assert "(68, 2)" in capsys.readouterr().out


@pytest.mark.parametrize("start", ["python3 -m venv .venv &&", "python3 -m venv .venv-test &&"])
def test_the_two_commands_are_those_that_are_checked(start: str) -> None:
    (command,) = [line for line in README.splitlines() if line.startswith(start)]
    assert command in (ROOT / ".ci" / "run").read_text()


def test_every_option_of_the_table_exists() -> None:
    from typer.main import get_command

    from facecli.cli import app

    known = {name for parameter in get_command(app).commands["reconstruct"].params for name in parameter.opts}
    named = set(re.findall(r"`(--[a-z-]+)", README)) - {"--no-preview"}
    assert len(named) > 6 and named <= known


def test_pictures_and_files_that_are_named_exist() -> None:
    named = re.findall(r"\]\(((?!http)[^)#]+)\)", README) + re.findall(r'src="([^"]+)"', README)
    assert [name for name in named if not (ROOT / name).exists()] == []
