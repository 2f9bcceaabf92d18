"""The training loop: resumable at any step, in bfloat16 where that is fast, one line of CSV per report."""

import csv
import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from facecli.model import Block, FaceNetwork, ModelConfig
from facecli.rounding import Steps
from facecli.train.loader import batches
from facecli.train.losses import WEIGHTS, Targets, losses, relief, total
from facecli.train.ranges import calibrate
from facecli.train.revive import revive
from facecli.train.team import Team

LOOKED_AT = 64
"""Samples that tell which channels are dead, and between what values to round."""
DETAIL_HEAD = ("texture.", "relief.", "detail.")
"""Parameters of the detail head begin like this."""


@dataclass(frozen=True)
class Recipe:
    """What one training is. The learning rate falls over `seconds` of training time, whoever gives them, or over
    `samples` where that is not 0; for the first `small_share` of it the net sees crops of half the size, four times
    as many, and no detail. With `revive` dead channels begin anew before the first step. `without`: see
    `loader.WITHOUT`."""

    seconds: float
    samples: int = 0
    batch_size: int = 24
    learning_rate: float = 1.2e-3
    weight_decay: float = 0.02
    ema: float = 0.998
    warmup_steps: int = 200
    small_share: float = 0.25
    detail_factor: float = 4.0
    revive: bool = False
    without: tuple[str, ...] = ()
    seed: int = 0


@dataclass
class Progress:
    """How far it came."""

    step: int = 0
    samples: int = 0
    seconds: float = 0.0


def train(
    shards: Path,
    folder: Path,
    recipe: Recipe,
    config: ModelConfig,
    device: str = "cpu",
    stop_after: float = 1e9,
    team: Team | None = None,
    start: Path | None = None,
) -> None:
    """Train until `recipe.seconds` are spent or `stop_after` seconds from now; continue from `folder` if it
    has a checkpoint. Writes `checkpoint.safetensors` every two minutes and `log.csv`. The members of a `team`
    share each batch. A training without a checkpoint begins with the parameters of `start`, a published
    network.safetensors of the same widths, be it with fewer outputs or blocks, or in other bits."""
    team = team or Team()
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    network = FaceNetwork(config)
    if start is not None:
        begin_with(network, load_file(start))
    checkpoint = folder / "checkpoint.safetensors"
    if not checkpoint.exists():
        prepare(network, shards, recipe, config, team)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    parts = groups(network, recipe)
    learning = [parameter for part in parts for parameter in part["params"]]
    optimiser = optimiser_of(parts, recipe)
    progress = Progress()
    if checkpoint.exists():
        progress = load(checkpoint, network, average, optimiser)
    if progress.step and team.leads:
        sys.stderr.write(f"continuing at step {progress.step}, {progress.samples} samples\n")
    seed = recipe.seed + progress.step + 1_000_003 * team.rank
    stream = batches(shards, recipe.batch_size // team.size, seed, without=recipe.without)
    number = number_for(device)
    began = last_report = last_save = time.monotonic()
    seconds_before = progress.seconds
    sums: dict[str, float] = {}
    reported = progress.step
    while spent(recipe, progress) < 1 and progress.seconds < seconds_before + stop_after:
        batch = {name: tensor.to(device, non_blocking=True) for name, tensor in next(stream).items()}
        image, sharp = (batch.pop(key).permute(0, 3, 1, 2).to(number) / 255 for key in ("image", "sharp"))
        rows, target = batch.pop("rows"), Targets(**batch)
        small = spent(recipe, progress) < recipe.small_share
        if small:
            image, target, rows = F.avg_pool2d(image, 2), target.halved(), rows[:0]
        with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=number is torch.bfloat16):
            shared, region, coarse = network.surface(image)
            detail = network.recover(sharp, shared[rows], coarse[rows]) if len(rows) else None
        terms = losses(region, coarse, target)
        if "correspondence" in recipe.without:
            terms.pop("coordinate", None)
        if detail is not None:
            terms |= relief(detail, target, rows)
        loss = total(terms)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        progress.seconds = team.agree(learning, seconds_before + time.monotonic() - began)
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        rate = learning_rate(recipe, progress)
        for group in optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        optimiser.step()
        follow(average, network, recipe, progress)
        progress.step += 1
        progress.samples += recipe.batch_size
        if not team.leads:
            continue
        now = time.monotonic()
        for name, term in {**terms, "total": loss}.items():
            sums[name] = sums.get(name, 0.0) + float(term.detach())
        if now - last_report > 30:
            count = progress.step - reported
            row = {name: round(sums.get(name, 0.0) / count, 5) for name in [*WEIGHTS, "total"]}
            speed = count * recipe.batch_size / (now - last_report)
            report(
                folder / "log.csv",
                {**asdict(progress), "rate": rate, "samples_per_second": round(speed, 2), **row},
            )
            sums, reported, last_report = {}, progress.step, now
        if now - last_save > 120:
            save(checkpoint, network, average, optimiser, progress, recipe, config)
            last_save = now
    if team.leads:
        save(checkpoint, network, average, optimiser, progress, recipe, config)


def number_for(device: str) -> torch.dtype:
    """What most of the training computes with: bfloat16 where the hardware does, else float32, as a CPU that only
    imitates bfloat16 is twenty times slower."""
    imitated = device == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.float32 if imitated else torch.bfloat16


