"""The mesh of a face, and its topology from the pixel grid.

The coordinates of everything written: metres, right-handed, y up, the nose towards +z, the subject's left
towards +x, origin at the template's head centre (glTF's rule for what faces the viewer). `grid_mesh` is the
one place where millimetres of the camera frame become metres of the head frame.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, UInt8

from facecli.camera import Pose
from facecli.geometry import STEEPEST, extent, steepness

_ISLAND = (
    0.04  # of the largest piece's vertices: smaller pieces, as a strip of neck below the chin, are dropped
)
_TRIM, _TRIM_WINDOW = (
    4.0,
    1 / 51,
)  # steepness (76 degrees) over that part of the crop at which the surface ends
_CUT = 9.0  # as steep as this, a cut is one between two surfaces, and not the end of one
_BESIDE_CUT, _TOOTH = 3, 2.0  # within so many pixels of it, what is as steep as this is of neither
_CLOSEST_MM = 1.0  # a surface at the camera's own place has no picture


@dataclass(frozen=True, eq=False)
class Group:
    """A named part of a mesh as polygons, for formats that have them: corners counter-clockwise from outside."""

    name: str
    quads: Int32[np.ndarray, "q 4"]
    triangles: Int32[np.ndarray, "t 3"]


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles in metres of the head frame; colours sRGB; uv with glTF's origin, top left, 0 to 1."""

    vertices: Float32[np.ndarray, "v 3"]
    faces: Int32[np.ndarray, "f 3"]  # counter-clockwise seen from outside
    normals: Float32[np.ndarray, "v 3"]  # unit, outwards
    colors: UInt8[np.ndarray, "v 3"]
    uv: Float32[np.ndarray, "v 2"]
    groups: tuple[Group, ...] = ()  # the same surface as polygons, where it has parts; else none

    def to_trimesh(self) -> Any:
        """The same mesh as a `trimesh.Trimesh` with vertex colours: same vertices, same order."""
        import trimesh

        return trimesh.Trimesh(
            self.vertices, self.faces, vertex_normals=self.normals, vertex_colors=self.colors, process=False
        )


def grid_mesh(
    positions: Float[np.ndarray, "h w 3"],
    mask: Bool[np.ndarray, "h w"],
    colors: UInt8[np.ndarray, "h w 3"],
    pose: Pose,
) -> Mesh:
    """One vertex per pixel of the region, triangles between neighbouring pixels of one surface.

    positions: mm, camera frame, of the pixels of a crop; the crop itself is the texture that `uv` points
    into. Cut where `geometry.connected` cuts, and trimmed where the surface is seen almost edge-on; but what that
    leaves open amid the surface, as beside a nose that hides its own flank, is closed by a steep wall. Every
    edge has one or two triangles, every triangle area and a front towards the camera, every vertex a
    triangle; pieces below 4 % of the largest are dropped. Nothing to connect gives a mesh of no
    vertices. Before displacement a vertex projects exactly to the pixel it came from.
    """
    height, width = mask.shape
    rows, columns = extent(mask)
    surface, used = positions[rows, columns], mask[rows, columns]
    used = used & np.isfinite(surface).all(axis=2) & (surface[..., 2] > _CLOSEST_MM)
    steep = steepness(surface, used)
    links = _links(steep, used, 1 + 2 * round(width * _TRIM_WINDOW / 2))
    links = _without_teeth(steep, links, _bridged(used, *links))
    triangles = _without_islands(_triangles(surface, *links), used.shape)
    taken = np.zeros(used.size, dtype=bool)
    taken[triangles.ravel()] = True
    kept = np.flatnonzero(taken)
    number = np.zeros(used.size, dtype=np.int32)
    number[kept] = np.arange(len(kept), dtype=np.int32)
    faces = number[triangles]

    vertices = pose.to_head(surface.reshape(-1, 3)[kept].astype(np.float64)) / 1000.0
    y, x = np.divmod(kept, used.shape[1])
    uv = np.stack([(x + columns.start + 0.5) / width, (y + rows.start + 0.5) / height], axis=1)
    return Mesh(
        vertices=vertices.astype(np.float32),
        faces=faces,
        normals=vertex_normals(vertices, faces),
        colors=np.ascontiguousarray(colors[rows, columns].reshape(-1, 3)[kept]),
        uv=uv.astype(np.float32),
    )


