"""Skin under light: ambient occlusion, a lamp with shadow and soft terminator, gloss, relief."""

from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Float, Int

from facecli.train.light import Light
from facecli.train.raster import rasterize

SHADOW_SIZE = 256
WRAP = np.array([0.25, 0.12, 0.06], np.float32)
"""How far light seeps past the terminator in red, green and blue: skin scatters red farthest."""


UPRIGHT = np.ones(3, np.float32)


def visible_from(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    direction: Float[np.ndarray, "3"],
    points: Float[np.ndarray, "p 3"],
    bias: float,
) -> Float[np.ndarray, "p"]:
    """1 where a point sees infinity along `direction`, else 0: an orthographic shadow map, mm."""
    up = np.array([0.0, 1, 0]) if abs(direction[1]) < 0.9 else np.array([1.0, 0, 0])
    right = np.cross(up, direction)
    right /= np.linalg.norm(right)
    down = -np.cross(direction, right)
    axes = np.stack([right, down], 1)
    flat = vertices @ axes
    low = flat.min(0)
    scale = (SHADOW_SIZE - 4) / (flat.max(0) - low).max()
    far = 1e5  # so distant that 1/depth is linear
    _, _, inverse = rasterize(
        (flat - low) * scale + 2, far - vertices @ direction, faces, SHADOW_SIZE, SHADOW_SIZE
    )
    seen = np.empty(len(points), np.float32)
    _look_up(inverse, np.ascontiguousarray(points), axes, direction, low, scale, far, bias, seen)
    return seen


@numba.njit(cache=True, nogil=True)
@no_type_check  # numba compiles the function itself, not a wrapper of it
def _look_up(inverse, points, axes, direction, low, scale, far, bias, seen):
    last = len(inverse) - 1
    for p in range(len(points)):
        x, y, z = points[p, 0], points[p, 1], points[p, 2]
        across = (x * axes[0, 0] + y * axes[1, 0] + z * axes[2, 0] - low[0]) * scale + 2
        down = (x * axes[0, 1] + y * axes[1, 1] + z * axes[2, 1] - low[1]) * scale + 2
        column, row = min(max(int(np.rint(across)), 0), last), min(max(int(np.rint(down)), 0), last)
        hit = inverse[row, column]
        depth = far - (x * direction[0] + y * direction[1] + z * direction[2])
        seen[p] = 1 if hit <= 0 or depth < 1 / max(hit, 1e-12) + bias else 0


def ambient_occlusion(
    vertices: Float[np.ndarray, "v 3"],
    normals: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    count: int = 96,
) -> Float[np.ndarray, "v"]:
    """Share of the cosine-weighted sky each vertex sees, from `count` directions on a Fibonacci sphere."""
    i = np.arange(count) + 0.5
    polar, azimuth = np.arccos(1 - 2 * i / count), np.pi * (1 + 5**0.5) * i
    sky = np.stack([np.cos(azimuth) * np.sin(polar), np.cos(polar), np.sin(azimuth) * np.sin(polar)], 1)
    seen, total = np.zeros(len(vertices)), np.full(len(vertices), 1e-6)
    for direction in sky:
        cosine = np.maximum(normals @ direction, 0)
        seen += cosine * visible_from(vertices, faces, direction, vertices, 2.5)
        total += cosine
    return (seen / total).astype(np.float32)


def bump(
    normals: Float[np.ndarray, "h w 3"],
    positions: Float[np.ndarray, "h w 3"],
    relief: Float[np.ndarray, "h w"],
) -> Float[np.ndarray, "h w 3"]:
    """Normals of the surface displaced by `relief` along them (Blinn 1978), camera frame."""
    out = np.zeros(normals.shape, np.float32)
    _bump(*(np.ascontiguousarray(field, np.float32) for field in (normals, positions, relief)), out)
    return out


@numba.njit(cache=True, nogil=True)
@no_type_check
def _bump(normals, positions, relief, out):
    height, width = relief.shape
    half = np.float32(0.5)
    for i in range(height):
        for j in range(width):
            nx, ny, nz = normals[i, j, 0], normals[i, j, 1], normals[i, j, 2]
            if nx == 0 and ny == 0 and nz == 0:
                continue
            ax = ay = az = hx = bx = by = bz = hy = np.float32(0)  # slopes: none at the picture's edge
            if 0 < j < width - 1:
                ax = (positions[i, j + 1, 0] - positions[i, j - 1, 0]) * half
                ay = (positions[i, j + 1, 1] - positions[i, j - 1, 1]) * half
                az = (positions[i, j + 1, 2] - positions[i, j - 1, 2]) * half
                hx = (relief[i, j + 1] - relief[i, j - 1]) * half
            if 0 < i < height - 1:
                bx = (positions[i + 1, j, 0] - positions[i - 1, j, 0]) * half
                by = (positions[i + 1, j, 1] - positions[i - 1, j, 1]) * half
                bz = (positions[i + 1, j, 2] - positions[i - 1, j, 2]) * half
                hy = (relief[i + 1, j] - relief[i - 1, j]) * half
            sx, sy, sz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
            area = max(np.sqrt(sx * sx + sy * sy + sz * sz), np.float32(0.05))
            cx = (hx * (ny * bz - nz * by) + hy * (ay * nz - az * ny)) / area
            cy = (hx * (nz * bx - nx * bz) + hy * (az * nx - ax * nz)) / area
            cz = (hx * (nx * by - ny * bx) + hy * (ax * ny - ay * nx)) / area
            steep = np.sqrt(cx * cx + cy * cy + cz * cz)
            keep = min(np.float32(1), np.float32(1.5) / max(steep, np.float32(1e-6)))
            x, y, z = nx - cx * keep, ny - cy * keep, nz - cz * keep
            length = max(np.sqrt(x * x + y * y + z * z), np.float32(1e-6))
            out[i, j, 0], out[i, j, 1], out[i, j, 2] = x / length, y / length, z / length


