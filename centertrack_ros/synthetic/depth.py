# SPDX-License-Identifier: Apache-2.0
"""True depths of meshes, by a z-buffer in NumPy: Panda3D's software rasteriser does not hand its own out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_NEAR = 0.3  # m; a triangle that comes nearer is left out
_SIDES = (2, 4, 8, 16, 32, 64)  # px of the tiles in which triangles are drawn together; larger ones are drawn alone
_AT_ONCE = 1_000_000  # pixels


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
    sides = high - low
    seen = np.flatnonzero((sides > 0).all(axis=1))
    tiles = np.array((*_SIDES, max(height, width)))
    kinds = np.searchsorted(tiles, sides[seen])
    for kind in np.unique(kinds, axis=0):
        rows = seen[(kinds == kind).all(axis=1)]
        tile = (int(tiles[kind[0]]), int(tiles[kind[1]]))
        at_once = max(1, _AT_ONCE // (tile[0] * tile[1]))
        for start in range(0, len(rows), at_once):
            some = rows[start : start + at_once]
            _draw(inverse, pixels[some], 1 / triangles[some, :, 2], low[some], tile)


def _draw(
    inverse: NDArray[np.float32], pixels: Array, values: Array, low: NDArray[np.intp], tile: tuple[int, int]
) -> None:
    """Draws triangles (T, 3, 2) px with inverse depths (T, 3), each within a tile (width, height) from `low` (T, 2).

    Barycentric coordinates and inverse depths are planes over the image: a value in a row, and one in a column, added.
    """
    height, width = inverse.shape
    middle = pixels - low[:, None] - 0.5  # from the middle of the tile's first pixel
    (ax, ay), (bx, by), (cx, cy) = (middle[:, i].T for i in range(3))
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    scale = np.divide(1, area, out=np.full_like(area, np.nan), where=area != 0)
    first = np.stack([by - cy, cx - bx, bx * cy - by * cx]) * scale
    second = np.stack([cy - ay, ax - cx, cx * ay - cy * ax]) * scale
    depth = first * (values[:, 0] - values[:, 2]) + second * (values[:, 1] - values[:, 2])
    depth[2] += values[:, 2]
    third = -first - second
    third[2] += 1
    inside = np.ones((len(low), tile[1], tile[0]), bool)
    for plane in (first, second, third):
        inside &= _plane(plane, tile) >= 0
    rows, down, across = np.nonzero(inside)
    x, y = low[rows, 0] + across, low[rows, 1] + down
    within = (x < width) & (y < height)
    np.maximum.at(inverse, (y[within], x[within]), _plane(depth, tile)[inside][within])


def _plane(plane: Array, tile: tuple[int, int]) -> NDArray[np.float32]:
    """(T, height, width) values of planes (3, T): by column, by row, and at the first pixel."""
    columns = plane[0, :, None] * np.arange(tile[0]) + plane[2, :, None]
    rows = plane[1, :, None] * np.arange(tile[1])
    return columns.astype(np.float32)[:, None, :] + rows.astype(np.float32)[:, :, None]
