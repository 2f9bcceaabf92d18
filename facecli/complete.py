"""The whole face from the part a photo shows: one fixed topology, the visible surface kept, the rest most probable.

The face area of the template is unrolled onto a grid, without a seam (see `facecli.chart`). Faces are described there
by a mean and by the modes in which people and expressions differ, learned from geometry alone
(`facecli.train.completion`). Given the visible pixels, the completion network (`facecli.completion`) says which face is
most probable, which fills in what is hidden; to what the photo shows the face is then bent.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32, UInt8

from facecli.chart import Chart
from facecli.completion import Completion, glimpse, load_completion
from facecli.errors import WeightsError
from facecli.grid import Places, around, diffuse, enlarge, grid_normals, sample
from facecli.mesh import Group, Mesh, vertex_normals
from facecli.mouth import even_lips, to_lip_edges, with_inner_mouth
from facecli.weights import Weights

GROUPS = ("face", "right_eye", "left_eye", "mouth")
MOUTH = GROUPS.index("mouth")
FADING = (1.0, 2.0, 4.0, 8.0, 16.0)  # grid cells: how far the visible surface pulls the hidden one after it
SPARSE, DENSE = 0.3, 1.5  # pixels in a cell: seen too edge-on to be trusted, and enough
RIM = (0.5, 4.0)  # cells from where the photo stops seeing: there depth is least sure, and nothing may crease
OFF_TEMPLATE_MM = 7.0  # teeth and tongue lie this far behind the lips that share their cells
WRONG_MM = 15.0  # farther from the most probable face, a correspondence is wrong
WRONG_AT_LIPS_MM, LIPS = 5.0, 3  # within so many cells of the inner mouth, it may be the other lip's
SLIDES_MM = (0.3, 0.9)  # left over along the surface: shape up to the first, slid from the second
CREDIT = 0.8  # of the network's change where correspondences slid: it learned from smaller errors
HOLD = 12.0  # cells: so far rims, whose correspondence is known, keep what is around from sliding
FINE_CELLS = 2.0  # what of the bend is finer stays the model's
FAINT = 1e-3  # weight of a cell that is not seen
JUMP_CELLS, JUMP_MM = 2.0, 0.3  # so unlike its surroundings, a cell is doubted; at twice that, it is out


@dataclass(frozen=True, eq=False)
class FaceModel:
    """Mean and modes on the grid; mm, head frame. The mesh's vertices lie at `cells` (column, row) of the grid."""

    chart: Chart
    mean: Float32[np.ndarray, "g g 3"]
    modes: Float32[np.ndarray, "k m m 3"]  # per standard deviation, on a coarser grid over the same area
    cells: Float32[np.ndarray, "v 2"]
    groups: tuple[Group, ...]  # in the order of GROUPS
    bag: Int32[np.ndarray, "b 3"]  # flat cells of the inner mouth; of the lips above and below them
    network: Completion | None = None  # None: not trained yet

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
    def twins(self) -> Int[np.ndarray, "g g"]:
        """The column of the cell on the other side that each cell looks like: of skin the mirrored one; of eyeballs,
        which turn together, the one that lies as far to the same side in its own eye."""
        column = np.broadcast_to(np.arange(self.mean.shape[1]), self.mean.shape[:2])
        right, left = (self._eye(name) for name in ("right_eye", "left_eye"))
        apart = round(float(column[left].mean() - column[right].mean()))
        both = right & np.roll(left, -apart, axis=1)
        twins = column[:, ::-1].copy()
        twins[both] = column[both] + apart
        both = np.roll(both, apart, axis=1)
        twins[both] = column[both] - apart
        return twins

    @cached_property
    def eyes(self) -> Bool[np.ndarray, "g g"]:
        """Cells between the lids."""
        return self._eye("right_eye") | self._eye("left_eye")

    def _eye(self, name: str) -> Bool[np.ndarray, "g g"]:
        """The cells between the lids."""
        eye = np.zeros(self.mean.shape[:2], bool)
        x, y = np.rint(self.cells[np.unique(self.groups[GROUPS.index(name)].quads)]).astype(int).T
        eye[y, x] = True
        return eye

    @cached_property
    def normals(self) -> Float[np.ndarray, "g g 3"]:
        """Unit normals of the mean face."""
        return grid_normals(self.mean.astype(np.float64))

    @cached_property
    def lips(self) -> Bool[np.ndarray, "g g"]:
        """Cells in or near the inner mouth."""
        import cv2

        reach = 2 * LIPS + 1
        return np.asarray(cv2.dilate(self.mouth.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0)

    @cached_property
    def lip_share(self) -> Float32[np.ndarray, "g g 1"]:
        """1 at the lips, fading around them."""
        import cv2

        return np.asarray(cv2.GaussianBlur(self.lips.astype(np.float32), (0, 0), LIPS / 2))[..., None]

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
class Rims:
    """Points on the inner rims of lids and lips: on the template, and on the face as a camera at `eye` saw their edges
    (mm, head frame). How deep they lie it did not see."""

    template: Float[np.ndarray, "r 3"]
    points: Float[np.ndarray, "r 3"]
    eye: Float[np.ndarray, "3"]

    def across(self, left_over: Float[np.ndarray, "r 3"]) -> Float[np.ndarray, "r 3"]:
        """What of it the picture shows: not what is along the line of sight."""
        sight = self.points - self.eye
        sight /= np.linalg.norm(sight, axis=1, keepdims=True)
        return left_over - np.einsum("rk,rk->r", left_over, sight)[:, None] * sight


@dataclass(frozen=True, eq=False)
class Surface:
    """A whole face on the grid of the model: mm, head frame; and how much of each cell the photo showed, 0 to 1."""

    positions: Float[np.ndarray, "g g 3"]
    seen: Float[np.ndarray, "g g"]


def load_face_model(weights: Weights) -> FaceModel:
    """The packaged model and network. Raises WeightsError when they are missing, damaged or of another shape."""
    model = load_geometry(weights)
    return replace(model, network=load_completion(weights, model.modes))


def load_geometry(weights: Weights) -> FaceModel:
    """The packaged model alone. Raises WeightsError when it is missing, damaged or of another shape."""
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
    rims: Rims | None = None,
    confidence: Float[np.ndarray, " n"] | None = None,
) -> Surface:
    """The complete face that explains the visible pixels.

    coordinate: template coordinate of each visible pixel, mm; points: its position, mm, head frame. rims: of lids and
    lips, where they are known; then pixels between the lips and on their edges are not asked. confidence: how far each
    pixel's position is to be believed, 0 to 1, default 1. Raises ValueError for a model without network.
    """
    if model.network is None:
        raise ValueError("the face model has no completion network")
    size = model.mean.shape[0]
    cells, kept = to_cells(model, coordinate.astype(np.float32))
    weight = np.ones(len(cells)) if confidence is None else confidence
    cells, points, weight, sure = _with_rims(model, cells[kept], points[kept], weight[kept], rims)
    places = Places.of(cells.astype(np.float32, copy=False), size)
    offset = points.astype(np.float32) - places.sample(model.mean)
    if len(offset) == 0:
        change = np.zeros_like(model.mean)
    else:
        change = enlarge(model.network.change(*glimpse(cells, offset, weight, size)), size)
    residual = offset - places.sample(change)
    if rims is not None:
        residual[sure] = rims.across(residual[sure].astype(np.float64))
    residual, trust, slide, held = _left_over(model, cells, places, residual, sure)
    less = (CREDIT - 1) * slide * change
    return with_left_over(model, model.mean + change + less, residual - held[..., None] * less, trust)


