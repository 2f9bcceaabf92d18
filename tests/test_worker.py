"""What a worker makes of photos, and what it never lets out."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest
from fake_network import FakeNetwork, ask, levels

from facecli.clock import Clock
from facecli.errors import DeviceError, FaceError, OutputError
from facecli.handful import Result, Steps, in_step
from facecli.images import Image
from facecli.inputs import Input
from facecli.options import Options, Settings
from facecli.outcome import Outcome
from facecli.store import Store
from facecli.worker import FAULTY_DEVICE, NO_MEMORY, do_photos, start


@dataclass(frozen=True)
class FakeFace:
    text: str


class FakeReconstructor:
    """Finds as many faces as the photo is rows high beyond 40; breaks as told over photos that are 60 wide."""

    def __init__(self, trouble: BaseException | None = None, room: int = 0) -> None:
        self.trouble, self.room, self.network = trouble, room, FakeNetwork()

    def steps(self, image: Image, clock: Clock) -> Steps[list[FakeFace]]:
        clock.mark("detect")
        if self.trouble is not None and image.width == 60:
            raise self.trouble
        if image.height > 40:
            assert levels((yield ask(image.width))) == [image.width]
        clock.mark("network")
        return [FakeFace(f"{image.width} wide")] * (image.height - 40)

    def together(self, tasks: Iterable[Steps[Result]]) -> Iterator[Result]:
        return in_step(tasks, self.network, self.room)


def files_of(face: FakeFace, index: int, image: Image, name: str) -> dict[str, bytes]:
    text = f"{face.text} {index} {name}"
    return {"mesh.obj": text.encode("utf-8", "surrogateescape"), "result.json": b"{}"}


def do(
    photo: Path, trouble: BaseException | None = None, own_memory: bool = True, name: str = "p.jpg"
) -> Outcome:
    with Store(photo.parent / "out") as store:
        fake = FakeReconstructor(trouble)
        (outcome,) = do_photos([Input(photo, name)], fake, files_of, store.writer, own_memory)
    return outcome


@pytest.fixture
def photo(tmp_path: Path, make_picture: object) -> Path:
    """Of two faces."""
    assert callable(make_picture)
    (tmp_path / "photo").write_bytes(make_picture("JPEG", (60, 42)))
    return tmp_path / "photo"


def test_faces_are_written_and_told_with_their_sizes_and_times(photo: Path) -> None:
    outcome = do(photo, name="sub/p.jpg")
    assert (outcome.status, outcome.error, outcome.trace, outcome.skipped) == ("ok", None, None, False)
    sizes = {"mesh.obj": 19, "result.json": 2}
    assert outcome.faces == {"sub/p.jpg/face0": sizes, "sub/p.jpg/face1": sizes}
    assert (photo.parent / "out/sub/p.jpg/face1/mesh.obj").read_text() == "60 wide 1 sub/p.jpg"
    stages = ["read", "decode", "detect", "network", "assemble", "encode", "write"]
    assert list(outcome.stages) == stages and min(outcome.stages.values()) > 0
    assert sum(outcome.stages.values()) == pytest.approx(outcome.seconds, rel=0.2)


def test_no_face_removes_what_an_earlier_run_found(photo: Path, make_picture: object) -> None:
    assert callable(make_picture)
    do(photo)
    photo.write_bytes(make_picture("PNG", (60, 40)))
    outcome = do(photo)
    assert (outcome.status, outcome.faces) == ("no_face", {})
    assert list((photo.parent / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the file is empty"), (b"not a picture", "not a picture"), (None, "no such file")],
)
def test_what_is_no_picture_fails_with_its_reason(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "photo").write_bytes(content)
    outcome = do(tmp_path / "photo")
    assert outcome.status == "failed" and (outcome.error or "").startswith(reason) and outcome.trace is None


def test_a_bug_is_the_photo_s_and_keeps_its_trace(photo: Path) -> None:
    outcome = do(photo, ZeroDivisionError("of all things"))
    assert outcome.error == "internal error (ZeroDivisionError: of all things); please report it"
    assert "in steps" in (outcome.trace or "") and not (photo.parent / "out/p.jpg").exists()


def test_a_folder_in_the_way_is_the_photo_s_fault(photo: Path) -> None:
    (photo.parent / "out/p.jpg").mkdir(parents=True)
    (photo.parent / "out/p.jpg/mine.txt").write_text("mine")
    outcome = do(photo)
    assert outcome.status == "failed" and "holds files of something else" in (outcome.error or "")
    assert (photo.parent / "out/p.jpg/mine.txt").read_text() == "mine"


def caused(error: FaceError, cause: BaseException) -> FaceError:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error", [DeviceError("gone"), OutputError("full"), caused(OutputError("x"), MemoryError())]
)
def test_what_concerns_every_photo_is_raised(photo: Path, error: FaceError) -> None:
    with pytest.raises(type(error)):
        do(photo, error)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("bad allocation: Failed to allocate memory"),
        caused(DeviceError("out of memory for even one face"), MemoryError()),
    ],
)
def test_memory_that_runs_out_is_the_photo_s_fault_in_a_worker_of_its_own(
    photo: Path, error: Exception
) -> None:
    assert do(photo, error).error == NO_MEMORY
    if isinstance(error, FaceError):  # on a GPU that others fill
        with pytest.raises(DeviceError):
            do(photo, error, own_memory=False)


@pytest.fixture
def photos(tmp_path: Path, make_picture: object) -> list[Input]:
    """Of one face, no picture, none, one, one, two."""
    assert callable(make_picture)
    sizes = {"a": (70, 41), "text": None, "none": (70, 40), "c": (60, 41), "d": (71, 41), "e": (72, 42)}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(make_picture("JPEG", size) if size else b"text")
    return [Input(tmp_path / name, name) for name in sizes]


def do_handful(items: Sequence[Input], fake: FakeReconstructor, own_memory: bool = True) -> Iterator[Outcome]:
    with Store(items[0].path.parent / "out") as store:
        yield from do_photos(items, fake, files_of, store.writer, own_memory)


def test_faces_of_a_handful_share_a_batch_and_are_told_as_each_photo_is_written(photos: list[Input]) -> None:
    fake, out = FakeReconstructor(room=1 << 20), photos[0].path.parent / "out"
    told = []
    for outcome in do_handful(photos, fake):
        told.append((outcome.input.name, outcome.status))
        standing = {path.name for path in out.iterdir() if not path.name.startswith(".")}
        assert standing == {name for name, status in told if status == "ok"}
    assert told == [
        ("text", "failed"), ("none", "no_face"), ("a", "ok"), ("c", "ok"), ("d", "ok"), ("e", "ok")
    ]  # fmt: skip
    assert fake.network.batches == [[70, 60, 71, 72]]
    assert (out / "e/face1/mesh.obj").read_text() == "72 wide 1 e"


@pytest.mark.parametrize("error", [ZeroDivisionError("of all things"), MemoryError()])
def test_an_error_in_a_handful_is_one_photo_s(photos: list[Input], error: Exception) -> None:
    fake = FakeReconstructor(error, room=1 << 20)
    failed = {outcome.input.name for outcome in do_handful(photos, fake) if outcome.status == "failed"}
    assert failed == {"text", "c"} and fake.network.batches == [[70, 71, 72]]


def test_what_concerns_every_photo_ends_a_handful(photos: list[Input]) -> None:
    with pytest.raises(OutputError, match="full"):
        list(do_handful(photos, FakeReconstructor(OutputError("full"), room=1 << 20)))


def test_a_device_that_failed_ends_its_worker_and_fails_no_photo(photos: list[Input]) -> None:
    def fail() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    fake = FakeReconstructor(room=1 << 20)
    fake.network.trouble = fail
    with pytest.raises(SystemExit) as ended:
        list(do_handful(photos, fake, own_memory=False))
    assert ended.value.code == FAULTY_DEVICE and not list(photos[0].path.parent.glob("out/[a-z]*"))


def test_ctrl_c_is_not_swallowed(photo: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        do(photo, KeyboardInterrupt())
    assert list((photo.parent / "out").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_start_makes_a_worker_of_the_real_thing(photo: Path) -> None:
    threads = cv2.getNumThreads()
    try:
        with Store(photo.parent / "out") as store:
            settings = Settings(Options(("ply",), preview=False), device="cpu")
            work = start(settings, 1, store.writer)
            (outcome,) = work([Input(photo, "p.jpg")])
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(threads)
    assert outcome.status == "no_face" and outcome.stages["detect"] > 0
