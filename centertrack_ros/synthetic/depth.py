# SPDX-License-Identifier: Apache-2.0
"""True depths of meshes, by a z-buffer in NumPy: Panda3D's software rasteriser does not hand its own out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_NEAR = 0.3  # m; a triangle that comes nearer is left out
_SIZES = (4, 8, 16, 32, 64)  # px of the squares in which triangles are drawn together
_AT_ONCE = 2_000_000  # pixels


def draw_depths(inverse: NDArray[np.float32], triangles: Array, focal: float) -> None:
    """Draws triangles into an image of inverse depths.

    Args:
        inverse: (H, W) 1/m, of what was drawn before; nearer triangles replace it.
        triangles: (T, 3, 3) m, corners in the camera's optical frame.
        focal: Focal length, px; the principal point is the image's middle.
    """
    height, width = inverse.shape
    triangles = triangles[(triangles[..., 2] > _NEAR).all(axis=1)]
    pixels = triangles[..., :2] / triangles[..., 2:] * focal + np.array([width / 2, height / 2])
    low = np.floor(np.clip(pixels.min(axis=1), 0, [width, height])).astype(np.intp)
    high = np.ceil(np.clip(pixels.max(axis=1), 0, [width, height])).astype(np.intp)
    sides = (high - low).max(axis=1)
    seen = (high > low).all(axis=1)
    smaller = 0
    for size in (*_SIZES, max(height, width)):
        rows = np.flatnonzero(seen & (sides > smaller) & (sides <= size))
        at_once = max(1, _AT_ONCE // size**2)
        for start in range(0, len(rows), at_once):
            some = rows[start : start + at_once]
            _draw(inverse, pixels[some], 1 / triangles[some, :, 2], low[some], size)
        smaller = size


def _draw(inverse: NDArray[np.float32], pixels: Array, values: Array, low: NDArray[np.intp], size: int) -> None:
    """Draws triangles (T, 3, 2) px with inverse depths (T, 3), each within `size` px from `low` (T, 2)."""
    height, width = inverse.shape
    grid = np.arange(size)
    x, y = low[:, 0, None, None] + grid[None, None, :], low[:, 1, None, None] + grid[None, :, None]
    (ax, ay), (bx, by), (cx, cy) = (pixels[:, i].T[..., None, None] for i in range(3))
    px, py = x + 0.5, y + 0.5
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    with np.errstate(divide="ignore", invalid="ignore"):
        first = ((bx - px) * (cy - py) - (by - py) * (cx - px)) / area
        second = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) / area
        third = 1 - first - second
    inside = (first >= 0) & (second >= 0) & (third >= 0) & (x < width) & (y < height)
    rows, down, across = np.nonzero(inside)
    depth = (
        first[inside] * values[rows, 0] + second[inside] * values[rows, 1] + third[inside] * values[rows, 2]
    ).astype(np.float32)
    np.maximum.at(inverse, (low[rows, 1] + down, low[rows, 0] + across), depth)
