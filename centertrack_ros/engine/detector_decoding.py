# SPDX-License-Identifier: Apache-2.0
"""Formulas from the outputs of detectors to boxes in px of their input.

Each one takes the arrays of one image without the batch's dimension, and the input's (height, width).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

Array = NDArray[Any]
STRIDES = (8, 16, 32)
DISTANCE_BINS = 8  # of NanoDet's distributions: distances of 0, 1, … 7 strides


@dataclass(frozen=True)
class Candidates:
    """What an output says, before weak and double ones are left out.

    Attributes:
        boxes: (N, 4) x1, y1, x2, y2, px of the input.
        scores: (N,) 0..1.
        class_ids: (N,) int64, place in the list of names.
    """

    boxes: Array
    scores: Array
    class_ids: Array


@lru_cache(maxsize=8)
def grid(size: tuple[int, int], strides: tuple[int, ...] = STRIDES) -> tuple[Array, Array]:
    """Where the cells of all levels lie, as the outputs order them: by level, row, column.

    Args:
        size: (height, width) of the input, px.
        strides: px, of each level.

    Returns:
        (N, 2) column and row of each cell, and its stride (N, 1).
    """
    cells, steps = [], []
    for stride in strides:
        rows, columns = (-(-length // stride) for length in size)
        y, x = np.mgrid[:rows, :columns]
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        steps.append(np.full((rows * columns, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(steps).astype(np.float32)


def _corners(centered: Array) -> Array:
    """Boxes (N, 4) from centre, width and height."""
    half = centered[:, 2:4] / 2
    return np.concatenate([centered[:, :2] - half, centered[:, :2] + half], axis=1)


def _strong(scores: Array, least: float) -> Array:
    """Places of those that are not below `least`; what is no number stays, to be refused later."""
    return np.flatnonzero(~(scores < least))


def _best(class_scores: Array, least: float, axis: int = 1) -> tuple[Array, Array, Array]:
    """Places, scores and classes of the objects whose best class is not below `least`; classes lie along the axis."""
    if not class_scores.size:
        return np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.int64)
    scores = class_scores.max(axis=axis)
    places = _strong(scores, least)
    return places, scores[places], class_scores.take(places, axis=1 - axis).argmax(axis=axis)


def with_objectness(rows: Array, least: float) -> Candidates:
    """YOLOv5, v7, YOLOX as decoded: (N, 5 + C) of centre, width, height in px, objectness, classes.

    Here and below `least` is a score: objects below it may be left out.
    """
    rows = rows[_strong(rows[:, 4], least)]
    places, scores, ids = _best(rows[:, 5:], least)
    return Candidates(_corners(rows[places]), scores * rows[places, 4], ids)


def yolox_offsets(rows: Array, size: tuple[int, int], least: float) -> Candidates:
    """YOLOX as exported: as `with_objectness`, but centres from their cells and logarithms of sizes, in strides."""
    cells, strides = grid(size)
    places = _strong(rows[:, 4], least)
    decoded = np.array(rows[places], np.float32)
    decoded[:, :2] = (decoded[:, :2] + cells[places]) * strides[places]
    with np.errstate(over="ignore"):  # infinite ones are refused later
        decoded[:, 2:4] = np.exp(decoded[:, 2:4]) * strides[places]
    return with_objectness(decoded, least)


def without_objectness(columns: Array, count: int, least: float) -> Candidates:
    """YOLOv8, v9, 11, 12: (4 + count + others, N) of centre, width, height in px, classes."""
    places, scores, ids = _best(columns[4 : 4 + count], least, axis=0)
    return Candidates(_corners(columns[:4, places].T), scores, ids)


def end_to_end(rows: Array) -> Candidates:
    """YOLOv10, YOLO26, and exports with NMS inside: (N, 6 + others) of corners in px, score, class."""
    return Candidates(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64))


def centred_end_to_end(rows: Array, size: tuple[int, int]) -> Candidates:
    """RT-DETR in newer exports by Ultralytics: (N, 6) of centre, width, height in parts of the input, score, class."""
    return Candidates(_in_pixels(rows, size), rows[:, 4], rows[:, 5].astype(np.int64))


def _in_pixels(boxes: Array, size: tuple[int, int]) -> Array:
    """Corners in px from centre, width and height in parts of the input."""
    return _corners(boxes) * np.tile(np.array(size[::-1], np.float32), 2)


def set_prediction(boxes: Array, class_scores: Array, size: tuple[int, int], least: float) -> Candidates:
    """RT-DETR and DETR without their last step: (N, 4) centre, width, height in parts of the input, scores (N, C)."""
    places, scores, ids = _best(class_scores, least)
    return Candidates(_in_pixels(boxes[places], size), scores, ids)


def distributions(
    rows: Array, size: tuple[int, int], strides: tuple[int, ...], cell_offset: float, least: float
) -> Candidates:
    """NanoDet: (N, C + 4 * bins) of class scores, and for each side the logits of its distance, in strides.

    Args:
        rows: The output.
        size: (height, width) of the input, px.
        strides: px, of each level.
        cell_offset: Where in a cell the distances begin: 0 at its upper left corner, 0.5 in its middle.
        least: Score.
    """
    cells, steps = grid(size, strides)
    sides = 4 * DISTANCE_BINS
    places, scores, ids = _best(rows[:, :-sides], least)
    shares = softmax(rows[places, -sides:].reshape(-1, 4, DISTANCE_BINS), axis=-1)
    distances = shares @ np.arange(DISTANCE_BINS, dtype=np.float32) * steps[places]
    points = (cells[places] + cell_offset) * steps[places]
    return Candidates(np.concatenate([points - distances[:, :2], points + distances[:, 2:]], axis=1), scores, ids)
