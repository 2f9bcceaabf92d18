"""What colour each pixel of a batch of heads has: `facecli.train.complexion` in tensors."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from facecli.train.complexion import BACK_CORNER, EYE_CENTRES, IRIS_ANGLE, SHRUNK
from facecli.train.headmodel import BACK, FACE, GUMS, LACRIMAL, SCLERA_LEFT, TEETH
from facecli.train.tensor.filters import between, repeating
from facecli.train.tensor.resident import numbers

_SHRUNK, _LEFT, _TOP = float(SHRUNK), float(BACK_CORNER[0]), float(BACK_CORNER[1])
_EYE_CENTRES = tuple(tuple(centre.tolist()) for centre in EYE_CENTRES)


@dataclass(frozen=True)
class Look:
    """What is random of the colours of n heads.

    albedo, back: sRGB, of the face and of the rest of the head. fibre: noise that strands of hair are made of.
    hairline: height, width of its bumps, depth and lowest point of the temples (mm), and whether any is drawn. nape:
    how far down hair grows, mm, if any grows (`shaved`: not unless on the face, too). cloth, gums, teeth, hair: linear
    albedo. iris: linear albedo; rays: how many it has; phase: of those, radians; white: of the eye, times the usual;
    pupil: radians.
    """

    albedo: UInt8[Tensor, "n t t 3"]
    back: UInt8[Tensor, "n b b 3"]
    fibre: Float[Tensor, "n k k"]
    hairline: Float[Tensor, "n 5"]
    nape: Float[Tensor, "n"]
    shaved: Bool[Tensor, "n"]
    cloth: Float[Tensor, "n 3"]
    gums: Float[Tensor, "n 3"]
    teeth: Float[Tensor, "n 3"]
    hair: Float[Tensor, "n 3"]
    iris: Float[Tensor, "n 3"]
    rays: Float[Tensor, "n"]
    phase: Float[Tensor, "n"]
    white: Float[Tensor, "n"]
    pupil: Float[Tensor, "n"]


def colours(
    look: Look,
    texel: Float[Tensor, "n s s 2"],
    coordinate: Float[Tensor, "n s s 3"],
    part: Int[Tensor, "n s s"],
) -> tuple[Float[Tensor, "n s s 3"], Float[Tensor, "n s s"], Bool[Tensor, "n s s"]]:
    """Linear albedo, gloss, and where painted hair covers the skin.

    texel: of `look.albedo`, which `look.back` follows; coordinate: of the template, mm; part: the material of each
    pixel, less than 0 where there is none, and no colour.
    """
    x, y, z = coordinate.unbind(-1)
    face, back = part == FACE, part == BACK
    strands = repeating(look.fibre, x * 4, z * 1.2 + y * 0.5)  # stretched along them
    height, bumps, temple, low, drawn = (value[:, None, None] for value in look.hairline.unbind(1))
    grain = strands - 0.5
    aside = (z < temple + 10 * grain) & (y > low) & (x.abs() < 84)
    above = y > height + 8 * torch.sin(x / bumps.clamp(min=1e-3)) + 14 * grain
    painted = face & (drawn > 0) & (aside | above)
    haired = (painted.flatten(1).any(1) | ~look.shaved)[:, None, None]

    column, row = texel.flatten(1, 2).unbind(-1)
    skin = between(look.albedo, column, row).reshape(coordinate.shape)
    behind = between(look.back, column * _SHRUNK - _LEFT, row * _SHRUNK - _TOP).reshape(coordinate.shape)

    def plain(tone: Float[Tensor, "n 3"]) -> Float[Tensor, "n 1 1 3"]:
        return tone[:, None, None]

    colour = linear(torch.where(back[..., None], behind, skin))
    hairy = haired & (painted | (back & (y >= look.nape[:, None, None])))
    colour = torch.where(hairy[..., None], plain(look.hair) * (0.5 + strands)[..., None], colour)
    clothed = (face | back) & (y < -165 + 0.15 * x.abs())
    colour = torch.where(clothed[..., None], plain(look.cloth), colour)
    colour = torch.where((part == GUMS)[..., None], plain(look.gums), colour)
    colour = torch.where((part == TEETH)[..., None], plain(look.teeth), colour)
    eyes = (part >= SCLERA_LEFT) & (part < LACRIMAL)
    colour = torch.where(eyes[..., None], _eye_colour(look, coordinate), colour)
    return torch.where((part >= 0)[..., None], colour, 0), torch.where(eyes, 4.0, 1.0), painted


def linear(srgb: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Light of sRGB, 0..255, to the nearest whole grey."""
    return ((srgb + 0.5).floor() / 255) ** 2.2


def _eye_colour(look: Look, coordinate: Float[Tensor, "n s s 3"]) -> Float[Tensor, "n s s 3"]:
    """Sclera, iris with a dark limbus, pupil, from where on the eyeball a point sits in the mean head."""
    left, right = (numbers(coordinate.device, *centre) for centre in _EYE_CENTRES)
    ray = coordinate - torch.where(coordinate[..., :1] < 0, right, left)
    angle = torch.atan2(torch.hypot(ray[..., 0], ray[..., 1]), ray[..., 2])[..., None]
    around = torch.atan2(ray[..., 1], ray[..., 0])[..., None]
    rays, phase, white, pupil = (
        value[:, None, None, None] for value in (look.rays, look.phase, look.white, look.pupil)
    )
    iris = look.iris[:, None, None] * (0.75 + 0.25 * torch.sin(around * rays + phase))
    sclera = numbers(coordinate.device, 0.72, 0.66, 0.63) * white
    out = torch.where(angle < IRIS_ANGLE, iris, sclera)
    out = out * (1 - 0.7 * torch.exp(-(((angle - IRIS_ANGLE) / 0.035) ** 2)))
    return out * ((angle - pupil) / 0.03).clamp(0.03, 1)


def darkened(
    occlusion: Float[Tensor, "n s s"], coordinate: Float[Tensor, "n s s 3"], part: Int[Tensor, "n s s"]
) -> Float[Tensor, "n s s"]:
    """Ambient occlusion, with the mouth darkening inwards and the eyes shaded by their lids."""
    _, y, z = coordinate.unbind(-1)
    eyes = (part >= SCLERA_LEFT) & (part < LACRIMAL)
    out = torch.where(eyes, (0.75 - y / 22).clamp(0.35, 0.85), 0.25 + 0.75 * occlusion)
    mouth = (part == GUMS) | (part == TEETH)
    return torch.where(mouth, ((z - 25) / 50).clamp(0.03, 0.75), out)


def raised(
    relief: Float[Tensor, "n t t"],
    texel: Float[Tensor, "n s s 2"],
    coordinate: Float[Tensor, "n s s 3"],
    part: Int[Tensor, "n s s"],
) -> Float[Tensor, "n s s"]:
    """Relief at each pixel; none on eyes, teeth, or where skin ends, little on the lips."""
    x, y, z = coordinate.unbind(-1)
    x = x.abs()
    front = ((z + 5) / 25).clamp(0, 1) * ((y + 125) / 15).clamp(0, 1)
    lips = 1 - 0.7 * torch.exp(-((x / 26) ** 2) - ((y + 71) / 10) ** 2)
    lids = 1 - 0.8 * torch.exp(-(((x - 31) / 17) ** 2) - ((y + 1) / 8) ** 2)
    height = between(relief, *texel.flatten(1, 2).unbind(-1)).reshape(part.shape)
    return torch.where(part == FACE, height * lips * lids * front, 0)
