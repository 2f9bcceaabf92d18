"""Photo -> UV texture of the whole face: what the photo shows, the rest from the other side, then from around.

Texels belong to the grid of `facecli.complete` at a multiple of its resolution. A texel is visible if its place on the
face projects into the region, well inside its edge, onto the surface that the photo shows there (the depth map is the
z-buffer), at an angle that is not grazing. Weights of all three are soft, so nothing ends in a seam.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Shaped, UInt8

from facecli.camera import Camera, Pose
from facecli.complete import FaceModel, Surface
from facecli.crop import CROP, Crop
from facecli.grid import around, diffuse, grid_normals

SIZE = 1024
EDGE_PX = (3.0, 10.0)  # crop pixels from the region's edge: hair and background mix in up to the first
RIM_PX = (9.0, 16.0)  # within so many crop pixels of the edge, colours unlike the face's are not its own
TOLERANCE, TOLERANCE_SHARE = 9.0, 0.12  # of 255, and of the colour
BEHIND_MM = (2.5, 6.0)  # behind the surface that the photo shows: hidden from the second on
GRAZING = (0.12, 0.38)  # cosine of the angle between normal and line of sight
LIP_CELLS = 6  # at least so many cells of a lip's column lie on it or beside it
OPEN_MM = (1.0, 4.0)  # between the lips: the inner mouth is seen from the second on
EVERYWHERE = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # cells: how far colours spread
BROWS_MM = 62.0, -8.0, 32.0  # |x|, y from and to: brows and lashes of the mean face
SKIN_CELLS = 10.0  # the skin about a cell: over so many
DARKER, FAINT = (0.7, 0.9), 0.02  # of its brightness: what is darker spreads that little
BESIDE = (1.0, 2.0, 4.0, 8.0, 16.0)  # cells: how far the difference in colour between the sides is carried
BOTH_EYES = 6.0  # cells of eyes, and of their twins, that must be seen to tell shut lids by
CAVITY = 0.45  # of the lips' colour: an inner mouth that nothing shows
DARKEST, BRIGHTEST = 0.35, 2.5  # shading that is divided out, at least and at most, over its mean
LIGHT_HOLD = (0.0, *[0.03] * 3, *[0.15] * 5)  # ridge on the light: even unless the photo says otherwise


@dataclass(frozen=True, eq=False)
class Skin:
    """The whole face in the mesh's UV square, origin top left."""

    surface: Surface
    texture: UInt8[np.ndarray, "t t 3"]  # sRGB, filled everywhere
    visibility: UInt8[np.ndarray, "t t"]  # how much of the texel's colour is the photo's: 0 none, 255 all


@dataclass(frozen=True, eq=False)
class Shown:
    """What the photo's crop shows: camera z (mm) of its pixels, and which of them are face."""

    depth: Float[np.ndarray, "256 256"]
    region: Bool[np.ndarray, "256 256"]


