"""The head model on a device, and what of a batch of heads each pixel shows."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from facecli.train.headmodel import NARROW_FACE_VERTICES, HeadModel
from facecli.train.lift import TEXTURE, region_vertices
from facecli.train.raster import vertex_normals
from facecli.train.sample import COARSE, CROP_MARGIN
from facecli.train.shade import ambient_occlusion
from facecli.train.tensor.fusion import fused
from facecli.train.tensor.raster import Drawing, Fan, interpolate, rasterize, rounded, turned, unit

FOCAL = 1000.0
"""Pixels; crops are scaled, so that any would do."""


@dataclass(frozen=True)
class Camera:
    """Where n heads are before their cameras (head frame to camera frame, mm), and n crops of `size` px: `frame` takes
    the photo's pixels to the crop's."""

    rotation: Float[Tensor, "n 3 3"]
    translation: Float[Tensor, "n 3"]
    frame: Float[Tensor, "n 2 3"]
    size: int

    @property
    def pixels_per_mm(self) -> Float[Tensor, "n"]:
        return (FOCAL / self.translation[:, 2] * self.frame[:, :, 0].norm(dim=1)).float()

    @property
    def footprint(self) -> Float[Tensor, "n"]:
        """mm that one pixel of the coarse maps spans at the head's centre."""
        return self.size / COARSE / self.pixels_per_mm

    @property
    def sideways(self) -> Float[Tensor, "n"]:
        """How far towards the subject's left the camera is, sine."""
        towards = (self.rotation.transpose(1, 2) @ -self.translation[..., None])[:, 0, 0]
        return (towards / self.translation.norm(dim=1)).float()

    @property
    def unframed(self) -> Float[Tensor, "n 2 2"]:
        """From steps of the crop's pixels back to the photo's."""
        (a, b), (c, d) = (row.unbind(-1) for row in self.frame[:, :, :2].unbind(1))
        inverse = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], 1)
        return inverse / (a * d - b * c)[:, None, None]

    @property
    def axis(self) -> Float[Tensor, "n 3"]:
        """Unit vector of the camera frame through the crop's centre: depth is measured along it."""
        off = self.size / 2 - 0.5 - self.frame[:, :, 2]
        middle = (self.unframed * off[:, None]).sum(-1)
        ray = torch.cat([middle / FOCAL, torch.ones_like(middle[:, :1])], 1)
        return ray / ray.norm(dim=1, keepdim=True)

    def placed(self, points: Float[Tensor, "n p 3"]) -> Float[Tensor, "n p 3"]:
        """In the camera frame, mm."""
        return (turned(points.double(), self.rotation) + self.translation[:, None]).float()

    def pixels(self, placed: Float[Tensor, "n p 3"]) -> Float[Tensor, "n p 2"]:
        """Pixels of the crop, of points in the camera frame."""
        return turned(flat(placed), self.frame[:, :, :2]) + self.frame[:, None, :, 2]


def flat(placed: Float[Tensor, "n p 3"]) -> Float[Tensor, "n p 2"]:
    """Pixels of the photo, from its centre."""
    return placed[..., :2].double() / placed[..., 2:].double() * FOCAL


@dataclass(frozen=True)
class View:
    """What each pixel of n pictures shows of the heads: template `coordinate` (mm), `position` in the camera frame
    (mm), unit normal (`smooth`, camera frame), `texel` of the skin's texture, material (`part`, -1 for none), whether
    it is of the face's `region`, ambient `occlusion` (0..1), and `depth` towards the camera (mm)."""

    drawing: Drawing
    placed: Float[Tensor, "n v 3"]
    coordinate: Float[Tensor, "n s s 3"]
    position: Float[Tensor, "n s s 3"]
    smooth: Float[Tensor, "n s s 3"]
    texel: Float[Tensor, "n s s 2"]
    part: Int[Tensor, "n s s"]
    region: Bool[Tensor, "n s s"]
    occlusion: Float[Tensor, "n s s"]
    depth: Float[Tensor, "n s s"]

    @property
    def drawn(self) -> Bool[Tensor, "n s s"]:
        return self.drawing.drawn


