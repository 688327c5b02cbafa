"""Overlap of axis-aligned boxes in the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def areas(boxes: NDArray[np.floating]) -> NDArray[np.floating]:
    """(N,) areas, px², of boxes (N, 4) x1, y1, x2, y2."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def intersections(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.floating]:
    """(N, M) areas of overlap, px², between boxes (N, 4) and (M, 4)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    size = np.maximum(high - low, 0)
    return size[..., 0] * size[..., 1]


def iou(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.floating]:
    """(N, M) intersection over union of boxes (N, 4) and (M, 4); 0 where both are empty."""
    inner = intersections(first, second)
    union = areas(first)[:, None] + areas(second)[None, :] - inner
    return np.divide(inner, union, out=np.zeros_like(inner), where=union > 0)
