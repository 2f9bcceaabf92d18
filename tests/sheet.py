"""A small mesh with every kind of number in it, and its texture."""

import cv2
import numpy as np

from facecli.mesh import Mesh, vertex_normals


def wavy(size=20, spread=0.1):
    """A wavy sheet with every kind of number in it: both signs, zeros, beyond one metre."""
    at = np.linspace(-spread, spread, size)
    x, y = np.meshgrid(at, -at)
    vertices = np.stack([x, y, 0.02 * np.sin(40 * x) * np.cos(30 * y)], -1).reshape(-1, 3).astype(np.float32)
    a = np.arange(size * size).reshape(size, size)
    a, b, c, d = a[:-1, :-1], a[:-1, 1:], a[1:, :-1], a[1:, 1:]
    faces = np.concatenate([np.stack([a, c, d], -1).reshape(-1, 3), np.stack([a, d, b], -1).reshape(-1, 3)])
    faces = faces.astype(np.int32)
    colors = np.random.default_rng(0).integers(0, 256, (len(vertices), 3)).astype(np.uint8)
    grid_y, grid_x = np.divmod(np.arange(size * size), size)
    uv = np.stack([(grid_x + 0.5) / size, (grid_y + 0.5) / size], 1).astype(np.float32)
    return Mesh(vertices, faces, vertex_normals(vertices, faces), colors, uv)


def empty():
    three = np.zeros((0, 3), np.float32)
    nothing = np.zeros((0, 3), np.uint8)
    return Mesh(three, np.zeros((0, 3), np.int32), three, nothing, np.zeros((0, 2), np.float32))


MESH = wavy()
TEXTURE = np.random.default_rng(1).integers(0, 256, (32, 32, 3)).astype(np.uint8)


def decoded(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
