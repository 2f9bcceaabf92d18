import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from facecli.errors import FolderTakenError, OutputError
from facecli.store import Store, Writer

FACE = {"face0/mesh.obj": b"v 0 0 0\n", "face0/result.json": b"{}\n"}


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones included."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def hidden(root: Path) -> list[str]:
    return [path.name for path in root.iterdir() if path.name.startswith(".")]


def test_files_stand_under_the_photo_s_name_and_nothing_else_does(tmp_path: Path) -> None:
    out = tmp_path / "deep/out"
    with Store(out) as store:
        assert store.write("sub/a.jpg", FACE) == out / "sub/a.jpg"
    assert tree(out) == {f"sub/a.jpg/{name}": data for name, data in FACE.items()}
    assert hidden(out) == []


def test_an_earlier_result_is_replaced_whole(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.write("a.jpg", {**FACE, "face1/mesh.obj": b"old"})
        store.write("a.jpg", {"face0/mesh.obj": b"new"})
    assert tree(tmp_path) == {"a.jpg/face0/mesh.obj": b"new"}


def test_a_photo_that_has_no_face_any_more_loses_its_result(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.write("a.jpg", FACE)
        store.write("a.jpg", {})
        store.write("b.jpg", {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_facecli_did_not_write_is_left_alone(tmp_path: Path, kind: str) -> None:
    mine = tmp_path / "a.jpg"
    if kind == "file":
        mine.write_bytes(b"mine")
    elif kind == "folder":
        (mine / "face0").mkdir(parents=True)
        (mine / "diary.txt").write_bytes(b"mine")
    else:
        mine.symlink_to(tmp_path)
    before = tree(tmp_path)
    with Store(tmp_path) as store, pytest.raises(FolderTakenError, match=r"a\.jpg.*choose another"):
        store.write("a.jpg", FACE)
    assert tree(tmp_path) == before and hidden(tmp_path) == []


def test_output_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(OutputError, match="is not a folder"), Store(tmp_path / "out"):
        pass
    with pytest.raises(OutputError, match="is not a folder"), Store(tmp_path / "out/deeper"):
        pass


def test_output_that_may_not_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match=r"cannot write .*Permission denied"), Store(tmp_path / "out"):
        pass


def test_a_full_disk_leaves_the_earlier_result_and_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path) as store:
        store.write("a.jpg", FACE)
        write_bytes = Path.write_bytes

        def full(self: Path, data: bytes) -> int:
            if self.name == "result.json":
                raise OSError(28, "No space left on device")
            return write_bytes(self, data)

        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(OutputError, match=r"a\.jpg.*No space left on device; free space"):
            store.write("a.jpg", {"face0/mesh.obj": b"new", "face0/result.json": b"new"})
        monkeypatch.undo()
    assert tree(tmp_path) == {f"a.jpg/{name}": data for name, data in FACE.items()}


def test_ctrl_c_in_the_middle_of_replacing_brings_the_earlier_result_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path) as store:
        store.write("a.jpg", FACE)
        rename = Path.rename

        def interrupted(self: Path, target: Path) -> Path:
            if target.name == "a.jpg" and not self.name.endswith("-old"):
                raise KeyboardInterrupt
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.write("a.jpg", {"face0/mesh.obj": b"new"})
    assert tree(tmp_path) == {f"a.jpg/{name}": data for name, data in FACE.items()}


@pytest.mark.parametrize(
    "name", ["x" * 251 + ".jpg", "new\nline.jpg", "[b].jpg", "-o.jpg", "\udcff\udcfe.jpg"]
)
def test_odd_and_longest_names_can_be_written(tmp_path: Path, name: str) -> None:
    with Store(tmp_path) as store:
        store.write(name, FACE)
        store.write(name, FACE)
    assert len(tree(tmp_path)) == 2 and (tmp_path / name / "face0/mesh.obj").is_file()


def test_two_runs_that_write_the_same_photo_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path) as store, Store(tmp_path) as other:
        rename, times = Path.rename, 0

        def overtaken(self: Path, target: Path) -> Path:
            nonlocal times
            if target.name == "a.jpg" and times < 3:
                times += 1
                monkeypatch.setattr(Path, "rename", rename)
                other.write("a.jpg", {"face0/mesh.obj": b"other"})
                monkeypatch.setattr(Path, "rename", overtaken)
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", overtaken)
        store.write("a.jpg", FACE)
        monkeypatch.undo()
    assert times == 3 and tree(tmp_path) == {f"a.jpg/{name}": data for name, data in FACE.items()}


def test_a_worker_s_hold_keeps_its_run_from_being_swept_and_later_it_is(tmp_path: Path) -> None:
    hold = "import sys; from pathlib import Path; from facecli.store import Writer\n"
    hold += "Writer(*map(Path, sys.argv[1:])).hold(); print('held', flush=True); sys.stdin.read()"
    dead = tmp_path / ".facecli-dead"
    dead.mkdir()
    command = [sys.executable, "-c", hold, str(tmp_path), str(dead)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None and worker.stdout.readline() == b"held\n"
        with Store(tmp_path):
            assert dead.is_dir()
            worker.kill()
            worker.wait()
        assert not dead.exists()
    with pytest.raises(OutputError, match="cannot write"):
        Writer(tmp_path, dead).hold()


ENDLESS = """
import sys
from pathlib import Path
from facecli.store import Store
data = bytes(200_000)
with Store(Path(sys.argv[1])) as store:
    print("go", flush=True)
    while True:
        for index in range(3):
            store.write(f"{index}.jpg", {f"face0/{n}": data for n in "abcd"})
"""


def test_a_living_run_is_left_alone_and_a_dead_one_swept(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None and other.stdout.readline() == b"go\n"
        with Store(tmp_path):
            assert len(hidden(tmp_path)) == 2
        assert len(hidden(tmp_path)) == 1 and other.poll() is None
    finally:
        other.kill()
        other.communicate()
    assert len(hidden(tmp_path)) == 1
    with Store(tmp_path):
        assert len(hidden(tmp_path)) == 1
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("moment", range(6))
def test_killed_at_any_moment_final_names_hold_only_whole_results(tmp_path: Path, moment: int) -> None:
    run = subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path)], stdout=subprocess.PIPE)
    assert run.stdout is not None and run.stdout.readline() == b"go\n"
    try:
        run.wait(0.02 + 0.013 * moment)
    except subprocess.TimeoutExpired:
        os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    for result in tmp_path.glob("*.jpg"):
        assert {name: len(data) for name, data in tree(result).items()} == {
            f"face0/{n}": 200_000 for n in "abcd"
        }
    with Store(tmp_path):
        pass
    assert hidden(tmp_path) == []
