"""MediaPipe's 468 points on the surface of the head model, by registering its canonical face once."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from facecli.train.headmodel import FACE, FACE_VERTICES, HeadModel

MEDIAPIPE_68 = np.array(
    "127 234 93 132 58 136 150 176 152 400 379 365 288 361 323 454 356 70 63 105 66 107 336 296 334 293 "
    "300 168 197 5 4 75 97 2 326 305 33 160 158 133 153 144 362 385 387 263 373 380 61 39 37 0 267 269 "
    "291 405 314 17 84 181 78 82 13 312 308 317 14 87".split(),
    int,
)
"""The MediaPipe points nearest to the iBUG 68; its first 17, along the jaw, are only approximate."""
FACE_OVAL = np.array(
    "10 338 297 332 284 251 389 356 454 323 361 288 397 365 379 378 400 377 152 148 176 149 150 136 172 "
    "58 132 93 234 127 162 21 54 103 67 109".split(),
    int,
)
"""Points on MediaPipe's outline, which slides over the surface when the head turns."""
UPPER_LIP = np.array(
    "185 40 39 37 0 267 269 270 409 184 74 73 72 11 302 303 304 408 183 42 41 38 12 268 271 272 407 191 "
    "80 81 82 13 312 311 310 415".split(),
    int,
)
LOWER_LIP = np.array(
    "146 91 181 84 17 314 405 321 375 77 90 180 85 16 315 404 320 307 96 89 179 86 15 316 403 319 325 95 "
    "88 178 87 14 317 402 318 324".split(),
    int,
)

LIPS_APART = 0.6
"""mm from the line where the lips meet to the nearest point of a lip: farther than that line is uncertain."""
BROWS = slice(17, 27)
"""Of the iBUG 68. The head model's own vertices for them lie 2 to 4 mm above the brows of its own portraits."""
IN_COLUMNS = {58: 57, 61: 62, 67: 66, 56: 57, 63: 62, 65: 66}
"""Of the iBUG 68, points of the lips and the middle point beside each. In iBUG's mean shape they stand under the
peaks of the upper lip (50 and 52), to 0.6 % of the eye distance; the head model's own are 2.5 to 3.4 mm outside."""
PEAK = 52
CALIBRATED = Path(__file__).with_name("dense_points.txt")
"""Where MediaPipe really puts its 468 points on the mean head, mm, a line each: what `fit.calibrate` found."""


def canonical_points(obj: Path) -> Float[np.ndarray, "468 3"]:
    """The vertices of MediaPipe's `canonical_face_model.obj`."""
    lines = (line.split() for line in obj.read_text().splitlines() if line.startswith("v "))
    return np.array([[float(x) for x in line[1:4]] for line in lines])


def calibrated(model: HeadModel) -> "Attachment":
    """Vertex triples and barycentric weights of the 468 points, as calibrated on photos."""
    return attach(model, np.loadtxt(CALIBRATED))


def register(model: HeadModel, canonical: Float[np.ndarray, "468 3"]) -> "Attachment":
    """Vertex triples and barycentric weights of the 468 points on the mean head.

    Affine on the 68 shared points, then thin-plate splines that alternate between projecting onto the surface
    and smoothing; lips are projected onto their own lip, told apart by how far the jaw carries each vertex.
    """
    from scipy.interpolate import RBFInterpolator
    from scipy.spatial import cKDTree

    target = model.neutral[model.landmark_vertices].astype(float)
    start = canonical[MEDIAPIPE_68]
    affine = np.linalg.lstsq(np.c_[start, np.ones(68)], target, rcond=None)[0]
    source = np.c_[canonical, np.ones(468)] @ affine
    inner = np.arange(17, 68)
    anchors, offsets = source[MEDIAPIPE_68][inner], target[inner] - source[MEDIAPIPE_68][inner]
    warped = source + RBFInterpolator(anchors, offsets, smoothing=5.0)(source)

    skin = model.neutral[:FACE_VERTICES]
    below = model.carried[:FACE_VERTICES]
    allowed = np.full(468, None, object)
    allowed[UPPER_LIP], allowed[LOWER_LIP] = False, True

    def nearest(points: Float[np.ndarray, "468 3"]) -> Float[np.ndarray, "468 3"]:
        out = skin[cKDTree(skin).query(points)[1]].astype(float)
        for lower in (False, True):
            chosen = np.flatnonzero([a is lower for a in allowed])
            lips = skin[below == lower]
            out[chosen] = lips[cKDTree(lips).query(points[chosen])[1]]
        return out

    for _ in range(4):
        goal = np.r_[nearest(warped) - source, offsets]
        warped = source + RBFInterpolator(np.r_[source, anchors], goal, smoothing=20.0, neighbors=80)(source)
    return attach(model, nearest(warped) * 0.5 + warped * 0.5)


