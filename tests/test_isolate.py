"""Workers die of everything that workers die of; only the item they hold is lost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from facecli.errors import UsageError, WeightsError, WorkerError
from facecli.isolate import Crew, Lost, map_handfuls


def misbehave(item: str) -> str:
    """What the workers do; also tells who did it."""
    match item.split()[0]:
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(3)
        case "hang":
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            while True:
                time.sleep(1)
        case "hoard":
            try:
                bytearray(1 << 40)
            except MemoryError:
                return "MemoryError"
        case "raise":
            raise UsageError("of the whole run")
        case "print":
            os.write(1, b"noise\n")
        case "sleep":
            time.sleep(30)
    return f"{item} by {os.getpid()}"


def make() -> Callable[[str], str]:
    return misbehave


def make_for_handfuls() -> Callable[[tuple[str, ...]], list[str]]:
    return lambda items: [misbehave(item) for item in items]


def make_nothing(how: str) -> Callable[[str], str]:
    if how == "dies":
        os._exit(5)
    raise WeightsError("damaged")


def slow_to_start(folder: str) -> Callable[[str], str]:
    """The first worker dies at its start, the others do not."""
    try:
        (Path(folder) / "first").touch(exist_ok=False)
    except FileExistsError:
        return misbehave
    os._exit(5)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_the_dead_take_nobody_with_them() -> None:
    bad = ["segfault", "exit", "hang", "segfault again", "hoard"]
    items = [f"good {n}" for n in range(4)] + bad + [f"good {n}" for n in range(4, 16)]
    with Crew(make, workers=2, timeout=1.5, memory=1 << 30) as crew:
        results = dict(crew.map(items))
    assert results.keys() == set(items)
    assert {item: results[item] for item in bad} == {
        "segfault": Lost("crashed", "SIGSEGV"),
        "exit": Lost("crashed", "status 3"),
        "hang": Lost("late", "1.5 s"),
        "segfault again": Lost("crashed", "SIGSEGV"),
        "hoard": "MemoryError",
    }
    good = [result for item, result in results.items() if item.startswith("good")]
    assert len({str(result).rsplit(" ", 1)[-1] for result in good}) >= 3, "the dead were replaced"
    left = [" ".join(child.cmdline()) for child in psutil.Process().children()]
    assert not [command for command in left if "spawn_main" in command]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_of_a_handful_only_the_guilty_is_lost() -> None:
    """Guilty ones in the middle, two in one handful, one at the end when all items are given."""
    bad = {
        "segfault": Lost("crashed", "SIGSEGV"),
        "exit": Lost("crashed", "status 3"),
        "hang": Lost("late", "1.5 s"),
        "exit last": Lost("crashed", "status 3"),
    }
    good = [f"good {n}" for n in range(16)]
    items = [*good[:2], "segfault", *good[2:9], "exit", "hang", *good[9:12], "hoard", *good[12:], "exit last"]
    given = iter(items)
    with Crew(make_for_handfuls, workers=2, timeout=1.5, memory=1 << 30) as crew:
        told = list(map_handfuls(crew, given, 4))
    assert {handful[0]: result for handful, result in told if isinstance(result, Lost)} == bad
    done = {
        item: answer
        for handful, answers in told
        if not isinstance(answers, Lost)
        for item, answer in zip(handful, answers, strict=True)
    }
    assert done.keys() == {*good, "hoard"} and done["hoard"] == "MemoryError"
    assert all(answer.startswith(f"{item} by ") for item, answer in done.items() if item != "hoard")
    assert sum(len(handful) for handful, _ in told) == len(items), "each item once"
    assert [handful for handful, _ in told if len(handful) == 4] and next(given, None) is None


def test_items_of_a_lost_handful_are_done_before_those_that_wait() -> None:
    items = [f"good {n}" for n in range(12)]
    with Crew(make_for_handfuls, workers=1, timeout=30) as crew:
        told = [handful for handful, _ in map_handfuls(crew, ["a", "exit", "b", *items], 3)]
    alone, rest = told[:3], told[3:]
    assert alone == [("a",), ("exit",), ("b",)]
    assert rest == [tuple(items[n : n + 3]) for n in range(0, 12, 3)]


def test_no_items_are_no_handfuls() -> None:
    with Crew(make_for_handfuls, workers=1, timeout=30) as crew:
        assert list(map_handfuls(crew, [], 3)) == []


def test_workers_stay_between_maps_and_no_more_start_than_there_are_items() -> None:
    with Crew(make, workers=3, timeout=30) as crew:
        first, second = dict(crew.map(["a"])), dict(crew.map(["b"]))
        assert list(crew.map([])) == []
    assert str(first["a"]).split()[-1] == str(second["b"]).split()[-1]


def test_items_are_taken_one_by_one_as_workers_idle() -> None:
    taken: list[str] = []

    def items() -> "list[str]":
        for n in range(5):
            taken.append(str(n))
            yield f"good {n}"

    with Crew(make, workers=1, timeout=30) as crew:
        results = crew.map(items())
        next(results)
        assert len(taken) == 1
        assert [item for item, _ in results] == [f"good {n}" for n in range(1, 5)]


def test_a_map_that_is_left_early_leaves_nothing_to_the_next() -> None:
    with Crew(make, workers=2, timeout=30) as crew:
        results = crew.map(["quick", "sleep", "never"])
        assert next(results)[0] == "quick"
        results.close()  # type: ignore[attr-defined]
        assert [item for item, _ in crew.map(["next"])] == ["next"]


def test_what_the_function_raises_is_raised_here() -> None:
    with Crew(make, workers=1, timeout=30) as crew, pytest.raises(UsageError, match="of the whole run"):
        list(crew.map(["good", "raise", "good"]))


def test_a_worker_that_refuses_to_start_says_why() -> None:
    with (
        Crew(partial(make_nothing, "refuses"), workers=1, timeout=30) as crew,
        pytest.raises(WeightsError, match="damaged"),
    ):
        list(crew.map(["a", "b"]))


def test_workers_that_die_at_their_start_end_the_run_instead_of_being_replaced_for_ever() -> None:
    with (
        Crew(partial(make_nothing, "dies"), workers=1, timeout=30) as crew,
        pytest.raises(WorkerError, match=r"do not start \(status 5\)"),
    ):
        list(crew.map(["a", "b", "c"]))


def test_one_failed_start_costs_no_item(tmp_path: Path) -> None:
    with Crew(partial(slow_to_start, str(tmp_path)), workers=1, timeout=30) as crew:
        assert [item for item, result in crew.map(["a", "b"]) if not isinstance(result, Lost)] == ["a", "b"]


def test_an_idle_worker_s_death_costs_no_item() -> None:
    with Crew(make, workers=1, timeout=30) as crew:
        ((_, first),) = crew.map(["a"])
        os.kill(int(str(first).split()[-1]), signal.SIGKILL)
        time.sleep(0.2)
        ((_, second),) = crew.map(["b"])
    assert str(second).startswith("b by ") and first != second


SUPERVISOR = """
import sys
sys.path.insert(0, sys.argv[1])
if __name__ == "__main__":
    from facecli.isolate import Crew
    from test_isolate import make
    with Crew(make, 1, 60) as crew:
        for item, result in crew.map(["print", sys.argv[2]]):
            sys.stderr.write(str(result) + "\\n")
            sys.stderr.flush()
"""


def test_no_worker_outlives_its_supervisor_and_none_speaks_on_stdout(tmp_path: Path) -> None:
    script = tmp_path / "supervisor.py"
    script.write_text(SUPERVISOR)
    command = [sys.executable, str(script), str(Path(__file__).parent), "hang"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None and supervisor.stderr is not None
        assert supervisor.stderr.readline() == b"noise\n"
        worker = psutil.Process(int(supervisor.stderr.readline().split()[-1]))
        supervisor.kill()
        assert supervisor.stdout.read() == b""
        worker.wait(10)
