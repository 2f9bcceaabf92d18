"""Tongues of a batch of heads, posed and coloured: `facecli.train.tongue` in tensors."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from facecli.train import tongue as one
from facecli.train.tensor.dice import Dice
from facecli.train.tensor.filters import blur, repeating
from facecli.train.tensor.fusion import fused
from facecli.train.tensor.raster import interpolate
from facecli.train.tensor.resident import numbers
from facecli.train.tongue import (
    COATED,
    LIP_TO_CHIN,
    LOWER_INCISOR,
    PINK,
    STEP,
    THICK,
    TIP,
    UPPER_INCISOR,
)

STUCK_OUT = 0.05
"""Share of heads with the tongue out."""
OUTSIDE, ALONG = 64, 384
"""Points of a course past the lip before it is spaced evenly, and the most that it has then."""
SMOOTH = 2.5 / STEP
_PINK, _COATED = tuple(PINK.tolist()), tuple(COATED.tolist())


@dataclass(frozen=True)
class Lick:
    """What is random of the tongues' looks. lip: the station from which on a tongue lies before the lip, infinite for
    those in the mouth; grain: noise of papillae; coated, coat_at: how much, and around which template z, mm; tone,
    paste: linear albedo of the tongue and of its coat; wet: gloss; dim: of the light in the mouth."""

    lip: Float[Tensor, "n"]
    grain: Float[Tensor, "n g g"]
    coated: Float[Tensor, "n"]
    coat_at: Float[Tensor, "n"]
    tone: Float[Tensor, "n 3"]
    paste: Float[Tensor, "n 3"]
    wet: Float[Tensor, "n"]
    dim: Float[Tensor, "n"]


@dataclass(frozen=True)
class Surface:
    """What `paint` changes where the tongue is: albedo, gloss, occlusion and relief; and where it is before the lip."""

    colour: Float[Tensor, "n s s 3"]
    gloss: Float[Tensor, "n s s"]
    occlusion: Float[Tensor, "n s s"]
    height: Float[Tensor, "n s s"]
    out: Bool[Tensor, "n s s"]


class Tongue:
    """The tongue of one head model on a device."""

    def __init__(self, tongue: one.Tongue, device: torch.device) -> None:
        def there(array: np.ndarray) -> Tensor:
            return torch.tensor(array, device=device)

        self.names = tongue.model.expression_names
        self.faces, self.drawn = there(tongue.model.faces).long(), there(tongue.drawn)
        self.vertices, self.root = there(tongue.vertices).long(), there(tongue.root).long()
        self.free, self.station = there(tongue.free).float(), there(tongue.station)
        self.profile = there(np.array(LIP_TO_CHIN))
        self.closing = there(np.array([name.startswith(one.CLOSING) for name in self.names]))
        self.jaw = there(np.array([name == "jawOpen" for name in self.names]))

    def parted(self, dice: Dice, beta: Float[Tensor, "n e"], out: Bool[Tensor, "n"]) -> Float[Tensor, "n e"]:
        """Expressions of those with the tongue out: lips and teeth far enough apart."""
        wide = torch.where(self.jaw, dice.uniform(0.25, 0.8)[:, None], 0)
        return torch.where(out[:, None], torch.maximum(torch.where(self.closing, 0, beta), wide), beta)

    @fused
    def moved(
        self, dice: Dice, vertices: Float[Tensor, "n v 3"], out: Bool[Tensor, "n"]
    ) -> tuple[Float[Tensor, "n v 3"], Float[Tensor, "n"]]:
        """Heads (mm, head frame) with the tongue raised, lowered or drawn back a little, or stuck `out`; and the
        station from which on it lies before the lip."""
        own, root = vertices[:, self.vertices], vertices[:, self.root].mean(1)
        forward = vertices[:, TIP] - root
        length = forward.norm(dim=1, keepdim=True)
        forward = forward / length
        offset = own - root[:, None]
        share = (offset * forward[:, None]).sum(-1) / length
        upward = _above(forward)
        height = (offset * upward[:, None]).sum(-1)
        aside = offset[..., 0] - forward[:, :1] * length * share
        apart = vertices[:, UPPER_INCISOR, 1] - vertices[:, LOWER_INCISOR, 1]

        lift, back = dice.uniform(-0.15, 0.6) * apart.clamp(0, 14), dice.uniform(0, 8)
        s = share.clamp(0, 1)[..., None]
        f, u, lift, back = forward[:, None], upward[:, None], lift[:, None, None], back[:, None, None]
        within = root[:, None] + f * (s * length[..., None] - back * s**2) + u * lift * s**2
        heading = f * (length[..., None] - 2 * back * s) + u * 2 * lift * s

        thick = torch.minimum((apart - 1).clamp(min=4), dice.uniform(7, 10))
        course, total, crossing = self._course(dice, vertices, root, thick / 2)
        begin = dice.uniform(6, 14)
        lip = (crossing - begin) / (total - begin)
        early = (share / 0.45).clamp(0, 1)
        far = begin[:, None] + torch.where(share > 0, share * (total - begin)[:, None], share * length)
        outside, heading_out = _on(course, torch.minimum(far.clamp(min=0), total[:, None] - 1e-3))
        flat = 1 + (thick / THICK - 1)[:, None] * early
        narrow = 1 + (dice.uniform(0.75, 1.1) - 1)[:, None] * early

        stuck = out[:, None]
        place = torch.where(stuck[..., None], outside, within)
        way = torch.where(stuck[..., None], heading_out, heading)
        height, aside = torch.where(stuck, height * flat, height), torch.where(stuck, aside * narrow, aside)
        place = place + _above(way / way.norm(dim=-1, keepdim=True)) * height[..., None]
        place = place + aside[..., None] * numbers(place.device, 1, 0, 0)
        moved = vertices.clone()
        moved[:, self.vertices] += (place - own) * self.free
        return moved, torch.where(out, lip, torch.inf)

    def _course(
        self,
        dice: Dice,
        vertices: Float[Tensor, "n v 3"],
        root: Float[Tensor, "n 3"],
        half: Float[Tensor, "n"],
    ) -> tuple[Float[Tensor, "n p 3"], Float[Tensor, "n"], Float[Tensor, "n"]]:
        """Points every `STEP` mm from the root between the teeth, over the lower lip and down, clear of both by `half`
        mm; how long that is, and how long up to the lip, mm."""
        profile = vertices[:, self.profile]
        (tangent,) = torch.gradient(profile, dim=1)
        outward = torch.stack([torch.zeros_like(tangent[..., 0]), tangent[..., 2], -tangent[..., 1]], -1)
        outward = outward / outward.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        draped = profile + outward * (half + 0.5)[:, None, None]
        tooth = vertices[:, LOWER_INCISOR]
        gate = torch.stack([root[:, 0], tooth[:, 1] + half + 0.7, tooth[:, 2]], 1)
        length = dice.uniform(8, 38)[:, None]
        share = torch.linspace(0, 1, OUTSIDE, device=root.device)
        outside, _ = _on(*_measured(draped, STEP + share * (length - 2 * STEP)))
        away = torch.stack([dice.normal(0, 0.12), dice.uniform(0, 0.5), dice.uniform(0, 0.6)], 1)
        outside = outside + away[:, None] * (length * share**1.4)[..., None]
        inner = torch.stack([root, gate], 1)
        crossing = _lengths(torch.cat([inner, draped[:, :1]], 1))[:, -1] + STEP
        even, _ = _spaced(torch.cat([inner, outside], 1))
        n = len(even)
        ends = even.transpose(1, 2).reshape(3 * n, 1, ALONG)
        reach = round(4 * SMOOTH)
        offset = torch.arange(-reach, reach + 1, device=root.device)
        kernel = torch.exp(-(offset**2) / (2 * SMOOTH**2))
        ends = torch.nn.functional.pad(ends, (reach, reach), mode="replicate")
        smooth = torch.nn.functional.conv1d(ends, (kernel / kernel.sum())[None, None])
        course, total = _spaced(smooth.reshape(n, 3, ALONG).transpose(1, 2))
        return course, total, crossing

    @fused
    def lick(self, dice: Dice, lip: Float[Tensor, "n"], noise: Float[Tensor, "n g g"]) -> Lick:
        """Draw lots for the tongues' looks."""
        pink, coat = numbers(dice.device, *_PINK), numbers(dice.device, *_COATED)
        one_, green, blue = (
            torch.ones(dice.n, device=dice.device),
            dice.uniform(0.8, 1.15),
            dice.uniform(0.8, 1.1),
        )
        return Lick(
            lip, noise, dice.uniform(0, 0.7), dice.uniform(25, 50),
            pink * dice.uniform(0.65, 1.25)[:, None] * torch.stack([one_, green, blue], 1),
            coat * dice.uniform(0.8, 1.1)[:, None], dice.uniform(1.0, 3.0), dice.uniform(0.5, 0.95),
        )  # fmt: skip

    def paint(
        self,
        lick: Lick,
        index: Int[Tensor, "n s s"],
        bary: Float[Tensor, "n s s 3"],
        coordinate: Float[Tensor, "n s s 3"],
        unit: Float[Tensor, "n"],
        skin: Surface,
    ) -> Surface:
        """The tongue's albedo, wetness, light and papillae over what was there; unit: pixels of a mm."""
        here = (index >= 0) & self.drawn[index.clamp(min=0)]
        x, y, z = coordinate.unbind(-1)
        grain = repeating(lick.grain, x * 2, z * 2) - 0.5
        top = ((y + 80) / 6).clamp(0, 1)
        groove = torch.exp(-((x / 1.8) ** 2)) * top
        coat_at, coated, wet, dim = (
            a[:, None, None] for a in (lick.coat_at, lick.coated, lick.wet, lick.dim)
        )
        coat = coated * top * torch.exp(-(((z - coat_at) / 18) ** 2) - (x / 15) ** 2) * (0.7 + grain)
        below = (1 - top[..., None]) * numbers(x.device, 0.1, 0.35, 0.2)  # the underside is redder
        tone = lick.tone[:, None, None] * (1 - below)
        tone = tone + (lick.paste[:, None, None] - tone) * coat.clamp(0, 1)[..., None]
        tone = tone * (1 - 0.3 * groove + 0.3 * grain * top)[..., None]
        occlusion = torch.where(here, skin.occlusion * dim, skin.occlusion)
        station = interpolate(self.station[None], self.faces[None], torch.where(here, index, -1), bary)[
            ..., 0
        ]
        lip = lick.lip[:, None, None]
        out = here & (station > lip)
        emerged = out.flatten(1).any(1)[:, None, None]
        light = ((station - torch.where(emerged, lip, 0)) * 6 + 0.4).clamp(0, 1) * here
        widest = 10.0 * len(index[0]) / 256
        near = blur(out.float(), (2.5 * unit).clamp(0.6, widest), widest)
        lit = (occlusion + (0.95 - occlusion) * light) * torch.where(here, 1, 1 - 0.55 * near)
        return Surface(
            torch.where(here[..., None], tone, skin.colour),
            torch.where(here, wet, skin.gloss),
            torch.where(emerged, lit, occlusion),
            torch.where(here, (0.2 * grain - 0.8 * groove) * top, skin.height),
            out,
        )


