# SPDX-License-Identifier: Apache-2.0
"""The class of a track, by what its detections were called: evidence that adds up and is slowly forgotten."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.types import Array, Detections, Tracks

# A class with this score or a lower one says no more than a class that was not seen at all.
FLOOR = np.float32(0.05)
# s, in which evidence falls to 1/e: a vehicle that was far away gets its right class when it is near.
MEMORY_S = 3.0
# Another class must lead by more than what one detection can say: a single one changes no class. Only until a track is
# reported, and in its first matches, its class follows the leader.
MARGIN = -np.log(FLOOR)
FIRST_MATCHES = 3


def class_scores(detections: Detections, owners: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """The scores of all classes at each detection: its own, and those of its duplicates.

    Args:
        detections: N detections, with duplicates.
        owners: (N,) row of the detection that each one is a duplicate of, see `find_duplicates`.
        count: Number of classes C.

    Returns:
        (N, C) scores; 0 for a class that was not seen.
    """
    scores = np.zeros((len(detections), count), np.float32)
    np.maximum.at(scores, (owners, detections.class_ids), detections.scores)
    return scores


def vote(tracks: Tracks, before: Tracks | None, stamp: float, odds: NDArray[np.float32]) -> Tracks:
    """Adds what this frame's detections say about the classes, and gives each matched track the class that leads.

    A detection with score s adds log(s * odds / `FLOOR`) to its class, so that the sums compare the classes'
    log-likelihoods. The class of a track changes only if another one leads by more than `MARGIN`, or in its first
    matches.

    Args:
        tracks: The tracks of this frame; those that were matched have the class of their detection.
        before: The tracks of the previous frame, with their votes; None: there were none.
        stamp: s, of this frame.
        odds: (C,) factors on the scores of the classes.

    Returns:
        The tracks with `class_votes`. Lost ones keep their votes.
    """
    matched = tracks.ages == 1
    votes = np.zeros((len(tracks), len(odds)), np.float32)
    class_ids = tracks.detections.class_ids.copy()
    rows, old = rows_of_same_ids(tracks, before)
    if before is not None and len(rows):
        votes[rows] = before.class_votes[old] if before.class_votes is not None else _first_votes(before, odds)[old]
        votes[rows] *= faded(tracks, before, rows, old, stamp)[:, None]
    votes[matched] += _evidence(tracks.detections, odds)[matched]
    if before is not None and len(rows):
        class_ids[rows] = before.detections.class_ids[old]
    every = np.arange(len(tracks))
    leaders = votes.argmax(axis=1)
    is_new = tracks.ids < 0  # not reported yet
    is_new |= True if tracks.lengths is None else tracks.lengths <= FIRST_MATCHES
    changes = matched & (votes[every, leaders] > votes[every, class_ids] + np.where(is_new, 0, MARGIN))
    class_ids[changes] = leaders[changes]
    return replace(tracks, class_votes=votes, detections=replace(tracks.detections, class_ids=class_ids))


def faded(tracks: Tracks, before: Tracks, rows: Array, old: Array, stamp: float) -> Array:
    """(R,) what is left of the votes of the tracks in `rows`, in `old` before; 1 for those without a match now."""
    last = before.births if before.last_stamps is None else before.last_stamps
    elapsed = np.where(tracks.ages[rows] == 1, np.maximum(stamp - last[old], 0), 0)
    return np.exp(-elapsed / MEMORY_S).astype(np.float32)


def rows_of_same_ids(tracks: Tracks, before: Tracks | None) -> tuple[Array, Array]:
    """Rows of the tracks that were there before, and their rows then."""
    if before is None or not len(before):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    order = np.argsort(before.ids)
    places = np.minimum(np.searchsorted(before.ids, tracks.ids, sorter=order), len(order) - 1)
    old = order[places]
    rows = np.flatnonzero(before.ids[old] == tracks.ids)
    return rows, old[rows]


def _first_votes(tracks: Tracks, odds: Array) -> Array:
    """(N, C) votes of tracks that a caller made without any."""
    return _evidence(replace(tracks.detections, class_scores=None), odds)


def _evidence(detections: Detections, odds: Array) -> Array:
    """(N, C) log-likelihood of each class over that of a class that was not seen."""
    scores = detections.class_scores
    if scores is None:
        scores = np.zeros((len(detections), len(odds)), np.float32)
        scores[np.arange(len(detections)), detections.class_ids] = detections.scores
    evidence: Array = np.log(np.maximum(scores * odds, FLOOR) / FLOOR)
    return evidence