class Head:
    """The head model's tables on a device."""

    def __init__(self, model: HeadModel, device: torch.device) -> None:
        def there(array: np.ndarray) -> Tensor:
            return torch.tensor(array, device=device)

        self.model, self.device = model, device
        self.neutral, self.part = there(model.neutral), there(model.part).long()
        self.identity, self.expression = (
            there(basis).reshape(len(basis), -1) for basis in (model.identity, model.expression)
        )
        self.faces, self.corner_uv = there(model.faces).long(), there(model.corner_uv).long()
        self.texel = there(model.uv) * there(np.array([TEXTURE, -TEXTURE], np.float32)) + there(
            np.array([-0.5, TEXTURE - 0.5], np.float32)
        )
        self.fan = Fan(self.faces, len(model.neutral))
        sky = ambient_occlusion(model.neutral, vertex_normals(model.neutral, model.faces), model.faces)
        self.fixed = there(np.c_[model.neutral, region_vertices(model), sky].astype(np.float32))
        self.marks = there(model.landmark_vertices).long()

    def vertices(self, alpha: Float[Tensor, "n i"], beta: Float[Tensor, "n e"]) -> Float[Tensor, "n v 3"]:
        """Heads of identities `alpha` (standard deviations) and expressions `beta` (0..1), mm, head frame."""
        moved = alpha @ self.identity + beta @ self.expression
        return self.neutral + moved.reshape(len(alpha), -1, 3)

    def view(self, vertices: Float[Tensor, "n v 3"], camera: Camera) -> View:
        """Draw the heads."""
        placed, pixels, near = _projected(vertices, camera)
        drawing = rasterize(pixels, near, self.faces.expand(len(vertices), -1, -1), camera.size)
        normals = self.fan.normals(vertices)
        shown = self._shown(drawing.index, drawing.bary, placed, normals, camera)
        return View(drawing, placed, *shown)

    @fused
    def _shown(
        self,
        index: Int[Tensor, "n s s"],
        bary: Float[Tensor, "n s s 3"],
        placed: Float[Tensor, "n v 3"],
        normals: Float[Tensor, "n v 3"],
        camera: Camera,
    ) -> tuple[Tensor, ...]:
        """All of a `View` that is of its pixels. normals: head frame."""
        facing = turned(normals, camera.rotation.float())
        fixed = interpolate(self.fixed[None], self.faces[None], index, bary)
        own = interpolate(torch.cat([placed, facing], -1), self.faces[None], index, bary)
        position = rounded(own[..., :3], placed, facing, self.faces, index, bary)
        depth = ((camera.translation[:, None, None] - position) * camera.axis[:, None, None]).sum(-1)
        drawn = index >= 0
        return (
            fixed[..., :3].contiguous(),
            position.contiguous(),
            unit(own[..., 3:]),
            interpolate(self.texel[None], self.corner_uv[None], index, bary),
            torch.where(drawn, self.part[index.clamp(min=0)], -1),
            drawn & (fixed[..., 3] > 0.5),
            fixed[..., 4],
            depth.float(),
        )


@fused
def _projected(
    vertices: Float[Tensor, "n v 3"], camera: Camera
) -> tuple[Float[Tensor, "n v 3"], Float[Tensor, "n v 2"], Float[Tensor, "n v"]]:
    """In the camera frame, mm; on the picture; and how near."""
    placed = camera.placed(vertices)
    z = placed[..., 2].double()
    return placed, camera.pixels(placed), torch.where(z > 1e-6, 1 / z, -1.0)


def framed(
    placed: Float[Tensor, "n v 3"],
    size: int,
    larger: Float[Tensor, "n"],
    aside: Float[Tensor, "n 2"],
    roll: Float[Tensor, "n"],
) -> Float[Tensor, "n 2 3"]:
    """Crops about the projected faces with the errors that a detector makes: `larger` (log), `aside` (shares of a
    side), turned by `roll` (radians)."""
    points = flat(placed[:, :NARROW_FACE_VERTICES:7])  # as lift.face_box_points
    low, high = points.amin(1), points.amax(1)
    side = CROP_MARGIN * (high - low).amax(1) * larger.exp()
    centre = (low + high) / 2 + aside * side[:, None]
    scale, cosine, sine = size / side, roll.cos(), roll.sin()
    turn = torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], 1)
    turn = turn.double() * scale[:, None, None]
    return torch.cat([turn, size / 2 - 0.5 - turn @ centre[..., None]], -1)
