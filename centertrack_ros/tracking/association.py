# SPDX-License-Identifier: Apache-2.0
"""Assignment of detections to tracks: matrices of costs, and methods that choose pairs from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes2d import areas, iou
from centertrack_ros.tracking.fused_motion import PairTerms
from centertrack_ros.types import Array

# The cost of a pair that may not be matched; a cost above MATCHABLE is no match (official code).
FORBIDDEN = 1e18
MATCHABLE = 1e16
# Motion 'fused' matches what lies within so many standard deviations of where a track is expected.
GATE_SIGMAS = 3.5
# How many new objects appear in a frame on an area of one object's size: detections that are no track's.
NEW_DENSITY = 0.02
_NEW_OBJECT = 2 * math.log(2 * math.pi * NEW_DENSITY)


@dataclass(frozen=True)
class Assignment:
    """Indices of the matched pairs, in detection order, and of the detections and tracks without a match."""

    detections: NDArray[np.int64]
    tracks: NDArray[np.int64]
    free_detections: NDArray[np.int64]
    free_tracks: NDArray[np.int64]


@dataclass(frozen=True)
class Gate:
    """Limits of what may be matched, as in `TrackerConfig`. The defaults are those of the official code.

    Attributes:
        gate_scale: See `TrackerConfig`.
        min_iou: See `TrackerConfig`.
        max_size_ratio: See `TrackerConfig`.
        class_matches: (C, C) bool, symmetric: which classes may be one object; None: each only itself.
    """

    gate_scale: float = 1.0
    min_iou: float = 0.0
    max_size_ratio: float = 0.0
    class_matches: NDArray[np.bool_] | None = None

    def other_class(self, detection_classes: Array, track_classes: Array) -> NDArray[np.bool_]:
        """(N, M) mask of pairs of detections (N,) and tracks (M,) whose classes cannot be one object."""
        if self.class_matches is None:
            return np.asarray(detection_classes[:, None] != track_classes[None, :])
        return np.asarray(~self.class_matches[detection_classes[:, None], track_classes[None, :]])

    def other_kind(
        self, detection_classes: Array, sizes: Array, track_classes: Array, track_sizes: Array
    ) -> NDArray[np.bool_]:
        """(N, M) mask of pairs that cannot be one object by class or by their areas (N,) and (M,), px²."""
        other = self.other_class(detection_classes, track_classes)
        if self.max_size_ratio > 0:
            ratios = sizes[:, None] / np.maximum(track_sizes[None, :], 1e-6)
            other |= (ratios > self.max_size_ratio) | (ratios * self.max_size_ratio < 1)
        return other


class Cost(Protocol):
    """A function that computes the costs of all pairs of N detections and M tracks, see `distance_costs`."""

    def __call__(
        self,
        predicted: Array,
        detection_boxes: Array,
        detection_classes: Array,
        centers: Array,
        track_boxes: Array,
        track_classes: Array,
        gate: Gate | None = None,
    ) -> NDArray[np.float64]:
        """Returns (N, M) costs."""
        ...


Method = Callable[[NDArray[np.floating]], Assignment]

# Every cost by the name that `TrackerConfig.cost` takes.
COSTS: dict[str, Cost] = {}
_Cost = TypeVar("_Cost", bound=Cost)


def register_cost(name: str) -> Callable[[_Cost], _Cost]:
    """Decorates a cost function, which `TrackerConfig.cost` then takes by its name.

    Args:
        name: The name.

    Returns:
        The decorator; it returns the function as it is.

    Raises:
        ValueError: There is a cost of this name.
    """

    def register(cost: _Cost) -> _Cost:
        if name in COSTS:
            raise ValueError(f"there is an association cost '{name}' already")
        COSTS[name] = cost
        return cost

    return register


@register_cost("distance")
def distance_costs(
    predicted: Array,
    detection_boxes: Array,
    detection_classes: Array,
    centers: Array,
    track_boxes: Array,
    track_classes: Array,
    gate: Gate | None = None,
) -> NDArray[np.float64]:
    """Squared distance of detections and tracks (official code, `utils/tracker.py`).

    Pairs of different classes, or farther apart than the square root of either box's area, are forbidden.

    Args:
        predicted: (N, 2) px: where the detections were in the previous frame, by their displacements.
        detection_boxes: (N, 4) px x1, y1, x2, y2.
        detection_classes: (N,) int.
        centers: (M, 2) px: where the tracks are expected.
        track_boxes: (M, 4) px; only their sizes count.
        track_classes: (M,) int.
        gate: Limits of what may be matched; None: the official ones.

    Returns:
        (N, M) px², `FORBIDDEN` for pairs that must not be matched.
    """
    gate = gate or Gate()
    dx = predicted[:, 0, None] - centers[None, :, 0]
    dy = predicted[:, 1, None] - centers[None, :, 1]
    squares = dx * dx + dy * dy
    sizes, track_sizes = areas(detection_boxes), areas(track_boxes)
    forbidden = squares > gate.gate_scale * np.minimum(sizes[:, None], track_sizes[None, :])
    forbidden |= gate.other_kind(detection_classes, sizes, track_classes, track_sizes)
    if gate.min_iou > 0:
        moved = _moved_to(detection_boxes, predicted)
        forbidden |= iou(moved, _moved_to(track_boxes, centers)) < gate.min_iou
    return np.where(forbidden, np.float64(FORBIDDEN), squares)


@register_cost("iou")
def overlap_costs(
    predicted: Array,
    detection_boxes: Array,
    detection_classes: Array,
    centers: Array,
    track_boxes: Array,
    track_classes: Array,
    gate: Gate | None = None,
) -> NDArray[np.float64]:
    """1 - IoU of detections and tracks; pairs of different classes or without overlap are forbidden.

    Args:
        predicted: (N, 2) px: where the detections' boxes are centred.
        detection_boxes: (N, 4) px x1, y1, x2, y2; only their sizes count.
        detection_classes: (N,) int.
        centers: (M, 2) px: where the tracks' boxes are centred.
        track_boxes: (M, 4) px; only their sizes count.
        track_classes: (M,) int.
        gate: Limits of what may be matched; None: the official ones.

    Returns:
        (N, M) in 0..1, at least `FORBIDDEN` for pairs that must not be matched.
    """
    gate = gate or Gate()
    overlaps = iou(_moved_to(detection_boxes, predicted), _moved_to(track_boxes, centers)).astype(np.float64)
    forbidden = overlaps <= gate.min_iou
    forbidden |= gate.other_kind(detection_classes, areas(detection_boxes), track_classes, areas(track_boxes))
    return 1.0 - overlaps + forbidden * FORBIDDEN


def fused_costs(
    terms: PairTerms,
    detection_boxes: Array,
    detection_classes: Array,
    track_boxes: Array,
    track_classes: Array,
    gate: Gate | None = None,
    likeness: NDArray[np.float64] | float = 0.0,
) -> NDArray[np.float64]:
    """Twice the negative log likelihood ratio of "one object" over "two objects", by motion 'fused' and appearance.

    Pairs that are more likely two objects (above 0) are forbidden. The gate is the probable one (`GATE_SIGMAS` standard
    deviations of the distance, which grow with the time step and while a track is lost) inside the official one
    (`distance_costs`).

    Args:
        terms: Of N detections and M tracks.
        detection_boxes: (N, 4) px.
        detection_classes: (N,) int.
        track_boxes: (M, 4) px; only their sizes count.
        track_classes: (M,) int.
        gate: Limits of what may be matched; None: the official ones.
        likeness: What else speaks for a pair: (N, M) log likelihood ratio of "one object".

    Returns:
        (N, M) of at most 0, `FORBIDDEN` for pairs that must not be matched.
    """
    gate = gate or Gate()
    sizes, track_sizes = areas(detection_boxes), areas(track_boxes)
    smaller = np.minimum(sizes[:, None], track_sizes[None, :])
    forbidden = terms.distances > gate.gate_scale * smaller
    forbidden |= terms.squares > GATE_SIGMAS**2
    forbidden |= gate.other_kind(detection_classes, sizes, track_classes, track_sizes)
    # The density of the detection by the track, over that of a detection of something new nearby.
    by_size = 2 * np.log(np.maximum(smaller, 1.0))
    costs = terms.squares + terms.log_determinants - by_size + _NEW_OBJECT - 2 * likeness
    return np.where(forbidden | (costs > 0), FORBIDDEN, costs)


def _moved_to(boxes: Array, centers: Array) -> Array:
    """Boxes (N, 4) of the same size around other centres (N, 2)."""
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    return np.concatenate([centers - half, centers + half], axis=1)


def greedy(costs: NDArray[np.floating]) -> Assignment:
    """Assigns to each detection, in order, the cheapest track that is still free (the paper, section 4.2).

    Args:
        costs: (N, M) of detections and tracks.

    Returns:
        The assignment.
    """
    count, tracks = costs.shape
    if not count or not tracks:
        return _assignment([], [], count, tracks)
    nearest = costs.argmin(axis=1)
    candidates = np.flatnonzero(costs[np.arange(count), nearest] < MATCHABLE)
    favorites = nearest[candidates]
    first = np.zeros(tracks, np.int64)
    first[favorites[::-1]] = candidates[::-1]  # of those with the same favourite, the first is written last
    conflicts = np.flatnonzero(first[favorites] != candidates)
    if not len(conflicts):
        return _assignment(candidates, favorites, count, tracks)
    return _resolve_conflicts(costs, candidates, favorites, int(conflicts[0]))


def _resolve_conflicts(
    costs: NDArray[np.floating], candidates: NDArray[np.int64], favorites: NDArray[np.int64], start: int
) -> Assignment:
    """Continues `greedy` at the first conflict: the `start`-th candidate, whose favourite track is taken."""
    rows, columns = candidates[:start].tolist(), favorites[:start].tolist()
    used = set(columns)
    taken = np.zeros(costs.shape[1], bool)
    taken[favorites[:start]] = True
    for row, column in zip(candidates[start:].tolist(), favorites[start:].tolist(), strict=True):
        if column in used:  # only then the row must be searched again, without the tracks that are taken
            rest = np.where(taken, FORBIDDEN, costs[row])
            column = int(rest.argmin())
            if rest[column] >= MATCHABLE:
                continue
        used.add(column)
        taken[column] = True
        rows.append(row)
        columns.append(column)
    return _assignment(rows, columns, *costs.shape)


def hungarian(costs: NDArray[np.floating], most: bool = True) -> Assignment:
    """Finds the assignment of least total cost.

    Args:
        costs: (N, M) of detections and tracks.
        most: Match as many as possible (official code). False: a pair that stays free costs 0, as a cost of likelihood
            ratios means it.

    Returns:
        The assignment. Forbidden pairs are taken out of it and come last among the free ones (official code).
    """
    from scipy.optimize import linear_sum_assignment

    # A huge cost would swallow the differences between the others: a forbidden pair costs just more than any solution.
    matchable = costs <= MATCHABLE
    known = costs[matchable]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    forbidden = (high - low + 1.0) * (min(costs.shape) + 1) if most else max(0.0, high) - low
    rows, columns = linear_sum_assignment(np.where(matchable, costs - low, forbidden))
    allowed = matchable[rows, columns]
    result = _assignment(rows, columns, *costs.shape)
    return Assignment(
        rows[allowed],
        columns[allowed],
        np.concatenate([result.free_detections, rows[~allowed]]),
        np.concatenate([result.free_tracks, columns[~allowed]]),
    )


# Every method by the name that `TrackerConfig.association` takes.
METHODS: dict[str, Method] = {"greedy": greedy, "hungarian": hungarian}


def in_stages(costs: NDArray[np.floating], first: NDArray[np.bool_], method: str) -> Assignment:
    """Assigns some tracks before the others, which get the detections that are left.

    Args:
        costs: (N, M) of detections and tracks.
        first: (M,) which tracks are assigned first.
        method: Name in `METHODS`, for both stages.

    Returns:
        The assignment.
    """
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
    """Selects the free detections that a public detection confirms (MOT challenge's public protocol, official code).

    Each public detection confirms the nearest detection that is left, if their squared distance is below the area of
    that detection's box.

    Args:
        predicted: (N, 2) px: where the detections were in the previous frame.
        detection_boxes: (N, 4) px.
        free: (F,) indices of detections without a track.
        public_centers: (P, 2) px.

    Returns:
        The confirmed ones among `free`, in the order of the public detections.
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
