"""Triangles to maps, a batch of meshes at a time: `facecli.train.raster` in tensors.

Every pixel in the box of every triangle is a candidate: a flat list, in which a triangle finds its place by the sum
of the boxes before its own, so that small and large ones cost what they cover (a head has 2.2 candidates for each pixel
of its picture, 3.3 at most, where boxes of one size would have 12). The nearest wins by a maximum over whole numbers,
depth in the high and face in the low bits, which comes out the same in whatever order a device takes it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from facecli.train.raster import ROUNDING
from facecli.train.tensor.fusion import as_on_a_gpu, fused

ROOM = 3.0, 4.0
"""Candidates that there is room for, for each pixel of every picture of a batch, and of one more: alone a picture may
need half as many again as on average."""
LOW = 2**32
USUAL = 8
"""Triangles about a vertex that few have more of."""

Accept = Callable[
    [Int[Tensor, "c"], Float[Tensor, "c"], Float[Tensor, "c"], Float[Tensor, "c"]], Bool[Tensor, "c"]
]
"""Which candidates are drawn, of their triangles (row x faces + face) and barycentric coordinates on the screen."""


@dataclass(frozen=True)
class Drawing:
    """`index`: the face drawn at each pixel, -1 where none; `near`: the nearness there, 0 where none. `lost`: how many
    candidates found no room: with any, the drawing is not whole."""

    index: Int[Tensor, "n h w"]
    near: Float[Tensor, "n h w"]
    lost: Int[Tensor, ""]
    _planes: Float[Tensor, "t 9"]
    _boxes: Int[Tensor, "t 4"]
    _heights: Float[Tensor, "n f 3"]

    @property
    def drawn(self) -> Bool[Tensor, "n h w"]:
        return self.index >= 0

    @cached_property
    def flat(self) -> Float[Tensor, "n h w 3"]:
        """Barycentric coordinates on the screen, 0 where nothing is drawn."""
        return _shares(self.index, self._planes, self._boxes, self._heights.shape[1])

    @cached_property
    def bary(self) -> Float[Tensor, "n h w 3"]:
        """Perspective-correct barycentric coordinates, 0 where nothing is drawn."""
        return _perspective(self.index, self._planes, self._boxes, self._heights)


def _own_face(index: Int[Tensor, "n h w"], count: int) -> Int[Tensor, "n h w"]:
    """Of all pictures' faces, `count` of each."""
    return index.clamp(min=0) + _offsets(len(index), count, index.device)


@fused
def _shares(
    index: Int[Tensor, "n h w"], planes: Float[Tensor, "t 9"], boxes: Int[Tensor, "t 4"], count: int
) -> Float[Tensor, "n h w 3"]:
    """`Drawing.flat`."""
    n, size, _ = index.shape
    face = _own_face(index, count)
    base = boxes[face, 2] - _offsets(n, size * size, face.device).int()
    top, left = torch.div(base, size, rounding_mode="floor"), base % size
    steps = torch.arange(size, device=face.device)
    column, row = (steps - left)[..., None], (steps[:, None] - top)[..., None]
    own = planes[face]
    share = own[..., 0:2] + column * own[..., 3:5] + row * own[..., 6:8]
    share = torch.cat([share, 1 - share.sum(-1, keepdim=True)], -1)
    return torch.where((index >= 0)[..., None], share, 0)


@fused
def _perspective(
    index: Int[Tensor, "n h w"],
    planes: Float[Tensor, "t 9"],
    boxes: Int[Tensor, "t 4"],
    heights: Float[Tensor, "n f 3"],
) -> Float[Tensor, "n h w 3"]:
    """`Drawing.bary`."""
    count = heights.shape[1]
    flat = _shares(index, planes, boxes, count)
    weighted = flat * heights.reshape(-1, 3)[_own_face(index, count)]
    return weighted / weighted.sum(-1, keepdim=True).clamp(min=1e-20)


def rasterize(
    pixels: Float[Tensor, "n v 2"],
    near: Float[Tensor, "n v"],
    faces: Int[Tensor, "n f 3"],
    size: int,
    accept: Accept | None = None,
    both_sides: bool = False,
    room: tuple[float, float] | None = None,
) -> Drawing:
    """Draw the faces of n meshes on n pictures of size x size, nearest first, back faces culled if not `both_sides`.

    `pixels` are image positions (x right, y down, centres at integers), `near` is linear on the screen, larger for
    what is nearer and positive in front: 1 / depth, or, seen from infinity, a height. `room`: as `ROOM`,
    which it is if not given.
    """
    n = len(faces)
    planes, boxes, heights, ends = _set_up(pixels, near, faces, size, both_sides)
    each, spare = ROOM if room is None else room
    places = int((each * n + spare) * size * size)
    lost = (ends[-1] - places).clamp(min=0)
    if not as_on_a_gpu(pixels.device):
        # A CPU need not wait to know how many candidates there are; a GPU would have to finish all that came before.
        places = min(places, int(ends[-1]))
    index, depth = _nearest(planes, boxes, ends, places, accept, n, size)
    return Drawing(index, depth, lost, planes, boxes, heights)


