"""`facecli fuse`: several photos of one person into one face."""

from pathlib import Path
from typing import Annotated

import typer

from facecli.arguments import Device, Focal, Formats, Preview, Quiet, Verbose, words
from facecli.console import Console, shown
from facecli.errors import UsageError
from facecli.inputs import find_inputs
from facecli.options import Options

NAME = "fused"  # the result's folder in OUT, as a photo's name is


def fuse(
    inputs: Annotated[
        list[str], typer.Argument(metavar="PHOTO...", help="Photos of one person, and folders of them.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Folder for the result.")],
    formats: Formats = "obj,ply",
    face: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            show_default=False,
            help="Take face N of every photo, as `reconstruct` numbers them; default: the largest.",
        ),
    ] = None,
    preview: Preview = True,
    device: Device = "auto",
    focal: Focal = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Fuse photos of one person: OUT/fused/face0/ gets one neutral mesh, its texture and result.json.

    Whether all show the same person is not checked. Exit status: 0 done (also where a photo shows no face), 1 some
    photos failed or none shows a face, 2 could not run, 130 Ctrl-C.
    """
    options = Options(words(formats), preview=preview)
    found = find_inputs(inputs, (), out)
    if not found:
        raise UsageError("no photos found in what was named")

    from facecli.person import Sitter
    from facecli.store import Store
    from facecli.weights import load_weights

    console = Console(quiet, verbose)
    with Store(out) as store:
        sitter = Sitter(device, load_weights(), focal, face)
        sightings = []
        console.start(len(found))
        try:
            for item in found:
                sighting = sitter.sight(item)
                sightings.append(sighting)
                name = shown(str(item.path))
                if sighting.error:
                    console.error(f"{name}: {shown(sighting.error)}")
                    if sighting.trace:
                        console.detail(sighting.trace.rstrip())
                elif sighting.face is None:
                    missing = f"; --face {face} is not there" if sighting.count else ""
                    console.note(f"{name}: {_faces(sighting.count)} found{missing}")
                elif sighting.count > 1:
                    which = "the largest" if face is None else f"face {face}"
                    console.note(f"{name}: {_faces(sighting.count)} found, {which} taken")
                else:
                    console.detail(f"{name}: 1 face found")
                console.advance()
        finally:
            console.stop()
        used = sum(sighting.face is not None for sighting in sightings)
        if used == 0:
            console.error("no photo shows a face; nothing was written")
            raise typer.Exit(1)
        if used == 1:
            console.note("only 1 photo to fuse: what it does not show is a guess")
        place = store.write(
            NAME, {f"face0/{name}": data for name, data in sitter.files(sightings, options).items()}
        )
    console.note(f"{used:,} {'photo' if used == 1 else 'photos'} fused -> {shown(str(place / 'face0'))}")
    raise typer.Exit(1 if any(sighting.error for sighting in sightings) else 0)


def _faces(count: int) -> str:
    return "no face" if count == 0 else "1 face" if count == 1 else f"{count} faces"
