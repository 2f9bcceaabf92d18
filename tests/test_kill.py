"""`kill -9` of everything at any moment, then the same command again: the same tree as without."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from facecli.manifest import read_rows

STAND_IN = [sys.executable, str(Path(__file__).parent / "stand_in.py")]
FACECLI = [sys.executable, "-m", "facecli"]
EXAMPLES = Path(__file__).parent.parent / "examples/photos"


def tree(out: Path) -> dict[str, str]:
    """The hash of every file but the manifest's, hidden ones included, and every folder."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in out.rglob("*")
        if not path.name.startswith("manifest")
    }


def facts(out: Path) -> dict[str, object]:
    """What the manifest says of each photo, but for times."""
    told = ("seconds", "stages", "finished")
    return {name: {k: v for k, v in row.items() if k not in told} for name, row in read_rows(out).items()}


def kill_again_and_again(
    command: Sequence[str], out: Path, kills: int, longest: float, seed: int
) -> tuple[int, int]:
    """Start, kill the whole process group at a random moment; at last let it finish -> kills, photos begun anew.

    longest: seconds after the first sign of work. A run that ends before its moment has done everything: then all
    results are removed, and it begins again.
    """
    moments, killed, lines = random.Random(seed), 0, 0
    while killed < kills:
        run = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        family = psutil.Process(run.pid)
        limit = time.monotonic() + 120
        while run.poll() is None and _size(out) <= lines and time.monotonic() < limit:
            time.sleep(0.005)
        try:
            run.wait(moments.uniform(0, longest))
        except subprocess.TimeoutExpired:
            children = family.children(recursive=True)
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            psutil.wait_procs(children, timeout=10)
            killed += 1
            check_final_names_are_whole(out)
            lines = _size(out)
        else:
            for path in out.glob("manifest*"):
                path.unlink()
            lines = 0
    return killed, subprocess.run(command, stderr=subprocess.DEVNULL).returncode


def _size(out: Path) -> int:
    return sum(path.stat().st_size for path in out.glob("manifest*"))


def check_final_names_are_whole(out: Path) -> None:
    """Every face's folder under a final name has all files that its photo's row lists, in their sizes."""
    for name, row in read_rows(out).items():
        for face in row["faces"]:
            for file, size in face["files"].items():
                assert (out / face["folder"] / file).stat().st_size == size, name


def survive(
    tmp_path: Path,
    command: list[str],
    options: Sequence[str],
    album: Path,
    kills: int,
    longest: float,
    seed: int,
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = [*options, "-q"]
    clean = subprocess.run([*command, "reconstruct", album, "-o", whole, "--workers", "1", *options])
    killed, code = kill_again_and_again(
        [*command, "reconstruct", str(album), "-o", str(broken), "--workers", "2", *options],
        broken,
        kills,
        longest,
        seed,
    )
    assert killed == kills and code == clean.returncode
    assert tree(broken) == tree(whole) and len(tree(whole)) > 3 * len(facts(whole)) > 0
    assert facts(broken) == facts(whole)


@pytest.mark.parametrize(("seed", "handful"), [(1, "1"), (2, "1"), (3, "4")])
def test_killed_and_resumed_trees_are_those_of_an_unbroken_run(
    tmp_path: Path,
    make_picture: Callable[..., bytes],
    seed: int,
    handful: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HANDFUL", handful)
    album = tmp_path / "album"
    (album / "deep").mkdir(parents=True)
    for n in range(40):
        folder = album / "deep" if n % 3 else album
        (folder / f"{n}.jpg").write_bytes(make_picture("JPEG", (78, 40 + n % 4)))
    (album / "text.jpg").write_text("no picture")
    survive(tmp_path, STAND_IN, [], album, kills=3, longest=0.25, seed=seed)


@pytest.mark.skipif(
    "FACECLI_KILLS" not in os.environ, reason="long: FACECLI_KILLS=50 runs it with real photos"
)
def test_fifty_kills_of_the_real_thing(tmp_path: Path) -> None:
    album = tmp_path / "album"
    album.mkdir()
    for copy in range(int(os.environ.get("FACECLI_COPIES", "6"))):
        for photo in sorted(EXAMPLES.glob("*.jpg")):
            (album / f"{copy}_{photo.name}").write_bytes(photo.read_bytes())
    kills = int(os.environ["FACECLI_KILLS"])
    survive(tmp_path, FACECLI, ["--no-preview"], album, kills, longest=3.0, seed=7)
    print(json.dumps({"kills": kills, "photos": len(facts(tmp_path / "whole"))}))  # noqa: T201