def _above(forward: Float[Tensor, "*k 3"]) -> Float[Tensor, "*k 3"]:
    """Unit vectors that stand on directions of the tongue, towards its back."""
    upward = torch.stack([torch.zeros_like(forward[..., 0]), forward[..., 2], -forward[..., 1]], -1)
    return upward / upward.norm(dim=-1, keepdim=True).clamp(min=1e-6)


def _lengths(points: Float[Tensor, "n p 3"]) -> Float[Tensor, "n p"]:
    """Of the line through `points` up to each."""
    steps = (points[:, 1:] - points[:, :-1]).norm(dim=-1).cumsum(1)
    return torch.cat([torch.zeros_like(steps[:, :1]), steps], 1)


def _measured(points: Float[Tensor, "n p 3"], far: Float[Tensor, "n q"]) -> tuple[Tensor, Tensor]:
    """`far` along the line, in pieces of it that all count as `STEP`."""
    length = _lengths(points)
    at = torch.searchsorted(length, far.contiguous(), right=True).clamp(1, points.shape[1] - 1)
    low, high = length.gather(1, at - 1), length.gather(1, at)
    share = ((far - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
    return points, (at - 1 + share) * STEP


def _on(course: Float[Tensor, "n p 3"], far: Float[Tensor, "n q"]) -> tuple[Tensor, Tensor]:
    """Places so `far`, mm, along points every `STEP` mm, and the direction there."""
    at = far / STEP
    low = at.floor().long().clamp(0, course.shape[1] - 2)
    a, b = (course.gather(1, k[..., None].expand(-1, -1, 3)) for k in (low, low + 1))
    return a + (b - a) * (at - low)[..., None], b - a


def _spaced(points: Float[Tensor, "n p 3"]) -> tuple[Float[Tensor, "n q 3"], Float[Tensor, "n"]]:
    """The line through `points` at every `STEP` of its length, the last repeated, and that length, mm."""
    far = (torch.arange(ALONG, device=points.device) * STEP).expand(len(points), -1)
    total = _lengths(points)[:, -1]
    return _on(*_measured(points, torch.minimum(far, total[:, None])))[0], total
