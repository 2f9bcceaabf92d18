"""Textured sheets before a batch of heads, cut to shape by their alpha: hair cards, and what is worn."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from facecli.train.tensor.filters import blur
from facecli.train.tensor.head import Camera
from facecli.train.tensor.raster import interpolate, rasterize

OPAQUE = 110
"""Alpha of what is drawn."""
SHEETS = 3.5, 10.0
"""Room for candidates, as `raster.ROOM`: cards lie in many layers, but not everybody wears them."""


@dataclass(frozen=True)
class Cards:
    """One style for each of n heads: `vertices` in mm, head frame; corners' `texel`s in a picture of `wide` x `tall`
    that begins at `begin` of the `atlas`, whose last channel is alpha."""

    vertices: Float[Tensor, "n v 3"]
    faces: Int[Tensor, "n f 3"]
    texel: Float[Tensor, "n f 3 2"]
    atlas: UInt8[Tensor, "a c"]
    begin: Int[Tensor, "n"]
    wide: Int[Tensor, "n"]
    tall: Int[Tensor, "n"]

    def looked_up(
        self, face: Int[Tensor, "p"], shares: Float[Tensor, "p 3"], head: Int[Tensor, "p"]
    ) -> Int[Tensor, "p"]:
        """Where in the atlas points of faces (head x faces + face) are, by barycentric coordinates on the screen."""
        at = (self.texel.reshape(-1, 3, 2)[face] * shares[..., None]).sum(1)
        column, row = (at + 0.5).floor().long().unbind(-1)
        wide = self.wide[head]
        return self.begin[head] + (row % self.tall[head]) * wide + column % wide


def draw(
    cards: Cards,
    camera: Camera,
    shade: Float[Tensor, "n v"],
    worn: Bool[Tensor, "n"],
    before: Float[Tensor, "n s s"],
) -> tuple[Float[Tensor, "n s s 3"], Float[Tensor, "n s s"], Int[Tensor, ""]]:
    """Colours, 0..255 x `shade`, of the cards that are `worn`, and their 1 / depth, 0 where none is nearer than
    `before`; and how many candidates were lost."""
    n, f = cards.faces.shape[:2]
    placed = camera.placed(cards.vertices)
    z = placed[..., 2].double()
    near = torch.where((z > 1) & worn[:, None], 1 / z.clamp(min=1), -1.0)

    def opaque(
        owner: Int[Tensor, "c"], u: Float[Tensor, "c"], v: Float[Tensor, "c"], w: Float[Tensor, "c"]
    ) -> Bool[Tensor, "c"]:
        head = torch.div(owner, f, rounding_mode="floor")
        return cards.atlas[cards.looked_up(owner, torch.stack([u, v, w], -1), head), -1] >= OPAQUE

    drawing = rasterize(
        camera.pixels(placed), near, cards.faces, camera.size, opaque, both_sides=True, room=SHEETS
    )
    drawn = drawing.drawn & (drawing.near > before)
    head = torch.arange(n, device=z.device)[:, None, None].expand(drawn.shape)
    face = (drawing.index.clamp(min=0) + head * f).flatten()
    colour = cards.atlas[cards.looked_up(face, drawing.flat.reshape(-1, 3), head.flatten()), :-1].float()
    lit = interpolate(shade[..., None], cards.faces, drawing.index, drawing.flat)
    colour = colour.reshape(*drawn.shape, -1) * lit
    colour = torch.where(drawn[..., None], colour, 0).expand(*drawn.shape, 3)
    return colour, torch.where(drawn, drawing.near, 0), drawing.lost


def lay(
    image: Float[Tensor, "n s s 3"],
    colour: Float[Tensor, "n s s 3"],
    drawn: Bool[Tensor, "n s s"],
    sigma: float,
    cover: Bool[Tensor, "n s s"] | None = None,
) -> Float[Tensor, "n s s 3"]:
    """The image with what was drawn over it, edges soft over `sigma` pixels.

    `cover`, if not the same as `drawn`, closes gaps in it with the colours beside, and is sharper.
    """
    weight = blur(drawn.float(), sigma)[..., None]
    filled = channels_blurred(colour, sigma) / weight.clamp(min=1e-3)
    share = weight
    if cover is not None:
        share = (blur(cover.float(), sigma)[..., None] * 1.3 - 0.15).clamp(0, 1)
    return image + (torch.where(drawn[..., None], colour, filled) - image) * share


def channels_blurred(picture: Float[Tensor, "n s s c"], sigma: float) -> Float[Tensor, "n s s c"]:
    return torch.stack([blur(channel, sigma) for channel in picture.unbind(-1)], -1)
