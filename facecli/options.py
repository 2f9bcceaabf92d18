"""Which files a face gets."""

from dataclasses import dataclass

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
