# SPDX-License-Identifier: Apache-2.0
"""Overlap of axis-aligned boxes in the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def areas(boxes: NDArray[np.floating]) -> NDArray[np.floating]:
    """(N,) areas, px², of boxes (N, 4) x1, y1, x2, y2."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def sizes_of(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N,) px: the square root of the area of boxes (N, 4), at least 1."""
    return np.asarray(np.sqrt(np.maximum(areas(boxes).astype(np.float64), 1.0)))


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


def find_duplicates(
    boxes: NDArray[np.floating],
    class_ids: NDArray[np.integer],
    max_iou: float,
    can_be_same: NDArray[np.bool_] | None = None,
    max_iou_across: float | None = None,
) -> NDArray[np.int64]:
    """Finds the boxes that show what a stronger box shows.

    Args:
        boxes: (N, 4) x1, y1, x2, y2, strongest first.
        class_ids: (N,).
        max_iou: Boxes that overlap by more are duplicates.
        can_be_same: (C, C) mask of the classes that can be the same object; None: each class only with itself.
        max_iou_across: The same for boxes of different classes; None: `max_iou`.

    Returns:
        (N,) row of the box that stays in place of each box: the strongest box that stays and overlaps it by more than
        `max_iou`; its own row if it stays itself.
    """
    same = class_ids[:, None] == class_ids[None, :]
    limits = np.where(same, max_iou, max_iou if max_iou_across is None else max_iou_across)
    if can_be_same is not None:
        same = can_be_same[np.ix_(class_ids, class_ids)]
    overlapping = (iou(boxes, boxes) > limits) & same
    owners = np.arange(len(boxes))
    free = np.ones(len(boxes), bool)
    for row in range(len(boxes)):
        if free[row]:
            taken = overlapping[row] & free
            taken[: row + 1] = False
            owners[taken] = row
            free &= ~taken
    return owners
