# SPDX-License-Identifier: Apache-2.0
"""AMOTA of the nuScenes tracking benchmark from arrays, quick enough to be drawn a thousand times.

The rules are those of nuscenes-devkit 1.2.0 (https://www.nuscenes.org/tracking): centres at most 2 m apart on the
ground match, gaps of tracks are filled along a straight line (in the devkit's own way: from the far end), a track's
score is the mean of its boxes', and MOTAR is averaged over 40 thresholds of the score. A test holds the figures against
the devkit's. What is new is that the counts are kept scene by scene, which a bootstrap over scenes needs, and that
boxes in the image can be judged in the same way, by an overlap of at least half.
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

NEAREST = 2.0  # m
OVERLAP = 0.5  # IoU
RECALLS = np.linspace(0.1, 1.0, 40).round(12)
# m from the camera within which objects of a class are judged; others as cars.
RANGES = {"pedestrian": 40.0, "bicycle": 40.0, "cyclist": 40.0, "motorcycle": 40.0}
USUAL_RANGE = 50.0
# What is counted at each threshold.
MATCHES, SWITCHES, MISSES, FALSE = range(4)


@dataclass(frozen=True)
class Paths:
    """The objects of one class in one scene, N rows sorted by frame: number of the frame, id, place, score.

    places  (N, 2) x and y m on the ground, or (N, 4) x1, y1, x2, y2 px in the image
    """

    frames: NDArray[np.int64]
    ids: NDArray[np.int64]
    places: Array
    scores: Array

    def __len__(self) -> int:
        return len(self.frames)


def paths_of(sequence: VideoSequence, kind: str, poses: Mapping[int, Array]) -> Paths:
    """The objects of class `kind` on the ground of the world, near enough to be judged, gaps filled.

    poses  frame's index -> (4, 4) camera's optical frame to world
    A track's score is the mean over its boxes. Objects without a 3D box or not seen in their frame are left out.
    """
    number = sequence.classes.index(kind) if kind in sequence.classes else -1
    rows: list[tuple[int, int, float, float, float]] = []
    for frame in sequence:
        tracks, found = frame.tracks, frame.tracks.detections
        if found.locations is None or found.dimensions is None:
            continue
        chosen = np.flatnonzero((found.class_ids == number) & (tracks.hits > 0))
        middles = centers(found.dimensions[chosen], found.locations[chosen])
        pose = poses[frame.index]
        offsets = (middles @ pose[:3, :3].T)[:, :2]
        near = np.linalg.norm(offsets, axis=1) < RANGES.get(kind, USUAL_RANGE)
        places = offsets + pose[:2, 3]
        rows += [
            (frame.index, int(tracks.ids[row]), float(x), float(y), float(found.scores[row]))
            for row, (x, y), good in zip(chosen, places, near, strict=True)
            if good
        ]
    return _filled(rows)


def boxes_of(sequence: VideoSequence, kind: str) -> Paths:
    """The objects of class `kind` by their boxes in the image, wherever they are; gaps stay.

    A track's score is the mean over its boxes. Objects that are not seen in their frame are left out.
    """
    number = sequence.classes.index(kind) if kind in sequence.classes else -1
    parts = [np.zeros((0, 7))]
    for frame in sequence:
        tracks, found = frame.tracks, frame.tracks.detections
        rows = np.flatnonzero((found.class_ids == number) & (tracks.hits > 0))
        heads = np.stack([np.full(len(rows), frame.index), tracks.ids[rows], found.scores[rows]], axis=1)
        parts.append(np.concatenate([heads, found.boxes[rows]], axis=1))
    table = np.concatenate(parts)
    _, owners = np.unique(table[:, 1], return_inverse=True)
    means = np.bincount(owners, table[:, 2]) / np.maximum(np.bincount(owners), 1)
    scores = means[owners] if len(table) else np.zeros(0)
    return Paths(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 3:], scores)


def _distances(truth: Array, found: Array) -> Array:
    """(N, M) of places: below 1 where two may belong together."""
    if truth.shape[1] == 4:
        return np.asarray((1.0 - iou(truth, found)) / (1.0 - OVERLAP) * (1 - 1e-9), np.float64)  # just enough is enough
    return np.asarray(np.linalg.norm(truth[:, None] - found[None], axis=2) / NEAREST)


def _filled(rows: list[tuple[int, int, float, float, float]]) -> Paths:
    """The rows in the order of their frames, with those between two sightings of an id added last."""
    table = np.array(rows, np.float64).reshape(-1, 5)
    parts = []
    for identity in np.unique(table[:, 1]):
        seen = table[table[:, 1] == identity]
        times = np.arange(seen[0, 0], seen[-1, 0] + 1)
        added = ~np.isin(times, seen[:, 0])
        after = np.searchsorted(seen[:, 0], times)
        one, other = seen[np.where(added, after - 1, after)], seen[after]
        # The devkit weighs the two ends of a gap the wrong way round; whoever wants its figures has to do the same.
        span = np.maximum(other[:, 0] - one[:, 0], 1)
        ratio = ((other[:, 0] - times) / span)[:, None]
        places = (1.0 - ratio) * one[:, 2:4] + ratio * other[:, 2:4]
        scores = (1.0 - ratio) * seen[:, 4].mean() + ratio * seen[:, 4].mean()
        parts.append(np.concatenate([times[:, None], one[:, 1:2], places, scores, added[:, None]], axis=1))
    joined = np.concatenate(parts) if parts else np.zeros((0, 6))
    joined = joined[np.lexsort((joined[:, 5], joined[:, 0]))]
    return Paths(joined[:, 0].astype(np.int64), joined[:, 1].astype(np.int64), joined[:, 2:4], joined[:, 4])


@dataclass(frozen=True)
class Curve:
    """One class over all scenes: (S,) true objects of each, (S, 40, 4) counts at the recalls' thresholds, the highest
    recall first; thresholds (40,) of the score, NaN where that recall was not reached.
    """

    objects: NDArray[np.int64]
    counts: NDArray[np.int64]
    thresholds: Array


def curve(truths: Sequence[Paths], found: Sequence[Paths]) -> Curve:
    """What is right and wrong in each scene at 40 thresholds, which belong to all scenes together."""
    objects = np.array([len(truth) for truth in truths], np.int64)
    scenes = [_Scene(truth, answer) for truth, answer in zip(truths, found, strict=True)]
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
    """The true and the found objects frame by frame, with the distances between them."""

    def __init__(self, truth: Paths, found: Paths) -> None:
        self.frames = []
        self._scores = np.sort(found.scores)
        self._counted: dict[int, tuple[tuple[int, int, int, int], list[float]]] = {}
        for index in np.union1d(truth.frames, found.frames):
            ours, theirs = truth.frames == index, found.frames == index
            distances = _distances(truth.places[ours], found.places[theirs])
            near = [(r, c) for r, c in zip(*np.nonzero(distances < 1), strict=True)]
            self.frames.append(
                (truth.ids[ours].tolist(), found.ids[theirs].tolist(), found.scores[theirs], distances, near)
            )

    def count(self, threshold: float) -> tuple[tuple[int, int, int, int], list[float]]:
        """(matches, switches, misses, false ones) of what scores at least `threshold`, and the matches' scores."""
        passing = len(self._scores) - int(np.searchsorted(self._scores, threshold))
        if passing not in self._counted:  # so many of the best are the same ones
            self._counted[passing] = self._count(threshold)
        return self._counted[passing]

    def _count(self, threshold: float) -> tuple[tuple[int, int, int, int], list[float]]:
        partner: dict[int, int] = {}  # true id -> found id of its last match
        matches = switches = objects = shown = 0
        scores: list[float] = []
        for ids, names, values, distances, near in self.frames:
            passing = values >= threshold
            objects += len(ids)
            shown += int(passing.sum())
            pairs, switched = _match(ids, names, distances, [pair for pair in near if passing[pair[1]]], partner)
            for row, column in pairs:
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
    """(rows, columns) that belong together in one frame, and those of them that are a switch; updates `partner`."""
    free = set(near)
    pairs: Matches = []
    for row, identity in enumerate(ids):  # who was matched before stays together
        column = next((c for r, c in free if r == row and names[c] == partner.get(identity)), None)
        if column is not None:
            pairs.append((row, column))
            free = {(r, c) for r, c in free if r != row and c != column}
    rest = _cheapest(distances, free)
    switched = [(r, c) for r, c in rest if partner.get(ids[r], names[c]) != names[c]]
    partner.update({ids[r]: names[c] for r, c in rest})
    return pairs + rest, switched


def _cheapest(distances: Array, allowed: set[tuple[int, int]]) -> Matches:
    """As many of the allowed pairs as possible, with the least sum of distances."""
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
    """(D,) mean over the classes that occur, of the mean MOTAR over the 40 thresholds.

    weights  (D, S) how often each scene counts in each of D draws; None: one draw of every scene once
    alpha    weight of the errors: 1 as the benchmark has it now, 0.2 as it had it when the paper was written
    The thresholds stay those of all scenes.
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
    """(D,); NaN in draws in which the class does not occur."""
    objects = weights @ one.objects.astype(np.float64)
    counts = np.tensordot(weights, one.counts.astype(np.float64), axes=1)  # (D, 40, 4)
    matches = counts[:, :, MATCHES]
    errors = counts[:, :, [SWITCHES, MISSES, FALSE]].sum(axis=2) - (objects[:, None] - matches)
    ratio = np.divide(errors, matches, out=np.full_like(errors, np.inf), where=matches > 0)
    motar = np.maximum(0.0, 1.0 - alpha * ratio)
    motar[:, np.isnan(one.thresholds)] = 0.0
    return np.where(objects > 0, motar.mean(axis=1), np.nan)
