"""Which files a face gets, and how they are made."""

import hashlib
import json
from dataclasses import asdict, dataclass

from facecli.errors import UsageError

FORMATS = ("obj", "ply", "glb")
MESHES = ("pixel", "face")


@dataclass(frozen=True)
class Options:
    """The user's choice of outputs. Raises UsageError for an unknown mesh or format, or none at all."""

    formats: tuple[str, ...] = ("obj", "ply")
    maps: bool = False
    preview: bool = True
    meshes: tuple[str, ...] = MESHES

    def __post_init__(self) -> None:
        _check("mesh format", self.formats, FORMATS)
        _check("mesh", self.meshes, MESHES)


def _check(what: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    for name in names or ("",):
        if name not in known:
            raise UsageError(f"unknown {what} {name!r}; choose from {', '.join(known)}")


@dataclass(frozen=True)
class Settings:
    """All that decides what becomes of a photo, and on what it is computed."""

    options: Options = Options()
    device: str = "auto"
    focal: float | None = None  # pixels
    detail: bool = True

    @property
    def key(self) -> str:
        """Names all settings that change what is written; the device is none of them."""
        told = [asdict(self.options), self.focal, self.detail]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode("ascii")).hexdigest()[:16]
