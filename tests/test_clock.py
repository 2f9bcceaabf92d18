"""A photo's clock counts its own time only."""

import pytest

from facecli import clock as clocks
from facecli.clock import Clock


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as its only element."""
    time = [100.0]
    monkeypatch.setattr(clocks.time, "perf_counter", lambda: time[0])
    return time


def test_stages_are_what_lies_between_marks_and_add_up(now: list[float]) -> None:
    clock = Clock()
    for stage, seconds in (("read", 1.0), ("detect", 2.0), ("read", 4.0)):
        now[0] += seconds
        clock.mark(stage)
    now[0] += 0.5
    assert clock.seconds == {"read": 5.0, "detect": 2.0}
    assert clock.total() == 7.5
    assert clock.shared(2) == {"read": 2.5, "detect": 1.0} and clock.shared(0) == clock.seconds


def test_the_turn_of_others_does_not_count_and_a_share_of_it_does(now: list[float]) -> None:
    clock = Clock()
    now[0] += 1
    clock.stop()
    now[0] += 50
    clock.resume(8.0)
    clock.move("gpu", 3.0)
    now[0] += 2
    clock.mark("network")
    assert clock.seconds == {"gpu": 3.0, "network": 8.0} and clock.total() == 11.0