@fused
def _nearest(
    planes: Float[Tensor, "t 9"],
    boxes: Int[Tensor, "t 4"],
    ends: Int[Tensor, "e"],
    places: int,
    accept: Accept | None,
    n: int,
    size: int,
) -> tuple[Int[Tensor, "n h w"], Float[Tensor, "n h w"]]:
    """The face nearest at each pixel, of so many candidates, and its nearness."""
    count = len(ends)
    f = count // n
    place = torch.arange(places, device=planes.device, dtype=torch.int32)
    # past the last: one that is never inside
    owner = torch.searchsorted(ends, place, right=True, out_int32=True)
    begin, columns, base, low = boxes[owner].unbind(1)
    within = place - begin
    row = torch.div(within, columns, rounding_mode="floor")
    column = within - row * columns
    plane, across, down = planes[owner], column.float(), row.float()
    u, v, q = (
        torch.addcmul(torch.addcmul(plane[:, k], across, plane[:, 3 + k]), down, plane[:, 6 + k])
        for k in range(3)
    )
    w = 1 - u - v
    inside = torch.minimum(torch.minimum(u, v), w) >= 0
    if accept is not None:
        inside &= accept(owner.clamp(max=count - 1), u, v, w)
    key = (q.view(torch.int32).long() << 32) | low  # of equally near ones the first
    board = torch.zeros(n * size * size, dtype=torch.int64, device=planes.device)
    pixel = (base + row * size + column).long().clamp(max=n * size * size - 1)
    board.scatter_reduce_(0, pixel, torch.where(inside, key, 0), "amax")
    won = board.reshape(n, size, size)
    index = torch.where(won > 0, f - 1 - (won & (LOW - 1)), -1)
    return index, (won >> 32).int().view(torch.float32)


@fused
def _set_up(
    pixels: Float[Tensor, "n v 2"],
    near: Float[Tensor, "n v"],
    faces: Int[Tensor, "n f 3"],
    size: int,
    both_sides: bool,
) -> tuple[Float[Tensor, "t 9"], Int[Tensor, "t 4"], Float[Tensor, "n f 3"], Int[Tensor, "n*f"]]:
    """Of each triangle u, v and nearness as planes over the screen (value at its box's corner, slope across, slope
    down); its box (a place for where its candidates begin, columns, first pixel, and what tells it from others as
    near); nearness of its corners; and where its candidates end: as many as its box has pixels, 0 if it is not to be
    drawn. Planes and boxes have one more, of a triangle that is nowhere."""
    n, f = faces.shape[:2]
    heights = pixels_of(near.float()[..., None], faces)[..., 0]
    corner = pixels_of(pixels, faces)
    low, high = corner.amin(2).ceil().clamp(0, size), corner.amax(2).floor().clamp(-1, size - 1)
    wide, tall = (high - low + 1).clamp(min=0).int().unbind(-1)
    # From the box's corner on single precision is enough.
    x, y = (corner - low[:, :, None]).float().unbind(-1)
    (ax, bx, cx), (ay, by, cy) = x.unbind(-1), y.unbind(-1)
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    # y points down, so a face that is counter-clockwise from outside has negative area here.
    shown = (area.abs() > 1e-9 if both_sides else area < 0) & (heights > 0).all(-1)
    inverse = torch.where(shown, 1 / area, 0)
    u, ux, uy = (bx * cy - by * cx) * inverse, (by - cy) * inverse, (cx - bx) * inverse
    v, vx, vy = (cx * ay - cy * ax) * inverse, (cy - ay) * inverse, (ax - cx) * inverse
    first, second = heights[..., 0] - heights[..., 2], heights[..., 1] - heights[..., 2]
    q, qx, qy = heights[..., 2] + u * first + v * second, ux * first + vx * second, uy * first + vy * second
    planes = torch.stack([u, v, q, ux, vx, qx, uy, vy, qy], -1).reshape(n * f, 9)
    picture = _offsets(n, size * size, corner.device)[..., 0].int()
    base = picture + (low[..., 1] * size + low[..., 0]).int()
    last = torch.arange(f - 1, -1, -1, device=corner.device, dtype=torch.int32).expand(n, f)
    count = torch.where(shown, wide * tall, 0)
    ends = count.reshape(n * f).cumsum(0, dtype=torch.int32)
    begin = ends.reshape(n, f) - count
    boxes = torch.stack([begin, wide.clamp(min=1), base, last], -1).reshape(n * f, 4)
    # one long row, that row and first pixel of whatever finds its place there stay whole numbers of 32 bits
    nowhere = torch.full_like(planes[:1], -1), torch.zeros_like(boxes[:1])
    nowhere[1][:, 1] = 2**30
    return torch.cat([planes, nowhere[0]]), torch.cat([boxes, nowhere[1]]), heights, ends


