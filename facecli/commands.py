"""The commands for looking at results and at the machine: report, turntable, doctor."""

from pathlib import Path
from typing import Annotated

import typer

from facecli.console import Console, shown


def report(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The output folder of facecli reconstruct.")],
    in_3d: Annotated[
        bool, typer.Option("--3d/--no-3d", help="Also make every face for the 3D viewer (about 0.5 MB each).")
    ] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what failed.")] = False,
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
