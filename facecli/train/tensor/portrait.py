"""A batch of scenes drawn: the skin under its light, and what its pixels are of."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from facecli.train.headmodel import GUMS, TEETH
from facecli.train.sample import FULL
from facecli.train.tensor.complexion import colours, darkened, raised
from facecli.train.tensor.filters import blur
from facecli.train.tensor.fusion import fused
from facecli.train.tensor.head import Head, View
from facecli.train.tensor.labels import pack, pack_detail
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
        labels = pack(image, region, view.coordinate, view.depth, view.part)
        if region.shape[1] == FULL:
            skin = region & (view.part != GUMS) & (view.part != TEETH)
            facing = -(view.smooth * unit(view.position)).sum(-1)
            labels["detail"] = pack_detail(
                view.depth, facing, self.height, labels["coarse"], labels["known"], skin
            )
        return labels


def portrait(head: Head, tongue: Tongue, scene: Scene, backdrop: Float[Tensor, "n s s 3"]) -> Portrait:
    """Heads before a backdrop (sRGB, 0..255), with nothing else on or before them."""
    view = head.view(scene.vertices, scene.camera)
    skin, region = surface(
        scene, tongue, view.drawing.index, view.drawing.bary, view.coordinate, view.texel, view.part,
        view.region, view.occlusion,
    )  # fmt: skip
    shadow, lost = lamp_seen(
        view.placed, head.faces.expand(len(region), -1, -1), view.position, view.drawn, scene.lights.lamp,
        scene.softness, SOFTEST * scene.camera.size / FULL,
    )  # fmt: skip
    image, bare = lit(scene, skin, view.smooth, view.position, view.drawing.near, region, shadow, backdrop)
    return Portrait(view, image, region, skin.height, bare, view.drawing.lost + lost)


@fused
def surface(
    scene: Scene,
    tongue: Tongue,
    index: Int[Tensor, "n s s"],
    bary: Float[Tensor, "n s s 3"],
    coordinate: Float[Tensor, "n s s 3"],
    texel: Float[Tensor, "n s s 2"],
    part: Int[Tensor, "n s s"],
    region: Bool[Tensor, "n s s"],
    occlusion: Float[Tensor, "n s s"],
) -> tuple[Surface, Bool[Tensor, "n s s"]]:
    """What skin, eyes, mouth and tongue are like at each pixel, and what is left of the face's region."""
    height = raised(scene.relief, texel, coordinate, part)
    colour, gloss, painted = colours(scene.look, texel, coordinate, part)
    plain = Surface(colour, gloss, darkened(occlusion, coordinate, part), height, torch.zeros_like(painted))
    skin = tongue.paint(scene.lick, index, bary, coordinate, scene.camera.pixels_per_mm, plain)
    # before lip and chin the tongue is no more of the face than a hand
    return skin, region & ~painted & ~skin.out


@fused
def lit(
    scene: Scene,
    skin: Surface,
    smooth: Float[Tensor, "n s s 3"],
    position: Float[Tensor, "n s s 3"],
    near: Float[Tensor, "n s s"],
    region: Bool[Tensor, "n s s"],
    shadow: Float[Tensor, "n s s"],
    backdrop: Float[Tensor, "n s s 3"],
) -> tuple[Float[Tensor, "n s s 3"], Float[Tensor, "n s s"]]:
    """The image of heads before their backdrop; and `Portrait.bare`."""
    normal = bump(smooth, position, skin.height)
    grooves = cavity(skin.height, 1 / scene.camera.pixels_per_mm)
    shine = skin.gloss * scene.shine[:, None, None]
    radiance = shade(
        skin.colour, normal, -position, skin.occlusion * grooves, shadow * grooves, shine, scene.lights
    )
    image = exposed(radiance, region, scene.exposure)
    drawn = near > 0
    cover = torch.where(drawn, blur(drawn.float(), 0.7), 0)[..., None]
    return backdrop + (image - backdrop) * cover, torch.where(skin.out, 0, near)


def exposed(
    radiance: Float[Tensor, "n s s 3"], region: Bool[Tensor, "n s s"], target: Float[Tensor, "n"]
) -> Float[Tensor, "n s s 3"]:
    """sRGB, 0..255, of light, so that the median of the face's becomes `target`."""
    grey = torch.where(region, radiance.mean(-1), torch.nan).flatten(1)
    level = grey.nanmedian(1).values.nan_to_num(0.3).clamp(min=1e-3)
    light = (radiance * (target / level)[:, None, None, None]).clamp(0, 1)
    return light ** (1 / 2.2) * 255
