"""What the completion network is trained on: heads that never were as a camera might show them. Geometry alone.

Everything happens on the network's coarse grid. Which cells a camera sees is found for some hundred heads at the fine
grid's resolution, by a depth buffer, and then lent to other heads: it depends far more on the view than on the person.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from facecli.complete import FaceModel
from facecli.completion import CELLS
from facecli.grid import grid_normals
from facecli.train.completion import on_grid
from facecli.train.headmodel import HeadModel
from facecli.train.sample import euler, lively_expression
from facecli.train.unwrap import GRID, Unwrapped

VIEWS, LOOKS, NOISES = 900, 4000, 300
"""How many patterns of visibility, expressions and fields of noise there are to draw from."""
HELD_BACK = 10
"""Every so many views and expressions are kept for judging."""
POSE_ERROR = (math.radians(1.5), 2.0, 0.015)
"""Standard deviations of how a pose may be off, times 0 to 1.5: radians, mm, share of the size."""
LEAST_NOISE, MOST_NOISE = 0.03, 2.5
"""mm: standard deviations of the errors of a face's points, which neighbours share."""
SEEN_COSINE, BEHIND_MM, DEPTH_PIXEL_MM = 0.12, 5.0, 4.0
"""A cell is seen if it faces the camera and is not so far behind what else is in its pixel of the depth buffer."""


@dataclass(frozen=True, eq=False)
class Glimpse:
    """A batch: what the network is given (see `facecli.completion`), and what it should say."""

    offset: Float[Tensor, "b m m 3"]
    visibility: Float[Tensor, "b m m"]
    confidence: Float[Tensor, "b m m"]
    wanted: Float[Tensor, "b m m 3"]  # the whole face less the mean face, as the erring pose has it, mm
    noise: Float[Tensor, " b"]  # mm


