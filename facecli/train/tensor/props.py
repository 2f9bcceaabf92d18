"""Glasses, hands, microphones and things before a batch of faces: `facecli.train.props` in tensors.

What OpenCV fills and strokes there is told here by how far each pixel is from an outline.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from facecli.train.props import SOME_SKIN
from facecli.train.tensor.backdrop import backdrop
from facecli.train.tensor.dice import Dice
from facecli.train.tensor.filters import blur
from facecli.train.tensor.fusion import fused
from facecli.train.tensor.head import FOCAL, Camera
from facecli.train.tensor.limb import Lamp, Limbs, grain, hands, microphones, paint
from facecli.train.tensor.resident import numbers
from facecli.train.tensor.skin import People

GLASSES, THING, SPEECH = 0.22, 0.22, 0.04
"""Shares of heads with glasses, with one thing in front (and as many of those with another), and with a microphone."""
THINGS = 2
_SOME_SKIN = tuple(SOME_SKIN.tolist())
CORNERS = 9

Picture = tuple[Float[Tensor, "n s s 3"], Bool[Tensor, "n s s"], Int[Tensor, ""]]
"""Image, face region, and how many things found no place."""


@fused
def glasses(
    dice: Dice, image: Float[Tensor, "n s s 3"], region: Bool[Tensor, "n s s"], landmarks: Float[Tensor, "n 68 3"],
    camera: Camera,
) -> tuple[Float[Tensor, "n s s 3"], Bool[Tensor, "n s s"]]:  # fmt: skip
    """Spectacles on some; landmarks in mm, head frame."""
    size = camera.size
    right, left = landmarks[:, 36:42].mean(1), landmarks[:, 42:48].mean(1)
    half = torch.stack([dice.uniform(21, 29), dice.uniform(15, 24)], 1)
    power = 2 * dice.uniform(1.0, 2.8)
    plane = torch.maximum(right[:, 2], left[:, 2]) + dice.uniform(12, 20)
    colour = dice.one_of((15, 30, 60, 120, 200), (0.45, 0.2, 0.15, 0.1, 0.1))[:, None] + dice.uniform(
        -12, 30, 3
    )
    colour = colour * dice.uniform(0.6, 1.3)[:, None]
    width = dice.one_of((1.0, 2.0, 3.5, 5.0), (0.25,) * 4)
    worn, dark = dice.chance(GLASSES), dice.chance(0.25)
    tint = dice.uniform(0, 60, 3)
    opacity = torch.where(dark, dice.uniform(0.75, 1.0), dice.one_of((0.0, 0.08, 0.2), (0.5, 0.25, 0.25)))
    opacity = opacity * worn
    middle = (right[:, 0] + left[:, 0]) / 2
    thick = (width * camera.pixels_per_mm).round().clamp(min=1)
    origin, rays = _rays(camera)
    frame = torch.zeros_like(image[..., 0])
    rims = []
    for eye in (right, left):
        off = eye[:, 0] - middle
        depth = plane - 0.004 * off.abs() ** 1.6  # rims bend back; a lens is taken as flat
        slope = -0.0064 * off.abs() ** 0.6 * off.sign()
        rho = _superellipse(origin, rays, eye, depth, slope, half, power)
        away = rho / _steepness(rho + 1).clamp(min=1e-6)
        lens = (0.5 - away).clamp(0, 1)
        image = image + (tint[:, None, None] - image) * (lens * opacity[:, None, None])[..., None]
        region = region & ~((dark & worn)[:, None, None] & (lens >= 0.5))
        frame = torch.maximum(frame, (thick[:, None, None] / 2 + 0.5 - away.abs()).clamp(0, 1))
        rims.append([torch.stack([eye[:, 0] + sign * half[:, 0], eye[:, 1], depth + slope * sign * half[:, 0]], 1)
                     for sign in (-1, 1)])  # fmt: skip
    bridge = (rims[0][1] + rims[1][0]) / 2 + numbers(dice.device, 0, 4, 3)
    lines = [(rims[0][1], bridge, thick), (bridge, rims[1][0], thick)]
    stout = (width.clamp(min=2) * camera.pixels_per_mm).round().clamp(min=1)
    for hinge, ear, sign in ((rims[0][0], landmarks[:, 0], -1), (rims[1][1], landmarks[:, 16], 1)):
        end = torch.stack([ear[:, 0] + sign * 3, hinge[:, 1], ear[:, 2] * 0.6 + 6], 1)
        # the temple on the far side hides behind the face
        lines.append((hinge, end, torch.where(sign * camera.sideways > -0.15, stout, -2.0)))
    ends = camera.pixels(
        camera.placed(torch.cat([p for a, b, _ in lines for p in (a[:, None], b[:, None])], 1))
    )
    for k, (_, _, wide) in enumerate(lines):
        away = _from_line(ends[:, 2 * k].float(), ends[:, 2 * k + 1].float(), size)
        frame = torch.maximum(frame, (wide[:, None, None] / 2 + 0.5 - away).clamp(0, 1))
    frame = frame * worn[:, None, None]
    return image + (colour[:, None, None] - image) * frame[..., None], region & (frame < 0.5)


def _rays(camera: Camera) -> tuple[Float[Tensor, "n 1 1 3"], Float[Tensor, "n s s 3"]]:
    """Where the camera is in the head frame, and the direction of each pixel there."""
    steps = torch.arange(camera.size, device=camera.frame.device, dtype=torch.float64)
    off_x, off_y = (steps - camera.frame[:, k, None, 2] for k in (0, 1))
    back = (camera.unframed / FOCAL)[:, :, :, None, None]
    x, y = (back[:, k, 0] * off_x[:, None] + back[:, k, 1] * off_y[:, :, None] for k in (0, 1))
    turn = camera.rotation[:, :, :, None, None]
    rays = torch.stack([x * turn[:, 0, k] + y * turn[:, 1, k] + turn[:, 2, k] for k in range(3)], -1)
    origin = -(camera.rotation * camera.translation[..., None]).sum(1)
    return origin[:, None, None].float(), rays.float()


def _superellipse(
    origin: Float[Tensor, "n 1 1 3"], rays: Float[Tensor, "n s s 3"], eye: Float[Tensor, "n 3"],
    depth: Float[Tensor, "n"], slope: Float[Tensor, "n"], half: Float[Tensor, "n 2"], power: Float[Tensor, "n"],
) -> Float[Tensor, "n s s"]:  # fmt: skip
    """How far outside the lens a pixel looks through its plane, in shares of the lens' reach; -1 in its middle."""
    depth, slope, power = (a[:, None, None] for a in (depth, slope, power))
    eye, half = eye[:, None, None], half[:, None, None]
    fall = rays[..., 2] - slope * rays[..., 0]
    far = (depth + slope * (origin[..., 0] - eye[..., 0]) - origin[..., 2]) / torch.where(
        fall.abs() < 1e-4, 1e-4, fall
    )
    there = (origin[..., :2] + far[..., None] * rays[..., :2] - eye[..., :2]) / half
    there = there.abs().clamp(1e-4, 20)
    rho = (there[..., 0] ** power + there[..., 1] ** power) ** (1 / power)
    return torch.where(far > 0, rho, 20.0) - 1


