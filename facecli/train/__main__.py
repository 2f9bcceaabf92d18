"""`python -m facecli.train`: from licensed portraits to published weights, step by step.

Order: landmarks, pool, synth, fit-network, publish, evaluate; once there are weights, second-look and teach make
better data, and fit-detail a better detail head; look shows what a step made.
"""

import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False
)

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
Assets = Annotated[Path, typer.Option(help="Folder of the licensed data.", exists=True, file_okay=False)]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 = all.")]


@app.command()
def landmarks(
    out: Annotated[Path, typer.Argument(help="File to write, .npz.")],
    python: Annotated[Path | None, typer.Option(help="Python that has mediapipe.")] = None,
    assets: Assets = SHARED / "assets",
) -> None:
    """Dense landmarks of the portraits, by MediaPipe, in a Python of its own.

    MediaPipe wants an older NumPy: make an environment with `python3.11 -m venv mp` and
    `mp/bin/pip install mediapipe==0.10.14 "numpy<2"`, and pass `--python mp/bin/python`.
    Without --python the command to run is shown.
    """
    script = Path(__file__).with_name("landmarks.py")
    command = [str(python or "PYTHON_WITH_MEDIAPIPE"), str(script), str(assets / "portraits"), str(out)]
    if python is None:
        typer.echo(" ".join(command))
        return
    done = subprocess.run(command, check=False)
    raise typer.Exit(done.returncode)


@app.command()
def points(
    landmark_file: Annotated[Path, typer.Argument(help="What `landmarks` wrote.", exists=True)],
    assets: Assets = SHARED / "assets",
) -> None:
    """Calibrate where MediaPipe's points are on the head model: rewrites facecli/train/dense_points.txt."""
    import numpy as np

    from facecli.train.correspond import CALIBRATED
    from facecli.train.fit import calibrate
    from facecli.train.headmodel import HeadModel

    canonical = assets / "landmarks" / "canonical_face_model.obj"
    found = calibrate(HeadModel.load(assets / "head_model"), canonical, landmark_file)
    np.savetxt(CALIBRATED, found, fmt="%.2f")


@app.command("second-look")
def second_look(
    landmark_file: Annotated[Path, typer.Argument(help="What `landmarks` wrote; is added to.", exists=True)],
    portraits: Annotated[Path, typer.Option(help="Folder of portraits.")] = SHARED / "assets" / "portraits",
    weights: Annotated[Path | None, typer.Option(help="Weights folder, default facecli's own.")] = None,
) -> None:
    """Once there are weights: add the network's own dense landmarks, for a better fit."""
    from facecli.train.second_look import add_own_points
    from facecli.weights import load_weights

    add_own_points(landmark_file, portraits, load_weights(weights))