def _with_rims(
    model: FaceModel,
    cells: Float[np.ndarray, "n 2"],
    points: Float[np.ndarray, "n 3"],
    weight: Float[np.ndarray, " n"],
    rims: Rims | None,
) -> tuple[
    Float[np.ndarray, "k 2"], Float[np.ndarray, "k 3"], Float[np.ndarray, " k"], Bool[np.ndarray, " k"]
]:
    """Places, points and weights of pixels and then of rims (see `complete`), and which of them are of rims.

    Rims weigh 1. Where some are of lips, pixels between them and on their edges are gone.
    """
    if rims is None:
        return cells, points, weight, np.zeros(len(cells), bool)
    known = to_lip_edges(model.bag, model.lips, model.chart.cells(rims.template.astype(cells.dtype)))
    if _at(model.lips, known).any():
        far = ~_at(model.mouth, cells)
        cells, points, weight = cells[far], points[far], weight[far]
    return (
        np.concatenate([cells, known]),
        np.concatenate([points, rims.points]),
        np.append(weight, np.ones(len(known))),
        np.arange(len(cells) + len(known)) >= len(cells),
    )


def to_cells(
    model: FaceModel, coordinate: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, "n 2"], Bool[np.ndarray, " n"]]:
    """Column and row on the grid of template coordinates (mm), and which of them are of the model's surface."""
    size = model.mean.shape[0]
    cells = model.chart.cells(coordinate)
    within = ((cells > -0.5) & (cells < size - 0.5)).all(1)
    away = coordinate - sample(model.mean, cells)
    return cells, within & (np.einsum("ij,ij->i", away, away) < OFF_TEMPLATE_MM**2)


def left_over(
    model: FaceModel, cells: Float[np.ndarray, "n 2"], residual: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, "g g 3"], Float[np.ndarray, "g g"]]:
    """What pixels leave over from a face of the model, mm, in each cell, and how far to follow it there.

    Along the surface it is left out where it is too large to be shape: correspondences slide, mostly on cheeks and
    foreheads, where nothing holds them, while across the surface there is only the depth.
    """
    places = Places.of(cells, model.mean.shape[0])
    return _left_over(model, cells, places, residual, np.zeros(len(cells), bool))[:2]