def _steepness(field: Float[Tensor, "n s s"]) -> Float[Tensor, "n s s"]:
    """Length of the slope, per pixel."""
    down, across = torch.gradient(field, dim=(1, 2))
    return torch.hypot(down, across)


def _from_line(start: Float[Tensor, "n 2"], end: Float[Tensor, "n 2"], size: int) -> Float[Tensor, "n s s"]:
    """Distance of each pixel from a piece of a line, pixels."""
    steps = torch.arange(size, device=start.device, dtype=torch.float32)
    x, y = steps[None, None, :] - start[:, 0, None, None], steps[None, :, None] - start[:, 1, None, None]
    wx, wy = (end - start)[..., None, None].unbind(1)
    share = ((x * wx + y * wy) / (wx**2 + wy**2).clamp(min=1e-6)).clamp(0, 1)
    return torch.hypot(x - share * wx, y - share * wy)


def some_pixel(region: Bool[Tensor, "n s s"], share: Float[Tensor, "n"]) -> Float[Tensor, "n 2"]:
    """Column and row of a pixel of each region: the one that so large a share of it lies before."""
    upto = region.flatten(1).cumsum(1)
    wanted = (share * upto[:, -1]).floor().long()[:, None] + 1
    at = torch.searchsorted(upto, wanted)[:, 0].clamp(max=upto.shape[1] - 1)
    return torch.stack(
        [at % region.shape[2], torch.div(at, region.shape[2], rounding_mode="floor")], 1
    ).float()