def begin_with(network: FaceNetwork, parameters: dict[str, torch.Tensor]) -> None:
    """Take over a network's parameters. What it did not have yet stays as it is: channels, ranges of rounding, and
    blocks, which begin as the identity; a network in float32 needs no ranges. Raises RuntimeError where the two do not
    fit."""
    state = network.state_dict()
    parameters = {
        name: tensor
        for name, tensor in parameters.items()
        if name in state or not name.endswith((".step", ".zero"))
    }
    for name, module in network.named_modules():
        if isinstance(module, Block | Steps):
            inside = {key: tensor for key, tensor in state.items() if key.startswith(f"{name}.")}
            if not inside.keys() & parameters.keys():
                parameters |= inside
    if others := state.keys() ^ parameters.keys():
        raise RuntimeError(f"other parameters: {sorted(others)}")
    for name, tensor in parameters.items():
        state[name][tuple(slice(size) for size in tensor.shape)] = tensor.float()


def prepare(network: FaceNetwork, shards: Path, recipe: Recipe, config: ModelConfig, team: Team) -> None:
    """Before the first step: revive what is dead, and find where to round. In all members of a team alike: they look
    at the same samples."""
    if not (recipe.revive or config.eight_bits):
        return
    samples = next(batches(shards, LOOKED_AT, recipe.seed, workers=0, without=recipe.without))
    image, sharp = (samples[key].permute(0, 3, 1, 2).float() / 255 for key in ("image", "sharp"))
    if recipe.revive:
        for name, count in revive(network, image, sharp, samples["rows"]).items():
            if team.leads:
                sys.stderr.write(f"{count} dead channels of {name} begin anew\n")
    if config.eight_bits:
        calibrate(network, image, sharp, samples["rows"])


def groups(network: FaceNetwork, recipe: Recipe) -> list[dict[str, Any]]:
    """The parameters that learn, in two groups: the detail head sees few samples, so it takes larger steps."""
    rest, own = (
        [p for name, p in network.named_parameters() if name.startswith(DETAIL_HEAD) == detail]
        for detail in (False, True)
    )
    return [{"params": rest, "factor": 1.0}, {"params": own, "factor": recipe.detail_factor}]


def optimiser_of(parts: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    """Of `groups`, or some of them."""
    return torch.optim.AdamW(parts, recipe.learning_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay)


@torch.no_grad()
def follow(
    average: dict[str, torch.Tensor], network: FaceNetwork, recipe: Recipe, progress: Progress
) -> None:
    """Move the averaged parameters after the network's, the faster the fewer steps there were."""
    decay = min(recipe.ema, (1 + progress.step) / (10 + progress.step))
    for name, tensor in network.state_dict().items():
        average[name].lerp_(tensor, 1 - decay)


def spent(recipe: Recipe, progress: Progress) -> float:
    """How much of a training is over: from 1 on, all."""
    return progress.samples / recipe.samples if recipe.samples else progress.seconds / recipe.seconds


def learning_rate(recipe: Recipe, progress: Progress) -> float:
    """Linear warm-up, then half a cosine over the training."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(spent(recipe, progress), 1)))
    return recipe.learning_rate * min(1, (progress.step + 1) / recipe.warmup_steps) * max(cosine, 0.01)


def report(path: Path, row: dict[str, float]) -> None:
    """Append one row to a CSV and show it."""
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if fresh:
            writer.writeheader()
        writer.writerow(row)
    sys.stderr.write(" ".join(f"{key} {value:.5g}" for key, value in row.items()) + "\n")


def save(
    path: Path,
    network: FaceNetwork,
    average: dict[str, torch.Tensor],
    optimiser: torch.optim.Optimizer,
    progress: Progress,
    recipe: Recipe,
    config: ModelConfig,
) -> None:
    """Everything needed to go on, as safetensors; replaces the old checkpoint in one move."""
    tensors = {f"network.{name}": tensor.contiguous() for name, tensor in network.state_dict().items()}
    tensors |= {f"average.{name}": tensor.contiguous() for name, tensor in average.items()}
    for name, parameter in network.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser.{name}.{key}"] = torch.as_tensor(value).contiguous().clone()
    metadata = {
        "progress": json.dumps(asdict(progress)),
        "recipe": json.dumps(asdict(recipe)),
        "config": json.dumps(asdict(config)),
    }
    temporary = path.with_suffix(".tmp")
    save_file(tensors, temporary, metadata)
    temporary.replace(path)


def load(
    path: Path, network: FaceNetwork, average: dict[str, torch.Tensor], optimiser: torch.optim.Optimizer
) -> Progress:
    """Restore what `save` wrote into the given objects."""
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}
        progress = Progress(**json.loads(file.metadata()["progress"]))
    network.load_state_dict({key[8:]: value for key, value in tensors.items() if key.startswith("network.")})
    for name in average:
        average[name].copy_(tensors[f"average.{name}"])
    for name, parameter in network.named_parameters():
        prefix = f"optimiser.{name}."
        state = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
        if state:
            optimiser.state[parameter] = {
                key: value.to(parameter.device) if key != "step" else value for key, value in state.items()
            }
    return progress
