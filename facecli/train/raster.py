"""Triangles to maps: a z-buffer with perspective-correct barycentric coordinates, compiled by numba."""

from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Float, Int


@numba.njit(cache=True, nogil=True, fastmath=False)
@no_type_check  # numba compiles the function itself, not a wrapper of it
def _draw(pixels, inverse_depth, faces, width, height, face_index, bary, zbuffer):
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        wa, wb, wc = inverse_depth[a], inverse_depth[b], inverse_depth[c]
        if wa <= 0 or wb <= 0 or wc <= 0:
            continue
        ax, ay = pixels[a, 0], pixels[a, 1]
        bx, by = pixels[b, 0], pixels[b, 1]
        cx, cy = pixels[c, 0], pixels[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if (
            area >= 0
        ):  # y points down, so a face that is counter-clockwise from outside has negative area here
            continue
        x0 = max(int(np.ceil(min(ax, bx, cx))), 0)
        x1 = min(int(np.floor(max(ax, bx, cx))), width - 1)
        y0 = max(int(np.ceil(min(ay, by, cy))), 0)
        y1 = min(int(np.floor(max(ay, by, cy))), height - 1)
        if x1 < x0 or y1 < y0:
            continue
        inv = 1.0 / area
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) * inv
                v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) * inv
                w = 1.0 - u - v
                if u < 0 or v < 0 or w < 0:
                    continue
                q = u * wa + v * wb + w * wc  # 1/z is linear on the screen
                if q > zbuffer[y, x]:
                    zbuffer[y, x] = q
                    face_index[y, x] = f
                    bary[y, x, 0] = u * wa / q
                    bary[y, x, 1] = v * wb / q
                    bary[y, x, 2] = w * wc / q


