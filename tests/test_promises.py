"""tests/README.md lists what is promised; here: that its tests exist, and the promises that belong to no module."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PHOTO = TESTS.parent / "examples/photos/astronaut.jpg"


def test_every_test_that_the_table_names_exists() -> None:
    text = (TESTS / "README.md").read_text("utf-8")
    named = re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", text)
    assert len(named) > 60
    for file, test in named:
        assert (TESTS / file).is_file(), file
        assert not test or f"\ndef {test}(" in (TESTS / file).read_text("utf-8"), f"{file}::{test}"
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| |")]
    assert all("`" in row for row in rows if row != "| promise | test |")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can take a network away from one process")
def test_without_a_network_and_from_another_folder(tmp_path: Path) -> None:
    alone = ["unshare", "--map-root-user", "--net"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("this system does not let go of its network")
    command = [
        *alone,
        sys.executable,
        "-m",
        "facecli",
        "reconstruct",
        str(PHOTO),
        "-o",
        "out",
        "--no-preview",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert (tmp_path / "out/astronaut.jpg/face0/result.json").is_file()
