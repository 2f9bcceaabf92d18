import os
import socket
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from facecli.errors import InputError, UsageError
from facecli.inputs import find_inputs, read_bytes, read_list


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(*named: str | Path, listed: tuple[str, ...] = (), output: Path | None = None) -> list[str]:
    return [item.name for item in find_inputs([str(entry) for entry in named], listed, output)]


def test_folders_are_searched_to_any_depth_in_order(tmp_path: Path) -> None:
    touch(tmp_path / "b.JPG", tmp_path / "a/z.png", tmp_path / "a/b/c.WebP", tmp_path / "A.tif")
    found = find_inputs([str(tmp_path)])
    assert [item.name for item in found] == ["A.tif", "a/b/c.WebP", "a/z.png", "b.JPG"]
    assert [item.path for item in found] == [tmp_path / item.name for item in found]


def test_what_is_no_photo_is_passed_over_in_folders(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "notes.txt", tmp_path / "noext", tmp_path / "a.jpg.part")
    touch(tmp_path / ".hidden.jpg", tmp_path / "._a.jpg", tmp_path / ".cache/x.jpg")
    touch(tmp_path / "__MACOSX/a.jpg", tmp_path / "@eaDir/a.jpg")
    assert names(tmp_path) == ["a.jpg"]


def test_a_named_file_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    touch(tmp_path / "sub/portrait", tmp_path / ".hidden.jpg")
    assert names(tmp_path / "sub/portrait", tmp_path / ".hidden.jpg") == ["portrait", ".hidden.jpg"]


def test_a_named_hidden_folder_is_searched(tmp_path: Path) -> None:
    touch(tmp_path / ".album/a.jpg")
    assert names(tmp_path / ".album") == ["a.jpg"]


def test_missing_inputs_stay_in_the_stream(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    found = find_inputs([str(tmp_path / "nowhere/"), str(tmp_path / "a.jpg")])
    assert [item.name for item in found] == ["nowhere", "a.jpg"]
    with pytest.raises(InputError, match="no such file or folder"):
        read_bytes(found[0].path)


def test_output_folder_inside_the_input_is_skipped(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "out/a.jpg/face0/texture.png", tmp_path / "sub/out/b.jpg")
    assert names(tmp_path, output=tmp_path / "out") == ["a.jpg", "sub/out/b.jpg"]
    (tmp_path / "link").symlink_to(tmp_path / "out")
    assert names(tmp_path, output=tmp_path / "link") == ["a.jpg", "sub/out/b.jpg"]


def test_output_folder_that_is_the_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the output folder is the input folder"):
        find_inputs([str(tmp_path)], output=tmp_path / "x" / "..")


def test_links_to_files_are_followed_and_links_to_folders_are_not(tmp_path: Path) -> None:
    touch(tmp_path / "in/a.jpg", tmp_path / "elsewhere/b.jpg")
    (tmp_path / "in/link.jpg").symlink_to(tmp_path / "elsewhere/b.jpg")
    (tmp_path / "in/folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/folder.jpg").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "in") == ["a.jpg", "link.jpg"]
    assert names(tmp_path / "in/folder") == ["b.jpg"]  # named, so meant


def test_dangling_link_is_reported_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (item,) = find_inputs([str(tmp_path)])
    with pytest.raises(InputError, match="no such file"):
        read_bytes(item.path)


def test_the_same_photo_is_done_once_however_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "in/a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    assert names("in", "in/a.jpg", "./in/../in/a.jpg", tmp_path / "in/a.jpg", "link") == ["a.jpg"]
    assert names("in", listed=("in/a.jpg",)) == ["a.jpg"]


def test_same_stem_and_other_extension_are_two_results(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "a.png")
    assert names(tmp_path) == ["a.jpg", "a.png"]


def test_two_photos_of_one_name_are_refused_with_both_named(tmp_path: Path) -> None:
    touch(tmp_path / "x/1.jpg", tmp_path / "y/1.jpg")
    with pytest.raises(UsageError) as caught:
        find_inputs([str(tmp_path / "x"), str(tmp_path / "y")])
    assert str(tmp_path / "x/1.jpg") in str(caught.value) and str(tmp_path / "y/1.jpg") in str(caught.value)
    assert names(tmp_path) == ["x/1.jpg", "y/1.jpg"]


