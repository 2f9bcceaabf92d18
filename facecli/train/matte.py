"""What of a portrait is face: not the hair, the hat or the scarf that hangs before it."""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from facecli.train.headmodel import FACE, HeadModel
from facecli.train.raster import interpolate, rasterize

CUT = 256
"""Resolution at which the face is cut out of the photo."""
ROOM = 0.12
"""The photo around the face that teaches hair and background, as a share of the face's box."""
STRANGE = 9.0
"""Squared Mahalanobis distance from the cheeks' colours of what does not look like skin."""
DARK = 0.35
"""Of skin on the same side of the face no shadow on the forehead leaves less than this; dark hair does."""
BEARDED = 0.2
"""More strange pixels than this share of the chin are a beard, which then may cover the jaw as well."""
CURTAIN = 6
"""Strange pixels on the brow, or beside it, that make more of a lock than this side of a square are hair."""


def cut_out(
    model: HeadModel,
    region: Bool[np.ndarray, "v"],
    crop: UInt8[np.ndarray, "s s 3"],
    shown: Bool[np.ndarray, "s s"],
    pixels: Float[np.ndarray, "v 2"],
    depth: Float[np.ndarray, "v"],
) -> UInt8[np.ndarray, "s s"]:
    """Mask (0 or 255) of the face that hair, hats and scarves leave visible.

    region: which vertices can be face; shown: what of the crop is inside the photo.
    The fit says where the face can be; inside, GrabCut (Rother et al. 2004) separates skin from hair, with
    cheeks and nose as the example of skin. Eyes, brows, mouth and beard are face: they are painted over so that
    they do not teach it hair, unless what looks so reaches up the forehead or in from the side, as a fringe does.
    """
    scale = CUT / crop.shape[0]
    nothing = np.zeros(crop.shape[:2], np.uint8)
    small = cv2.resize(crop, (CUT, CUT), interpolation=cv2.INTER_AREA)
    index, bary, _ = rasterize((pixels + 0.5) * scale - 0.5, depth, model.faces, CUT, CUT)
    maps = interpolate(np.c_[model.neutral, region].astype(np.float32), model.faces, index, bary)
    whole = cv2.resize(shown.astype(np.uint8), (CUT, CUT), interpolation=cv2.INTER_NEAREST) > 0
    coordinate, inside = maps[..., :3], (maps[..., 3] > 0.5) & whole
    x, y = np.abs(coordinate[..., 0]), coordinate[..., 1]
    example = inside & (((x < 42) & (y < -14) & (y > -48)) | ((x < 12) & (y > -14) & (y < 4)))
    if example.sum() < 77:
        return nothing
    core = inside & (x < 50) & (y < 22) & (y > -105) & (x < 66 + 0.3 * y)
    mean, strange, dark = unlike(small, example, np.clip(coordinate[..., 0] / 40, -1, 1))
    covered = hanging(strange & inside, x, y)
    chin = inside & (x < 25) & (y < -88) & (y > -105)
    if chin.any() and strange[chin].mean() > BEARDED:
        core |= inside & (y < -40) & (x < 72 + 0.25 * y)
    painted = small.copy()
    painted[core & strange & ~covered] = mean.astype(np.uint8)
    beside = ~inside & (index >= 0) & (model.part[index] == FACE) & ~strange
    if (~inside & strange).any():  # ears and neck are skin, and must not teach that the background is
        painted[beside] = np.median(small[_grown(inside, 25) & ~inside & strange], 0).astype(np.uint8)
    labels = np.full((CUT, CUT), cv2.GC_BGD, np.uint8)
    labels[_grown(inside, 13)] = cv2.GC_PR_BGD
    labels[inside] = cv2.GC_PR_FGD
    labels[covered] = cv2.GC_PR_BGD
    labels[covered & dark & (y > 24)] = cv2.GC_BGD
    labels[core & ~covered] = cv2.GC_FGD
    box = _around(inside)
    near = np.ascontiguousarray(labels[box])
    cv2.setRNGSeed(0)
    cv2.grabCut(  # type: ignore[call-overload]
        np.ascontiguousarray(painted[box]), near, None, np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK
    )  # fmt: skip
    labels[box] = near
    face = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)) & inside
    face = cv2.morphologyEx(face.astype(np.uint8), cv2.MORPH_OPEN, _disc(5))
    count, components, stats, _ = cv2.connectedComponentsWithStats(face)
    if count < 2:
        return nothing
    face = (components == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)
    face = cv2.morphologyEx(face, cv2.MORPH_CLOSE, _disc(7))
    grown = cv2.resize(face * 255, crop.shape[:2], interpolation=cv2.INTER_CUBIC)
    return np.where(cv2.GaussianBlur(grown, (0, 0), 2.0) > 127, 255, 0).astype(np.uint8)


def unlike(
    photo: UInt8[np.ndarray, "c c 3"], example: Bool[np.ndarray, "c c"], side: Float[np.ndarray, "c c"]
) -> tuple[Float[np.ndarray, "3"], Bool[np.ndarray, "c c"], Bool[np.ndarray, "c c"]]:
    """The middle colour of the example, which pixels are far from it, and which are far darker.

    side: from -1 on one cheek to 1 on the other; with a lamp on one side each half of the face is as its own cheek.
    """
    samples, across = photo[example].astype(np.float64), side[example][:, None]
    mean = np.median(samples, 0)
    slope = np.linalg.lstsq(across, samples - mean, rcond=None)[0][0]
    covariance = np.cov((samples - mean - across * slope).T) + (10 + (0.04 * mean.mean()) ** 2) * np.eye(3)
    expected = np.maximum(mean + slope * side[..., None], 0.4 * mean)
    offset = photo - expected
    far = np.einsum("hwi,ij,hwj->hw", offset, np.linalg.inv(covariance), offset)
    return mean, np.asarray(far > STRANGE), np.asarray(photo.mean(-1) < DARK * expected.mean(-1))


def hanging(
    strange: Bool[np.ndarray, "c c"], x: Float[np.ndarray, "c c"], y: Float[np.ndarray, "c c"]
) -> Bool[np.ndarray, "c c"]:
    """Of what does not look like skin, the locks that come down the forehead or in from the sides.

    x, y: template coordinates of each pixel, x without its sign, mm. Brows, eyes and beards look so too, but
    nothing joins them to the hair.
    """
    eye = ((x - 31) / 18) ** 2 + ((y + 1) / 9) ** 2 < 1
    can_be = strange & ((y > 4) | ((x > 36) & (y > -40))) & ~eye
    locks = cv2.morphologyEx(can_be.astype(np.uint8), cv2.MORPH_OPEN, _disc(3))
    count, components = cv2.connectedComponents(locks, connectivity=4)
    comes_in = (y > 27) | ((x > 47) & (y < 3))
    outside = np.bincount(components[(locks > 0) & comes_in], minlength=count)
    outside[0] = 0
    return np.asarray(outside[components] > CURTAIN**2)


def _around(inside: Bool[np.ndarray, "c c"]) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    room = round(ROOM * max(np.ptp(rows), np.ptp(columns)))
    return (
        slice(max(rows[0] - room, 0), rows[-1] + room + 1),
        slice(max(columns[0] - room, 0), columns[-1] + room + 1),
    )


def _grown(mask: Bool[np.ndarray, "c c"], size: int) -> Bool[np.ndarray, "c c"]:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((size, size), np.uint8)) > 0)


def _disc(size: int) -> UInt8[np.ndarray, "k k"]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)
