"""Is this machine fit for facecli? Facts about it, each with what to do, and one example done and compared."""

import json
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distributions, requires, version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from facecli.errors import DeviceError, FaceError, InputError, WeightsError

Level = Literal["ok", "warn", "fail"]

OLDEST_PYTHON = (3, 10)
STORED = "example.json"  # beside the weights: what they make of the example
PIXELS, MILLIMETRES, DEGREES = 2.0, 2.0, 1.0  # how far another processor's result may be from the stored one
_LITTLE_MEMORY, _TOO_LITTLE_MEMORY = 1.5e9, 0.5e9  # bytes free
_LITTLE_SPACE = 1e9  # bytes: about a hundred faces
_SAME_MODULE = (("onnxruntime", "onnxruntime-gpu"), ("opencv-python-headless", "opencv-python"))


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what is, and what to do where that is not well."""

    check: str
    level: Level
    fact: str
    advice: str = ""

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def examine(out: Path, device: str = "auto") -> Iterator[Finding]:
    """Every finding, the quick ones first. out: where results would go. Raises nothing: a fault is a finding."""
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("python", check_python),
        ("packages", check_packages),
        ("onnxruntime", check_onnxruntime),
        ("cuda", check_cuda),
        ("memory", check_memory),
        ("output", lambda: check_output(out)),
        ("weights", check_weights),
        ("example", lambda: check_example(device)),
    ]
    for name, check in checks:
        try:
            yield check()
        except Exception as exc:  # the doctor must outlive whatever ails the patient
            yield Finding(
                name, "fail", f"{type(exc).__name__}: {exc}", "install facecli again in a new environment"
            )


def check_python() -> Finding:
    fact = f"{platform.python_version()} ({platform.machine()}, {platform.system()} {platform.release()})"
    if sys.version_info < OLDEST_PYTHON:
        return Finding("python", "fail", fact, "install Python 3.10 or newer")
    if sys.maxsize < 2**32:
        return Finding("python", "fail", f"{fact}, 32 bit", "install a 64-bit Python; onnxruntime needs it")
    return Finding("python", "ok", fact)


def check_packages() -> Finding:
    """Every dependency is there, is new enough, and has no rival that brings the same module."""
    try:
        needed = [text for text in requires("facecli") or [] if "extra ==" not in text]
    except PackageNotFoundError:
        return Finding("packages", "warn", "facecli runs from its source, not installed", "pip install .")
    found, missing, old = [], [], []
    for text in needed:
        name, _, least = text.partition(">=")
        try:
            number = version(name.strip())
        except PackageNotFoundError:
            missing.append(name.strip())
            continue
        found.append(f"{name.strip()} {number}")
        if least and _number(number) < _number(least):
            old.append(f"{name.strip()} {number}, at least {least} is needed")
    if missing or old:
        fact = "; ".join([*(f"{name} is missing" for name in missing), *old])
        return Finding("packages", "fail", fact, "pip install --upgrade facecli")
    for ours, rival in _SAME_MODULE:
        if {ours, rival} <= _installed():
            level: Level = "fail" if ours == "onnxruntime" else "warn"
            advice = f"pip uninstall -y {ours} {rival} && pip install {ours}"
            return Finding(
                "packages", level, f"{ours} and {rival} are both installed and overwrite each other", advice
            )
    return Finding("packages", "ok", ", ".join(found))


def check_onnxruntime() -> Finding:
    import onnxruntime

    providers = [name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()]
    if "CPU" not in providers:
        return Finding("onnxruntime", "fail", f"no CPU provider in {providers}", "pip install onnxruntime")
    return Finding("onnxruntime", "ok", f"{onnxruntime.__version__} with {', '.join(providers)}")


def check_cuda() -> Finding:
    """CUDA goes through PyTorch; without a graphics card none of this matters."""
    has_card = Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None
    get = "pip install 'facecli[torch]' (a CUDA build, see pytorch.org), or go on with --device cpu"
    try:
        import torch
    except ImportError:
        if has_card:
            return Finding("cuda", "warn", "an NVIDIA card is there, PyTorch is not", get)
        return Finding("cuda", "ok", "no NVIDIA card; the CPU does the work")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if names:
        return Finding("cuda", "ok", f"PyTorch {torch.__version__} on {', '.join(names)}")
    if has_card:
        fact = f"an NVIDIA card is there, but PyTorch {torch.__version__} cannot use it"
        return Finding("cuda", "warn", fact, f"{get}; nvidia-smi says whether the driver works")
    return Finding("cuda", "ok", f"no NVIDIA card for PyTorch {torch.__version__}; the CPU does the work")


def check_memory() -> Finding:
    """Memory that a new process could have now; unknown is no fault."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = _free_memory()
    if free is None:
        return Finding("memory", "ok", f"{processors} processors; this system does not tell its free memory")
    fact = f"{free / 1e9:.1f} GB free, {processors} processors"
    if free < _TOO_LITTLE_MEMORY:
        return Finding("memory", "fail", fact, "close other programs; a photo needs about 0.5 GB")
    if free < _LITTLE_MEMORY:
        return Finding("memory", "warn", fact, "close other programs before photos above 20 megapixels")
    return Finding("memory", "ok", fact)


