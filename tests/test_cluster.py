"""Rows of a cluster: whatever befalls a photo is in its row, and assembled rows are what reconstruct writes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stand_in

pa = pytest.importorskip("pyarrow", reason="needs the extra facecli[ray]")
import pyarrow.parquet as parquet  # noqa: E402

from facecli import cluster  # noqa: E402
from facecli.assemble import open_rows, write_rows  # noqa: E402
from facecli.cluster import COMPACT, SCHEMA, FaceBatch, result_name  # noqa: E402
from facecli.errors import UsageError, WeightsError  # noqa: E402
from facecli.interrupt import Interrupt  # noqa: E402
from facecli.options import Options, Settings  # noqa: E402
from facecli.store import Store  # noqa: E402

MakePicture = Callable[..., bytes]
TESTS = Path(__file__).parent
STAND_IN = [sys.executable, str(TESTS / "stand_in.py")]
OUTCOMES = {  # a photo's width decides what befalls it, see stand_in
    "a.jpg": (60, "ok", None),
    "a none.png": (61, "no_face", None),
    "a text.jpg": (0, "failed", "not a picture that can be read"),
    "a bug.png": (72, "failed", "internal error (ZeroDivisionError"),
    "sub/crash.png": (73, "failed", "a native library crashed on it (SIGSEGV)"),
    "sub/exit.png": (74, "failed", "a native library crashed on it (status 3)"),
    "sub/hang.png": (75, "failed", "took longer than 5 s"),
    "sub/z.png": (62, "ok", None),
}


@pytest.fixture
def album(tmp_path: Path, make_picture: MakePicture) -> Path:
    album = tmp_path / "album"
    (album / "sub").mkdir(parents=True)
    for name, (width, status, _) in OUTCOMES.items():
        size = (width, 40 if status == "no_face" else 42)
        data = make_picture("PNG" if name.endswith("png") else "JPEG", size) if width else b"text"
        (album / name).write_bytes(data)
    return album


@pytest.fixture(autouse=True)
def workers_find_the_stand_in(monkeypatch: pytest.MonkeyPatch, children_find_the_package: None) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.environ["PYTHONPATH"], str(TESTS)]))


def batch_of(album: Path) -> dict[str, np.ndarray]:
    paths = sorted(str(path) for path in album.rglob("*") if path.is_file())
    data = np.empty(len(paths), object)
    data[:] = [Path(path).read_bytes() for path in paths]
    return {"path": np.array(paths), "bytes": data}


def tree(root: Path) -> dict[str, bytes]:
    """Every result file; the manifest knows times and is looked at apart."""
    files = {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
    return {str(path.relative_to(root)): data for path, data in files.items() if path.suffix != ".jsonl"}


def run(*arguments: str | Path, command: list[str] = STAND_IN) -> tuple[int, str, str]:
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=500)
    return done.returncode, done.stdout, done.stderr


def check_outcomes(rows: list[dict[str, Any]], without: tuple[str, ...] = ()) -> None:
    assert sorted(row["name"] for row in rows) == sorted(OUTCOMES.keys() - set(without))
    for row in rows:
        _, status, expected = OUTCOMES[row["name"]]
        assert row["status"] == status
        assert row["error"] is None if expected is None else row["error"].startswith(expected), row["error"]
        assert (row["faces"] > 0) == (row["status"] == "ok") == bool(row["files"])


@pytest.mark.parametrize("handful", [1, 5])
def test_a_batch_survives_what_befalls_its_photos(
    album: Path, handful: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "default_handful", lambda device, timeout: handful)
    monkeypatch.setenv("HANDFUL", str(handful))
    faces = FaceBatch(root=str(album), timeout=5.0, start=stand_in.start)
    with faces._crew:
        batch = batch_of(album)
        table = faces(batch)
        assert table.schema == SCHEMA and table["path"].to_pylist() == batch["path"].tolist()
        check_outcomes(table.to_pylist())
        again = faces({name: column[:1] for name, column in batch.items()})
        assert again.num_rows == 1 and faces({"path": np.array([]), "bytes": np.array([])}).schema == SCHEMA


def refuse(*_: object) -> Any:
    raise WeightsError("damaged")


def test_what_concerns_every_photo_ends_the_job(album: Path) -> None:
    faces = FaceBatch(start=refuse)
    with faces._crew, pytest.raises(WeightsError, match="damaged"):
        faces(batch_of(album))


@pytest.mark.parametrize(
    ("path", "root", "name"),
    [
        ("/data/in/sub/a.jpg", "/data/in", "sub/a.jpg"),
        ("/data/in/sub/a.jpg", "/data/in/", "sub/a.jpg"),
        ("bucket/photos/a.jpg", "s3://bucket/photos", "a.jpg"),
        ("s3://bucket/photos/a.jpg", "s3://bucket", "photos/a.jpg"),
        ("/data/in/a.jpg", "", "data/in/a.jpg"),
        ("/data/inside/a.jpg", "/data/in", "data/inside/a.jpg"),
        ("bucket/../../etc/a.jpg", "", "etc/a.jpg"),
    ],
)
def test_names_of_results(path: str, root: str, name: str) -> None:
    assert result_name(path, root) == name


def test_assembled_rows_are_the_bytes_that_reconstruct_writes(tmp_path: Path) -> None:
    """With the real network; the photo's faces, both meshes, in every format."""
    photos = TESTS.parent / "examples/photos"
    settings = Settings(Options(("obj", "ply", "glb"), preview=False), device="cpu")
    faces = FaceBatch(settings, root=str(photos))
    with faces._crew:
        batch = {name: column[:1] for name, column in batch_of(photos).items()}
        parquet.write_table(faces(batch), tmp_path / "rows.parquet")
    facecli = [sys.executable, "-m", "facecli"]
    assert run("assemble", tmp_path / "rows.parquet", "-o", tmp_path / "assembled", command=facecli)[0] == 0
    arguments = ["--format", "obj,ply,glb", "--no-preview", "--device", "cpu"]
    assert (
        run("reconstruct", photos / "astronaut.jpg", "-o", tmp_path / "direct", *arguments, command=facecli)[
            0
        ]
        == 0
    )
    direct = tree(tmp_path / "direct")
    assembled = tree(tmp_path / "assembled")
    assert assembled.keys() == direct.keys()
    assert [name for name in direct if assembled[name] != direct[name]] == []  # no diff of megabytes
    assert {Path(name).name for name in direct} >= {
        "mesh.obj",
        "texture.png",
        "face.ply",
        "mesh.glb",
        "result.json",
    }


