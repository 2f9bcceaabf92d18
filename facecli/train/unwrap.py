"""The template's face on the grid of `facecli.complete`: chart, and a symmetric topology with eyes and mouth in it.

The grid's rows are bent a little so that the lids run along vertices, and torn open along the line where the lips
meet: the almond between them is the inner mouth. So the whole face is one chart without a seam.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, Real, UInt8

from facecli.chart import Chart
from facecli.train.headmodel import BACK, FACE_VERTICES, LACRIMAL, SCLERA_LEFT, HeadModel
from facecli.train.lift import front_vertices
from facecli.train.raster import interpolate, rasterize

GRID = 128
ANGLE = float(np.deg2rad(92.0))
HEIGHTS = (92.0, -122.0)
FINE = 8
"""Contours are measured on a grid this many times finer."""
OPENING = 4.0
"""Rows from the middle of the inner mouth to each lip."""
MOUTH_REACH, EYE_REACH, SIDE_REACH = 26.0, 9.0, 6.0
"""Over so many rows above and below, and columns beside, the bending fades."""
OUTLINE_BLUR = 5.0
"""Cells: what is narrower on the outline is rounded off."""
HOLES = 12
"""Half cells: narrower gaps in the face are closed."""
SMOOTHING, SHRINK, GROW = 300, 0.5, -0.503
"""Taubin's smoothing (1995) of the outline: rounds, and the two steps of each; keeps waves of 60 cells and more."""
INNER_CORNERS = (60, 64)
FACE_GROUP, RIGHT_EYE, LEFT_EYE, MOUTH = range(4)
"""Places in `facecli.complete.GROUPS`."""


@dataclass(frozen=True, eq=False)
class Contour:
    """A closed shape on the grid: for each column `first`..`last` the rows of its upper and lower edge, and the
    whole rows that they are moved to."""

    first: int
    upper: Float[np.ndarray, " n"]
    lower: Float[np.ndarray, " n"]
    top: Int[np.ndarray, " n"]
    bottom: Int[np.ndarray, " n"]

    @property
    def last(self) -> int:
        return self.first + len(self.upper) - 1

    def mirrored(self) -> "Contour":
        first = GRID - 1 - self.last
        return Contour(first, self.upper[::-1], self.lower[::-1], self.top[::-1], self.bottom[::-1])

    def mask(self) -> Bool[np.ndarray, "g g"]:
        """Cells inside, edges included."""
        inside = np.zeros((GRID, GRID), bool)
        for column, top, bottom in zip(range(self.first, self.last + 1), self.top, self.bottom, strict=True):
            inside[top : bottom + 1, column] = True
        return inside


@dataclass(frozen=True, eq=False)
class Unwrapped:
    """The template on the grid. `corners` and `shares`: the head model's triangle at each cell and where on it;
    `bag`: cells of the inner mouth, with the cells of the upper and the lower lip in the same column."""

    chart: Chart
    corners: Int[np.ndarray, "g g 3"]
    shares: Float[np.ndarray, "g g 3"]
    drawn: Bool[np.ndarray, "g g"]
    cells: Float[np.ndarray, "v 2"]
    quads: Int[np.ndarray, "q 4"]
    triangles: Int[np.ndarray, "t 3"]
    quad_group: UInt8[np.ndarray, " q"]
    triangle_group: UInt8[np.ndarray, " t"]
    bag: Int[np.ndarray, "b 3"]


