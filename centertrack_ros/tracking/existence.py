# SPDX-License-Identifier: Apache-2.0
"""Whether a track is an object: the scores of its detections add up as log-odds.

A strong detection is an object at once. A weaker one starts a tentative track, which is reported when its detections
together say enough, and is forgotten when they do not come again. Weak detections also hold an object that was seen
well before, for a while.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes2d import areas, intersections, iou, sizes_of
from centertrack_ros.types import Array, Detections, Tracks

Floats = NDArray[np.float64]
BIRTHS = ("evidence", "threshold")

# Scores that speak neither for nor against an object. Things that are none are often seen for long, always weakly; an
# object that was well seen is often weakly seen later.
NEUTRAL_NEW, NEUTRAL_KNOWN = 0.35, 0.27
START = 0.3  # a weaker detection starts no track
STRONG = 0.02  # a detection so far above `new_threshold` is an object at once
MOST = 4.0  # log-odds; more are not remembered, so that an object can end
CLUTTER = 0.05  # a class with a lower score was not seen
STILL = 0.01  # sizes (root of the area) by which a still thing's box moves
SURE = 1.5  # log-odds that an object has at least when it is reported
MISS = 0.8  # log-odds that a frame without a detection takes away
# s; detections of images that follow each other faster say less than independent ones: a detector that errs in one
# errs in the next.
CORRELATION_S = 0.08
MEMORY_S = 1.0  # of a tentative track: what is weakly seen for minutes never becomes an object by chance
SHADOW_OVERLAP = 0.5  # of the smaller box
SAME_OBJECT_IOU = 0.4  # with a box that already has a track; a weak detection so close is no second object


def strengths(detections: Detections) -> NDArray[np.float32]:
    """(N,) in 0..1: that there is an object of any class that it may be, by all its scores: at least the best one."""
    if detections.class_scores is None:
        return detections.scores
    seen = np.where(detections.class_scores > CLUTTER, detections.class_scores, 0.0)
    return np.maximum(detections.scores, (1.0 - np.prod(1.0 - seen, axis=1)).astype(np.float32))


def novelty(before: Array, after: Array) -> Floats:
    """(N,) in 0..1: how much of a view is new, by how far the middles of boxes (N, 4) px moved.

    A thing that a fixed camera sees again without any change tells nothing new.
    """
    moved = np.hypot(*((after - before)[:, :2] + (after - before)[:, 2:]).T) / 2 / sizes_of(after)
    return np.asarray(1.0 - np.exp(-0.5 * np.square(moved / STILL, dtype=np.float64)))


def log_odds(scores: Array, neutral: Array | float = NEUTRAL_KNOWN) -> Floats:
    """(N,) what detections with scores (N,) say: above 0 for an object."""
    clipped = np.clip(np.asarray(scores, np.float64), 1e-3, 1 - 1e-3)
    return np.asarray(np.log(clipped / (1 - clipped)) - np.log(neutral / (1 - neutral)))


def shadows(detections: Detections, other_class: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Finds weak detections that are mostly parts of stronger ones: they say nothing of a second object.

    Args:
        detections: N, strongest first.
        other_class: (N, N) mask of pairs whose classes cannot be one object.

    Returns:
        (N,) mask.
    """
    boxes = np.asarray(detections.boxes, np.float64)
    sizes = np.maximum(areas(boxes), 1e-6)
    shared = intersections(boxes, boxes) / np.minimum(sizes[:, None], sizes[None, :])
    stronger = np.tri(len(boxes), k=-1, dtype=bool) & ~other_class  # [i, k]: k is stronger than i
    return np.asarray((detections.scores <= START) & ((shared > SHADOW_OVERLAP) & stronger).any(axis=1))


def weight(step: float) -> float:
    """In 0..1: how much of a frame's evidence is new, `step` s after the last."""
    return 1.0 - math.exp(-step / CORRELATION_S)


def needed(new_thresholds: Array) -> Floats:
    """(N,) log-odds from which tracks are reported, by the `new_threshold` of their classes (N,)."""
    return log_odds(new_thresholds + STRONG, NEUTRAL_NEW)


def first(scores: Array) -> Floats:
    """(N,) evidence of tracks that start with detections of scores (N,), those of their own class alone.

    In one image, several classes at one place are often all wrong; together they count when they stay.
    """
    return np.clip(log_odds(scores, NEUTRAL_NEW), 0.0, MOST)


def continued(evidence: Floats, scores: Array, known: NDArray[np.bool_], new: Floats, step: float) -> Floats:
    """Adds detections to the evidence of N tracks.

    Args:
        evidence: (N,) of the tracks.
        scores: (N,) `strengths` of their detections.
        known: (N,) which tracks are not tentative.
        new: (N,) `novelty` of their views.
        step: s since the previous frame.

    Returns:
        (N,) evidence.
    """
    more = log_odds(scores, np.where(known, NEUTRAL_KNOWN, NEUTRAL_NEW)) * np.where(known, 1.0, new)
    kept = evidence * np.where(known, 1.0, math.exp(-step / MEMORY_S))
    return np.clip(kept + weight(step) * more, np.where(known, -MOST, 0.0), MOST)


def missed(evidence: Floats, step: float) -> Floats:
    """(N,) evidence of tracks after a frame without a detection, `step` s later."""
    return np.maximum(evidence - weight(step) * MISS, -MOST)


def may_start(
    detections: Detections,
    free: NDArray[np.int64],
    matched: NDArray[np.int64],
    thresholds: Array,
    scores: Array,
) -> NDArray[np.int64]:
    """Selects of the free detections those that may start a tentative track.

    Args:
        detections: N detections.
        free: (F,) rows without a track.
        matched: Rows with one.
        thresholds: (N,) scores; a detection above its own is never taken for a part of another.
        scores: (N,) their `strengths`.

    Returns:
        Rows among `free`.
    """
    scores = scores[free]
    chosen = scores > np.float32(START)
    weak = scores <= thresholds[free]
    if len(matched) and (chosen & weak).any():
        overlaps = iou(detections.boxes[free], detections.boxes[matched]).max(axis=1)
        chosen &= ~(weak & (overlaps > SAME_OBJECT_IOU))
    return free[chosen]


def confirm(tracks: Tracks, next_id: int, enough: Floats) -> tuple[NDArray[np.bool_], Tracks, int]:
    """Gives ids to the tentative tracks that are now known to be objects.

    Args:
        tracks: Tentative ones have negative ids.
        next_id: The id of the next new track.
        enough: (N,), see `needed`.

    Returns:
        (N,) mask of the tracks that are no longer tentative, the tracks, and the next `next_id`.
    """
    if tracks.evidence is None:
        return np.ones(len(tracks), bool), tracks, next_id
    rows = np.flatnonzero((tracks.ids < 0) & (tracks.evidence >= enough) & (tracks.hits > 0))
    if len(rows):
        ids, hits = tracks.ids.copy(), tracks.hits.copy()
        ids[rows] = np.arange(next_id, next_id + len(rows))
        hits[rows] = 1  # the frame in which it is new to the user
        evidence = tracks.evidence.copy()
        evidence[rows] = np.maximum(evidence[rows], SURE)
        tracks = replace(tracks, ids=ids, hits=hits, evidence=evidence)
    return tracks.ids > 0, tracks, next_id + len(rows)
