# SPDX-License-Identifier: Apache-2.0
"""AMOTA of the nuScenes tracking benchmark from arrays, fast enough for a bootstrap of a thousand draws.

The rules are those of nuscenes-devkit 1.2.0 (https://www.nuscenes.org/tracking): centres at most 2 m apart on the
ground match, gaps of tracks are filled along a straight line (with the devkit's weights), a track's score is the mean
of its boxes' scores, and MOTAR is averaged over 40 thresholds of the score. A test compares the figures with the
devkit's. Beyond the devkit, the counts are kept scene by scene, which a bootstrap over scenes needs, and boxes in the
image can be evaluated in the same way, by an overlap of at least half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.records import VideoSequence
from centertrack_ros.geometry.boxes2d import iou
from centertrack_ros.geometry.boxes3d import centers

Array = NDArray[np.float64]

MAX_DISTANCE = 2.0  # m on the ground between two objects that match
MIN_OVERLAP = 0.5  # IoU
RECALLS = np.linspace(0.1, 1.0, 40).round(12)
# The distance from the camera, m, up to which objects of a class are evaluated.
RANGES = {"pedestrian": 40.0, "bicycle": 40.0, "cyclist": 40.0, "motorcycle": 40.0}
DEFAULT_RANGE = 50.0
# The counts at each threshold.
MATCHES, SWITCHES, MISSES, FALSE = range(4)


@dataclass(frozen=True)
class Paths:
    """The objects of one class in one scene, N rows sorted by frame.

    Attributes:
        frames: (N,) index of the frame.
        ids: (N,) track id.
        positions: (N, 2) x and y m on the ground, or (N, 4) x1, y1, x2, y2 px in the image.
        scores: (N,) score.
    """

    frames: NDArray[np.int64]
    ids: NDArray[np.int64]
    positions: Array
    scores: Array

    def __len__(self) -> int:
        return len(self.frames)


def ground_paths(sequence: VideoSequence, kind: str, poses: Mapping[int, Array]) -> Paths:
    """The positions of one class on the ground of the world, with gaps of tracks filled.

    A track's score is the mean over its boxes. Objects without a 3D box, out of range, or not seen in their frame are
    left out.

    Args:
        sequence: Ground truth or results.
        kind: The class.
        poses: Frame index -> (4, 4) camera's optical frame to world.
    """
    number = sequence.classes.index(kind) if kind in sequence.classes else -1
    rows: list[tuple[int, int, float, float, float]] = []
    for frame in sequence:
        tracks, detections = frame.tracks, frame.tracks.detections
        if detections.locations is None or detections.dimensions is None:
            continue
        chosen = np.flatnonzero((detections.class_ids == number) & (tracks.hits > 0))
        middles = centers(detections.dimensions[chosen], detections.locations[chosen])
        pose = poses[frame.index]
        offsets = (middles @ pose[:3, :3].T)[:, :2]
        is_near = np.linalg.norm(offsets, axis=1) < RANGES.get(kind, DEFAULT_RANGE)
        positions = offsets + pose[:2, 3]
        rows += [
            (frame.index, int(tracks.ids[row]), float(x), float(y), float(detections.scores[row]))
            for row, (x, y), keep in zip(chosen, positions, is_near, strict=True)
            if keep
        ]
    return _filled(rows)


def image_paths(sequence: VideoSequence, kind: str) -> Paths:
    """The boxes of class `kind` in the image, at any distance; gaps of tracks stay.

    A track's score is the mean over its boxes. Objects that are not seen in their frame are left out.
    """
    number = sequence.classes.index(kind) if kind in sequence.classes else -1
    parts = [np.zeros((0, 7))]
    for frame in sequence:
        tracks, detections = frame.tracks, frame.tracks.detections
        rows = np.flatnonzero((detections.class_ids == number) & (tracks.hits > 0))
        heads = np.stack([np.full(len(rows), frame.index), tracks.ids[rows], detections.scores[rows]], axis=1)
        parts.append(np.concatenate([heads, detections.boxes[rows]], axis=1))
    table = np.concatenate(parts)
    _, owners = np.unique(table[:, 1], return_inverse=True)
    means = np.bincount(owners, table[:, 2]) / np.maximum(np.bincount(owners), 1)
    scores = means[owners] if len(table) else np.zeros(0)
    return Paths(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 3:], scores)


def _distances(truth: Array, results: Array) -> Array:
    """(N, M) normalised distances of positions: below 1 where two may match."""
    if truth.shape[1] == 4:
        # The factor lets an overlap of exactly half match.
        return np.asarray((1.0 - iou(truth, results)) / (1.0 - MIN_OVERLAP) * (1 - 1e-9), np.float64)
    return np.asarray(np.linalg.norm(truth[:, None] - results[None], axis=2) / MAX_DISTANCE)


def _filled(rows: list[tuple[int, int, float, float, float]]) -> Paths:
    """The rows sorted by frame, with the interpolated ones of each frame last."""
    table = np.array(rows, np.float64).reshape(-1, 5)
    parts = []
    for identity in np.unique(table[:, 1]):
        seen = table[table[:, 1] == identity]
        times = np.arange(seen[0, 0], seen[-1, 0] + 1)
        added = ~np.isin(times, seen[:, 0])
        after = np.searchsorted(seen[:, 0], times)
        one, other = seen[np.where(added, after - 1, after)], seen[after]
        # The devkit swaps the weights of the two ends of a gap; equal figures need the same.
        span = np.maximum(other[:, 0] - one[:, 0], 1)
        ratio = ((other[:, 0] - times) / span)[:, None]
        positions = (1.0 - ratio) * one[:, 2:4] + ratio * other[:, 2:4]
        scores = (1.0 - ratio) * seen[:, 4].mean() + ratio * seen[:, 4].mean()
        parts.append(np.concatenate([times[:, None], one[:, 1:2], positions, scores, added[:, None]], axis=1))
    joined = np.concatenate(parts) if parts else np.zeros((0, 6))
    joined = joined[np.lexsort((joined[:, 5], joined[:, 0]))]
    return Paths(joined[:, 0].astype(np.int64), joined[:, 1].astype(np.int64), joined[:, 2:4], joined[:, 4])


@dataclass(frozen=True)
class Curve:
    """The counts of one class over all scenes.

    Attributes:
        objects: (S,) ground-truth objects of each scene.
        counts: (S, 40, 4) matches, switches, misses and false positives at each threshold, the highest recall first.
        thresholds: (40,) of the score; NaN where the recall was not reached.
    """

    objects: NDArray[np.int64]
    counts: NDArray[np.int64]
    thresholds: Array


def curve(truths: Sequence[Paths], results: Sequence[Paths]) -> Curve:
    """The counts of each scene at 40 thresholds, which are those of all scenes together."""
    objects = np.array([len(truth) for truth in truths], np.int64)
    scenes = [_Scene(truth, result) for truth, result in zip(truths, results, strict=True)]
    matched: Array = np.sort(np.concatenate([np.zeros(0), *(scene.count(-np.inf)[1] for scene in scenes)]))[::-1]
    thresholds = np.full(len(RECALLS), np.nan)
    if len(matched) and objects.sum():
        reached = np.arange(1, len(matched) + 1) / objects.sum()
        thresholds = np.interp(RECALLS, reached, matched, right=0)
        thresholds[reached.max() < RECALLS] = np.nan
    thresholds = thresholds[::-1]
    counts = np.zeros((len(scenes), len(thresholds), 4), np.int64)
    for column, threshold in enumerate(thresholds):
        if np.isnan(threshold):
            continue
        for row, scene in enumerate(scenes):
            counts[row, column] = scene.count(threshold)[0]
    return Curve(objects, counts, thresholds)


class _Scene:
    """Ground truth and results frame by frame, with the distances between them."""

    def __init__(self, truth: Paths, results: Paths) -> None:
        self.frames = []
        self._scores = np.sort(results.scores)
        self._counted: dict[int, tuple[tuple[int, int, int, int], list[float]]] = {}
        for index in np.union1d(truth.frames, results.frames):
            ours, theirs = truth.frames == index, results.frames == index
            distances = _distances(truth.positions[ours], results.positions[theirs])
            near = [(r, c) for r, c in zip(*np.nonzero(distances < 1), strict=True)]
            self.frames.append(
                (truth.ids[ours].tolist(), results.ids[theirs].tolist(), results.scores[theirs], distances, near)
            )

    def count(self, threshold: float) -> tuple[tuple[int, int, int, int], list[float]]:
        """(matches, switches, misses, false positives) of results with at least this score, and the matches' scores."""
        passing = len(self._scores) - int(np.searchsorted(self._scores, threshold))
        if passing not in self._counted:  # the same number of best results are the same results
            self._counted[passing] = self._count(threshold)
        return self._counted[passing]

    def _count(self, threshold: float) -> tuple[tuple[int, int, int, int], list[float]]:
        partner: dict[int, int] = {}  # ground-truth id -> track id of its last match
        matches = switches = objects = shown = 0
        scores: list[float] = []
        for ids, names, values, distances, near in self.frames:
            passing = values >= threshold
            objects += len(ids)
            shown += int(passing.sum())
            matched, switched = _match(ids, names, distances, [one for one in near if passing[one[1]]], partner)
            for row, column in matched:
                is_switch = (row, column) in switched
                switches += is_switch
                matches += not is_switch
                if not is_switch:
                    scores.append(float(values[column]))
        return (matches, switches, objects - matches - switches, shown - matches - switches), scores