def shade(
    albedo: Float[np.ndarray, "p 3"],
    normals: Float[np.ndarray, "p 3"],
    view: Float[np.ndarray, "p 3"],
    occlusion: Float[np.ndarray, "p"],
    lamp_seen: Float[np.ndarray, "p"],
    gloss: Float[np.ndarray, "p"],
    light: Light,
    axes: Float[np.ndarray, "3"] = UPRIGHT,
) -> Float[np.ndarray, "p 3"]:
    """Linear radiance of points of skin; world frame: y up, z to the camera.

    `view` points to the camera, and may be of any length; where the normal is 0 there is nothing: black. `axes`: what
    normals and view are to be multiplied by to be in the world frame.
    """
    out = np.empty(albedo.shape, np.float32)
    fields = (albedo, normals, view, occlusion, lamp_seen, gloss)
    lamp = (light.irradiance, light.mirror, light.lamp, light.lamp_colour, WRAP, axes)
    _shade(*(np.ascontiguousarray(field, np.float32) for field in fields + lamp), out)
    return out


@numba.njit(cache=True, nogil=True)
@no_type_check
def _shade(
    albedo, normals, view, occlusion, lamp_seen, gloss, harmonics, mirror, lamp, lamp_colour, wrap, axes, out
):
    rows, columns = mirror.shape[0], mirror.shape[1]
    for p in range(len(albedo)):
        x, y, z = normals[p, 0] * axes[0], normals[p, 1] * axes[1], normals[p, 2] * axes[2]
        if x == 0 and y == 0 and z == 0:
            out[p] = 0
            continue
        u, v, w = view[p, 0] * axes[0], view[p, 1] * axes[1], view[p, 2] * axes[2]
        distance = max(np.sqrt(u * u + v * v + w * w), 1e-6)
        u, v, w = u / distance, v / distance, w / distance
        cosine = x * lamp[0] + y * lamp[1] + z * lamp[2]
        facing = min(max(x * u + y * v + z * w, 0.0), 1.0)
        hx, hy, hz = lamp[0] + u, lamp[1] + v, lamp[2] + w
        mirrored = max((x * hx + y * hy + z * hz) / max(np.sqrt(hx * hx + hy * hy + hz * hz), 1e-6), 0.0)
        lobes = 0.7 * mirrored**14 * (22 / 25.1) + 0.3 * mirrored**60 * (68 / 25.1)
        fresnel = 0.028 + 0.97 * (1 - facing) ** 5 * 0.35
        glossy = lobes * fresnel * 3.14 * lamp_seen[p] * gloss[p] if cosine > -0.1 else 0.0
        upward = min(max(2 * facing * y - v, -1.0), 1.0)
        row = min(max(int(np.arccos(upward) / np.pi * rows), 0), rows - 1)
        around = np.arctan2(2 * facing * x - u, 2 * facing * z - w) / (2 * np.pi) + 0.5
        column = int(around * columns) % columns
        sheen = fresnel * occlusion[p] * gloss[p]
        for k in range(3):
            sky = (
                0.282095 * harmonics[0, k]
                + 0.488603 * (y * harmonics[1, k] + z * harmonics[2, k] + x * harmonics[3, k])
                + 1.092548 * (x * y * harmonics[4, k] + y * z * harmonics[5, k] + x * z * harmonics[7, k])
                + 0.315392 * (3 * z * z - 1) * harmonics[6, k]
                + 0.546274 * (x * x - y * y) * harmonics[8, k]
            )
            direct = max((cosine + wrap[k]) / (1 + wrap[k]), 0.0) * lamp_seen[p] * lamp_colour[k]
            ambient = max(sky, 0.02) * occlusion[p]
            out[p, k] = (
                albedo[p, k] * (ambient + direct) + glossy * lamp_colour[k] + mirror[row, column, k] * sheen
            )
