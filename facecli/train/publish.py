"""A checkpoint to the weights that ship: fp16 safetensors, ONNX with parity, template, manifest."""

import copy
import hashlib
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load as load_numpy
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import load_file, save_file

from facecli.blendshapes import load_shapes
from facecli.complete import load_geometry
from facecli.completion import fingerprint
from facecli.model import Block, FaceNetwork, ModelConfig, Prediction
from facecli.runtime import INPUT, cpu_session
from facecli.train.blendshapes import learn as learn_blendshapes
from facecli.train.blendshapes import save as save_blendshapes
from facecli.train.completer import to_onnx as completer_to_onnx
from facecli.train.completer import train, trained_for
from facecli.train.completion import learn
from facecli.train.completion import save as save_completion
from facecli.train.correspond import calibrated, landmarks68, on_surface
from facecli.train.expression import Accuracy, fit, places, seen
from facecli.train.expression import to_file as expression_to_file
from facecli.train.expression import trained_for as expression_trained_for
from facecli.train.headmodel import HeadModel
from facecli.train.lift import face_box_points
from facecli.train.loop import begin_with
from facecli.train.onnx_file import exported, store_as_halves
from facecli.weights import load_template, load_weights

PARITY, ROUGH_PARITY = 1e-5, 0.2
"""Mean difference allowed between torch and onnxruntime, over the spread of each output: in float32, and in eight bits,
where the last bits of a sum decide between two steps, and later layers carry that on."""
FILES = (
    "network.onnx",
    "network.safetensors",
    "template.safetensors",
    "completion.safetensors",
    "completion.onnx",
    "blendshapes.safetensors",
    "expression.safetensors",
    "detector.onnx",
)
LICENCES = {"detector.onnx": "BSD-3-Clause"}


def publish(
    checkpoint: Path,
    assets: Path,
    weights: Path,
    version: str,
    created: str,
    training: dict[str, Any],
    keep: float = 0.0,
) -> float:
    """Write the files of `FILES` but the detector, completion.onnx and expression.safetensors, and then manifest.json,
    into `weights`.

    keep: the share that the network that is there already has in the parameters. A short training lies in the same
    valley as what it began with, and the mean of both is often better on other data than either (Wortsman et al.,
    "Robust fine-tuning of zero-shot models", CVPR 2022).

    The averaged parameters are rounded to fp16 first, so that torch and ONNX run the same numbers; both
    compute in float32, or round alike. Returns how far the two differ on random crops, see `parity`; raises
    RuntimeError above `PARITY`, in eight bits above `ROUGH_PARITY`.
    """
    weights.mkdir(parents=True, exist_ok=True)
    network, config, progress = averaged(checkpoint)
    if keep:
        mix(network, load_file(weights / "network.safetensors"), keep)
    halves = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    save_file(halves, weights / "network.safetensors", {"config": json.dumps(asdict(config))})
    network.load_state_dict({name: tensor.float() for name, tensor in halves.items()})
    (weights / "network.onnx").write_bytes(to_onnx(config))
    difference = parity(
        network, (weights / "network.onnx").read_bytes(), (weights / "network.safetensors").read_bytes()
    )
    allowed = ROUGH_PARITY if config.eight_bits else PARITY
    if not difference <= allowed:  # nor is it where it is not a number
        raise RuntimeError(f"torch and onnxruntime differ by {difference:.2g}, more than {allowed}")
    write_geometry(assets, weights)
    manifest = {
        "version": version,
        "created": created,
        "files": _described(weights),
        "config": asdict(config),
        "training": {**progress, **training, "kept": keep, "onnx_parity": difference},
    }
    _replace_manifest(weights, manifest)
    sys.stderr.write(f"{weights}: version {version}, parity {difference:.2g}\n")
    return difference


def mix(network: FaceNetwork, others: dict[str, torch.Tensor], share: float) -> None:
    """Move parameters towards others' by this share, in place. A block that the others lack is one that says nothing;
    channels and ranges that they lack stay. Raises RuntimeError where they do not fit."""
    other = copy.deepcopy(network)
    with torch.no_grad():
        for block in other.modules():
            if isinstance(block, Block):
                for parameter in block.second.parameters():
                    parameter.zero_()
    try:
        begin_with(other, others)
    except RuntimeError as error:
        raise RuntimeError(f"nothing of the network that is there can be kept: {error}") from error
    state = network.state_dict()
    for name, tensor in other.state_dict().items():
        state[name].lerp_(tensor, share)


def publish_geometry(assets: Path, weights: Path) -> None:
    """Write anew what is learned from geometry alone, beside a network that stays."""
    write_geometry(assets, weights)
    _describe_anew(weights)


def publish_completion(assets: Path, weights: Path, steps: int) -> None:
    """Train completion.onnx anew, for the modes that are there."""
    modes = load_geometry(load_weights(weights))
    network = train(HeadModel.load(assets / "head_model"), modes, steps)[0]
    (weights / "completion.onnx").write_bytes(completer_to_onnx(network))
    _describe_anew(weights)


def publish_expression(weights: Path, shards: Path, heads: int) -> Accuracy:
    """Fit expression.safetensors anew, for the network and the modes that are there."""
    packaged = load_weights(weights)
    model = load_geometry(packaged)
    looks = seen(shards, packaged, heads)
    regressor, accuracy = fit(
        model, load_shapes(packaged, model), places(load_template(packaged), model), looks
    )
    (weights / "expression.safetensors").write_bytes(expression_to_file(regressor, model))
    _describe_anew(weights)
    return accuracy


