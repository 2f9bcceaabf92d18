"""Which photos a run does, and what it says of those that it lost."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from facecli.batch import Plan, explain, in_shard, plan
from facecli.inputs import Input, find_inputs
from facecli.isolate import Lost
from facecli.manifest import Identity, Manifest
from facecli.options import Options, Settings
from facecli.outcome import Counts, Outcome
from facecli.store import Store

FACE = {"face0/result.json": b"{}\n"}


@pytest.fixture
def album(tmp_path: Path) -> Path:
    album = tmp_path / "album"
    album.mkdir()
    for name in ("done.jpg", "failed.jpg", "new.jpg", "none.jpg"):
        (album / name).write_bytes(name.encode())
    return album


@pytest.fixture
def planned(tmp_path: Path, album: Path) -> "partial[Plan]":
    """plan() for the album, of which an earlier run did all but new.jpg."""
    manifest = Manifest(tmp_path / "out", "settings", "weights")
    with Store(manifest.root) as store, manifest:
        for item in find_inputs([str(album)]):
            faces = {"done.jpg/face0": {"result.json": 3}} if item.name == "done.jpg" else {}
            status = {"done.jpg": "ok", "failed.jpg": "failed", "none.jpg": "no_face"}.get(item.name)
            if status is not None:
                manifest.append(Outcome(item, status, faces), Identity.of(item.path))  # type: ignore[arg-type]
        store.write("done.jpg", FACE)
    return partial(plan, find_inputs([str(album)]), manifest)


def todo(planned: Plan) -> list[str]:
    return [item.name for item, _ in planned.todo]


def test_a_second_run_does_what_is_left(planned: "partial[Plan]") -> None:
    found = planned(overwrite=False, retry_failed=False)
    assert todo(found) == ["new.jpg"] and found.refused == ()
    assert [(outcome.input.name, outcome.status) for outcome in found.skipped] == [
        ("done.jpg", "ok"),
        ("failed.jpg", "failed"),
        ("none.jpg", "no_face"),
    ]
    assert found.skipped[0].faces == {"done.jpg/face0": {"result.json": 3}} and found.skipped[0].skipped


def test_failed_photos_are_tried_again_when_asked_for(planned: "partial[Plan]") -> None:
    assert todo(planned(overwrite=False, retry_failed=True)) == ["failed.jpg", "new.jpg"]


def test_everything_is_done_again_when_asked_for(planned: "partial[Plan]") -> None:
    found = planned(overwrite=True, retry_failed=False)
    assert todo(found) == ["done.jpg", "failed.jpg", "new.jpg", "none.jpg"] and found.skipped == ()


def test_a_changed_photo_and_a_deleted_result_are_done_again(
    planned: "partial[Plan]", album: Path, tmp_path: Path
) -> None:
    (album / "none.jpg").write_bytes(b"another picture")
    (tmp_path / "out/done.jpg/face0/result.json").unlink()
    assert todo(planned(overwrite=False, retry_failed=False)) == ["done.jpg", "new.jpg", "none.jpg"]


def test_another_photo_of_the_same_name_is_refused_unless_overwritten(
    tmp_path: Path, planned: "partial[Plan]"
) -> None:
    other = tmp_path / "other/done.jpg"
    other.parent.mkdir()
    other.write_bytes(b"somebody else")
    manifest = planned.args[1]
    found = plan([Input(other, "done.jpg")], manifest, overwrite=False, retry_failed=False)
    (refused,) = found.refused
    assert found.todo == () and refused.status == "failed"
    assert refused.error == (
        f"'done.jpg' in the output folder is the result of another photo, '{tmp_path}/album/done.jpg'; "
        "choose another folder with -o, or --overwrite it"
    )
    assert todo(plan([Input(other, "done.jpg")], manifest, overwrite=True, retry_failed=False)) == [
        "done.jpg"
    ]


@pytest.mark.parametrize(
    ("lost", "text"),
    [
        (Lost("late", "300 s"), "took longer than 300 s; scale it down, or raise --timeout"),
        (
            Lost("crashed", "SIGSEGV"),
            "a native library crashed on it (SIGSEGV); save it anew with another program",
        ),
        (Lost("crashed", "SIGKILL"), "its worker was killed, perhaps for lack of memory"),
    ],
)
def test_a_lost_photo_s_line_says_why_and_what_to_do(lost: Lost, text: str) -> None:
    assert explain(lost).startswith(text)


def test_shards_part_the_photos_and_new_photos_move_no_other() -> None:
    items = [Input(Path(f"{n}.jpg"), f"{n}.jpg") for n in range(1000)] + [Input(Path("x"), "\udcff.jpg")]
    parts = [{item.name for item in items if in_shard(item, (i, 7))} for i in range(1, 8)]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 1001
    assert all(100 < len(part) < 190 for part in parts)
    assert in_shard(Input(Path("a"), "photo.jpg"), (1, 1))
    assert [i for i in range(1, 4) if in_shard(Input(Path("anywhere"), "photo.jpg"), (i, 3))] == [2]


def test_settings_have_another_key_when_other_bytes_would_be_written() -> None:
    settings = Settings(Options())
    others = [
        replace(settings, focal=900.0),
        replace(settings, detail=False),
        replace(settings, mirror=True),
        replace(settings, options=Options(("obj",))),
        replace(settings, options=Options(preview=False)),
        replace(settings, options=Options(maps=True)),
        replace(settings, options=Options(meshes=("face",))),
    ]
    assert len({settings.key, *(other.key for other in others)}) == 8
    assert replace(settings, device="cuda").key == settings.key


def test_counts_and_exit_code() -> None:
    item, counts = Input(Path("a"), "a"), Counts()
    assert (counts.exit_code, str(counts)) == (0, "0 done (0 faces)")
    counts.add(Outcome(item, "ok", {"a/face0": {}, "a/face1": {}}))
    counts.add(Outcome(item, "no_face", {}))
    counts.add(Outcome(item, "ok", {"a/face0": {}}, skipped=True))
    assert counts.exit_code == 0
    counts.add(Outcome(item, "failed", {}, skipped=True))
    assert counts.exit_code == 1
    counts.add(Outcome(item, "failed", {}))
    assert str(counts) == "1 done (2 faces), 1 without a face, 1 failed, 1 done earlier, 1 failed earlier"
    assert counts.exit_code == 1
