import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner, Result

from facecli import __version__, cli
from facecli.weights import find_weights

MakePicture = Callable[..., bytes]
STAND_IN = [sys.executable, str(Path(__file__).parent / "stand_in.py")]
FACECLI = [sys.executable, "-m", "facecli"]


def run(
    *arguments: str | Path | bytes, command: list[str] = STAND_IN, stdin: bytes = b"", **environment: str
) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a real process; with one worker, photos are done in order."""
    surroundings = {**os.environ, "FACECLI_WORKERS": "1", **environment}
    done = subprocess.run(
        [*command, *arguments], input=stdin, capture_output=True, timeout=60, env=surroundings
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, arguments)


@pytest.fixture
def album(tmp_path: Path, make_picture: MakePicture) -> Path:
    """one.jpg: a face; none.png: no face; text.jpg: no picture; two/pair.jpg: two faces."""
    album = tmp_path / "album"
    (album / "two").mkdir(parents=True)
    (album / "one.jpg").write_bytes(make_picture("JPEG", (60, 41)))
    (album / "none.png").write_bytes(make_picture("PNG", (60, 40)))
    (album / "text.jpg").write_text("not a picture")
    (album / "two/pair.jpg").write_bytes(make_picture("JPEG", (60, 42)))
    return album


def results(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in out.rglob("result.json")}


def test_a_mixed_folder_does_what_can_be_done_and_exits_1(tmp_path: Path, album: Path) -> None:
    code, stdout, stderr = run("reconstruct", album, "-o", tmp_path / "out")
    lines = stderr.splitlines()
    assert (code, stdout) == (1, "")
    assert lines[0] == f"{album}/none.png: no face found"
    assert lines[1].startswith(f"facecli: {album}/text.jpg: not a picture that can be read")
    assert lines[2].startswith("2 done (3 faces), 1 without a face, 1 failed in ")
    assert lines[2].endswith(f" -> {tmp_path}/out") and len(lines) == 3
    assert results(tmp_path / "out") == {
        "one.jpg/face0/result.json",
        "two/pair.jpg/face0/result.json",
        "two/pair.jpg/face1/result.json",
    }


def test_photos_without_a_face_are_done_and_exit_0(tmp_path: Path, album: Path) -> None:
    code, _, stderr = run("reconstruct", album / "none.png", album / "one.jpg", "-o", tmp_path / "out")
    assert code == 0 and "none.png: no face found" in stderr


def test_a_missing_folder_fails_and_the_rest_is_done(tmp_path: Path, album: Path) -> None:
    code, _, stderr = run("reconstruct", tmp_path / "nowhere", album / "one.jpg", "-o", tmp_path / "out")
    assert code == 1
    assert f"facecli: {tmp_path}/nowhere: no such file or folder; check the name" in stderr.splitlines()
    assert results(tmp_path / "out") == {"one.jpg/face0/result.json"}


def test_json_lines_and_nothing_else_on_stdout(
    tmp_path: Path, album: Path, make_picture: MakePicture
) -> None:
    (album / "chatty.jpg").write_bytes(make_picture("JPEG", (71, 41)))
    code, stdout, stderr = run("reconstruct", album, "-o", tmp_path / "out", "--json", "-v")
    rows = [json.loads(line) for line in stdout.splitlines()]
    assert code == 1 and "EP Error" in stderr
    assert [(row["name"], row["status"]) for row in rows] == [
        ("chatty.jpg", "ok"),
        ("none.png", "no_face"),
        ("one.jpg", "ok"),
        ("text.jpg", "failed"),
        ("two/pair.jpg", "ok"),
    ]
    assert rows[4]["faces"][1] == {
        "folder": "two/pair.jpg/face1",
        "files": {"result.json": 33, "big": 100_000},
    }
    assert rows[3]["error"].startswith("not a picture")


def test_quiet_says_failures_only_and_verbose_every_photo(tmp_path: Path, album: Path) -> None:
    quiet = run("reconstruct", album, "-o", tmp_path / "out", "-q")[2].splitlines()
    assert len(quiet) == 1 and "text.jpg" in quiet[0]
    verbose = run("reconstruct", album, "-o", tmp_path / "out2", "-v")[2]
    assert "one.jpg: 1 face in " in verbose and "pair.jpg: 2 faces in " in verbose


def test_a_bug_is_one_line_and_with_v_its_trace(
    tmp_path: Path, album: Path, make_picture: MakePicture
) -> None:
    (album / "bug.jpg").write_bytes(make_picture("JPEG", (72, 41)))
    code, _, stderr = run("reconstruct", album / "bug.jpg", "-o", tmp_path / "out")
    assert code == 1 and "internal error (ZeroDivisionError: of all things)" in stderr
    assert "Traceback" not in stderr
    assert "Traceback" in run("reconstruct", album / "bug.jpg", "-o", tmp_path / "out2", "-v")[2]


def test_options_arrive(tmp_path: Path, album: Path) -> None:
    photo, out = album / "one.jpg", tmp_path / "out"
    said = out / "one.jpg/face0/result.json"
    assert run("reconstruct", photo, "-o", out, FACECLI_DEVICE="cuda:7")[0] == 0
    assert said.read_text() == "cuda:7 None True obj,ply False True"
    assert run("reconstruct", photo, "-o", out, "--overwrite")[0] == 0
    assert said.read_text() == "auto None True obj,ply False True"
    options = "--format GLB, --maps --no-preview --device cpu --focal 900 --detail none".split()
    assert run("reconstruct", *options, "--", photo, command=[*STAND_IN])[0] == 2  # no -o
    assert run("reconstruct", *options, "-o", out, "--", photo)[0] == 0
    assert said.read_text() == "cpu 900.0 False glb True False"


def test_lists_come_from_a_file_or_stdin(tmp_path: Path, album: Path) -> None:
    lines = f"{album / 'one.jpg'}\n\n{album / 'two/pair.jpg'}\n".encode()
    (tmp_path / "list").write_bytes(lines)
    for source in ("-", str(tmp_path / "list")):
        out = tmp_path / f"out{len(source)}"
        assert run("reconstruct", "--files-from", source, "-o", out, stdin=lines)[0] == 0
        assert {name.split("/face")[0] for name in results(out)} == {"one.jpg", "two/pair.jpg"}
    first = os.fsencode(album / "one.jpg") + b"\0"
    code, *_ = run("reconstruct", "--files-from", "-", "-0", "-o", tmp_path / "o", stdin=first)
    assert code == 0 and results(tmp_path / "o") == {"one.jpg/face0/result.json"}


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux only")
def test_names_that_are_no_text_and_names_like_markup(tmp_path: Path, make_picture: MakePicture) -> None:
    folder = os.fsencode(tmp_path) + b"/in"
    os.mkdir(folder)  # noqa: PTH102  bytes
    for name in (b"\xff\xfe.jpg", b"[red]x.jpg", b"-o.jpg", b"a\nb.jpg", b"x" * 251 + b".jpg"):
        with open(folder + b"/" + name, "wb") as file:  # noqa: PTH123  bytes
            file.write(make_picture("JPEG", (60, 41)))
    code, stdout, stderr = run("reconstruct", folder, "-o", tmp_path / "out", "--json", "-v")
    assert code == 0 and len(results(tmp_path / "out")) == 5
    names = {os.fsencode(json.loads(line)["name"]) for line in stdout.splitlines()}
    assert b"\xff\xfe.jpg" in names and b"a\nb.jpg" in names
    assert "\\udcff\\udcfe.jpg: 1 face" in stderr and "[red]x.jpg: 1 face" in stderr
    assert "a\\nb.jpg: 1 face" in stderr
    assert run("reconstruct", folder + b"/\xff\xfe.jpg", "-o", tmp_path / "named")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a.jpg"], "no output folder; add -o OUT"),
        (["-o", "out"], "no input; name photos or folders"),
        (
            ["a.jpg", "-o", "out", "--format", "fbx"],
            "unknown mesh format 'fbx'; choose from obj, ply, glb, stl",
        ),
        (["a.jpg", "-o", "out", "--format", ","], "unknown mesh format ''"),
        (["a.jpg", "-o", "out", "--focal", "-1"], "--focal must be a positive number"),
        (["a.jpg", "-o", "out", "--focal", "nan"], "--focal must be a positive number"),
        (["a.jpg", "-o", "out", "--shard", "0/4"], "--shard must be I/N with I from 1 to N, such as 2/8"),
        (["a.jpg", "-o", "out", "--shard", "5/4"], "--shard must be I/N"),
        (["a.jpg", "-o", "out", "--shard", "1"], "--shard must be I/N"),
        (["--files-from", "nowhere", "-o", "out"], "--files-from nowhere: no such file"),
        (["", "-o", "out"], "an empty name"),
        ([".", "-o", "out"], "no photos found"),
        ([".", "-o", "."], "the output folder is the input folder"),
        (["a.jpg", "-o", "a.jpg"], "'a.jpg' is not a folder"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_exit_2(
    arguments: list[str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if "a.jpg" in arguments:
        (tmp_path / "a.jpg").write_bytes(b"x")
    code, stdout, stderr = run("reconstruct", *arguments)
    assert (code, stdout) == (2, "")
    assert len(stderr.splitlines()) == 1 and stderr.startswith(f"facecli: {reason}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "line", ["frobnicate", "reconstruct --no-such", "reconstruct --focal x", "reconstruct --workers 0"]
)
def test_the_parser_refuses_with_2(line: str) -> None:
    done = invoke(*line.split())
    assert done.exit_code == 2 and done.stdout == "" and "Usage:" in done.stderr


def test_a_device_that_is_not_there_is_exit_2(tmp_path: Path, album: Path) -> None:
    pytest.importorskip("facecli.pipeline")
    done = run(
        "reconstruct", album / "one.jpg", "-o", tmp_path / "out", "--device", "cuda:9", command=FACECLI
    )
    assert done[0] == 2 and "Traceback" not in done[2] and results(tmp_path / "out") == set()


def test_missing_weights_are_exit_2(tmp_path: Path, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("facecli.pipeline")
    monkeypatch.setenv("FACECLI_WEIGHTS", str(tmp_path / "nowhere"))
    code, _, stderr = run("reconstruct", album, "-o", tmp_path / "out", command=FACECLI)
    assert code == 2 and stderr.splitlines()[-1].startswith("facecli: cannot read ")
    code, stdout, stderr = run("info", "--json", command=FACECLI)
    assert code == 2 and "problem" in json.loads(stdout)["weights"] and "nowhere" in stderr


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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_once_interrupted_what_has_begun_is_finished(
    tmp_path: Path, slow_album: Path, number: int, code: int
) -> None:
    process = started_run(tmp_path, slow_album, MINUTE="1")
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
def test_a_crash_a_hang_and_a_hoard_cost_one_photo_each(
    tmp_path: Path, album: Path, make_picture: MakePicture
) -> None:
    for width in (73, 74, 75, 76):
        (album / f"bad{width}.jpg").write_bytes(make_picture("JPEG", (width, 41)))
    limits = {"FACECLI_TIMEOUT": "2", "FACECLI_MEMORY": "1"}
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


def test_one_flipped_bit_of_the_weights_is_exit_2_with_both_hashes(
    tmp_path: Path, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(find_weights(), weights)
    expected = json.loads((weights / "manifest.json").read_bytes())["files"]["network.safetensors"]["sha256"]
    data = bytearray((weights / "network.safetensors").read_bytes())
    data[len(data) // 2] ^= 4
    (weights / "network.safetensors").write_bytes(data)
    code, stdout, stderr = run(
        "reconstruct", album, "-o", tmp_path / "out", "--json", command=FACECLI, FACECLI_WEIGHTS=str(weights)
    )
    assert (code, stdout) == (2, "") and results(tmp_path / "out") == set()
    last = stderr.splitlines()[-1]
    assert last.startswith(f"facecli: {weights}/network.safetensors is damaged: expected sha256 {expected} (")
    assert f"found {hashlib.sha256(data).hexdigest()} (" in last and "install facecli again" in last


def test_a_closed_stdout_ends_quietly(tmp_path: Path, album: Path, make_picture: MakePicture) -> None:
    for index in range(20):
        (album / f"{index}.jpg").write_bytes(make_picture("JPEG", (60, 41)))
    arguments = [*STAND_IN, "reconstruct", str(album), "-o", str(tmp_path / "out"), "--json"]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    json.loads(process.stdout.readline())
    process.stdout.close()
    stderr = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(timeout=30) in (0, 1)
    assert "Traceback" not in stderr and "BrokenPipe" not in stderr


def test_no_input_on_stdin_is_needed(tmp_path: Path, album: Path) -> None:
    arguments = [*STAND_IN, "reconstruct", str(album / "one.jpg"), "-o", str(tmp_path / "out")]
    assert subprocess.run(f"{' '.join(arguments)} <&- 2>/dev/null", shell=True).returncode == 0


def test_version_help_and_the_bare_command() -> None:
    assert run("--version", command=FACECLI) == (0, f"facecli {__version__}\n", "")
    for arguments in (["--help"], ["-h"]):
        code, stdout, stderr = run(*arguments, command=FACECLI)
        assert (code, stderr) == (0, "") and "reconstruct" in stdout and "info" in stdout
    assert invoke().exit_code == 2
    text = " ".join(invoke("reconstruct", "--help").stdout.split())
    options = (
        "--out --files-from --null --format --maps --no-preview --detail --device --focal --json --quiet"
    )
    assert not [option for option in [*options.split(), "--verbose"] if option not in text]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_options(shell: str) -> None:
    line = "facecli reconstruct --sh"
    asked = {"_FACECLI_COMPLETE": f"complete_{shell}", "COMP_WORDS": line, "COMP_CWORD": "2"}
    asked |= {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    code, stdout, _ = run(command=FACECLI, **asked)
    assert code == 0 and "--shard" in stdout and "--out" not in stdout


def test_help_is_instant() -> None:
    def once() -> float:
        began = time.perf_counter()
        subprocess.run([*FACECLI, "--help"], check=True, capture_output=True)
        return time.perf_counter() - began

    assert min(once() for _ in range(5)) < 0.3


def test_info_tells_versions_devices_and_hashes() -> None:
    pytest.importorskip("facecli.weights")
    done = invoke("info", "--json")
    facts = json.loads(done.stdout)
    assert facts["facecli"] == __version__ and facts["devices"][0] == "cpu"
    assert {"numpy", "onnxruntime", "pillow"} <= facts["packages"].keys()
    if done.exit_code == 0:
        assert all(len(entry["sha256"]) == 64 for entry in facts["weights"]["files"].values())
        assert "every hash verified" in invoke("info").stdout
