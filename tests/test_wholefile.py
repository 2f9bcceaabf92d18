from pathlib import Path

import pytest

from facecli.errors import OutputError
from facecli.wholefile import write_whole


def test_what_was_there_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".txt")
    for data in (b"one", b"two"):
        write_whole(path, data)
        assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_cannot_be_written_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*folder"):
        write_whole(tmp_path / "folder", b"data")
    with pytest.raises(OutputError, match="No such file"):
        write_whole(tmp_path / "nowhere" / "a", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
