import io
import os
import sys

import pytest

from facecli.console import Console, JsonLines, duration, shown


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("caf\u00e9 \U0001f600.jpg", "caf\u00e9 \U0001f600.jpg"),
        ("[red]x[/].jpg", "[red]x[/].jpg"),
        ("two\nlines\r\x1b[2J.jpg", "two\\nlines\\r\\x1b[2J.jpg"),
        ("\udcff.jpg", "\\udcff.jpg"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
    ],
)
def test_any_name_shows_on_one_line(name: str, expected: str) -> None:
    assert shown(name) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.04, "0.0 s"),
        (9.9, "9.9 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (250, "4 min 10 s"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations_read_naturally(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("quiet", "verbose", "expected"),
    [(False, False, "facecli: e\nn\n"), (True, False, "facecli: e\n"), (False, True, "facecli: e\nn\nd\n")],
)
def test_levels(quiet: bool, verbose: bool, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet, verbose)
    console.error("e")
    console.note("n")
    console.detail("d")
    assert capsys.readouterr() == ("", expected)


def test_without_a_terminal_progress_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.start(2500)
    for _ in range(2500):
        console.advance()
    console.stop()
    assert capsys.readouterr().err == "1,000 of 2,500 photos\n2,000 of 2,500 photos\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_names_in_brackets_survive_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    console = Console()
    console.start(3)
    console.error("[red]x[/].jpg :smile: " + "long " * 60 + "end")
    console.advance()
    console.stop()
    console.stop()
    assert "facecli: [red]x[/].jpg :smile: " + "long " * 60 + "end\n" in terminal.getvalue()
    assert "photos" in terminal.getvalue()


def test_messages_to_a_closed_pipe_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        Console().error("nobody reads this")
        Console().error("nor this")


def test_rows_are_ascii_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    lines = JsonLines()
    lines.write({"name": "caf\u00e9\n\udcff"})
    lines.write({})
    assert capsys.readouterr().out == '{"name": "caf\\u00e9\\n\\udcff"}\n{}\n'
