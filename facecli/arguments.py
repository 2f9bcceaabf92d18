"""The options that several commands share, as Typer's annotated types."""

from typing import Annotated

import typer

from facecli.errors import UsageError


def words(text: str) -> tuple[str, ...]:
    """`OBJ, ply,` -> `("obj", "ply")`."""
    return tuple(word.strip().lower() for word in text.split(",") if word.strip())


def _positive(focal: float | None) -> float | None:
    if focal is not None and not 0 < focal < float("inf"):
        raise UsageError(f"--focal must be a positive number of pixels, not {focal:g}")
    return focal


Formats = Annotated[
    str, typer.Option("--format", metavar="LIST", help="Meshes to write: obj, ply, glb, stl.")
]
Preview = Annotated[bool, typer.Option("--preview/--no-preview", help="Write preview.png.")]
Device = Annotated[
    str, typer.Option(metavar="NAME", envvar="FACECLI_DEVICE", help="auto, cpu, cuda or cuda:N.")
]
Focal = Annotated[
    float | None,
    typer.Option(
        metavar="PX", callback=_positive, help="Focal length in pixels, for all photos; else EXIF or a guess."
    ),
]
JsonRows = Annotated[bool, typer.Option("--json", help="Print one JSON line per photo on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what failed.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what became of every photo.")]
