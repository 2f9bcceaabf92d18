"""Tongues that move: raised, drawn back, or stuck out over the lower lip. The head model's own only lies there.

It stays the head model's surface, posed anew: what hides it, what it hides, the shadow it casts and its labels are
right of themselves.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

from facecli.train.headmodel import GUMS, HeadModel
from facecli.train.raster import interpolate, pieces

TIP, LOWER_INCISOR, UPPER_INCISOR = 16761, 20274, 18074
"""Vertices: the tongue's tip, and the edges of the teeth that it passes between."""
LIP_TO_CHIN = (5517, 5515, 5516, 5514, 5945, 5518, 5520, 5528, 10, 7, 8, 968, 964, 963, 962)
"""Vertices down the middle, from the lower lip's inner rim to the chin."""
ROOT, THICK = 5.0, 16.0
"""Template z where the tongue's axis begins, and how thick the tongue is at rest, mm."""
HELD = 8.0
"""What lies nearer than this to the floor of the mouth, mm, takes ever less part in the tongue's movements."""
STEP = 0.5
"""Spacing of the points of a tongue's course, mm."""
CLOSING = ("mouthClose", "mouthPress", "mouthRoll", "mouthPucker", "mouthShrug")
GRAIN = 64
"""Side of the noise that papillae are made of; a millimetre is two of its cells."""
PINK, COATED = np.array([0.42, 0.14, 0.12], np.float32), np.array([0.42, 0.29, 0.25], np.float32)
"""Linear albedo."""


class Tongue:
    """The tongue of one head model."""

    def __init__(self, model: HeadModel) -> None:
        self.model = model
        self.drawn = _island(model)
        self.vertices = np.unique(model.faces[self.drawn])
        floor = np.intersect1d(self.vertices, model.faces[~self.drawn])
        at = model.neutral[self.vertices]
        apart = np.linalg.norm(at[:, None] - model.neutral[floor], axis=-1).min(1)
        self.free = np.clip(apart / HELD, 0, 1)[:, None]
        self.root = self.vertices[np.abs(at[:, 2] - ROOT) < 4]
        self.station = np.zeros((len(model.neutral), 1), np.float32)
        """How far from the root, 0, to the tip, 1, a vertex is."""
        self.station[self.vertices, 0] = (at[:, 2] - ROOT) / (model.neutral[TIP, 2] - ROOT)

    def parted(self, rng: np.random.Generator, beta: Float[np.ndarray, "e"]) -> Float[np.ndarray, "e"]:
        """An expression with lips and teeth far enough apart for a tongue to come out."""
        beta, names = beta.copy(), self.model.expression_names
        beta[[name.startswith(CLOSING) for name in names]] = 0
        jaw = names.index("jawOpen")
        beta[jaw] = max(beta[jaw], rng.uniform(0.25, 0.8))
        return beta

    def moved(
        self, rng: np.random.Generator, vertices: Float[np.ndarray, "v 3"], out: bool
    ) -> tuple[Float[np.ndarray, "v 3"], float]:
        """The head (mm, head frame) with its tongue raised, lowered or drawn back a little, or stuck `out`.

        Also the station from which on the tongue lies before the lip: infinite for one that stays in the mouth.
        """
        own, root = vertices[self.vertices].astype(np.float64), vertices[self.root].mean(0).astype(np.float64)
        forward = vertices[TIP] - root
        length = float(np.linalg.norm(forward))
        forward /= length
        offset = own - root
        share = offset @ forward / length
        height, aside = offset @ _above(forward), offset[:, 0] - forward[0] * length * share
        apart = float(vertices[UPPER_INCISOR, 1] - vertices[LOWER_INCISOR, 1])
        if out:
            thick = float(np.clip(apart - 1, 4, rng.uniform(7, 10)))
            course, crossing = _course(rng, vertices, root, thick / 2)
            begin = rng.uniform(6, 14)
            total = STEP * (len(course) - 1)
            lip = (crossing - begin) / (total - begin)
            early = np.clip(share / 0.45, 0, 1)
            height *= 1 + (thick / THICK - 1) * early
            aside *= 1 + (rng.uniform(0.75, 1.1) - 1) * early
        else:
            begin, total, lip = 0.0, length, np.inf
            along = np.arange(0, length + STEP, STEP)[:, None] / length
            lift, back = rng.uniform(-0.15, 0.6) * np.clip(apart, 0, 14), rng.uniform(0, 8)
            course = root + forward * (along * length - back * along**2) + _above(forward) * lift * along**2
        at = (begin + np.where(share > 0, share * (total - begin), share * length)) / STEP
        tangent = np.gradient(course, axis=0)
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        place, way = (
            np.stack([np.interp(at, np.arange(len(a)), a[:, k]) for k in range(3)], 1)
            for a in (course, tangent)
        )
        place += _above(way) * height[:, None] + np.outer(aside, [1.0, 0, 0])
        result = vertices.copy()
        result[self.vertices] += ((place - own) * self.free).astype(vertices.dtype)
        return result, float(lip)

    def paint(
        self,
        rng: np.random.Generator,
        face_index: Int[np.ndarray, "s s"],
        bary: Float[np.ndarray, "s s 3"],
        coordinate: Float[np.ndarray, "s s 3"],
        lip: float,
        unit: float,
        colour: Float[np.ndarray, "s s 3"],
        gloss: Float[np.ndarray, "s s"],
        occlusion: Float[np.ndarray, "s s"],
        height: Float[np.ndarray, "s s"],
    ) -> Bool[np.ndarray, "s s"]:
        """Give the tongue its albedo, wetness, light and papillae (mm), in place; returns where it is before the lip.

        coordinate: of the template, mm; lip: as `moved` returns it; unit: pixels of a mm.
        """
        here = (face_index >= 0) & self.drawn[face_index]
        if not here.any():
            return here
        x, y, z = coordinate[here].T
        noise = rng.random((GRAIN, GRAIN), np.float32)
        across, down = (np.ascontiguousarray(v * 2 % GRAIN).reshape(-1, 1) for v in (x, z))
        grain = cv2.remap(noise, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)[:, 0] - 0.5
        top = np.clip((y + 80) / 6, 0, 1)
        groove = np.exp(-((x / 1.8) ** 2)) * top
        coat = top * np.exp(-(((z - rng.uniform(25, 50)) / 18) ** 2) - (x / 15) ** 2) * (0.7 + grain)
        coat *= rng.uniform(0, 0.7)
        tone = PINK * rng.uniform(0.65, 1.25) * np.array([1, rng.uniform(0.8, 1.15), rng.uniform(0.8, 1.1)])
        tone = tone * (1 - (1 - top[:, None]) * [0.1, 0.35, 0.2])  # the underside is redder
        tone = tone + (COATED * rng.uniform(0.8, 1.1) - tone) * np.clip(coat, 0, 1)[:, None]
        colour[here] = tone * (1 - 0.3 * groove + 0.3 * grain * top)[:, None]
        gloss[here] = rng.uniform(1.0, 3.0)
        height[here] = (0.2 * grain - 0.8 * groove) * top
        occlusion[here] *= rng.uniform(0.5, 0.95)
        station = interpolate(self.station, self.model.faces, np.where(here, face_index, -1), bary)[..., 0]
        out = here & (station > lip)
        if out.any():
            light = np.clip((station - lip) * 6 + 0.4, 0, 1) * here
            occlusion += (0.95 - occlusion) * light
            near = cv2.GaussianBlur(out.astype(np.float32), (0, 0), max(2.5 * unit, 0.6))
            occlusion *= np.where(here, 1, 1 - 0.55 * near)
        return out


