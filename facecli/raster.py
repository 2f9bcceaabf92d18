"""A rasteriser for the CPU: which triangle each pixel sees, and where on it."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Float64, Int, Int32, Shaped

_AT_ONCE = 1 << 22  # pixels of boxes around triangles looked at at once: bounds memory
_EDGE = 1e-9  # pixels: what lies so near an edge lies on it


def rasterize(
    vertices: Float[np.ndarray, "v 3"], faces: Int32[np.ndarray, "f 3"], width: int, height: int
) -> tuple[Int32[np.ndarray, "height width"], Float64[np.ndarray, "height width 3"]]:
    """Which triangle each pixel sees, -1 for none, and where on it (barycentric; zeros for none).

    vertices: x, y in pixels (centres at integers, y down) and z, larger is nearer; z is interpolated linearly
    in the picture. Triangles of both windings are drawn, edges belong to both their triangles, and of equally
    near ones the first wins. Triangles with a vertex that is not finite, or without area, are not drawn.
    """
    corners = corners_of(vertices, faces)
    face = nearest(corners, width, height)
    hit = np.flatnonzero(face >= 0)
    barycentric = np.zeros((height * width, 3))
    y, x = np.divmod(hit, width)
    barycentric[hit] = shares_of(corners, face[hit], x, y).T
    return face.reshape(height, width), barycentric.reshape(height, width, 3)


def corners_of(
    vertices: Float[np.ndarray, "v 3"], faces: Int32[np.ndarray, "f 3"]
) -> Float64[np.ndarray, "3 3 f"]:
    """The triangles' corners: by corner and coordinate, contiguous over the triangles."""
    places = np.ascontiguousarray(vertices.T, np.float64)
    return np.stack([places.take(corner, axis=1) for corner in faces.T])


def nearest(
    corners: Float64[np.ndarray, "3 3 f"], width: int, height: int, stagger: float = 0.0
) -> Int32[np.ndarray, " pixels"]:
    """Which triangle each pixel of a picture sees, row by row; -1 for none.

    stagger: by how many pixels the centres of odd rows lie further right.
    """
    depth = np.full(height * width, -np.inf)
    face = np.full(height * width, -1, np.int32)
    for triangles, top, rows in _portions(corners, width, height):
        pixel, z, triangle = _fragments(corners, triangles, top, rows, width, stagger)
        ahead = np.flatnonzero(z > depth[pixel])  # of equally near ones the earlier portion's stays
        pixel, z, triangle = pixel[ahead], z[ahead], triangle[ahead]
        np.maximum.at(depth, pixel, z)
        seen = np.flatnonzero(z == depth[pixel])[::-1]  # the last to be written, the first, stays
        face[pixel[seen]] = triangle[seen]
    return face


def _portions(
    corners: Float64[np.ndarray, "3 3 f"], width: int, height: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Triangles that may be seen, in order, with their first row and how many: some millions of pixels at once."""
    a, b, c = corners[:, :2]
    with np.errstate(invalid="ignore"):
        drawn = np.flatnonzero((cross(a, b, *c) != 0) & np.isfinite(corners.sum(axis=(0, 1))))
    last = np.array([[width - 1], [height - 1]])
    low, high = corners[:, :2].min(axis=0)[:, drawn], corners[:, :2].max(axis=0)[:, drawn]
    first = np.ceil(np.clip(low, 0, last + 1))
    size = (np.floor(np.clip(high, -1, last)) - first + 1).astype(np.int64)
    some = np.flatnonzero(size[1] > 0)
    drawn, size, top = drawn[some], size[:, some], first[1, some].astype(np.int64)
    cuts = np.flatnonzero(np.diff(size.prod(axis=0).cumsum() // _AT_ONCE)) + 1
    for part in np.split(np.arange(len(drawn)), cuts):
        yield drawn[part], top[part], size[1, part]


def _fragments(
    corners: Float64[np.ndarray, "3 3 f"],
    triangles: Int[np.ndarray, " t"],
    top: Int[np.ndarray, " t"],
    rows: Int[np.ndarray, " t"],
    width: int,
    stagger: float,
) -> tuple[Int[np.ndarray, " n"], Float64[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """(pixel, z, triangle) for all pixels these triangles cover, triangle by triangle.

    Each row of a triangle is a span from its long side, top to bottom, to the two others, which meet in the middle.
    """
    places = corners[:, :, triangles]
    order = np.argsort(places[:, 1], axis=0, kind="stable")
    low, middle, high = np.take_along_axis(places, order[:, None], axis=0)
    table = np.stack([*low, *middle, *_slopes(low, high), *_slopes(low, middle), *_slopes(middle, high)])
    row = np.arange(rows.sum()) + np.repeat(top - rows.cumsum() + rows, rows)
    low_x, low_y, low_z, middle_x, middle_y, middle_z, *slopes = np.repeat(table, rows, axis=1)
    down, past = row - low_y, row - middle_y
    one, one_z = low_x + down * slopes[0], low_z + down * slopes[1]
    above = past < 0
    other = middle_x + past * np.where(above, slopes[2], slopes[4])
    other_z = middle_z + past * np.where(above, slopes[3], slopes[5])
    start = stagger * (row % 2)
    one, other = one - start, other - start

    left = np.ceil(np.clip(np.minimum(one, other) - _EDGE, 0, width)).astype(np.int64)
    right = np.floor(np.clip(np.maximum(one, other) + _EDGE, -1, width - 1)).astype(np.int64)
    count = np.maximum(right - left + 1, 0)
    wide = np.abs(other - one) > _EDGE
    along = np.where(wide, (other_z - one_z) / np.where(wide, other - one, 1), 0)
    span = np.repeat(np.arange(len(count)), count)
    step = np.arange(len(span)) - (count.cumsum() - count)[span]
    pixel = (row * width + left)[span] + step
    z = (one_z + along * (left - one))[span] + along[span] * step
    return pixel, z, np.repeat(triangles, rows)[span]


def _slopes(
    upper: Float64[np.ndarray, "3 t"], lower: Float64[np.ndarray, "3 t"]
) -> tuple[Float64[np.ndarray, " t"], Float64[np.ndarray, " t"]]:
    """By how much x and z change with each row of a side; a level one has no rows."""
    x, down, z = lower - upper
    down = np.where(down == 0, 1, down)
    return x / down, z / down


def shares_of(
    corners: Float64[np.ndarray, "3 3 f"],
    face: Int[np.ndarray, " n"],
    x: Shaped[np.ndarray, " n"],
    y: Shaped[np.ndarray, " n"],
) -> Float64[np.ndarray, "3 n"]:
    """Barycentric coordinates of points that lie on these triangles."""
    a, b, c = corners[:, :2]
    with np.errstate(invalid="ignore", divide="ignore"):  # triangles that nobody sees may be without area
        slopes = np.stack([b[1] - c[1], c[0] - b[0], c[1] - a[1], a[0] - c[0]]) / cross(a, b, *c)
    from_x, from_y, *per_pixel = np.concatenate([c, slopes]).take(face, axis=1)
    right, down = x - from_x, y - from_y
    of_a, of_b = (right * along_x + down * along_y for along_x, along_y in (per_pixel[:2], per_pixel[2:]))
    return np.stack([of_a, of_b, 1 - of_a - of_b])


def cross(p: np.ndarray, q: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Twice the signed area of p, q and (x, y)."""
    return (q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0])
