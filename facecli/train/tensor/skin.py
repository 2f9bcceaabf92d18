"""Skins of a batch of heads: albedos of the pool with moles, and relief that follows the expression, in texture space.

The distributions are those of `facecli.train.relief` and `Synthesizer._albedo`; what those draw line by line is drawn
here for all heads at once.
"""

import warnings

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from facecli.train.crease import Creases
from facecli.train.headmodel import HeadModel
from facecli.train.lift import TEXTURE, texture_of
from facecli.train.pool import Pool
from facecli.train.relief import _CREASING, CANVAS, CANVAS_MM, DEEPEST
from facecli.train.synth import WELL_SEEN
from facecli.train.tensor.crease import Splitter
from facecli.train.tensor.dice import Dice
from facecli.train.tensor.filters import between, blur, halved, resized
from facecli.train.tensor.fusion import fused
from facecli.train.tensor.resident import numbers
from facecli.train.tensor.stroke import along, dabs, strokes

NOISE = 1024
"""Side of the noise that all grain is cut out of; it repeats."""
MOLES, INKS, WRINKLES = 299, 15, 49
"""The most of each that a skin has."""
POINTS, LINE = 33, 16
"""Points of a wrinkle, 4 texels apart, and of a fold."""
WAVY = cv2.GaussianBlur(np.eye(LINE), (1, 9), 2.0).astype(np.float32)