class Glimpses:
    """Draws batches. held_back: of views and expressions that training never sees (identities never repeat)."""

    def __init__(self, model: HeadModel, place: Unwrapped, face_model: FaceModel, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, 1])
        changes = [on_grid(place, change) for change in (*model.identity, *model.expression)]
        neutral = on_grid(place, model.neutral)
        looks = np.stack([lively_expression(rng, model.expression_names) for _ in range(LOOKS)])
        seen = views(rng, neutral, np.stack(changes).astype(np.float32), looks, place)
        self.people = len(model.identity)
        self.basis = torch.from_numpy(
            np.stack([averaged(change, CELLS) for change in changes]).astype(np.float32)
        )
        self.mean = torch.from_numpy(averaged(face_model.mean, CELLS).astype(np.float32))
        self.neutral = torch.from_numpy(averaged(neutral, CELLS).astype(np.float32))
        self.looks, self.seen = torch.from_numpy(looks.astype(np.float32)), torch.from_numpy(seen)
        self.fields = [torch.from_numpy(_noise(rng, sigma)) for sigma in (1.0, 2.5, 6.0)]  # cells

    def batch(self, random: torch.Generator, count: int, held_back: bool = False) -> Glimpse:
        """Random people with random expressions from random views."""

        def uniform(*shape: int) -> Tensor:
            return torch.rand(count, *shape, generator=random)

        def normal(*shape: int) -> Tensor:
            return torch.randn(count, *shape, generator=random)

        def pick(bank: Tensor, split: bool = False) -> Tensor:
            number = torch.randint(len(bank) // HELD_BACK, (count,), generator=random) * HELD_BACK
            other = 0 if held_back or not split else 1
            spread = torch.randint(other, HELD_BACK if other else 1, (count,), generator=random)
            return bank[number + spread] if split else bank[number]

        look = pick(self.looks, split=True) * (uniform(1) > 0.15)
        who = torch.cat([normal(self.people), look], 1)
        face = self.neutral + torch.tensordot(who, self.basis, 1)
        turn, shift, scale = POSE_ERROR
        error = normal(7) * uniform(1) * 1.5
        rotation = (error[:, None, None, :3] * turn).expand_as(face)
        face = face + torch.linalg.cross(rotation, face) + error[:, None, None, 3:6] * shift
        face = face + face * error[:, None, None, 6:] * scale
        wanted = face - self.mean

        visibility = pick(self.seen, split=True)
        visibility = torch.where(uniform(1, 1) < 0.5, visibility, visibility.flip(2))
        visibility = (visibility * (0.5 + uniform(1, 1))).clamp(max=1)
        doubt = (0.75 + 0.35 * pick(self.fields[1])[..., 0]).clamp(0.08, 1)
        confidence = torch.where(uniform(1, 1) < 0.5, doubt, torch.ones(()))
        low, high = math.log(LEAST_NOISE), math.log(MOST_NOISE)
        amount = torch.exp(low + uniform(1, 1, 1) * (high - low))
        mix = uniform(3) + 0.05
        mix = mix / mix.norm(dim=1, keepdim=True)
        noise = sum(
            mix[:, k, None, None, None] * pick(field) * torch.sign(uniform(1, 1, 1) - 0.5)
            for k, field in enumerate(self.fields)
        )
        offset = (
            wanted
            + noise * amount / confidence[..., None]
            + 0.15 * uniform(1, 1, 1) * normal(*wanted.shape[1:])
        )
        # Gross errors: single cells, and patches that belong to something else.
        wrong = (uniform(CELLS, CELLS) < 0.03) & (uniform(1, 1) < 0.3)
        offset = offset + wrong[..., None] * normal(*wanted.shape[1:]) * 12
        patch = (pick(self.fields[1])[..., 1] > 1.6 + uniform(1, 1)) & (uniform(1, 1) < 0.25)
        offset = offset + patch[..., None] * normal(1, 1, 3) * 6
        offset = offset * (visibility > 0)[..., None]
        return Glimpse(offset, visibility, confidence, wanted, amount[:, 0, 0, 0])


def averaged(grid: Float[np.ndarray, "g g *c"], cells: int) -> Float[np.ndarray, "m m *c"]:
    """Means over the cells of a coarser grid."""
    step = len(grid) // cells
    return grid.reshape(cells, step, cells, step, *grid.shape[2:]).mean((1, 3))


def _noise(rng: np.random.Generator, sigma: float) -> Float32[np.ndarray, "n m m 3"]:
    """Smooth fields of standard deviation 1. sigma: cells."""
    fields = np.stack(
        [cv2.GaussianBlur(rng.normal(0, 1, (CELLS, CELLS, 3)), (0, 0), sigma) for _ in range(NOISES)]
    )
    return (fields / fields.std((1, 2, 3), keepdims=True)).astype(np.float32)


def views(
    rng: np.random.Generator,
    neutral: Float[np.ndarray, "g g 3"],
    basis: Float32[np.ndarray, "k g g 3"],
    looks: Float[np.ndarray, "n e"],
    place: Unwrapped,
) -> Float32[np.ndarray, "v m m"]:
    """How densely pixels lie in each cell of heads before a camera: 1 where it is seen whole and head-on."""
    column, row = np.rint(place.cells).astype(int).T
    face = np.zeros((GRID, GRID), bool)
    face[row, column] = True
    face.reshape(-1)[place.bag] = False
    found = []
    for _ in range(VIEWS):
        weights = np.concatenate(
            [rng.normal(0, 1, len(basis) - looks.shape[1]), looks[rng.integers(len(looks))]]
        )
        head = neutral + np.tensordot(weights.astype(np.float32), basis, 1)
        yaw = np.deg2rad(rng.uniform(-95, 95) if rng.random() < 0.7 else rng.normal(0, 25))
        turn = euler(yaw, np.deg2rad(rng.normal(0, 14)), np.deg2rad(rng.normal(0, 8)))
        distance = np.exp(rng.uniform(np.log(300), np.log(2000)))
        placed = head @ turn
        depth = distance - placed[..., 2]
        sight = np.concatenate([-placed[..., :2], depth[..., None]], 2)
        sight /= np.linalg.norm(sight, axis=2, keepdims=True)
        cosine = np.einsum("ijk,ijk->ij", grid_normals(head) @ turn, sight)
        flat = placed[..., :2] / depth[..., None] * distance
        seen = face & (cosine > SEEN_COSINE) & _in_front(flat, depth, place.drawn)
        if rng.random() < 0.6:
            for _ in range(rng.integers(1, 3)):
                seen &= _free(rng, head, flat, seen, face)
        found.append(averaged(np.where(seen, cosine, 0), CELLS))
    return np.stack(found).astype(np.float32)


def _in_front(
    flat: Float[np.ndarray, "g g 2"], depth: Float[np.ndarray, "g g"], drawn: Bool[np.ndarray, "g g"]
) -> Bool[np.ndarray, "g g"]:
    """Cells that nothing of the head hides, by a coarse depth buffer."""
    side = 65
    pixel: Int[np.ndarray, "g g 2"] = np.clip((flat + side * 2) / DEPTH_PIXEL_MM, 0, side - 1).astype(int)
    index = pixel[..., 1] * side + pixel[..., 0]
    nearest = np.full(side * side, np.inf)
    np.minimum.at(nearest, index[drawn], depth[drawn])
    return np.asarray(depth < nearest[index] + BEHIND_MM)


def _free(
    rng: np.random.Generator,
    head: Float[np.ndarray, "g g 3"],
    flat: Float[np.ndarray, "g g 2"],
    seen: Bool[np.ndarray, "g g"],
    face: Bool[np.ndarray, "g g"],
) -> Bool[np.ndarray, "g g"]:
    """Cells that something before the face leaves free: a hand, the photo's edge, a fringe, a mask, spectacles."""
    kind, height = rng.random(), head[..., 1]
    if kind < 0.4:
        centre = flat[seen][rng.integers(seen.sum())] if seen.any() else np.zeros(2)
        reach = np.linalg.norm((flat - centre) / rng.uniform(0.5, 1.5, 2), axis=-1)
        return np.asarray(reach > rng.uniform(8, 45))
    if kind < 0.7:
        angle = rng.uniform(0, 2 * np.pi)
        along = flat @ np.array([np.cos(angle), np.sin(angle)])
        return np.asarray(along < np.quantile(along[face], rng.uniform(0.55, 0.98)))
    if kind < 0.85:
        waves = 10 * np.sin(head[..., 0] / rng.uniform(8, 30) + rng.uniform(0, 6))
        return np.asarray(height < rng.uniform(20, 70) + waves)
    if kind < 0.93:
        return np.asarray(height > rng.uniform(-60, -10))
    return np.asarray(np.abs(height - 5) > rng.uniform(8, 22))