def made_rows(folder: Path, **changes: Any) -> Path:
    """One good row and, after it, one that is as told."""
    row = {
        "path": "/in/a.jpg", "name": "a.jpg", "status": "ok", "error": None, "faces": 1, "seconds": 1.0,
        "size": 10, "settings": "s", "weights": "w", "files": [{"name": "face0/result.json", "data": b"{}"}],
    }  # fmt: skip
    table = pa.Table.from_pylist(
        [row, {**row, "path": "/in/b.jpg", "name": "b.jpg"} | changes], schema=SCHEMA
    )
    parquet.write_table(table, folder / "rows.parquet")
    return folder / "rows.parquet"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../b.jpg"},
        {"name": "/etc/b.jpg"},
        {"name": "sub/../../b.jpg"},
        {"name": ""},
        {"name": "manifest.jsonl"},
        {"name": ".facecli-0/b.jpg"},
        {"name": "b\0.jpg"},
        {"files": [{"name": "face0/../../../b", "data": b"x"}]},
        {"files": [{"name": "/etc/passwd", "data": b"x"}]},
        {"files": [{"name": "face0/.bashrc", "data": b"x"}]},
        {"status": "failed", "error": "the file is empty", "files": []},
    ],
)
def test_rows_that_name_other_places_fail_by_themselves(tmp_path: Path, changes: dict[str, Any]) -> None:
    rows = made_rows(tmp_path, **changes)
    with Store(tmp_path / "out") as store:
        outcomes = list(write_rows(open_rows([rows]), store, Interrupt()))
    assert [outcome.status for outcome in outcomes] == ["ok", "failed"]
    assert outcomes[1].error and "/etc/passwd" not in tree(tmp_path)
    assert tree(tmp_path / "out") == {"a.jpg/face0/result.json": b"{}"}
    assert {path.name for path in tmp_path.iterdir()} == {"rows.parquet", "out"}
    lines = (tmp_path / "out/manifest.jsonl").read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["ok", "failed"]