TWINS = [("A.jpg", "a.jpg"), ("caf\u00e9.jpg", "cafe\u0301.jpg")]


@pytest.fixture(params=TWINS, ids=["case", "form"])
def twins(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    folder = tmp_path / "in"
    touch(*(folder / name for name in request.param))
    if len(os.listdir(folder)) < 2:  # noqa: PTH208
        pytest.skip("this disk confuses them itself")
    return sorted(request.param, key=os.fsencode)


def test_names_that_some_disks_confuse_are_two_photos_where_the_output_s_does_not(
    tmp_path: Path, twins: list[str]
) -> None:
    if (tmp_path.parent / tmp_path.name.swapcase()).exists() or sys.platform in ("win32", "darwin"):
        pytest.skip("this disk confuses them")
    assert names(tmp_path / "in") == twins
    assert names(tmp_path / "in", output=tmp_path / "out") == twins
    assert names(tmp_path / "in", output=tmp_path / "in/not/yet") == twins


def test_names_that_the_output_s_disk_confuses_are_refused(
    tmp_path: Path, twins: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "samefile", lambda self, other: str(self).lower() == str(other).lower())
    with pytest.raises(UsageError, match="would both be written to"):
        names(tmp_path / "in", output=tmp_path / "out")


def test_files_of_a_list_are_named_below_their_common_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "in/a.jpg", tmp_path / "in/b/a.jpg")
    monkeypatch.chdir(tmp_path)
    assert names(listed=("in/a.jpg", "in/b/a.jpg")) == ["a.jpg", "b/a.jpg"]
    assert names(listed=(str(tmp_path / "in/b/a.jpg"), "in/../in/a.jpg")) == ["b/a.jpg", "a.jpg"]
    assert names(listed=("in/b/a.jpg",)) == ["a.jpg"]
    assert names(listed=("in",)) == ["a.jpg", "b/a.jpg"]
    assert names(listed=()) == []


def test_empty_names_and_a_dash_are_refused() -> None:
    with pytest.raises(UsageError, match="an empty name"):
        find_inputs([""])
    with pytest.raises(UsageError, match="--files-from - reads the names"):
        find_inputs(["-"])


def test_a_folder_of_any_depth_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deeper than Python calls functions, and in the end deeper than the system takes names."""
    try:
        monkeypatch.chdir(tmp_path)
        for name in ["d"] * 1100 + ["d" * 250] * 10:
            os.mkdir(name)  # noqa: PTH102  names of the whole way down would be too long
            os.chdir(name)
        touch(tmp_path / ("d/" * 1100 + "a.jpg"), tmp_path / "e.jpg")
        found = find_inputs([str(tmp_path)])
        assert [item.name for item in found[::2]] == ["d/" * 1100 + "a.jpg", "e.jpg"]
        with pytest.raises(InputError, match=r"cannot be read: File name too long"):
            read_bytes(found[1].path)
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # shutil.rmtree calls itself


def test_links_that_lead_nowhere_are_reported_each_by_its_reason(tmp_path: Path) -> None:
    (tmp_path / "itself.jpg").symlink_to("itself.jpg")
    (tmp_path / "one.jpg").symlink_to("two.jpg")
    (tmp_path / "two.jpg").symlink_to("one.jpg")
    (tmp_path / "long.jpg").symlink_to("x" * 300)
    found = find_inputs([str(tmp_path)])
    assert [item.name for item in found] == ["itself.jpg", "long.jpg", "one.jpg", "two.jpg"]
    for item in found:
        with pytest.raises(InputError, match=r"cannot be read: (Too many levels|File name too long)"):
            read_bytes(item.path)


def test_names_too_long_for_any_disk_fail_by_themselves(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    entries = (str(tmp_path / "a.jpg"), str(tmp_path / ("x" * 300)), "y/" * 3000 + "b.jpg")
    found = find_inputs([], entries)
    assert [item.path for item in found] == [Path(entry) for entry in entries]
    for item in found[1:]:
        with pytest.raises(InputError, match="File name too long"):
            read_bytes(item.path)


def test_what_lies_in_a_closed_folder_fails_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a user who may not enter it sees it; root may."""
    stat = os.stat

    def guarded(path: object, *arguments: object, **options: object) -> object:
        if "closed" in str(path):
            raise PermissionError(13, "Permission denied")
        return stat(path, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "stat", guarded)
    assert names(tmp_path / "closed/a.jpg") == ["a.jpg"]


