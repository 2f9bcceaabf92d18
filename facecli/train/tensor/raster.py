"""Triangles to maps, a batch of meshes at a time: `facecli.train.raster` in tensors.

Every pixel in the box of every triangle is a candidate: a flat list, in which a triangle finds its place by the sum
of the boxes before its own, so that small and large ones cost what they cover (a head has 2.2 candidates for each pixel
of its picture, 3.3 at most, where boxes of one size would have 12). The nearest wins by a maximum over whole numbers,
depth in the high and face in the low bits, which comes out the same in whatever order a device takes it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

PLACES = 6.0
"""Candidates there is room for, for each pixel of a batch's pictures."""
LOW = 2**32

Accept = Callable[
    [Int[Tensor, "c"], Float[Tensor, "c"], Float[Tensor, "c"], Float[Tensor, "c"]], Bool[Tensor, "c"]
]
"""Which candidates are drawn, of their triangles (row x faces + face) and barycentric coordinates on the screen."""


@dataclass(frozen=True)
class Drawing:
    """`index`: the face drawn at each pixel, -1 where none; `bary`: its perspective-correct barycentric coordinates;
    `flat`: those on the screen; `near`: the nearness there, 0 where none. `lost`: how many candidates found no room:
    with any, the drawing is not whole."""

    index: Int[Tensor, "n h w"]
    bary: Float[Tensor, "n h w 3"]
    flat: Float[Tensor, "n h w 3"]
    near: Float[Tensor, "n h w"]
    lost: Int[Tensor, ""]

    @property
    def drawn(self) -> Bool[Tensor, "n h w"]:
        return self.index >= 0


def rasterize(
    pixels: Float[Tensor, "n v 2"],
    near: Float[Tensor, "n v"],
    faces: Int[Tensor, "n f 3"],
    size: int,
    accept: Accept | None = None,
    both_sides: bool = False,
    places: float | None = None,
) -> Drawing:
    """Draw the faces of n meshes on n pictures of size x size, nearest first, back faces culled if not `both_sides`.

    `pixels` are image positions (x right, y down, centres at integers), `near` is linear on the screen, larger for
    what is nearer and positive in front: 1 / depth, or, seen from infinity, a height. `places`: room for
    so many candidates for each pixel.
    """
    n, f = faces.shape[:2]
    corner, height = pixels_of(pixels.double(), faces), pixels_of(near.double()[..., None], faces)[..., 0]
    x, y = corner.unbind(-1)
    (ax, bx, cx), (ay, by, cy) = x.unbind(-1), y.unbind(-1)
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    # y points down, so a face that is counter-clockwise from outside has negative area here.
    shown = (area.abs() > 1e-9 if both_sides else area < 0) & (height > 0).all(-1)
    x0, x1 = x.amin(-1).ceil().clamp(0, size), x.amax(-1).floor().clamp(-1, size - 1)
    y0, y1 = y.amin(-1).ceil().clamp(0, size), y.amax(-1).floor().clamp(-1, size - 1)
    wide, tall = (x1 - x0 + 1).clamp(min=0), (y1 - y0 + 1).clamp(min=0)
    inverse = torch.where(shown, 1 / area, 0)
    # u, v and nearness are planes over the screen; each begins at its box's corner, where single precision is enough.
    ux, uy = (by - cy) * inverse, (cx - bx) * inverse
    vx, vy = (cy - ay) * inverse, (ax - cx) * inverse
    u = ((bx - x0) * (cy - y0) - (by - y0) * (cx - x0)) * inverse
    v = ((cx - x0) * (ay - y0) - (cy - y0) * (ax - x0)) * inverse
    over_a, over_b = height[..., 0] - height[..., 2], height[..., 1] - height[..., 2]
    q, qx, qy = (
        s * over_a + t * over_b + e
        for s, t, e in ((u, v, height[..., 2]), (ux, vx, torch.zeros_like(u)), (uy, vy, torch.zeros_like(u)))
    )
    planes = torch.stack([u, v, q, ux, vx, qx, uy, vy, qy], -1).float().reshape(-1, 9)

    room = int((PLACES if places is None else places) * n * size * size)
    ends = torch.where(shown, wide * tall, 0).long().reshape(-1).cumsum(0)
    lost = (ends[-1] - room).clamp(min=0)
    if pixels.device.type == "cpu":  # which need not wait to know how many there are
        room = min(room, int(ends[-1]))
    place = torch.arange(room, device=pixels.device)
    owner = torch.searchsorted(ends, place, right=True)
    there = owner < n * f
    owner = owner.clamp(max=n * f - 1)
    begin = torch.where(owner > 0, ends[(owner - 1).clamp(min=0)], 0)
    columns = wide.long().reshape(-1)[owner].clamp(min=1)
    within = place - begin
    row, column = (
        torch.div(within, columns, rounding_mode="floor").float(),
        (within % columns).float(),
    )
    plane = planes[owner]
    at_u, at_v, at_q = (plane[:, k] + column * plane[:, 3 + k] + row * plane[:, 6 + k] for k in range(3))
    at_w = 1 - at_u - at_v
    inside = there & (at_u >= 0) & (at_v >= 0) & (at_w >= 0) & (at_q > 0)
    if accept is not None:
        inside &= accept(owner, at_u, at_v, at_w)
    picture, face = torch.div(owner, f, rounding_mode="floor"), owner % f
    corner_of_box = (y0 * size + x0).long().reshape(-1)[owner]
    pixel = picture * (size * size) + corner_of_box + row.long() * size + column.long()
    key = at_q.view(torch.int32).long() * LOW + (f - 1 - face)  # of equally near ones the first
    board = torch.zeros(n * size * size, dtype=torch.int64, device=pixels.device)
    board.scatter_reduce_(
        0, torch.where(inside, pixel, 0), torch.where(inside, key, 0), "amax", include_self=True
    )
    won = board.reshape(n, size, size)
    index = torch.where(won > 0, f - 1 - won % LOW, -1)
    flat, bary, depth = _resolved(corner, height, index)
    return Drawing(index, bary, flat, depth, lost)


def _resolved(
    corner: Float[Tensor, "n f 3 2"], height: Float[Tensor, "n f 3"], index: Int[Tensor, "n h w"]
) -> tuple[Float[Tensor, "n h w 3"], Float[Tensor, "n h w 3"], Float[Tensor, "n h w"]]:
    """Barycentric coordinates on the screen and on the surface, and nearness, of the faces that won, now exactly."""
    n, size = index.shape[:2]
    drawn = index >= 0
    face = (index.clamp(min=0) + _offsets(n, corner.shape[1], index.device)).reshape(-1)
    (ax, bx, cx), (ay, by, cy) = (a.unbind(-1) for a in corner.reshape(-1, 3, 2)[face].unbind(-1))
    near = height.reshape(-1, 3)[face]
    steps = torch.arange(size, device=index.device, dtype=corner.dtype)
    x, y = steps.repeat(n * size), steps.repeat_interleave(size).repeat(n)
    inverse = 1 / ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
    u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) * inverse
    v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) * inverse
    flat = torch.stack([u, v, 1 - u - v], -1)
    weighted = flat * near
    depth = weighted.sum(-1)
    bary = weighted / depth[:, None]
    flat, bary, depth = (
        torch.where(drawn.reshape(-1, *[1] * (a.dim() - 1)), a, 0).float() for a in (flat, bary, depth)
    )
    shape = tuple(index.shape)
    return flat.reshape(*shape, 3), bary.reshape(*shape, 3), depth.reshape(shape)


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