Matches = list[tuple[int, int]]


def _match(
    ids: list[int], names: list[int], distances: Array, near: Matches, partner: dict[int, int]
) -> tuple[Matches, Matches]:
    """The matches (row, column) of one frame, and those of them that are id switches; updates `partner`."""
    free = set(near)
    matches: Matches = []
    for row, identity in enumerate(ids):  # a match of an earlier frame stays
        column = next((c for r, c in free if r == row and names[c] == partner.get(identity)), None)
        if column is not None:
            matches.append((row, column))
            free = {(r, c) for r, c in free if r != row and c != column}
    rest = _cheapest(distances, free)
    switched = [(r, c) for r, c in rest if partner.get(ids[r], names[c]) != names[c]]
    partner.update({ids[r]: names[c] for r, c in rest})
    return matches + rest, switched


def _cheapest(distances: Array, allowed: set[tuple[int, int]]) -> Matches:
    """As many of the allowed matches as possible, with the smallest sum of distances."""
    rows, columns = sorted({r for r, _ in allowed}), sorted({c for _, c in allowed})
    if len(allowed) <= 1 or len(rows) == len(allowed) == len(columns):
        return sorted(allowed)
    from scipy.optimize import linear_sum_assignment

    costs = np.full((len(rows), len(columns)), 1e6)
    for r, c in allowed:
        costs[rows.index(r), columns.index(c)] = distances[r, c]
    chosen = zip(*linear_sum_assignment(costs), strict=True)
    return [(rows[i], columns[j]) for i, j in chosen if costs[i, j] < 1e6]