def unwrap(model: HeadModel) -> Unwrapped:
    """Everything about the grid that is alike for all faces."""
    plain = Chart(ANGLE, HEIGHTS, np.full(GRID, -1, np.float32), np.zeros((2, GRID, GRID), np.float32))
    points = model.neutral.astype(np.float64)
    flat = plain.cells(points)
    mouth, right_eye = _mouth(model, plain, flat), _eye(model, flat)
    chart = _bent(plain, mouth, (right_eye, right_eye.mirrored()))
    cells = chart.cells(points)
    carried = model.carried
    beside = (np.abs(flat[:, 0] - (GRID - 1) / 2) < (mouth.last - mouth.first) / 2) & (
        np.abs(flat[:, 1] - mouth.upper.mean()) < 4
    )
    beside[FACE_VERTICES:] = False
    cells[beside, 1] = chart.bend(flat[beside], carried[beside])  # lips that touch: told apart by the jaw
    faces = outer_faces(model)
    radius = np.hypot(points[:, 0], points[:, 2] - plain.axis_z)
    index, bary, _ = rasterize(cells, 1000 - radius, faces, GRID, GRID)
    corners = faces[np.maximum(index, 0)]
    # The unrolled picture is no perspective: give the weights back that are linear on the grid.
    shares = bary * (1000 - radius[corners])
    shares /= np.maximum(shares.sum(-1, keepdims=True), 1e-9)
    # Left is right's mirror image, exactly.
    half = GRID // 2
    corners[:, half:] = model.mirror[corners[:, :half]][:, ::-1]
    shares[:, half:], index[:, half:] = shares[:, :half][:, ::-1], index[:, :half][:, ::-1]
    inside = _outline(model, cells, faces, radius)
    groups = {RIGHT_EYE: right_eye, LEFT_EYE: right_eye.mirrored(), MOUTH: mouth}
    quads, triangles, quad_group, triangle_group = _polygons(inside, groups)
    used = np.unique(np.concatenate([quads.ravel(), triangles.ravel()]))
    number = np.full(GRID * GRID, -1)
    number[used] = np.arange(len(used))
    quads, triangles = number[quads], number[triangles]
    row, column = np.divmod(used, GRID)
    places = _smooth_outline(np.stack([column, row], 1).astype(np.float64), quads, triangles)
    bag = [
        (r * GRID + c, top * GRID + c, bottom * GRID + c)
        for c, top, bottom in zip(range(mouth.first, mouth.last + 1), mouth.top, mouth.bottom, strict=True)
        for r in range(top + 1, bottom)
    ]
    return Unwrapped(
        chart,
        corners,
        shares,
        index >= 0,
        places,
        quads,
        triangles,
        quad_group,
        triangle_group,
        np.array(bag, np.int64),
    )


def outer_faces(model: HeadModel) -> Int[np.ndarray, "f 3"]:
    """Triangles of face, eyes and mouth in front of the axis."""
    faces = model.faces[model.part != BACK]
    return faces[model.neutral[faces, 2].max(1) > -40]


def _drawn(
    model: HeadModel, flat: Float[np.ndarray, "v 2"], values: Float[np.ndarray, "v c"]
) -> Float[np.ndarray, "s s c"]:
    """Values of the outermost surface on the finer grid, made symmetric."""
    size = GRID * FINE
    radius = np.hypot(model.neutral[:, 0], model.neutral[:, 2] + 10)
    faces = outer_faces(model)
    index, bary, _ = rasterize((flat + 0.5) * FINE - 0.5, 1000 - radius, faces, size, size)
    return interpolate(values, faces, index, bary)


def _coarse(row: float) -> float:
    """A row or column of the finer grid on the grid itself."""
    return (row + 0.5) / FINE - 0.5


def _mouth(model: HeadModel, plain: Chart, flat: Float[np.ndarray, "v 2"]) -> Contour:
    """Where the lips meet, as a contour without height, and the almond that it is torn open to."""
    lower = _drawn(model, flat, model.carried.astype(np.float32)[:, None])[..., 0] > 0.5
    ends = plain.cells(model.neutral[model.landmark_vertices[list(INNER_CORNERS)]].astype(np.float64))
    first = round(float((ends[0, 0] + GRID - 1 - ends[1, 0]) / 2))
    columns = np.arange(first, GRID - first)
    middle = float(ends[:, 1].mean())
    line = []
    for column in columns:
        near = slice(round((middle - 4.5) * FINE), round((middle + 5.5) * FINE))
        at = int((column + 0.5) * FINE)
        flips = [np.flatnonzero(np.diff(lower[near, at + k].astype(int)) == 1) for k in (-1, 0)]
        rows = [near.start + found[0] + 0.5 for found in flips if len(found)]
        line.append(_coarse(float(np.mean(rows))) if rows else np.nan)
    row = np.array(line)
    row = np.where(np.isnan(row), middle, row)
    row[[0, -1]] = middle
    row = (row + row[::-1]) / 2
    row = np.convolve(np.pad(row, 1, "edge"), [0.25, 0.5, 0.25], "valid")
    across = np.linspace(-1, 1, len(columns))
    open_by = OPENING * (1 - across**2)
    top = _steady(np.round(row - open_by))
    bottom = -_steady(-np.round(row + open_by))
    top[[0, -1]] = bottom[[0, -1]] = round(middle)
    return Contour(int(first), row, row, _steady(top), -_steady(-bottom))


