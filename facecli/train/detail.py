"""The detail head alone, while the rest of a network stays as it is.

Wrinkles are a few pixels of a few samples, and nearly all of a training's time goes to the rest of the network. Left as
it is, that is asked once for each sample (`facecli.train.views`), and the head learns from parts of crops, a hundred a
second and more on one core.
"""

import json
import random
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from facecli.model import FaceNetwork, ModelConfig
from facecli.train.loader import batches
from facecli.train.loop import (
    DETAIL_HEAD,
    LOOKED_AT,
    Progress,
    Recipe,
    begin_with,
    follow,
    groups,
    learning_rate,
    load,
    number_for,
    optimiser_of,
    report,
    save,
    spent,
)
from facecli.train.losses import local_mean, mean, pseudo_huber
from facecli.train.ranges import calibrate
from facecli.train.views import AROUND, PIXELS, View, keep_views, stored_views

PART = 192
"""Pixels of a crop that are learned from at a time, a square."""
TRIES, ENOUGH = 4, 0.25
"""Squares are drawn so often until so much of one is known."""
REACHES = (2, 4, 8)
"""Pixels over which slopes are compared: from one to the next there are the head model's facets more than skin."""
SLOPE, HEIGHT = 0.2, 0.2
"""Errors beyond these (mm per mm, and mm) count linearly."""
WEIGHTS = {"relief_slope": 1.0, "relief_height": 0.5}


def fit_detail(shards: Path, folder: Path, start: Path, recipe: Recipe, stop_after: float = 1e9) -> None:
    """Train the detail head of the network `start` (a network.safetensors) until `recipe.seconds` are spent, or
    `stop_after` seconds from now; continue from `folder` if it has been there before.

    Writes `views/`, `training.safetensors` every two minutes, `log.csv`, and at the end `checkpoint.safetensors`, the
    whole network for `publish`. Views are of one `start`: another one needs another folder. Raises ValueError where no
    sample has detail.
    """
    torch.manual_seed(recipe.seed)
    config = config_of(start)
    network = FaceNetwork(config).eval()
    begin_with(network, load_file(start))
    keep_views(network, shards, folder / "views", recipe.seed)
    # In float32: where to round is found at the end. And with plain ReLUs: at this rate what leaks through others grows
    # until there is nothing but that.
    pupil = FaceNetwork(replace(config, eight_bits=False)).eval()
    begin_with(pupil, network.state_dict())
    views = list(stored_views(folder / "views"))
    if not views:
        raise ValueError(f"no sample in {shards} has detail: make some with synth --detailed")
    learned, progress = _train(pupil, config, views, folder, recipe, stop_after)
    if spent(recipe, progress) < 1:
        return
    begin_with(network, network.state_dict() | learned)
    if config.eight_bits:
        samples = next(batches(shards, LOOKED_AT, recipe.seed, workers=0, detailed=True))
        image, sharp = (samples[key].permute(0, 3, 1, 2).float() / 255 for key in ("image", "sharp"))
        calibrate(network, image, sharp, samples["rows"], network.detail)
    tensors = {f"average.{name}": tensor.contiguous() for name, tensor in network.state_dict().items()}
    told = {"config": asdict(config), "recipe": asdict(recipe), "progress": asdict(progress)}
    save_file(
        tensors, folder / "checkpoint.safetensors", {key: json.dumps(value) for key, value in told.items()}
    )


def config_of(path: Path) -> ModelConfig:
    """The sizes of a published network.safetensors."""
    with safe_open(path, "pt") as file:
        return ModelConfig.of(json.loads(file.metadata()["config"]))


def _train(
    network: FaceNetwork,
    config: ModelConfig,
    views: list[View],
    folder: Path,
    recipe: Recipe,
    stop_after: float,
) -> tuple[dict[str, Tensor], Progress]:
    """The head's parameters, averaged, and how far the training came."""
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    parts = groups(network, recipe)[1:]
    learning = [parameter for part in parts for parameter in part["params"]]
    optimiser = optimiser_of(parts, recipe)
    path, progress = folder / "training.safetensors", Progress()
    if path.exists():
        progress = load(path, network, average, optimiser)
    draw, number = random.Random(recipe.seed + progress.step), number_for("cpu")
    before, reported, sums = progress.seconds, progress.step, dict.fromkeys(WEIGHTS, 0.0)
    began = last_report = last_save = time.monotonic()
    while spent(recipe, progress) < 1 and progress.seconds < before + stop_after:
        image, shared, coarse, relief, known, per_mm = drawn(views, recipe.batch_size, draw)
        with torch.autocast("cpu", number, enabled=number is torch.bfloat16):
            detail = network.recover(image, shared, coarse)
        terms = losses(detail.float(), relief, known, per_mm)
        loss = torch.stack([WEIGHTS[name] * term for name, term in terms.items()]).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        progress.seconds = before + time.monotonic() - began
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(recipe, progress)
        optimiser.step()
        follow(average, network, recipe, progress)
        progress.step, progress.samples = progress.step + 1, progress.samples + recipe.batch_size
        sums = {name: sums[name] + float(term.detach()) for name, term in terms.items()}
        now = time.monotonic()
        if now - last_report > 30:
            means = {name: round(value / (progress.step - reported), 5) for name, value in sums.items()}
            report(folder / "log.csv", asdict(progress) | means)
            sums, reported, last_report = dict.fromkeys(WEIGHTS, 0.0), progress.step, now
        if now - last_save > 120:
            save(path, network, average, optimiser, progress, recipe, config)
            last_save = now
    save(path, network, average, optimiser, progress, recipe, config)
    return {name: tensor for name, tensor in average.items() if name.startswith(DETAIL_HEAD)}, progress


def drawn(views: list[View], count: int, draw: random.Random) -> tuple[Tensor, ...]:
    """Parts of views drawn at random, as a batch: the fields of `View`, in float32, with a channel each."""
    parts = [_part(draw.choice(views), draw) for _ in range(count)]
    image, shared, coarse, relief, known, per_mm = (
        torch.stack([getattr(part, field.name) for part in parts]).float() for field in fields(View)
    )
    return image / 255, shared, coarse, relief[:, None], known[:, None], per_mm[:, None, None, None]


def _part(view: View, draw: random.Random) -> View:
    height, width = view.known.shape
    for _ in range(TRIES):
        top, left = (draw.randrange(0, max(1, size - PART + 1), PIXELS) for size in (height, width))
        part = view.part(top, left, PART)
        if part.known.float().mean() > ENOUGH:
            break
    return part


def losses(
    detail: Float[Tensor, "n 1 h w"],
    relief: Float[Tensor, "n 1 h w"],
    known: Float[Tensor, "n 1 h w"],
    per_mm: Float[Tensor, "n 1 1 1"],
) -> dict[str, Tensor]:
    """Errors of slopes, and of the height above what is around, where relief is known (1, else 0)."""
    error = (detail - relief) * known
    terms = []
    for axis in (2, 3):
        for reach in REACHES:
            size = error.shape[axis] - reach
            far, near = error.narrow(axis, reach, size), error.narrow(axis, 0, size)
            both = known.narrow(axis, reach, size) * known.narrow(axis, 0, size)
            terms.append(mean(pseudo_huber((far - near) * per_mm / reach / SLOPE), both))
    level = local_mean(error, AROUND) / local_mean(known, AROUND).clamp(min=1e-3)
    height = mean(pseudo_huber((error - level) / HEIGHT), known)
    return {"relief_slope": torch.stack(terms).mean(), "relief_height": height}
