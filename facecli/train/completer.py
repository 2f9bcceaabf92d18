"""The completion network in PyTorch, its training on geometry alone, and its export."""

import math
import sys

import numpy as np
import torch
from jaxtyping import Float, Float32
from onnx import ModelProto
from torch import Tensor, nn

from facecli.complete import FaceModel
from facecli.completion import CELLS, FINGERPRINT, INPUTS, OUTPUT, fingerprint
from facecli.train.glimpses import Glimpse, Glimpses, averaged
from facecli.train.headmodel import HeadModel
from facecli.train.onnx_file import exported, store_as_halves
from facecli.train.unwrap import unwrap

STEPS = (2, 9)
"""Conjugate-gradient steps before and after cells that disagree with the rest are weighed down."""
PATTERNS, CLUSTERING = 8, 12
"""Views that have a preconditioner of their own; every other is a mixture. Rounds of k-means that find them."""
HIDDEN, MENDING = 48, 128
INDEPENDENT = 400.0
"""Neighbouring cells err together: all that are visible weigh like this many points."""
TURN, SHIFT, SCALE = math.radians(1.5), 2.0, 1.5
"""Standard deviations of the motions that the pose may be off by: radians, mm, percent."""
BATCH, RATE, WARMUP = 32, 1.5e-3, 60
SOLVER = ("basis", "strength", "patterns")
"""Begin as what a Gaussian needs, and learn at a third of the rate."""
SEEN_COUNTS = 0.3
"""Of cells that are seen: what is left over is put right there anyway."""


