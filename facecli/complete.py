"""The whole face from the part a photo shows: one fixed topology, the visible surface kept, the rest most probable.

The face area of the template is unrolled onto a grid: columns are angles about the head's vertical axis, rows are
heights. Faces are described there by a mean and by the modes in which people and expressions differ, learned from
geometry alone (`facecli.train.completion`). Given the visible pixels, the most probable face under that Gaussian
(the posterior mean, a ridge regression) fills in what is hidden; what the photo shows is then put back exactly.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, UInt8

from facecli.errors import WeightsError
from facecli.mesh import Mesh, vertex_normals
from facecli.weights import Weights

AXIS_Z = -10.0  # mm: the vertical axis the face is unrolled about runs through (0, y, AXIS_Z)
NOISE_MM = 1.0  # how far visible pixels may be from the truth
INDEPENDENT = 400  # neighbouring pixels err together: all of them weigh like this many
FADING = (1.0, 2.0, 4.0, 8.0)  # grid cells: how far the visible surface pulls the hidden one after it
EVERYWHERE = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
PIXELS_USED = 2500


@dataclass(frozen=True, eq=False)
class FaceModel:
    """Mean and modes on the grid; mm, head frame. `inside` says which cells are face."""

    angle_range: float  # radians: columns run from -angle_range to +angle_range
    height_range: tuple[float, float]  # mm: rows run from the first (top) to the second
    mean: Float32[np.ndarray, "g g 3"]
    inside: Bool[np.ndarray, "g g"]
    modes: Float32[np.ndarray, "k m m 3"]  # per standard deviation, on a coarser grid over the same area

    @cached_property
    def topology(self) -> tuple[Int32[np.ndarray, "f 3"], Int32[np.ndarray, "v"]]:
        """Of every face alike: see `grid_faces`."""
        return grid_faces(self.inside)

    def cells(self, coordinate: Float[np.ndarray, "n 3"], size: int) -> Float[np.ndarray, "n 2"]:
        """Column and row, in cells of a size x size grid (centres at integers), of template coordinates in mm."""
        angle = np.arctan2(coordinate[:, 0], coordinate[:, 2] - AXIS_Z)
        top, bottom = self.height_range
        across = (angle / self.angle_range + 1) / 2
        down = (coordinate[:, 1] - top) / (bottom - top)
        return np.stack([across, down], 1) * size - 0.5


def load_face_model(weights: Weights) -> FaceModel:
    """The packaged model. Raises WeightsError when it is missing, damaged or of another shape."""
    tensors = weights.tensors("completion.safetensors")
    try:
        angle, top, bottom = (float(value) for value in tensors["range"])
        mean, modes = tensors["mean"].astype(np.float32), tensors["modes"].astype(np.float32)
        inside = tensors["inside"].astype(bool)
    except (KeyError, ValueError) as error:
        raise WeightsError(f"completion.safetensors is not of this version: {error}") from error
    return FaceModel(angle, (top, bottom), mean, inside, modes)


def complete(
    model: FaceModel,
    coordinate: Float[np.ndarray, "n 3"],
    points: Float[np.ndarray, "n 3"],
    colors: UInt8[np.ndarray, "n 3"],
) -> Mesh:
    """The complete face that explains the visible pixels, in metres of the head frame.

    coordinate: template coordinate of each visible pixel, mm; points: its position, mm, head frame; colors: sRGB.
    Vertices, faces and uv are the same in number and order for every face: vertex i is always the same place on the
    template.
    """
    size = model.mean.shape[0]
    cells = model.cells(coordinate.astype(np.float64), size)
    within = (cells > -0.5).all(1) & (cells < size - 0.5).all(1)
    cells, points, colors = cells[within], points[within], colors[within]
    shape = _most_probable(model, cells, points)
    residual = points - sample(shape, cells)
    close = np.linalg.norm(residual, axis=1) < 15.0  # a wrong correspondence is no surface
    cells, residual, colors = cells[close], residual[close], colors[close]
    grid, weight = splat(cells, np.concatenate([residual, colors.astype(np.float64)], 1), size)
    trust = np.clip(weight / 0.5, 0, 1)
    left_over, support = _diffuse(grid[..., :3], trust, FADING)
    shape = shape + left_over * np.clip(2 * support, 0, 1)
    colour = _fill_colours(grid[..., 3:], trust)
    return _mesh(model, shape, colour)


def _most_probable(
    model: FaceModel, cells: Float[np.ndarray, "n 2"], points: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "g g 3"]:
    """Posterior mean of the Gaussian face model given visible points."""
    size, coarse = model.mean.shape[0], model.modes.shape[1]
    if len(points) == 0:
        return model.mean.astype(np.float64)
    step = max(1, math.ceil(len(points) / PIXELS_USED))
    some = slice(None, None, step)
    offset = (points[some] - sample(model.mean.astype(np.float64), cells[some])).astype(np.float32)
    on_coarse = (cells[some] + 0.5) * coarse / size - 0.5
    layers = np.moveaxis(model.modes, 0, 2).reshape(coarse, coarse, -1)
    by_mode = sample(layers, on_coarse).reshape(len(offset), -1, 3)
    rows = np.ascontiguousarray(by_mode.transpose(0, 2, 1), np.float32).reshape(3 * len(offset), -1)
    wanted = offset.reshape(-1)
    certainty = INDEPENDENT / len(offset) / NOISE_MM**2
    weight = np.ones(len(wanted), np.float32)
    found = np.zeros(rows.shape[1], np.float32)
    for _ in range(3):
        heavy = rows * (weight * certainty)[:, None]
        found = np.linalg.solve(heavy.T @ rows + np.eye(rows.shape[1], dtype=np.float32), heavy.T @ wanted)
        error = np.abs(wanted - rows @ found)
        weight = 1 / np.maximum(1, error / (2 * NOISE_MM))  # Huber
    change = np.tensordot(found, model.modes, 1)
    return model.mean + _enlarge(change, size)


def sample(grid: Float[np.ndarray, "h w c"], cells: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n c"]:
    """Bilinear values of a grid at (column, row), clamped to its edge."""
    height, width = grid.shape[:2]
    x, y = np.clip(cells[:, 0], 0, width - 1), np.clip(cells[:, 1], 0, height - 1)
    x0, y0 = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    fx, fy = (x - x0)[:, None].astype(grid.dtype), (y - y0)[:, None].astype(grid.dtype)
    above = grid[y0, x0] * (1 - fx) + grid[y0, x0 + 1] * fx
    below = grid[y0 + 1, x0] * (1 - fx) + grid[y0 + 1, x0 + 1] * fx
    return np.asarray(above * (1 - fy) + below * fy)


def splat(
    cells: Float[np.ndarray, "n 2"], values: Float[np.ndarray, "n c"], size: int
) -> tuple[Float[np.ndarray, "size size c"], Float[np.ndarray, "size size"]]:
    """Weighted means of scattered values in each cell, and the summed bilinear weights."""
    total = np.zeros((size * size, values.shape[1]))
    weight = np.zeros(size * size)
    corner = np.floor(cells).astype(int)
    fraction = cells - corner
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = corner[:, 0] + dx, corner[:, 1] + dy
            share = np.abs(1 - dx - fraction[:, 0]) * np.abs(1 - dy - fraction[:, 1])
            ok = (x >= 0) & (x < size) & (y >= 0) & (y < size)
            index = y[ok] * size + x[ok]
            weight += np.bincount(index, share[ok], size * size)
            for k in range(values.shape[1]):
                total[:, k] += np.bincount(index, share[ok] * values[ok, k], size * size)
    mean = total / np.maximum(weight, 1e-9)[:, None]
    return mean.reshape(size, size, -1), weight.reshape(size, size)


def _blur(grid: Float[np.ndarray, "h w c"], sigma: float) -> Float[np.ndarray, "h w c"]:
    import cv2

    return np.asarray(cv2.GaussianBlur(grid, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)).reshape(
        grid.shape
    )


def _enlarge(grid: Float[np.ndarray, "m m 3"], size: int) -> Float[np.ndarray, "size size 3"]:
    import cv2

    return np.asarray(cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC))


def _diffuse(
    values: Float[np.ndarray, "g g c"], trust: Float[np.ndarray, "g g"], sigmas: tuple[float, ...]
) -> tuple[Float[np.ndarray, "g g c"], Float[np.ndarray, "g g 1"]]:
    """Values where they are trusted, and around there what seeps in, from ever farther; and how much came."""
    have = trust[..., None]
    known = values * have
    filled, weight = known, have
    for sigma in sigmas:
        wider, reach = _blur(known, sigma), _blur(trust[..., None], sigma)
        share = (1 - have) * np.clip(reach * 8, 0, 1)
        filled = filled + wider / np.maximum(reach, 1e-6) * share
        have = have + share
        weight = np.maximum(weight, reach)
    return filled / np.maximum(have, 1e-6), weight


def _fill_colours(
    colour: Float[np.ndarray, "g g 3"], trust: Float[np.ndarray, "g g"]
) -> UInt8[np.ndarray, "g g 3"]:
    """Unseen cells take the mirrored side's colour, then whatever diffuses in from around."""
    from_twin = (1 - trust) * trust[:, ::-1]
    weight = trust + from_twin
    mixed = colour * trust[..., None] + colour[:, ::-1] * from_twin[..., None]
    mixed /= np.maximum(weight, 1e-6)[..., None]
    return np.clip(_diffuse(mixed, weight, EVERYWHERE)[0], 0, 255).astype(np.uint8)