@app.command()
def pool(
    landmark_file: Annotated[Path, typer.Argument(help="What `landmarks` wrote.", exists=True)],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    assets: Assets = SHARED / "assets",
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Fit the head model to every portrait and lift albedo, light and mask."""
    from facecli.train.pool import build

    build(assets, landmark_file, out, workers)


@app.command()
def synth(
    pool: Annotated[Path, typer.Argument(help="What `pool` wrote.", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Argument(help="Folder of shards to write or to go on with.")],
    shards: Annotated[int, typer.Option(min=1, help="How many shards there should be, 128 samples each.")],
    assets: Assets = SHARED / "assets",
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    seconds: Annotated[float, typer.Option(help="Stop after this long.")] = 1e9,
    detailed: Annotated[bool, typer.Option("--detailed", help="Only samples with detail.")] = False,
    device: Annotated[
        str,
        typer.Option(
            help="Draw the synthetic heads in batches on cpu, cuda or cuda:N, by torch. "
            "Default: one by one on the CPU, compiled, which is faster there."
        ),
    ] = "",
) -> None:
    """Write training samples; shards that exist stay as they are."""
    from facecli.train.shards import generate

    generate(assets, pool, out, shards, workers, seconds, device, detailed)


@app.command()
def teach(
    landmark_file: Annotated[Path, typer.Argument(help="What `landmarks` wrote.", exists=True)],
    out: Annotated[Path, typer.Argument(help="Folder of shards to write or to go on with.")],
    shards: Annotated[int, typer.Option(min=1, help="How many shards there should be, 128 samples each.")],
    portraits: Annotated[Path, typer.Option(help="Folder of portraits.")] = SHARED / "assets" / "portraits",
    weights: Annotated[Path | None, typer.Option(help="Weights folder, default facecli's own.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Once there are weights: write portraits with what the network sees in several looks, to train on."""
    from facecli.train.teach import teach as write

    write(landmark_file, portraits, weights, out, shards, workers)


@app.command("synth-rate")
def synth_rate(
    pool: Annotated[Path, typer.Argument(help="What `pool` wrote.", exists=True, file_okay=False)],
    assets: Assets = SHARED / "assets",
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cuda",
    heads: Annotated[int, typer.Option(min=1, help="Heads of a batch.")] = 64,
    size: Annotated[int, typer.Option(help="Pixels of a picture's side: 256 or 512.")] = 256,
    threads: Threads = 0,
) -> None:
    """How many synthetic heads a second a device draws in batches, and how much memory each moves.

    The rate is measured, the rest is counted, which takes some minutes: torch's compiler is asked what it would make
    of each stage on a GPU.
    """
    if size not in (256, 512):
        raise typer.BadParameter("choose 256 or 512", param_hint="--size")

    import torch

    from facecli.runtime import device_named
    from facecli.train.stage import Stage
    from facecli.train.tensor.rate import H100, measure
    from facecli.train.tensor.source import Source

    where = torch.device(device_named(device))
    if threads:
        torch.set_num_threads(threads)
    source = Source(Stage.load(assets, pool), where)
    rate = measure(source, heads, size)
    typer.echo(
        f"{where}: {rate.per_second:.1f} heads/s of {size} px in batches of {heads}; for a head "
        f"{rate.traffic / 1e9:.2f} GB moved and {rate.flop / 1e9:.2f} GFLOP of products; "
        f"{len(rate.moved)} kernels for a batch, what is marked for a GPU counted as it is compiled there.\n"
        f"Counted, not measured: by its memory alone and {H100[1] * 1e6:.0f} us to start each kernel, an H100 "
        f"({H100[0] / 1e12:.2f} TB/s) would draw no more than {rate.ceiling(*H100):,.0f} heads/s in such batches."
    )


@app.command("fit-network")
def fit_network(
    shards: Annotated[Path, typer.Argument(help="What `synth` wrote.", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Argument(help="Folder of the checkpoint and log; continues what is there.")],
    seconds: Annotated[float, typer.Option(help="Length of the whole training; the rate falls over it.")],
    samples: Annotated[int, typer.Option(min=0, help="Its length in samples instead; 0: the seconds.")] = 0,
    stop_after: Annotated[float, typer.Option(help="Stop this run after so long; run again to go on.")] = 1e9,
    batch_size: Annotated[int, typer.Option(min=1)] = 24,
    learning_rate: Annotated[float, typer.Option(min=0)] = 1.2e-3,
    weight_decay: Annotated[float, typer.Option(min=0)] = 0.02,
    ema: Annotated[float, typer.Option(min=0, max=1, help="Decay of the averaged parameters.")] = 0.998,
    warmup_steps: Annotated[int, typer.Option(min=1)] = 200,
    small_share: Annotated[float, typer.Option(min=0, max=1, help="Share of the time at half size.")] = 0.25,
    revive: Annotated[
        bool, typer.Option("--revive", help="Channels that never fire begin anew before the first step.")
    ] = False,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Do without: portraits, degradations or correspondence. Repeat for more."),
    ] = None,
    width: Annotated[float, typer.Option(min=0.25, help="Width of the layers, 1: as published.")] = 1.0,
    eight_bits: Annotated[
        bool, typer.Option("--eight-bits", help="Round as in use, to finish a training in float32.")
    ] = False,
    seed: Annotated[int, typer.Option()] = 0,
    threads: Threads = 0,
    processes: Annotated[
        int, typer.Option(min=1, help="Share each batch among processes of one thread.")
    ] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    start: Annotated[
        Path | None, typer.Option(help="network.safetensors to begin with, if OUT has no checkpoint.")
    ] = None,
) -> None:
    """Train the network end to end; stop and start as you like."""
    from dataclasses import replace
    from functools import partial

    import torch

    from facecli.model import ModelConfig
    from facecli.train.loader import WITHOUT
    from facecli.train.loop import Recipe, train
    from facecli.train.team import together

    if unknown := sorted(set(without or ()) - set(WITHOUT)):
        raise typer.BadParameter(f"{unknown[0]}: choose of {', '.join(WITHOUT)}", param_hint="--without")
    if threads:
        torch.set_num_threads(threads)
    recipe = Recipe(
        seconds=seconds,
        samples=samples,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        ema=ema,
        warmup_steps=warmup_steps,
        small_share=small_share,
        revive=revive,
        without=tuple(without or ()),
        seed=seed,
    )
    config = replace(ModelConfig().wider(width), eight_bits=eight_bits)
    together(
        processes,
        out / "meeting",
        partial(train, shards, out, recipe, config, device, stop_after, start=start),
    )


@app.command("fit-detail")
def fit_detail(
    shards: Annotated[Path, typer.Argument(help="What `synth --detailed` wrote.", exists=True)],
    out: Annotated[Path, typer.Argument(help="Folder of the checkpoint and log; continues what is there.")],
    seconds: Annotated[float, typer.Option(help="Length of the whole training; the rate falls over it.")],
    start: Annotated[
        Path, typer.Option(help="The network.safetensors whose detail head it is.", exists=True)
    ],
    stop_after: Annotated[float, typer.Option(help="Stop this run after so long; run again to go on.")] = 1e9,
    learning_rate: Annotated[float, typer.Option(min=0)] = 1.5e-3,
    threads: Threads = 0,
) -> None:
    """Train the detail head alone, while the rest of the network stays as it is. `publish` takes both."""
    import torch

    from facecli.train.detail import fit_detail as fit
    from facecli.train.loop import Recipe

    if threads:
        torch.set_num_threads(threads)
    fit(shards, out, start, Recipe(seconds, learning_rate=learning_rate, detail_factor=1.0), stop_after)


@app.command()
def publish(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint.safetensors of `fit-network`.", exists=True)],
    weights: Annotated[Path, typer.Argument(help="Folder to write; holds detector.onnx already.")],
    version: Annotated[str, typer.Option(help="Version of the weights.")],
    created: Annotated[str, typer.Option(help="Date of the weights, default today.")] = "",
    command: Annotated[str, typer.Option(help="The commands that trained them, for the manifest.")] = "",
    keep: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the parameters that are in the folder already.")
    ] = 0.0,
    assets: Assets = SHARED / "assets",
) -> None:
    """Export a checkpoint: safetensors, ONNX with parity, template, manifest, and facecli doctor's example."""
    from facecli.doctor import store_example
    from facecli.train.publish import publish as write

    day = created or date.today().isoformat()
    write(checkpoint, assets, weights, version, day, {"command": command}, keep)
    store_example(weights)


