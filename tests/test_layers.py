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
LIGHT = ["__init__", "__main__", "assemble", "batch", "cli", "commands", "console", "errors"]
LIGHT += ["fuse_command", "inputs", "interrupt", "isolate"]
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


DANGEROUS_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "marshal",
    "shelve",
    "joblib",
    "code",
}
DANGEROUS_NAMES = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "builtins",
    "read_pickle",
    "allow_pickle",
    "extractall",
}
DANGEROUS_PARTS = {
    "torch.load",
    "torch.hub",
    "torch.jit",
    "torch.package",
    "yaml.load",
    "os.system",
    "os.popen",
}


def dangers(source: bytes) -> set[str]:
    """Everything in a module that could run code out of a file: called, passed on, imported or switched on."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] in DANGEROUS_MODULES}
            found |= {alias.name for alias in node.names} & (DANGEROUS_NAMES | DANGEROUS_PARTS)
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
            found |= {name for name in names if name.split(".")[0] in DANGEROUS_MODULES}
            found |= names & DANGEROUS_PARTS | {alias.name for alias in node.names} & DANGEROUS_NAMES
        elif isinstance(node, ast.Name):
            found |= {node.id} & DANGEROUS_NAMES
        elif isinstance(node, ast.Attribute):
            found |= {ast.unparse(node)} & DANGEROUS_PARTS | {node.attr} & {"read_pickle", "extractall"}
        elif isinstance(node, ast.keyword):
            shell = node.arg == "shell" and ast.unparse(node.value) != "False"
            found |= {node.arg or ""} & DANGEROUS_NAMES | ({"shell"} if shell else set())
    return found


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_nothing_that_could_run_code_from_a_file(path: Path) -> None:
    assert dangers(path.read_bytes()) == set()


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load(file)",
        "import torch\nread = torch.load",
        "from torch import load",
        "import torch.hub",
        "eval(text)",
        "run = exec",
        "list(map(eval, lines))",
        "numpy.load(file, allow_pickle=True)",
        "pandas.read_pickle(file)",
        "import builtins",
        "subprocess.run(text, shell=True)",
        "import yaml\nyaml.load(file)",
    ],
)
def test_the_search_for_such_things_finds_them(source: str) -> None:
    assert dangers(source.encode())


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
