"""The report of a folder: what is found, what is made, what is made again, what cannot be."""

import json
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from results import dome, facts, write_face, write_manifest

from facecli import export
from facecli.errors import OutputError, UsageError
from facecli.gallery import FOLDER, identity
from facecli.parcel import FORMAT
from facecli.report import PAGE, start_report


@pytest.fixture
def out(tmp_path: Path, jpeg: bytes) -> Path:
    """Two photos with a face, one with two, one without, one that failed, one that is gone."""
    out = tmp_path / "out"
    write_face(out / "b.jpg/face0", "b.jpg", score=0.62)
    for face in (0, 1):
        write_face(out / f"a/two.jpg/face{face}", "a/two.jpg", face)
    (tmp_path / "none.jpg").write_bytes(jpeg)
    write_manifest(
        out,
        {"name": "b.jpg", "status": "failed", "error": "an earlier run", "input": "/b.jpg"},
        {"name": "b.jpg", "status": "ok", "input": "/b.jpg", "seconds": 0.5},
        {"name": "none.jpg", "status": "no_face", "input": str(tmp_path / "none.jpg"), "error": None},
        {"name": "gone.jpg", "status": "no_face", "input": str(tmp_path / "gone.jpg"), "error": None},
        {"name": "x.jpg", "status": "failed", "input": "/x.jpg", "error": "not a picture"},
    )
    with (out / "manifest.jsonl").open("a") as file:
        file.write('{"name": "torn.jpg", "stat')
    return out


def rows(out: Path) -> list[dict[str, object]]:
    text = re.search(
        r'<script id="data" type="application/json">(.*?)</script>', (out / PAGE).read_text(), re.S
    )
    assert text is not None
    return json.loads(text[1])["rows"]


def made(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (out / FOLDER / "faces").iterdir()}


def test_every_photo_is_a_row_and_every_face_has_its_picture_and_parcel(out: Path) -> None:
    report = start_report(out)
    assert [(row["name"], row["status"], row["face"], row["of"]) for row in rows(out)] == [
        ("a/two.jpg", "ok", 0, 2),
        ("a/two.jpg", "ok", 1, 2),
        ("b.jpg", "ok", 0, 1),
        ("gone.jpg", "no_face", 0, 0),
        ("none.jpg", "no_face", 0, 0),
        ("x.jpg", "failed", 0, 0),
    ]
    assert rows(out)[2]["seconds"] == 0.5 and "seconds" not in rows(out)[0]
    assert rows(out)[5]["error"] == "not a picture" and not made(out)
    assert list(report.finish()) == [None] * 6
    faces = [identity(name) for name in ("b.jpg/face0", "a/two.jpg/face0", "a/two.jpg/face1")]
    pictures = [f"{name}.jpg" for name in [*faces, identity("none.jpg")]]
    assert set(made(out)) == {*pictures, *(f"{name}.{FORMAT}.js" for name in faces)}
    thumb = cv2.imdecode(np.frombuffer((out / FOLDER / "faces" / pictures[0]).read_bytes(), np.uint8), 1)
    assert thumb.shape == (224, 448, 3)
    assert abs(thumb[:, :220].mean() - 40) < 2 and abs(thumb[:, 228:].mean() - 160) < 2  # panels 0 and 3


def test_a_second_report_makes_only_what_is_new(out: Path) -> None:
    list(start_report(out).finish())
    first = made(out)
    list(start_report(out).finish())
    assert made(out) == first
    changed = out / "b.jpg/face0/result.json"
    os.utime(changed, ns=(2**62, 2**62))
    list(start_report(out).finish())
    new = {name for name, time in made(out).items() if time != first[name]}
    assert new == {f"{identity('b.jpg/face0')}.jpg", f"{identity('b.jpg/face0')}.{FORMAT}.js"}