Attachment = tuple[Int[np.ndarray, "468 3"], Float[np.ndarray, "468 3"]]


def attach(model: HeadModel, points: Float[np.ndarray, "468 3"]) -> Attachment:
    """The nearest surface points, as vertex triples and barycentric weights; those of lips on their own lip.

    On the mean head the lips touch, and the nearest surface may be the other lip's, which goes another way when the
    mouth opens.
    """
    import trimesh

    faces = model.faces[(model.part == FACE) & (model.faces.max(1) < FACE_VERTICES)]
    below = model.carried[faces]
    triples, bary = np.zeros((468, 3), faces.dtype), np.zeros((468, 3), np.float32)
    elsewhere = np.setdiff1d(np.arange(468), np.concatenate([UPPER_LIP, LOWER_LIP]))
    for chosen, allowed in (
        (elsewhere, faces),
        (UPPER_LIP, faces[~below.any(1)]),
        (LOWER_LIP, faces[below.all(1)]),
    ):
        surface = trimesh.Trimesh(model.neutral, allowed, process=False)
        nearest, _, triangle = trimesh.proximity.closest_point(surface, points[chosen])
        triples[chosen] = allowed[triangle]
        bary[chosen] = trimesh.triangles.points_to_barycentric(surface.triangles[triangle], nearest)
    return triples, bary


def landmarks68(model: HeadModel, attached: Attachment) -> Float[np.ndarray, "68 3"]:
    """The iBUG 68 on the mean head, mm: the head model's own, but for the brows, which photos place better, and for
    points of the lips, which slide along their lip to where iBUG has them."""
    points = model.neutral[model.landmark_vertices].astype(float)
    points[BROWS] = on_surface(model, attached)[MEDIAPIPE_68[BROWS]]
    for outer, middle in IN_COLUMNS.items():
        share = points[PEAK, 0] / abs(points[outer, 0])
        points[outer] = points[middle] + (points[outer] - points[middle]) * share
    return points


def on_surface(model: HeadModel, attached: Attachment) -> Float[np.ndarray, "468 3"]:
    """Where the points are on the mean head, mm; those of the closed lips apart, each on its own lip's side."""
    triples, bary = attached
    points = (model.neutral[triples] * bary[..., None]).sum(1).astype(float)
    landmarks = model.neutral[model.landmark_vertices]
    line = (landmarks[[60, 61, 62, 63, 64]] + landmarks[[60, 67, 66, 65, 64]]) / 2
    heights = np.interp(points[:, 0], line[:, 0], line[:, 1])
    points[UPPER_LIP, 1] = np.maximum(points[UPPER_LIP, 1], heights[UPPER_LIP] + LIPS_APART)
    points[LOWER_LIP, 1] = np.minimum(points[LOWER_LIP, 1], heights[LOWER_LIP] - LIPS_APART)
    return points


def move(model: HeadModel, attached: Attachment, offset: Float[np.ndarray, "468 2"]) -> Attachment:
    """Slide the landmarks by `offset` mm (x right, y down, seen from the front), alike on both sides."""
    from scipy.spatial import cKDTree

    triples, bary = attached
    points = (model.neutral[triples] * bary[..., None]).sum(1)
    twin = cKDTree(points).query(points * [-1, 1, 1])[1]
    symmetric = (offset + offset[twin] * [-1, 1]) / 2
    return attach(model, points + np.c_[symmetric * [1, -1], np.zeros(len(points))])
