"""Run the network: onnxruntime on the CPU, torch on CUDA; the device asked for, or an error.

Nothing here prints, and nothing falls back to another device unasked.
"""

import re
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, fields
from functools import reduce
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float32, UInt8

from facecli.errors import DeviceError, WeightsError
from facecli.weights import Weights

UNIT = 100.0  # the network speaks of lengths in 100 mm
LARGEST_BATCH = {"cpu": 4, "cuda": 32}
ROOM = {"cpu": 0, "cuda": 64_000_000}  # pixels of photos whose faces may share a batch; 0: a photo's own only
INPUT = "centred"  # crops as the network reads them: (n, 3, 512, 512), RGB in 0..1 less a half
OUTPUTS = ("region", "coordinate", "depth", "log_variance", "opening", "detail")

# RGB crops -> the arrays named in OUTPUTS, as the network gives them, and the seconds that a GPU worked on them.
Forward: TypeAlias = Callable[[UInt8[np.ndarray, "n 512 512 3"]], tuple[dict[str, np.ndarray], float]]


@dataclass(frozen=True, eq=False)
class Maps:
    """What the network sees in one crop, on grids over the same square (see crop.py)."""

    region: Float32[np.ndarray, "256 256"]  # probability that the pixel is visible face
    coordinate: Float32[np.ndarray, "128 128 3"]  # the template's own point seen here, mm, head frame
    depth: Float32[np.ndarray, "128 128"]  # mm in front of the head centre, along the camera's z axis
    sigma: Float32[np.ndarray, "128 128"]  # standard deviation of depth, mm
    opening: Float32[np.ndarray, "128 128"]  # probability that lids or lips have parted: eye, teeth, gums
    detail: Float32[np.ndarray, "512 512"]  # displacement along the coarse surface's normal, mm

    def mirrored(self) -> "Maps":
        """Those of the crop as a mirror shows it. The template is symmetric, so its x changes sign."""
        turned = {
            field.name: np.ascontiguousarray(getattr(self, field.name)[:, ::-1]) for field in fields(self)
        }
        return Maps(**turned | {"coordinate": turned["coordinate"] * np.array([-1, 1, 1], np.float32)})

    def mean(self, *others: "Maps") -> "Maps":
        """Of several looks at the same crop."""
        looks = (self, *others)
        share = np.float32(1 / len(looks))
        sums = {f.name: reduce(np.add, [getattr(look, f.name) for look in looks]) for f in fields(self)}
        return Maps(**{name: total * share for name, total in sums.items()})


class Network:
    """The trained network on one device.

    device: "auto" (CUDA where torch has it, else the CPU), "cpu", "cuda" or "cuda:N".
    threads: of the CPU, 0 = all cores.

    Raises DeviceError when the device is unknown, absent or out of memory for even one face, and WeightsError
    when the weights are missing or damaged.
    """

    def __init__(self, weights: Weights, device: str = "auto", threads: int = 0) -> None:
        kind, place = _choose(device)
        self.device: str  # the device in words
        self.room = ROOM[kind]
        self.gpu_seconds = 0.0  # in which the GPU ran the network, so far
        self._batch = LARGEST_BATCH[kind]
        self._forward: Forward
        if kind == "cpu":
            self.device = "CPU (onnxruntime)"
            self._forward = _onnx_forward(weights, threads)
        else:
            self._forward = torch_network = _TorchNetwork(weights, place)
            self.device = f"{torch_network.name} ({place}, torch)"

    def run(self, crops: UInt8[np.ndarray, "n 512 512 3"]) -> list[Maps]:
        """The maps of each crop (RGB), in order. Halves the batch when memory runs out, and remembers."""
        maps: list[Maps] = []
        while len(maps) < len(crops):
            chunk = crops[len(maps) : len(maps) + self._batch]
            try:
                outputs, seconds = self._forward(chunk)
            except Exception as error:  # each backend has its own type; only exhausted memory is handled
                if not is_out_of_memory(error):
                    raise
                if len(chunk) == 1:
                    raise DeviceError(
                        f"{self.device} is out of memory for even one face: "
                        "close other programs or choose another --device"
                    ) from error
                self._batch = len(chunk) // 2
                continue
            self.gpu_seconds += seconds
            maps += [_maps(outputs, i) for i in range(len(chunk))]
        return maps


