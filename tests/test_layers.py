"""The house rules that a program can check: who imports whom, and what is never called."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import facecli

PACKAGE = Path(facecli.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
CORE = [path for path in MODULES if "train" not in path.relative_to(PACKAGE).parts]
LIGHT = [
    "__init__",
    "__main__",
    "batch",
    "cli",
    "commands",
    "console",
    "errors",
    "inputs",
    "interrupt",
    "isolate",
]
LIGHT += ["machine", "manifest", "options", "outcome", "store"]
HEAVY = ["torch", "cv2", "onnxruntime", "trimesh", "PIL", "numpy", "rich", "jaxtyping"]


def relative(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def imported(path: Path) -> set[str]:
    """Every module that a file imports, at the top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative(path)} uses a relative import"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", CORE, ids=relative)
def test_the_core_never_imports_training(path: Path) -> None:
    assert not [name for name in imported(path) if name.startswith("facecli.train")]


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_nothing_that_could_run_code_from_a_file(path: Path) -> None:
    banned = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
    assert not {name.split(".")[0] for name in imported(path)} & banned
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec", "compile", "__import__", "torch.load"}, (
                f"line {node.lineno}: {called}"
            )


@pytest.mark.parametrize("path", CORE, ids=relative)
def test_only_the_edges_print_or_exit(path: Path) -> None:
    if path.name in {"cli.py", "console.py"}:
        return
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) not in {"sys.exit", "sys.stdout", "sys.stderr", "os._exit"}


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_no_file_is_longer_than_400_lines_and_each_says_what_it_is(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text)) or not text


def test_the_command_line_imports_nothing_heavy() -> None:
    code = f"import facecli.cli, sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", LIGHT)
def test_light_modules_import_heavy_ones_only_inside_functions(name: str) -> None:
    for node in ast.parse((PACKAGE / f"{name}.py").read_bytes()).body:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        assert not {module.split(".")[0] for module in names} & set(HEAVY)
