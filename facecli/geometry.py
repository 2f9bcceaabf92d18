"""Maps of a crop to surfaces: positions, normals, displacement, clean regions.

Every grid is h x w pixels of one crop. Positions are millimetres in the camera frame (x right, y down, z
forward). Functions are pure; what lies outside the region never leaks into it.
"""

import numpy as np
from jaxtyping import Bool, Float, Float32

from facecli.camera import Camera, Pose

STEEPEST = 6.0  # depth step over the pixel's own width: a surface seen at more than about 80 degrees is a cut

_GAP = 0.012  # of the crop's width: the rim of spectacles, bridged by closing
_HOLE = 0.01  # of the region's area: a smaller hole is noise, a larger one a hand or a microphone


def positions(
    depth: Float[np.ndarray, "h w"], rays: Float[np.ndarray, "h w 3"], distance: float
) -> Float[np.ndarray, "h w 3"]:
    """Where each pixel's surface is: mm, camera frame.

    depth: mm relative to the head centre, towards the camera positive. rays: camera frame, z = 1.
    distance: mm from the camera's plane to the head centre, from `camera.fit_pose`.
    """
    return rays * (distance - depth)[..., None]


def steepness(
    positions: Float[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]
) -> tuple[Float[np.ndarray, "h w-1"], Float[np.ndarray, "h-1 w"]]:
    """Change of depth to the next pixel, sideways and downwards, over the width of a pixel at that depth.

    The tangent of the angle between surface and view; infinite where either pixel is outside the mask.
    """
    z = np.where(mask, positions[..., 2], 1.0)
    slope = positions[..., :2] / z[..., None]

    def ratio(first: tuple[slice, slice], second: tuple[slice, slice]) -> Float[np.ndarray, "a b"]:
        x, y = (slope[(*second, k)] - slope[(*first, k)] for k in range(2))
        width = np.sqrt(x * x + y * y) * np.minimum(z[first], z[second])
        return np.where(mask[first] & mask[second], (z[second] - z[first]) / width, np.inf)

    every, head, tail = slice(None), slice(None, -1), slice(1, None)
    with np.errstate(invalid="ignore", divide="ignore"):  # anything may be outside the mask
        return ratio((every, head), (every, tail)), ratio((head, every), (tail, every))


def connected(
    positions: Float[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]
) -> tuple[Bool[np.ndarray, "h w-1"], Bool[np.ndarray, "h-1 w"]]:
    """Which neighbours, sideways and downwards, are on one surface: in the mask, no steeper than STEEPEST."""
    sideways, downwards = steepness(positions, mask)
    return np.abs(sideways) <= STEEPEST, np.abs(downwards) <= STEEPEST


