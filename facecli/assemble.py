"""`facecli assemble`: rows that a cluster made -> the folders that `facecli reconstruct` would have written."""

import re
from collections.abc import Generator, Sequence
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer

from facecli.arguments import JsonRows, Quiet, Verbose
from facecli.console import Console, JsonLines, shown
from facecli.errors import FaceError, InputError, UsageError
from facecli.inputs import Input
from facecli.interrupt import Interrupt
from facecli.manifest import PATTERN, Identity, Manifest
from facecli.outcome import Outcome
from facecli.store import RUN_PREFIX, Store

COLUMNS = ["path", "name", "status", "error", "faces", "seconds", "size", "settings", "weights", "files"]
_FILE = re.compile(r"face\d+/[A-Za-z0-9_][A-Za-z0-9_.-]*")
_AT_ONCE = 8  # rows in memory


def assemble(
    rows: Annotated[
        list[Path],
        typer.Argument(metavar="ROWS...", help="Parquet files, and folders of them, from FaceBatch."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="OUT", help="Folder for the results.")
    ] = None,
    as_json: JsonRows = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make result folders of rows from a cluster: OUT/<photo>/face0/, the same bytes as reconstruct writes.

    Exit status as of reconstruct: 1 when rows say that photos failed, or hold what cannot be written.
    """
    if out is None:
        raise UsageError("no output folder; add -o OUT")
    table = open_rows(rows)
    with Store(out) as store, Interrupt(quiet) as stop:
        data = JsonLines() if as_json else None
        with closing(write_rows(table, store, stop)) as outcomes:
            total = table.count_rows()
            code = Console(quiet, verbose).follow(outcomes, total, str(out), stop, data)
    raise typer.Exit(code)


def open_rows(paths: Sequence[Path]) -> Any:
    """Parquet files and folders -> a pyarrow dataset of rows, not yet read. Raises UsageError."""
    try:
        import pyarrow as pa
        import pyarrow.dataset as datasets
    except ImportError as exc:
        raise UsageError("reading rows needs one more package: pip install 'facecli[ray]'") from exc
    files: list[str] = []
    for path in paths:
        inside = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        if not inside or not all(file.is_file() for file in inside):
            raise UsageError(f"{shown(str(path))!r} is no Parquet file and no folder of them; check the name")
        files += map(str, inside)
    try:
        table = datasets.dataset(files, format="parquet")
    except (pa.ArrowException, OSError) as exc:
        raise UsageError(f"no rows to read: {' '.join(str(exc).split()):.200}") from exc
    missing = [column for column in COLUMNS if column not in table.schema.names]
    if missing:
        raise UsageError(f"these are not rows of FaceBatch: no column {', '.join(missing)}")
    return table


def write_rows(table: Any, store: Store, interrupt: Interrupt) -> Generator[Outcome, None, None]:
    """Write the files of each row under its name, whole or not at all, with a line in the manifest of OUT.

    A row that names a place outside OUT, or cannot be written, is a failed photo. Raises OutputError for what
    concerns all, and UsageError for a file that turns out damaged.
    """
    import pyarrow as pa

    batches = table.to_batches(
        columns=COLUMNS, batch_size=_AT_ONCE, batch_readahead=1, fragment_readahead=1, use_threads=False
    )
    try:
        for batch in batches:
            for row in batch.to_pylist():
                if interrupt.wanted:
                    return
                outcome = _write_row(row, store)
                with Manifest(store.root, row["settings"], row["weights"]) as manifest:
                    manifest.append(outcome, Identity(row["path"], row["size"], -1))
                yield outcome
    except (pa.ArrowException, OSError) as exc:
        raise UsageError(f"damaged rows: {' '.join(str(exc).split()):.200}; make them again") from exc


def _write_row(row: dict[str, Any], store: Store) -> Outcome:
    item = Input(Path(row["path"]), row["name"])
    if row["status"] == "failed":
        return Outcome(item, "failed", {}, row["error"], seconds=row["seconds"])
    try:
        files = {_checked(file["name"]): file["data"] for file in row["files"]}
        store.write(_inside(row["name"]), files)
    except FaceError as exc:
        if exc.exit_code != 1:
            raise
        return Outcome(item, "failed", {}, str(exc))
    faces: dict[str, dict[str, int]] = {}
    for name, data in files.items():
        face, inner = name.split("/", 1)
        faces.setdefault(f"{item.name}/{face}", {})[inner] = len(data)
    return Outcome(item, row["status"], faces, seconds=row["seconds"])


def _inside(name: str) -> str:
    """A result's name, if it stays below OUT: rows may come from anywhere."""
    parts = PurePosixPath(name).parts
    ours = parts and (fnmatchcase(parts[0], PATTERN) or parts[0].startswith(RUN_PREFIX))
    if not parts or ours or "/" in parts or ".." in parts or "\0" in name or "\\" in name:
        raise InputError(f"the row's name {shown(name)!r} is no place below the output folder")
    return name


def _checked(name: str) -> str:
    if not _FILE.fullmatch(name):
        raise InputError(f"the row's file {shown(name)!r} is no file of a face")
    return name