def mean_colour(image: Float[Tensor, "n s s 3"], region: Bool[Tensor, "n s s"]) -> Float[Tensor, "n 3"]:
    """Of the region; of some skin where there is none."""
    count = region.sum((1, 2))[:, None]
    mean = (image * region[..., None]).sum((1, 2)) / count.clamp(min=1)
    return torch.where(count > 0, mean, numbers(image.device, *_SOME_SKIN))


def few(there: Bool[Tensor, "n"], share: float) -> tuple[Int[Tensor, "k"], Int[Tensor, ""]]:
    """Which of a batch have something that about a `share` of all have: those first, filled up with others to a number
    that nobody needs to look at the batch for; and how many found no place, of which there are hardly ever any."""
    expected = len(there) * share
    places = min(len(there), math.ceil(expected + 6 * math.sqrt(expected)) + 2)
    return (~there).byte().argsort(stable=True)[:places], (there.sum() - places).clamp(min=0)


@fused
def thing(
    dice: Dice, image: Float[Tensor, "n s s 3"], region: Bool[Tensor, "n s s"], there: Bool[Tensor, "n"],
    share: float, people: People, unit: Float[Tensor, "n"],
) -> Picture:  # fmt: skip
    """Something in front of those that have it `there`, about a `share` of all: a hand about as light as the face, or a
    random shape with a photo's texture. unit: pixels of a mm."""
    size = image.shape[1]
    skin = mean_colour(image, region) * dice.uniform(0.7, 1.2)[:, None] * (1 + dice.normal(0, 0.04, 3))
    there = there & region.flatten(1).any(1)
    anchor = some_pixel(region, dice.random()) + dice.normal(0, 0.06, 2) * size
    handed = there & dice.chance(0.5)
    limbs, sleeves = hands(dice, anchor, unit)
    noise, cloth, lamp = people.noise(dice, 48, 48), dice.uniform(20, 250, 3), Lamp.drawn(dice)
    rows, lost = few(handed, share / 2)
    relief, owner = Limbs(limbs.start[rows], limbs.end[rows], limbs.thick[rows], limbs.thin[rows]).relief(
        size
    )
    soft = grain(noise[rows], size)
    sleeved = sleeves[rows].gather(1, owner.flatten(1)).reshape(owner.shape) > 0
    colour = torch.where(
        sleeved[..., None],
        cloth[rows, None, None] * (1 + 0.08 * soft),
        skin[rows, None, None] * (1 + 0.035 * soft),
    )
    lit = Lamp(lamp.towards[rows], lamp.contact[rows])
    painted = paint(image[rows], region[rows], relief, colour, handed[rows], lit)
    image, region = (
        whole.index_copy(0, rows, part) for whole, part in zip((image, region), painted, strict=True)
    )

    mask = _shape(dice, anchor, size).float()
    rounded = (blur(mask, size / 56) > 0.5).float()
    mask = torch.where(dice.chance(0.5)[:, None, None], rounded, mask)
    mask = blur(mask, dice.uniform(0.4, 1.2) * size / 256, 1.2 * size / 256)
    mask = mask * (there & ~handed)[:, None, None]
    image = image + (backdrop(dice, people.crops, size) - image) * mask[..., None]
    return image, region & (mask < 0.5), lost


def _shape(dice: Dice, anchor: Float[Tensor, "n 2"], size: int) -> Bool[Tensor, "n s s"]:
    """Polygons about places."""
    number = torch.arange(CORNERS, device=dice.device)
    last = 3 + dice.below(6)
    angle = (
        torch.where(number <= last[:, None], dice.uniform(0, 2 * torch.pi, CORNERS), torch.inf).sort(1).values
    )
    radius = dice.uniform(0.05, 0.25)[:, None] * size * dice.uniform(0.5, 1.2, CORNERS)
    stretch = torch.stack([torch.ones(dice.n, device=dice.device), dice.uniform(0.3, 1.0)], 1)
    used = torch.minimum(number, last[:, None])  # the rest repeat the last
    angle, radius = angle.gather(1, used), radius.gather(1, used)
    corners = (
        anchor[:, None] + torch.stack([angle.cos(), angle.sin()], -1) * radius[..., None] * stretch[:, None]
    )
    return inside(corners, size)