def bake(
    model: FaceModel,
    surface: Surface,
    shown: Shown,
    picture: UInt8[np.ndarray, "p p 3"],
    camera: Camera,
    pose: Pose,
    crop: Crop,
) -> Skin:
    """The texture of a face. picture: the photo under `crop` at any resolution."""
    import cv2

    places, depth = project(surface, camera, pose, crop)
    weight, edge = _visible(model, surface, shown, places, depth, pose)
    scale = picture.shape[0] / CROP
    at = np.asarray(
        cv2.resize((places + 0.5) * np.float32(scale) - 0.5, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    )
    seen = look_up(picture, at)
    small = np.asarray(cv2.resize(seen, weight.shape, interpolation=cv2.INTER_AREA)).astype(np.float32)
    weight = weight * _like_skin(small, weight, edge)
    return Skin(surface, *fill(model, np.asarray(seen), small, weight))


def vertex_colors(
    texture: UInt8[np.ndarray, "t t 3"], uv: Float[np.ndarray, "v 2"]
) -> UInt8[np.ndarray, "v 3"]:
    """The texture's colour around each vertex, averaged over about a cell of the grid."""
    import cv2

    size = texture.shape[0] // 8
    small = np.asarray(cv2.resize(texture, (size, size), interpolation=cv2.INTER_AREA))
    column, row = np.rint(uv * size - 0.5).astype(int).clip(0, size - 1).T
    return np.ascontiguousarray(small[row, column])


def project(
    surface: Surface, camera: Camera, pose: Pose, crop: Crop
) -> tuple[Float32[np.ndarray, "g g 2"], Float32[np.ndarray, "g g"]]:
    """Where in the 256 px crop each cell is, and its camera z in mm."""
    size = surface.positions.shape[0]
    placed = pose.to_camera(surface.positions.reshape(-1, 3))
    placed[:, 2] = np.maximum(placed[:, 2], 1.0)
    pixels = crop.to_crop(camera.project(placed))
    return (
        pixels.reshape(size, size, 2).astype(np.float32),
        placed[:, 2].reshape(size, size).astype(np.float32),
    )


def look_up(
    picture: Shaped[np.ndarray, "h w *c"], places: Float32[np.ndarray, "m n 2"], nearest: bool = False
) -> Shaped[np.ndarray, "m n *c"]:
    """A picture's values at (column, row), clamped to its edge."""
    import cv2

    how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    if picture.ndim == 3:  # OpenCV remaps pictures of four channels in half the time of three
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA)
    # An empty second map, which the stubs ask for, reads memory that nobody wrote.
    values = cv2.remap(picture, places, None, how, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(cv2.cvtColor(values, cv2.COLOR_RGBA2RGB) if picture.ndim == 3 else values)


def _ramp(values: Float[np.ndarray, "*shape"], none_all: tuple[float, float]) -> Float[np.ndarray, "*shape"]:
    none, all_ = none_all
    return np.clip((values - none) / (all_ - none), 0, 1)


def _visible(
    model: FaceModel,
    surface: Surface,
    shown: Shown,
    places: Float32[np.ndarray, "g g 2"],
    depth: Float32[np.ndarray, "g g"],
    pose: Pose,
) -> tuple[Float32[np.ndarray, "g g"], Float32[np.ndarray, "g g"]]:
    """How well the photo shows each cell, 0 to 1, and how far (crop pixels) it is from the region's edge."""
    import cv2

    framed = np.pad(shown.region, 1).astype(np.uint8)  # the crop's edge is an edge of the region
    inner = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
    front = np.where(shown.region, shown.depth, 1e6).astype(np.float32)
    edge = look_up(np.asarray(inner), places)
    nearest = look_up(front, places, nearest=True)
    behind = depth - nearest
    sight = pose.eye - surface.positions
    sight /= np.linalg.norm(sight, axis=2, keepdims=True)
    cosine = np.einsum("ijk,ijk->ij", grid_normals(surface.positions), sight)
    weight = _ramp(-np.abs(behind), (-BEHIND_MM[1], -BEHIND_MM[0])) * _ramp(cosine, GRAZING)
    cell, top, bottom = model.bag.T
    weight.reshape(-1)[cell] = 1
    # Beside what hides it, a cell is never seen alone.
    weight = cv2.GaussianBlur(cv2.erode(weight.astype(np.float32), np.ones((3, 3))), (0, 0), 0.7)
    weight.reshape(-1)[cell] = 0
    lips = cv2.dilate(weight, np.ones((2 * LIP_CELLS + 1, 3))).reshape(-1)
    # Between the lips the surface itself tells nothing: whoever sees neither of them does not look into the mouth.
    weight.reshape(-1)[cell] = np.maximum(lips[top], lips[bottom]) * _ramp(
        _opening(model, surface, sight), OPEN_MM
    )
    return (weight * _ramp(edge, EDGE_PX)).astype(np.float32), edge


def _opening(
    model: FaceModel, surface: Surface, sight: Float[np.ndarray, "g g 3"]
) -> Float[np.ndarray, " b"]:
    """How far the lips above and below each cell of the inner mouth are apart as seen by the camera, mm."""
    import cv2

    cell, top, bottom = model.bag.T
    flat, along = surface.positions.reshape(-1, 3), sight.reshape(-1, 3)[cell]
    gap = flat[top] - flat[bottom]
    gap = np.linalg.norm(gap - np.einsum("nk,nk->n", gap, along)[:, None] * along, axis=1)
    grid = np.zeros((*model.mean.shape[:2], 2))
    grid.reshape(-1, 2)[cell] = np.stack([gap, np.ones_like(gap)], 1)
    total, count = np.moveaxis(cv2.blur(grid, (5, 1)), 2, 0)
    return (total / np.maximum(count, 1e-9)).reshape(-1)[cell]


def _like_skin(
    colour: Float32[np.ndarray, "g g 3"], weight: Float32[np.ndarray, "g g"], edge: Float32[np.ndarray, "g g"]
) -> Float32[np.ndarray, "g g"]:
    """0 where a cell near the region's edge has another colour than the face further in: hair, a collar; else 1."""
    deep = weight * _ramp(edge, RIM_PX)
    expected, _ = diffuse(colour, deep, EVERYWHERE)
    far = np.abs(colour - expected).max(axis=2) / (TOLERANCE + TOLERANCE_SHARE * expected.mean(axis=2))
    alike = 1 - _ramp(far, (0.7, 1.3))
    return np.maximum(alike, _ramp(edge, RIM_PX)).astype(np.float32)


def fill(
    model: FaceModel,
    seen: UInt8[np.ndarray, "t t 3"],
    small: Float32[np.ndarray, "g g 3"],
    weight: Float32[np.ndarray, "g g"],
) -> tuple[UInt8[np.ndarray, "t t 3"], UInt8[np.ndarray, "t t"]]:
    """The unseen texels from the other side, its colours carried over to this one, and the rest from around."""
    import cv2

    size, full = weight.shape[0], (seen.shape[1], seen.shape[0])
    own, twins = weight, _twins(model, small, weight)
    twin, small_twin = _moved(own, twins), _moved(small, twins)
    both = own * twin
    carried, reach = diffuse(small - small_twin, both, BESIDE)
    carried = carried * np.clip(reach * 8, 0, 1)
    from_twin = (1 - own) * twin
    known = own + from_twin
    mixed = small * own[..., None] + (small_twin + carried) * from_twin[..., None]
    mixed = mixed / np.maximum(known, 1e-6)[..., None]
    skin, _ = diffuse(mixed, known * _spreads(model, mixed, known), EVERYWHERE)
    rest = np.where(model.eyes[..., None], diffuse(mixed, known, EVERYWHERE)[0], skin)
    cell = model.bag[:, 0]
    cavity = np.zeros(size * size, np.float32)
    cavity[cell] = 1
    cavity = cv2.GaussianBlur(cavity.reshape(size, size), (0, 0), 0.7)[..., None] * (1 - known[..., None])
    rest = rest * (1 - (1 - CAVITY) * cavity)

    def wide(grid: Shaped[np.ndarray, "g g *c"]) -> Shaped[np.ndarray, "t t *c"]:
        return np.asarray(cv2.resize(grid, full, interpolation=cv2.INTER_LINEAR))

    def share(
        picture: UInt8[np.ndarray, "t t 3"], of_255: UInt8[np.ndarray, "t t"]
    ) -> UInt8[np.ndarray, "t t 3"]:
        return np.asarray(cv2.multiply(picture, cv2.merge([of_255] * 3), scale=1 / 255))

    # Only what the photo shows has detail. All else is as smooth as the grid, and added there.
    visibility, of_twin = (wide(np.rint(part * 255).astype(np.uint8)) for part in (own, from_twin))
    smooth = carried * from_twin[..., None] + rest * (1 - known[..., None])
    photographed = cv2.add(share(seen, visibility), share(_other_side(seen, twins), of_twin))
    texture = cv2.add(photographed, wide(np.rint(smooth).astype(np.int16)), dtype=cv2.CV_8U)
    return np.asarray(texture), visibility


def _spreads(
    model: FaceModel, colour: Float32[np.ndarray, "g g 3"], weight: Float32[np.ndarray, "g g"]
) -> Float32[np.ndarray, "g g"]:
    """How far each cell's colour is a guess at what lies around it, 0 to 1: not that of brows and lashes, which are
    darker than the skin around them. Under a fringe or a hat they are all there is at the edge."""
    x, y, _ = np.moveaxis(model.mean, 2, 0)
    brows = (np.abs(x) < BROWS_MM[0]) & (y > BROWS_MM[1]) & (y < BROWS_MM[2])
    brightness = colour.mean(axis=2, keepdims=True)
    usual = around(brightness, weight, SKIN_CELLS)
    share = np.maximum(_ramp(brightness / np.maximum(usual, 1), DARKER), FAINT)[..., 0]
    return np.where(brows, share, 1).astype(np.float32)


def _twins(
    model: FaceModel, small: Float32[np.ndarray, "g g 3"], weight: Float32[np.ndarray, "g g"]
) -> Int[np.ndarray, "g g"]:
    """The column on the other side that each cell takes its colour from: see `FaceModel.twins`, but shut lids are
    mirrored as other skin is. Which it is tells what is seen of both eyes."""
    mirrored = np.broadcast_to(np.arange(weight.shape[1])[::-1], weight.shape)
    eyes = model.twins != mirrored

    def unlike(twins: Int[np.ndarray, "g g"]) -> float:
        both = (weight * _moved(weight, twins))[eyes]
        off = np.square(small - _moved(small, twins)).sum(2)[eyes]
        return float((both * off).sum() / both.sum()) if both.sum() > BOTH_EYES else 0.0

    return model.twins if unlike(model.twins) <= unlike(mirrored) else mirrored


def _moved(
    grid: Float32[np.ndarray, "g g *c"], columns: Int[np.ndarray, "g g"]
) -> Float32[np.ndarray, "g g *c"]:
    """The values in other columns of the same row."""
    return grid[np.arange(len(grid))[:, None], columns]


def _other_side(
    picture: UInt8[np.ndarray, "t t 3"], twins: Int[np.ndarray, "g g"]
) -> UInt8[np.ndarray, "t t 3"]:
    """A texture's colours at the twins of its texels."""
    import cv2

    found = np.asarray(cv2.flip(picture, 1))
    column = np.arange(twins.shape[1])
    scale, mirrored = picture.shape[1] // len(column), twins == column[::-1]
    step = np.where(mirrored, 0, twins - column)
    for shift in set(step[~mirrored].tolist()):
        rows, columns = np.nonzero(step == shift)
        box = slice(rows.min() - 1, rows.max() + 2), slice(columns.min() - 1, columns.max() + 2)
        eye = cv2.resize((step[box] == shift).astype(np.float32), None, fx=scale, fy=scale)[..., None]
        across = slice(box[0].start * scale, box[0].stop * scale)
        here, there = (
            (across, slice((box[1].start + far) * scale, (box[1].stop + far) * scale)) for far in (0, shift)
        )
        found[here] = np.rint(picture[there] * eye + found[here] * (1 - eye)).astype(np.uint8)
    return found


@dataclass(frozen=True, eq=False)
class Unlit:
    """A texture without the light of the photo, and that light: spherical harmonics up to second order in the head
    frame, in the order 1, x, y, z, xy, yz, xz, xx - yy, 3zz - 1, for red, green and blue."""

    albedo: UInt8[np.ndarray, "t t 3"]
    light: Float[np.ndarray, "9 3"]


def unlit(skin: Skin) -> Unlit:
    """Divide the shading out of a texture.

    Light is a least-squares fit of nine spherical harmonics (Ramamoorthi and Hanrahan 2001) to the visible skin's
    linear colours, as if skin had one colour, robust against what has another (Huber). The albedo's brightness and
    hue are on average the photo's: one photo does not tell skin from lamp.
    """
    import cv2

    size = skin.surface.positions.shape[0]
    small = cv2.resize(skin.texture, (size, size), interpolation=cv2.INTER_AREA)
    seen = cv2.resize(skin.visibility, (size, size), interpolation=cv2.INTER_AREA) / 255.0
    basis = _harmonics(grid_normals(skin.surface.positions))
    colour = _to_linear(small)
    light = np.stack([_fit_light(basis, colour[..., k], seen) for k in range(3)], axis=1)
    mean = np.einsum("ijk,kc,ij->c", basis, light, seen) / max(float(seen.sum()), 1e-9)
    if seen.sum() < 1 or (mean <= 0).any():
        return Unlit(skin.texture, np.zeros((9, 3)))
    light = light / mean
    shading = np.clip(basis @ light, DARKEST, BRIGHTEST)
    # Texels that were filled in brought the light of where they came from.
    from_twin = (1 - seen) * seen[:, ::-1]
    known = seen + from_twin
    brought = shading * seen[..., None] + shading[:, ::-1] * from_twin[..., None]
    shading, _ = diffuse(brought / np.maximum(known, 1e-6)[..., None], known, EVERYWHERE)
    shading = np.maximum(shading, np.float32(DARKEST))
    wide = cv2.resize(shading, skin.texture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return Unlit(_to_srgb(_to_linear(skin.texture) / wide), light)


def _fit_light(
    basis: Float[np.ndarray, "g g 9"], values: Float[np.ndarray, "g g"], seen: Float[np.ndarray, "g g"]
) -> Float[np.ndarray, " 9"]:
    rows, wanted, weight = basis.reshape(-1, 9), values.reshape(-1), seen.reshape(-1)
    hold = np.diag(LIGHT_HOLD) * max(float(weight.sum()), 1e-9)
    found, trust = np.zeros(9), weight
    for _ in range(4):
        heavy = rows * trust[:, None]
        found = np.linalg.solve(heavy.T @ rows + hold + 1e-9 * np.eye(9), heavy.T @ wanted)
        error = np.abs(wanted - rows @ found)
        spread = np.average(error, weights=trust + 1e-12)
        trust = weight * np.minimum(1, spread / np.maximum(error, 1e-9))
    return np.asarray(found)


def _harmonics(normal: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 9"]:
    x, y, z = np.moveaxis(normal, -1, 0)
    return np.stack([np.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1], -1)


_CODES = np.arange(256) / 255.0
_LINEAR = np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4).astype(np.float32)
_STEPS = 4096
_ENCODED = np.rint(255 * np.interp(np.linspace(0, 1, _STEPS), _LINEAR, _CODES)).astype(np.uint8)


def _to_linear(colour: UInt8[np.ndarray, "*n 3"]) -> Float32[np.ndarray, "*n 3"]:
    return _LINEAR[colour]


def _to_srgb(light: Float32[np.ndarray, "*n 3"]) -> UInt8[np.ndarray, "*n 3"]:
    return _ENCODED[np.clip(light * (_STEPS - 1) + 0.5, 0, _STEPS - 1).astype(np.uint16)]