def vertex_normals(
    vertices: Float[np.ndarray, "v 3"], faces: Int32[np.ndarray, "f 3"]
) -> Float32[np.ndarray, "v 3"]:
    """Unit normals: the triangles' own, weighted by their angles at the vertex (Thürmer and Wüthrich 1998).

    A vertex without triangles has +z. Weighted by areas, a few long triangles at nostrils and lips would turn the
    normals of all their neighbours away.
    """
    columns = np.ascontiguousarray(vertices.T, np.float64)
    corners = np.ascontiguousarray(faces.T, np.int64)
    a, b, c = (columns.take(corner, axis=1) for corner in corners)
    u, v, w = b - a, c - a, c - b
    face_normal = np.stack([u[i] * v[j] - u[j] * v[i] for i, j in ((1, 2), (2, 0), (0, 1))])
    area = np.sqrt((face_normal**2).sum(0))  # twice
    face_normal /= np.where(area == 0, 1.0, area)
    angles = [np.arctan2(area, cosine) for cosine in ((u * v).sum(0), -(u * w).sum(0), (v * w).sum(0))]
    normals = np.empty((len(vertices), 3))
    for k, along in enumerate(face_normal):
        normals[:, k] = sum(
            np.bincount(corner, along * angle, minlength=len(vertices))
            for corner, angle in zip(corners, angles, strict=True)
        )
    length = np.sqrt(np.einsum("ij,ij->i", normals, normals))
    normals[length == 0] = [0.0, 0.0, 1.0]
    return (normals / np.where(length == 0, 1.0, length)[:, None]).astype(np.float32)


def on_open_edge(faces: Int32[np.ndarray, "f 3"], count: int) -> Bool[np.ndarray, " v"]:
    """Which of so many vertices lie on an edge that has a triangle on one side alone.

    Around an inner vertex every neighbour is left once and met once, so that their numbers add up to the same.
    """
    corners = faces.T.astype(np.int64)
    balance = np.zeros(count)
    for k in range(3):
        here, following = corners[k], corners[(k + 1) % 3]
        balance += np.bincount(here, following, count) - np.bincount(following, here, count)
    return np.asarray(balance != 0)


def _links(
    steep: tuple[Float[np.ndarray, "h c"], Float[np.ndarray, "r w"]],
    used: Bool[np.ndarray, "h w"],
    window: int,
) -> tuple[Bool[np.ndarray, "h w-1"], Bool[np.ndarray, "h-1 w"]]:
    """Links of the mesh's pixels to the next, sideways and downwards. steep: what `geometry.steepness` says.

    Besides single steps, whatever is steep over `window` pixels goes: a surface seen almost edge-on ends in
    splinters where noise alone decides on each pixel.
    """
    import cv2

    sideways, downwards = steep
    joined = np.abs(sideways) <= STEEPEST, np.abs(downwards) <= STEEPEST
    squared = np.zeros(used.shape, np.float32)
    for ratio, link, edge in zip(
        (sideways, downwards), joined, (((0, 0), (0, 1)), ((0, 1), (0, 0))), strict=True
    ):
        weight = np.pad(link, edge).astype(np.float32)
        step = np.pad(np.where(link, ratio, 0), edge).astype(np.float32)
        total = cv2.blur(step, (window, window), borderType=cv2.BORDER_CONSTANT)
        count = cv2.blur(weight, (window, window), borderType=cv2.BORDER_CONSTANT)
        squared += (total / np.maximum(count, 1e-6)) ** 2
    kept = used & (squared <= _TRIM**2)
    return joined[0] & kept[:, 1:] & kept[:, :-1], joined[1] & kept[1:] & kept[:-1]


def _bridged(
    used: Bool[np.ndarray, "h w"],
    sideways: Bool[np.ndarray, "h w-1"],
    downwards: Bool[np.ndarray, "h-1 w"],
) -> tuple[Bool[np.ndarray, "h w-1"], Bool[np.ndarray, "h-1 w"]]:
    """The links, and those of gaps that have the surface all around them.

    A nose hides its own flank, and nostrils their wings: what lies between is no more than a steep wall, while a gap
    that is open to a side is the end of what is seen.
    """
    import cv2

    whole = _cells(sideways, downwards)
    within = used[:-1, :-1] & used[:-1, 1:] & used[1:, :-1] & used[1:, 1:]
    gaps, outside = (np.pad(~cells, 1, constant_values=True) for cells in (whole, within))
    count, label = cv2.connectedComponents(gaps.astype(np.uint8), connectivity=8)
    closed = np.ones(count, bool)
    closed[label[outside]] = closed[0] = False
    across, down = _links_around(closed[label][1:-1, 1:-1])
    return sideways | across, downwards | down


