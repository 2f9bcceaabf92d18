"""The command line: parse, then one call each. Nothing heavy is imported before a command runs."""

import json
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from facecli import __version__, commands
from facecli.arguments import Device, Focal, Formats, JsonRows, Preview, Quiet, Verbose, words
from facecli.assemble import assemble
from facecli.console import Console, JsonLines, forget_stdout, shown
from facecli.errors import FaceError, InputError, UsageError, WeightsError
from facecli.fuse_command import fuse
from facecli.inputs import Input, find_inputs, read_bytes, read_list
from facecli.options import Options, Settings
from facecli.outcome import Outcome

INTERRUPTED = 130  # 128 + SIGINT, what shells report

app = typer.Typer(
    name="facecli",
    help="Turn every face in every photo into a detailed 3D mesh, offline.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Detail(str, Enum):
    """Which scales of the surface go into the mesh."""

    full = "full"
    none = "none"


def main() -> None:
    """The `facecli` command: exits with 0 all done, 1 some photos failed, 2 could not do it, 130 Ctrl-C."""
    try:
        app(prog_name="facecli")
    except FaceError as exc:
        Console().error(shown(str(exc)))
        sys.exit(2 if exc.exit_code == 2 else 1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        forget_stdout()
        sys.exit(1)
    except Exception as exc:
        trace = "".join(traceback.format_exception(exc)).rstrip()
        Console().error(f"internal error, please report it:\n{trace}")
        sys.exit(2)


def _version(wanted: bool) -> bool:
    if wanted:
        sys.stdout.write(f"facecli {__version__}\n")
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Turn every face in every photo into a detailed 3D mesh, offline."""


@app.command()
def reconstruct(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT...", help="Photos, and folders of photos at any depth."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="OUT", help="Folder for the results.")
    ] = None,
    files_from: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Read more inputs from FILE, one a line; - is standard input."),
    ] = None,
    null: Annotated[bool, typer.Option("--null", "-0", help="Names in --files-from end with NUL.")] = False,
    formats: Formats = "obj,ply",
    meshes: Annotated[
        str,
        typer.Option(
            "--mesh",
            metavar="LIST",
            help="pixel: what the photo shows (mesh.*). face: the whole face, always the same vertices (face.*).",
        ),
    ] = "pixel,face",
    maps: Annotated[bool, typer.Option("--maps", help="Also write maps of crop and texture as PNG.")] = False,
    preview: Preview = True,
    detail: Annotated[
        Detail, typer.Option(help="Fine wrinkles in the mesh, or the smooth shape only.")
    ] = Detail.full,
    detail_scale: Annotated[
        float, typer.Option(metavar="X", help="Strength of the fine wrinkles: 1 as seen, 2 twice as deep.")
    ] = 1.0,
    albedo: Annotated[
        bool, typer.Option("--albedo", help="Take the photo's light out of the texture of face.*.")
    ] = False,
    blendshapes: Annotated[
        bool,
        typer.Option("--blendshapes", help="Also write blendshapes.json: the expression as ARKit's weights."),
    ] = False,
    neutral: Annotated[
        bool, typer.Option("--neutral", help="Also write neutral.*: the whole face without its expression.")
    ] = False,
    mirror: Annotated[
        bool,
        typer.Option(
            "--mirror",
            help="Look at each face mirrored too: smaller errors, an eighth to a quarter more time.",
        ),
    ] = False,
    device: Device = "auto",
    focal: Focal = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            envvar="FACECLI_WORKERS",
            show_default=False,
            help="Photos at once, each in a process of its own; default: one a core, as far as memory goes.",
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(metavar="S", min=1, envvar="FACECLI_TIMEOUT", help="Give a photo up after S seconds."),
    ] = 300,
    memory: Annotated[
        float | None,
        typer.Option(
            metavar="GIB",
            min=0.5,
            envvar="FACECLI_MEMORY",
            show_default=False,
            help="Give a photo up that takes more; default: a worker's share of the machine's, at most 4.",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            envvar="FACECLI_SHARD",
            show_default=False,
            help="Do only part I of N, I from 1; the parts can run anywhere, into one OUT.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Do photos again that an earlier run did.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try photos again that failed in an earlier run.")
    ] = False,
    as_json: JsonRows = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Reconstruct every face: OUT/<photo>/face0/ gets meshes, texture, preview and result.json.

    A second run does what is left. Exit status: 0 all done (also without a face), 1 some photos failed,
    2 could not run, 130 Ctrl-C.
    """
    if out is None:
        raise UsageError("no output folder; add -o OUT")
    options = Options(
        words(formats), maps, preview, words(meshes), albedo, detail_scale, blendshapes, neutral
    )
    settings = Settings(options, device, focal, detail is Detail.full, mirror)
    part = None if shard is None else _shard(shard)
    listed = _read_list(files_from, null)
    if not inputs and files_from is None:
        raise UsageError("no input; name photos or folders, or use --files-from")
    found = find_inputs(inputs or [], listed, out)
    if not found:
        raise UsageError("no photos found in what was named")

    from facecli.batch import in_shard, plan, process
    from facecli.interrupt import Interrupt
    from facecli.machine import cores, default_handful, default_limit, default_workers
    from facecli.manifest import Manifest
    from facecli.store import Store

    console = Console(quiet, verbose)
    data = JsonLines() if as_json else None
    chosen = found if part is None else [item for item in found if in_shard(item, part)]
    start, weights = _prepare(settings)
    with (
        Store(out) as store,
        Manifest(out, settings.key, weights, part) as manifest,
        Interrupt(quiet) as stop,
    ):
        planned = plan(chosen, manifest, overwrite, retry_failed)
        crew = max(1, min(workers or default_workers(device), len(planned.todo)))
        limit = default_limit(crew, device) if memory is None else int(memory * 2**30)
        make = partial(start, settings, max(1, cores() // crew), store.writer)
        handful = default_handful(device, timeout)
        outcomes = process(planned, manifest, make, crew, timeout, limit, stop, handful)
        with closing(outcomes):
            code = console.follow(outcomes, len(planned.todo), str(out), stop, data)
    raise typer.Exit(code)


def _shard(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise UsageError(f"--shard must be I/N with I from 1 to N, such as 2/8, not {shown(text)!r}")
    return int(part), int(parts)


def _prepare(settings: Settings) -> tuple[Callable[..., Callable[[Sequence[Input]], Iterator[Outcome]]], str]:
    """What a worker calls at its start with settings, threads and writer; and the weights' name in the manifest."""
    from facecli.batch import start_worker
    from facecli.weights import load_weights

    return start_worker, load_weights().manifest.identity


def _read_list(source: str | None, null: bool) -> list[str]:
    if source is None:
        return []
    if source == "-":
        return read_list(sys.stdin.buffer.read(), null)
    try:
        return read_list(read_bytes(Path(source)), null)
    except InputError as exc:
        raise UsageError(f"--files-from {shown(source)}: {exc}") from exc


@app.command()
def bench(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Photos, and folders of photos.")],
    photos: Annotated[
        int, typer.Option(metavar="N", min=4, help="Do N photos, those given again and again.")
    ] = 60,
    size: Annotated[
        int, typer.Option(metavar="PX", min=0, help="Scale photos to this longer side first; 0: not.")
    ] = 1024,
    formats: Formats = "obj,ply",
    preview: Preview = False,
    device: Device = "auto",
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, envvar="FACECLI_WORKERS", show_default=False)
    ] = None,
    mediapipe: Annotated[
        str | None,
        typer.Option(
            metavar="PYTHON", help="A Python that has MediaPipe, to compare with; default: this one."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure speed, where the time goes, and memory; compare with the machine's limit and with MediaPipe."""
    from facecli.bench import bench_lines, run_bench

    options = Options(words(formats), preview=preview)
    found = find_inputs(inputs)
    if not found:
        raise UsageError("no photos found in what was named")
    facts = run_bench(found, Settings(options, device), workers, photos, size, mediapipe)
    sys.stdout.write((json.dumps(facts) if as_json else "\n".join(bench_lines(facts))) + "\n")


app.command()(fuse)


@app.command()
def info(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show versions, devices and the weights, every hash verified."""
    facts = _facts()
    problem = facts["weights"].get("problem")
    if as_json:
        sys.stdout.write(json.dumps(facts) + "\n")
    else:
        sys.stdout.write("\n".join(_lines(facts)) + "\n")
    sys.stdout.flush()
    if problem:
        raise WeightsError(problem)


for command in (assemble, commands.report, commands.turntable, commands.doctor):
    app.command()(command)


def _facts() -> dict[str, Any]:
    import platform
    from importlib.metadata import PackageNotFoundError, version
    from importlib.util import find_spec

    from facecli.weights import load_weights

    packages = {}
    for name in ("numpy", "onnxruntime", "opencv-python-headless", "pillow", "torch"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    devices = ["cpu"]
    if find_spec("torch"):
        import torch

        devices += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    weights: dict[str, Any] = {}
    try:
        found = load_weights()
        weights |= {"version": found.manifest.version, "folder": str(found.folder)}
        weights["files"] = {
            name: {"sha256": entry.sha256, "bytes": entry.bytes, "licence": entry.licence}
            for name, entry in found.manifest.files.items()
        }
        for name in found.manifest.files:
            found.read(name)
    except WeightsError as exc:
        weights["problem"] = str(exc)
    return {
        "facecli": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "devices": devices,
        "weights": weights,
    }


def _lines(facts: dict[str, Any]) -> list[str]:
    weights = facts["weights"]
    lines = [f"facecli   {facts['facecli']}", f"python    {facts['python']} on {facts['platform']}"]
    lines += [f"packages  {', '.join(f'{name} {number}' for name, number in facts['packages'].items())}"]
    lines += [f"devices   {', '.join(facts['devices'])}"]
    if "version" in weights:
        lines += [f"weights   {weights['version']} in {shown(weights['folder'])}"]
        for name, entry in weights["files"].items():
            lines += [
                f"          {name}  {entry['bytes']:,} bytes  {entry['licence']}  sha256 {entry['sha256']}"
            ]
        lines += [] if "problem" in weights else ["          every hash verified"]
    return lines
