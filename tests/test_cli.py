"""What is typed, and what comes back on stdout, on stderr and as exit status."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from terminal import FACECLI, STAND_IN, results, run
from typer.testing import CliRunner, Result

from facecli import __version__, cli
from facecli.weights import find_weights

MakePicture = Callable[..., bytes]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, arguments)


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
