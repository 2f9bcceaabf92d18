import importlib
import subprocess
import sys

import pytest

import facecli


def test_all_is_sorted_and_complete() -> None:
    assert facecli.__all__ == sorted(facecli.__all__)
    assert set(facecli.__all__) == {*facecli._HOME, "FaceError", "__version__"}


@pytest.mark.parametrize("name", sorted(facecli._HOME))
def test_lazy_members_are_those_of_their_home(name: str) -> None:
    assert getattr(facecli, name) is getattr(importlib.import_module(facecli._HOME[name]), name)
    assert name in dir(facecli)


def test_unknown_member_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Reconstuctor'"):
        facecli.Reconstuctor  # noqa: B018


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import facecli, sys; print('numpy' in sys.modules, 'typer' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
