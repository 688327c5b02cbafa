# SPDX-License-Identifier: Apache-2.0
"""The Gaussians of heatmaps: their radius for a box, and how to draw them (arXiv 1808.01244; `lib/utils/image.py`)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray


def gaussian_radius(height: ArrayLike, width: ArrayLike, min_overlap: float = 0.7) -> NDArray[np.float64]:
    """Radius of the Gaussian of a box, elementwise.

    In CornerNet, boxes whose corners lie within the radius overlap by at least `min_overlap`. The official code divides
    the roots by 2 instead of 2a; so does this function, because every checkpoint was trained with it.

    Args:
        height: Of the boxes, px.
        width: Of the boxes, px.
        min_overlap: Intersection over union.

    Returns:
        Radii, px, not truncated.
    """
    h, w = np.asarray(height, np.float64), np.asarray(width, np.float64)
    total, area = h + w, h * w
    shifted = _root(1.0, total, area * (1 - min_overlap) / (1 + min_overlap))
    inner = _root(4.0, 2 * total, (1 - min_overlap) * area)
    outer = _root(4 * min_overlap, -2 * min_overlap * total, (min_overlap - 1) * area)
    return np.minimum(np.minimum(shifted, inner), outer)


def _root(a: float, b: NDArray[np.float64], c: NDArray[np.float64]) -> NDArray[np.float64]:
    return (b + np.sqrt(b**2 - 4 * a * c)) / 2


@lru_cache(maxsize=256)
def kernel(radius: int) -> NDArray[np.float32]:
    """Gaussian with peak 1 and sigma (2r + 1) / 6.

    Args:
        radius: r, px.

    Returns:
        (2r + 1, 2r + 1) float32; read-only, shared between calls.
    """
    sigma = (2 * radius + 1) / 6
    squares = np.arange(-radius, radius + 1, dtype=np.float64) ** 2
    values = np.exp(-(squares[:, None] + squares[None, :]) / (2 * sigma * sigma))
    values[values < np.finfo(np.float64).eps * values.max()] = 0
    values = values.astype(np.float32)
    values.flags.writeable = False
    return values


def draw(heatmap: NDArray[np.float32], x: int, y: int, radius: int, strength: float = 1.0) -> None:
    """Draw a Gaussian into a heatmap, in place; each pixel gets the higher value.

    Args:
        heatmap: (h, w).
        x: Of the center, px.
        y: Of the center, px.
        radius: Px.
        strength: Height of the peak.
    """
    height, width = heatmap.shape
    left, right = min(x, radius), min(width - x, radius + 1)
    top, bottom = min(y, radius), min(height - y, radius + 1)
    if min(left + right, top + bottom) <= 0 or left < 0 or top < 0:
        return
    target = heatmap[y - top : y + bottom, x - left : x + right]
    values = kernel(radius)[radius - top : radius + bottom, radius - left : radius + right]
    np.maximum(target, values if strength == 1.0 else values * np.float32(strength), out=target)


def render(priors: NDArray[np.integer], size: tuple[int, int]) -> NDArray[np.float32]:
    """Render a prior heatmap; each pixel gets the highest value.

    Args:
        priors: (M, 3): x, y, radius of each Gaussian, px.
        size: (h, w) of the heatmap.

    Returns:
        (h, w) float32.
    """
    heatmap = np.zeros(size, np.float32)
    for x, y, radius in np.asarray(priors).tolist():
        draw(heatmap, x, y, radius)
    return heatmap
