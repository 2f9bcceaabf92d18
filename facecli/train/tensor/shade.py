"""Skin under light, a batch of pictures at a time: `facecli.train.shade` and `crease.cavity` in tensors."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from facecli.train.crease import OCTAVES
from facecli.train.shade import SHADOW_SIZE, WRAP
from facecli.train.tensor.filters import blur, pyr_down, pyr_up
from facecli.train.tensor.fusion import fused
from facecli.train.tensor.raster import rasterize, turned
from facecli.train.tensor.resident import numbers

BIAS = 3.0
"""mm by which a point may lie behind what the lamp sees before it is in shadow."""
_WRAP = tuple(WRAP.tolist())
SOFTEST = 4.0
"""The widest edge of a shadow, pixels at 512 px."""


@dataclass(frozen=True)
class Lights:
    """As `facecli.train.light.Light`, one for each picture."""

    irradiance: Float[Tensor, "n 9 3"]
    mirror: Float[Tensor, "n h w 3"]
    lamp: Float[Tensor, "n 3"]
    lamp_colour: Float[Tensor, "n 3"]

    def brightness(self, normals: Float[Tensor, "n v 3"]) -> Float[Tensor, "n v"]:
        """How light things of these unit normals (camera frame: y down, z away) are, about 1 where it is lightest."""
        world = normals * world_axes(normals)
        ambient = self.irradiance[:, 0].mean(-1, keepdim=True) * 0.282095
        lamp = self.lamp_colour.mean(-1, keepdim=True)
        facing = (world * self.lamp[:, None]).sum(-1).clamp(min=0)
        lit = ambient * (0.8 + 0.2 * world[..., 1]) + lamp * facing
        return lit / (ambient + 0.6 * lamp)


def world_axes(like: Float[Tensor, "..."]) -> Float[Tensor, "3"]:
    """Camera frame to the lights' frame: y up, z towards the camera."""
    return numbers(like.device, 1.0, -1.0, -1.0).to(like.dtype)


def lamp_seen(
    placed: Float[Tensor, "n v 3"],
    faces: Int[Tensor, "n f 3"],
    position: Float[Tensor, "n h w 3"],
    drawn: Bool[Tensor, "n h w"],
    lamp: Float[Tensor, "n 3"],
    softness: Float[Tensor, "n"],
    widest: float,
) -> tuple[Float[Tensor, "n h w"], Int[Tensor, ""]]:
    """Share of the lamp that each pixel sees, from an orthographic shadow map; its edge blurred by `softness` pixels.

    placed: vertices, position: what each pixel shows; camera frame, mm. Also how many candidates the map lost.
    """
    flat, height, axes, low, scale, floor = _from_the_lamp(placed, lamp)
    seen = rasterize(flat, height, faces, SHADOW_SIZE)
    return _lit(seen.near, position, drawn, lamp, softness, widest, axes, low, scale, floor), seen.lost


@fused
def _from_the_lamp(placed: Float[Tensor, "n v 3"], lamp: Float[Tensor, "n 3"]) -> tuple[Tensor, ...]:
    """Pixels of a shadow map and heights over the lowest vertex; the map's axes, its least coordinates, its scale, and
    the lowest vertex."""
    vertices = placed.double() * world_axes(placed.double())
    direction = lamp.double()
    upright = (direction[:, 1].abs() < 0.9)[:, None]
    unit_x, unit_y = (numbers(lamp.device, *axis).double() for axis in ((1, 0, 0), (0, 1, 0)))
    right = torch.linalg.cross(torch.where(upright, unit_y, unit_x), direction)
    right = right / right.norm(dim=-1, keepdim=True)
    axes = torch.stack([right, -torch.linalg.cross(direction, right)], -1)
    flat = turned(vertices, axes.transpose(1, 2))
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    scale = (SHADOW_SIZE - 4) / (high - low).amax(-1, keepdim=True)
    height = turned(vertices, direction[:, None])[..., 0]
    floor = height.amin(1, keepdim=True) - 1
    return (flat - low) * scale + 2, height - floor, axes, low, scale, floor


@fused
def _lit(
    near: Float[Tensor, "n m m"],
    position: Float[Tensor, "n h w 3"],
    drawn: Bool[Tensor, "n h w"],
    lamp: Float[Tensor, "n 3"],
    softness: Float[Tensor, "n"],
    widest: float,
    axes: Float[Tensor, "n 3 2"],
    low: Float[Tensor, "n 1 2"],
    scale: Float[Tensor, "n 1 1"],
    floor: Float[Tensor, "n 1"],
) -> Float[Tensor, "n h w"]:
    """`lamp_seen`, of the heights in its map."""
    points = position.flatten(1, 2).double()
    points = points * world_axes(points)
    at = ((turned(points, axes.transpose(1, 2)) - low) * scale + 2).round().long().clamp(0, SHADOW_SIZE - 1)
    nearest = near.flatten(1).gather(1, at[..., 1] * SHADOW_SIZE + at[..., 0])
    own = turned(points, lamp.double()[:, None])[..., 0] - floor
    lit = ((nearest <= 0) | (own > nearest - BIAS)).float().reshape(drawn.shape)
    return blur(torch.where(drawn, lit, 1.0), softness, widest)


