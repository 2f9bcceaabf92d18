"""Which skin is folded and which is smooth, told from true normals."""

import cv2
import numpy as np
from jaxtyping import Bool, Float

FINE, BROAD = 0.7, 2.5
"""Normals blurred by this many mm (standard deviation): finer is noise and pores, broader is the face's form."""
FOLDED, SMOOTH = 6.5, 4.0
"""Degrees between the two, root mean square within `BROAD`: from here on folded, up to there smooth."""


def folded_and_smooth(
    normals: Float[np.ndarray, "h w 3"], valid: Bool[np.ndarray, "h w"], mm_per_pixel: float
) -> tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Wrinkles, folds and creases; and skin without any. Pixels that are not `valid` have no say."""
    fine = _blurred(normals, valid, FINE / mm_per_pixel)
    broad = _blurred(normals, valid, BROAD / mm_per_pixel)
    turned = np.degrees(np.arccos(np.clip((fine * broad).sum(-1), -1, 1)))
    square = np.where(valid, turned**2, 0.0)
    rms = np.sqrt(_mean(square[..., None], valid, BROAD / mm_per_pixel)[..., 0])
    return valid & (rms >= FOLDED), valid & (rms <= SMOOTH)


def _blurred(
    normals: Float[np.ndarray, "h w 3"], valid: Bool[np.ndarray, "h w"], sigma: float
) -> Float[np.ndarray, "h w 3"]:
    mean = _mean(normals, valid, sigma)
    return mean / np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), 1e-9)


def _mean(
    values: Float[np.ndarray, "h w c"], valid: Bool[np.ndarray, "h w"], sigma: float
) -> Float[np.ndarray, "h w c"]:
    """Gaussian mean over valid pixels."""
    share = valid.astype(np.float64)
    total = cv2.GaussianBlur(np.where(valid[..., None], values, 0.0).astype(np.float64), (0, 0), sigma)
    weight = cv2.GaussianBlur(share, (0, 0), sigma)
    return total.reshape(values.shape) / np.maximum(weight, 1e-9)[..., None]