def check_output(out: Path) -> Finding:
    """Whether results could be written to `out`, or to what would become its parent."""
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not there.is_dir():
        return Finding("output", "fail", f"{str(there)!r} is not a folder", "choose another folder with -o")
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"facecli")
    except OSError as exc:
        return Finding(
            "output", "fail", f"{str(there)!r}: {exc.strerror or exc}", "choose another folder with -o"
        )
    space = shutil.disk_usage(there).free
    fact = f"{str(there)!r} can be written, {space / 1e9:,.0f} GB free"
    if space < _LITTLE_SPACE:
        return Finding(
            "output", "warn", fact, "free space: a face takes about 10 MB; --format glb takes less"
        )
    return Finding("output", "ok", fact)


def check_weights() -> Finding:
    from facecli.weights import REPAIR, load_weights

    try:
        weights = load_weights()
        for name in weights.manifest.files:
            weights.read(name)
    except WeightsError as exc:
        return Finding("weights", "fail", str(exc).removesuffix(f": {REPAIR}"), REPAIR)
    count = len(weights.manifest.files)
    return Finding(
        "weights",
        "ok",
        f"{weights.manifest.version}, {count} files, every hash right, in {str(weights.folder)!r}",
    )


def check_example(device: str = "auto") -> Finding:
    """The whole method on the bundled photo, against the result stored with the weights."""
    from facecli.weights import load_weights

    try:
        weights = load_weights()
        began = time.perf_counter()
        result = example_result(device)
        seconds = time.perf_counter() - began
    except DeviceError as exc:
        return Finding("example", "fail", str(exc), "choose another --device, or cpu")
    except FaceError as exc:
        return Finding("example", "fail", str(exc), "repair what is named above, then run this again")
    if result is None:
        return Finding(
            "example",
            "fail",
            "no face found in the bundled portrait",
            "install facecli again; else report it",
        )
    try:
        stored = json.loads((weights.folder / STORED).read_bytes())
    except (OSError, ValueError):
        fact = f"a face found in {seconds:.1f} s; these weights have no stored result to compare with"
        return Finding("example", "warn", fact, "nothing, if these weights are your own")
    differences = compare(result, stored)
    fact = f"done in {seconds:.1f} s; differs from the stored result by " + ", ".join(
        f"{difference:.2g} {unit}" for difference, unit, _ in differences
    )
    if any(difference > limit for difference, _, limit in differences):
        advice = (
            "try --device cpu and another version of onnxruntime; if it stays, report it with this output"
        )
        return Finding("example", "fail", fact, advice)
    return Finding("example", "ok", fact)


def example_photo() -> bytes:
    """The portrait in the package, or in a checkout: Eileen Collins, NASA, public domain."""
    package = Path(__file__).resolve().parent
    places = [
        folder / "astronaut.jpg" for folder in (package / "example", package.parent / "examples" / "photos")
    ]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise InputError(f"no example in {' or '.join(map(str, places))}; install facecli again")
    return found.read_bytes()


def example_result(device: str = "auto", folder: Path | None = None) -> dict[str, Any] | None:
    """What the weights (of `folder`, else those in use) make of the example, or None without a face."""
    from facecli.images import read_image
    from facecli.pipeline import Reconstructor
    from facecli.weights import load_weights

    faces = Reconstructor(device, weights=load_weights(folder)).reconstruct(read_image(example_photo()))
    if not faces:
        return None
    face = faces[0]
    return {
        "landmarks_px": np.round(face.landmarks, 2).tolist(),
        "landmarks_mm": np.round(face.landmarks_3d * 1000, 2).tolist(),
        "yaw_pitch_roll": [round(angle, 2) for angle in face.pose.yaw_pitch_roll],
    }


def store_example(folder: Path) -> None:
    """Write what the weights of a folder make of the example beside them; publishing weights ends with it."""
    text = json.dumps(example_result("cpu", folder))
    (folder / STORED).write_text(re.sub(r"\], (?=\[|\")", "],\n", text) + "\n")


def compare(result: dict[str, Any], stored: dict[str, Any]) -> list[tuple[float, str, float]]:
    """(largest difference, unit, limit) of each measure; infinite where the stored result has none."""

    def worst(key: str) -> float:
        ours, theirs = (np.asarray(side.get(key), np.float64) for side in (result, stored))
        return float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else float("inf")

    return [
        (worst("landmarks_px"), "px", PIXELS),
        (worst("landmarks_mm"), "mm", MILLIMETRES),
        (worst("yaw_pitch_roll"), "degrees", DEGREES),
    ]


def _installed() -> set[str]:
    return {str(found.metadata["Name"]).lower().replace("_", "-") for found in distributions()}


def _number(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: 2.13.0+cpu -> (2, 13, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[^\d.\s]", text.strip())[0]))


def _free_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
        return kilobytes * 1024
    except (OSError, StopIteration):
        return None