def pixels_of(values: Float[Tensor, "n v c"], faces: Int[Tensor, "n f 3"]) -> Float[Tensor, "n f 3 c"]:
    """Values of the corners of each face."""
    n, count = values.shape[:2]
    flat = (faces + _offsets(n, count, faces.device)).reshape(-1)
    return values.reshape(n * count, -1)[flat].reshape(*faces.shape, values.shape[-1])


def interpolate(
    values: Float[Tensor, "m v c"],
    faces: Int[Tensor, "k f 3"],
    index: Int[Tensor, "n h w"],
    bary: Float[Tensor, "n h w 3"],
) -> Float[Tensor, "n h w c"]:
    """Vertex `values` at every drawn pixel, 0 elsewhere. Values and faces are of each mesh, or of all: m and k are n
    or 1."""
    n = len(index)
    drawn = index >= 0
    face = _own_face(index, faces.shape[1]) if len(faces) > 1 else index.clamp(min=0)
    vertex = faces.reshape(-1, 3)[face.reshape(-1)].reshape(*index.shape, 3)
    if len(values) > 1:
        vertex = vertex + _offsets(n, values.shape[1], index.device)[..., None]
    table = values.reshape(-1, values.shape[-1])
    share = torch.where(drawn[..., None], bary, 0)
    out = table[vertex[..., 0]] * share[..., :1]
    out += table[vertex[..., 1]] * share[..., 1:2]
    out += table[vertex[..., 2]] * share[..., 2:]
    return out


def rounded(
    placed: Float[Tensor, "n h w 3"],
    vertices: Float[Tensor, "n v 3"],
    normals: Float[Tensor, "n v 3"],
    faces: Int[Tensor, "f 3"],
    index: Int[Tensor, "n h w"],
    bary: Float[Tensor, "n h w 3"],
) -> Float[Tensor, "n h w 3"]:
    """As `facecli.train.raster.rounded`: points of flat triangles, on the curved surface that the normals tell of."""
    n, there = len(index), (index >= 0)[..., None]
    corners = faces[index.clamp(min=0)] + _offsets(n, vertices.shape[1], index.device)[..., None]
    at, normal = vertices.reshape(-1, 3), normals.reshape(-1, 3)
    out = placed
    for k in range(3):
        upright = normal[corners[..., k]]
        above = ((placed - at[corners[..., k]]) * upright).sum(-1, keepdim=True)
        out = out - torch.where(there, ROUNDING * bary[..., k : k + 1] * above, 0) * upright
    return out


def _offsets(n: int, stride: int, device: torch.device) -> Int[Tensor, "n 1 1"]:
    return (torch.arange(n, device=device) * stride)[:, None, None]


class Fan:
    """The triangles about each vertex of one topology, in their order: sums over them come out the same on any
    device, which sums that many threads add to do not."""

    def __init__(self, faces: Int[Tensor, "f 3"], count: int) -> None:
        self.faces = torch.cat([faces, torch.zeros_like(faces[:1])])  # the last is of no area
        corner = faces.reshape(-1)
        order = corner.argsort(stable=True)
        valence = torch.bincount(corner, minlength=count)
        begin = valence.cumsum(0) - valence
        by_valence = valence.argsort(descending=True, stable=True)
        self.back = by_valence.argsort()
        few = int((valence > USUAL).sum())
        self.rings = []  # the k-th triangle of each vertex, from some k on of the few alone that have so many
        for k in range(int(valence.max())):
            held = by_valence[: few if k >= USUAL else count]
            at = (begin[held] + k).clamp(max=len(order) - 1)
            ring = torch.div(order[at], 3, rounding_mode="floor")
            self.rings.append(torch.where(valence[held] > k, ring, len(faces)))

    @fused
    def normals(self, vertices: Float[Tensor, "n v 3"]) -> Float[Tensor, "n v 3"]:
        """Area-weighted unit normals, outward."""
        a, b, c = (vertices[:, self.faces[:, k]] for k in range(3))
        across = torch.linalg.cross(b - a, c - a)
        total = across[:, self.rings[0]]
        for ring in self.rings[1:USUAL]:
            total = total + across[:, ring]
        if self.rings[USUAL:]:
            few = total[:, : len(self.rings[USUAL])]
            for ring in self.rings[USUAL:]:
                few = few + across[:, ring]
            total = torch.cat([few, total[:, few.shape[1] :]], 1)
        return unit(total[:, self.back])


def unit(vectors: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
    """Vectors scaled to length 1; 0 stays 0."""
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-6)


def turned(points: Float[Tensor, "n p k"], matrix: Float[Tensor, "n m k"]) -> Float[Tensor, "n p m"]:
    """Each point by the matrix of its picture: sums of a few products, which need no kernel of their own."""
    rows = (
        sum(points[..., k] * matrix[:, row, k, None] for k in range(points.shape[-1]))
        for row in range(matrix.shape[1])
    )
    return torch.stack(list(rows), -1)  # type: ignore[arg-type]  # a sum of some is never 0
