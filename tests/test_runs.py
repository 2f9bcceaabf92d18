"""Whole runs of `facecli reconstruct`: interrupted, resumed, starved, several at once."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from terminal import STAND_IN, results, run

MakePicture = Callable[..., bytes]


def started_run(
    tmp_path: Path, album: Path, *arguments: str, **environment: str
) -> "subprocess.Popen[bytes]":
    """A run with two workers, of which one has begun two/a_minute.jpg; in a process group of its own."""
    started = tmp_path / "started"
    process = subprocess.Popen(
        [*STAND_IN, "reconstruct", str(album), "-o", str(tmp_path / "out"), *arguments],
        stderr=subprocess.PIPE,
        env={**os.environ, "STARTED": str(started), "FACECLI_WORKERS": "1", **environment},
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


@pytest.fixture
def slow_album(album: Path, make_picture: MakePicture) -> Path:
    """Between four photos and the last one, two/pair.jpg, one that takes a minute."""
    (album / "two/a_minute.jpg").write_bytes(make_picture("JPEG", (70, 41)))
    return album


@pytest.mark.parametrize(
    ("number", "code", "handful"),
    [(signal.SIGINT, 130, "1"), (signal.SIGTERM, 143, "1"), (signal.SIGINT, 130, "2")],
)
def test_once_interrupted_what_has_begun_is_finished(
    tmp_path: Path, slow_album: Path, number: int, code: int, handful: str
) -> None:
    process = started_run(tmp_path, slow_album, MINUTE="1", HANDFUL=handful)
    os.killpg(process.pid, number)  # as terminals and schedulers do
    stderr = process.communicate(timeout=20)[1].decode()
    assert process.returncode == code and "Traceback" not in stderr
    assert "finishing the photos that have begun; once more stops at once" in stderr
    assert stderr.splitlines()[-1].startswith("interrupted: 2 done (2 faces), 1 without a face, 1 failed in ")
    assert results(tmp_path / "out") == {"one.jpg/face0/result.json", "two/a_minute.jpg/face0/result.json"}
    assert_tidy(tmp_path)


def test_twice_interrupted_it_ends_at_once_and_the_rest_can_be_done_later(
    tmp_path: Path, slow_album: Path
) -> None:
    process = started_run(tmp_path, slow_album)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    stderr = process.communicate(timeout=20)[1].decode()
    assert time.monotonic() - began < 5
    assert process.returncode == 130 and "Traceback" not in stderr
    assert stderr.splitlines()[-1].startswith("interrupted: 1 done (1 face), 1 without a face, 1 failed in ")
    assert results(tmp_path / "out") == {"one.jpg/face0/result.json"}
    assert_tidy(tmp_path)
    code, _, stderr = run(
        "reconstruct", slow_album, "-o", tmp_path / "out", STARTED=str(tmp_path / "s"), MINUTE="0"
    )
    assert code == 1 and "2 done (3 faces), 2 done earlier, 1 failed earlier in " in stderr
    assert len(results(tmp_path / "out")) == 4


def assert_tidy(tmp_path: Path) -> None:
    """No hidden folder is left, and no worker."""
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
    for process in psutil.process_iter(["cmdline"]):
        assert str(tmp_path) not in " ".join(process.info["cmdline"] or [])


def test_a_second_run_does_what_is_left_without_loading_anything(
    tmp_path: Path, album: Path, make_picture: MakePicture
) -> None:
    out, seen = tmp_path / "out", tmp_path / "seen"
    first = run("reconstruct", album, "-o", out, "--json", SEEN=str(seen))
    (album / "new.jpg").write_bytes(make_picture("JPEG", (61, 41)))
    second = run("reconstruct", album, "-o", out, "--json", "-v", SEEN=str(seen))
    assert seen.read_text().split() == ["60"] * 3 + ["61"]
    assert second[0] == 1, "one photo is still not done"
    assert "facecli: 1 photo failed in an earlier run; --retry-failed tries again" in second[2]
    assert f"{album}/one.jpg: done in an earlier run" in second[2]
    before = {row["name"]: row for row in map(json.loads, first[1].splitlines())}
    rows = {row["name"]: row for row in map(json.loads, second[1].splitlines())}
    assert not rows.pop("new.jpg").get("skipped")
    assert rows == {name: row | {"skipped": True} for name, row in before.items()}

    third = run("reconstruct", album, "-o", out, SEEN=str(seen), START="dies")
    assert third[0] == 1 and "0 done (0 faces), 4 done earlier, 1 failed earlier" in third[2]
    (album / "text.jpg").unlink()
    assert run("reconstruct", album, "-o", out, START="dies")[0] == 0


def test_retry_failed_overwrite_and_other_weights(tmp_path: Path, album: Path) -> None:
    out, seen = tmp_path / "out", tmp_path / "seen"
    run("reconstruct", album, "-o", out)
    retried = run("reconstruct", album, "-o", out, "--retry-failed", SEEN=str(seen))
    assert "text.jpg: not a picture" in retried[2] and "3 done earlier" in retried[2] and not seen.exists()
    for arguments, environment in ((["--overwrite"], {}), ([], {"WEIGHTS": "others"})):
        code, _, stderr = run("reconstruct", album, "-o", out, *arguments, SEEN=str(seen), **environment)
        assert code == 1 and "2 done (3 faces), 1 without a face, 1 failed in" in stderr
    assert len(seen.read_text().split()) == 6


@pytest.mark.skipif(sys.platform != "linux", reason="signals and memory limits as on Linux")
@pytest.mark.parametrize("handful", ["1", "5"])
def test_a_crash_a_hang_and_a_hoard_cost_one_photo_each(
    tmp_path: Path, album: Path, make_picture: MakePicture, handful: str
) -> None:
    for width in (73, 74, 75, 76):
        (album / f"bad{width}.jpg").write_bytes(make_picture("JPEG", (width, 41)))
    limits = {"FACECLI_TIMEOUT": "2", "FACECLI_MEMORY": "1", "HANDFUL": handful}
    code, stdout, stderr = run("reconstruct", album, "-o", tmp_path / "out", "--json", **limits)
    errors = {row["name"]: row["error"] for row in map(json.loads, stdout.splitlines())}
    assert code == 1 and "Traceback" not in stderr
    assert errors.pop("text.jpg").startswith("not a picture")
    assert errors == {
        "bad73.jpg": "a native library crashed on it (SIGSEGV); save it anew with another program",
        "bad74.jpg": "a native library crashed on it (status 3); save it anew with another program",
        "bad75.jpg": "took longer than 2 s; scale it down, or raise --timeout",
        "bad76.jpg": "not enough memory for it; scale it down, or raise --memory",
        "none.png": None,
        "one.jpg": None,
        "two/pair.jpg": None,
    }
    assert len(results(tmp_path / "out")) == 3


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("refuses", "facecli: the weights are damaged: expected sha256 00, found 01"),
        ("dies", "facecli: worker processes do not start (status 5)"),
    ],
)
def test_workers_that_cannot_start_end_the_run_with_one_line(
    tmp_path: Path, album: Path, start: str, said: str
) -> None:
    code, _, stderr = run("reconstruct", album, "-o", tmp_path / "out", "-q", START=start)
    assert code == 2 and stderr.startswith(said) and len(stderr.splitlines()) == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_ends_the_run_with_2_and_what_was_done_stays(
    tmp_path: Path, album: Path, make_picture: MakePicture
) -> None:
    (album / "oops.jpg").write_bytes(make_picture("JPEG", (77, 41)))
    code, _, stderr = run("reconstruct", album, "-o", tmp_path / "out")
    lines = stderr.splitlines()
    assert code == 2 and lines[-1] == "facecli: cannot write: No space left on device"
    assert lines[-2].startswith("1 done (1 face), 1 without a face in ")
    (album / "oops.jpg").unlink()
    assert (
        "1 done (2 faces), 1 failed, 2 done earlier" in run("reconstruct", album, "-o", tmp_path / "out")[2]
    )


def test_shards_at_the_same_time_into_one_folder_do_each_photo_once(
    tmp_path: Path, make_picture: MakePicture
) -> None:
    album, out, seen = tmp_path / "album", tmp_path / "out", tmp_path / "seen"
    album.mkdir()
    for n in range(12):
        (album / f"{n}.jpg").write_bytes(make_picture("JPEG", (60, 41)))
    environment = {**os.environ, "SEEN": str(seen), "FACECLI_WORKERS": "1"}
    parts = [
        subprocess.Popen(
            [*STAND_IN, "reconstruct", album, "-o", out, "-q", "--shard", f"{i}/3"], env=environment
        )
        for i in (1, 2, 3)
    ]
    assert [part.wait(60) for part in parts] == [0, 0, 0]
    assert len(results(out)) == 12 and len(seen.read_text().split()) == 12
    assert {path.name for path in out.iterdir() if path.is_file()} == {
        f"manifest-{i}-of-3.jsonl" for i in (1, 2, 3)
    }
    assert "0 done (0 faces), 12 done earlier" in run("reconstruct", album, "-o", out, START="dies")[2]


def test_two_runs_on_the_same_photos_at_the_same_time_do_no_harm(
    tmp_path: Path, make_picture: MakePicture
) -> None:
    album, out = tmp_path / "album", tmp_path / "out"
    album.mkdir()
    for n in range(30):
        (album / f"{n}.jpg").write_bytes(make_picture("JPEG", (60, 41)))
    command = [*STAND_IN, "reconstruct", album, "-o", out, "-q", "--overwrite", "--workers", "1"]
    runs = [subprocess.Popen(command) for _ in range(2)]
    assert [run.wait(60) for run in runs] == [0, 0]
    assert len(results(out)) == 30
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert len(rows) == 60 and {row["status"] for row in rows} == {"ok"}
