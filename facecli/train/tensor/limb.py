"""Hands and microphones before a batch of faces: `facecli.train.limb` in tensors."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from facecli.train.limb import SOFT
from facecli.train.tensor.dice import Dice
from facecli.train.tensor.filters import blur, mirrored, resized
from facecli.train.tensor.resident import numbers


@dataclass(frozen=True)
class Limbs:
    """k rounded limbs of each picture: from where to where, pixels, and how thick at both ends; 0 for those that are
    not."""

    start: Float[Tensor, "n k 2"]
    end: Float[Tensor, "n k 2"]
    thick: Float[Tensor, "n k"]
    thin: Float[Tensor, "n k"]

    def relief(self, size: int) -> tuple[Float[Tensor, "n s s"], Int[Tensor, "n s s"]]:
        """How high the highest limb is at each pixel, 0 where there is none, and which it is."""
        steps = torch.arange(size, device=self.start.device, dtype=torch.float32)
        x, y = steps[None, None, :], steps[None, :, None]
        relief = torch.zeros(len(self.start), size, size, device=steps.device)
        owner = torch.zeros_like(relief, dtype=torch.long)
        for k in range(self.start.shape[1]):
            sx, sy = self.start[:, k, :, None, None].unbind(1)
            wx, wy = (self.end - self.start)[:, k, :, None, None].unbind(1)
            share = (((x - sx) * wx + (y - sy) * wy) / (wx**2 + wy**2).clamp(min=1e-6)).clamp(0, 1)
            off = (x - sx - share * wx) ** 2 + (y - sy - share * wy) ** 2
            thick, thin = (a[:, k, None, None] for a in (self.thick, self.thin))
            height = ((thick + (thin - thick) * share) ** 2 - off).clamp(min=0).sqrt()
            owner = torch.where(height > relief, k, owner)
            relief = torch.maximum(relief, height)
        return relief, owner


def _joined(limbs: list[tuple[Tensor, Tensor, Tensor | float, Tensor | float]]) -> Limbs:
    n = len(limbs[0][0])

    def stacked(values: list[Tensor | float]) -> Float[Tensor, "n k"]:
        device = limbs[0][0].device
        return torch.stack(
            [v if isinstance(v, Tensor) else torch.full((n,), v, device=device) for v in values], 1
        )

    start, end, thick, thin = zip(*limbs, strict=True)
    return Limbs(torch.stack(start, 1), torch.stack(end, 1), stacked(list(thick)), stacked(list(thin)))


def hands(
    dice: Dice, anchor: Float[Tensor, "n 2"], unit: Float[Tensor, "n"]
) -> tuple[Limbs, Float[Tensor, "n k"]]:
    """Hands whose palms or fingers lie about `anchor`, arms first; which limbs are sleeves. unit: pixels of a mm."""
    size = (unit * dice.uniform(0.8, 1.1))[:, None]
    heading = dice.normal(-torch.pi / 2, 0.9)  # arms come from below and from the sides, seldom from above
    along = torch.stack([heading.cos(), heading.sin()], 1)
    side = torch.stack([-along[:, 1], along[:, 0]], 1) * torch.where(dice.chance(0.5), 1.0, -1.0)[:, None]

    def turned(angle: Float[Tensor, "n"]) -> Float[Tensor, "n 2"]:
        return along * angle.cos()[:, None] + side * angle.sin()[:, None]

    wrist = anchor - along * size * dice.uniform(40, 150)[:, None]
    limbs: list[tuple[Tensor, Tensor, Tensor | float, Tensor | float]] = [
        (wrist - along * 220 * size, wrist, 27 * size[:, 0], 23 * size[:, 0])
    ]
    spread = dice.uniform(0.0, 0.16)
    bend = dice.uniform(-0.25, 0.9) * dice.one_of((1.0, -0.3), (2 / 3, 1 / 3))
    curled = dice.uniform(0.35, 1.0)[:, None]
    for k, (length, thick) in enumerate(((72, 9.0), (80, 9.3), (74, 8.8), (58, 7.6))):
        knuckle = wrist + along * size * (92 - 3 * abs(k - 1)) + side * size * (k - 1.5) * 19
        limbs.append((wrist + side * size * (k - 1.5) * 9, knuckle, 15 * size[:, 0], 11.5 * size[:, 0]))
        shown = length * size * curled * dice.uniform(0.85, 1.0)[:, None]
        turn = (k - 1.5) * spread + bend * 0.35
        middle = knuckle + turned(turn) * shown * 0.52
        tip = middle + turned(turn + bend * 0.5) * shown * 0.48
        wide = thick * size[:, 0]
        limbs += [(knuckle, middle, wide * 1.05, wide), (middle, tip, wide, wide * 0.8)]
    root = wrist + along * size * 28 - side * size * 24
    joint = root + turned(dice.uniform(-1.1, -0.2)) * 42 * size
    tip = joint + turned(dice.uniform(-0.7, 0.1)) * 34 * size
    thumb = size[:, 0]
    limbs += [(root, joint, 14 * thumb, 10 * thumb), (joint, tip, 10 * thumb, 7.5 * thumb)]
    sleeve = torch.zeros(dice.n, len(limbs), device=dice.device)
    sleeve[:, 0] = dice.chance(0.5).float()
    return _joined(limbs), sleeve


def microphones(
    dice: Dice, mouth: Float[Tensor, "n 2"], unit: Float[Tensor, "n"]
) -> tuple[Limbs, Float[Tensor, "n"]]:
    """Microphones held or standing before mouths: ball, stick, then the hand's; and the balls' radii."""
    heading = dice.normal(torch.pi / 2, 0.6)
    along = torch.stack([heading.cos(), heading.sin()], 1)
    side = torch.stack([-along[:, 1], along[:, 0]], 1)
    head = mouth + along * (unit * dice.uniform(5, 45))[:, None] + dice.normal(0, 8, 2) * unit[:, None]
    radius = unit * dice.uniform(17, 30)
    long, held = radius[:, None], dice.chance(0.6).float()
    limbs: list[tuple[Tensor, Tensor, Tensor | float, Tensor | float]] = [
        (head, head + along * 0.3 * long, radius, radius * 0.95),
        (head + along * long, head + along * long * 9, radius * 0.62, radius * 0.42),
    ]
    for k in range(4):
        middle = head + along * long * (2.6 + 0.72 * k)
        limbs.append(
            (middle - side * long, middle + side * long * 0.9, radius * 0.42 * held, radius * 0.36 * held)
        )
    limbs.append((head + along * long * 4 - side * long * 1.4, head + along * long * 14 - side * long * 5,
                  radius * 1.5 * held, radius * 1.2 * held))  # fmt: skip
    return _joined(limbs), radius


def grain(noise: Float[Tensor, "n 48 48"], size: int) -> Float[Tensor, "n s s 1"]:
    """Soft grain of skin and cloth, of spread 1, of even noise."""
    return resized((noise - 0.5) * 12**0.5, size, "bicubic")[..., None]


@dataclass(frozen=True)
class Lamp:
    """How limbs are lit: from where (unit vectors, the picture's frame), and how dark what is beside them becomes."""

    towards: Float[Tensor, "n 3"]
    contact: Float[Tensor, "n"]

    @classmethod
    def drawn(cls, dice: Dice) -> "Lamp":
        """Lots."""
        ahead = torch.ones(dice.n, device=dice.device)
        towards = torch.stack([dice.normal(0, 0.6), dice.normal(-0.4, 0.5), ahead], 1)
        return cls(towards / towards.norm(dim=1, keepdim=True), dice.uniform(0.1, 0.5))


def paint(
    image: Float[Tensor, "n s s 3"],
    region: Bool[Tensor, "n s s"],
    relief: Float[Tensor, "n s s"],
    colour: Float[Tensor, "n s s 3"],
    there: Bool[Tensor, "n"],
    lamp: Lamp,
) -> tuple[Float[Tensor, "n s s 3"], Bool[Tensor, "n s s"]]:
    """Image and region with limbs over them where there are any, lit as round things are."""
    size = relief.shape[1]
    relief = relief * there[:, None, None]
    cover = (relief > 0).float()
    smooth = mirrored(mirrored(blur(relief, SOFT * size / 256 / 2), 1, -1), 1, -2)[:, None]
    slope = numbers(relief.device, -1, 0, 1, -2, 0, 2, -1, 0, 1).reshape(1, 1, 3, 3) / 8
    across, down = (functional.conv2d(smooth, kernel)[:, 0] for kernel in (slope, slope.transpose(2, 3)))
    normal = torch.stack([-across, -down, torch.ones_like(down)], -1)
    facing = (normal * lamp.towards[:, None, None]).sum(-1) / normal.norm(dim=-1)
    shade = 0.45 + 0.7 * facing.clamp(0, 1)
    soft, near = blur(cover, 0.6 * size / 256)[..., None], blur(cover, size / 50)[..., None]
    image = image * (1 - lamp.contact[:, None, None, None] * near)
    image = image + (colour * shade[..., None] - image) * soft
    return image, region & (soft[..., 0] < 0.5)
