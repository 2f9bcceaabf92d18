"""Skin under light: ambient occlusion, a lamp with shadow and soft terminator, gloss, relief."""

import cv2
import numpy as np
from jaxtyping import Float, Int

from facecli.train.light import HEIGHT, WIDTH, Light, basis
from facecli.train.raster import rasterize

SHADOW_SIZE = 256
WRAP = np.array([0.25, 0.12, 0.06], np.float32)
"""How far light seeps past the terminator in red, green and blue: skin scatters red farthest."""


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
    flat, query = vertices @ axes, points @ axes
    low = flat.min(0)
    scale = (SHADOW_SIZE - 4) / (flat.max(0) - low).max()
    flat, query = (flat - low) * scale + 2, (query - low) * scale + 2
    far = 1e5  # so distant that 1/depth is linear
    _, _, inverse = rasterize(flat, far - vertices @ direction, faces, SHADOW_SIZE, SHADOW_SIZE)
    column = np.clip(np.rint(query[:, 0]).astype(int), 0, SHADOW_SIZE - 1)
    row = np.clip(np.rint(query[:, 1]).astype(int), 0, SHADOW_SIZE - 1)
    hit = inverse[row, column]
    nearest = np.where(hit > 0, 1 / np.maximum(hit, 1e-12), np.inf)
    return (far - points @ direction < nearest + bias).astype(np.float32)


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
    across = cv2.Sobel(positions, cv2.CV_32F, 1, 0, ksize=1) / 2
    along = cv2.Sobel(positions, cv2.CV_32F, 0, 1, ksize=1) / 2
    h_x = cv2.Sobel(relief, cv2.CV_32F, 1, 0, ksize=1)[..., None] / 2
    h_y = cv2.Sobel(relief, cv2.CV_32F, 0, 1, ksize=1)[..., None] / 2
    area = np.linalg.norm(np.cross(across, along), axis=-1, keepdims=True)
    change = (h_x * np.cross(normals, along) + h_y * np.cross(across, normals)) / np.maximum(area, 0.05)
    length = np.linalg.norm(change, axis=-1, keepdims=True)
    change *= np.minimum(1, 1.5 / np.maximum(length, 1e-6))
    out = normals - change
    return (out / np.maximum(np.linalg.norm(out, axis=-1, keepdims=True), 1e-6)).astype(np.float32)


def shade(
    albedo: Float[np.ndarray, "p 3"],
    normals: Float[np.ndarray, "p 3"],
    view: Float[np.ndarray, "p 3"],
    occlusion: Float[np.ndarray, "p"],
    lamp_seen: Float[np.ndarray, "p"],
    gloss: Float[np.ndarray, "p"],
    light: Light,
) -> Float[np.ndarray, "p 3"]:
    """Linear radiance of points of skin; world frame: y up, z to the camera; `view` points to the camera."""
    ambient = np.maximum(basis(normals) @ light.irradiance, 0.02) * occlusion[:, None]
    cosine = (normals @ light.lamp)[:, None]
    direct = np.maximum((cosine + WRAP) / (1 + WRAP), 0) * lamp_seen[:, None] * light.lamp_colour
    half = light.lamp + view
    half /= np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-6)
    mirrored = np.maximum((normals * half).sum(1), 0)
    lobes = 0.7 * mirrored**14 * (22 / 25.1) + 0.3 * mirrored**60 * (68 / 25.1)
    facing = np.clip((normals * view).sum(1), 0, 1)
    fresnel = 0.028 + 0.97 * (1 - facing) ** 5 * 0.35
    glossy = (lobes * fresnel * 3.14 * lamp_seen * (cosine[:, 0] > -0.1) * gloss)[:, None] * light.lamp_colour
    reflected = 2 * facing[:, None] * normals - view
    row = np.clip(np.arccos(np.clip(reflected[:, 1], -1, 1)) / np.pi * HEIGHT, 0, HEIGHT - 1).astype(int)
    column = ((np.arctan2(reflected[:, 0], reflected[:, 2]) / (2 * np.pi) + 0.5) * WIDTH).astype(int) % WIDTH
    sheen = light.mirror[row, column] * (fresnel * occlusion * gloss)[:, None]
    return np.asarray(albedo * (ambient + direct) + glossy + sheen, np.float32)
