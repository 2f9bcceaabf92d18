"""A map on a finer grid of the same crop, from the values inside a mask alone."""

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Float32

FIT_RADIUS, FIT_SIGMA = 4, 1.5
FLATTENING = 0.01
_NEGLIGIBLE = 1e-12


def upsample_masked(
    values: Float[np.ndarray, "h w *channels"], mask: Bool[np.ndarray, "h w"], size: int
) -> Float[np.ndarray, "size size *channels"]:
    """The map on a grid of size x size pixels of the same crop, from the values inside the mask alone.

    An interpolating cubic spline (Unser 1999), so that normals of the finer surface show no trace of the
    coarse grid. Outside the mask the surface is first continued by the local least-squares plane of what is
    inside, and further out by the nearest value; the caller cuts with a mask of its own. An empty mask gives
    zeros.
    """
    height, width = mask.shape
    planes = _continued(values.reshape(height, width, -1), mask)
    down, across = spline_matrix(height, size), spline_matrix(width, size)
    # One contiguous plane per channel: strided ones never reach the fast matrix product.
    finer = down @ np.ascontiguousarray(planes.transpose(2, 0, 1)) @ across.T
    finer = np.ascontiguousarray(finer.transpose(1, 2, 0), values.dtype)
    return finer.reshape(size, size, *values.shape[2:])


def _continued(
    values: Float[np.ndarray, "h w c"], mask: Bool[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w c"]:
    """The map with everything outside the mask replaced by a smooth continuation of the inside."""
    import cv2

    if mask.all() or not mask.any():
        return np.where(mask[..., None], values, 0).astype(np.float32)
    mean = values[mask].mean(axis=0)
    inside = mask.astype(np.float32)
    known = np.where(mask[..., None], values - mean, 0).astype(np.float32)
    # Nearest value everywhere; local planes (moments in a Gaussian window) on the ring that a spline feels.
    _, label = cv2.distanceTransformWithLabels(
        (~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label = np.zeros((int(label.max()) + 1, values.shape[2]), np.float32)
    by_label[label[mask]] = known[mask]
    result: Float32[np.ndarray, "h w c"] = np.where(mask[..., None], known, by_label[label])

    offset = np.arange(-FIT_RADIUS, FIT_RADIUS + 1, dtype=np.float32)
    window = np.exp(-(offset**2) / (2 * FIT_SIGMA**2))

    def moment(image: Float32[np.ndarray, "h w *c"], x: int, y: int) -> Float[np.ndarray, "ring *c"]:
        filtered = cv2.sepFilter2D(
            image, cv2.CV_32F, window * offset**x, window * offset**y, borderType=cv2.BORDER_CONSTANT
        )
        return np.asarray(filtered.reshape(image.shape)[ring], np.float64)

    near = cv2.dilate(mask.astype(np.uint8), np.ones((2 * FIT_RADIUS - 1, 2 * FIT_RADIUS - 1), np.uint8))
    ring = (near > 0) & ~mask
    m = {(x, y): moment(inside, x, y) for x in range(3) for y in range(3) if x + y <= 2}
    slope = FLATTENING * m[0, 0]
    system = np.stack(
        [m[0, 0], m[1, 0], m[0, 1], m[1, 0], m[2, 0] + slope, m[1, 1], m[0, 1], m[1, 1], m[0, 2] + slope],
        axis=-1,
    ).reshape(-1, 3, 3)
    # All channels of OpenCV's filters are alike, but it takes no more than four.
    groups = [np.ascontiguousarray(known[..., k : k + 4]) for k in range(0, known.shape[2], 4)]
    right = np.stack(
        [
            np.concatenate([moment(group, x, y) for group in groups], axis=-1)
            for x, y in ((0, 0), (1, 0), (0, 1))
        ],
        axis=1,
    )
    result[ring] = np.linalg.solve(system, right)[:, 0]
    return result + mean.astype(np.float32)


@lru_cache(maxsize=16)
def spline_matrix(size: int, finer: int) -> Float[np.ndarray, "finer size"]:
    """Samples at `size` pixel centres to their cubic spline at `finer` pixel centres of the same extent."""
    # Coefficients with two more at each end, continued in a straight line.
    ends = np.zeros((size + 4, size))
    ends[2:-2] = np.eye(size)
    if size > 1:
        for step in (1, 2):
            ends[2 - step, :2] = [1 + step, -step]
            ends[size + 1 + step, -2:] = [-step, 1 + step]
    else:
        ends[:] = 1

    def basis(at: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n coefficients"]:
        distance = np.abs(at[:, None] - np.arange(-2, size + 2))
        core = 2 / 3 - distance**2 + distance**3 / 2
        return np.where(distance < 1, core, np.clip(2 - distance, 0, None) ** 3 / 6) @ ends

    at = (np.arange(finer) + 0.5) * size / finer - 0.5
    exact = basis(at) @ np.linalg.inv(basis(np.arange(size, dtype=np.float64)))
    # A pixel's share fades by a quarter with each step away: what is left of it far off would be subnormal numbers,
    # which the product takes twenty times as long over.
    matrix = np.where(np.abs(exact) < _NEGLIGIBLE, 0, exact).astype(np.float32)
    matrix.setflags(write=False)
    return matrix
