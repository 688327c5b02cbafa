# SPDX-License-Identifier: Apache-2.0
"""Which detection continues which track."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes2d import areas, iou
from centertrack_ros.types import Array

# The cost of a pair that may not be matched; a cost above MATCHABLE is no match (official code).
FORBIDDEN = 1e18
MATCHABLE = 1e16


@dataclass(frozen=True)
class Assignment:
    """Indices of detections and tracks: matched pairs in detection order, and what is left over on either side."""

    detections: NDArray[np.int64]
    tracks: NDArray[np.int64]
    free_detections: NDArray[np.int64]
    free_tracks: NDArray[np.int64]


@dataclass(frozen=True)
class Gate:
    """What may be matched at all; the meaning of each is in `TrackerConfig`. The default is the official code's."""

    gate_scale: float = 1.0
    min_iou: float = 0.0
    max_size_ratio: float = 0.0


def distance_costs(
    predicted: Array,
    detection_boxes: Array,
    detection_classes: Array,
    centers: Array,
    track_boxes: Array,
    track_classes: Array,
    gate: Gate | None = None,
) -> NDArray[np.float64]:
    """(N, M) squared distance, px², between where N detections were and where M tracks are.

    predicted  (N, 2) px: the detections' centres moved back by their displacement;  centers  (M, 2) px of the tracks
    It is `FORBIDDEN` for pairs of different classes or farther apart than the square root of either box's area.
    """
    gate = gate or Gate()
    dx = predicted[:, 0, None] - centers[None, :, 0]
    dy = predicted[:, 1, None] - centers[None, :, 1]
    squares = dx * dx + dy * dy
    sizes, track_sizes = areas(detection_boxes), areas(track_boxes)
    forbidden = squares > gate.gate_scale * np.minimum(sizes[:, None], track_sizes[None, :])
    forbidden |= detection_classes[:, None] != track_classes[None, :]
    if gate.max_size_ratio > 0:
        forbidden |= _of_other_size(sizes, track_sizes, gate.max_size_ratio)
    if gate.min_iou > 0:
        moved = _moved_to(detection_boxes, predicted)
        forbidden |= iou(moved, _moved_to(track_boxes, centers)) < gate.min_iou
    return np.where(forbidden, np.float64(FORBIDDEN), squares)


def overlap_costs(
    predicted: Array,
    detection_boxes: Array,
    detection_classes: Array,
    centers: Array,
    track_boxes: Array,
    track_classes: Array,
    gate: Gate | None = None,
) -> NDArray[np.float64]:
    """(N, M) 1 - IoU of the boxes, placed as in `distance_costs`; pairs that do not overlap are forbidden."""
    gate = gate or Gate()
    overlaps = iou(_moved_to(detection_boxes, predicted), _moved_to(track_boxes, centers)).astype(np.float64)
    forbidden = (overlaps <= gate.min_iou) | (detection_classes[:, None] != track_classes[None, :])
    if gate.max_size_ratio > 0:
        forbidden |= _of_other_size(areas(detection_boxes), areas(track_boxes), gate.max_size_ratio)
    return 1.0 - overlaps + forbidden * FORBIDDEN


# (predicted, detection boxes, detection classes, centers, track boxes, track classes, gate) -> (N, M) costs; see
# `distance_costs`. The key is the value of `TrackerConfig.cost` and of the parameter `tracker.cost`.
CostFunction = Callable[[Array, Array, Array, Array, Array, Array, Gate], NDArray[np.float64]]
COSTS: dict[str, CostFunction] = {"distance": distance_costs, "iou": overlap_costs}


def register_cost(name: str) -> Callable[[CostFunction], CostFunction]:
    """Decorator: adds an association cost under a name.

    Args:
        name: Value of `TrackerConfig.cost` that selects it.

    Returns:
        A decorator that returns the function unchanged.

    Raises:
        ValueError: There is a cost of this name.
    """

    def register(function: CostFunction) -> CostFunction:
        if name in COSTS:
            raise ValueError(f"association cost '{name}' is registered already")
        COSTS[name] = function
        return function

    return register


def _of_other_size(sizes: Array, track_sizes: Array, max_ratio: float) -> NDArray[np.bool_]:
    """(N, M) mask of pairs whose areas (N,) and (M,), px², differ by more than the factor, either way."""
    ratios = sizes[:, None] / np.maximum(track_sizes[None, :], 1e-6)
    return (ratios > max_ratio) | (ratios * max_ratio < 1)


def _moved_to(boxes: Array, centers: Array) -> Array:
    """Boxes (N, 4) of the same size around other centres (N, 2)."""
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    return np.concatenate([centers - half, centers + half], axis=1)


