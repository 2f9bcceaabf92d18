"""What the manifest says is what stands in OUT."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from facecli.errors import OutputError
from facecli.inputs import Input
from facecli.manifest import Identity, Manifest, belongs_to_another, read_rows
from facecli.outcome import Outcome
from facecli.store import Store

FILES = {"mesh.obj": b"v 0 0 0\n", "result.json": b"{}\n"}


@pytest.fixture
def photo(tmp_path: Path) -> Input:
    (tmp_path / "album").mkdir()
    (tmp_path / "album/a.jpg").write_bytes(b"a picture")
    return Input(tmp_path / "album/a.jpg", "a.jpg")


@pytest.fixture
def out(tmp_path: Path, photo: Input) -> Path:
    """Where a.jpg was done, with two faces."""
    out = tmp_path / "out"
    with Store(out) as store, Manifest(out, "settings", "weights") as manifest:
        store.write("a.jpg", {f"face{n}/{name}": data for n in (0, 1) for name, data in FILES.items()})
        manifest.append(done(photo), Identity.of(photo.path))
    return out


def done(photo: Input) -> Outcome:
    sizes = {name: len(data) for name, data in FILES.items()}
    return Outcome(photo, "ok", {f"{photo.name}/face{n}": sizes for n in (0, 1)}, seconds=1.25)


def settled(
    out: Path, photo: Input, settings: str = "settings", weights: str = "weights", retry: bool = False
) -> bool:
    row = read_rows(out)[photo.name]
    return Manifest(out, settings, weights).is_settled(row, Identity.of(photo.path), retry)


def test_a_row_says_what_was_done_with_what(out: Path, photo: Input) -> None:
    row = read_rows(out)["a.jpg"]
    assert row.pop("finished") > 1e9 and row.pop("mtime_ns") == photo.path.stat().st_mtime_ns
    sizes = {"mesh.obj": 8, "result.json": 3}
    assert row == {
        "schema": "facecli.manifest/1",
        "input": str(photo.path),
        "name": "a.jpg",
        "status": "ok",
        "faces": [{"folder": "a.jpg/face0", "files": sizes}, {"folder": "a.jpg/face1", "files": sizes}],
        "error": None,
        "seconds": 1.25,
        "stages": {},
        "size": 9,
        "settings": "settings",
        "weights": "weights",
        "version": row["version"],
    }
    again = Outcome.from_json(row, photo)
    assert again.skipped and replace(again, skipped=False) == done(photo)


def test_what_was_done_is_settled(out: Path, photo: Input) -> None:
    assert settled(out, photo) and settled(out, photo, retry=True)


def test_other_settings_or_weights_are_not_settled(out: Path, photo: Input) -> None:
    assert not settled(out, photo, settings="others") and not settled(out, photo, weights="others")


def test_a_photo_that_was_touched_or_grew_is_not_settled(out: Path, photo: Input) -> None:
    facts = photo.path.stat()
    os.utime(photo.path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    assert not settled(out, photo)
    os.utime(photo.path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert settled(out, photo)
    photo.path.write_bytes(b"a larger picture")
    os.utime(photo.path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert not settled(out, photo)
    photo.path.unlink()
    assert not settled(out, photo)


@pytest.mark.parametrize("harm", ["file gone", "file cut", "face gone", "all gone", "face more"])
def test_a_harmed_result_is_not_settled(out: Path, photo: Input, harm: str) -> None:
    result = out / "a.jpg"
    match harm:
        case "file gone":
            (result / "face1/mesh.obj").unlink()
        case "file cut":
            os.truncate(result / "face0/mesh.obj", 7)
        case "face gone":
            (result / "face1").rename(out.parent / "elsewhere")
        case "all gone":
            result.rename(out.parent / "elsewhere")
        case "face more":
            (result / "face2").mkdir()
    assert not settled(out, photo)


def test_a_photo_without_a_face_is_settled_while_nothing_stands_there(tmp_path: Path, photo: Input) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with Manifest(out, "settings", "weights") as manifest:
        manifest.append(Outcome(photo, "no_face", {}), Identity.of(photo.path))
    assert settled(out, photo)
    (out / "a.jpg/face0").mkdir(parents=True)
    assert not settled(out, photo)


def test_a_failure_is_settled_until_it_is_to_be_retried_or_another_version_comes(
    tmp_path: Path, photo: Input, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Manifest(tmp_path, "settings", "weights") as manifest:
        manifest.append(Outcome(photo, "failed", {}, "damaged"), Identity.of(photo.path))
    assert settled(tmp_path, photo) and not settled(tmp_path, photo, retry=True)
    monkeypatch.setattr("facecli.manifest.__version__", "another")
    assert not settled(tmp_path, photo)


def test_a_missing_photo_stays_failed_until_it_appears(tmp_path: Path) -> None:
    photo = Input(tmp_path / "late.jpg", "late.jpg")
    with Manifest(tmp_path, "settings", "weights") as manifest:
        manifest.append(Outcome(photo, "failed", {}, "no such file"), Identity.of(photo.path))
    assert settled(tmp_path, photo)
    photo.path.write_bytes(b"here")
    assert not settled(tmp_path, photo)


@pytest.mark.parametrize(
    "torn", [b'{"schema": "facecli.manifest/1", "na', b"\xff\xfe", b"[1]", b"{}", b"[" * 10**5]
)
def test_a_torn_last_line_is_skipped_and_the_next_begins_afresh(out: Path, photo: Input, torn: bytes) -> None:
    path = out / "manifest.jsonl"
    path.write_bytes(path.read_bytes() + torn)
    assert settled(out, photo)
    other = Input(photo.path, "b.jpg")
    with Manifest(out, "settings", "weights") as manifest:
        manifest.append(done(other), Identity.of(photo.path))
        manifest.append(done(photo), Identity.of(photo.path))
    assert read_rows(out).keys() == {"a.jpg", "b.jpg"} and len(path.read_bytes().splitlines()) == 4


def test_the_last_row_of_a_photo_counts_in_whatever_file(out: Path, photo: Input) -> None:
    with Manifest(out, "newer", "weights", shard=(2, 8)) as manifest:
        manifest.append(done(photo), Identity.of(photo.path))
    assert (out / "manifest-2-of-8.jsonl").is_file()
    assert settled(out, photo, settings="newer") and not settled(out, photo)
    with Manifest(out, "newest", "weights") as manifest:
        manifest.append(done(photo), Identity.of(photo.path))
    assert settled(out, photo, settings="newest")
    assert read_rows(out, {"b.jpg"}) == {}


def test_a_run_that_does_nothing_leaves_no_manifest(tmp_path: Path) -> None:
    with Manifest(tmp_path, "settings", "weights"):
        pass
    assert list(tmp_path.iterdir()) == [] and read_rows(tmp_path) == {}


def test_names_that_are_no_text_survive(tmp_path: Path) -> None:
    photo = Input(Path("/\udcff\n.jpg"), "\udcff\n.jpg")
    with Manifest(tmp_path, "settings", "weights") as manifest:
        manifest.append(done(photo), Identity.of(photo.path))
    assert read_rows(tmp_path)["\udcff\n.jpg"]["input"] == "/\udcff\n.jpg"
    assert (tmp_path / "manifest.jsonl").read_bytes().isascii()


def test_a_manifest_that_cannot_be_written_ends_the_run(tmp_path: Path, photo: Input) -> None:
    (tmp_path / "manifest.jsonl").mkdir()
    with Manifest(tmp_path, "s", "w") as manifest, pytest.raises(OutputError, match=r"manifest\.jsonl.*-o"):
        manifest.append(done(photo), Identity.of(photo.path))


def test_a_full_disk_ends_the_run(tmp_path: Path, photo: Input, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda file, data: len(data) // 2)
    with (
        Manifest(tmp_path, "s", "w") as manifest,
        pytest.raises(OutputError, match=r"No space left.*free space"),
    ):
        manifest.append(done(photo), Identity.of(photo.path))


def test_another_photo_s_result_is_told_from_a_moved_photo_s(out: Path, photo: Input, tmp_path: Path) -> None:
    row, here = read_rows(out)["a.jpg"], Identity.of(photo.path)
    moved, edited = replace(here, path="/elsewhere/a.jpg"), replace(here, size=10)
    assert not belongs_to_another(row, here)
    assert not belongs_to_another(row, moved) and not belongs_to_another(row, edited)
    assert belongs_to_another(row, replace(moved, size=10)) and belongs_to_another(
        row, replace(moved, mtime_ns=1)
    )
    assert not belongs_to_another(row | {"status": "failed"}, replace(moved, size=10))
