"""The open edge of a pixel mesh made smooth: pixels end in a staircase, faces do not."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int, Int32

from facecli.camera import Pose
from facecli.mesh import Mesh, on_open_edge

_FURTHEST = 0.45  # pixels: how far a vertex may move, less than to the next pixel
_ROUNDS = 16  # in each a vertex goes half way to the middle of its two neighbours on the edge
_NARROWEST = 0.2  # of a pixel's half: a triangle narrower than this, seen from the camera, is left as it was


def hemmed(mesh: Mesh, pose: Pose, size: int) -> Mesh:
    """The same mesh with the vertices of its open edge moved along the surface onto a smooth line.

    mesh: a vertex per pixel of a crop of size x size, as its uv says, where the pose places it. Each vertex stays
    within half a pixel of its own, and re-projects to where its uv then points. Inner vertices, topology, colours and
    normals are as before.
    """
    if len(mesh.faces) == 0:
        return mesh
    places = mesh.uv.astype(np.float64) * size
    shift = _shift(places, mesh.faces)
    moved = np.flatnonzero((shift != 0).any(1))
    placed = pose.to_camera(mesh.vertices.astype(np.float64) * 1000)
    # A plane's inverse depth is linear in pixels, and so is what the depth is multiplied by for x and y.
    projected = np.concatenate([placed[:, :2], np.ones((len(placed), 1))], 1) / placed[:, 2:]
    further = np.einsum("nk,nkj->nj", shift[moved], _tangents(places, projected, mesh.faces, moved))
    projected = projected[moved] + further
    there = np.concatenate([projected[:, :2], np.ones((len(moved), 1))], 1) / projected[:, 2:]
    vertices, uv = mesh.vertices.copy(), mesh.uv.copy()
    vertices[moved] = pose.to_head(there) / 1000
    uv[moved] += (shift[moved] / size).astype(np.float32)
    return replace(mesh, vertices=vertices, uv=uv)


def _shift(places: Float[np.ndarray, "v 2"], faces: Int32[np.ndarray, "f 3"]) -> Float[np.ndarray, "v 2"]:
    """How far each vertex moves, pixels; 0 off the edge, and where several edges meet."""
    here, following = _open_edges(faces, len(places))
    alone = (np.bincount(here, minlength=len(places)) == 1) & (
        np.bincount(following, minlength=len(places)) == 1
    )
    before, behind = (np.zeros(len(places), np.int64) for _ in range(2))
    behind[here], before[following] = following, here
    rim = np.flatnonzero(alone)
    smooth = places.copy()
    for _ in range(_ROUNDS):
        middle = (smooth[before[rim]] + smooth[behind[rim]]) / 2
        smooth[rim] = np.clip((smooth[rim] + middle) / 2, places[rim] - _FURTHEST, places[rim] + _FURTHEST)
    shift = smooth - places
    near = faces[(shift[faces] != 0).any((1, 2))]
    while (narrow := _areas(places + shift, near) < _NARROWEST).any():
        shift[near[narrow]] = 0
    return shift


def _open_edges(faces: Int32[np.ndarray, "f 3"], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each edge begins and ends that has a triangle on one side alone."""
    here, following = faces.astype(np.int64).ravel(), np.roll(faces, -1, axis=1).astype(np.int64).ravel()
    rim = on_open_edge(faces, count)
    near = rim[here] & rim[following]  # few are left to look at one by one
    here, following = here[near], following[near]
    open_ = ~np.isin(here * count + following, following * count + here)
    return here[open_], following[open_]


def _areas(places: Float[np.ndarray, "v 2"], faces: Int32[np.ndarray, "f 3"]) -> Float[np.ndarray, " f"]:
    """Of the triangles as the camera sees them, twice, square pixels: of whole pixels 1, less than 0 from behind."""
    a, b, c = (places.take(corner, axis=0) for corner in faces.T)
    (x, y), (u, v) = (b - a).T, (c - a).T
    return np.asarray(y * u - x * v)


def _tangents(
    places: Float[np.ndarray, "v 2"],
    values: Float[np.ndarray, "v 3"],
    faces: Int32[np.ndarray, "f 3"],
    wanted: Int[np.ndarray, " n"],
) -> Float[np.ndarray, "n 2 3"]:
    """How values go on from wanted vertices, per pixel to the right and down: least squares over their edges."""
    count = len(wanted)
    number = np.full(len(places), -1)
    number[wanted] = np.arange(count)
    near = faces[(number[faces] >= 0).any(1)]
    here, there = near.ravel(), np.roll(near, -1, axis=1).ravel()
    here, there = np.concatenate([here, there]), np.concatenate([there, here])
    own = number[here] >= 0
    here, there = here[own], there[own]
    (x, y), rise, row = (places[there] - places[here]).T, values[there] - values[here], number[here]
    xx, xy, yy = (np.bincount(row, product, count) for product in (x * x, x * y, y * y))
    along, down = (
        np.stack([np.bincount(row, each * rise[:, k], count) for k in range(3)], 1) for each in (x, y)
    )
    determinant = (xx * yy - xy * xy)[:, None]
    right = (yy[:, None] * along - xy[:, None] * down) / determinant
    return np.stack([right, (xx[:, None] * down - xy[:, None] * along) / determinant], 1)
