"""Environment maps as light: irradiance in spherical harmonics, a blurred mirror, one main lamp."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

HEIGHT, WIDTH = 64, 128
TURNS = 16
"""Each map is used at this many rotations about the vertical."""


@dataclass(frozen=True)
class Light:
    """Linear RGB, in the head's world frame (x right, y up, z towards the camera).

    `irradiance` are nine coefficients of diffuse shading (see `basis`), `mirror` a blurred latitude-longitude
    map for glossy reflection, `lamp` the direction of the strongest light and `lamp_colour` its irradiance,
    which is not in `irradiance`: it casts a shadow. Mean irradiance is about 1.
    """

    irradiance: Float[np.ndarray, "9 3"]
    mirror: Float[np.ndarray, "h w 3"]
    lamp: Float[np.ndarray, "3"]
    lamp_colour: Float[np.ndarray, "3"]

    def brightness(self, normals: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v"]:
        """How light things of these unit normals (camera frame: y down, z away) are, about 1 where it is lightest."""
        world = normals * np.array([1, -1, -1], np.float32)
        ambient, lamp = float(self.irradiance[0].mean()) * 0.282095, float(self.lamp_colour.mean())
        lit = ambient * (0.8 + 0.2 * world[:, 1]) + lamp * np.maximum(world @ self.lamp, 0)
        return np.asarray(lit / (ambient + 0.6 * lamp), np.float32)


def basis(directions: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 9"]:
    """Real spherical harmonics up to order two, with their constants (Ramamoorthi and Hanrahan 2001)."""
    x, y, z = directions[..., 0], directions[..., 1], directions[..., 2]
    return np.stack(
        [
            np.full_like(x, 0.282095),
            0.488603 * y,
            0.488603 * z,
            0.488603 * x,
            1.092548 * x * y,
            1.092548 * y * z,
            0.315392 * (3 * z * z - 1),
            1.092548 * x * z,
            0.546274 * (x * x - y * y),
        ],
        -1,
    ).astype(np.float32)


COSINE_LOBE = np.array([np.pi, *[2 * np.pi / 3] * 3, *[np.pi / 4] * 5], np.float32)


def directions_of_map() -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
    """World direction of each pixel of a latitude-longitude map, and its solid angle."""
    theta = (np.arange(HEIGHT) + 0.5) / HEIGHT * np.pi
    phi = (np.arange(WIDTH) + 0.5) / WIDTH * 2 * np.pi - np.pi
    sin = np.sin(theta)[:, None]
    stack = [sin * np.sin(phi), np.repeat(np.cos(theta)[:, None], WIDTH, 1), sin * np.cos(phi)]
    return np.stack(stack, -1).astype(np.float32), np.repeat(sin, WIDTH, 1) * (np.pi / HEIGHT) * (
        2 * np.pi / WIDTH
    )


def load_lights(folder: Path) -> list[Light]:
    """All environment maps of `folder` (EXR), each at every turn."""
    import OpenEXR

    directions, solid = directions_of_map()
    lights = []
    for path in sorted(folder.glob("*.exr")):
        with OpenEXR.File(str(path)) as file:
            full = np.nan_to_num(np.asarray(file.channels()["RGB"].pixels, np.float32), posinf=6e4)
        small = cv2.resize(np.clip(full, 0, 2e4), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        for turn in range(TURNS):
            lights.append(_light(np.roll(small, turn * WIDTH // TURNS, 1), directions, solid))
    return lights


def _light(
    radiance: Float[np.ndarray, "h w 3"],
    directions: Float[np.ndarray, "h w 3"],
    solid: Float[np.ndarray, "h w"],
) -> Light:
    luminance = radiance.mean(-1)
    spread = cv2.GaussianBlur(luminance * solid, (0, 0), 2)
    peak = np.unravel_index(spread.argmax(), spread.shape)
    lamp = directions[peak]
    near = (directions @ lamp) > 0.94
    bright = near & (luminance > 4 * np.median(luminance))
    lamp_colour = (radiance * (solid * bright)[..., None]).sum((0, 1))
    rest = np.where(bright[..., None], np.median(radiance.reshape(-1, 3), 0), radiance)
    coefficients = np.einsum("hwk,hwc,hw->kc", basis(directions), rest, solid) * COSINE_LOBE[:, None] / np.pi
    scale = 1 / max(float((coefficients[0] * 0.282095).mean() + 0.25 * lamp_colour.mean() / np.pi), 1e-6)
    mirror = cv2.GaussianBlur(np.minimum(rest, 50 * np.median(luminance) + 1), (0, 0), 4)
    return Light(
        (coefficients * scale).astype(np.float32),
        (mirror * scale).astype(np.float32),
        lamp,
        (lamp_colour / np.pi * scale).astype(np.float32),
    )


def random_light(rng: np.random.Generator, lights: list[Light]) -> Light:
    """An environment, its colour cast softened, its lamp at random strength; or a flash or a lone lamp."""
    light = lights[rng.integers(len(lights))]
    grey = 1 / np.maximum(light.irradiance[0] * 0.282095 + 0.25 * light.lamp_colour, 1e-3)
    cast = (grey / grey.mean()) ** rng.uniform(0.3, 0.9)
    lamp, lamp_colour = light.lamp, light.lamp_colour * rng.uniform(0.3, 1.2)
    ambient = rng.uniform(0.35, 1.1)
    kind = rng.random()
    if kind < 0.2:  # flash, a little off the lens
        lamp = np.array([rng.normal(0, 0.15), abs(rng.normal(0.1, 0.15)), 1.0], np.float32)
    elif kind < 0.55:  # a lamp anywhere in front
        lamp = np.array([rng.normal(0, 1.0), rng.normal(0.6, 0.6), abs(rng.normal(0.6, 0.4))], np.float32)
    elif kind < 0.7:  # one hard lamp in the dark, to the side and above, or below
        lamp = np.array([rng.normal(0, 1.2), rng.normal(0.2, 0.7), rng.normal(0.6, 0.5)], np.float32)
        ambient = rng.uniform(0.02, 0.2)
    if kind < 0.7:
        lamp_colour = (1 + rng.normal(0, 0.08, 3)) * rng.uniform(0.3, 2.0)
    lamp = lamp / np.linalg.norm(lamp)
    return Light(
        (light.irradiance * cast * ambient).astype(np.float32),
        (light.mirror * cast * ambient).astype(np.float32),
        lamp.astype(np.float32),
        (lamp_colour * cast).astype(np.float32),
    )