def greedy(costs: NDArray[np.floating]) -> Assignment:
    """Each detection (row), in order, takes the cheapest track (column) still free. Costs as `distance_costs`."""
    count, tracks = costs.shape
    if not count or not tracks:
        return _assignment([], [], count, tracks)
    nearest = costs.argmin(axis=1)
    wanting = np.flatnonzero(costs[np.arange(count), nearest] < MATCHABLE)
    wanted = nearest[wanting]
    first = np.zeros(tracks, np.int64)
    first[wanted[::-1]] = wanting[::-1]  # of those that want the same track, the first is written last
    late = np.flatnonzero(first[wanted] != wanting)
    if not len(late):
        return _assignment(wanting, wanted, count, tracks)
    return _take_in_turns(costs, wanting, wanted, int(late[0]))


def _take_in_turns(
    costs: NDArray[np.floating], wanting: NDArray[np.int64], wanted: NDArray[np.int64], start: int
) -> Assignment:
    """`greedy` from the first detection on, the `start`-th of those that want a track, whose track is taken."""
    rows, columns = wanting[:start].tolist(), wanted[:start].tolist()
    used = set(columns)
    taken = np.zeros(costs.shape[1], bool)
    taken[wanted[:start]] = True
    for row, column in zip(wanting[start:].tolist(), wanted[start:].tolist(), strict=True):
        if column in used:  # only then the row must be searched again, without the tracks that are gone
            rest = np.where(taken, FORBIDDEN, costs[row])
            column = int(rest.argmin())
            if rest[column] >= MATCHABLE:
                continue
        used.add(column)
        taken[column] = True
        rows.append(row)
        columns.append(column)
    return _assignment(rows, columns, *costs.shape)


def hungarian(costs: NDArray[np.floating]) -> Assignment:
    """The assignment of least total cost; forbidden pairs are undone and come last among the free ones."""
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

    rows, columns = linear_sum_assignment(np.minimum(costs, FORBIDDEN))
    allowed = costs[rows, columns] <= MATCHABLE
    result = _assignment(rows, columns, *costs.shape)
    return Assignment(
        rows[allowed],
        columns[allowed],
        np.concatenate([result.free_detections, rows[~allowed]]),
        np.concatenate([result.free_tracks, columns[~allowed]]),
    )


# Every cost by the name that `TrackerConfig.cost` takes.
COSTS = {"distance": distance_costs, "iou": overlap_costs}
# Every method by the name that `TrackerConfig.association` takes.
METHODS = {"greedy": greedy, "hungarian": hungarian}


def in_stages(costs: NDArray[np.floating], first: NDArray[np.bool_], method: str) -> Assignment:
    """Assign the tracks in `first` (M,) before the others, which get what is left; the same method for both."""
    one, two = np.flatnonzero(first), np.flatnonzero(~first)
    early = METHODS[method](costs[:, one])
    left = np.sort(early.free_detections)
    late = METHODS[method](costs[np.ix_(left, two)])
    rows = np.concatenate([early.detections, left[late.detections]])
    columns = np.concatenate([one[early.tracks], two[late.tracks]])
    order = np.argsort(rows, kind="stable")
    return _assignment(rows[order], columns[order], *costs.shape)


def _assignment(rows: Array | list[int], columns: Array | list[int], count: int, tracks: int) -> Assignment:
    matched, taken = np.asarray(rows, np.int64), np.asarray(columns, np.int64)
    free_rows, free_columns = np.ones(count, bool), np.ones(tracks, bool)
    free_rows[matched] = False
    free_columns[taken] = False
    return Assignment(matched, taken, np.flatnonzero(free_rows), np.flatnonzero(free_columns))


def confirm_by_public(
    predicted: Array, detection_boxes: Array, free: NDArray[np.int64], public_centers: Array
) -> NDArray[np.int64]:
    """The free detections that one of the given public detections vouches for, in the order of those.

    public_centers  (P, 2) px. Each takes the nearest detection that is left, if the squared distance is below the area
    of its box.
    """
    if not len(free):
        return np.zeros(0, np.int64)
    sizes = areas(detection_boxes)
    offsets = predicted[:, None, :] - np.asarray(public_centers, np.float32).reshape(1, -1, 2)
    squares = (offsets * offsets).sum(axis=2)
    used = np.ones(len(predicted), bool)
    used[free] = False
    squares[used] = FORBIDDEN
    confirmed = []
    for column in range(squares.shape[1]):
        row = int(squares[:, column].argmin())
        if squares[row, column] < sizes[row]:
            squares[row] = FORBIDDEN
            confirmed.append(row)
    return np.asarray(confirmed, np.int64)