def test_what_belongs_to_no_result_goes_and_what_is_not_ours_stays(out: Path) -> None:
    list(start_report(out).finish())
    before = set(made(out))
    faces = out / FOLDER / "faces"
    (faces / f"{'0' * 16}.jpg").write_bytes(b"old")
    (faces / f"{identity('b.jpg/face0')}.0.js").write_bytes(b"of another version")
    (faces / "notes.txt").write_bytes(b"mine")
    list(start_report(out).finish())
    assert set(made(out)) == before | {"notes.txt"}


def test_without_3d_there_are_pictures_only(out: Path) -> None:
    list(start_report(out).finish(in_3d=False))
    assert {name.rpartition(".")[2] for name in made(out)} == {"jpg"}


def test_a_report_that_is_broken_off_goes_on_later(out: Path) -> None:
    finishing = start_report(out).finish()
    next(finishing)
    finishing.close()
    assert len(made(out)) == 2 and (out / PAGE).exists()
    list(start_report(out).finish())
    assert len(made(out)) == 7
    assert not [path for path in out.rglob("*.part")]


def test_without_a_preview_the_mesh_is_drawn(out: Path) -> None:
    (out / "b.jpg/face0/preview.png").unlink()
    assert list(start_report(out).finish()) == [None] * 6
    assert f"{identity('b.jpg/face0')}.jpg" in made(out)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda face: (face / "face.ply").write_bytes(b"ply\n"), "face.ply is not a mesh"),
        (lambda face: (face / "preview.png").write_bytes(b"no"), "not a picture that can be read"),
        (
            lambda face: [(face / name).unlink() for name in ("face.ply", "preview.png")],
            "no preview and no mesh",
        ),
    ],
)
def test_a_spoilt_result_is_one_line_and_the_rest_is_shown(out: Path, spoil: object, reason: str) -> None:
    spoil(out / "b.jpg/face0")  # type: ignore[operator]
    problems = [problem for problem in start_report(out).finish() if problem]
    assert len(problems) == 1 and "b.jpg/face0" in problems[0] and reason in problems[0]
    assert len(rows(out)) == 6 and len(made(out)) >= 5


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "other/1"}', ""])
def test_a_result_json_of_nobodys_is_no_row(out: Path, text: str) -> None:
    (out / "b.jpg/face0/result.json").write_text(text)
    start_report(out)
    assert [row["name"] for row in rows(out) if row["status"] == "ok"] == ["a/two.jpg", "a/two.jpg"]


def test_faces_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    for face in (10, 9, 0):
        write_face(tmp_path / f"a.jpg/face{face}", "a.jpg", face)
    start_report(tmp_path)
    assert [row["face"] for row in rows(tmp_path)] == [0, 9, 10]


def test_the_meshs_texture_goes_along(out: Path) -> None:
    folder = out / "b.jpg/face0"
    for name, data in export.to_obj(dome(), np.full((32, 32, 3), 77, np.uint8)).items():
        (folder / name).write_bytes(data)
    list(start_report(out).finish())
    sizes = {
        row["name"]: (out / FOLDER / f"faces/{row['id']}.{FORMAT}.js").stat().st_size for row in rows(out)[:3]
    }
    assert sizes["b.jpg"] > sizes["a/two.jpg"] + 300


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        start_report(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"no results in .*run facecli reconstruct"):
        start_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_page_that_cannot_be_written_is_an_output_error(out: Path) -> None:
    (out / PAGE).mkdir()
    with pytest.raises(OutputError, match=r"report\.html"):
        start_report(out)
    (out / FOLDER / "faces").rmdir()
    (out / FOLDER / "faces").write_bytes(b"")
    with pytest.raises(OutputError, match="report_files"):
        start_report(out)


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on Linux only")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe <b>.jpg")
    write_face(tmp_path / name / "face0", name)
    report = start_report(tmp_path)
    assert list(report.finish()) == [None]
    assert rows(tmp_path)[0]["link"] == "%FF%FE%20%3Cb%3E.jpg/face0/"
    assert facts(name)["input"]["name"] == name