def _eye(model: HeadModel, flat: Float[np.ndarray, "v 2"]) -> Contour:
    """The opening between the lids of the right eye, averaged with the left's mirror image."""
    ball = np.zeros((len(model.neutral), 1), np.float32)
    ball[model.faces[(model.part >= SCLERA_LEFT) & (model.part <= LACRIMAL)]] = 1
    seen = _drawn(model, flat, ball)[..., 0] > 0.5
    seen = cv2.GaussianBlur(
        ((seen + seen[:, ::-1].astype(float)) / 2)[:, : seen.shape[1] // 2], (0, 0), FINE / 2
    )
    open_ = seen > 0.5
    _, label, facts, _ = cv2.connectedComponentsWithStats(open_.astype(np.uint8))
    open_ = label == 1 + np.argmax(facts[1:, cv2.CC_STAT_AREA])
    reach = np.flatnonzero(open_.any(0))
    first, last = int(np.ceil(_coarse(float(reach[0])))), int(np.floor(_coarse(float(reach[-1]))))
    upper, lower = [], []
    for column in range(first, last + 1):
        rows = np.flatnonzero(open_[:, min(max(int((column + 0.5) * FINE), reach[0]), reach[-1])])
        upper.append(_coarse(float(rows[0]) - 0.5))
        lower.append(_coarse(float(rows[-1]) + 0.5))
    top, bottom = _steady(np.round(upper)), -_steady(-np.round(lower))
    top = np.minimum(top, bottom)
    return Contour(first, np.array(upper), np.array(lower), top, bottom)


def _steady(rows: Real[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Rows moved down until neighbours differ by one at most."""
    out = rows.astype(np.int64)
    for order in (range(1, len(out)), range(len(out) - 2, -1, -1)):
        back = -1 if order.step > 0 else 1
        for i in order:
            out[i] = max(out[i], out[i + back] - 1)
    return out


def _bent(plain: Chart, mouth: Contour, eyes: tuple[Contour, Contour]) -> Chart:
    """The chart with the rows moved: see the module's first lines."""
    rows = np.arange(GRID, dtype=np.float64)
    shift = np.zeros((2, GRID, GRID))
    for eye in eyes:
        for column in range(GRID):
            k, fade = _nearest(eye, column)
            if fade > 0:
                near = [eye.upper[k] - EYE_REACH, eye.upper[k], eye.lower[k] + 1e-6, eye.lower[k] + EYE_REACH]
                moved = [0, eye.top[k] - eye.upper[k], eye.bottom[k] - eye.lower[k], 0]
                shift[:, :, column] += fade * np.interp(rows, near, moved)
    lips = np.zeros(GRID)
    for column in range(GRID):
        k, fade = _nearest(mouth, column)
        lips[column] = mouth.upper[k]
        line = mouth.upper[k]
        for side, edge in enumerate((mouth.top[k], mouth.bottom[k])):
            away = np.clip((line - rows if side == 0 else rows - line) / MOUTH_REACH, 0, 1)
            shift[side, :, column] += fade * (edge - line) * (1 - away) ** 2
    return Chart(plain.angle_range, plain.height_range, lips.astype(np.float32), shift.astype(np.float32))


def _nearest(contour: Contour, column: int) -> tuple[int, float]:
    """Index of the contour's column nearest to this one, and how much of its bending reaches here."""
    k = min(max(column, contour.first), contour.last) - contour.first
    beside = abs(column - contour.first - k)
    return k, max(0.0, 1 - beside / SIDE_REACH)


def _outline(
    model: HeadModel,
    cells: Float[np.ndarray, "v 2"],
    faces: Int[np.ndarray, "f 3"],
    radius: Float[np.ndarray, "v"],
) -> Bool[np.ndarray, "g g"]:
    """Which cells are face, left as right, with a smooth rim."""
    size = GRID * 2
    index, bary, _ = rasterize((cells + 0.5) * 2 - 0.5, 1000 - radius, faces, size, size)
    face = interpolate(front_vertices(model).astype(np.float32)[:, None], faces, index, bary)[..., 0]
    drawn = (face > 0.5).astype(np.uint8)
    padded = cv2.copyMakeBorder(drawn, HOLES, HOLES, HOLES, HOLES, cv2.BORDER_REPLICATE)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((2 * HOLES + 1, 2 * HOLES + 1), np.uint8))
    whole = np.asarray(closed)[HOLES:-HOLES, HOLES:-HOLES]
    soft = (whole + whole[:, ::-1].astype(float)) / 2
    soft = cv2.GaussianBlur(soft, (0, 0), 2 * OUTLINE_BLUR, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(soft, (GRID, GRID), interpolation=cv2.INTER_AREA) > 0.5)


def _polygons(
    inside: Bool[np.ndarray, "g g"], groups: dict[int, Contour]
) -> tuple[Int[np.ndarray, "q 4"], Int[np.ndarray, "t 3"], UInt8[np.ndarray, " q"], UInt8[np.ndarray, " t"]]:
    """Quads, and triangles where a contour cuts a square's corner; flat cells, counter-clockwise from outside."""
    masks = {group: contour.mask() for group, contour in groups.items()}
    quads, quad_group, triangles, triangle_group = [], [], [], []
    keep = _without_spikes(inside)
    for r in range(GRID - 1):
        for c in range(GRID - 1):
            ring = [(r, c), (r + 1, c), (r + 1, c + 1), (r, c + 1)]
            within = [bool(keep[place]) for place in ring]
            if sum(within) < 3:
                continue
            flat = [y * GRID + x for y, x in ring]
            if sum(within) == 3:
                out = within.index(False)
                triangles.append([flat[(out + k) % 4] for k in (1, 2, 3)])
                triangle_group.append(FACE_GROUP)
                continue
            for group, mask in masks.items():
                held = [bool(mask[place]) for place in ring]
                if sum(held) == 4:
                    quads.append(flat)
                    quad_group.append(group)
                    break
                if sum(held) == 3:
                    out = held.index(False)
                    triangles.append([flat[(out + k) % 4] for k in (1, 2, 3)])
                    triangles.append([flat[(out + k) % 4] for k in (3, 0, 1)])
                    triangle_group += [group, FACE_GROUP]
                    break
            else:
                quads.append(flat)
                quad_group.append(FACE_GROUP)
    return (
        np.array(quads),
        np.array(triangles),
        np.array(quad_group, np.uint8),
        np.array(triangle_group, np.uint8),
    )


def _without_spikes(inside: Bool[np.ndarray, "g g"]) -> Bool[np.ndarray, "g g"]:
    """Cells that have a neighbour both sideways and downwards or upwards: no strips of one cell."""
    keep = inside.copy()
    for _ in range(4):
        wide = np.pad(keep, 1)
        sideways = wide[1:-1, :-2] | wide[1:-1, 2:]
        upright = wide[:-2, 1:-1] | wide[2:, 1:-1]
        keep &= sideways & upright
    return keep


def _smooth_outline(
    cells: Float[np.ndarray, "v 2"], quads: Int[np.ndarray, "q 4"], triangles: Int[np.ndarray, "t 3"]
) -> Float[np.ndarray, "v 2"]:
    """Vertices of the rim moved onto a smooth line (Taubin 1995), inner ones left alone."""
    edges = np.concatenate(
        [quads[:, [k, (k + 1) % 4]] for k in range(4)] + [triangles[:, [k, (k + 1) % 3]] for k in range(3)]
    )
    ordered, count = np.unique(np.sort(edges, 1), axis=0, return_counts=True)
    rim = ordered[count == 1]
    neighbours = np.zeros((len(cells), 2), np.int64)
    filled = np.zeros(len(cells), int)
    for a, b in rim:
        for i, j in ((a, b), (b, a)):
            neighbours[i, filled[i]] = j
            filled[i] += 1
    if not np.isin(filled, (0, 2)).all():
        raise ValueError("the outline touches itself")
    on_rim = filled == 2
    placed = cells.copy()
    for _ in range(SMOOTHING):
        for step in (SHRINK, GROW):
            middle = placed[neighbours].mean(1)
            placed[on_rim] += step * (middle - placed)[on_rim]
    return placed
