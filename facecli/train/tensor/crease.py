"""Creases out of a batch of albedos: `facecli.train.crease` in tensors."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from facecli.train.crease import BULGE, DEPTH, FAINTEST, NOISE, OCTAVES, SHADED, Creases
from facecli.train.relief import DEEPEST, MM_PER_TEXEL
from facecli.train.tensor.filters import blur, halved, mirrored, pyr_down, pyr_up, resized
from facecli.train.tensor.fusion import fused
from facecli.train.tensor.resident import numbers


class Splitter:
    """Takes creases out of albedos; holds where on the head model they can be, on a device."""

    def __init__(self, creases: Creases, device: torch.device) -> None:
        def there(array: np.ndarray) -> Tensor:
            return torch.tensor(array, device=device)

        self.where, self.bearded = there(creases.where), there(creases.bearded)
        self.cheeks = there(np.flatnonzero(creases.cheeks))

    @fused
    def split(
        self, albedo: UInt8[Tensor, "n t t 3"]
    ) -> tuple[Float[Tensor, "n t t"], UInt8[Tensor, "n t t 3"]]:
        """Relief (mm) of skins, and their albedos without its shading."""
        grey = _grey(albedo) + FAINTEST
        light = grey.log()
        sure = self.where * (1 - self._beard(light))
        relief, shading = lines(light)
        relief, shading = (relief * sure).clamp(-DEEPEST, DEEPEST), shading * sure
        return relief, plain(albedo, grey, shading, sure)

    def _beard(self, light: Float[Tensor, "n t t"]) -> Float[Tensor, "n t t"]:
        """Where a beard or its stubble is: the lower face darker than the cheeks, 0..1."""
        broad = resized(functional.avg_pool2d(light[:, None], 8)[:, 0], light.shape[1])
        usual = light.flatten(1)[:, self.cheeks].quantile(0.5, 1)[:, None, None]
        return ((usual - broad - 0.35) / 0.25).clamp(0, 1) * self.bearded


def _grey(albedo: UInt8[Tensor, "n t t 3"]) -> Float[Tensor, "n t t"]:
    weights = numbers(albedo.device, 0.299, 0.587, 0.114)
    return (albedo.float() * weights).sum(-1).round()


def lines(light: Float[Tensor, "n t t"]) -> tuple[Float[Tensor, "n t t"], Float[Tensor, "n t t"]]:
    """Relief (mm) of all that is a line in a log luminance, and the log shading that leaves the colour with it."""
    levels = [light]
    for _ in range(OCTAVES + 2):
        levels.append(pyr_down(levels[-1]))
    shading, relief = torch.zeros_like(levels[-1]), torch.zeros_like(levels[OCTAVES])
    for octave in reversed(range(OCTAVES + 2)):
        fine, around = levels[octave], pyr_up(levels[octave + 1])
        shading = pyr_up(shading)
        if octave >= OCTAVES:
            shading = shading + (fine - around) * SHADED
            continue
        smooth = blur(fine, 0.8)
        line = likeness(smooth)
        shading = shading + (fine - around) * ((line * 4).clamp(max=1) if octave == 0 else 1)
        band = smooth - around
        contrast = torch.where(band < 0, band, band * BULGE) * line
        width = MM_PER_TEXEL * 1.2 * 2**octave
        relief = pyr_up(relief) + (contrast * 2).tanh() * (DEPTH / 2 * width)
    return relief, shading


def likeness(light: Float[Tensor, "n h w"]) -> Float[Tensor, "n h w"]:
    """How much a place is part of a line, 0 to 1."""
    edge = mirrored(mirrored(light, 1, -1), 1, -2)[:, None]
    slope = numbers(light.device, -1, 0, 1, -2, 0, 2, -1, 0, 1).reshape(1, 1, 3, 3) / 8
    dx, dy = (functional.conv2d(edge, kernel)[:, 0] for kernel in (slope, slope.transpose(2, 3)))
    one_way = torch.hypot(blur(dx * dx - dy * dy, 2.5), blur(2 * dx * dy, 2.5))
    energy = blur(dx * dx + dy * dy, 2.5) + 1e-12
    step = torch.hypot(blur(dx, 2.5), blur(dy, 2.5)) / (blur(torch.hypot(dx, dy), 2.5) + 1e-6)
    line = (one_way / energy * 2.5 - 0.6).clamp(0, 1) * (1.8 - 2.2 * step).clamp(0, 1)
    return line * energy / (energy + NOISE**2)


def plain(
    albedo: UInt8[Tensor, "n t t 3"],
    grey: Float[Tensor, "n t t"],
    shading: Float[Tensor, "n t t"],
    sure: Float[Tensor, "n t t"],
) -> UInt8[Tensor, "n t t 3"]:
    """Without `shading` (log), and of even hue where `sure`."""
    out = []
    for channel in albedo.unbind(-1):
        hue = (channel + FAINTEST) / grey
        even = resized(blur(halved(hue), 3), hue.shape[1])
        hue = hue + (even - hue) * sure
        out.append(hue * grey * (-shading).exp() - FAINTEST)
    return (torch.stack(out, -1) + 0.5).clamp(0, 255).to(torch.uint8)