def test_failed_rows_are_lines_on_stderr_and_exit_1(tmp_path: Path) -> None:
    rows = made_rows(tmp_path, status="failed", error="the file is empty", files=[])
    code, stdout, stderr = run("assemble", rows, "-o", tmp_path / "out", "--json")
    assert [json.loads(line)["status"] for line in stdout.splitlines()] == ["ok", "failed"]
    lines = stderr.splitlines()
    assert code == 1 and lines[0] == "facecli: /in/b.jpg: the file is empty"
    assert lines[1].startswith("1 done (1 face), 1 failed in ") and len(lines) == 2


def test_what_is_not_rows_is_one_line_of_usage(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no Parquet")
    (tmp_path / "empty").mkdir()
    parquet.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    damaged = made_rows(tmp_path).read_bytes()
    (tmp_path / "damaged.parquet").write_bytes(damaged[:4] + bytes(200) + damaged[204:])
    for name, reason in {
        "nowhere.parquet": "is no Parquet file",
        "empty": "is no Parquet file and no folder of them",
        "text.parquet": "no rows to read",
        "other.parquet": "these are not rows of FaceBatch: no column path",
        "damaged.parquet": "damaged rows",
    }.items():
        with Store(tmp_path / "out") as store, pytest.raises(UsageError, match=reason) as caught:
            list(write_rows(open_rows([tmp_path / name]), store, Interrupt()))
        assert "\n" not in str(caught.value) and caught.value.exit_code == 2


def test_compact_rows_hold_no_text_meshes_and_no_pictures_for_people() -> None:
    assert COMPACT.options.formats == ("ply",) and not COMPACT.options.preview


def test_two_ray_nodes_a_killed_actor_and_a_checkpoint(
    tmp_path: Path, album: Path, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every photo has exactly one row; done ones are not done again; the actor that dies takes nothing along."""
    pytest.importorskip("ray", reason="needs the extra facecli[ray]")
    (album / "killer.png").write_bytes(make_picture("PNG", (79, 41)))
    dull = ("a bug.png", "sub/exit.png", "sub/hang.png")  # a batch of its own sees to them
    for name in dull:
        (album / name).unlink()
    monkeypatch.setenv("KILLED", str(tmp_path / "killed"))
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    rows = tmp_path / "rows"
    code, stdout, stderr = run(
        album, rows, tmp_path / "checkpoint", command=[sys.executable, str(TESTS / "ray_job.py")]
    )
    assert code == 0 and stdout.splitlines()[-1] == "2 nodes", stderr[-3000:]
    assert (tmp_path / "killed").exists()
    found = parquet.read_table(rows).to_pylist()
    (killer,) = (row for row in found if row["name"] == "killer.png")
    assert killer["status"] == "ok"
    check_outcomes([row for row in found if row is not killer], without=dull)
    seen = (tmp_path / "seen").read_text().split()
    assert seen.count("60") == seen.count("61") == 1 and seen.count("79") == 2
    (album / "killer.png").unlink()
    assert run("assemble", rows, "-o", tmp_path / "assembled", "-q")[0] == 1
    assert (
        run(
            "reconstruct",
            album,
            "-o",
            tmp_path / "direct",
            "-q",
            "--timeout",
            "5",
            "--format",
            "ply",
            "--no-preview",
        )[0]
        == 1
    )
    assembled = tree(tmp_path / "assembled")
    assert {name: data for name, data in assembled.items() if "killer" not in name} == tree(
        tmp_path / "direct"
    )


def test_the_ray_example_makes_a_row_of_a_real_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program that the README and docs/many-photos.md hold up, on four slots of this machine."""
    pytest.importorskip("ray", reason="needs the extra facecli[ray]")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_prestart_worker_first_driver", "0")
    (tmp_path / "photos").mkdir()
    shutil.copy(TESTS.parent / "examples/photos/astronaut.jpg", tmp_path / "photos")
    slots = "import ray; ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False); "
    example = f"import runpy; runpy.run_path({str(TESTS.parent / 'examples/on_ray.py')!r})"
    folders = [tmp_path / name for name in ("photos", "rows", "checkpoint")]
    code, _, stderr = run(*folders, command=[sys.executable, "-c", slots + example])
    assert code == 0, stderr[-3000:]
    (row,) = parquet.read_table(tmp_path / "rows").to_pylist()
    assert (row["name"], row["status"], row["faces"]) == ("astronaut.jpg", "ok", 1)
    assert {file["name"] for file in row["files"]} >= {"face0/face.ply", "face0/mesh.ply"}
