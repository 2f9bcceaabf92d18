"""Textured sheets before a batch of heads, cut to shape by their alpha: hair cards, and what is worn."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from facecli.train.tensor.filters import blur
from facecli.train.tensor.fusion import fused
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
    f = cards.faces.shape[1]
    pixels, near = _projected(cards.vertices, camera, worn)

    def opaque(
        owner: Int[Tensor, "c"], u: Float[Tensor, "c"], v: Float[Tensor, "c"], w: Float[Tensor, "c"]
    ) -> Bool[Tensor, "c"]:
        head = torch.div(owner, f, rounding_mode="floor")
        return cards.atlas[cards.looked_up(owner, torch.stack([u, v, w], -1), head), -1] >= OPAQUE

    drawing = rasterize(pixels, near, cards.faces, camera.size, opaque, both_sides=True, room=SHEETS)
    colour, shown = _coloured(cards, drawing.index, drawing.near, drawing.flat, shade, before)
    return colour, shown, drawing.lost


@fused
def _projected(
    vertices: Float[Tensor, "n v 3"], camera: Camera, worn: Bool[Tensor, "n"]
) -> tuple[Float[Tensor, "n v 2"], Float[Tensor, "n v"]]:
    """On the picture; and how near, if worn."""
    placed = camera.placed(vertices)
    z = placed[..., 2].double()
    return camera.pixels(placed), torch.where((z > 1) & worn[:, None], 1 / z.clamp(min=1), -1.0)


@fused
def _coloured(
    cards: Cards,
    index: Int[Tensor, "n s s"],
    near: Float[Tensor, "n s s"],
    flat: Float[Tensor, "n s s 3"],
    shade: Float[Tensor, "n v"],
    before: Float[Tensor, "n s s"],
) -> tuple[Float[Tensor, "n s s 3"], Float[Tensor, "n s s"]]:
    """`draw`, of what the drawing found."""
    n, f = cards.faces.shape[:2]
    drawn = (index >= 0) & (near > before)
    head = torch.arange(n, device=index.device)[:, None, None].expand(drawn.shape)
    face = (index.clamp(min=0) + head * f).flatten()
    colour = cards.atlas[cards.looked_up(face, flat.reshape(-1, 3), head.flatten()), :-1].float()
    colour = colour.reshape(*drawn.shape, -1) * interpolate(shade[..., None], cards.faces, index, flat)
    colour = torch.where(drawn[..., None], colour, 0).expand(*drawn.shape, 3)
    return colour, torch.where(drawn, near, 0)


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
