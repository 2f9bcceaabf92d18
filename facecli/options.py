"""Which files a face gets, and how they are made."""

import hashlib
import json
from dataclasses import asdict, dataclass

from facecli.errors import UsageError

FORMATS = ("obj", "ply", "glb", "stl")
MESHES = ("pixel", "face")
STRONGEST = 10.0  # times the relief: more tears the surface


@dataclass(frozen=True)
class Options:
    """The user's choice of outputs. Raises UsageError for an unknown mesh or format, none at all, or a
    scale that is no number from 0 to STRONGEST."""

    formats: tuple[str, ...] = ("obj", "ply")
    maps: bool = False
    preview: bool = True
    meshes: tuple[str, ...] = MESHES
    albedo: bool = False  # the whole face's texture without the light of the photo
    detail_scale: float = 1.0  # times the third subtask's relief
    blendshapes: bool = False  # blendshapes.json
    neutral: bool = False  # neutral.*: the whole face without its expression

    def __post_init__(self) -> None:
        _check("mesh format", self.formats, FORMATS)
        _check("mesh", self.meshes, MESHES)
        if not 0 <= self.detail_scale <= STRONGEST:
            raise UsageError(f"--detail-scale must be 0 to {STRONGEST:g}, not {self.detail_scale:g}")


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
    mirror: bool = False  # look at each face mirrored too

    @property
    def key(self) -> str:
        """Names all settings that change what is written; the device is none of them."""
        told = [asdict(self.options), self.focal, self.detail, self.mirror]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode("ascii")).hexdigest()[:16]