class People:
    """The pool's skins, backgrounds and expressions on a device, or, on the CPU, where they are stored."""

    def __init__(self, pool: Pool, model: HeadModel, device: torch.device) -> None:
        donors = np.flatnonzero(pool.quality > WELL_SEEN)
        self.device, self.donors = device, torch.from_numpy(donors).to(device)
        self.albedos, self.backs, self.crops = (
            _open(array, device) for array in (pool.albedos, pool.backs, pool.crops)
        )
        self.fitted = torch.from_numpy(np.asarray(pool.fits.beta, np.float32)).to(device)
        self.splitter = Splitter(Creases(model), device)
        plane = texture_of(model, model.neutral[:, :2].astype(np.float32))[0]
        self.plane = torch.from_numpy(plane.astype(np.float32)).to(device)
        noise = np.random.default_rng(0).random((NOISE, NOISE), np.float32)
        self._noise, self._wavy = torch.from_numpy(noise).to(device), torch.from_numpy(WAVY).to(device)

    def noise(self, dice: Dice, rows: int, columns: int) -> Float[Tensor, "n rows columns"]:
        """Even noise of 0 to 1, another for every head."""
        top, left = dice.below(NOISE, 2).unbind(1)
        down = (top[:, None] + torch.arange(rows, device=self.device)) % NOISE
        across = (left[:, None] + torch.arange(columns, device=self.device)) % NOISE
        return self._noise[down[:, :, None], across[:, None, :]]

    def skins(
        self, dice: Dice, creased: bool
    ) -> tuple[UInt8[Tensor, "n t t 3"], UInt8[Tensor, "n b b 3"], Float[Tensor, "n t t"] | None]:
        """Each one person's skin, or two people's mixed, with another exposure and tone and moles of its own; of the
        face, and of the back of the head. If `creased`, the face's relief (mm) comes with it, its own or another's, and
        its shading is taken out of the colour."""
        albedo, back = self._toned(dice)
        lifted = None
        if creased:
            own, albedo = self.splitter.split(albedo)
            # another's, the more creased of two: most of the pool is smooth
            first, second = (self.splitter.split(self._toned(dice)[0])[0] for _ in range(2))
            deeper = first.std((1, 2)) > second.std((1, 2))
            others = torch.where(deeper[:, None, None], first, second)
            lifted = torch.where(dice.chance(0.5)[:, None, None], others, own)
        return self._stained(dice, albedo), back, lifted

    @fused
    def _stained(self, dice: Dice, albedo: UInt8[Tensor, "n t t 3"]) -> UInt8[Tensor, "n t t 3"]:
        """With moles, ink, make-up and patches."""
        spots, stain, redness = self._pigment(dice)
        tint = (dice.uniform(0.3, 0.9)[:, None] * numbers(self.device, 0.6, 1.0, 1.0))[:, None, None]
        kept = (1 - spots[..., None] * tint) * (1 - stain[..., None] * redness[:, None, None])
        return (albedo.float() * kept).to(torch.uint8)

    @fused
    def _toned(self, dice: Dice) -> tuple[UInt8[Tensor, "n t t 3"], UInt8[Tensor, "n b b 3"]]:
        """Of the face, and of the back of the head."""
        one, other = self.donors[dice.below(len(self.donors), 2)].unbind(1)
        other = torch.where(dice.chance(0.3), other, one)
        gain = dice.normal(0, 0.25).exp()[:, None] * (1 + dice.normal(0, 0.04, 3))
        both = ((skins[one].float() + skins[other].float()) * 0.5 for skins in (self.albedos, self.backs))
        albedo, back = ((skin * gain[:, None, None]).clamp(0, 250).to(torch.uint8) for skin in both)
        return albedo, back

    def _pigment(
        self, dice: Dice
    ) -> tuple[Float[Tensor, "n t t"], Float[Tensor, "n t t"], Float[Tensor, "n 3"]]:
        """Spots, ink and make-up, 0..1; large soft patches, and how they redden: colour without relief."""
        number = torch.arange(MOLES, device=self.device)
        count = torch.where(dice.chance(0.8), dice.below(25), 50 + dice.below(250))
        strength = dice.uniform(0.1, 0.6, MOLES) * (number < count[:, None])
        at = dice.uniform(0.1, 0.9, MOLES, 2) * TEXTURE
        canvas = dabs(at, dice.uniform(0.6, 3.0, MOLES), strength, TEXTURE, 9)
        count = torch.where(dice.chance(0.15), 1 + dice.below(INKS), 0)
        strength = dice.uniform(0.3, 1, INKS) * (number[:INKS] < count[:, None])
        lines = dice.uniform(0.2, 0.8, INKS, 1, 2) * TEXTURE + dice.normal(0, 11, INKS, 6, 2).cumsum(2)
        points, _ = along(lines, 32)
        wide = ((1 + dice.below(3, INKS)) / 2)[..., None].expand(points.shape[:3])
        strong = strength[..., None].expand(points.shape[:3])
        ink = dabs(points.flatten(1, 2), wide.flatten(1), strong.flatten(1), TEXTURE, 5)
        patch = resized(dice.random(6, 6), TEXTURE, "bicubic") * dice.chance(0.4)[:, None, None]
        redness = dice.uniform(0, 0.3)[:, None] * dice.random(3)
        return blur(torch.maximum(canvas, ink), 0.8), patch, redness

    @fused
    def relief(
        self,
        dice: Dice,
        beta: Float[Tensor, "n e"],
        names: tuple[str, ...],
        lifted: Float[Tensor, "n t t"] | None,
    ) -> Float[Tensor, "n t t"]:
        """Relief of random skins, mm; often nearly smooth, sometimes old, the deeper where the expression folds it;
        `lifted`: portraits' own relief, mm, of which they have more or less."""
        age = dice.beta(1.0, 1.6)
        out, creases = self._pores(dice), strongest(beta, names)
        if lifted is not None:
            strength = dice.normal(-0.1, 0.5).exp().clamp(0.2, 2.5) * dice.chance(0.9)
            out += lifted * strength[:, None, None] * moved(self.plane, creases)
        deep = dice.uniform(0.1, 0.5) * (0.4 + age) * dice.chance(0.4)
        out += self._wrinkles(dice, 2 + dice.below((8 + 40 * age).long()), deep)
        deep = dice.uniform(0.1, 0.8) * (0.3 + age) * dice.chance(0.8)
        return (out + self._folds(dice, deep, creases)).clamp(-DEEPEST, DEEPEST)

    def _pores(self, dice: Dice) -> Float[Tensor, "n t t"]:
        """Irregular fine grain of about a millimetre, uneven over the face."""
        grain = blur(self.noise(dice, TEXTURE, TEXTURE), dice.uniform(0.8, 1.6), 1.6)
        spread, level = torch.std_mean(grain, (1, 2), correction=0, keepdim=True)
        patches = resized(dice.random(9, 9), TEXTURE, "bicubic")
        depth = dice.uniform(0.0, 0.06)[:, None, None]
        return ((grain - level) / (spread + 1e-6)).clamp(max=0.6) * depth * patches

    def _wrinkles(
        self, dice: Dice, count: Float[Tensor, "n"] | Tensor, depth: Float[Tensor, "n"]
    ) -> Float[Tensor, "n t t"]:
        """Smooth folded lines at random places and directions."""
        start = dice.uniform(0.12, 0.88, WRINKLES, 1, 2) * TEXTURE
        level = torch.pi * dice.below(2, WRINKLES) + dice.normal(0, 0.5, WRINKLES)
        angle = torch.where(dice.chance(0.6, WRINKLES), level, dice.uniform(0, 2 * torch.pi, WRINKLES))
        steps = torch.arange(POINTS, device=self.device) * 4.0
        bend = dice.normal(0, 0.012, WRINKLES)[..., None] * steps
        heading = angle[..., None] + bend + dice.normal(0, 0.08, WRINKLES, POINTS).cumsum(2) * 0.5
        drawn = steps < dice.uniform(20, 130, WRINKLES)[..., None]
        move = torch.stack([heading.cos(), heading.sin()], -1) * 4 * drawn[..., None]
        strength = dice.uniform(0.4, 1, WRINKLES)
        strength = strength * (torch.arange(WRINKLES, device=self.device) < count[:, None])
        lines = strokes(start + move.cumsum(2), strength, TEXTURE, 8)
        width = dice.uniform(1.2, 3.0)
        return creased(lines, width, 2.2 * depth * width, 3.0)

    def _folds(
        self, dice: Dice, depth: Float[Tensor, "n"], creases: Float[Tensor, "n 4"]
    ) -> Float[Tensor, "n t t"]:
        """The lines that faces share; `creases` of forehead, between the brows, at the eyes, on the cheeks."""
        forehead, frown, eyes, cheeks = creases.unbind(1)
        t = torch.linspace(0, 1, LINE, device=self.device)
        curves, strengths = [], []

        def draw(x: Tensor, y: Tensor, strength: Tensor) -> None:
            """Of k curves: x and y (n k points), strength (n k)."""
            noise = self._wavy @ dice.normal(0, 4.0, x.shape[1], LINE, 2)
            curves.append(torch.stack(torch.broadcast_tensors(x, y), -1) + noise)
            strengths.append(strength)

        def there(share: float, crease: Tensor) -> Tensor:
            return dice.chance(share + (1 - share) * 0.8 * crease)[:, None]

        def first(count: Tensor, most: int) -> Tensor:
            return torch.arange(most, device=self.device) < count[:, None]

        def each(low: float, high: float, many: int) -> Tensor:
            return dice.uniform(low, high, many)[..., None]

        height = (dice.uniform(6, 11, 5).cumsum(1) + dice.uniform(22, 34, 5))[..., None]
        x = (t * 2 - 1) * each(15, 48, 5) + dice.normal(0, 6, 5)[..., None]
        seen = there(0.6, forehead) & first(1 + dice.below(5), 5)
        draw(x, height + dice.normal(0, 3, 5)[..., None] * torch.cos(x / 14),
             seen * dice.uniform(0.3, 1, 5) * (1 + forehead[:, None]))  # fmt: skip
        for side in (-1, 1):
            draw(side * (each(4, 9, 1) + 3 * t), each(8, 14, 1) + each(8, 20, 1) * t,
                 there(0.4, frown) * dice.uniform(0.3, 1, 1) * (1 + frown[:, None]))  # fmt: skip
            angle, reach = each(-0.7, 0.7, 5), each(6, 20, 5)
            seen = there(0.5, eyes) & first(1 + dice.below(5), 5)
            draw(side * (each(48, 54, 5) + t * angle.cos() * reach), each(-4, 3, 5) + t * angle.sin() * reach,
                 seen * dice.uniform(0.2, 0.8, 5) * (1 + eyes[:, None]))  # fmt: skip
            seen = dice.chance(0.5)[:, None] & first(1 + dice.below(2), 2)
            draw(side * (31 + (t - 0.5) * each(18, 32, 2)), each(-22, -11, 2) - 5 * torch.sin(torch.pi * t),
                 seen * dice.uniform(0.2, 0.9, 2))  # fmt: skip
            draw(side * (17 * (1 - t) + each(27, 36, 1) * t + 5 * torch.sin(torch.pi * t)),
                 -40 * (1 - t) + each(-82, -66, 1) * t,
                 there(0.6, cheeks) * dice.uniform(0.5, 1.5, 1) * (1 + cheeks[:, None]))  # fmt: skip
            draw(side * (each(25, 30, 1) + 3 * t), -76 - each(8, 22, 1) * t,
                 dice.chance(0.3)[:, None] * dice.uniform(0.3, 1, 1))  # fmt: skip
        points = torch.cat(curves, 1) * numbers(self.device, 1, -1) / CANVAS_MM + CANVAS / 2
        lines = strokes(points, torch.cat(strengths, 1), CANVAS, 16)
        width = dice.uniform(0.7, 2.2) / CANVAS_MM
        canvas = creased(lines, width, 2.2 * depth * width, 2.2 / CANVAS_MM)
        x, y = (self.plane[..., 0] / CANVAS_MM + CANVAS / 2), (CANVAS / 2 - self.plane[..., 1] / CANVAS_MM)
        inside = (x >= 0) & (x < CANVAS - 1) & (y >= 0) & (y < CANVAS - 1)
        laid = between(canvas, *(a.flatten().expand(dice.n, -1) for a in (x, y)))
        return torch.where(inside, laid.reshape(-1, *x.shape), 0)