def inside(corners: Float[Tensor, "n c 2"], size: int) -> Bool[Tensor, "n s s"]:
    """Pixels within polygons, by the parity of the edges to their right."""
    steps = torch.arange(size, device=corners.device, dtype=torch.float32)
    x, y = steps[None, None, :], steps[None, :, None]
    odd = torch.zeros(len(corners), size, size, dtype=torch.bool, device=corners.device)
    for a, b in zip(corners.unbind(1), corners.roll(-1, 1).unbind(1), strict=True):
        (ax, ay), (bx, by) = (p[..., None, None].unbind(1) for p in (a, b))
        tall = torch.where(by == ay, 1, by - ay)
        odd = odd ^ (((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / tall + ax))
    return odd


@fused
def speech(
    dice: Dice, image: Float[Tensor, "n s s 3"], region: Bool[Tensor, "n s s"], landmarks: Float[Tensor, "n 68 3"],
    camera: Camera,
) -> Picture:  # fmt: skip
    """A microphone before some mouths. landmarks: of the head, mm."""
    size, unit = camera.size, camera.pixels_per_mm
    mouth = camera.pixels(camera.placed(landmarks[:, 60:68])).mean(1).float()
    there = dice.chance(SPEECH)
    limbs, _ = microphones(dice, mouth, unit)
    skin = numbers(image.device, *_SOME_SKIN) * dice.uniform(0.3, 1.1)[:, None]
    body = dice.uniform(8, 60)[:, None] + dice.normal(0, 4, 3)
    plain = dice.one_of((30.0, 90.0, 150.0), (1 / 3,) * 3)[:, None] + dice.normal(0, 12, 3)
    ball = torch.where(dice.chance(0.8)[:, None], plain, dice.uniform(20, 240, 3))
    tones = torch.stack([ball, body] + [skin] * (limbs.start.shape[1] - 2), 1)
    lamp = Lamp.drawn(dice)
    rows, lost = few(there, SPEECH)
    relief, owner = Limbs(limbs.start[rows], limbs.end[rows], limbs.thick[rows], limbs.thin[rows]).relief(
        size
    )
    colour = tones[rows].gather(1, owner.flatten(1)[..., None].expand(-1, -1, 3)).reshape(*owner.shape, 3)
    steps = torch.arange(size, device=image.device)
    cell = (unit[rows] * 2).round().long().clamp(min=1)[:, None, None]
    mesh = torch.div(steps[:, None] + steps, cell, rounding_mode="floor") % 2
    colour = colour * (1 + 0.3 * mesh * (owner == 0))[..., None]
    lit = Lamp(lamp.towards[rows], lamp.contact[rows])
    painted = paint(image[rows], region[rows], relief, colour, there[rows], lit)
    image, region = (
        whole.index_copy(0, rows, part) for whole, part in zip((image, region), painted, strict=True)
    )
    return image, region, lost


def before_the_face(
    dice: Dice, image: Float[Tensor, "n s s 3"], region: Bool[Tensor, "n s s"], landmarks: Float[Tensor, "n 68 3"],
    camera: Camera, people: People,
) -> Picture:  # fmt: skip
    """All of these, in the order in which `facecli.train.synth` draws them."""
    image, region = glasses(dice, image, region, landmarks, camera)
    there = torch.ones(dice.n, dtype=torch.bool, device=dice.device)
    left_out = torch.zeros((), dtype=torch.long, device=dice.device)
    for number in range(THINGS):
        there = there & dice.chance(THING)
        share = THING ** (number + 1)
        image, region, lost = thing(dice, image, region, there, share, people, camera.pixels_per_mm)
        left_out = left_out + lost
    image, region, lost = speech(dice, image, region, landmarks, camera)
    return image, region, left_out + lost
