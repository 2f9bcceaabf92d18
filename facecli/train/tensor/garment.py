"""Fringes, hats, hoods, masks and scarves on a batch of heads: `facecli.train.garment` in tensors."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from facecli.train.garment import (
    AXIS,
    BANK,
    COLUMNS,
    DYES,
    OFTEN,
    ROWS,
    SMOOTHINGS,
    SORTS,
    SURGICAL,
    Wardrobe,
    bank,
)
from facecli.train.tensor.cards import Cards, draw, lay
from facecli.train.tensor.dice import Dice
from facecli.train.tensor.filters import blur, closed
from facecli.train.tensor.fusion import fused
from facecli.train.tensor.head import Camera
from facecli.train.tensor.raster import Fan, turned
from facecli.train.tensor.shade import Lights

DRESSED = 0.45
"""Share of heads that wear something."""
FRINGE, CAP, MASK = SORTS.index("fringe"), SORTS.index("cap"), SORTS.index("mask")
AROUND, ALONG = 41, 6
"""Vertices of a peak."""


class Closet:
    """A wardrobe's tables and the bank of patterns on a device."""

    def __init__(self, wardrobe: Wardrobe, device: torch.device) -> None:
        def there(array: np.ndarray) -> Tensor:
            return torch.tensor(array, device=device)

        self.count = wardrobe.count
        index = np.arange(AROUND * ALONG).reshape(AROUND, ALONG)
        a, b, c, d = (index[i:j, k:m].ravel() for i, j, k, m in (
            (0, -1, 0, -1), (1, AROUND, 0, -1), (1, AROUND, 1, ALONG), (0, -1, 1, ALONG)))  # fmt: skip
        peak = np.concatenate([np.c_[a, b, c], np.c_[a, c, d]])
        faces = np.concatenate([wardrobe.faces, peak + self.count]).astype(np.int64)
        self.faces = there(faces)
        self.fan = Fan(self.faces, self.count + AROUND * ALONG)
        self.height, self.outward = there(wardrobe.height), there(wardrobe.outward)
        share, along = np.meshgrid(np.linspace(-1, 1, AROUND), np.linspace(-0.12, 1, ALONG), indexing="ij")
        flat = np.c_[
            share.ravel() * 30 + COLUMNS / 2, (30 + 60 * (1 - along)).ravel()
        ]  # a radian to each side
        self.texel = there(np.concatenate([wardrobe.texel, flat[peak]]).astype(np.float32))
        self.share_of_peak, self.along_peak = (there(grid.astype(np.float32)) for grid in (share, along))
        off_centre = 9 * (wardrobe.outward[:, 2] < 0.98)
        self.brow = int(np.argmin(np.abs(wardrobe.height - 44) + off_centre))
        rows = wardrobe.neighbours
        longest = int(np.diff(rows.indptr).max())
        beside, share = np.zeros((longest, self.count), np.int64), np.zeros((longest, self.count), np.float32)
        place = np.concatenate([np.arange(n) for n in np.diff(rows.indptr)])
        row = np.repeat(np.arange(self.count), np.diff(rows.indptr))
        beside[place, row], share[place, row] = rows.indices, rows.data
        self.beside, self.share = there(beside), there(share)
        patterns = [pattern for sort in SORTS for pattern in bank(sort)]
        self.atlas = there(np.concatenate([p.texture[..., [0, 3]].reshape(-1, 2) for p in patterns]))
        self.dyes, self.surgical = there(DYES).float(), there(SURGICAL).float()
        self.off = there(np.array([p.standing_off for p in patterns], np.float32))

    def averaged(self, values: Float[Tensor, "n v c"]) -> Float[Tensor, "n v c"]:
        """Of every vertex with those it shares an edge with."""
        return (values[:, self.beside] * self.share[..., None]).sum(1)

    @fused
    def put_on(self, dice: Dice, vertices: Float[Tensor, "n v 3"], tone: Float[Tensor, "n 3"]) -> "Garments":
        """A garment of any sort for each head (mm, head frame). tone: of hair, linear, for fringes."""
        sort = dice.choice(OFTEN)
        pattern = sort * BANK + dice.below(BANK)
        room = self.off[pattern] * dice.uniform(0.8, 1.2)
        shell = self.shells(vertices, sort, room)
        shell = torch.cat([shell, self._peaks(dice, shell, sort == CAP)], 1)
        texel = self.texel.expand(dice.n, -1, -1, -1)
        column = torch.where(dice.chance(0.5)[:, None, None], COLUMNS - 1 - texel[..., 0], texel[..., 0])
        texel = torch.stack([column, texel[..., 1]], -1)
        full = torch.ones_like(sort)
        cards = Cards(
            shell, self.faces.expand(dice.n, -1, -1), texel, self.atlas, pattern * (ROWS * COLUMNS),
            full * COLUMNS, full * ROWS,
        )  # fmt: skip
        return Garments(cards, self._tint(dice, sort, tone), sort == FRINGE)

    def shells(
        self, vertices: Float[Tensor, "n v 3"], sort: Int[Tensor, "n"], room: Float[Tensor, "n"]
    ) -> Float[Tensor, "n w 3"]:
        """Cloth spans hollows and stands off by `room` mm; hair does not, and stands off more the higher it grows."""
        skin = vertices[:, : self.count]
        smooth = skin
        for _ in range(SMOOTHINGS):
            smooth = self.averaged(smooth)
        beneath = ((skin - smooth) * self.outward).sum(-1, keepdim=True).clamp(min=0)
        for _ in range(SMOOTHINGS):
            beneath = torch.maximum(beneath, self.averaged(beneath))
        higher = ((self.height + 10) / 80).clamp(0.35, 1.0)[:, None]
        hairy, far = (sort == FRINGE)[:, None, None], room[:, None, None]
        return torch.where(hairy, skin, smooth) + self.outward * torch.where(
            hairy, far * higher, far + beneath
        )

    def _peaks(
        self, dice: Dice, shell: Float[Tensor, "n w 3"], capped: Bool[Tensor, "n"]
    ) -> Float[Tensor, "n p 3"]:
        """Peaks that jut forward, or, wide enough, brims all around; where there is none, all in one point."""
        share, along = self.share_of_peak, self.along_peak
        around = dice.chance(0.35)[:, None, None]
        half = torch.where(around, torch.pi, torch.deg2rad(dice.uniform(48, 66))[:, None, None])
        angle = share * half
        fading = (share * torch.pi / 2).cos().clamp(min=0) ** 0.4
        reach = dice.uniform(35, 80)[:, None, None] * torch.where(around, 1.0, fading)
        droop = dice.uniform(-0.15, 0.5)[:, None, None] * reach * along
        droop = droop + torch.where(around, 0.0, 14 * share**2)
        brow = shell[:, self.brow, None, None]
        narrower = torch.where(angle.cos() > 0, 1 - 0.12 * angle.sin() ** 2, 0.98)
        radius = (brow[..., 2] - AXIS) * narrower + reach * along
        peak = torch.stack(
            [radius * 0.92 * angle.sin(), brow[..., 1] + 3 - droop, AXIS + radius * angle.cos()], -1
        )
        return torch.where(capped[:, None, None], peak.flatten(1, 2), shell[:, :1])

    def _tint(self, dice: Dice, sort: Int[Tensor, "n"], tone: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """What a pattern's brightness is to be multiplied by, sRGB."""
        hair = tone ** (1 / 2.2) * 255 * 1.35
        dyed = self.dyes[dice.below(len(DYES))] * dice.uniform(0.6, 1.3)[:, None]
        hair = torch.where(dice.chance(0.15)[:, None], dyed, hair)
        paper = self.surgical[dice.below(len(SURGICAL))] * dice.uniform(0.9, 1.1)[:, None]
        cloth = dice.uniform(15, 250)[:, None] + dice.normal(0, 45, 3)
        cloth = torch.where(((sort == MASK) & dice.chance(0.6))[:, None], paper, cloth)
        return torch.where((sort == FRINGE)[:, None], hair, cloth).clamp(8, 300) / 165


@dataclass(frozen=True)
class Garments:
    """What each head may wear, its tint, and whether it is hair; `dress` puts it on those who wear anything."""

    cards: Cards
    tint: Float[Tensor, "n 3"]
    hairy: Bool[Tensor, "n"]

    def dress(
        self,
        closet: Closet,
        camera: Camera,
        lights: Lights,
        worn: Bool[Tensor, "n"],
        bare: Float[Tensor, "n s s"],
        hair: Float[Tensor, "n s s"],
        contact: Float[Tensor, "n"],
        image: Float[Tensor, "n s s 3"],
    ) -> tuple[Float[Tensor, "n s s 3"], Bool[Tensor, "n s s"], Int[Tensor, ""]]:
        """The image with garments, where they are, and the candidates lost. bare, hair: 1 / depth of the head, and of
        the head or its hair: hats press that down; contact: strength of the shadow where a garment ends."""
        shade = self._shade(closet.fan.normals(self.cards.vertices), camera, lights)
        before = torch.where(self.hairy[:, None, None], hair, bare)
        colour, near, lost = draw(self.cards, camera, shade, worn, before)
        image, cover = self._laid(image, colour, near, contact)
        return image, cover, lost

    @fused
    def _shade(self, normals: Float[Tensor, "n v 3"], camera: Camera, lights: Lights) -> Float[Tensor, "n v"]:
        """How light each vertex is. normals: head frame."""
        return lights.brightness(turned(normals, camera.rotation.float()))

    @fused
    def _laid(
        self,
        image: Float[Tensor, "n s s 3"],
        colour: Float[Tensor, "n s s 3"],
        near: Float[Tensor, "n s s"],
        contact: Float[Tensor, "n"],
    ) -> tuple[Float[Tensor, "n s s 3"], Bool[Tensor, "n s s"]]:
        """The image with what was drawn, and where that is."""
        drawn, size = near > 0, near.shape[1]
        cover = closed(drawn.float(), 1 + 2 * (size // 256)) > 0  # between the lips, a pixel wide
        image = image * (1 - contact[:, None, None] * blur(cover.float(), size / 36))[..., None]
        image = lay(image, colour * self.tint[:, None, None], drawn, 0.7 * size / 256, cover)
        return image, cover
