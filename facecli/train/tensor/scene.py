"""What is random of a batch of heads: who, their look, from where and under which light they are seen.

The distributions are those of `facecli.train.synth`; each is drawn for all heads at once.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from facecli.train.complexion import FIBRES, PUPIL_ANGLE
from facecli.train.sample import EXPRESSIVE, FULL
from facecli.train.synth import BORROWED, FARTHEST_MM, NEAREST_MM
from facecli.train.tensor.complexion import Look
from facecli.train.tensor.dice import Dice
from facecli.train.tensor.fusion import fused
from facecli.train.tensor.head import Camera, Head, framed
from facecli.train.tensor.resident import numbers
from facecli.train.tensor.sculptor import Sculptor
from facecli.train.tensor.shade import Lights
from facecli.train.tensor.skin import People
from facecli.train.tensor.tongue import STUCK_OUT, Lick, Tongue
from facecli.train.tongue import GRAIN

SAID = ("eyeBlink", "jawOpen", "mouthFunnel", "mouthPucker", "mouthStretch", "mouthLowerDown", "mouthSmile",
        "mouthUpperUp", "cheekSquint")  # fmt: skip
"""Words that shapes begin with which move when somebody speaks or laughs."""
HAIR = ((0.012, 0.009, 0.008), (0.05, 0.028, 0.016), (0.16, 0.09, 0.045), (0.4, 0.29, 0.16), (0.4, 0.4, 0.41),
        (0.2, 0.05, 0.02))  # fmt: skip
HAIR_SHARES = (0.35, 0.25, 0.12, 0.12, 0.11, 0.05)
IRISES = ((0.08, 0.04, 0.02), (0.03, 0.015, 0.01), (0.12, 0.2, 0.3), (0.12, 0.17, 0.08), (0.2, 0.13, 0.06))
IRIS_SHARES = (0.35, 0.3, 0.15, 0.1, 0.1)


@dataclass(frozen=True)
class Scene:
    """n heads before anything is drawn: `vertices` in mm, head frame; `beta` their expressions; `relief` in mm in the
    skin's UV tile; `softness` of the shadow's edge, pixels; `shine` times the usual; `exposure`: what the face's median
    light becomes."""

    vertices: Float[Tensor, "n v 3"]
    beta: Float[Tensor, "n e"]
    camera: Camera
    look: Look
    lick: Lick
    relief: Float[Tensor, "n t t"]
    lights: Lights
    softness: Float[Tensor, "n"]
    shine: Float[Tensor, "n"]
    exposure: Float[Tensor, "n"]


LOOKS = {"Up": ("Up",), "Down": ("Down",), "Left": ("Out_L", "In_R"), "Right": ("In_L", "Out_R")}
"""Ends of the shapes that eyes look somewhere with."""


def acted(dice: Dice, names: tuple[str, ...], fitted: Float[Tensor, "p e"]) -> Float[Tensor, "n e"]:
    """Expressions drawn by lot, or `fitted` to portraits, as often as `Synthesizer` borrows them."""
    drawn, theirs = expressions(dice, names), fitted[dice.below(len(fitted))]
    return torch.where(dice.chance(BORROWED)[:, None], theirs, drawn)


def expressions(dice: Dice, names: tuple[str, ...]) -> Float[Tensor, "n e"]:
    """As `facecli.train.sample.lively_expression`."""
    device = dice.device
    members = {
        word: numbers(device, *(float(name.startswith(word)) for name in names))
        for word in (*EXPRESSIVE, *SAID)
    }
    gaze = torch.stack([
        numbers(device, *(float(name.startswith("eyeLook") and any(w in name for w in wanted)) for name in names))
        for wanted in LOOKS.values()
    ])  # fmt: skip
    return _expressed(dice, members, gaze, numbers(device, *EXPRESSIVE.values()))


@fused
def _expressed(
    dice: Dice,
    members: dict[str, Float[Tensor, "e"]],
    gazes: Float[Tensor, "4 e"],
    strongest: Float[Tensor, "g"],
) -> Float[Tensor, "n e"]:
    """members: which shapes begin with a word; gazes: which look somewhere; strongest: of each of `EXPRESSIVE`."""
    groups = list(EXPRESSIVE)
    device = dice.device
    order = dice.random(len(groups)).argsort(1).argsort(1)
    chosen = order < dice.below(6)[:, None]
    blink = groups.index("eyeBlink")
    chosen = (
        chosen & ~(torch.arange(len(groups), device=device) == blink) | chosen & dice.chance(0.5)[:, None]
    )
    strength = dice.beta(1.2, 1.6, len(groups)) * strongest * chosen
    lopsided = dice.chance(0.25, len(groups))
    gaze = gazes[dice.below(4)]
    beta = torch.zeros(dice.n, gazes.shape[1], device=device)
    own = dice.random(gazes.shape[1])
    for k, group in enumerate(groups):
        which = gaze if group == "eyeLook" else members[group]
        beta = torch.where(
            (which > 0) & chosen[:, k : k + 1],
            strength[:, k : k + 1] * torch.where(lopsided[:, k : k + 1], own, 1.0),
            beta,
        )

    def add(where: Bool[Tensor, "n"], amount: Float[Tensor, "n"], start: str) -> None:
        nonlocal beta
        more = (beta + amount[:, None] * members[start]).clamp(0, 1)
        beta = torch.where(where[:, None], more, beta)

    add(dice.chance(0.16), dice.uniform(0.15, 1.0), "eyeBlink")
    kind = torch.where(dice.chance(0.6), torch.full_like(strength[:, 0], 2.0), dice.random())
    ajar, speaking, laughing = kind < 0.3, (kind >= 0.3) & (kind < 0.65), (kind >= 0.65) & (kind < 1)
    add(ajar, dice.uniform(0.03, 0.25), "jawOpen")
    add(speaking, dice.beta(1.3, 1.8), "jawOpen")
    lips, wide = dice.below(4), dice.uniform(0, 0.5)
    for k, group in enumerate(("mouthFunnel", "mouthPucker", "mouthStretch", "mouthLowerDown")):
        add(speaking & (lips == k), wide, group)
    add(laughing, dice.uniform(0.3, 0.9), "mouthSmile")
    add(laughing, dice.uniform(0, 0.5), "mouthUpperUp")
    add(laughing, dice.uniform(0, 0.6), "mouthLowerDown")
    add(laughing, dice.beta(1.0, 3.0) * 0.7, "jawOpen")
    add(laughing, dice.uniform(0, 0.6), "cheekSquint")
    return beta


@fused
def cameras(dice: Dice, vertices: Float[Tensor, "n v 3"], size: int) -> Camera:
    """Poses, distances and crops as `Synthesizer.sample` draws them."""
    yaw = torch.where(dice.chance(0.3), dice.uniform(-90, 90), dice.normal(0, 28).clamp(-90, 90))
    pitch = torch.where(dice.chance(0.25), dice.uniform(-40, 40), dice.normal(0, 13).clamp(-40, 40))
    (cy, sy), (cp, sp) = ((angle.cos(), angle.sin()) for angle in (yaw.deg2rad(), pitch.deg2rad()))
    zero = torch.zeros_like(cy)
    # about y, then about x, then the y and z of the head frame turned to the camera's
    rotation = (
        torch.stack([cy, zero, sy, -sp * sy, -cp, sp * cy, cp * sy, -sp, -cp * cy], -1)
        .reshape(-1, 3, 3)
        .double()
    )
    distance = dice.uniform(math.log(NEAREST_MM), math.log(FARTHEST_MM)).exp()
    off = dice.normal(0, 0.12, 2).clamp(-0.35, 0.35) * distance[:, None]
    translation = torch.cat([off, distance[:, None]], 1).double()
    placed = (vertices.double() @ rotation.transpose(1, 2) + translation[:, None]).float()
    roll = torch.where(
        dice.chance(0.9), dice.normal(0, 12).clamp(-45, 45).deg2rad(), dice.uniform(-0.75, 0.75)
    )
    frame = framed(
        placed, size, dice.normal(0, 0.09).clamp(-0.22, 0.22), dice.normal(0, 0.035, 2).clamp(-0.1, 0.1), roll
    )
    return Camera(rotation, translation, frame, size)


@fused
def hair_colour(dice: Dice) -> Float[Tensor, "n 3"]:
    """Linear albedo of black, brown, fair, grey or red hair."""
    tones = torch.stack([numbers(dice.device, *tone) for tone in HAIR])
    pick = tones[dice.choice(HAIR_SHARES)]
    return pick * dice.uniform(0.6, 1.4)[:, None] * (1 + dice.normal(0, 0.05, 3))


def looks(dice: Dice, people: People, creased: bool) -> tuple[Look, Float[Tensor, "n t t"] | None]:
    """Skins of the pool, mixed and toned, with moles, and the colours of all else; if `creased`, also the relief that
    portraits lend, mm."""
    albedo, back, lifted = people.skins(dice, creased)
    return _look(dice, people, albedo, back), lifted


@fused
def _look(
    dice: Dice, people: People, albedo: UInt8[Tensor, "n t t 3"], back: UInt8[Tensor, "n b b 3"]
) -> Look:
    """All else that is of a look."""
    device = dice.device
    low, high = numbers(device, 48, 12, 5, -5), numbers(device, 85, 30, 30, 15)
    hairline = torch.cat([dice.uniform(low, high, 4), dice.chance(0.8).float()[:, None]], 1)
    fibre = people.noise(dice, FIBRES, FIBRES // 4)
    fibre = torch.nn.functional.interpolate(fibre[:, None], (FIBRES, FIBRES), mode="bilinear")[:, 0]
    irises = torch.stack([numbers(device, *tone) for tone in IRISES])
    return Look(
        albedo=albedo,
        back=back,
        fibre=fibre,
        hairline=hairline,
        nape=dice.uniform(-70, -20),
        shaved=dice.chance(0.5),
        cloth=dice.uniform(0.01, 0.7, 3),
        gums=numbers(device, 0.35, 0.09, 0.08) * dice.uniform(0.6, 1.2)[:, None],
        teeth=numbers(device, 0.68, 0.6, 0.5) * dice.uniform(0.7, 1.1)[:, None],
        hair=hair_colour(dice),
        iris=irises[dice.choice(IRIS_SHARES)] * dice.uniform(0.7, 1.4)[:, None],
        rays=(18 + dice.below(22)).float(),
        phase=dice.uniform(0, 6),
        white=dice.uniform(0.7, 1.1),
        pupil=PUPIL_ANGLE * dice.uniform(0.7, 1.5),
    )


@fused
def lights(dice: Dice, every: Lights) -> Lights:
    """As `facecli.train.light.random_light`: an environment; or a flash, or a lone lamp."""
    pick = dice.below(len(every.lamp))
    irradiance, mirror = every.irradiance[pick], every.mirror[pick]
    grey = 1 / (irradiance[:, 0] * 0.282095 + 0.25 * every.lamp_colour[pick]).clamp(min=1e-3)
    cast = (grey / grey.mean(1, keepdim=True)) ** dice.uniform(0.3, 0.9)[:, None]
    colour = every.lamp_colour[pick] * dice.uniform(0.3, 1.2)[:, None]
    ambient = dice.uniform(0.35, 1.1)
    kind = dice.random()
    one = torch.ones_like(kind)
    flash = torch.stack([dice.normal(0, 0.15), dice.normal(0.1, 0.15).abs(), one], 1)
    front = torch.stack([dice.normal(0, 1), dice.normal(0.6, 0.6), dice.normal(0.6, 0.4).abs()], 1)
    hard = torch.stack([dice.normal(0, 1.2), dice.normal(0.2, 0.7), dice.normal(0.6, 0.5)], 1)
    dark = dice.uniform(0.02, 0.2)
    own = (1 + dice.normal(0, 0.08, 3)) * dice.uniform(0.3, 2.0)[:, None]
    lamp = torch.where((kind < 0.7)[:, None], hard, every.lamp[pick])
    lamp = torch.where((kind < 0.55)[:, None], front, lamp)
    lamp = torch.where((kind < 0.2)[:, None], flash, lamp)
    ambient = torch.where((kind >= 0.55) & (kind < 0.7), dark, ambient)
    colour = torch.where((kind < 0.7)[:, None], own, colour)
    tint = (cast * ambient[:, None])[:, None]
    return Lights(
        irradiance * tint, mirror * tint[:, None], lamp / lamp.norm(dim=1, keepdim=True), colour * cast
    )


def scene(
    dice: Dice,
    head: Head,
    tongue: Tongue,
    people: People,
    every: Lights,
    size: int,
    sculptor: Sculptor | None = None,
) -> Scene:
    """Draw lots for a batch."""
    alpha = dice.normal(0, dice.uniform(0.6, 1.25)[:, None], len(head.identity))
    out = dice.chance(STUCK_OUT)
    beta = tongue.parted(dice, acted(dice, head.model.expression_names, people.fitted), out)
    vertices = head.vertices(alpha, beta)
    if sculptor is not None:
        vertices = vertices + sculptor.added(dice)
    vertices, lip = tongue.moved(dice, vertices, out)
    # at half the full size creases hardly show, and nothing asks for them
    look, lifted = looks(dice, people, size == FULL)
    return Scene(
        vertices=vertices,
        beta=beta,
        camera=cameras(dice, vertices, size),
        look=look,
        lick=tongue.lick(dice, lip, people.noise(dice, GRAIN, GRAIN)),
        relief=people.relief(dice, beta, head.model.expression_names, lifted),
        lights=lights(dice, every),
        softness=dice.uniform(1.0, 4.0) * size / FULL,
        shine=dice.uniform(0.2, 2.2),
        exposure=dice.uniform(0.12, 0.5),
    )
