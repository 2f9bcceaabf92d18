"""The whole face from the part a photo shows: one fixed topology, the visible surface kept, the rest most probable.

The face area of the template is unrolled onto a grid, without a seam: columns are angles about the head's vertical
axis, rows are heights, bent so that the lids follow the rows and torn open between the lips for the inner mouth.
Faces are described there by a mean and by the modes in which people and expressions differ, learned from geometry
alone (`facecli.train.completion`). Given the visible pixels, the most probable face under that Gaussian (the
posterior mean, a ridge regression) fills in what is hidden; what the photo shows is then put back exactly.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32, UInt8

from facecli.errors import WeightsError
from facecli.mesh import Group, Mesh, vertex_normals
from facecli.weights import Weights

GROUPS = ("face", "right_eye", "left_eye", "mouth")
MOUTH = GROUPS.index("mouth")
NOISE_MM = 1.0  # how far visible pixels may be from the truth
INDEPENDENT = 400  # neighbouring pixels err together: all of them weigh like this many
FADING = (1.0, 2.0, 4.0, 8.0, 16.0)  # grid cells: how far the visible surface pulls the hidden one after it
SPARSE, DENSE = 0.3, 1.5  # pixels in a cell: seen too edge-on to be trusted, and enough
RIM = (0.5, 4.0)  # cells from where the photo stops seeing: there depth is least sure, and nothing may crease
PIXELS_USED = 1600
OFF_TEMPLATE_MM = 7.0  # teeth and tongue lie this far behind the lips that share their cells
WRONG_MM = 15.0  # farther from the most probable face, a correspondence is wrong
WRONG_AT_LIPS_MM, LIPS = 5.0, 3  # within so many cells of the inner mouth, it may be the other lip's
BAG_MM, BAG_SHARE = 4.0, 0.4  # the inner mouth's depth: at least, and as a share of how far it is open


@dataclass(frozen=True, eq=False)
class Chart:
    """Template coordinates (mm, head frame) -> column and row of a g x g grid, cell centres at integers.

    `lips`: in each column the row, before bending, where the lips meet. `shift`: rows to add, above and below
    that line, at each place of the grid before bending.
    """

    angle_range: float  # radians: columns run from -angle_range to +angle_range
    height_range: tuple[float, float]  # mm: rows run from the first (top) to the second
    lips: Float32[np.ndarray, " g"]
    shift: Float32[np.ndarray, "2 g g"]

    axis_z = -10.0  # mm: the vertical axis the face is unrolled about runs through (0, y, axis_z)
    denser_across, denser_down = 0.3, 0.12  # cells are so much smaller in the middle than on average

    def cells(self, coordinate: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
        """Column and row of template coordinates."""
        flat = self.flat(coordinate)
        lips = np.interp(flat[:, 0], np.arange(len(self.lips)), self.lips)
        return np.stack([flat[:, 0], self.bend(flat, flat[:, 1] > lips)], 1)

    def flat(self, coordinate: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
        """Column and row before bending."""
        top, bottom = self.height_range
        across = np.arctan2(coordinate[:, 0], coordinate[:, 2] - self.axis_z) / self.angle_range
        down = 2 * (coordinate[:, 1] - top) / (bottom - top) - 1
        return np.stack(
            [
                (1 + _denser(value, by)) / 2 * len(self.lips) - 0.5
                for value, by in ((across, self.denser_across), (down, self.denser_down))
            ],
            1,
        )

    def bend(self, flat: Float[np.ndarray, "n 2"], below: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The bent row of places that are above or below the line between the lips."""
        shift = sample(np.ascontiguousarray(np.moveaxis(self.shift, 0, 2)), flat)
        return flat[:, 1] + np.where(below, shift[:, 1], shift[:, 0])


def _denser(value: Float[np.ndarray, " n"], by: float) -> Float[np.ndarray, " n"]:
    """-1 to 1 onto itself with slope 1 + by in the middle, and on with the slope of the ends."""
    kept = np.clip(value, -1, 1)
    return kept * (1 + by) - by * (kept * kept * kept) + (value - kept) * (1 - 2 * by)