@app.command("publish-geometry")
def publish_geometry(
    weights: Annotated[Path, typer.Argument(help="Folder of published weights.", exists=True)],
    assets: Assets = SHARED / "assets",
) -> None:
    """Write template, completion and blendshapes anew, from the head model alone; the network stays as it is."""
    from facecli.train.publish import publish_geometry as write

    write(assets, weights)


@app.command("fit-completion")
def fit_completion(
    weights: Annotated[Path, typer.Argument(help="Folder of published weights.", exists=True)],
    assets: Assets = SHARED / "assets",
    steps: Annotated[int, typer.Option(min=1, help="Batches of 32 heads to train on.")] = 500,
) -> None:
    """Train the network that completes faces, on geometry alone, and write completion.onnx."""
    from facecli.train.publish import publish_completion as write

    write(assets, weights, steps)


@app.command("fit-blendshapes")
def fit_blendshapes(
    weights: Annotated[Path, typer.Argument(help="Folder of published weights.", exists=True)],
    shards: Annotated[Path, typer.Argument(help="What `synth` wrote.", exists=True, file_okay=False)],
    heads: Annotated[int, typer.Option(min=10, help="How many samples to look at.")] = 4000,
) -> None:
    """Fit the head that tells expressions, to samples as the pipeline sees them: writes expression.safetensors."""
    from facecli.blendshapes import SHAPES
    from facecli.train.publish import publish_expression as write

    found = write(weights, shards, heads)
    for name, *numbers in zip(SHAPES, found.correlation, found.error, found.error_of_usual, strict=True):
        typer.echo(
            "{}: correlation {:.2f}, error {:.3f}, of the mean {:.3f}".format(name, *numbers), err=True
        )


