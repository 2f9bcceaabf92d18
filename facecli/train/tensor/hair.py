"""Hair cards on a batch of heads: `facecli.train.hair`'s styles in one atlas."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from facecli.train.hair import Hair
from facecli.train.tensor.cards import Cards, draw, lay
from facecli.train.tensor.dice import Dice
from facecli.train.tensor.fusion import fused
from facecli.train.tensor.head import Camera
from facecli.train.tensor.resident import numbers
from facecli.train.tensor.shade import Lights, world_axes

OFTEN = 0.55
"""Share of heads with hair cards."""
EDGE = 0.8
"""Softness of hair's edge, pixels."""


class Styles:
    """Every style on a device, filled up to the largest with triangles of no size."""

    def __init__(self, styles: list[Hair], device: torch.device) -> None:
        def stacked(arrays: list[np.ndarray]) -> Tensor:
            longest = max(len(array) for array in arrays)
            rest = [(0, 0)] * (arrays[0].ndim - 1)
            filled = [np.pad(array, [(0, longest - len(array)), *rest]) for array in arrays]
            return torch.from_numpy(np.stack(filled)).to(device)

        self.vertices = stacked([style.vertices.astype(np.float32) for style in styles])
        self.faces = stacked([style.faces.astype(np.int64) for style in styles])
        self.texel = stacked([style.texel.astype(np.float32) for style in styles])
        pictures = [style.texture for style in styles]
        self.atlas = torch.from_numpy(np.concatenate([p.reshape(-1, 4) for p in pictures])).to(device)
        sizes = np.array([p.shape[:2] for p in pictures])
        self.tall, self.wide = torch.from_numpy(sizes).to(device).unbind(1)
        self.begin = (self.tall * self.wide).cumsum(0) - self.tall * self.wide

    def cards(self, style: Int[Tensor, "n"]) -> Cards:
        """One style for each head, as it is stored."""
        return Cards(
            self.vertices[style], self.faces[style], self.texel[style], self.atlas, self.begin[style],
            self.wide[style], self.tall[style],
        )  # fmt: skip

    @fused
    def chosen(self, dice: Dice) -> Cards:
        """A style for each head, of another size, place and side."""
        cards = self.cards(dice.below(len(self.begin)))
        fit = dice.uniform(0.97, 1.08, 1, 3)
        aside = torch.stack(
            [torch.zeros(dice.n, device=fit.device), dice.normal(0, 4), dice.normal(0, 5)], -1
        )
        mirror = torch.where(dice.chance(0.5)[:, None, None], numbers(fit.device, -1, 1, 1), 1.0)
        vertices = (cards.vertices * fit + aside[:, None]) * mirror
        return Cards(vertices, cards.faces, cards.texel, cards.atlas, cards.begin, cards.wide, cards.tall)


def grow(
    cards: Cards,
    tone: Float[Tensor, "n 3"],
    worn: Bool[Tensor, "n"],
    camera: Camera,
    lights: Lights,
    before: Float[Tensor, "n s s"],
    image: Float[Tensor, "n s s 3"],
) -> tuple[Float[Tensor, "n s s 3"], Float[Tensor, "n s s"], Int[Tensor, ""]]:
    """The image with hair of a tone (linear) on it; the hair's 1 / depth, 0 where there is none; candidates lost."""
    colour, near, lost = draw(cards, camera, _shade(cards.vertices, camera, lights), worn, before)
    return _laid(image, colour, near, tone), near, lost


@fused
def _shade(vertices: Float[Tensor, "n v 3"], camera: Camera, lights: Lights) -> Float[Tensor, "n v"]:
    """How light hair is, lit as a ball is."""
    outward = camera.placed(vertices) - camera.translation[:, None].float()
    world = outward / outward.norm(dim=-1, keepdim=True).clamp(min=1e-6) * world_axes(outward)
    facing = (world * lights.lamp[:, None]).sum(-1).clamp(0, 1)
    return 0.5 + 0.5 * facing + 0.25 * world[..., 1]


@fused
def _laid(
    image: Float[Tensor, "n s s 3"],
    colour: Float[Tensor, "n s s 3"],
    near: Float[Tensor, "n s s"],
    tone: Float[Tensor, "n 3"],
) -> Float[Tensor, "n s s 3"]:
    """Mostly the tint, as light as the strand."""
    tint = (tone ** (1 / 2.2) * 2.2).clamp(0, 1.8)[:, None, None]
    colour = tint * colour.mean(-1, keepdim=True) * 0.8 + colour * 0.2
    return lay(image, colour, near > 0, EDGE)
