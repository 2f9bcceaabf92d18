import os
import sys
from pathlib import Path

import pytest

from facecli import machine


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    return tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="affinity is Linux's")
def test_cores_are_those_this_process_may_use(container: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5, 7})
    assert machine.cores() == 4
    for quota, expected in (
        ("max 100000", 4),
        ("150000 100000", 2),
        ("10000 100000", 1),
        ("900000 100000", 4),
    ):
        (container / "cpu.max").write_text(f"{quota}\n")
        assert machine.cores() == expected


def test_memory_is_the_container_s_when_that_is_less(container: Path) -> None:
    whole = machine.memory()
    assert whole > 1 << 28
    (container / "memory.max").write_text("max\n")
    assert machine.memory() == whole
    (container / "memory.max").write_text("123456789\n")
    assert machine.memory() == 123456789


def test_workers_are_one_a_core_as_far_as_memory_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(machine, "gpu_memory", lambda: 0)
    for gigabytes, expected in ((64, 8), (3.5, 3), (0.5, 1), (0, 8)):
        monkeypatch.setattr(machine, "memory", lambda gigabytes=gigabytes: int(gigabytes * 2**30))
        assert machine.default_workers("cpu") == expected
    assert machine.default_workers("cuda:1") == min(machine.cores(), machine.GPU_WORKERS)


@pytest.mark.skipif(sys.platform == "win32", reason="a script stands in for nvidia-smi")
@pytest.mark.parametrize(
    ("says", "workers"),
    [
        ("echo 80994; echo 24210", 15),
        ("echo 1100", 1),
        ("echo '[N/A]'", machine.GPU_WORKERS),
        ("exit 9", machine.GPU_WORKERS),
        ("true", machine.GPU_WORKERS),
    ],
)
def test_workers_on_a_gpu_are_as_many_as_its_memory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, workers: int
) -> None:
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{says}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine, "cores", lambda: 64)
    monkeypatch.setattr(machine, "memory", lambda: 256 << 30)
    assert machine.default_workers("cuda") == workers and machine.default_workers("cpu") == 64


def test_a_worker_takes_a_handful_for_a_gpu_and_no_more_than_one_photo_s_time_allows() -> None:
    assert machine.default_handful("cpu", 300) == 1
    taken = {seconds: machine.default_handful("cuda:0", seconds) for seconds in (1, 5, 14, 80, 300, 3600)}
    assert taken == {1: 1, 5: 1, 14: 2, 80: 16, 300: 16, 3600: 16}


def test_workers_share_the_memory_and_none_takes_more_than_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory", lambda: 10 << 30)
    assert machine.default_limit(1, "cpu") == 4 << 30 and machine.default_limit(4, "cpu") == 2 << 30
    assert machine.default_limit(4, "cuda") is None
    monkeypatch.setattr(machine, "memory", lambda: 0)
    assert machine.default_limit(4, "cpu") is None


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_resident_memory_of_this_process_and_of_none() -> None:
    assert 1 << 22 < machine.resident(os.getpid()) < machine.memory()
    assert machine.resident(2**30) == 0
