"""What of the machine this process may use, and how to share it among workers."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

WORKER_BYTES = 1 << 30  # what a worker is likely to need; fewer workers where there is less
LARGEST_LIMIT = 4 << 30
HANDFUL = 16  # photos that a worker takes at once for a GPU: faces enough for a batch
SLOW_PHOTO = 5.0  # seconds; most take a tenth of that
GPU_WORKERS = 8  # where the card's memory cannot be told
GPU_WORKER_BYTES = 3 << 29  # on the card: CUDA's context for the process, the network, a batch of 32 faces
_CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """CPU cores: those of the machine, less what taskset, SLURM or a container withhold; at least 1."""
    count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    quota, _, period = _first_line(_CGROUP / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        count = min(count, max(1, round(int(quota) / int(period))))
    return count


def memory() -> int:
    """Bytes of memory: the machine's, or the container's if that is less; 0 where it cannot be told."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0
    limit = _first_line(_CGROUP / "memory.max")
    return min(total, int(limit)) if limit.isdigit() else total


def gpu_memory() -> int:
    """Free bytes of the NVIDIA card that has fewest; 0 where its driver does not tell."""
    command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
        return min(int(mebibytes) for mebibytes in told.split()) << 20
    except (OSError, subprocess.SubprocessError, ValueError):
        return 0


def uses_gpu(device: str) -> bool:
    """Whether a device by this name is, or `auto` is likely to become, a GPU; without importing torch."""
    return device.startswith("cuda") or (
        device == "auto" and find_spec("torch") is not None and Path("/dev/nvidiactl").exists()
    )


def default_workers(device: str) -> int:
    """One worker a core, as far as memory goes; on a GPU, as far as the card's goes too."""
    count = min(cores(), max(1, memory() // WORKER_BYTES)) if memory() else cores()
    if not uses_gpu(device):
        return count
    free = gpu_memory()
    return min(count, max(1, free // GPU_WORKER_BYTES) if free else GPU_WORKERS)


def default_handful(device: str, timeout: float) -> int:
    """Photos that a worker takes at once: one on the CPU, several on a GPU, where faces that share a batch cost less.

    A handful has the time of one photo, so that a hang is found as soon: no more photos than are done in it.
    """
    return max(1, min(HANDFUL, int(timeout / SLOW_PHOTO))) if uses_gpu(device) else 1


def default_limit(workers: int, device: str) -> int | None:
    """Bytes of private memory for one worker: an equal share of four fifths of what there is, at most 4 GiB.

    None, no limit, where memory cannot be told, and on a GPU, whose driver reserves what it likes.
    """
    return None if uses_gpu(device) else min(LARGEST_LIMIT, memory() * 4 // 5 // workers) or None


def resident(process: int) -> int:
    """Bytes of memory that a process occupies now; 0 when it is gone, or where /proc is not."""
    try:
        fields = Path(f"/proc/{process}/statm").read_bytes().split()
    except OSError:
        return 0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def _first_line(path: Path) -> str:
    try:
        return path.read_text().split("\n", 1)[0].strip()
    except OSError:
        return ""
