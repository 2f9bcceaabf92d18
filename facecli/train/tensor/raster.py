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

ROOM = 3.0, 4.0
"""Candidates that there is room for, for each pixel of every picture of a batch, and of one more: alone a picture may
need half as many again as on average."""
LOW = 2**32

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
        n, size, _ = self.index.shape
        face = self._face
        base = self._boxes[face, 2] - _offsets(n, size * size, face.device).int()
        top, left = torch.div(base, size, rounding_mode="floor"), base % size
        steps = torch.arange(size, device=face.device)
        column, row = (steps - left)[..., None], (steps[:, None] - top)[..., None]
        planes = self._planes[face]
        share = planes[..., 0:2] + column * planes[..., 3:5] + row * planes[..., 6:8]
        share = torch.cat([share, 1 - share.sum(-1, keepdim=True)], -1)
        return torch.where(self.drawn[..., None], share, 0)

    @cached_property
    def bary(self) -> Float[Tensor, "n h w 3"]:
        """Perspective-correct barycentric coordinates, 0 where nothing is drawn."""
        weighted = self.flat * self._heights.reshape(-1, 3)[self._face]
        return weighted / weighted.sum(-1, keepdim=True).clamp(min=1e-20)

    @property
    def _face(self) -> Int[Tensor, "n h w"]:
        """Of all pictures' faces."""
        n, count = self._heights.shape[:2]
        return self.index.clamp(min=0) + _offsets(n, count, self.index.device)


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
    n, f = faces.shape[:2]
    heights = pixels_of(near.float()[..., None], faces)[..., 0]
    planes, boxes, count = _set_up(pixels_of(pixels, faces), heights, size, both_sides)

    each, spare = ROOM if room is None else room
    places = int((each * n + spare) * size * size)
    ends = count.cumsum(0)
    lost = (ends[-1] - places).clamp(min=0)
    if _counts_at_once(pixels.device):
        places = min(places, int(ends[-1]))
    boxes[: n * f, 0] = (ends - count).int()
    place = torch.arange(places, device=pixels.device, dtype=torch.int32)
    owner = torch.searchsorted(
        ends.int(), place, right=True, out_int32=True
    )  # past the last: one that is never inside
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
        inside &= accept(owner.clamp(max=n * f - 1), u, v, w)
    key = (q.view(torch.int32).long() << 32) | low  # of equally near ones the first
    board = torch.zeros(n * size * size, dtype=torch.int64, device=pixels.device)
    pixel = (base + row * size + column).long().clamp(max=n * size * size - 1)
    board.scatter_reduce_(0, pixel, torch.where(inside, key, 0), "amax")
    won = board.reshape(n, size, size)
    index = torch.where(won > 0, f - 1 - (won & (LOW - 1)), -1)
    depth = (won >> 32).int().view(torch.float32)
    return Drawing(index, depth, lost, planes, boxes, heights)


def _counts_at_once(device: torch.device) -> bool:
    """A CPU need not wait to know how many candidates there are; a GPU would have to finish all that came before."""
    return device.type == "cpu"


def _set_up(
    corner: Float[Tensor, "n f 3 2"], heights: Float[Tensor, "n f 3"], size: int, both_sides: bool
) -> tuple[Float[Tensor, "t 9"], Int[Tensor, "t 4"], Int[Tensor, "n*f"]]:
    """Of each triangle u, v and nearness as planes over the screen (value at its box's corner, slope across, slope
    down); its box (a place for where its candidates begin, columns, first pixel, and what tells it from others as
    near); and how many pixels its box has, 0 if it is not to be drawn. Planes and boxes have one more, of a triangle
    that is nowhere."""
    n, f = heights.shape[:2]
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
    boxes = torch.stack([torch.zeros_like(base), wide.clamp(min=1), base, last], -1).reshape(n * f, 4)
    # one long row, that row and first pixel of whatever finds its place there stay whole numbers of 32 bits
    nowhere = torch.full_like(planes[:1], -1), torch.zeros_like(boxes[:1])
    nowhere[1][:, 1] = 2**30
    count = torch.where(shown, wide * tall, 0).reshape(n * f)
    return torch.cat([planes, nowhere[0]]), torch.cat([boxes, nowhere[1]]), count


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
    face = index.clamp(min=0)
    if len(faces) > 1:
        face = face + _offsets(n, faces.shape[1], index.device)
    vertex = faces.reshape(-1, 3)[face.reshape(-1)].reshape(*index.shape, 3)
    if len(values) > 1:
        vertex = vertex + _offsets(n, values.shape[1], index.device)[..., None]
    table = values.reshape(-1, values.shape[-1])
    share = torch.where(drawn[..., None], bary, 0)
    out = table[vertex[..., 0]] * share[..., :1]
    out += table[vertex[..., 1]] * share[..., 1:2]
    out += table[vertex[..., 2]] * share[..., 2:]
    return out


def _offsets(n: int, stride: int, device: torch.device) -> Int[Tensor, "n 1 1"]:
    return (torch.arange(n, device=device) * stride)[:, None, None]


class Fan:
    """The triangles about each vertex of one topology, in their order: sums over them come out the same on any
    device, which sums that many threads add to do not."""

    def __init__(self, faces: Int[Tensor, "f 3"], count: int) -> None:
        self.faces = faces
        corner = faces.reshape(-1)
        order = corner.argsort(stable=True)
        valence = torch.bincount(corner, minlength=count)
        begin = valence.cumsum(0) - valence
        by_valence = valence.argsort(descending=True, stable=True)
        self.back = by_valence.argsort()
        self.rings = [  # the k-th triangle of all vertices that have so many: a beginning of `by_valence`
            torch.div(order[begin[held] + k], 3, rounding_mode="floor")
            for k in range(int(valence.max()))
            for held in [by_valence[: int((valence > k).sum())]]
        ]

    def normals(self, vertices: Float[Tensor, "n v 3"]) -> Float[Tensor, "n v 3"]:
        """Area-weighted unit normals, outward."""
        a, b, c = (vertices[:, self.faces[:, k]] for k in range(3))
        across = torch.linalg.cross(b - a, c - a)
        total = torch.zeros_like(vertices)
        for ring in self.rings:
            total[:, : len(ring)] += across[:, ring]
        return unit(total[:, self.back])


def unit(vectors: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
    """Vectors scaled to length 1; 0 stays 0."""
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-6)