def rasterize(
    pixels: Float[np.ndarray, "v 2"],
    depth: Float[np.ndarray, "v"],
    faces: Int[np.ndarray, "f 3"],
    width: int,
    height: int,
) -> tuple[Int[np.ndarray, "h w"], Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
    """Draw `faces`, nearest first, back faces culled.

    `pixels` are image positions (x right, y down, centres at integers), `depth` the camera z of each vertex
    (any unit, positive in front). Returns the face drawn at each pixel (-1 where none), its
    perspective-correct barycentric coordinates, and 1 / depth there (0 where none).
    """
    face_index = np.full((height, width), -1, np.int32)
    bary = np.zeros((height, width, 3), np.float32)
    zbuffer = np.zeros((height, width), np.float64)
    safe = np.where(depth > 1e-6, depth, 1.0)
    inverse = np.where(depth > 1e-6, 1.0 / safe, -1.0)
    _draw(pixels.astype(np.float64), inverse, faces, width, height, face_index, bary, zbuffer)
    return face_index, bary, zbuffer


@numba.njit(cache=True, nogil=True)
@no_type_check
def _interpolate(values, faces, face_index, bary, out):
    height, width = face_index.shape
    channels = values.shape[1]
    for y in range(height):
        for x in range(width):
            f = face_index[y, x]
            if f >= 0:
                a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
                u, v, w = bary[y, x, 0], bary[y, x, 1], bary[y, x, 2]
                for k in range(channels):
                    out[y, x, k] = u * values[a, k] + v * values[b, k] + w * values[c, k]


def interpolate(
    values: Float[np.ndarray, "v c"],
    faces: Int[np.ndarray, "f 3"],
    face_index: Int[np.ndarray, "h w"],
    bary: Float[np.ndarray, "h w 3"],
) -> Float[np.ndarray, "h w c"]:
    """Vertex `values` at every drawn pixel, 0 elsewhere."""
    out = np.zeros((*face_index.shape, values.shape[1]), np.float32)
    _interpolate(np.ascontiguousarray(values, np.float32), faces, face_index, bary, out)
    return out


ROUNDING = 0.5
"""How far a triangle's inside follows its corners' normals: so far that a ball is round (Boubekeur and Alexa: 0.75)."""


def rounded(
    placed: Float[np.ndarray, "h w 3"],
    vertices: Float[np.ndarray, "v 3"],
    normals: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    face_index: Int[np.ndarray, "h w"],
    bary: Float[np.ndarray, "h w 3"],
) -> Float[np.ndarray, "h w 3"]:
    """Points of flat triangles moved onto the curved surface that their corners' normals tell of (Phong tessellation,
    Boubekeur and Alexa 2008), without which a surface that is shaded smoothly has edges.

    placed: the interpolated `vertices`; normals: of these, unit length, in the same frame.
    """
    out = placed.copy()
    arrays = (np.ascontiguousarray(values, np.float32) for values in (vertices, normals))
    _rounded(*arrays, faces, face_index, bary, out)
    return out


@numba.njit(cache=True, nogil=True)
@no_type_check
def _rounded(vertices, normals, faces, face_index, bary, out):
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            f = face_index[i, j]
            if f < 0:
                continue
            x, y, z = out[i, j, 0], out[i, j, 1], out[i, j, 2]
            for k in range(3):
                v = faces[f, k]
                nx, ny, nz = normals[v, 0], normals[v, 1], normals[v, 2]
                above = (x - vertices[v, 0]) * nx + (y - vertices[v, 1]) * ny + (z - vertices[v, 2]) * nz
                step = above * bary[i, j, k] * ROUNDING
                out[i, j, 0] -= step * nx
                out[i, j, 1] -= step * ny
                out[i, j, 2] -= step * nz


def pieces(corners: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, " f"]:
    """A number for each triangle, the same for those that hang together. corners: of the mesh, or of its texture."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    pairs = corners.ravel(), corners[:, [1, 2, 0]].ravel()
    graph = coo_matrix((np.ones(corners.size), pairs), (corners.max() + 1,) * 2)
    return np.asarray(connected_components(graph, directed=False)[1][corners[:, 0]])


def vertex_normals(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> Float[np.ndarray, "v 3"]:
    """Area-weighted unit normals, outward."""
    out = np.zeros(vertices.shape, np.float32)
    _accumulate_normals(np.ascontiguousarray(vertices, np.float32), faces, out)
    return out


@numba.njit(cache=True, nogil=True)
@no_type_check
def _accumulate_normals(vertices, faces, out):
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        e0, g0 = vertices[b, 0] - vertices[a, 0], vertices[c, 0] - vertices[a, 0]
        e1, g1 = vertices[b, 1] - vertices[a, 1], vertices[c, 1] - vertices[a, 1]
        e2, g2 = vertices[b, 2] - vertices[a, 2], vertices[c, 2] - vertices[a, 2]
        n0 = e1 * g2 - e2 * g1
        n1 = e2 * g0 - e0 * g2
        n2 = e0 * g1 - e1 * g0
        for i in (a, b, c):
            out[i, 0] += n0
            out[i, 1] += n1
            out[i, 2] += n2
    for i in range(out.shape[0]):
        length = np.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2)
        if length > 0:
            out[i, 0] /= length
            out[i, 1] /= length
            out[i, 2] /= length


def unit(vectors: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 3"]:
    """Vectors scaled to length 1; 0 stays 0."""
    out = np.empty(vectors.shape, np.float32)
    _unit(np.ascontiguousarray(vectors, np.float32).reshape(-1, 3), out.reshape(-1, 3))
    return out


@numba.njit(cache=True, nogil=True)
@no_type_check
def _unit(vectors, out):
    for i in range(len(vectors)):
        x, y, z = vectors[i, 0], vectors[i, 1], vectors[i, 2]
        scale = np.float32(1) / max(np.sqrt(x * x + y * y + z * z), np.float32(1e-6))
        out[i, 0], out[i, 1], out[i, 2] = x * scale, y * scale, z * scale