def amota(curves: Sequence[Curve], weights: Array | None = None, alpha: float = 1.0) -> Array:
    """The mean over the classes that occur, of the mean MOTAR over the 40 thresholds.

    The thresholds stay those of all scenes.

    Args:
        curves: One for each class.
        weights: (D, S) how often each scene counts in each of D draws; None: one draw of every scene once.
        alpha: Weight of the errors: 1 in the benchmark's present form, 0.2 in its form when the paper was written.

    Returns:
        (D,) AMOTA; NaN where no class occurs.
    """
    if not curves:
        return np.full(1 if weights is None else len(weights), np.nan)
    if weights is None:
        weights = np.ones((1, len(curves[0].objects)))
    table = np.stack([_class_amota(one, weights, alpha) for one in curves])
    known = np.isfinite(table)
    total = np.where(known, table, 0).sum(axis=0)
    return np.divide(total, known.sum(axis=0), out=np.full(len(weights), np.nan), where=known.any(axis=0))


def _class_amota(one: Curve, weights: Array, alpha: float) -> Array:
    """(D,) mean MOTAR; NaN in draws in which the class does not occur."""
    objects = weights @ one.objects.astype(np.float64)
    counts = np.tensordot(weights, one.counts.astype(np.float64), axes=1)  # (D, 40, 4)
    matches = counts[:, :, MATCHES]
    errors = counts[:, :, [SWITCHES, MISSES, FALSE]].sum(axis=2) - (objects[:, None] - matches)
    ratio = np.divide(errors, matches, out=np.full_like(errors, np.inf), where=matches > 0)
    motar = np.maximum(0.0, 1.0 - alpha * ratio)
    motar[:, np.isnan(one.thresholds)] = 0.0
    return np.where(objects > 0, motar.mean(axis=1), np.nan)
