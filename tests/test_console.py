import io
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from facecli.console import Console, JsonLines, duration, shown
from facecli.inputs import Input
from facecli.interrupt import Interrupt
from facecli.outcome import Outcome, Status


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


@pytest.mark.parametrize("no_color", [False, True])
def test_no_color_is_honoured(no_color: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    console = Console()
    console.start(3)
    console.advance()
    console.stop()
    assert bool(re.search(r"\x1b\[[0-9;]*[34]8?;?[0-9;]*m", terminal.getvalue())) is not no_color


def outcome(status: Status, **more: Any) -> Outcome:
    return Outcome(Input(Path("in/a\n.jpg"), "a\n.jpg"), status, {}, **more)


class Broken:
    """Where `--json` writes when nobody reads."""

    def write(self, row: dict[str, Any]) -> None:
        raise BrokenPipeError


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_run_is_followed_to_its_sum(interrupted: bool, capsys: pytest.CaptureFixture[str]) -> None:
    interrupt = Interrupt()

    def outcomes() -> Iterator[Outcome]:
        yield outcome("failed", skipped=True)
        yield outcome("ok", skipped=True)
        yield outcome("no_face")
        yield outcome("failed", error="reason\n", trace="trace")
        if interrupted:
            raise KeyboardInterrupt

    code = Console(verbose=True).follow(outcomes(), 2, "out", interrupt)
    lines = capsys.readouterr().err.splitlines()
    assert code == (130 if interrupted else 1)
    assert lines[:-1] == [
        "in/a\\n.jpg: failed in an earlier run",
        "in/a\\n.jpg: done in an earlier run",
        "in/a\\n.jpg: no face found",
        "facecli: in/a\\n.jpg: reason\\n",
        "trace",
        "facecli: 1 photo failed in an earlier run; --retry-failed tries again",
    ]
    start = "interrupted: " if interrupted else ""
    assert lines[-1].startswith(
        f"{start}0 done (0 faces), 1 without a face, 1 failed, 1 done earlier, 1 failed"
    )


def test_nobody_reading_the_rows_ends_the_run_with_its_sum(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BrokenPipeError):
        Console().follow(iter([outcome("no_face")]), 1, "out", Interrupt(), Broken())  # type: ignore[arg-type]
    assert capsys.readouterr().err.startswith("0 done (0 faces), 1 without a face in ")


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
