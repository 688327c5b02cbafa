# SPDX-License-Identifier: Apache-2.0
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


def suppress_duplicates(
    boxes: NDArray[np.floating], class_ids: NDArray[np.integer], max_iou: float
) -> NDArray[np.bool_]:
    """(N,) mask of boxes, strongest first, that overlap no kept stronger one of their class by more than `max_iou`."""
    overlapping = (iou(boxes, boxes) > max_iou) & (class_ids[:, None] == class_ids[None, :])
    keep = np.ones(len(boxes), bool)
    for row in range(len(boxes)):
        if keep[row]:
            keep[row + 1 :] &= ~overlapping[row, row + 1 :]
    return keep