def creased(
    lines: Float[Tensor, "n c c"], width: Float[Tensor, "n"], depth: Float[Tensor, "n"], widest: float
) -> Float[Tensor, "n c c"]:
    """Valleys as wide as `width` pixels along the lines, `depth` for each unit of those, between soft shoulders."""
    soft = ((2.5 * width) ** 2 - 0.9).sqrt() / 2
    wide = resized(blur(halved(lines), soft, 1.25 * widest), lines.shape[1])
    return (wide - blur(lines, width, widest)) * depth[:, None, None]


def strongest(beta: Float[Tensor, "n e"], names: tuple[str, ...]) -> Float[Tensor, "n 4"]:
    """What expressions fold, as `facecli.train.relief.creases_of`: forehead, frown, eyes, cheeks."""
    kinds = (
        [beta[:, k] for k, name in enumerate(names) if name.startswith(shapes)]
        for shapes in _CREASING.values()
    )
    return torch.stack([torch.stack(columns, 1).amax(1) for columns in kinds], 1)


def moved(plane: Float[Tensor, "t t 2"], creases: Float[Tensor, "n 4"]) -> Float[Tensor, "n t t"]:
    """How many times deeper than at rest an expression folds the skin, as `facecli.train.relief.moved`."""
    x, y = plane[..., 0].abs(), plane[..., 1]
    distances = (
        (x / 50) ** 2 + ((y - 50) / 22) ** 2,
        (x / 16) ** 2 + ((y - 16) / 14) ** 2,
        ((x - 54) / 14) ** 2 + (y / 16) ** 2,
        ((x - 30) / 16) ** 2 + ((y + 58) / 24) ** 2,
    )
    places = torch.stack([torch.exp(-distance) for distance in distances])
    return 1 + 0.8 * torch.einsum("nk,kij->nij", creases, places)


def _open(array: UInt8[np.ndarray, "..."], device: torch.device) -> UInt8[Tensor, "..."]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nobody writes
        return torch.from_numpy(np.asarray(array)).to(device)
