"""A small rasteriser for the CPU, and the pictures people share: a portrait of the mesh and the preview strip."""

import math

import numpy as np
from jaxtyping import Float, Float64, Int32, UInt8

from facecli.camera import FRONTAL, Camera, Pose
from facecli.crop import CROP, Crop
from facecli.mesh import Mesh

PANEL = 384
THREE_QUARTER = 35.0  # degrees of yaw

_CANDIDATES = 1 << 20  # pixel-triangle pairs looked at at once: bounds memory
_SUPERSAMPLING = 2

# Light in linear units, directions in the view's frame: x right, y up, z towards the viewer. One set for all.
_CLAY = np.array([0.74, 0.675, 0.625])
_BACK_OF_CLAY = 0.35
_LIGHTS = (  # direction, colour times strength, wrap (how far it reaches past the terminator)
    ((-0.80, 0.66, 0.56), (0.86, 0.80, 0.735), 0.08),  # key: a window, upper left
    ((0.90, 0.05, 0.55), (0.09, 0.105, 0.13), 0.45),  # fill
)
_RIM = ((0.70, 0.30, -0.60), (0.50, 0.53, 0.60))
_SKY, _GROUND = np.array([0.10, 0.108, 0.122]), np.array([0.052, 0.047, 0.042])
_GLOSS, _GLOSS_POWER = 0.075, 26.0
_FROM_PHOTO = 0.6  # of the light on the photo's own colours is even: they bring their shadows along
_CREVICE_DARK, _CREVICE_WIDTH = 0.6, 0.012
_BACKDROP_GLOW, _BACKDROP_CORNER = np.array([0.110, 0.118, 0.135]), np.array([0.022, 0.024, 0.029])
_GLOW_AT = (0.5, 0.42)  # across, down
_VIEWER_DISTANCE = 5.0  # half-heights of the picture: a mild portrait perspective
_MARGIN = 1.08
_FEATHER = 3  # rings of vertices over which the mesh's open edge fades out
_OVERLAY = 0.65
_DOT, _DOT_RADIUS = np.array([1.0, 0.66, 0.06]), 1.5 / 384  # linear light; of the panel


