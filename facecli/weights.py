"""Find the weights, and check every byte of them before use. Never pickle, never a download."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float

from facecli.errors import WeightsError

MANIFEST = "manifest.json"
REPAIR = "install facecli again, or point FACECLI_WEIGHTS at an intact weights folder"


@dataclass(frozen=True)
class WeightsFile:
    """What the manifest says of one file."""

    sha256: str  # 64 lower-case hexadecimal digits
    bytes: int
    licence: str  # SPDX identifier


@dataclass(frozen=True)
class Manifest:
    """weights/manifest.json: which files, what network they are for, how they came about."""

    version: str
    created: str
    files: Mapping[str, WeightsFile]
    config: Mapping[str, Any]  # the fields of ModelConfig
    training: Mapping[str, Any]  # command, data, evaluation: for people

    @property
    def identity(self) -> str:
        """Version and a hash over the hashes of all files: other weights, another identity."""
        hashes = "".join(f"{name} {entry.sha256}\n" for name, entry in sorted(self.files.items()))
        return f"{self.version}-{hashlib.sha256(hashes.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class Weights:
    """A weights folder and its manifest."""

    folder: Path
    manifest: Manifest

    def read(self, name: str) -> bytes:
        """The bytes of a file, verified against the manifest's size and SHA-256 on every read.

        Raises WeightsError (missing, cut short, altered, or not in the manifest).
        """
        entry = self.manifest.files.get(name)
        path = self.folder / name
        if entry is None:
            known = ", ".join(sorted(self.manifest.files)) or "nothing"
            raise WeightsError(f"{self.folder / MANIFEST} does not list {name} (it lists {known}): {REPAIR}")
        wanted = f"sha256 {entry.sha256} ({entry.bytes} bytes)"
        try:
            data = path.read_bytes()
        except OSError as error:
            found = f"cannot read {path} ({error.strerror or error})"
            raise WeightsError(f"{found}: expected {wanted}, found nothing: {REPAIR}") from error
        actual = hashlib.sha256(data).hexdigest()
        if len(data) != entry.bytes or actual != entry.sha256:
            raise WeightsError(
                f"{path} is damaged: expected {wanted}, found {actual} ({len(data)} bytes): {REPAIR}"
            )
        return data

    def tensors(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of a verified safetensors file. Raises WeightsError, also for any other format."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        data = self.read(name)
        try:
            return load(data)
        except (SafetensorError, KeyError, ValueError) as error:
            raise WeightsError(f"{self.folder / name} is no safetensors file ({error}): {REPAIR}") from error


@dataclass(frozen=True, eq=False)
class Template:
    """What reconstruction needs of the mean head; mm, head frame (y up, nose to +z, subject's left to +x)."""

    landmarks: Float[np.ndarray, "68 3"]  # iBUG 68 order
    box_points: Float[np.ndarray, "n 3"]  # the outline of the face area, hairline to chin, ear to ear
    dense: Float[np.ndarray, "468 3"]  # in the order of MediaPipe's canonical face


def find_weights() -> Path:
    """The weights folder: $FACECLI_WEIGHTS, else the package's own, else that of a source checkout.

    Raises WeightsError when there is none. FACECLI_WEIGHTS, once set, is the only place that counts.
    """
    if named := os.environ.get("FACECLI_WEIGHTS"):
        return Path(named)
    package = Path(__file__).resolve().parent
    places = (package / "weights", package.parent / "weights")
    for place in places:
        if (place / MANIFEST).is_file():
            return place
    raise WeightsError(f"no {MANIFEST} in {' or '.join(map(str, places))}: {REPAIR}")


def load_weights(folder: Path | None = None) -> Weights:
    """The manifest of a folder (default: find_weights()). Raises WeightsError when missing or malformed."""
    folder = find_weights() if folder is None else folder
    path = folder / MANIFEST
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise WeightsError(f"cannot read {path} ({error.strerror or error}): {REPAIR}") from error
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not JSON ({error}): {REPAIR}") from error
    return Weights(folder, _parse(document, path))


def load_template(weights: Weights) -> Template:
    """The mean head's landmarks and outline. Raises WeightsError."""
    tensors = weights.tensors("template.safetensors")
    arrays = {}
    for key, rows in (("landmarks68", 68), ("face_points", None), ("landmarks468", 468)):
        array = tensors.get(key)
        if (
            array is None
            or array.ndim != 2
            or array.shape[1] != 3
            or len(array) != (rows or max(len(array), 1))
            or not np.isfinite(array).all()
        ):
            raise WeightsError(f"template.safetensors has no finite {rows or 'n'} x 3 array {key}: {REPAIR}")
        arrays[key] = array.astype(np.float64)
    return Template(arrays["landmarks68"], arrays["face_points"], arrays["landmarks468"])


def _parse(document: object, path: Path) -> Manifest:
    """The JSON document as a Manifest; every fault names its place."""

    def take(mapping: Mapping[str, Any], key: str, kind: type, place: str) -> Any:
        value = mapping.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            found = f"{path}: {place}{key} should be a {kind.__name__}, found {value!r:.60}"
            raise WeightsError(f"{found}: {REPAIR}")
        return value

    if not isinstance(document, dict):
        raise WeightsError(f"{path} should hold a JSON object, found a {type(document).__name__}: {REPAIR}")
    files = {}
    for name, entry in take(document, "files", dict, "").items():
        if name != Path(name).name or name in ("", ".", ".."):
            raise WeightsError(f"{path}: {name!r} is not a plain file name: {REPAIR}")
        if not isinstance(entry, dict):
            raise WeightsError(f"{path}: files.{name} should be an object: {REPAIR}")
        place = f"files.{name}."
        sha256 = take(entry, "sha256", str, place).lower()
        if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
            raise WeightsError(f"{path}: {place}sha256 should be 64 hexadecimal digits: {REPAIR}")
        size, licence = take(entry, "bytes", int, place), take(entry, "licence", str, place)
        files[name] = WeightsFile(sha256, size, licence)
    return Manifest(
        version=take(document, "version", str, ""),
        created=take(document, "created", str, ""),
        files=MappingProxyType(files),
        config=MappingProxyType(take(document, "config", dict, "")),
        training=MappingProxyType(take(document, "training", dict, "")),
    )