@app.command()
def evaluate(
    data: Annotated[Path, typer.Argument(help="The evaluation folder.")] = SHARED / "eval",
    weights: Annotated[Path | None, typer.Option(help="Weights folder, default facecli's own.")] = None,
    mediapipe: Annotated[
        Path | None, typer.Option(help="Python that has mediapipe, to measure it beside facecli.")
    ] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for plots, PNG.")] = None,
    pool: Annotated[
        Path | None,
        typer.Option(
            help="What `pool` wrote: also measure on synthetic people.", exists=True, file_okay=False
        ),
    ] = None,
    people: Annotated[int, typer.Option(min=1, help="How many synthetic people.")] = 12,
    assets: Assets = SHARED / "assets",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Threads = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many photos of each data set.")] = None,
    mirror: Annotated[bool, typer.Option("--mirror", help="Look at each face mirrored too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of the table.")] = False,
) -> None:
    """Measure on real photos, and on synthetic people, and print one table."""
    from facecli.train.evaluate import evaluate as run

    if not data.is_dir():
        typer.echo(f"facecli.train: no evaluation data in {data}: give its folder as argument", err=True)
        raise typer.Exit(2)
    drawn = plots is not None
    result = run(data, assets, weights, device, threads, limit, mediapipe, pool, people, drawn, mirror)
    for failure in result.failures:
        typer.echo(failure, err=True)
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)
        for name, picture in result.pictures.items():
            (plots / name).write_bytes(picture)
    typer.echo(json.dumps(result.as_json(), indent=1) if as_json else result.markdown())


@app.command()
def look(
    out: Annotated[Path, typer.Argument(help="PNG to write.")],
    source: Annotated[Path, typer.Argument(help="A folder of photos, or one shard (.npz).", exists=True)],
    count: Annotated[int, typer.Option(min=1, help="How many photos or samples.")] = 20,
    columns: Annotated[int, typer.Option(min=1)] = 2,
    weights: Annotated[Path | None, typer.Option(help="Weights folder, default facecli's own.")] = None,
) -> None:
    """A contact sheet: reconstructions of photos, or training samples with their labels."""
    from facecli.images import encode_png, read_image
    from facecli.train.look import contact_sheet, sample_sheet

    if source.is_file():
        from itertools import islice

        from facecli.train.shards import unpack

        sheet = sample_sheet(list(islice(unpack(source), count)), columns)
    else:
        from facecli.pipeline import Reconstructor
        from facecli.weights import load_weights

        paths = sorted(p for p in source.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"})
        photos = [read_image(path.read_bytes()) for path in paths[:: max(1, len(paths) // count)][:count]]
        sheet = contact_sheet(photos, Reconstructor(weights=load_weights(weights)), columns)
    out.write_bytes(encode_png(sheet))


def main() -> None:
    """Run; facecli's own errors in one line, with their exit status."""
    from facecli.errors import FaceError

    try:
        app()
    except FaceError as error:
        typer.echo(f"facecli.train: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