def rasterize(
    vertices: Float[np.ndarray, "v 3"], faces: Int32[np.ndarray, "f 3"], width: int, height: int
) -> tuple[Int32[np.ndarray, "height width"], Float64[np.ndarray, "height width 3"]]:
    """Which triangle each pixel sees, -1 for none, and where on it (barycentric; zeros for none).

    vertices: x, y in pixels (centres at integers, y down) and z, larger is nearer; z is interpolated linearly
    in the picture. Triangles of both windings are drawn, edges belong to both their triangles, and of equally
    near ones the first wins. Triangles with a vertex that is not finite, or without area, are not drawn.
    """
    depth = np.full(height * width, -np.inf)
    places = np.ascontiguousarray(vertices.T, np.float64)
    corners = np.stack([places.take(corner, axis=1) for corner in faces.T])  # corner, coordinate, triangle
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for triangles, across, down in _groups(corners, width, height):
        for chunk in np.array_split(triangles, -(-len(triangles) * across * down // _CANDIDATES)):
            pixel, z, triangle = _candidates(corners, chunk, across, down, width, height)
            np.maximum.at(depth, pixel, z)
            found.append((pixel, z, triangle))
    seen = np.full(height * width, len(faces), np.int64)
    for pixel, z, triangle in found:
        nearest = z == depth[pixel]
        np.minimum.at(seen, pixel[nearest], triangle[nearest])
    face_index = np.where(seen == len(faces), -1, seen).astype(np.int32)

    barycentric = np.zeros((height * width, 3))
    hit = np.flatnonzero(face_index >= 0)
    y, x = np.divmod(hit, width)
    a, b, c = corners[:, :2].take(face_index[hit], axis=2)
    area = _cross(a, b, *c)
    of_a, of_b = _cross(b, c, x, y) / area, _cross(c, a, x, y) / area
    barycentric[hit] = np.stack([of_a, of_b, 1 - of_a - of_b], axis=1)
    return face_index.reshape(height, width), barycentric.reshape(height, width, 3)


def _cross(p: np.ndarray, q: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Twice the signed area of p, q and (x, y)."""
    return (q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0])


def _groups(corners: np.ndarray, width: int, height: int) -> list[tuple[np.ndarray, int, int]]:
    """Triangles that may cover a pixel, grouped by the size of their boxes: (triangles, columns, rows)."""
    a, b, c = corners[:, :2]
    with np.errstate(invalid="ignore"):
        drawn = np.flatnonzero((_cross(a, b, *c) != 0) & np.isfinite(corners.sum(axis=(0, 1))))
    low, high = corners[:, :2].min(axis=0)[:, drawn], corners[:, :2].max(axis=0)[:, drawn]
    last = np.array([[width - 1], [height - 1]])
    size = np.floor(np.clip(high, -1, last)) - np.ceil(np.clip(low, 0, last + 1)) + 1
    some = (size > 0).all(axis=0)
    drawn, size = drawn[some], size[:, some].astype(np.int64)
    # Exact sizes up to 8, then within a quarter: small triangles share shapes, large ones waste little.
    step = np.maximum(1 << np.maximum(np.floor(np.log2(size)).astype(np.int64) - 2, 0), 1)
    size = -(-size // step) * step
    key = size[0] * (1 << 32) + size[1]
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    return [
        (drawn[part], int(size[0, part[0]]), int(size[1, part[0]]))
        for part in np.split(order, starts[1:])
        if len(part)
    ]


def _candidates(
    corners: np.ndarray, triangles: np.ndarray, across: int, down: int, width: int, height: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(pixel, z, triangle) for all pixels these triangles cover, their boxes at most across x down pixels."""
    a, b, c = corners.take(triangles, axis=2)
    left = np.ceil(np.clip(np.minimum(np.minimum(a[0], b[0]), c[0]), 0, None))
    top = np.ceil(np.clip(np.minimum(np.minimum(a[1], b[1]), c[1]), 0, None))
    area = _cross(a, b, c[0], c[1])

    def share(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        """Barycentric weight of the corner opposite the edge p q: linear, so three numbers a triangle."""
        along_x, along_y = -(q[1] - p[1]) / area, (q[0] - p[0]) / area
        origin = along_x * (left - p[0]) + along_y * (top - p[1])
        across_row = origin[:, None] + along_x[:, None] * np.arange(across)
        return across_row[:, None, :] + (along_y[:, None] * np.arange(down))[:, :, None]

    of_a, of_b = share(b, c), share(c, a)
    of_c = 1.0 - of_a - of_b
    inside = np.minimum(np.minimum(of_a, of_b), of_c) >= -1e-9
    inside &= (np.arange(across) < width - left[:, None])[:, None, :]
    inside &= (np.arange(down) < height - top[:, None])[:, :, None]
    chosen = np.flatnonzero(inside)
    which, place = np.divmod(chosen, across * down)
    row, column = np.divmod(place, across)
    z = of_a.take(chosen) * a[2, which] + of_b.take(chosen) * b[2, which] + of_c.take(chosen) * c[2, which]
    pixel = (top.astype(np.int64)[which] + row) * width + left.astype(np.int64)[which] + column
    return pixel, z, triangles[which]


def shade(mesh: Mesh, yaw: float, size: int, colors: bool = False) -> UInt8[np.ndarray, "size size 3"]:
    """The mesh as clay before a dark backdrop, turned by `yaw` degrees (positive: to the picture's right).

    colors: with the mesh's own colours in place of clay's. Framed alike for every yaw; its open edge fades out.
    A mesh of nothing gives the backdrop.
    """
    return portraits(mesh, yaw, size)[int(colors)]


def portraits(mesh: Mesh, yaw: float, size: int) -> list[UInt8[np.ndarray, "size size 3"]]:
    """One view in clay and in the mesh's own colours."""
    fine = size * _SUPERSAMPLING
    backdrop = _backdrop(fine)
    if len(mesh.faces) == 0:
        return [_to_srgb(_halved(backdrop))] * 2
    angle = np.radians(yaw)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    width, tall, deep = (high - low) / 2
    placed = (
        (mesh.vertices.astype(np.float64) - (low + high) / 2)
        @ turn.T
        / (_MARGIN * max(tall, np.hypot(width, deep)))
    )
    scale = fine / 2 * _VIEWER_DISTANCE / (_VIEWER_DISTANCE - placed[:, 2])
    middle = (fine - 1) / 2
    screen = np.stack(
        [middle + placed[:, 0] * scale, middle - placed[:, 1] * scale, 1 / (_VIEWER_DISTANCE - placed[:, 2])],
        axis=1,
    )
    normals = mesh.normals.astype(np.float64) @ turn.T
    lights = _lit(normals, _CLAY), _lit(normals, _LINEAR_LIGHT[mesh.colors], _FROM_PHOTO)
    pictures, cover = _drawn(mesh, screen, placed[:, 2] * fine / 2, lights, fine)
    return [_to_srgb(_halved(backdrop + cover * (picture - backdrop))) for picture in pictures]


def preview(
    photo_crop: UInt8[np.ndarray, "s s 3"],
    mesh: Mesh,
    camera: Camera,
    pose: Pose,
    crop: Crop,
    landmarks: Float[np.ndarray, "68 2"],
    whole: Mesh | None = None,
) -> UInt8[np.ndarray, "p q 3"]:
    """Side by side: the crop, the mesh over it with its landmarks, clay in front and three-quarter view, colour.

    photo_crop: the photo under `crop` at any resolution. landmarks: photo pixels. whole: the complete face, which
    then stands in the last three. The three-quarter view shows the side that the photo shows.
    """
    import cv2

    photo = np.asarray(cv2.resize(photo_crop, (PANEL, PANEL), interpolation=cv2.INTER_AREA), np.uint8)
    model = mesh if whole is None else whole
    side = THREE_QUARTER if pose.yaw_pitch_roll[0] >= 0 else -THREE_QUARTER
    panels = [photo, _overlay(photo_crop, mesh, camera, pose, crop, landmarks)]
    panels += [shade(model, 0.0, PANEL), *portraits(model, side, PANEL)]
    return np.concatenate(panels, axis=1)


def _overlay(
    photo_crop: UInt8[np.ndarray, "s s 3"],
    mesh: Mesh,
    camera: Camera,
    pose: Pose,
    crop: Crop,
    landmarks: Float[np.ndarray, "68 2"],
) -> UInt8[np.ndarray, "p p 3"]:
    """The mesh as clay where it re-projects, half transparent, and a dot on each landmark."""
    import cv2

    fine = PANEL * _SUPERSAMPLING
    under = cv2.resize(photo_crop, (fine, fine), interpolation=cv2.INTER_CUBIC)
    picture = _LINEAR_LIGHT[under]
    if len(mesh.faces):
        placed = pose.to_camera(mesh.vertices.astype(np.float64) * 1000.0)
        at_crop = (crop.to_crop(camera.project(placed)) + 0.5) * fine / CROP - 0.5
        # The view's frame is the camera's with y up and z towards it, leaning with the crop.
        across = crop.to_crop(np.array([[0.0, 0.0], [1.0, 0.0]]))
        lean = across[1] - across[0]
        cosine, sine = lean / np.linalg.norm(lean)
        upright = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
        pixels_per_mm = camera.focal * np.linalg.norm(lean) * fine / CROP / pose.translation[2]
        normals = mesh.normals.astype(np.float64) @ pose.rotation.T @ FRONTAL @ upright.T
        screen = np.column_stack([at_crop, 1 / placed[:, 2]])
        (light,), cover = _drawn(mesh, screen, -placed[:, 2] * pixels_per_mm, (_lit(normals, _CLAY),), fine)
        picture += _OVERLAY * cover * (light - picture)
    panel = _halved(picture)
    dots = _dots((crop.to_crop(landmarks) + 0.5) * PANEL / CROP - 0.5)
    return _to_srgb(panel + dots[..., None] * (_DOT - panel))


def _dots(places: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "p p"]:
    """How much of each pixel of a panel the dots cover, 0 to 1. Places nowhere near the panel have none."""
    cover = np.zeros((PANEL, PANEL))
    radius = _DOT_RADIUS * PANEL
    reach = np.arange(-math.ceil(radius + 1), math.ceil(radius + 1) + 1)
    for x, y in places:
        if not (-PANEL < x < 2 * PANEL and -PANEL < y < 2 * PANEL):  # nor not-a-number
            continue
        columns, rows = round(x) + reach, round(y) + reach
        columns, rows = (at[(at >= 0) & (at < PANEL)] for at in (columns, rows))
        distance = np.hypot(columns - x, rows[:, None] - y)
        patch = cover[np.ix_(rows, columns)]
        cover[np.ix_(rows, columns)] = np.maximum(patch, np.clip(radius + 0.5 - distance, 0, 1))
    return cover


def _drawn(
    mesh: Mesh,
    screen: Float[np.ndarray, "v 3"],
    relief: Float[np.ndarray, " v"],
    lights: tuple[Float[np.ndarray, "v 3"], ...],
    size: int,
) -> tuple[list[Float[np.ndarray, "size size 3"]], Float[np.ndarray, "size size 1"]]:
    """Pictures (linear light) of the mesh drawn at `screen`, and how much of each pixel it covers, 0 to 1.

    relief: height towards the viewer in pixels, for the shadow in crevices. lights: of the vertices, by picture.
    """
    # The mesh has about a vertex per pixel, so light is worked out at the vertices and blended between them.
    face, share = rasterize(screen, mesh.faces, size, size)
    seen = face >= 0
    corners, weights = mesh.faces[face[seen]], share[seen].astype(np.float32)
    table = np.column_stack([*lights, relief, _opacity(mesh.faces, len(screen))]).astype(np.float32)
    drawn = sum(weights[:, k : k + 1] * table.take(corners[:, k], axis=0) for k in range(3))
    dimmed = _crevices(drawn[:, -2], seen)
    dimmed[_seen_from_behind(screen, mesh.faces)[face[seen]]] *= _BACK_OF_CLAY
    cover = np.zeros((size, size, 1), np.float32)
    cover[seen] = drawn[:, -1:]
    pictures = [np.zeros((size, size, 3), np.float32) for _ in lights]
    for k, picture in enumerate(pictures):
        picture[seen] = drawn[:, 3 * k : 3 * k + 3] * dimmed[:, None]
    return pictures, cover


def _opacity(faces: Int32[np.ndarray, "f 3"], count: int) -> Float[np.ndarray, " v"]:
    """Opacity of each vertex: 0 on the mesh's open edge, 1 a few rings further in.

    The edge of a region of pixels is a staircase; where the surface ends is not known to the pixel anyway.
    """
    corners = faces.T.astype(np.int64)
    balance = np.zeros(count)
    for k in range(3):  # around an inner vertex every neighbour is left once and met once
        here, following = corners[k], corners[(k + 1) % 3]
        balance += np.bincount(here, following, count) - np.bincount(following, here, count)
    inner = (balance == 0).astype(np.float64)
    used = np.maximum(sum(np.bincount(corner, minlength=count) for corner in corners), 1)
    opacity = inner
    for _ in range(_FEATHER - 1):
        lowest = opacity[faces].min(axis=1)
        opacity = inner * sum(np.bincount(corner, lowest, count) for corner in corners) / used
    return opacity


def _lit(
    normals: Float[np.ndarray, "n 3"], albedo: Float[np.ndarray, "*n 3"], even: float = 0.0
) -> Float[np.ndarray, "n 3"]:
    """Linear light that a surface with these normals, turned to the viewer, sends there.

    even: the share of the light that comes from everywhere alike.
    """
    normal = np.where(normals[:, 2:] < 0, -normals, normals)
    up = (normal[:, 1:2] + 1) / 2
    diffuse = _GROUND + (_SKY - _GROUND) * up
    gloss = np.zeros((len(normal), 1))
    for direction, colour, wrap in _LIGHTS:
        towards = _unit(direction)
        soft = np.clip((normal @ towards + wrap) / (1 + wrap), 0, None) ** 1.2
        diffuse = diffuse + np.array(colour) * soft[:, None]
        half = _unit(towards + np.array([0.0, 0.0, 1.0]))
        gloss += max(colour) * np.clip(normal @ half, 0, None)[:, None] ** _GLOSS_POWER
    grazing = (1 - np.clip(normal[:, 2], 0, 1)) ** 3
    rim = (grazing * np.clip(normal @ _unit(_RIM[0]) + 0.2, 0, None))[:, None] * np.array(_RIM[1])
    return albedo * (even + (1 - even) * diffuse) + (1 - even) * (_GLOSS * gloss + rim)


def _unit(vector: tuple[float, float, float] | np.ndarray) -> np.ndarray:
    return np.asarray(vector) / np.linalg.norm(vector)


def _seen_from_behind(screen: Float[np.ndarray, "v 3"], faces: Int32[np.ndarray, "f 3"]) -> np.ndarray:
    a, b, c = (screen[corner, :2].T for corner in faces.T)
    return _cross(a, b, c[0], c[1]) > 0  # y down: counter-clockwise has negative area


def _crevices(height: Float[np.ndarray, " n"], seen: np.ndarray) -> Float[np.ndarray, " n"]:
    """How open each pixel is to the room: darker where the surface around it is nearer to the viewer."""
    import cv2

    size = seen.shape[0]
    relief = np.zeros(seen.shape, np.float32)
    relief[seen] = height - height.mean()
    half = (size // 2, size // 2)  # the blurs are wide: half the resolution does
    small_relief = cv2.resize(relief, half, interpolation=cv2.INTER_AREA)
    small_weight = cv2.resize(seen.astype(np.float32), half, interpolation=cv2.INTER_AREA)
    openness = np.ones(len(height), np.float32)
    for width in (_CREVICE_WIDTH, 3 * _CREVICE_WIDTH):
        sigma = width * size / 2
        weight = cv2.GaussianBlur(small_weight, (0, 0), sigma)
        around = cv2.GaussianBlur(small_relief, (0, 0), sigma) / np.maximum(weight, 1e-3)
        below = cv2.resize(around, seen.shape, interpolation=cv2.INTER_LINEAR)[seen] - relief[seen]
        openness *= 1 - _CREVICE_DARK * (1 - np.exp(-0.35 * np.clip(below, 0, None) / sigma))
    return openness


def _backdrop(size: int) -> Float[np.ndarray, "size size 3"]:
    """A dark wall with a glow behind the head."""
    at = (np.arange(size, dtype=np.float32) + 0.5) / size
    distance = np.hypot(at - _GLOW_AT[0], at[:, None] - _GLOW_AT[1])[..., None]
    glow = np.clip(1 - distance / 0.75, 0, 1) ** 2 * (3 - 2 * np.clip(1 - distance / 0.75, 0, 1))
    return (_BACKDROP_CORNER + (_BACKDROP_GLOW - _BACKDROP_CORNER) * glow).astype(np.float32)


def _halved(picture: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h2 w2 3"]:
    """Averages blocks of the supersampled picture: light adds up, so before it is encoded."""
    n = _SUPERSAMPLING
    total = np.zeros_like(picture[::n, ::n])
    for row in range(n):
        for column in range(n):
            total += picture[row::n, column::n]
    return total / n**2


_STEP = np.arange(256) / 255.0
_LINEAR_LIGHT = np.where(_STEP <= 0.04045, _STEP / 12.92, ((_STEP + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _to_srgb(light: Float[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    light = np.clip(light, 0, 1)
    encoded = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(encoded * 255).astype(np.uint8)
