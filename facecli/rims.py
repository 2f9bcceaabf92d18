"""The rims of lids and lips: where they have parted, the network sees the gap itself.

Template coordinates are smooth, so that landmarks found from them keep narrow gaps too narrow. The opening (see
`runtime.Maps`) is the share of each pixel that shows eye, teeth or gums: summed across a gap it is the gap's width,
however blurred, as the sum of a line's ink is its width in a blurred picture.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from facecli.grid import sample


@dataclass(frozen=True)
class _Gap:
    """Landmarks of iBUG around a gap: the corners, and the pairs of upper and lower rim between them, in order."""

    first: int
    second: int
    pairs: tuple[tuple[int, int], ...]
    beyond: tuple[float, float]
    """How far beyond the opening the points of the upper and of the lower rim lie on the head model, over the distance
    between the corners."""

    def rim(self, side: int) -> list[int]:
        """The landmarks along the upper (0) or the lower rim (1)."""
        return [self.first, *(pair[side] for pair in self.pairs), self.second]


_LIPS = _Gap(60, 64, ((61, 67), (62, 66), (63, 65)), (0.004, 0.011))
_GAPS = (
    _Gap(36, 39, ((37, 41), (38, 40)), (0.024, 0.015)),
    _Gap(42, 45, ((43, 47), (44, 46)), (0.024, 0.015)),
    _LIPS,
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
_BETWEEN = 4  # places from one landmark to the next where the edge of the opening is looked for
_LEVEL = 6.0  # the first and the last of so many parts of half a rim lead to the corner


def on_rims(
    landmarks: Float[np.ndarray, "68 2"], opening: Float[np.ndarray, "s s"]
) -> Float[np.ndarray, "68 2"]:
    """Landmarks with the inner rims of lids and lips moved, across the gap, to where the opening ends.

    landmarks: iBUG 68 in pixels of `opening`, centres at integers. opening: share that lids or lips have uncovered.
    A pair of rims between which nothing is open stays where it is.
    """
    moved = landmarks.copy()
    for rims in _GAPS:
        for upper, lower in rims.pairs:
            middle = (landmarks[upper] + landmarks[lower]) / 2
            around = landmarks[list(_AROUND.get(upper, (upper, lower)))].mean(0)
            edges = _edges(rims, landmarks, opening, middle, around)
            if edges is not None:
                moved[[upper, lower]] = edges
    return moved


def _edges(
    rims: _Gap,
    landmarks: Float[np.ndarray, "68 2"],
    opening: Float[np.ndarray, "s s"],
    middle: Float[np.ndarray, "2"],
    around: Float[np.ndarray, "2"],
) -> Float[np.ndarray, "2 2"] | None:
    """Upper and lower rim on the line across the gap through `middle`, looked for from as high as `around` is."""
    along = landmarks[rims.second] - landmarks[rims.first]
    width = float(np.linalg.norm(along))
    if width < 1:  # pixel: seen from the side
        return None
    across = np.array([-along[1], along[0]]) / width  # from the upper rim to the lower, seen upright
    at = np.linspace(-_REACH, _REACH, _STEPS) * width
    middle = middle + ((around - middle) @ across) * across
    share = sample(opening[..., None], middle + at[:, None] * across)[:, 0]
    gap = _gap(share, at, _ASTRAY * width)
    if gap is None:
        return None
    centre, half = gap
    above, below = rims.beyond
    ends = np.array([centre - half - above * width, centre + half + below * width])
    return np.asarray(middle + ends[:, None] * across)


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
    landmarks: Float[np.ndarray, "68 c"], visible: Bool[np.ndarray, "68"], apart: float = 0.0
) -> Float[np.ndarray, "n c"]:
    """Points along the inner rims of lids and lips, from corner to corner, of those rims that are visible as a whole.

    For the same `visible` they are the same places of a face, whoever's landmarks they are. They are many, because a
    rim is a line, and must hold its own against the pixels on both sides of it. Upper rims are raised and lower ones
    lowered by `apart`, in y, but at the corners, where they meet: on the template the lips touch, and each point has
    to be of its own.
    """
    parts = [np.zeros((0, landmarks.shape[1]))]
    for rims in _GAPS:
        for side in (0, 1):
            if _seen(rims.rim(side), visible):
                line = _line(landmarks[rims.rim(side)], _POINTS_A_RIM)
                from_corner = _LEVEL * (1 - np.abs(np.linspace(-1, 1, _POINTS_A_RIM)))
                line[:, 1] += apart * (1 - 2 * side) * np.minimum(1, from_corner)
                parts.append(line)
    return np.concatenate(parts)


def rim_edges(
    landmarks: Float[np.ndarray, "68 2"], opening: Float[np.ndarray, "s s"], visible: Bool[np.ndarray, "68"]
) -> Float[np.ndarray, "n 2"]:
    """The points of `rim_points`, in pixels of `opening`, those of the lips on the edge of the opening itself, which is
    rounder than the line from landmark to landmark. landmarks: as `on_rims` moved them."""
    parts = [np.zeros((0, 2))]
    for rims in _GAPS:
        sides = np.stack([_line(landmarks[rims.rim(side)], _POINTS_A_RIM) for side in (0, 1)])
        if rims is _LIPS:
            sides = sides + _to_edges(rims, landmarks, opening, sides)
        parts += [sides[side] for side in (0, 1) if _seen(rims.rim(side), visible)]
    return np.concatenate(parts)


def _to_edges(
    rims: _Gap,
    landmarks: Float[np.ndarray, "68 2"],
    opening: Float[np.ndarray, "s s"],
    sides: Float[np.ndarray, "2 n 2"],
) -> Float[np.ndarray, "2 n 2"]:
    """How far both rims are from the edges of the opening: measured in some places, smooth between, none at the
    corners."""
    places = np.linspace(0, _POINTS_A_RIM - 1, (len(rims.pairs) + 1) * _BETWEEN + 1).round().astype(int)
    shifts = np.zeros((len(places), 2, 2))
    for k, place in enumerate(places[1:-1], 1):
        middle = sides[:, place].mean(0)
        edges = _edges(rims, landmarks, opening, middle, middle)
        if edges is not None:
            shifts[k] = edges - sides[:, place]
    shifts[2:-2] = (shifts[1:-3] + 2 * shifts[2:-2] + shifts[3:-1]) / 4
    every = np.arange(_POINTS_A_RIM)
    moved = [[np.interp(every, places, shifts[:, side, k]) for k in (0, 1)] for side in (0, 1)]
    return np.asarray(moved).transpose(0, 2, 1)


def _line(points: Float[np.ndarray, "k c"], count: int) -> Float[np.ndarray, "{count} c"]:
    """So many points from the first to the last, as many between each two."""
    at = np.linspace(0, len(points) - 1, count)
    return np.stack([np.interp(at, np.arange(len(points)), along) for along in points.T], 1)


def _seen(rim: list[int], visible: Bool[np.ndarray, "68"]) -> bool:
    return bool(visible[[_BESIDE.get(index, index) for index in rim]].all())