@dataclass(frozen=True, eq=False)
class FaceModel:
    """Mean and modes on the grid; mm, head frame. The mesh's vertices lie at `cells` (column, row) of the grid."""

    chart: Chart
    mean: Float32[np.ndarray, "g g 3"]
    modes: Float32[np.ndarray, "k m m 3"]  # per standard deviation, on a coarser grid over the same area
    cells: Float32[np.ndarray, "v 2"]
    groups: tuple[Group, ...]  # in the order of GROUPS
    bag: Int32[np.ndarray, "b 3"]  # flat cells of the inner mouth; of the lips above and below them

    @cached_property
    def faces(self) -> Int32[np.ndarray, "f 3"]:
        """The groups' polygons as triangles, the same diagonals left and right."""
        parts = []
        for group in self.groups:
            a, b, c, d = group.quads.T
            left = (self.cells[group.quads, 0].mean(1) < (self.mean.shape[1] - 1) / 2)[:, None]
            parts += [
                np.where(left, np.stack([a, b, c], 1), np.stack([a, b, d], 1)),
                np.where(left, np.stack([a, c, d], 1), np.stack([b, c, d], 1)),
                group.triangles,
            ]
        return np.ascontiguousarray(np.concatenate(parts), np.int32)

    @cached_property
    def mouth(self) -> Bool[np.ndarray, "g g"]:
        """Cells of the inner mouth, and the edges of the lips, which pixels cannot tell apart."""
        mouth = np.zeros(self.mean.shape[:2], bool)
        mouth.reshape(-1)[self.bag] = True
        return mouth

    @cached_property
    def lips(self) -> Bool[np.ndarray, "g g"]:
        """Cells in or near the inner mouth."""
        import cv2

        reach = 2 * LIPS + 1
        return np.asarray(cv2.dilate(self.mouth.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0)

    @cached_property
    def layers(self) -> Float32[np.ndarray, "m m n"]:
        """The modes with the grid first, then x, y and z."""
        coarse = self.modes.shape[1]
        return np.ascontiguousarray(self.modes.transpose(1, 2, 3, 0)).reshape(coarse, coarse, -1)

    @cached_property
    def by_size(self) -> Int[np.ndarray, " k"]:
        """The numbers of the modes, those that move the face the most first."""
        return np.argsort(-np.square(self.modes).sum(axis=(1, 2, 3)), kind="stable")

    def modes_at(self, coordinate: Float[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3 k"]:
        """How the modes move places of the template (mm): mm per standard deviation."""
        size, coarse = self.mean.shape[0], self.modes.shape[1]
        at = (self.chart.cells(coordinate.astype(np.float64)) + 0.5) * coarse / size - 0.5
        return sample(self.layers, at).reshape(len(coordinate), 3, -1)

    @cached_property
    def uv(self) -> Float32[np.ndarray, "v 2"]:
        """Texture coordinates, origin top left."""
        return ((self.cells + 0.5) / self.mean.shape[0]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Surface:
    """A whole face on the grid of the model: mm, head frame; and how much of each cell the photo showed, 0 to 1."""

    positions: Float[np.ndarray, "g g 3"]
    seen: Float[np.ndarray, "g g"]


def load_face_model(weights: Weights) -> FaceModel:
    """The packaged model. Raises WeightsError when it is missing, damaged or of another shape."""
    tensors = weights.tensors("completion.safetensors")
    try:
        angle, top, bottom = (float(value) for value in tensors["range"])
        lips, shift = (tensors[key].astype(np.float32) for key in ("lips", "shift"))
        mean, modes, cells = (tensors[key].astype(np.float32) for key in ("mean", "modes", "cells"))
        polygons = {key: tensors[key].astype(np.int32) for key in ("quads", "triangles", "bag")}
        groups = tuple(
            Group(
                name,
                polygons["quads"][tensors["quad_group"] == number],
                polygons["triangles"][tensors["triangle_group"] == number],
            )
            for number, name in enumerate(GROUPS)
        )
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(f"completion.safetensors is not of this version: {error}") from error
    chart = Chart(angle, (top, bottom), lips, shift)
    return FaceModel(chart, mean, modes, cells, groups, polygons["bag"])


def complete(
    model: FaceModel,
    coordinate: Float[np.ndarray, "n 3"],
    points: Float[np.ndarray, "n 3"],
    rims: tuple[Float[np.ndarray, "r 3"], Float[np.ndarray, "r 3"]] | None = None,
) -> Surface:
    """The complete face that explains the visible pixels.

    coordinate: template coordinate of each visible pixel, mm; points: its position, mm, head frame. rims: the same of
    points that are known to be on the inner rims of lids and lips. Where there are some, the pixels beside the lips,
    which may be of the other lip, are not asked.
    """
    cells, usable = to_cells(model, coordinate)
    cells, points = cells[usable], points[usable]
    sure = np.zeros(len(cells), bool)
    if rims is not None and len(rims[0]):
        rim_cells = model.chart.cells(rims[0])
        if _at(model.lips, rim_cells).any():
            far = ~_at(model.lips, cells)
            cells, points = cells[far], points[far]
        sure = np.arange(len(cells) + len(rim_cells)) >= len(cells)
        cells, points = np.concatenate([cells, rim_cells]), np.concatenate([points, rims[1]])
    shape = most_probable(model, cells, points)
    residual, trust = left_over(model, cells, points - sample(shape, cells), sure)
    return with_left_over(model, shape, residual, trust)


def to_cells(
    model: FaceModel, coordinate: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, "n 2"], Bool[np.ndarray, " n"]]:
    """Column and row on the grid of template coordinates (mm), and which of them are of the model's surface."""
    size = model.mean.shape[0]
    cells = model.chart.cells(coordinate.astype(np.float64))
    within = (cells > -0.5).all(1) & (cells < size - 0.5).all(1)
    template = sample(model.mean, cells)
    return cells, within & (np.linalg.norm(coordinate - template, axis=1) < OFF_TEMPLATE_MM)


def left_over(
    model: FaceModel,
    cells: Float[np.ndarray, "n 2"],
    residual: Float[np.ndarray, "n 3"],
    sure: Bool[np.ndarray, " n"] | None = None,
) -> tuple[Float[np.ndarray, "g g 3"], Float[np.ndarray, "g g"]]:
    """What pixels leave over from a face of the model, mm, in each cell, and how far to follow it there.

    sure: those that are known to be of the lip that they are said to be of.
    """
    doubtful = _at(model.lips, cells)
    if sure is not None:
        doubtful &= ~sure
    close = np.linalg.norm(residual, axis=1) < np.where(doubtful, WRONG_AT_LIPS_MM, WRONG_MM)
    grid, weight = splat(cells[close], residual[close], model.mean.shape[0])
    return grid, _trust(model, weight)


def _at(mask: Bool[np.ndarray, "g g"], cells: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
    """The nearest cells' values."""
    column, row = np.rint(cells).astype(int).T
    return np.asarray(mask[row, column])


def with_left_over(
    model: FaceModel,
    shape: Float[np.ndarray, "g g 3"],
    residual: Float[np.ndarray, "g g 3"],
    trust: Float[np.ndarray, "g g"],
) -> Surface:
    """A face of the model bent to what the photo shows; the bend fades where the photo ends."""
    bend, support = diffuse(residual, trust, FADING)
    return Surface(with_inner_mouth(model, shape + bend * np.clip(2 * support, 0, 1)), trust)


def to_mesh(model: FaceModel, surface: Surface, colors: UInt8[np.ndarray, "v 3"]) -> Mesh:
    """The mesh of a whole face, in metres of the head frame.

    Vertices, faces, groups and uv are the same in number and order for every face: vertex i is always the same place
    on the template.
    """
    vertices = sample(surface.positions, model.cells.astype(np.float64)) / 1000
    return Mesh(
        vertices.astype(np.float32),
        model.faces,
        vertex_normals(vertices, model.faces),
        colors,
        model.uv,
        model.groups,
    )


def most_probable(
    model: FaceModel, cells: Float[np.ndarray, "n 2"], points: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "g g 3"]:
    """Posterior mean of the Gaussian face model given visible points, mm, head frame."""
    size, coarse = model.mean.shape[0], model.modes.shape[1]
    if len(points) == 0:
        return model.mean.astype(np.float64)
    step = max(1, math.ceil(len(points) / PIXELS_USED))
    some = slice(None, None, step)
    offset = (points[some] - sample(model.mean, cells[some])).astype(np.float32)
    on_coarse = (cells[some] + 0.5) * coarse / size - 0.5
    rows = sample(model.layers, on_coarse.astype(np.float32)).reshape(3 * len(offset), -1)
    wanted = offset.reshape(-1)
    certainty = INDEPENDENT / len(offset) / NOISE_MM**2
    weight = np.ones(len(wanted), np.float32)
    found = np.zeros(rows.shape[1], np.float32)
    for _ in range(3):
        root = np.sqrt(weight * np.float32(certainty))
        heavy = rows * root[:, None]
        # A matrix times its own transpose costs half of two different ones.
        system = heavy.T @ heavy + np.eye(rows.shape[1], dtype=np.float32)
        found = np.linalg.solve(system, heavy.T @ (wanted * root))
        error = np.abs(wanted - rows @ found)
        weight = 1 / np.maximum(1, error / (2 * NOISE_MM))  # Huber
    change = np.tensordot(found, model.modes, 1)
    return model.mean + enlarge(change, size)


def sample(grid: Float[np.ndarray, "h w c"], cells: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n c"]:
    """Bilinear values of a grid at (column, row), clamped to its edge."""
    height, width = grid.shape[:2]
    x, y = np.clip(cells[:, 0], 0, width - 1), np.clip(cells[:, 1], 0, height - 1)
    x0, y0 = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    fx, fy = (x - x0)[:, None].astype(grid.dtype), (y - y0)[:, None].astype(grid.dtype)
    flat, first = grid.reshape(height * width, -1), y0 * width + x0
    values = flat.take(first, axis=0)
    values *= (1 - fx) * (1 - fy)
    for step, share in ((1, fx * (1 - fy)), (width, (1 - fx) * fy), (width + 1, fx * fy)):
        corner = flat.take(first + step, axis=0)
        corner *= share
        values += corner
    return values


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


def _trust(model: FaceModel, weight: Float[np.ndarray, "g g"]) -> Float[np.ndarray, "g g"]:
    """How far to follow the pixels in each cell, from how many there are: less towards the rim of what is seen."""
    import cv2

    enough = np.clip((weight - SPARSE) / (DENSE - SPARSE), 0, 1)
    seen = ((enough > 0.5) | model.mouth).astype(np.uint8)
    seen = cv2.morphologyEx(seen, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    inside = cv2.distanceTransform(seen, cv2.DIST_L2, cv2.DIST_MASK_5).astype(np.float64)
    return np.asarray(enough * np.clip((inside - RIM[0]) / (RIM[1] - RIM[0]), 0, 1) * ~model.mouth)


def with_inner_mouth(model: FaceModel, positions: Float[np.ndarray, "g g 3"]) -> Float[np.ndarray, "g g 3"]:
    """The inner mouth hung as a bag between the lips, the deeper the wider they are open."""
    cell, top, bottom = model.bag.T
    flat = positions.reshape(-1, 3).copy()
    share = ((cell - top) / (bottom - top))[:, None]
    upper, lower = flat[top], flat[bottom]
    width = ((bottom - top) / (bottom - top).max())[:, None]
    depth = (BAG_MM + BAG_SHARE * np.linalg.norm(upper - lower, axis=1, keepdims=True)) * width
    flat[cell] = upper + (lower - upper) * share - depth * 4 * share * (1 - share) * [0.0, 0.0, 1.0]
    return flat.reshape(positions.shape)


def enlarge(grid: Float[np.ndarray, "m m 3"], size: int) -> Float[np.ndarray, "size size 3"]:
    import cv2

    return np.asarray(cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC))


def diffuse(
    values: Float[np.ndarray, "g g c"], trust: Float[np.ndarray, "g g"], sigmas: tuple[float, ...]
) -> tuple[Float32[np.ndarray, "g g c"], Float32[np.ndarray, "g g 1"]]:
    """Values where they are trusted, and around there what seeps in, from ever farther; and how much came.

    sigmas: of the Gaussians, in cells.
    """
    import cv2

    have = trust.astype(np.float32)
    # What is known, with its weight as the last channel, so that a share of both is one product.
    known = np.concatenate([values.astype(np.float32) * have[..., None], have[..., None]], axis=2)
    filled, reached = known.copy(), have
    for sigma in sigmas:
        wider = _blurred(known, sigma)
        reach = wider[..., -1]
        reached = np.maximum(reached, reach)
        share = (1 - filled[..., -1]) * np.minimum(reach * 8, 1) / np.maximum(reach, 1e-6)
        filled += wider * cv2.merge([share] * wider.shape[2])
    return filled[..., :-1] / np.maximum(filled[..., -1:], 1e-6), reached[..., None]


def _blurred(grid: Float32[np.ndarray, "g g c"], sigma: float) -> Float32[np.ndarray, "g g c"]:
    """Gaussian blur with nothing beyond the edge; wide ones on a coarser grid."""
    import cv2

    step = 1
    while sigma >= 4 and grid.shape[0] % (2 * step) == 0:
        sigma, step = sigma / 2, 2 * step
    small = (
        grid if step == 1 else cv2.resize(grid, None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_AREA)
    )
    small = cv2.GaussianBlur(small, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(
        small if step == 1 else cv2.resize(small, grid.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    )
