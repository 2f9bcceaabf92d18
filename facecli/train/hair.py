"""Hair cards in front of the head: MakeHuman's CC0 styles on the head model, drawn with their alpha."""

from dataclasses import dataclass
from pathlib import Path
from typing import no_type_check

import cv2
import numba
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

SCALE, BACKWARD = 107.0, -82.0
"""Decimetres of MakeHuman's head to mm of ours; the shift along z that lays its occiput on ours."""
CROWN = 118.0
"""Height in mm at which a style's highest point comes to sit."""


@dataclass(frozen=True)
class Hair:
    """One style: geometry in mm of the head frame, texture coordinates in texels, RGBA texture."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    texel: Float[np.ndarray, "f 3 2"]
    texture: UInt8[np.ndarray, "h w 4"]


def load_hair(folder: Path) -> list[Hair]:
    """Every style of `folder` that comes with a texture."""
    styles = []
    for path in sorted(folder.glob("*/*.npz")):
        image = path.with_name(path.stem + "_diffuse.webp")
        if not image.exists():
            continue
        texture = np.asarray(cv2.imdecode(np.frombuffer(image.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED))
        if texture.shape[-1] != 4:
            continue
        texture = cv2.cvtColor(texture, cv2.COLOR_BGRA2RGBA)
        with np.load(path) as archive:
            coord, quads = archive["coord"].astype(np.float32), archive["fvert"].astype(np.int32)
            texco, quad_uv = archive["texco"].astype(np.float32), archive["fuvs"].astype(np.int32)
        vertices = coord * SCALE
        vertices[:, 1] += CROWN - vertices[:, 1].max()
        vertices[:, 2] += BACKWARD
        height, width = texture.shape[:2]
        texel = np.stack([texco[:, 0] * width, (1 - texco[:, 1]) * height], -1) - 0.5
        order = ([0, 1, 2], [0, 2, 3])
        faces = np.concatenate([quads[:, corners] for corners in order])
        uv = np.concatenate([quad_uv[:, corners] for corners in order])
        whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
        styles.append(Hair(vertices, faces[whole], texel[uv[whole]], texture))
    return styles


@numba.njit(cache=True, nogil=True)
@no_type_check  # numba compiles the function itself, not a wrapper of it
def _draw(pixels, inverse, faces, texel, texture, zbuffer, colour, cover, shade, threshold):
    height, width = zbuffer.shape
    th, tw = texture.shape[0], texture.shape[1]
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        wa, wb, wc = inverse[a], inverse[b], inverse[c]
        if wa <= 0 or wb <= 0 or wc <= 0:
            continue
        ax, ay, bx, by, cx, cy = (
            pixels[a, 0],
            pixels[a, 1],
            pixels[b, 0],
            pixels[b, 1],
            pixels[c, 0],
            pixels[c, 1],
        )
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        x0, x1 = max(int(np.ceil(min(ax, bx, cx))), 0), min(int(np.floor(max(ax, bx, cx))), width - 1)
        y0, y1 = max(int(np.ceil(min(ay, by, cy))), 0), min(int(np.floor(max(ay, by, cy))), height - 1)
        inverse_area = 1.0 / area
        u_step, v_step = (by - cy) * inverse_area, (cy - ay) * inverse_area
        for y in range(y0, y1 + 1):
            u0, v0 = (
                (bx * (cy - y) - (by - y) * cx) * inverse_area,
                (cx * (ay - y) - (cy - y) * ax) * inverse_area,
            )
            for x in range(x0, x1 + 1):
                u, v = u0 + x * u_step, v0 + x * v_step
                w = 1.0 - u - v
                if u < 0 or v < 0 or w < 0:
                    continue
                q = u * wa + v * wb + w * wc
                if q <= zbuffer[y, x]:
                    continue
                s = int(u * texel[f, 0, 0] + v * texel[f, 1, 0] + w * texel[f, 2, 0] + 0.5) % tw
                t = int(u * texel[f, 0, 1] + v * texel[f, 1, 1] + w * texel[f, 2, 1] + 0.5) % th
                if texture[t, s, 3] < threshold:
                    continue
                zbuffer[y, x] = q
                cover[y, x] = True
                lit = u * shade[a] + v * shade[b] + w * shade[c]
                for k in range(3):
                    colour[y, x, k] = texture[t, s, k] * lit


def draw_hair(
    hair: Hair,
    pixels: Float[np.ndarray, "v 2"],
    depth: Float[np.ndarray, "v"],
    shade: Float[np.ndarray, "v"],
    zbuffer: Float[np.ndarray, "h w"],
) -> tuple[Float[np.ndarray, "h w 3"], np.ndarray]:
    """Colours 0..255 and cover of the cards, both sides, where nearer than `zbuffer` (1 / depth; updated)."""
    colour = np.zeros((*zbuffer.shape, 3), np.float32)
    cover = np.zeros(zbuffer.shape, np.bool_)
    inverse = np.where(depth > 1, 1 / np.maximum(depth, 1), -1.0)
    _draw(
        pixels.astype(np.float64), inverse, hair.faces, hair.texel, hair.texture, zbuffer, colour, cover,
        shade.astype(np.float32), 110,
    )  # fmt: skip
    return colour, cover


def lay(
    image: Float[np.ndarray, "s s 3"],
    colour: Float[np.ndarray, "s s 3"],
    drawn: Bool[np.ndarray, "s s"],
    sigma: float,
    cover: Bool[np.ndarray, "s s"] | None = None,
) -> None:
    """Lay what was drawn over the image, in place, with edges soft over `sigma` pixels.

    `cover`, if not the same as `drawn`, closes gaps in it with the colours beside, and is sharper.
    """
    whole = drawn if cover is None else cover
    rows, columns = np.flatnonzero(whole.any(1)), np.flatnonzero(whole.any(0))
    if len(rows) == 0:
        return
    margin = int(5 * sigma) + 2  # farther than the blur reaches
    box = tuple(slice(max(a[0] - margin, 0), a[-1] + margin + 1) for a in (rows, columns))
    colour, drawn, image = colour[box], drawn[box], image[box]
    weight = cv2.GaussianBlur(drawn.astype(np.float32), (0, 0), sigma)[..., None]
    filled = cv2.GaussianBlur(colour, (0, 0), sigma) / np.maximum(weight, 1e-3)
    if cover is None:
        share = weight
    else:
        soft = cv2.GaussianBlur(cover[box].astype(np.float32), (0, 0), sigma)[..., None]
        share = np.clip(soft * 1.3 - 0.15, 0, 1)
    image += (np.where(drawn[..., None], colour, filled) - image) * share


def hair_colour(rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    """Linear albedo of black, brown, fair, grey or red hair."""
    tones = np.array(
        [
            [0.012, 0.009, 0.008],
            [0.05, 0.028, 0.016],
            [0.16, 0.09, 0.045],
            [0.4, 0.29, 0.16],
            [0.4, 0.4, 0.41],
            [0.2, 0.05, 0.02],
        ]
    )
    pick = tones[rng.choice(len(tones), p=[0.35, 0.25, 0.12, 0.12, 0.11, 0.05])]
    return (pick * rng.uniform(0.6, 1.4) * (1 + rng.normal(0, 0.05, 3))).astype(np.float32)
