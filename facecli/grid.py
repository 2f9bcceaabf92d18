"""Values on a grid of cells: read between them, written between them, made finer, and spread to where there are none.

Places on a grid are (column, row), cell centres at integers, x right, y down.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int


@dataclass(frozen=True, eq=False)
class Places:
    """Where points lie on a grid of `size` x `size` cells; each is shared among four. To read and write many grids."""

    size: int
    first: Int[np.ndarray, " n"]  # flat cell to the upper left
    shares: Float[np.ndarray, "4 n"]  # of that cell, and of the ones to its right, below it, and below that

    @classmethod
    def of(cls, cells: Float[np.ndarray, "n 2"], size: int) -> "Places":
        """Bilinear shares of (column, row), clamped to the grid's edge."""
        first, shares = _bilinear(cells, size, size)
        return cls(size, first, shares)

    def sample(self, grid: Float[np.ndarray, "g g c"]) -> Float[np.ndarray, "n c"]:
        """Bilinear values of a grid."""
        return _mixed(grid, self.first, self.shares)

    def splat(
        self, values: Float[np.ndarray, "n c"], used: Bool[np.ndarray, " n"] | None = None
    ) -> tuple[Float[np.ndarray, "g g c"], Float[np.ndarray, "g g"]]:
        """Weighted means of scattered values in each cell, and the summed bilinear weights."""
        count = self.size * self.size
        shares = self.shares if used is None else self.shares * used
        index = (self.first + np.array([[0], [1], [self.size], [self.size + 1]])).ravel()
        weight = np.bincount(index, shares.ravel(), count).astype(
            np.float64
        )  # of nothing it counts whole numbers
        total = np.stack([np.bincount(index, (shares * value).ravel(), count) for value in values.T], 1)
        mean = total / np.maximum(weight, 1e-9)[:, None]
        return mean.reshape(self.size, self.size, -1), weight.reshape(self.size, self.size)


def sample(grid: Float[np.ndarray, "h w c"], cells: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n c"]:
    """Bilinear values of a grid at (column, row), clamped to its edge."""
    return _mixed(grid, *_bilinear(cells, *grid.shape[1::-1]))


def splat(
    cells: Float[np.ndarray, "n 2"], values: Float[np.ndarray, "n c"], size: int
) -> tuple[Float[np.ndarray, "size size c"], Float[np.ndarray, "size size"]]:
    """Weighted means of scattered values in each cell, and the summed bilinear weights."""
    return Places.of(cells, size).splat(values)


def _bilinear(
    cells: Float[np.ndarray, "n 2"], width: int, height: int
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "4 n"]]:
    """The flat cell to the upper left of each place, and the shares of it and of its three neighbours."""
    x, y = np.clip(cells[:, 0], 0, width - 1), np.clip(cells[:, 1], 0, height - 1)
    x0, y0 = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    fx, fy = x - x0.astype(x.dtype), y - y0.astype(y.dtype)
    shares = np.empty((4, len(x)), x.dtype)
    np.multiply(fx, fy, out=shares[3])
    np.subtract(fy, shares[3], out=shares[2])
    np.subtract(fx, shares[3], out=shares[1])
    np.subtract(1 - fx, shares[2], out=shares[0])
    return y0 * width + x0, shares


def _mixed(
    grid: Float[np.ndarray, "h w c"], first: Int[np.ndarray, " n"], shares: Float[np.ndarray, "4 n"]
) -> Float[np.ndarray, "n c"]:
    width = grid.shape[1]
    flat = grid.reshape(grid.shape[0] * width, -1)
    shares = shares.astype(grid.dtype, copy=False)[..., None]
    values = flat.take(first, axis=0)
    values *= shares[0]
    for step, share in zip((1, width, width + 1), shares[1:], strict=True):
        corner = flat.take(first + step, axis=0)
        corner *= share
        values += corner
    return values


def enlarge(grid: Float[np.ndarray, "m m 3"], size: int) -> Float[np.ndarray, "size size 3"]:
    """A smooth grid on finer cells over the same area."""
    import cv2

    return np.asarray(cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC))


def grid_normals(positions: Float[np.ndarray, "g g 3"]) -> Float[np.ndarray, "g g 3"]:
    """Unit normals of a surface on a grid, outwards (columns run to the subject's left, rows down)."""
    down, across = np.gradient(positions, axis=(0, 1))
    (ax, ay, az), (dx, dy, dz) = np.moveaxis(across, 2, 0), np.moveaxis(down, 2, 0)
    normal = np.stack([dy * az - dz * ay, dz * ax - dx * az, dx * ay - dy * ax], 2)
    return normal / np.maximum(np.sqrt(np.einsum("ijk,ijk->ij", normal, normal)), 1e-9)[..., None]


def diffuse(
    values: Float[np.ndarray, "g g c"], trust: Float[np.ndarray, "g g"], sigmas: tuple[float, ...]
) -> tuple[Float32[np.ndarray, "g g c"], Float32[np.ndarray, "g g 1"]]:
    """Values where they are trusted, and around there what seeps in, from ever farther; and how much came.

    sigmas: of the Gaussians, in cells.
    """
    import cv2

    have = trust.astype(np.float32)
    # What is known, with its weight as the last channel, so that a share of both is one product.
    known = np.concatenate([values.astype(np.float32) * have[..., None], have[..., None]], axis=2)
    filled, reached = known.copy(), have
    for sigma in sigmas:
        wider = _blurred(known, sigma)
        reach = wider[..., -1]
        reached = np.maximum(reached, reach)
        share = (1 - filled[..., -1]) * np.minimum(reach * 8, 1) / np.maximum(reach, 1e-6)
        filled += wider * cv2.merge([share] * wider.shape[2])
    return filled[..., :-1] / np.maximum(filled[..., -1:], 1e-6), reached[..., None]


def around(
    values: Float[np.ndarray, "g g c"], weight: Float[np.ndarray, "g g"], sigma: float
) -> Float32[np.ndarray, "g g c"]:
    """The weighted mean of what is around each cell, in a Gaussian window of `sigma` cells."""
    import cv2

    known = np.concatenate([values * weight[..., None], weight[..., None]], 2).astype(np.float32)
    wider = np.asarray(cv2.GaussianBlur(known, (0, 0), sigma))
    return wider[..., :-1] / np.maximum(wider[..., -1:], np.float32(1e-6))


def _blurred(grid: Float32[np.ndarray, "g g c"], sigma: float) -> Float32[np.ndarray, "g g c"]:
    """Gaussian blur with nothing beyond the edge; wide ones on a coarser grid."""
    import cv2

    step = 1
    while sigma >= 4 and grid.shape[0] % (2 * step) == 0:
        sigma, step = sigma / 2, 2 * step
    small = (
        grid if step == 1 else cv2.resize(grid, None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_AREA)
    )
    small = cv2.GaussianBlur(small, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(
        small if step == 1 else cv2.resize(small, grid.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    )