def bump(
    normals: Float[Tensor, "n h w 3"], positions: Float[Tensor, "n h w 3"], relief: Float[Tensor, "n h w"]
) -> Float[Tensor, "n h w 3"]:
    """Normals of the surface displaced by `relief` along them (Blinn 1978), camera frame."""
    (a, hx), (b, hy) = ((_slope(positions, axis), _slope(relief[..., None], axis)) for axis in (2, 1))
    across = torch.linalg.cross(a, b)
    area = across.norm(dim=-1, keepdim=True).clamp(min=0.05)
    change = (hx * torch.linalg.cross(normals, b) + hy * torch.linalg.cross(a, normals)) / area
    steep = change.norm(dim=-1, keepdim=True)
    bent = normals - change * (1.5 / steep.clamp(min=1e-6)).clamp(max=1)
    bent = bent / bent.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    return torch.where((normals != 0).any(-1, keepdim=True), bent, 0)


def _slope(field: Float[Tensor, "n h w c"], axis: int) -> Float[Tensor, "n h w c"]:
    """Half the difference of both neighbours; none at the picture's edge."""
    length = field.shape[axis]
    out = torch.zeros_like(field)
    inner = (field.narrow(axis, 2, length - 2) - field.narrow(axis, 0, length - 2)) * 0.5
    out.narrow(axis, 1, length - 2).copy_(inner)
    return out


def cavity(relief: Float[Tensor, "n h w"], mm_per_pixel: Float[Tensor, "n"]) -> Float[Tensor, "n h w"]:
    """Share of the sky that each pixel sees out of its groove, 0 to 1, at the scale at which it hides most."""
    levels, steepest = [relief], torch.zeros_like(relief)
    for octave in range(OCTAVES):
        levels.append(pyr_down(levels[-1]))
        around = levels[-1]
        for _ in range(octave + 1):
            around = pyr_up(around)
        steepest = torch.maximum(steepest, (around - relief) / (mm_per_pixel * 2**octave)[:, None, None])
    return 1 / (1 + steepest**2).sqrt()


def shade(
    albedo: Float[Tensor, "n h w 3"],
    normals: Float[Tensor, "n h w 3"],
    view: Float[Tensor, "n h w 3"],
    occlusion: Float[Tensor, "n h w"],
    lamp_share: Float[Tensor, "n h w"],
    gloss: Float[Tensor, "n h w"],
    lights: Lights,
) -> Float[Tensor, "n h w 3"]:
    """Linear radiance of skin. `normals` and `view` (to the camera, of any length) in the camera frame; where the
    normal is 0 there is nothing: black."""
    axes = world_axes(normals)
    normal, towards = normals * axes, view * axes
    towards = towards / towards.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    x, y, z = normal.unbind(-1)
    lamp = lights.lamp[:, None, None]
    cosine = (normal * lamp).sum(-1)
    along = (normal * towards).sum(-1)
    facing = along.clamp(0, 1)
    half = towards + lamp
    mirrored = ((normal * half).sum(-1) / half.norm(dim=-1).clamp(min=1e-6)).clamp(min=0)
    lobes = 0.7 * mirrored**14 * (22 / 25.1) + 0.3 * mirrored**60 * (68 / 25.1)
    fresnel = 0.028 + 0.97 * (1 - facing) ** 5 * 0.35
    glossy = torch.where(cosine > -0.1, lobes * fresnel * 3.14 * lamp_share * gloss, 0)
    reflected = 2 * facing[..., None] * normal - towards
    rows, columns = lights.mirror.shape[1:3]
    row = (reflected[..., 1].clamp(-1, 1).arccos() / torch.pi * rows).long().clamp(0, rows - 1)
    around = torch.atan2(reflected[..., 0], reflected[..., 2]) / (2 * torch.pi) + 0.5
    column = (around * columns).long() % columns
    at = (row * columns + column).flatten(1)[..., None].expand(-1, -1, 3)
    sky_mirror = lights.mirror.flatten(1, 2).gather(1, at).reshape(normals.shape)
    basis = (
        torch.full_like(x, 0.282095), 0.488603 * y, 0.488603 * z, 0.488603 * x, 1.092548 * x * y,
        1.092548 * y * z, 0.315392 * (3 * z * z - 1), 1.092548 * x * z, 0.546274 * (x * x - y * y),
    )  # fmt: skip
    sky = torch.zeros_like(normal)
    for k, shape in enumerate(basis):
        sky = torch.addcmul(sky, shape[..., None], lights.irradiance[:, k, None, None])
    wrap = numbers(normals.device, *_WRAP)
    colour = lights.lamp_colour[:, None, None]
    direct = ((cosine[..., None] + wrap) / (1 + wrap)).clamp(min=0) * lamp_share[..., None] * colour
    ambient = sky.clamp(min=0.02) * occlusion[..., None]
    sheen = (fresnel * occlusion * gloss)[..., None]
    radiance = albedo * (ambient + direct) + glossy[..., None] * colour + sky_mirror * sheen
    return torch.where((normals != 0).any(-1, keepdim=True), radiance, 0)
