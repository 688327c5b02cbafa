"""The Gaussians of heatmaps: their radius for a box, and drawing them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray


def gaussian_radius(height: ArrayLike, width: ArrayLike, min_overlap: float = 0.7) -> NDArray[np.float64]:
    """Radius (px, not truncated) of the Gaussian of boxes of the given size, elementwise.

    Boxes whose corners lie within the radius were meant to overlap by `min_overlap` (CornerNet). The official code,
    and so every checkpoint, divides the roots by 2 instead of 2a; kept here, because the networks have learnt it.
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
    """(2r+1, 2r+1) float32 Gaussian with peak 1 and sigma (2r+1)/6; read-only, shared between calls."""
    sigma = (2 * radius + 1) / 6
    squares = np.arange(-radius, radius + 1, dtype=np.float64) ** 2
    values = np.exp(-(squares[:, None] + squares[None, :]) / (2 * sigma * sigma))
    values[values < np.finfo(np.float64).eps * values.max()] = 0
    values = values.astype(np.float32)
    values.flags.writeable = False
    return values


def draw(heatmap: NDArray[np.float32], x: int, y: int, radius: int, strength: float = 1.0) -> None:
    """Draw a Gaussian of height `strength` into `heatmap` (h, w), in place; the higher value wins."""
    height, width = heatmap.shape
    left, right = min(x, radius), min(width - x, radius + 1)
    top, bottom = min(y, radius), min(height - y, radius + 1)
    if min(left + right, top + bottom) <= 0 or left < 0 or top < 0:
        return
    target = heatmap[y - top : y + bottom, x - left : x + right]
    values = kernel(radius)[radius - top : radius + bottom, radius - left : radius + right]
    np.maximum(target, values if strength == 1.0 else values * np.float32(strength), out=target)


def render(priors: NDArray[np.integer], size: tuple[int, int]) -> NDArray[np.float32]:
    """(h, w) float32 heatmap: a Gaussian for every row (x, y, radius) of `priors` (M, 3), px; the higher value wins."""
    heatmap = np.zeros(size, np.float32)
    for x, y, radius in np.asarray(priors).tolist():
        draw(heatmap, x, y, radius)
    return heatmap