class Completer(nn.Module):
    """Offset, visibility and confidence (see `facecli.completion`) to the whole face less the mean, mm.

    In between are the face model's modes and seven small motions, each of standard deviation 1.
    """

    def __init__(self, face_model: FaceModel) -> None:
        super().__init__()
        coarse = face_model.modes.shape[1]
        size = face_model.mean.shape[0]
        face = np.zeros((size, size), np.float32)
        column, row = np.rint(face_model.cells).astype(int).T
        face[row, column] = 1
        face[face_model.mouth] = 0
        counts = averaged(face, CELLS).reshape(-1)
        mean = face_model.mean.astype(np.float64)
        motions = [_motions(averaged(mean, cells)).astype(np.float32) for cells in (CELLS, coarse)]
        modes = np.ascontiguousarray(face_model.modes.transpose(1, 2, 3, 0))
        rows = np.concatenate([averaged(modes, CELLS), motions[0]], 3).reshape(CELLS**2, 3, -1)
        used = np.flatnonzero(counts > 0)
        unknowns = rows.shape[2]
        self.unknowns, self.coarse = unknowns, coarse
        self.modes: Tensor
        self.rows: Tensor
        self.motions: Tensor
        self.used: Tensor
        self.counts: Tensor
        self.register_buffer("modes", torch.from_numpy(face_model.modes.copy()))
        self.register_buffer("motions", torch.from_numpy(motions[1].reshape(-1, 7).T.copy()))
        self.register_buffer("rows", torch.from_numpy(rows[used].reshape(-1, unknowns)))
        self.register_buffer("used", torch.from_numpy(used))
        self.register_buffer("counts", torch.from_numpy(counts[used].copy()))
        self.basis = nn.Parameter(torch.zeros(unknowns, PATTERNS * unknowns))
        self.strength = nn.Parameter(torch.zeros(PATTERNS, unknowns))  # logarithms
        self.patterns = nn.Parameter(torch.zeros(PATTERNS, (CELLS // 2) ** 2))
        self.sharpness = nn.Parameter(torch.tensor(40.0))
        self.look, self.choose = nn.Linear((CELLS // 2) ** 2, HIDDEN), nn.Linear(HIDDEN, PATTERNS)
        self.listen, self.doubt = nn.Linear((CELLS // 2) ** 2 + 3, 32), nn.Linear(32, len(STEPS))
        self.tolerance = nn.Parameter(torch.log(torch.tensor([50.0, 4.0])))  # mm, logarithms
        self.rarity, self.usual = nn.Parameter(torch.zeros(unknowns)), nn.Parameter(torch.zeros(unknowns))
        self.sureness, self.enough = (
            nn.Parameter(torch.tensor(2.0)),
            nn.Parameter(torch.tensor(math.log(0.15))),
        )
        self.mend, self.mended = nn.Linear(unknowns + HIDDEN, MENDING), nn.Linear(MENDING, unknowns)
        for quiet in (self.choose, self.doubt, self.mended):
            nn.init.zeros_(quiet.weight)
            nn.init.zeros_(quiet.bias)

    def begin(self, seen: Float32[np.ndarray, "v m m"]) -> None:
        """Preconditioners for views like these: what a Gaussian's normal equations are there."""
        both = np.concatenate([seen, seen[:, :, ::-1]]).reshape(2 * len(seen), -1)
        weight = both / (both + math.exp(float(self.enough.detach())))
        weight = weight / (weight.sum(1, keepdims=True) + 1) * INDEPENDENT
        centres = _clusters(np.sqrt(weight), PATTERNS) ** 2
        rows = self.rows.numpy().astype(np.float64).reshape(len(self.used), 3, -1)
        bases, strengths = [], []
        for centre in centres:
            heavy = rows * np.sqrt(centre[self.used.numpy()])[:, None, None]
            heavy = heavy.reshape(-1, self.unknowns)
            strength, basis = np.linalg.eigh(heavy.T @ heavy)
            bases.append(basis)
            strengths.append(np.log(np.maximum(strength, 1e-2)))
        patterns = averaged(centres.reshape(-1, CELLS, CELLS).transpose(1, 2, 0), CELLS // 2)
        patterns = patterns.reshape(-1, PATTERNS).T
        patterns /= np.linalg.norm(patterns, axis=1, keepdims=True)
        with torch.no_grad():
            self.basis.copy_(torch.from_numpy(np.concatenate(bases, 1)))
            self.strength.copy_(torch.from_numpy(np.stack(strengths)))
            self.patterns.copy_(torch.from_numpy(patterns))

    def forward(
        self,
        offset: Float[Tensor, "b m m 3"],
        visibility: Float[Tensor, "b m m"],
        confidence: Float[Tensor, "b m m"],
    ) -> Float[Tensor, "b k k 3"]:
        found = self.solve(offset, visibility, confidence)
        split = self.unknowns - self.motions.shape[0]
        change = found[:, :split] @ self.modes.reshape(split, -1) + found[:, split:] @ self.motions.reshape(
            -1, 3 * self.coarse**2
        )
        return change.reshape(-1, self.coarse, self.coarse, 3)

    def solve(
        self,
        offset: Float[Tensor, "b m m 3"],
        visibility: Float[Tensor, "b m m"],
        confidence: Float[Tensor, "b m m"],
    ) -> Float[Tensor, "b u"]:
        """Modes and motions."""
        count, act = len(offset), nn.functional.gelu
        weight = visibility / (visibility + self.enough.exp()) * confidence.clamp(min=0.02) ** self.sureness
        total = weight.reshape(count, -1).sum(1, keepdim=True)
        weight = weight / (total[..., None] + 1) * INDEPENDENT
        seen = nn.functional.avg_pool2d(weight[:, None] * 2.5, 2).reshape(count, -1)
        looks = act(self.look(seen))
        likeness = seen / (seen.norm(dim=1, keepdim=True) + 1e-3) @ self.patterns.T
        mixture = (self.sharpness * likeness + self.choose(looks)).softmax(-1)[..., None]
        weight = weight.reshape(count, -1).index_select(1, self.used)
        known = offset.reshape(count, -1, 3).index_select(1, self.used).reshape(count, -1)
        strength, rarity = self.strength.exp(), self.rarity.exp()
        mass = weight.sum(1, keepdim=True) + 1e-3
        found = self.usual.expand(count, -1)
        for stage, steps in enumerate(STEPS):
            error = known - found @ self.rows.T
            square = error.reshape(count, -1, 3).square().sum(2)
            loudness = [
                0.5 * torch.log((weight * square).sum(1, keepdim=True) / mass + 1e-2),
                torch.log((weight * torch.sqrt(square + 1e-4)).sum(1, keepdim=True) / mass + 0.05),
                torch.log(total + 0.1),
            ]
            noise = self.doubt(act(self.listen(torch.cat([seen, *loudness], 1))))[:, stage : stage + 1]
            variance = torch.exp(2 * noise.clamp(-3, 3))
            robust = weight * torch.rsqrt(1 + square / self.tolerance[stage].exp() ** 2)
            heavy = robust[:, :, None].expand(-1, -1, 3).reshape(count, -1)
            slope = (heavy * error) @ self.rows - variance * rarity * (found - self.usual)
            eased = self._ease(slope, strength + variance[..., None], mixture)
            step, descent = eased, (slope * eased).sum(1, keepdim=True)
            for left in reversed(range(steps)):
                bent = (heavy * (step @ self.rows.T)) @ self.rows + variance * rarity * step
                length = descent / ((step * bent).sum(1, keepdim=True) + 1e-9)
                found = found + length * step
                if left:
                    slope = slope - length * bent
                    eased = self._ease(slope, strength + variance[..., None], mixture)
                    before, descent = descent, (slope * eased).sum(1, keepdim=True)
                    step = eased + descent / (before + 1e-9) * step
        return found + self.mended(act(self.mend(torch.cat([found, looks], 1))))

    def _ease(
        self, slope: Float[Tensor, "b u"], strength: Float[Tensor, "b p u"], mixture: Float[Tensor, "b p 1"]
    ) -> Float[Tensor, "b u"]:
        """The preconditioner: roughly what solves the normal equations."""
        inner = (slope @ self.basis).reshape(-1, PATTERNS, self.unknowns) / strength * mixture
        return inner.reshape(-1, PATTERNS * self.unknowns) @ self.basis.T

    def errors(self, glimpse: Glimpse) -> Float[Tensor, " b"]:
        """Mean distance from the truth, mm; what is hidden counts more."""
        found = self.solve(glimpse.offset, glimpse.visibility, glimpse.confidence)
        wanted = glimpse.wanted.reshape(len(found), -1, 3)[:, self.used]
        off = (found @ self.rows.T).reshape(wanted.shape) - wanted
        seen = glimpse.visibility.reshape(len(found), -1)[:, self.used]
        counts = self.counts * (1 - (1 - SEEN_COUNTS) * seen)
        distance = torch.sqrt(off.square().sum(2) + 0.05)
        return (distance * counts).sum(1) / counts.sum(1)


def _motions(points: Float[np.ndarray, "m m 3"]) -> Float[np.ndarray, "m m 3 7"]:
    """How points move when the head turns about x, y and z, is shifted along them, and grows."""
    x, y, z = np.moveaxis(points, -1, 0)
    rows = np.zeros((*points.shape, 7))
    rows[..., 0, 1], rows[..., 0, 2] = z, -y
    rows[..., 1, 0], rows[..., 1, 2] = -z, x
    rows[..., 2, 0], rows[..., 2, 1] = y, -x
    rows[..., :3] *= TURN
    rows[..., [0, 1, 2], [3, 4, 5]] = SHIFT
    rows[..., 6] = points / 100 * SCALE
    return rows


def _clusters(points: Float[np.ndarray, "n d"], count: int) -> Float[np.ndarray, "k d"]:
    """Centres of k-means."""
    random = np.random.default_rng(0)
    centres = points[random.choice(len(points), count, replace=False)]
    for _ in range(CLUSTERING):
        nearest = (np.square(centres).sum(1) - 2 * points @ centres.T).argmin(1)
        centres = np.stack(
            [points[nearest == k].mean(0) if (nearest == k).any() else centres[k] for k in range(count)]
        )
    return centres


def train(
    model: HeadModel, face_model: FaceModel, steps: int, seed: int = 0, threads: int = 1
) -> tuple[Completer, Glimpses]:
    """A trained network, rounded to halves, and what it was trained on. Tells the loss on stderr."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    glimpses = Glimpses(model, unwrap(model), face_model, seed)
    network = Completer(face_model)
    network.begin(glimpses.seen.numpy())
    slow = [parameter for name, parameter in network.named_parameters() if name in SOLVER]
    fast = [parameter for name, parameter in network.named_parameters() if name not in SOLVER]
    groups: list[dict[str, object]] = [{"params": slow, "share": 1 / 3}, {"params": fast, "share": 1.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, weight_decay=1e-4, betas=(0.9, 0.99))
    random = torch.Generator().manual_seed(seed)
    losses = []
    for step in range(steps):
        rate = RATE * min(1, (step + 1) / WARMUP) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]
        loss = network.errors(glimpses.batch(random, BATCH)).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 100 == 0 or step + 1 == steps:
            sys.stderr.write(f"{step + 1} of {steps}: {np.mean(losses[-100:]):.3f} mm\n")
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())
    return network.eval(), glimpses


def to_onnx(network: Completer) -> bytes:
    """The network for one face; numbers as halves, cast on loading, the modes left to completion.safetensors."""
    # Each its own: the exporter takes one tensor given twice for one input.
    example = (torch.zeros(1, CELLS, CELLS, 3), torch.zeros(1, CELLS, CELLS), torch.zeros(1, CELLS, CELLS))
    model = exported(network, example, input_names=list(INPUTS), output_names=[OUTPUT])
    store_as_halves(model, set(network.state_dict()), {"modes": "completion.safetensors"})
    model.ClearField("metadata_props")
    model.metadata_props.add(key=FINGERPRINT, value=fingerprint(network.modes.numpy()))
    data: bytes = model.SerializeToString()
    return data


def trained_for(network: bytes) -> str:
    """The fingerprint of the modes that a completion.onnx speaks in."""
    model = ModelProto.FromString(network)
    return next((entry.value for entry in model.metadata_props if entry.key == FINGERPRINT), "")
