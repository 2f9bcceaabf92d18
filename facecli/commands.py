"""The commands for looking at results and at the machine: report, turntable, doctor."""

from pathlib import Path
from typing import Annotated

import typer

from facecli.arguments import Device, Quiet
from facecli.console import Console, JsonLines, say, shown
from facecli.errors import InputError, UsageError
from facecli.inputs import read_bytes


def report(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The output folder of facecli reconstruct.")],
    in_3d: Annotated[
        bool, typer.Option("--3d/--no-3d", help="Also make every face for the 3D viewer (about 0.5 MB each).")
    ] = True,
    quiet: Quiet = False,
) -> None:
    """Write OUT/report.html: a gallery of all photos with a 3D viewer, offline; open it in any browser.

    It works from the disk, on a stick, or zipped together with OUT. Run it again after more photos: only what is new
    is made. Exit status: 0 done, 1 some results could not be shown, 2 could not run, 130 Ctrl-C.
    """
    from facecli.report import PAGE, start_report

    console = Console(quiet)
    made = start_report(out)
    problems = 0
    console.start(len(made.rows), "rows")
    try:
        for problem in made.finish(in_3d):
            if problem:
                problems += 1
                console.error(shown(problem))
            console.advance()
    finally:
        console.stop()
    rows = "1 row" if len(made.rows) == 1 else f"{len(made.rows):,} rows"
    trouble = f", {problems:,} not shown" if problems else ""
    console.note(f"{rows}{trouble} -> {shown(str(out / PAGE))}")
    raise typer.Exit(1 if problems else 0)


def turntable(
    face: Annotated[
        Path, typer.Argument(metavar="FACE", help="A face's folder (out/photo.jpg/face0) or a mesh file.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="The loop to write: .webp, .gif or .png.")
    ],
    look: Annotated[str, typer.Option(metavar="NAME", help="clay, color, or both side by side.")] = "both",
    swing: Annotated[
        float, typer.Option(metavar="DEGREES", help="How far to each side; from 180 on all the way round.")
    ] = 50.0,
    frames: Annotated[int, typer.Option(min=2, max=1000, help="Pictures in the loop.")] = 40,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long the loop takes.")] = 4.0,
    size: Annotated[int, typer.Option(min=32, max=2048, help="Height in pixels.")] = 384,
    quiet: Quiet = False,
) -> None:
    """Render a face as a loop that turns to both sides.

    Exit status: 0 done, 1 the mesh cannot be read, 2 could not run, 130 Ctrl-C.
    """
    from facecli.meshfile import best_file, read_model
    from facecli.turntable import KINDS, encode_loop
    from facecli.turntable import turntable as turn
    from facecli.wholefile import write_whole

    if out.suffix.lower() not in KINDS:
        raise UsageError(f"cannot write {shown(str(out))}; name a file that ends in {', '.join(KINDS)}")
    names = [path.name for path in face.iterdir()] if face.is_dir() else [face.name]
    name = best_file(names, "face") or best_file(names, "mesh") if face.is_dir() else face.name
    if name is None:
        raise InputError(f"{str(face)!r} holds no mesh; name a face's folder, such as out/photo.jpg/face0")
    folder = face if face.is_dir() else face.parent
    needed = {name} | {other for other in names if other.endswith((".mtl", ".png")) and name.endswith(".obj")}
    model = read_model({needs: read_bytes(folder / needs) for needs in needed}, name)
    console = Console(quiet)
    console.start(frames, "frames")
    pictures = []
    try:
        for picture in turn(model.mesh, look, frames, swing, size):
            pictures.append(picture)
            console.advance()
    finally:
        console.stop()
    write_whole(out, encode_loop(pictures, seconds, out.suffix))
    console.note(f"{frames} frames of {shown(name)} -> {shown(str(out))}")


def doctor(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="OUT", help="Where results would go; default: here.")
    ] = Path(),
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Check that this machine is fit: versions, devices, memory, disk, weights, and one example done and compared.

    Every finding says what to do. Exit status: 0 fit (perhaps with warnings), 2 not fit.
    """
    from facecli.doctor import examine

    data = JsonLines() if as_json else None
    findings = []
    for finding in examine(out, device):
        findings.append(finding)
        if data is None:
            say(f"{finding.level:<5} {finding.check:<12} {shown(finding.fact)}")
            if finding.level != "ok":
                say(f"{'':<18} do: {shown(finding.advice)}")
    failed = [finding.check for finding in findings if finding.level == "fail"]
    if data is not None:
        data.write({"fit": not failed, "findings": [finding.to_json() for finding in findings]})
    else:
        say(f"not fit: {', '.join(failed)}" if failed else "fit")
    raise typer.Exit(2 if failed else 0)