def test_reading_takes_no_more_memory_than_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(bytes(100_000))
    tracemalloc.start()
    assert len(read_bytes(tmp_path / "a.jpg")) == 100_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400_000


def test_lists_are_lines_or_nul_separated_and_keep_odd_bytes() -> None:
    assert read_list(b"a.jpg\r\n\n  \nb c.jpg\n\xff.jpg") == ["a.jpg", "b c.jpg", "\udcff.jpg"]
    assert read_list(b"a\nb.jpg\0c.jpg\0", null=True) == ["a\nb.jpg", "c.jpg"]
    assert read_list(b"") == []
    assert read_list("\N{BYTE ORDER MARK}ä.jpg".encode()) == ["ä.jpg"]


@pytest.mark.parametrize(
    "data", [b"a.jpg\0b.jpg\0", "a.jpg\n".encode("utf-16"), b"\xff\xd8\xff\xe0\0\x10JFIF"]
)
def test_a_list_of_lines_that_holds_nul_is_refused(data: bytes) -> None:
    with pytest.raises(UsageError, match="add -0 if they end the names, else save it as UTF-8"):
        read_list(data)


ODD = [
    "-o.jpg",
    "[b].jpg",
    "a b'\"$(x).jpg",
    "new\nline.jpg",
    "\U0001f600.jpg",
    "\u200f.jpg",
    "CON.jpg",
    "x" * 251 + ".jpg",
]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_found_and_read(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name)
    (item,) = find_inputs([str(tmp_path)])
    assert item.name == name and read_bytes(item.path) == b"x"


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux only")
def test_names_that_are_no_text_are_found_and_read(tmp_path: Path) -> None:
    touch(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.jpg")))
    (item,) = find_inputs([str(tmp_path)])
    assert os.fsencode(item.name) == b"\xff\xfe.jpg" and read_bytes(item.path) == b"x"


def test_pipes_sockets_and_devices_are_passed_over_in_folders_and_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        assert names(tmp_path) == []
        for name in ("pipe.jpg", "socket.jpg", "/dev/null", "/dev/zero"):
            with pytest.raises(InputError, match=r"not a regular file|cannot be read"):
                read_bytes(Path(name))
    with pytest.raises(InputError, match="a folder"):
        read_bytes(Path("folder.jpg"))


def test_unreadable_folder_is_a_failure_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "open/a.jpg", tmp_path / "shut/b.jpg")
    scandir = os.scandir

    def guarded(path: object) -> object:
        if Path(str(path)).name == "shut":
            raise PermissionError(13, "Permission denied")
        return scandir(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", guarded)
    found = find_inputs([str(tmp_path)])
    assert [item.name for item in found] == ["open/a.jpg", "shut"]
    with pytest.raises(InputError, match="a folder that cannot be searched"):
        read_bytes(found[1].path)


def test_a_path_with_a_nul_is_an_input_error() -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_bytes(Path("a\0.jpg"))


def test_huge_files_are_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(2 << 30)
    with pytest.raises(InputError, match="larger than 1 GiB"):
        read_bytes(tmp_path / "huge.jpg")


def test_ten_thousand_files_are_listed_in_the_order_of_their_names(tmp_path: Path) -> None:
    for index in range(10_000):
        (tmp_path / f"{index}.jpg").touch()
    names = [item.name for item in find_inputs([str(tmp_path)])]
    assert len(names) == 10_000
    assert names == sorted(names)
