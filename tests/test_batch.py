from pathlib import Path

import pytest

from facecli.batch import process
from facecli.errors import DeviceError, FaceError, OutputError
from facecli.images import Image
from facecli.inputs import find_inputs
from facecli.outcome import Counts, Outcome
from facecli.store import Store


class FakeReconstructor:
    """Finds as many faces as the photo is rows high beyond 40; breaks as told on a photo of a given width."""

    def __init__(self, trouble: dict[int, BaseException] | None = None) -> None:
        self.trouble = trouble or {}
        self.seen: list[int] = []

    def reconstruct(self, image: Image) -> list[str]:
        self.seen.append(image.width)
        if image.width in self.trouble:
            raise self.trouble[image.width]
        return [f"{image.width} wide"] * (image.height - 40)


def files_of(face: str, index: int, image: Image, name: str) -> dict[str, bytes]:
    return {"mesh.obj": f"{face} {index} {name}".encode("utf-8", "surrogateescape"), "result.json": b"{}"}


def run(inputs: Path, out: Path, reconstructor: FakeReconstructor) -> list[Outcome]:
    with Store(out) as store:
        return list(process(find_inputs([str(inputs)]), reconstructor, files_of, store))


@pytest.fixture
def album(tmp_path: Path, make_picture: object) -> Path:
    """a.jpg: one face; b.png: none; c.jpg: text; d.jpg: empty; e.jpg: truncated; f/g.jpg: two faces."""
    assert callable(make_picture)
    album = tmp_path / "album"
    (album / "f").mkdir(parents=True)
    (album / "a.jpg").write_bytes(make_picture("JPEG", (60, 41)))
    (album / "b.png").write_bytes(make_picture("PNG", (61, 40)))
    (album / "c.jpg").write_bytes(b"not a picture")
    (album / "d.jpg").write_bytes(b"")
    (album / "e.jpg").write_bytes(make_picture("JPEG", (300, 300))[:900])
    (album / "f/g.jpg").write_bytes(make_picture("JPEG", (62, 42)))
    return album


def test_good_photos_are_done_and_bad_ones_reported_in_order(tmp_path: Path, album: Path) -> None:
    outcomes = run(album, tmp_path / "out", FakeReconstructor())
    assert [(outcome.input.name, outcome.status, len(outcome.faces)) for outcome in outcomes] == [
        ("a.jpg", "ok", 1),
        ("b.png", "no_face", 0),
        ("c.jpg", "failed", 0),
        ("d.jpg", "failed", 0),
        ("e.jpg", "failed", 0),
        ("f/g.jpg", "ok", 2),
    ]
    assert [outcome.error and outcome.error.split(":")[0].split("(")[0].strip() for outcome in outcomes] == [
        None, None, "not a picture that can be read", "the file is empty", "damaged picture", None,
    ]  # fmt: skip
    out = tmp_path / "out"
    written = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    folders = ["a.jpg/face0", "f/g.jpg/face0", "f/g.jpg/face1"]
    assert written == {f"{folder}/{name}" for folder in folders for name in ("mesh.obj", "result.json")}
    assert (tmp_path / "out/f/g.jpg/face1/mesh.obj").read_text() == "62 wide 1 f/g.jpg"


def test_outcomes_come_while_the_rest_is_still_to_do(tmp_path: Path, album: Path) -> None:
    fake = FakeReconstructor()
    with Store(tmp_path / "out") as store:
        outcomes = process(find_inputs([str(album)]), fake, files_of, store)
        assert next(outcomes).input.name == "a.jpg"
        assert fake.seen == [60] and (tmp_path / "out/a.jpg/face0/mesh.obj").is_file()


def test_a_bug_on_one_photo_is_that_photo_s(tmp_path: Path, album: Path) -> None:
    outcomes = run(album, tmp_path / "out", FakeReconstructor({60: ZeroDivisionError("of all things")}))
    assert outcomes[0].status == "failed" and outcomes[-1].status == "ok"
    assert outcomes[0].error == "internal error (ZeroDivisionError: of all things); please report it"
    assert "in reconstruct" in (outcomes[0].trace or "") and outcomes[2].trace is None
    assert not (tmp_path / "out/a.jpg").exists()


@pytest.mark.parametrize("error", [DeviceError("gone"), OutputError("full")])
def test_what_concerns_every_photo_ends_the_run(tmp_path: Path, album: Path, error: FaceError) -> None:
    fake = FakeReconstructor({60: error})
    with pytest.raises(type(error)):
        run(album, tmp_path / "out", fake)
    assert fake.seen == [60]


def test_ctrl_c_is_not_swallowed(tmp_path: Path, album: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(album, tmp_path / "out", FakeReconstructor({61: KeyboardInterrupt()}))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.jpg"]


def test_a_folder_in_the_way_fails_one_photo_only(tmp_path: Path, album: Path) -> None:
    (tmp_path / "out/a.jpg").mkdir(parents=True)
    (tmp_path / "out/a.jpg/mine.txt").write_text("mine")
    outcomes = run(album, tmp_path / "out", FakeReconstructor())
    assert outcomes[0].status == "failed" and "holds files of something else" in (outcomes[0].error or "")
    assert outcomes[-1].status == "ok" and (tmp_path / "out/a.jpg/mine.txt").read_text() == "mine"


def test_two_runs_write_the_same_bytes(tmp_path: Path, album: Path) -> None:
    trees = []
    for _ in range(2):
        run(album, tmp_path / "out", FakeReconstructor())
        files = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
        trees.append([(path, path.read_bytes()) for path in files])
    assert trees[0] == trees[1] and len(trees[0]) == 6


def test_counts_and_exit_code(tmp_path: Path, album: Path) -> None:
    counts = Counts()
    assert (counts.exit_code, str(counts)) == (0, "0 done (0 faces)")
    for outcome in run(album, tmp_path / "out", FakeReconstructor()):
        counts.add(outcome)
    assert (counts.exit_code, str(counts)) == (1, "2 done (3 faces), 1 without a face, 3 failed")


def test_json_of_an_outcome(tmp_path: Path, album: Path) -> None:
    last = run(album, tmp_path / "out", FakeReconstructor())[-1].to_json()
    assert last.pop("seconds") >= 0
    assert last == {
        "input": str(album / "f/g.jpg"),
        "name": "f/g.jpg",
        "status": "ok",
        "faces": [
            {"folder": "f/g.jpg/face0", "files": ["mesh.obj", "result.json"]},
            {"folder": "f/g.jpg/face1", "files": ["mesh.obj", "result.json"]},
        ],
        "error": None,
    }