def _island(model: HeadModel) -> Bool[np.ndarray, "f"]:
    """Triangles of the piece of the mouth's texture in which the tongue's tip lies."""
    mouth = np.flatnonzero(model.part == GUMS)
    island = pieces(model.corner_uv[mouth])
    tip = island[(model.faces[mouth] == TIP).any(1)][0]
    drawn = np.zeros(len(model.faces), bool)
    drawn[mouth[island == tip]] = True
    return drawn


def _above(forward: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 3"]:
    """Unit vectors that stand on directions of the tongue, towards its back."""
    upward = np.cross(forward, [1.0, 0, 0])
    return np.asarray(upward / np.linalg.norm(upward, axis=-1, keepdims=True))


def _course(
    rng: np.random.Generator, vertices: Float[np.ndarray, "v 3"], root: Float[np.ndarray, "3"], half: float
) -> tuple[Float[np.ndarray, "n 3"], float]:
    """Points every `STEP` mm from the root between the teeth, over the lower lip and down, clear of both by `half` mm.

    Also how long, mm, the course is up to the lip.
    """
    from scipy.ndimage import gaussian_filter1d

    profile = vertices[list(LIP_TO_CHIN)].astype(np.float64)
    tangent = np.gradient(profile, axis=0)
    outward = np.stack([np.zeros(len(tangent)), tangent[:, 2], -tangent[:, 1]], 1)
    draped = profile + outward / np.linalg.norm(outward, axis=1, keepdims=True) * (half + 0.5)
    inner = np.stack([root, vertices[LOWER_INCISOR] * [0.0, 1, 1] + [root[0], half + 0.7, 0.0]])
    inside, outside = _spaced(np.concatenate([inner, draped[:1]])), _spaced(draped)
    length = rng.uniform(8, 38)
    outside = outside[1 : round(length / STEP)]
    share = np.linspace(0, 1, len(outside))[:, None]
    away = np.array([rng.normal(0, 0.12), rng.uniform(0, 0.5), rng.uniform(0, 0.6)])
    outside = outside + away * length * share**1.4
    course = _spaced(np.concatenate([inside, outside]))
    return _spaced(gaussian_filter1d(course, 2.5 / STEP, axis=0, mode="nearest")), STEP * len(inside)


def _spaced(points: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "n 3"]:
    """The line through `points` at every `STEP` of its length, mm."""
    length = np.r_[0, np.linalg.norm(np.diff(points, axis=0), axis=1).cumsum()]
    at = np.arange(0, length[-1] + STEP / 2, STEP)
    return np.stack([np.interp(at, length, points[:, k]) for k in range(3)], 1)