def write_geometry(assets: Path, weights: Path) -> None:
    """template.safetensors, completion.safetensors and blendshapes.safetensors."""
    model = HeadModel.load(assets / "head_model")
    save_template(model, weights / "template.safetensors")
    face_model = learn(model)
    face_model = replace(face_model, modes=_as_they_are(face_model.modes, weights / "completion.safetensors"))
    save_completion(face_model, weights / "completion.safetensors")
    save_blendshapes(learn_blendshapes(model.expression_names), weights / "blendshapes.safetensors")
    stored = load_numpy((weights / "completion.safetensors").read_bytes())["modes"]
    if trained_for((weights / "completion.onnx").read_bytes()) != fingerprint(stored):
        sys.stderr.write(f"{weights}/completion.onnx is for other modes: run fit-completion\n")
    if expression_trained_for((weights / "expression.safetensors").read_bytes()) != fingerprint(stored):
        sys.stderr.write(f"{weights}/expression.safetensors is for other modes: run fit-blendshapes\n")


def _as_they_are(modes: Float[np.ndarray, "k m m 3"], path: Path) -> Float[np.ndarray, "k m m 3"]:
    """The modes of a completion.safetensors where they differ from these in no more than the last bits, which depend
    on who computes them: completion.onnx was trained for its very bytes. Else these."""
    try:
        stored = load_numpy(path.read_bytes())["modes"].astype(np.float32)
    except (OSError, SafetensorError, KeyError):
        return modes
    alike = stored.shape == modes.shape and np.allclose(stored, modes, rtol=2e-3, atol=1e-3)
    return stored if alike else modes


def _describe_anew(weights: Path) -> None:
    manifest = json.loads((weights / "manifest.json").read_text())
    _replace_manifest(weights, manifest | {"files": _described(weights)})


def _described(weights: Path) -> dict[str, dict[str, Any]]:
    """The manifest's entry of each file."""
    files = {}
    for name in FILES:
        data = (weights / name).read_bytes()
        licence = LICENCES.get(name, "Apache-2.0")
        files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "licence": licence}
    return files


def _replace_manifest(weights: Path, manifest: dict[str, Any]) -> None:
    for name in FILES:
        (weights / name).chmod(0o644)  # safetensors writes for the owner alone
    temporary = weights / "manifest.tmp"
    temporary.write_text(json.dumps(manifest, indent=1) + "\n")
    temporary.replace(weights / "manifest.json")


def averaged(checkpoint: Path) -> tuple[FaceNetwork, ModelConfig, dict[str, Any]]:
    """The network with the averaged parameters of a checkpoint, its config, and how far training came."""
    with safe_open(checkpoint, "pt") as file:
        metadata = file.metadata()
        tensors = {key[8:]: file.get_tensor(key) for key in file.keys() if key.startswith("average.")}
    config = ModelConfig.of(json.loads(metadata["config"]))
    network = FaceNetwork(config).eval()
    network.load_state_dict(tensors)
    return (
        network,
        config,
        {"recipe": json.loads(metadata["recipe"]), "progress": json.loads(metadata["progress"])},
    )


def to_onnx(config: ModelConfig) -> bytes:
    """The network as ONNX with a free batch size; weights stored as fp16, cast to float32 on loading."""
    network = FaceNetwork(config).eval()
    for tensor in network.state_dict().values():
        torch.nn.init.normal_(tensor)  # the exporter would merge equal ones, such as biases of zero
    example = torch.rand(2, 3, 512, 512)
    model = exported(
        network,
        (example,),
        input_names=[INPUT],
        output_names=list(Prediction._fields),
        dynamic_shapes={"image": {0: torch.export.Dim("n")}},
    )
    names = set(network.state_dict())
    store_as_halves(model, names, dict.fromkeys(names, "network.safetensors"))
    data: bytes = model.SerializeToString()
    return data


def parity(network: FaceNetwork, graph: bytes, tensors: bytes) -> float:
    """How far torch and onnxruntime differ on random crops, one and three at a time: the mean absolute difference of
    an output over its standard deviation, of that output for which it is largest."""
    session = cpu_session(graph, tensors=load_numpy(tensors))
    found: list[float] = []
    for count in (1, 3):
        image = torch.rand(count, 3, 512, 512, generator=torch.Generator().manual_seed(count)) - 0.5
        with torch.inference_mode():
            ours = [output.numpy() for output in network(image)]
        theirs = session.run(list(Prediction._fields), {INPUT: image.numpy()})
        found += [float(np.abs(a - b).mean() / a.std()) for a, b in zip(ours, theirs, strict=True)]
    return float(np.max(found))


def save_template(model: HeadModel, path: Path) -> None:
    """The mean head's 68 landmarks, MediaPipe's 468 points and the points that frame a crop, mm, head frame."""
    attached = calibrated(model)
    save_numpy(
        {
            "landmarks68": landmarks68(model, attached).astype(np.float32),
            "landmarks468": on_surface(model, attached).astype(np.float32),
            "face_points": face_box_points(model.neutral).astype(np.float32),
        },
        path,
    )