def _left_over(
    model: FaceModel,
    cells: Float[np.ndarray, "n 2"],
    places: Places,
    residual: Float[np.ndarray, "n 3"],
    sure: Bool[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, "g g 3"], Float[np.ndarray, "g g"], float, Float[np.ndarray, "g g"]]:
    """The same, how surely correspondences slide, 0 to 1, and how firmly each cell is held, 1 where it is known.

    sure: the pixels whose correspondence is known.
    """
    doubtful = _at(model.lips, cells) & ~sure
    wrong = np.where(doubtful, np.float32(WRONG_AT_LIPS_MM**2), np.float32(WRONG_MM**2))
    near = np.einsum("ij,ij->i", residual, residual) < wrong
    grid, weight = places.splat(residual, near)
    held = _held(places.splat(residual[:, :1], near & sure)[1] > 0.5 * weight)
    trust = _trust(model, weight, held == 1)
    across = np.einsum("ijk,ijk->ij", grid, model.normals)[..., None] * model.normals
    along = grid - across
    length = np.linalg.norm(along[trust > 0.5], axis=1)
    typical = float(np.median(length)) if len(length) else 0.0
    slide = float(np.clip((typical - SLIDES_MM[0]) / (SLIDES_MM[1] - SLIDES_MM[0]), 0, 1))
    grid = across + along * np.maximum(1 - slide, held)[..., None]
    return grid, trust * np.maximum(_smooth(grid, trust), held == 1), slide, held


def _held(known: Bool[np.ndarray, "g g"]) -> Float[np.ndarray, "g g"]:
    """1 where correspondences are known, fading around there, where they cannot slide far."""
    import cv2

    if not known.any():
        return np.zeros(known.shape)
    away = cv2.distanceTransform((~known).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.asarray(np.clip(1 - away / HOLD, 0, 1), np.float64)


def _smooth(
    residual: Float[np.ndarray, "g g 3"], trust: Float[np.ndarray, "g g"]
) -> Float[np.ndarray, "g g"]:
    """How far each cell agrees with those around it, 0 to 1; what did not has no say in the second round.

    Where what is left over jumps from cell to cell, at nostrils and corners of the mouth, two surfaces were mixed.
    """
    values, kept = residual.astype(np.float32), trust.astype(np.float32)
    agrees = np.ones_like(kept)
    for _ in range(2):
        kept = kept * agrees
        off = values - around(values, kept, JUMP_CELLS)
        agrees = np.clip(2 - np.sqrt(np.einsum("ijk,ijk->ij", off, off)) / np.float32(JUMP_MM), 0, 1)
    return np.asarray(agrees, np.float64)


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
    """A face of the model bent to what the photo shows; the bend fades where the photo ends.

    What is finer than a lid stays the model's, but at the lips: the maps blur it, and could only blur lids and wings of
    the model's face. Where lips part is known, and more finely than the modes are.
    """
    bend, support = diffuse(residual, trust, FADING)
    fading = around(np.clip(2 * support, 0, 1), np.ones_like(trust), FINE_CELLS)
    face = shape + _broad(bend, np.maximum(trust, FAINT)) * fading
    lips = with_even_lips(model, shape + bend * fading)
    return Surface(with_inner_mouth(model.bag, face + model.lip_share * (lips - face)), trust)


def with_even_lips(model: FaceModel, positions: Float[np.ndarray, "g g 3"]) -> Float[np.ndarray, "g g 3"]:
    """A face whose lips have moved evenly from the mean face's."""
    even = model.mean + even_lips(model.bag, positions - model.mean)
    return positions + model.lip_share * (even - positions)


def _broad(
    values: Float[np.ndarray, "g g 3"], weight: Float[np.ndarray, "g g"]
) -> Float[np.ndarray, "g g 3"]:
    """Without what is finer than `FINE_CELLS`; what is left out the first time is asked once more, so that nothing
    broader is lost."""
    once = around(values, weight, FINE_CELLS)
    return once + around(values - once, weight, FINE_CELLS)


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


def _trust(
    model: FaceModel, weight: Float[np.ndarray, "g g"], known: Bool[np.ndarray, "g g"]
) -> Float[np.ndarray, "g g"]:
    """How far to follow the pixels in each cell, from how many there are: less towards the rim of what is seen, and
    not in the mouth, but where the correspondence is known."""
    import cv2

    enough = np.clip((weight - SPARSE) / (DENSE - SPARSE), 0, 1)
    seen = ((enough > 0.5) | model.mouth).astype(np.uint8)
    seen = cv2.morphologyEx(seen, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    inside = cv2.distanceTransform(seen, cv2.DIST_L2, cv2.DIST_MASK_5).astype(np.float64)
    return np.asarray(enough * np.clip((inside - RIM[0]) / (RIM[1] - RIM[0]), 0, 1) * (known | ~model.mouth))