def extent(mask: Bool[np.ndarray, "h w"]) -> tuple[slice, slice]:
    """The rows and columns that the mask reaches."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return slice(0, 1), slice(0, 1)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def normals(
    positions: Float[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w 3"]:
    """Unit normals towards the camera, camera frame; zero outside the mask.

    Cross product of the differences to the connected neighbours: central inside, one-sided at an edge or a
    cut. A pixel without neighbours faces the camera.
    """
    window = extent(mask)
    surface, inside = np.where(mask[window][..., None], positions[window], 0), mask[window]
    sideways, downwards = connected(surface, inside)
    step_x, step_y = np.zeros_like(surface), np.zeros_like(surface)
    difference = (surface[:, 1:] - surface[:, :-1]) * sideways[..., None]
    step_x[:, 1:] += difference
    step_x[:, :-1] += difference
    difference = (surface[1:] - surface[:-1]) * downwards[..., None]
    step_y[1:] += difference
    step_y[:-1] += difference
    (xx, xy, xz), (yx, yy, yz) = (step.reshape(-1, 3).T for step in (step_x, step_y))
    normal = np.stack([yy * xz - yz * xy, yz * xx - yx * xz, yx * xy - yy * xx], axis=-1).reshape(
        surface.shape
    )
    length = np.sqrt(np.einsum("ijk,ijk->ij", normal, normal))
    lonely = inside & (length <= 0)
    normal[lonely] = -surface[lonely]
    length[lonely] = np.linalg.norm(surface[lonely], axis=-1)
    away = np.einsum("ijk,ijk->ij", normal, surface) > 0
    length[away] *= -1
    length[~inside] = 1
    result = np.zeros_like(positions)
    result[window] = normal / length[..., None]
    return result


def displace(
    positions: Float[np.ndarray, "h w 3"],
    normals: Float[np.ndarray, "h w 3"],
    detail: Float[np.ndarray, "h w"],
) -> Float[np.ndarray, "h w 3"]:
    """Positions moved by `detail` mm along the normals: outwards, towards the camera, where positive."""
    return positions + normals * detail[..., None]


def region_mask(probability: Float[np.ndarray, "h w"], threshold: float = 0.5) -> Bool[np.ndarray, "h w"]:
    """The one piece of face in a probability map.

    Thresholded, gaps as thin as the rim of spectacles bridged, small holes closed (large ones are things in
    front of the face), the largest piece kept. Nothing above the threshold gives an empty mask.
    """
    import cv2

    above = (probability > threshold).astype(np.uint8)
    reach = max(1, round(_GAP * probability.shape[1]))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    padded = cv2.copyMakeBorder(above, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disc)[reach:-reach, reach:-reach]
    count, label, facts, _ = cv2.connectedComponentsWithStats(closed, connectivity=4)
    if count < 2:
        return np.zeros(probability.shape, dtype=bool)
    areas = facts[1:, cv2.CC_STAT_AREA]
    mask = np.asarray(label == 1 + int(np.argmax(areas)))
    count, label, facts, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=8)
    left, top = facts[:, cv2.CC_STAT_LEFT], facts[:, cv2.CC_STAT_TOP]
    right, bottom = left + facts[:, cv2.CC_STAT_WIDTH], top + facts[:, cv2.CC_STAT_HEIGHT]
    inside = (left > 0) & (top > 0) & (right < mask.shape[1]) & (bottom < mask.shape[0])
    small = inside & (facts[:, cv2.CC_STAT_AREA] < _HOLE * areas.max())
    small[0] = False  # label 0 is the mask itself
    filled: Bool[np.ndarray, "h w"] = mask | small[label]
    return filled


def inner(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The mask without its rim, where hair and background mix into the colour and depth is least sure."""
    import cv2

    reach = max(1, round(_GAP * mask.shape[1]))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return np.asarray(cv2.erode(mask.astype(np.uint8), disc) > 0)


# Reach of a landmark's neighbourhood, mm on the template, by iBUG group: jaw, brows, nose, eyes, mouth.
_REACH_MM = np.repeat([5.0, 4.0, 4.0, 3.0, 3.0], [17, 10, 9, 12, 20])
_SUPPORT_MM = 8.0
_UPPER_LIP, _LOWER_LIP = [49, 50, 51, 52, 53, 61, 62, 63], [55, 56, 57, 58, 59, 65, 66, 67]
_STRETCH = 0.05  # how much the affine fit must gain to leave the pose's own motion
_HOLD = np.diag([1e-12, _STRETCH, _STRETCH, _STRETCH])
_OUTLIER_MM = 1.5
_MIRROR = np.array([-1.0, 1.0, 1.0])
_BELOW_NOSE_MM = -40.0
_OF_THE_MOUTH = 0.2  # of a gap's pixels, below the nose
PARTED = 0.5  # where the opening is more, eye, teeth or gums show, and not skin


