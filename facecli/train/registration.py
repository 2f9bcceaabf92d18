"""The head model bent onto another head's surface, so that what is known of one is known of the other."""

import numpy as np
from jaxtyping import Float, Int

from facecli.train.headmodel import HeadModel
from facecli.train.raster import vertex_normals
from facecli.train.scan import similarity

SPLIT = 12
"""Each triangle of the other head is looked up at the points that divide its edges in so many parts: 0.5 mm."""
SOFT, EVERY, BESIDE = (400.0, 100.0, 30.0), 6, 40
"""Smoothing of each round, of how many vertices one is matched, and how many of those count at each place."""
APART = 20.0
"""mm that a right angle between normals is worth, over the square root of two."""
OFF_AXIS = 0.3
"""Surfaces whose normals' cosine is less than this are not matched."""


def register(
    model: HeadModel,
    vertices: Float[np.ndarray, "o 3"],
    faces: Int[np.ndarray, "f 3"],
    theirs: Float[np.ndarray, "p 3"],
    ours: Float[np.ndarray, "p 3"],
    split: int = SPLIT,
) -> Float[np.ndarray, "v 3"]:
    """The head model's vertices laid on another head, in its mm, left as right; those of eyes and mouth are 0.

    vertices, faces: of the other head, its middle at x = 0; theirs, ours: the same points on either. Affine on those,
    then thin-plate splines that alternate between the nearest surface with alike normal and smoothing, ever less of it.
    """
    from scipy.interpolate import RBFInterpolator
    from scipy.spatial import cKDTree

    skin = np.unique(model.skin)
    source = model.neutral[skin].astype(np.float64)
    scale = similarity(ours, theirs)
    placed, pinned = scale(source), scale(ours)
    bent = placed + RBFInterpolator(pinned, theirs - pinned, smoothing=SOFT[0])(placed)
    dense = spread(vertices, faces, split)
    towards = spread(vertex_normals(vertices.astype(np.float32), faces), faces, split)
    tree = cKDTree(np.c_[dense, APART * towards])
    some = np.arange(0, len(skin), EVERY)
    number = np.zeros(len(model.neutral), np.int64)
    number[skin] = np.arange(len(skin))
    matched = np.isin(model.mirror[skin], skin)
    for smoothing in SOFT:
        normals = vertex_normals(bent.astype(np.float32), number[model.skin].astype(np.int32))
        _, nearest = tree.query(np.c_[bent[some], APART * normals[some]])
        alike = (towards[nearest] * normals[some]).sum(1) > OFF_AXIS
        anchors = np.concatenate([placed[some][alike], pinned])
        goals = np.concatenate([dense[nearest][alike], theirs]) - anchors
        bent = placed + RBFInterpolator(anchors, goals, smoothing=smoothing, neighbors=BESIDE)(placed)
    result = np.zeros((len(model.neutral), 3))
    twin = number[model.mirror[skin]]
    result[skin] = (bent + np.where(matched[:, None], bent[twin] * [-1, 1, 1], bent)) / 2
    return result


def spread(
    values: Float[np.ndarray, "o c"], faces: Int[np.ndarray, "f 3"], split: int = SPLIT
) -> Float[np.ndarray, "p c"]:
    """Values of corners at evenly spaced points of every triangle, of the first one's all first."""
    return np.einsum("ps,fsc->fpc", shares(split), values[faces]).reshape(-1, values.shape[1])


def shares(split: int = SPLIT) -> Float[np.ndarray, "p 3"]:
    """What each corner of a triangle counts at its evenly spaced points."""
    i, j = np.divmod(np.arange((split + 1) ** 2), split + 1)
    inside = i + j <= split
    return np.asarray(np.stack([i, j, split - i - j], 1)[inside] / split)
