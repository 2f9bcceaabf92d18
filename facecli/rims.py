"""The rims of lids and lips: where they have parted, the network sees the gap itself.

Template coordinates are smooth, so that landmarks found from them keep narrow gaps too narrow. The opening (see
`runtime.Maps`) is the share of each pixel that shows eye, teeth or gums: summed across a gap it is the gap's width,
however blurred, as the sum of a line's ink is its width in a blurred picture.
"""

import numpy as np
from jaxtyping import Bool, Float

from facecli.grid import sample

# Corner, corner, the pairs of upper and lower rim between them in the order of iBUG, and how far beyond the opening
# the points of the upper and of the lower rim lie on the head model, over the distance between the corners.
_GAPS = (
    (36, 39, ((37, 41), (38, 40)), (0.024, 0.015)),
    (42, 45, ((43, 47), (44, 46)), (0.024, 0.015)),
    (60, 64, ((61, 67), (62, 66), (63, 65)), (0.004, 0.011)),
)
_STEPS = 129  # samples of the line that is searched
_REACH = 0.6  # of the distance between the corners, to both sides of where the rims were thought to be
_ASTRAY = 0.15  # a gap whose middle is farther than this from there is another's
_SURE = 0.3  # less opening than this at its most may be a shadow
_END = 0.02  # less is beyond the gap
_BESIDE = {60: 48, 64: 54}  # where lips part, nothing is right at their inner corners: the outer ones tell
_AROUND = {
    61: (50, 58),
    62: (51, 57),
    63: (52, 56),
}  # in wide mouths inner lips are lost, the outer ones never
_POINTS_A_RIM = 300


def on_rims(
    landmarks: Float[np.ndarray, "68 2"], opening: Float[np.ndarray, "s s"]
) -> Float[np.ndarray, "68 2"]:
    """Landmarks with the inner rims of lids and lips moved, across the gap, to where the opening ends.

    landmarks: iBUG 68 in pixels of `opening`, centres at integers. opening: share that lids or lips have uncovered.
    A pair of rims between which nothing is open stays where it is.
    """
    moved = landmarks.copy()
    for first, second, pairs, (above, below) in _GAPS:
        along = landmarks[second] - landmarks[first]
        width = float(np.linalg.norm(along))
        if width < 1:  # pixel: seen from the side
            continue
        across = np.array([-along[1], along[0]]) / width  # from the upper rim to the lower, seen upright
        at = np.linspace(-_REACH, _REACH, _STEPS) * width
        for upper, lower in pairs:
            middle = (landmarks[upper] + landmarks[lower]) / 2
            around = landmarks[list(_AROUND.get(upper, (upper, lower)))].mean(0)
            middle = middle + ((around - middle) @ across) * across
            share = sample(opening[..., None], middle + at[:, None] * across)[:, 0]
            gap = _gap(share, at, _ASTRAY * width)
            if gap is not None:
                centre, half = gap
                moved[upper] = middle + (centre - half - above * width) * across
                moved[lower] = middle + (centre + half + below * width) * across
    return moved


def _gap(
    share: Float[np.ndarray, " n"], at: Float[np.ndarray, " n"], astray: float
) -> tuple[float, float] | None:
    """Middle and half width of the opening nearest to `at` = 0."""
    sure = np.flatnonzero(share > _SURE)
    if len(sure) == 0:
        return None
    start = end = int(sure[np.abs(at[sure]).argmin()])
    while start > 0 and share[start - 1] > _END:
        start -= 1
    while end < len(share) - 1 and share[end + 1] > _END:
        end += 1
    if start == 0 or end == len(share) - 1:
        return None  # no end within reach
    here, step = share[start : end + 1], at[1] - at[0]
    centre = float(here @ at[start : end + 1] / here.sum())
    return (centre, float(here.sum() * step / 2)) if abs(centre) < astray else None


def rim_points(
    landmarks: Float[np.ndarray, "68 3"], visible: Bool[np.ndarray, "68"], apart: float = 0.0
) -> Float[np.ndarray, "n 3"]:
    """Points along the inner rims of lids and lips, from corner to corner, of those rims that are visible as a whole.

    For the same `visible` they are the same places of a face, whoever's landmarks they are. They are many, because a
    rim is a line, and must hold its own against the pixels on both sides of it. Upper rims are raised and lower ones
    lowered by `apart`: on the template the lips meet, and each point has to be of its own.
    """
    parts = [np.zeros((0, 3))]
    for first, second, pairs, _ in _GAPS:
        for side in (0, 1):
            rim = [first, *(pair[side] for pair in pairs), second]
            if visible[[_BESIDE.get(index, index) for index in rim]].all():
                at = np.linspace(0, len(rim) - 1, _POINTS_A_RIM)
                line = np.stack([np.interp(at, np.arange(len(rim)), along) for along in landmarks[rim].T], 1)
                parts.append(line + np.array([0.0, apart * (1 - 2 * side), 0.0]))
    return np.concatenate(parts)
