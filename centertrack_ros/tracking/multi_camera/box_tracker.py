# SPDX-License-Identifier: Apache-2.0
"""Tracks the 3D boxes of another detector, of a LiDAR or a radar, before they are fused with the cameras' tracks.

Boxes have places that are known well and nothing else that tells objects apart: a Kalman filter of constant velocity
each, and the matching of all boxes of a message that is most likely. A track becomes an object when its boxes together
leave little doubt.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from centertrack_ros.array_table import ArrayTable, column, nested
from centertrack_ros.geometry.boxes3d import OrientedBoxes
from centertrack_ros.tracking import kalman
from centertrack_ros.tracking.motion_state import motion_states
from centertrack_ros.tracking.multi_camera.records import ANY_KIND, Floats, Integers, MultiCameraConfig, same_kind
from centertrack_ros.types import LIFT_POINTS, Detections, Tracks

# Probability that all boxes of a track are false, by their scores, below which it is an object; two boxes at least.
_DOUBT = 0.1
_LEAST_HITS = 2
# Messages without a box through which an object is still reported, where it is expected: detectors miss one box in ten,
# and hardly anything vanishes within a message. Of two misses in a row, either may be true.
_COASTING = 1
_TENTATIVE_S = 0.35  # a track that is no object yet ends when nothing was seen of it for so long
_VELOCITY_HITS = 3  # boxes after which a velocity says more than the spread of speeds
# m/s, standard deviation of the speed of what was seen once: by group of `records.CONFUSABLE`; of others, the first.
_SPEEDS = (12.0, 6.0, 2.5)
_VEHICLE_SPEED = 12.0  # added where the common frame moves with the vehicle: all that stands moves in it


@dataclass(frozen=True)
class BoxTracks(ArrayTable):
    """T tracks of boxes in the common frame, tentative ones among them.

    ids      (T,) int64, from 1; 0: tentative
    births, stamps  (T,) s of the first and of the last box
    hits     (T,) int64: consecutive messages with a box up to now, single gaps bridged; 0: lost
    counts   (T,) int64: messages with a box, in all;  ages  (T,) int64: messages since the last one, plus 1
    doubts   (T,) probability that all of its boxes are false, by their scores
    class_ids, kinds  (T,) int64;  scores  (T,) of the last box
    boxes    T last boxes, moved on to where they are expected through a gap
    means, covariances  (T, 6), (T, 6, 6): filters at the stamp of the state
    motion_states  (T,) uint8, see `motion_state`
    """

    ids: Integers = field(metadata=column(dtype=np.int64))
    births: Floats = field(metadata=column())
    stamps: Floats = field(metadata=column())
    hits: Integers = field(metadata=column(dtype=np.int64))
    counts: Integers = field(metadata=column(dtype=np.int64))
    ages: Integers = field(metadata=column(dtype=np.int64))
    doubts: Floats = field(metadata=column())
    class_ids: Integers = field(metadata=column(dtype=np.int64))
    kinds: Integers = field(metadata=column(dtype=np.int64))
    scores: Floats = field(metadata=column())
    boxes: OrientedBoxes = field(metadata=nested(OrientedBoxes))
    means: Floats = field(metadata=column(6))
    covariances: Floats = field(metadata=column(6, 6))
    motion_states: NDArray[np.uint8] = field(metadata=column(dtype=np.uint8))


@dataclass(frozen=True)
class BoxTrackerState:
    """All that is remembered between two messages: the tracks, the id of the next object, the last stamp, s."""

    tracks: BoxTracks = field(default_factory=BoxTracks.empty)
    next_id: int = 1
    stamp: float = -np.inf


def step(
    state: BoxTrackerState,
    boxes: OrientedBoxes,
    scores: Floats,
    class_ids: Integers,
    kinds: Integers,
    stamp: float,
    config: MultiCameraConfig,
) -> BoxTrackerState:
    """The tracks after a message.

    Args:
        state: Before.
        boxes: N boxes in the common frame, with covariances.
        scores: (N,) in 0..1.
        class_ids: (N,) of the boxes.
        kinds: (N,) what the classes may be mistaken for, see `records.kinds_of`.
        stamp: s, after that of the state.
        config: How objects move, and how long they are waited for.
    """
    elapsed = max(stamp - state.stamp, 0.0) if np.isfinite(state.stamp) else 0.0
    tracks = state.tracks
    means, covariances = kalman.predict(tracks.means, tracks.covariances, elapsed, config.process_noise)
    tracks = replace(tracks, means=means, covariances=covariances)
    rows, columns = associate(tracks, boxes, kinds, config)
    seen = continue_tracks(tracks.select(rows), boxes.select(columns), scores[columns], class_ids[columns],
                           kinds[columns], stamp, config)  # fmt: skip
    free = np.setdiff1d(np.arange(len(tracks)), rows)
    lost = coast(tracks.select(free))
    patience = np.where(lost.ids > 0, config.window_s, min(_TENTATIVE_S, config.window_s))
    lost = lost.select(stamp - lost.stamps <= patience)
    others = np.setdiff1d(np.arange(len(boxes)), columns)
    started = start_tracks(boxes.select(others), scores[others], class_ids[others], kinds[others], stamp, config)
    tracks, next_id = confirm(BoxTracks.concatenate([seen, lost, started]), state.next_id)
    return BoxTrackerState(tracks, next_id, stamp)


def associate(
    tracks: BoxTracks, boxes: OrientedBoxes, kinds: Integers, config: MultiCameraConfig
) -> tuple[Integers, Integers]:
    """Rows of tracks and of boxes that belong together: the matching of the greatest likelihood, within the gate."""
    nothing = np.zeros(0, np.int64)
    if not len(tracks) or not len(boxes):
        return nothing, nothing
    uncertain = np.sqrt(np.einsum("nii->n", tracks.covariances[:, :3, :3]))
    noise = np.sqrt(np.einsum("nii->n", boxes.covariances[:, :3, :3]))
    reach = config.gate_sigma * (uncertain[:, None] + noise)
    differences = boxes.centers - tracks.means[:, None, :3]
    near = (differences**2).sum(axis=2) <= reach**2
    near &= same_kind(tracks.kinds[:, None], kinds)
    ratios = np.linalg.norm(tracks.boxes.sizes, axis=1)[:, None] / np.linalg.norm(boxes.sizes, axis=1)
    near &= (ratios <= config.max_size_ratio) & (ratios * config.max_size_ratio >= 1)
    rows, columns = np.nonzero(near)
    covariances = kalman.regular(tracks.covariances[rows, :3, :3] + boxes.covariances[columns, :3, :3])
    squares = kalman.squared_distances(differences[rows, columns], covariances)
    inside = squares <= config.gate_sigma**2
    if not inside.any():
        return nothing, nothing
    rows, columns = rows[inside], columns[inside]
    # Of two tracks that a box is equally near to, the well-known one is meant; any match is better than none.
    volumes = np.linalg.slogdet(covariances[inside])[1]
    costs = np.zeros((len(tracks), len(boxes)))
    costs[rows, columns] = squares[inside] + volumes - volumes.max() - config.gate_sigma**2 - 1e-6
    matched, taken = linear_sum_assignment(costs)
    chosen = costs[matched, taken] < 0
    return matched[chosen].astype(np.int64), taken[chosen].astype(np.int64)


def continue_tracks(
    tracks: BoxTracks, boxes: OrientedBoxes, scores: Floats, class_ids: Integers, kinds: Integers, stamp: float,
    config: MultiCameraConfig,
) -> BoxTracks:  # fmt: skip
    """The tracks with the boxes that were matched to them."""
    if not len(tracks):
        return tracks
    means, covariances = kalman.correct(tracks.means, tracks.covariances, boxes.centers, boxes.covariances[:, :3, :3])
    told = kinds != ANY_KIND  # what calls itself unknown takes no name away
    found = replace(
        tracks,
        stamps=np.full(len(tracks), stamp),
        hits=tracks.hits + 1,
        counts=tracks.counts + 1,
        ages=np.ones(len(tracks), np.int64),
        doubts=tracks.doubts * (1.0 - scores),
        class_ids=np.where(told, class_ids, tracks.class_ids),
        kinds=np.where(told, kinds, tracks.kinds),
        scores=scores,
        boxes=boxes,
        means=means,
        covariances=covariances,
    )
    return _with_velocities(found) if config.measured_velocities else found


def coast(tracks: BoxTracks) -> BoxTracks:
    """The tracks after a message without a box for them."""
    bridged = (tracks.ids > 0) & (tracks.ages <= _COASTING)
    covariances = tracks.boxes.covariances.copy()
    covariances[:, :3, :3] = tracks.covariances[:, :3, :3]
    expected = replace(tracks.boxes, centers=tracks.means[:, :3], covariances=covariances)
    rows = np.flatnonzero(bridged)
    return replace(
        tracks,
        hits=np.where(bridged, tracks.hits, 0),
        ages=tracks.ages + 1,
        boxes=tracks.boxes.with_rows(rows, expected.select(rows)),
    )


def _with_velocities(tracks: BoxTracks) -> BoxTracks:
    """The tracks with their velocities over ground, where they were seen often enough, and whether they move."""
    known = (tracks.counts >= _VELOCITY_HITS)[:, None]
    velocities = np.where(known, tracks.means[:, 3:], np.nan)
    spreads = np.where(known[:, :, None], tracks.covariances[:, 3:, 3:], np.nan)
    boxes = replace(tracks.boxes, velocities=velocities, velocity_covariances=spreads)
    return replace(tracks, boxes=boxes, motion_states=motion_states(velocities, spreads, tracks.motion_states))


def start_tracks(
    boxes: OrientedBoxes, scores: Floats, class_ids: Integers, kinds: Integers, stamp: float, config: MultiCameraConfig
) -> BoxTracks:
    """Tentative tracks of boxes that nothing was expected for."""
    count = len(boxes)
    speeds = np.array([_SPEEDS[kind] if 0 <= kind < len(_SPEEDS) else _SPEEDS[0] for kind in kinds.tolist()])
    if not config.measured_velocities:
        speeds = np.hypot(speeds, _VEHICLE_SPEED)
    means, covariances = kalman.initialize(
        boxes.centers, boxes.covariances[:, :3, :3], np.zeros((count, 3)), speeds.reshape(-1)
    )
    covariances[:, 5, 5] = np.minimum(covariances[:, 5, 5], 1.0)  # up and down hardly anything moves
    return BoxTracks(
        ids=np.zeros(count, np.int64),
        births=np.full(count, stamp),
        stamps=np.full(count, stamp),
        hits=np.ones(count, np.int64),
        counts=np.ones(count, np.int64),
        ages=np.ones(count, np.int64),
        doubts=1.0 - scores,
        class_ids=class_ids,
        kinds=kinds,
        scores=scores,
        boxes=boxes,
        means=means,
        covariances=covariances,
        motion_states=np.zeros(count, np.uint8),
    )


def confirm(tracks: BoxTracks, next_id: int) -> tuple[BoxTracks, int]:
    """Gives ids to the tentative tracks that are objects now; with the id of the next one."""
    enough = (tracks.counts >= _LEAST_HITS) & (tracks.doubts <= _DOUBT) & (tracks.hits > 0)
    rows = np.flatnonzero((tracks.ids == 0) & enough)
    ids, hits = tracks.ids.copy(), tracks.hits.copy()
    ids[rows] = np.arange(next_id, next_id + len(rows))
    hits[rows] = 1  # the message in which it is new to the user
    return replace(tracks, ids=ids, hits=hits), next_id + len(rows)


def objects_of(state: BoxTrackerState) -> tuple[Tracks, OrientedBoxes]:
    """The tracks that are objects, without anything of an image, and their boxes in the common frame."""
    known = state.tracks.select(state.tracks.ids > 0)
    count = len(known)
    found = Detections.from_boxes(np.zeros((count, 4)), known.scores, known.class_ids)
    detections = replace(found, lifts=np.full(count, LIFT_POINTS, np.float32),
                         heading_variances=np.einsum("nii->ni", known.boxes.covariances)[:, 5])  # fmt: skip
    tracks = Tracks(detections, known.ids, known.ages, known.hits, known.births, motion_states=known.motion_states)
    return tracks, known.boxes