def inner_mouth(
    coordinate: Float[np.ndarray, "h w 3"], opening: Float[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
    """Pixels that show teeth, gums or tongue: on the template, these lie where the lips do.

    coordinate: head frame of the template, mm. opening: probability that lids or lips have parted. Deep in a mouth
    coordinates are anybody's guess: what hangs together with pixels between the lips is of the mouth.
    """
    import cv2

    parted = opening > PARTED
    count, gap = cv2.connectedComponents(parted.astype(np.uint8))
    below = np.bincount(gap[coordinate[..., 1] < _BELOW_NOSE_MM], minlength=count)
    return parted & (below > _OF_THE_MOUTH * np.bincount(gap.ravel(), minlength=count))[gap]


def landmarks_from_maps(
    coordinate: Float[np.ndarray, "n 3"],
    pixels: Float[np.ndarray, "n 2"],
    positions: Float[np.ndarray, "n 3"],
    template: Float[np.ndarray, "68 3"],
    pose: Pose,
    camera: Camera,
    skin: Bool[np.ndarray, " n"] | None = None,
) -> tuple[Float[np.ndarray, "68 2"], Float[np.ndarray, "68 3"], Bool[np.ndarray, "68"]]:
    """The iBUG 68 landmarks of a face whose pixels know their place on the template.

    coordinate: head frame of the template, mm, of each pixel of the region. pixels: photo frame. positions:
    camera frame, mm, of the same. template: the landmarks on the template, mm. Returns photo pixels,
    camera-frame mm, and which of them the photo shows. skin: the pixels that landmarks are found from, by default all;
    the others (eyes, teeth) only tell that nothing stands in front.

    What the pose leaves over (in pixels and in mm) is regressed on the template coordinate near each
    landmark: affine, Gaussian weights, one robust reweighting. The two lips meet on the template, so each
    landmark of a lip asks only its own side of the line between them. A landmark out of sight is the
    template's, carried by the pose, plus the residual of the nearest visible skin on its own or, mirrored, on
    the other side of the face. Raises ValueError for n = 0.
    """
    if len(coordinate) == 0:
        raise ValueError("no pixels to find landmarks in")
    posed = pose.to_camera(coordinate.astype(np.float64))
    start = pose.to_camera(template.astype(np.float64))
    residual = np.concatenate([positions - posed, pixels - camera.project(posed)], axis=1)  # n 5: mm, px
    squared = _squared_distances(template, coordinate)
    nearest = np.sqrt(squared.min(axis=1))
    spacing = float(np.median(np.linalg.norm(np.diff(pixels, axis=0), axis=1))) if len(pixels) > 1 else 0.0

    visible = np.zeros(68, dtype=bool)
    located, columns = camera.project(start), np.ascontiguousarray(coordinate.T, np.float64)
    asked: list[
        tuple[int, np.ndarray, np.ndarray, np.ndarray]
    ] = []  # landmark, pixels, their offsets and weights
    there: dict[int, np.ndarray] = {}
    for index in np.flatnonzero(nearest <= _SUPPORT_MM):
        reach = _REACH_MM[index]
        around = np.flatnonzero(squared[index] < max(3 * reach, _SUPPORT_MM) ** 2)
        distance = squared[index].take(around)
        own = distance < (3 * reach) ** 2
        if index in _UPPER_LIP or index in _LOWER_LIP:
            above = columns[1].take(around) - _lip_line(template, columns[0].take(around))
            own &= above > 0 if index in _UPPER_LIP else above < 0
        if skin is not None:
            own &= skin.take(around)
        near = around[own]
        if len(near) < 4:
            continue
        weight = np.exp(-distance[own] / np.float32(2 * reach**2)).astype(np.float64)
        offset = (columns.take(near, axis=1) - template[index][:, None]) / reach
        asked.append((int(index), near, offset, weight))
        # Skin on one side only and far off: the landmark is behind the horizon (a straight edge gives 0.8).
        if np.linalg.norm(offset @ weight / weight.sum()) < 1.3:
            there[int(index)] = around[distance < _SUPPORT_MM**2]
    correction = _affine_at_origins(residual, asked)
    located += correction[:, 3:]
    for landmark, pixel in there.items():
        # And a pixel right there must see that part of the template.
        apart = pixels.take(pixel, axis=0) - located[landmark]
        visible[landmark] = bool((np.einsum("ij,ij->i", apart, apart) < (2.5 * spacing) ** 2).any())
    found = start + correction[:, :3]

    hidden = np.flatnonzero(~visible)
    found[hidden] += (
        _hidden_residual(template[hidden], coordinate, residual[:, :3], pose) - correction[hidden, :3]
    )
    located[hidden] = camera.project(found[hidden])
    return located, found, visible


def _squared_distances(
    a: Float[np.ndarray, "m 3"], b: Float[np.ndarray, "n 3"]
) -> Float32[np.ndarray, "m n"]:
    a, b = (
        a.astype(np.float32),
        b.astype(np.float32),
    )  # single: twice as fast, and 1e-3 mm is enough to weigh by
    product = a @ (-2 * b.T)
    product += (a**2).sum(1)[:, None]
    product += (b**2).sum(1)
    return np.maximum(product, 0, out=product)


def _lip_line(template: Float[np.ndarray, "68 3"], x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Height (template mm) of the line where the closed lips meet, at these x."""
    upper, lower = template[[60, 61, 62, 63, 64]], template[[60, 67, 66, 65, 64]]
    middle = (upper + lower) / 2
    order = np.argsort(middle[:, 0])
    return np.interp(x, middle[order, 0], middle[order, 1])


def _affine_at_origins(
    residual: Float[np.ndarray, "n 5"], asked: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]]
) -> Float[np.ndarray, "68 5"]:
    """The values at offset zero of robust weighted affine fits, their slopes held towards zero; zero if not asked for.

    asked: landmark, rows of `residual`, their offsets (3 m) and weights (m).
    """
    correction, columns = np.zeros((68, 5)), np.ascontiguousarray(residual.T)
    if not asked:
        return correction
    rows = [np.concatenate([np.ones((1, len(near))), offset]) for _, near, offset, _ in asked]
    values = [columns.take(near, axis=1) for _, near, _, _ in asked]
    first = [weight for *_, weight in asked]
    fits = _affine_fits(rows, values, first)
    trust = []
    for row, value, weight, fit in zip(rows, values, first, fits, strict=True):
        error = value[:3] - fit[:, :3].T @ row
        length = np.sqrt(np.einsum("ij,ij->j", error, error))
        trust.append(weight * _OUTLIER_MM / np.maximum(length, _OUTLIER_MM))  # Huber
    correction[[index for index, *_ in asked]] = _affine_fits(rows, values, trust)[:, 0]
    return correction


def _affine_fits(
    rows: list[np.ndarray], values: list[np.ndarray], weights: list[np.ndarray]
) -> Float[np.ndarray, "m 4 5"]:
    """Least squares of values (5 n) on rows (4 n) with weights (n), all systems solved at once."""
    systems, right = np.empty((len(rows), 4, 4)), np.empty((len(rows), 4, 5))
    for k, (row, value, weight) in enumerate(zip(rows, values, weights, strict=True)):
        heavy = row * weight
        systems[k] = heavy @ row.T + (weight.sum() + 1e-12) * _HOLD
        right[k] = heavy @ value.T
    return np.linalg.solve(systems, right)


def _hidden_residual(
    hidden: Float[np.ndarray, "m 3"],
    coordinate: Float[np.ndarray, "n 3"],
    residual: Float[np.ndarray, "n 3"],
    pose: Pose,
) -> Float[np.ndarray, "m 3"]:
    """What visible skin near these template points, or their mirror images, has left over: camera, mm."""
    at_head = (residual @ pose.rotation).astype(np.float32)  # single: twice as fast, and exact to 1e-6 mm
    squared = np.concatenate(
        [_squared_distances(hidden * side, coordinate) for side in (1.0, _MIRROR)], axis=1
    )
    least = squared.min(axis=1, keepdims=True)
    squared -= least
    squared *= -1 / (2 * np.maximum(_SUPPORT_MM**2, least / 2))
    weight = np.exp(squared, out=squared)
    seen, mirrored = np.split(weight, 2, axis=1)
    total = seen @ at_head + mirrored @ (at_head * _MIRROR.astype(np.float32))
    return (total.astype(np.float64) / weight.sum(axis=1, keepdims=True)) @ pose.rotation.T