def _without_teeth(
    steep: tuple[Float[np.ndarray, "h c"], Float[np.ndarray, "r w"]],
    links: tuple[Bool[np.ndarray, "h c"], Bool[np.ndarray, "r w"]],
    bridged: tuple[Bool[np.ndarray, "h c"], Bool[np.ndarray, "r w"]],
) -> tuple[Bool[np.ndarray, "h c"], Bool[np.ndarray, "r w"]]:
    """The bridged links without steep cells beside cuts that stay open: those are a mixture of what is before the cut
    and what is behind it, and would hang from its edge as teeth, a centimetre long and a pixel wide."""
    import cv2

    sideways, downwards = (np.abs(ratio) for ratio in steep)
    steepest = np.maximum.reduce([sideways[:-1], sideways[1:], downwards[:, :-1], downwards[:, 1:]])
    whole = _cells(*bridged)
    cut = ~whole & np.isfinite(steepest) & (steepest > _CUT)
    if not cut.any():
        return bridged
    reach = np.ones((2 * _BESIDE_CUT + 1, 2 * _BESIDE_CUT + 1), np.uint8)
    beside = cv2.dilate(cut.astype(np.uint8), reach) > 0
    teeth = _cells(*links) & beside & (steepest > _TOOTH)
    (kept_across, kept_down), (lost_across, lost_down) = _links_around(whole & ~teeth), _links_around(teeth)
    return bridged[0] & (kept_across | ~lost_across), bridged[1] & (kept_down | ~lost_down)


def _links_around(
    cells: Bool[np.ndarray, "r c"],
) -> tuple[Bool[np.ndarray, "r+1 c"], Bool[np.ndarray, "r c+1"]]:
    """The links, sideways and downwards, around cells of four pixels."""
    across = np.pad(cells, ((0, 1), (0, 0))) | np.pad(cells, ((1, 0), (0, 0)))
    return across, np.pad(cells, ((0, 0), (0, 1))) | np.pad(cells, ((0, 0), (1, 0)))


def _cells(sideways: Bool[np.ndarray, "h c"], downwards: Bool[np.ndarray, "r w"]) -> Bool[np.ndarray, "r c"]:
    """Cells of four pixels that are linked all around."""
    return sideways[:-1] & sideways[1:] & downwards[:, :-1] & downwards[:, 1:]


def _without_islands(triangles: Int32[np.ndarray, "f 3"], shape: tuple[int, int]) -> Int32[np.ndarray, "g 3"]:
    """Only the triangles of pieces that matter; corners are flat indices of a pixel grid of that shape."""
    import cv2

    # Pixels at even places, triangles' edges between them at odd ones: pieces of this picture are pieces of the mesh.
    # A triangle has one edge along a row and one along a column; by its third, a diagonal, it joins nothing more.
    height, width = shape
    graph = np.zeros((2 * height - 1, 2 * width - 1), np.uint8)
    rows, columns = np.divmod(triangles, width)
    graph[2 * rows, 2 * columns] = 1
    y, x = (along + np.roll(along, 1, axis=1) for along in (rows, columns))  # twice the middles of the edges
    straight = (y + x) % 2 == 1
    graph[y[straight], x[straight]] = 1
    _, label, facts, _ = cv2.connectedComponentsWithStats(graph, connectivity=4)
    area = facts[:, cv2.CC_STAT_AREA].copy()
    area[0] = 0
    return triangles[(area >= _ISLAND * area.max())[label[2 * rows[:, 0], 2 * columns[:, 0]]]]


def _triangles(
    surface: Float[np.ndarray, "h w 3"],
    sideways: Bool[np.ndarray, "h w-1"],
    downwards: Bool[np.ndarray, "h-1 w"],
) -> Int32[np.ndarray, "f 3"]:
    """Triangles of the pixel grid as flat pixel indices, counter-clockwise to the camera, in raster order.

    The corners of a cell are a b above c d. A cell of four is split along its shorter diagonal; a cell that
    lacks a link keeps the one triangle whose two links are there.
    """
    height, width = surface.shape[:2]
    top, bottom, left, right = sideways[:-1], sideways[1:], downwards[:, :-1], downwards[:, 1:]
    falling, rising = surface[:-1, :-1] - surface[1:, 1:], surface[:-1, 1:] - surface[1:, :-1]
    with np.errstate(invalid="ignore"):  # not-a-number outside the mask
        along_bc = np.einsum("ijk,ijk->ij", falling, falling) > np.einsum("ijk,ijk->ij", rising, rising)
    acd, adb = left & bottom, top & right
    acb, bcd = left & top, bottom & right
    # Prefer the shorter diagonal if it can have both triangles or the other has none.
    whole = acd & adb
    use_bc = np.where(whole, along_bc, ~(acd | adb))
    a = np.arange(height * width, dtype=np.int32).reshape(height, width)[:-1, :-1]
    b, c, d = a + 1, a + width, a + width + 1
    first = np.where(use_bc[..., None], np.stack([a, c, b], -1), np.stack([a, c, d], -1))
    second = np.where(use_bc[..., None], np.stack([b, c, d], -1), np.stack([a, d, b], -1))
    exists = np.stack([np.where(use_bc, acb, acd), np.where(use_bc, bcd, adb)], axis=-1)
    faces: Int32[np.ndarray, "f 3"] = np.stack([first, second], axis=2)[exists]
    return faces