def cpu_session(
    model: bytes,
    threads: int = 0,
    name: str = "model",
    tensors: Mapping[str, np.ndarray] | None = None,
    profile: Path | None = None,
) -> Any:
    """An onnxruntime CPU session that neither prints nor falls back. threads: 0 = all cores.

    tensors: the numbers of a model that is only a graph; each becomes its external initializer `<key>.half`.
    profile: a folder for onnxruntime's record of what runs, node by node as in the file.
    Raises WeightsError when the bytes are no model that onnxruntime can run.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4
    if profile is not None:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_profiling = True
        options.profile_file_prefix = str(profile / "profile")
    if threads > 0:
        options.intra_op_num_threads = threads
    # Detector and network take turns on the same cores: a pool that spins after its turn slows the other.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Threads take work piece by piece: with one piece for each, one that is held up by other programs makes all others
    # wait, and two threads are hardly faster than one.
    options.add_session_config_entry("session.dynamic_block_base", "4")
    try:
        if tensors:
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(tensor) for tensor in tensors.values()]
            options.add_external_initializers([f"{key}.half" for key in tensors], values)
        # enable_fallback=0: otherwise a session that fails to load prints on stdout and tries again.
        return onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:
        raise WeightsError(f"onnxruntime cannot load {name}: {error}; install facecli again") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of numpy, onnxruntime or torch means that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    signs = ("out of memory", "failed to allocate", "bad_alloc", "bad allocation")
    return any(sign in text for sign in signs)


def is_device_fault(error: BaseException) -> bool:
    """Whether CUDA failed, memory apart: from then on it fails in all that this process asks of it."""
    return "cuda error" in str(error).lower() and not is_out_of_memory(error)


def device_named(device: str) -> str:
    """The device as torch calls it, of "auto", "cpu", "cuda" or "cuda:N". Raises DeviceError where it is not there."""
    return _choose(device)[1]


def _choose(device: str) -> tuple[str, str]:
    """The backend, "cpu" or "cuda", and the device as torch calls it."""
    kind, _, number = device.partition(":")
    if not re.fullmatch("auto|cpu|cuda(:[0-9]+)?", device):
        raise DeviceError(f"unknown device {device!r}: choose auto, cpu, cuda or cuda:N")
    if kind == "cpu":
        return "cpu", "cpu"
    try:
        import torch
    except ImportError as error:
        if kind == "auto":
            return "cpu", "cpu"
        raise DeviceError(
            f"device {device} needs PyTorch with CUDA, which is not installed: pip install 'facecli[torch]'"
        ) from error
    if not torch.cuda.is_available():
        if kind == "auto":
            return "cpu", "cpu"
        build = torch.version.cuda
        reason = f"finds no usable GPU (built for CUDA {build})" if build else "was built without CUDA"
        raise DeviceError(
            f"device {device} is not available: PyTorch {torch.__version__} {reason}; "
            "install a CUDA build of torch and an NVIDIA driver, or use --device cpu"
        )
    index, count = int(number or 0), torch.cuda.device_count()
    if index >= count:
        raise DeviceError(
            f"device {device} does not exist: PyTorch sees {count} CUDA device(s), cuda:0 to cuda:{count - 1}"
        )
    return "cuda", f"cuda:{index}"


def _onnx_forward(weights: Weights, threads: int) -> Forward:
    tensors = weights.tensors("network.safetensors")
    session = cpu_session(weights.read("network.onnx"), threads, "network.onnx", tensors)
    have = {place.name for place in (*session.get_inputs(), *session.get_outputs())}
    if missing := [name for name in (INPUT, *OUTPUTS) if name not in have]:
        raise WeightsError(f"network.onnx has no {', '.join(missing)}: the weights are of another version")

    def forward(crops: UInt8[np.ndarray, "n 512 512 3"]) -> tuple[dict[str, np.ndarray], float]:
        images = np.empty((len(crops), 3, *crops.shape[1:3]), np.float32)
        for channel in range(3):
            np.divide(crops[..., channel], np.float32(255), out=images[:, channel])
            images[:, channel] -= np.float32(0.5)
        return dict(zip(OUTPUTS, session.run(list(OUTPUTS), {INPUT: images}), strict=True)), 0.0

    return forward


class _TorchNetwork:
    """The network by torch; "cpu" can stand in for a CUDA device, whose clock is then the wall's.

    Rounded where the CPU's is, and otherwise in float32 like it: ten bits, as in TF32 (torch's default for
    convolutions) or half precision, move the whole face by 0.1 mm and points of it by 2, for a speed that the work
    beside the GPU has no use for.

    Raises WeightsError, and DeviceError when the device has no memory left for the network.
    """

    def __init__(self, weights: Weights, device: str) -> None:
        import torch

        from facecli.model import FaceNetwork, ModelConfig

        self.device, self.on_card = device, device != "cpu"
        self.name: str = torch.cuda.get_device_name(device) if self.on_card else "no GPU"
        tensors = weights.tensors("network.safetensors")
        try:
            network = FaceNetwork(ModelConfig.of(weights.manifest.config)).eval()
            # The file holds halves to be small; the network computes as the ONNX does.
            network.load_state_dict({key: torch.from_numpy(value).float() for key, value in tensors.items()})
        except (TypeError, RuntimeError) as error:
            raise WeightsError(f"network.safetensors does not fit this version's network: {error}") from error
        try:
            self._network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceError(
                f"{self.name} ({device}) has no memory left for the network: "
                "close other programs, use fewer --workers, or choose another --device"
            ) from error

    def __call__(self, crops: UInt8[np.ndarray, "n 512 512 3"]) -> tuple[dict[str, np.ndarray], float]:
        import torch

        with torch.cuda.device(self.device) if self.on_card else nullcontext(), torch.inference_mode():
            # Bytes travel, a quarter of what floats would be, from memory that the card reads by itself. As (n, y, x,
            # colour) they are in the order that its convolutions like best: "channels last".
            host = torch.from_numpy(crops)
            there = (host.pin_memory() if self.on_card else host).to(self.device, non_blocking=True)
            images = there.permute(0, 3, 1, 2).float().div_(255).sub_(0.5)
            began = self._now()
            with _full_precision():
                outputs = self._network(images)
            ended = self._now()
            back = {name: getattr(outputs, name).to("cpu", non_blocking=True) for name in OUTPUTS}
            if self.on_card:
                torch.cuda.current_stream().synchronize()
                seconds = began.elapsed_time(ended) / 1000
            else:
                seconds = ended - began
            return {name: tensor.numpy() for name, tensor in back.items()}, seconds

    def _now(self) -> Any:
        """This moment in what the device does: a CUDA event; of the stand-in, the time."""
        import torch

        if not self.on_card:
            return time.perf_counter()
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event


def _full_precision() -> Any:
    """No TF32 in convolutions while it is entered; everything else of cuDNN as it is."""
    import torch

    now = torch.backends.cudnn
    return now.flags(
        enabled=now.enabled, benchmark=now.benchmark, deterministic=now.deterministic, allow_tf32=False
    )


def _maps(outputs: dict[str, np.ndarray], i: int) -> Maps:
    """Face i of a batch, in the units of Maps."""
    coordinate = np.ascontiguousarray(outputs["coordinate"][i].transpose(1, 2, 0), np.float32)
    deviation = np.exp(0.5 * np.clip(outputs["log_variance"][i, 0].astype(np.float32), -30, 30))
    return Maps(
        region=_probability(outputs["region"][i, 0]),
        coordinate=coordinate * np.float32(UNIT),
        depth=outputs["depth"][i, 0].astype(np.float32) * np.float32(UNIT),
        sigma=deviation * np.float32(UNIT),
        opening=_probability(outputs["opening"][i, 0]),
        detail=outputs["detail"][i, 0].astype(np.float32),
    )


def _probability(logit: np.ndarray) -> np.ndarray:
    """The sigmoid, without overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * logit.astype(np.float32))