def grid_faces(inside: Bool[np.ndarray, "g g"]) -> tuple[Int32[np.ndarray, "f 3"], Int32[np.ndarray, "v"]]:
    """Two triangles for every square of four cells of the face, and the flat indices of the cells they use."""
    quads = inside[:-1, :-1] & inside[1:, :-1] & inside[:-1, 1:] & inside[1:, 1:]
    row, column = np.nonzero(quads)
    width = inside.shape[1]
    a, b = row * width + column, row * width + column + 1
    c, d = a + width, b + width
    faces = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
    used, flat = np.unique(faces, return_inverse=True)
    return flat.reshape(-1, 3).astype(np.int32), used.astype(np.int32)


def _mesh(model: FaceModel, shape: Float[np.ndarray, "g g 3"], colour: UInt8[np.ndarray, "g g 3"]) -> Mesh:
    faces, used = model.topology
    size = model.mean.shape[0]
    vertices = np.ascontiguousarray(shape.reshape(-1, 3)[used] / 1000, dtype=np.float32)
    row, column = np.divmod(used, size)
    uv = np.stack([(column + 0.5) / size, (row + 0.5) / size], 1).astype(np.float32)
    return Mesh(
        vertices,
        faces,
        vertex_normals(vertices.astype(np.float64), faces),
        np.ascontiguousarray(colour.reshape(-1, 3)[used]),
        uv,
    )
