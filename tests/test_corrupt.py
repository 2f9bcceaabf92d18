"""Thousands of bad files, each an upright RGB array or one ImageError, in little time and memory."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import corrupt
import pytest

SECONDS, MEMORY = 2.0, 1 << 30  # of one file; of the whole process, whatever it read before


def judged(*arguments: str) -> list[dict[str, Any]]:
    """Run the generator as a program; a crash or a hang fails with the name of the file."""
    program = [sys.executable, str(Path(corrupt.__file__)), *arguments]
    done = subprocess.run(program, capture_output=True, text=True, timeout=580)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (
        f"{lines[-1]!r} ended the process with {done.returncode}: {done.stderr[-2000:]}"
    )
    assert done.stderr == "", "decoders are to be silent"
    return [{"name": name} | facts for name, facts in zip(lines[::2], lines[1::2], strict=True)]


def test_the_files_are_thousands_all_different_and_always_the_same() -> None:
    def made() -> dict[str, bytes]:
        return dict([*corrupt.damaged(), *corrupt.lies(), *corrupt.no_pictures()])

    files = made()
    assert files == made() and len(files) > 3000
    assert len(set(files.values())) > 0.95 * len(files)


def test_every_bad_file_is_a_picture_or_one_image_error_in_2_s_and_1_gb() -> None:
    rows = judged()
    assert len({row["name"] for row in rows}) == len(rows) > 3000
    assert [row for row in rows if row["outcome"] not in ("picture", "error")] == []
    assert [row for row in rows if row["seconds"] > SECONDS] == []
    assert [row for row in rows if row["peak"] > MEMORY][:1] == []
    for row in rows:
        if row["outcome"] == "error":
            assert 0 < len(row["message"]) < 200 and row["message"].isprintable(), row
    whole = [row for row in rows if row["name"].endswith(" whole")]
    assert len(whole) >= 34 and {row["outcome"] for row in whole} == {"picture"}
    outcomes = [row["outcome"] for row in rows]
    assert min(outcomes.count("picture"), outcomes.count("error")) > 1000


def test_thirty_bad_files_and_ten_good_ones(tmp_path: Path, make_picture: Callable[..., bytes]) -> None:
    """One folder through the whole command: every good photo done, every bad one a line with its name."""
    bad = [data for name, data in corrupt.no_pictures() if len(data) > 4][:15]
    bad += [data for name, data in corrupt.damaged() if " cut " in name and name.startswith("png")][:15]
    album = tmp_path / "album"
    album.mkdir()
    for index, data in enumerate(bad):
        (album / f"bad{index}.jpg").write_bytes(data)
    for index in range(10):
        (album / f"good{index}.png").write_bytes(make_picture("PNG", (60, 41)))
    program = [
        sys.executable,
        str(Path(corrupt.__file__).with_name("stand_in.py")),
        "reconstruct",
        str(album),
    ]
    done = subprocess.run(
        [*program, "-o", str(tmp_path / "out"), "--json"], capture_output=True, text=True, timeout=300
    )
    rows = {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1 and len(rows) == 40
    assert sorted(name for name, row in rows.items() if row["status"] == "ok") == [
        f"good{index}.png" for index in range(10)
    ]
    failures = [line for line in done.stderr.splitlines() if line.startswith(f"facecli: {album}/bad")]
    assert len(failures) == 30 == len(done.stderr.splitlines()) - 1
    assert all(len(line) < 400 for line in failures)


@pytest.mark.skipif("FACECLI_CORPUS" not in os.environ, reason="FACECLI_CORPUS names no folder of wild files")
def test_wild_files_keep_the_same_promise() -> None:
    rows = judged(os.environ["FACECLI_CORPUS"])
    assert rows and [row for row in rows if row["outcome"] not in ("picture", "error")] == []
