"""A batch of scenes drawn: the skin under its light, and what its pixels are of."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from facecli.train.headmodel import GUMS, TEETH
from facecli.train.sample import FULL
from facecli.train.tensor.complexion import colours, darkened, raised
from facecli.train.tensor.filters import blur
from facecli.train.tensor.head import Head, View
from facecli.train.tensor.labels import pack_coarse, pack_detail, pack_opening, pack_region
from facecli.train.tensor.raster import unit
from facecli.train.tensor.scene import Scene
from facecli.train.tensor.shade import SOFTEST, bump, cavity, lamp_seen, shade
from facecli.train.tensor.tongue import Surface, Tongue


@dataclass(frozen=True)
class Portrait:
    """`image` (sRGB, 0..255) and where it shows the face; `height` is the relief at each pixel, mm; `bare`
    1 / depth of what cloth lies on: it keeps tongues in."""

    view: View
    image: Float[Tensor, "n s s 3"]
    region: Bool[Tensor, "n s s"]
    height: Float[Tensor, "n s s"]
    bare: Float[Tensor, "n s s"]
    lost: Int[Tensor, ""]

    def labels(self, image: Float[Tensor, "n s s 3"], region: Bool[Tensor, "n s s"]) -> dict[str, Tensor]:
        """As `facecli.train.sample.Sample` has them, of the finished image and what of the face is left to be seen;
        `detail` for pictures of full size alone."""
        view = self.view
        coarse, known = pack_coarse(view.coordinate, view.depth, region)
        labels = {
            "image": image.clamp(0, 255).to(torch.uint8),
            "region": pack_region(region),
            "coarse": coarse,
            "known": known,
            "opening": pack_opening(view.part, region),
        }
        if region.shape[1] == FULL:
            skin = region & (view.part != GUMS) & (view.part != TEETH)
            facing = -(view.smooth * unit(view.position)).sum(-1)
            labels["detail"] = pack_detail(view.depth, facing, self.height, coarse, known, skin)
        return labels


def portrait(head: Head, tongue: Tongue, scene: Scene, backdrop: Float[Tensor, "n s s 3"]) -> Portrait:
    """Heads before a backdrop (sRGB, 0..255), with nothing else on or before them."""
    camera, look = scene.camera, scene.look
    view = head.view(scene.vertices, camera)
    height = raised(scene.relief, view.texel, view.coordinate, view.part)
    colour, gloss, painted = colours(look, view.texel, view.coordinate, view.part)
    occlusion = darkened(view.occlusion, view.coordinate, view.part)
    drawing = view.drawing
    skin = tongue.paint(
        scene.lick, drawing.index, drawing.bary, view.coordinate, camera.pixels_per_mm,
        Surface(colour, gloss, occlusion, height, torch.zeros_like(painted)),
    )  # fmt: skip
    height, occlusion = skin.height, skin.occlusion
    # before lip and chin the tongue is no more of the face than a hand
    region = view.region & ~painted & ~skin.out
    normal = bump(view.smooth, view.position, height)
    shadow, lost = lamp_seen(
        view.placed, head.faces.expand(len(height), -1, -1), view.position, view.drawn, scene.lights.lamp,
        scene.softness, SOFTEST * camera.size / FULL,
    )  # fmt: skip
    grooves = cavity(height, 1 / camera.pixels_per_mm)
    shine = skin.gloss * scene.shine[:, None, None]
    radiance = shade(
        skin.colour, normal, -view.position, occlusion * grooves, shadow * grooves, shine, scene.lights
    )
    image = exposed(radiance, region, scene.exposure)
    cover = blur(view.drawn.float(), 0.7)
    cover = torch.where(view.drawn, cover, 0)[..., None]
    return Portrait(
        view,
        backdrop + (image - backdrop) * cover,
        region,
        height,
        torch.where(skin.out, 0, drawing.near),
        drawing.lost + lost,
    )


def exposed(
    radiance: Float[Tensor, "n s s 3"], region: Bool[Tensor, "n s s"], target: Float[Tensor, "n"]
) -> Float[Tensor, "n s s 3"]:
    """sRGB, 0..255, of light, so that the median of the face's becomes `target`."""
    grey = torch.where(region, radiance.mean(-1), torch.nan).flatten(1)
    level = grey.nanmedian(1).values.nan_to_num(0.3).clamp(min=1e-3)
    light = (radiance * (target / level)[:, None, None, None]).clamp(0, 1)
    return light ** (1 / 2.2) * 255
