# SPDX-License-Identifier: Apache-2.0
"""Life cycle of tracks: one frame's detections start tracks, continue them, or leave them lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes2d import sizes_of
from centertrack_ros.tracking import appearance, existence, fused_motion, kalman
from centertrack_ros.tracking.association import (
    COSTS,
    METHODS,
    Assignment,
    Gate,
    confirm_by_public,
    fused_costs,
    hungarian,
    in_stages,
)
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.fused_motion import DisplacementNoise
from centertrack_ros.tracking.motion import correct_filters, filters_of, initialize_filters, predict_filters
from centertrack_ros.types import Array, Detections, Tracks

FILTERED = ("kalman", "fused")  # motions that keep a filter for each track


def start_tracks(detections: Detections, next_id: int, stamp: float) -> Tracks:
    """Starts a track for each detection.

    Args:
        detections: N detections.
        next_id: The id of the first track; the others count on from it.
        stamp: s, of the frame.

    Returns:
        N tracks.
    """
    count = len(detections)
    return Tracks(
        detections=detections,
        ids=np.arange(next_id, next_id + count, dtype=np.int64),
        ages=np.ones(count, np.int64),
        hits=np.ones(count, np.int64),
        births=np.full(count, stamp, np.float64),
        lengths=np.ones(count, np.int64),
        last_stamps=np.full(count, stamp, np.float64),
        image_velocities=np.zeros((count, 2), np.float32),
    )


def update(
    tracks: Tracks,
    next_id: int,
    detections: Detections,
    stamp: float,
    step: float,
    new_threshold: float | Array,
    config: TrackerConfig,
    public_centers: Array | None = None,
    noise: DisplacementNoise | None = None,
    class_matches: NDArray[np.bool_] | None = None,
    rebirth: Array | None = None,
    may_start: NDArray[np.bool_] | None = None,
    looked: bool = True,
    bridging: NDArray[np.bool_] | None = None,
) -> tuple[Tracks, int]:
    """Updates the tracks by the detections of one frame.

    Args:
        tracks: The tracks of the previous frame.
        next_id: The id of the next new track.
        detections: Those of this frame, strongest first.
        stamp: s, of this frame.
        step: s since the previous frame.
        new_threshold: Score above which a detection may start a track; (N,) for each its own.
        config: How detections become tracks.
        public_centers: (P, 2) px: only detections that one of these confirms may start a track. None: all may.
        noise: Of the displacements, for motion 'fused'; None: they say nothing.
        class_matches: (C, C) bool: which classes may be one object; None: each only itself.
        rebirth: (C,) s within which a lost track of each class may be found again; None: as in `config`.
        may_start: (N,) mask of the detections that lie where tracks may start; None: all.
        looked: Whether anybody looked for objects in this frame: if not, a track without a detection missed none.
        bridging: (N,) mask of detections that only continue known tracks for which there is no other one, and say
            nothing for their existence: for that the frame is one without a detection. None: there are none. With
            birth 'evidence'.

    Returns:
        The tracks of this frame and the next `next_id`. Matched tracks come first, in detection order, then new ones,
        then lost ones that can still be found again.
    """
    tracks = _as_configured(tracks, detections, config)
    if config.motion == "kalman":
        tracks = predict_filters(tracks, step)
    noise = noise or DisplacementNoise()
    gate = Gate(config.gate_scale, config.min_iou, config.max_size_ratio, class_matches)
    predicted = _predicted(detections, step, config)
    strengths = existence.strengths(detections) if config.birth == "evidence" else detections.scores
    costs = _costs(tracks, detections, predicted, stamp, step, config, noise, gate, strengths)
    if bridging is None or not bridging.any():
        bridging, assignment = np.zeros(len(detections), bool), _assign(costs, tracks, config)
    else:
        assignment = _assign_bridged(costs, tracks, config, bridging)
    new = assignment.free_detections[~bridging[assignment.free_detections]]
    if may_start is not None:
        new = new[may_start[new]]
    if public_centers is not None:
        new = confirm_by_public(predicted, detections.boxes, new, public_centers)
    thresholds = np.broadcast_to(np.float32(new_threshold), len(detections))
    if config.birth == "evidence":
        new = existence.may_start(detections, new, assignment.detections, thresholds, strengths)
    else:
        new = new[detections.scores[new] > thresholds[new]]
    old = _without_details(tracks).select(assignment.tracks)
    rows = np.concatenate([assignment.detections, new])
    seen = detections.select(rows)
    first_id = next_id
    if config.birth == "evidence":  # tentative tracks get an id when they are confirmed; until then none has it twice
        first_id = min(int(tracks.ids.min(initial=0)), 0) - len(new)
    parts = [_continue_and_start(old, seen, first_id, stamp, step, config, noise, strengths[rows])]
    if bridging.any() and (evidence := parts[0].evidence) is not None:
        bridged = np.flatnonzero(bridging[assignment.detections])
        evidence[bridged] = existence.missed(_evidence(old)[bridged], step)
    if len(lost := _recoverable(tracks, assignment.free_tracks, stamp, step, config, rebirth, looked)):
        parts.append(_coast(tracks.select(lost), step, config, looked))
    joined = _join([part for part in parts if len(part)] or parts[:1])
    if config.birth == "evidence":
        return joined, next_id
    return joined, next_id + len(new)


def _as_configured(tracks: Tracks, detections: Detections, config: TrackerConfig) -> Tracks:
    """The tracks with what this configuration uses alone: the frame before may have been tracked with another one."""
    if config.birth != "evidence" and tracks.evidence is not None:
        tracks = replace(tracks.select(tracks.ids > 0), evidence=None)
    if not config.class_groups and tracks.class_votes is not None:
        tracks = replace(tracks, class_votes=None)
    if config.report_occupants and tracks.occupant_votes is not None:
        tracks = replace(tracks, occupant_votes=None)
    if detections.class_scores is None and tracks.detections.class_scores is not None:
        tracks = replace(tracks, detections=replace(tracks.detections, class_scores=None))
    if detections.appearances is None or detections.visible_parts is None:
        return tracks if tracks.appearances is None else replace(tracks, appearances=None, appearance_stamps=None)
    if tracks.appearances is None:  # what was never looked at has zeros
        looks = np.zeros((len(tracks), detections.appearances.shape[1]), np.float32)
        tracks = replace(tracks, appearances=looks, appearance_stamps=np.full(len(tracks), np.nan))
    return tracks


def _without_details(tracks: Tracks) -> Tracks:
    """The tracks with only those columns of their old detections that prediction and matching need.

    Matched tracks get new detections: selecting the other columns would be wasted time.
    """
    old = tracks.detections
    return replace(tracks, detections=Detections(old.scores, old.class_ids, old.boxes, old.centers, old.displacements))


def _predicted(detections: Detections, step: float, config: TrackerConfig) -> Array:
    """(N, 2) px: where the detections' centres were in the previous frame, by their displacements."""
    if config.motion not in ("network", "displacement", "flow"):
        return detections.centers
    if config.motion != "flow" and config.frame_period_s > 0 and step > 0:
        return detections.centers + detections.displacements * np.float32(step / config.frame_period_s)
    return detections.centers + detections.displacements


def _costs(
    tracks: Tracks,
    detections: Detections,
    predicted: Array,
    stamp: float,
    step: float,
    config: TrackerConfig,
    noise: DisplacementNoise,
    gate: Gate,
    strengths: Array,
) -> NDArray[np.float64]:
    """(N, M) costs of the detections, at their `predicted` (N, 2) px, and the tracks, where these are expected."""
    old = tracks.detections
    if config.motion == "fused":
        terms = fused_motion.pair_terms(filters_of(tracks), sizes_of(old.boxes), step, detections, noise)
        likeness = _likeness(tracks, detections, stamp) + _credibility(tracks, detections, gate, config, strengths)
        return fused_costs(terms, detections.boxes, detections.class_ids, old.boxes, old.class_ids, gate, likeness)
    centers = old.centers
    if config.motion == "constant_velocity" and tracks.image_velocities is not None:
        centers = centers + tracks.image_velocities * np.float32(step)
    if config.motion == "kalman" and tracks.kalman_means is not None:
        centers = tracks.kalman_means[:, :2]
    return COSTS[config.cost](
        predicted, detections.boxes, detections.class_ids, centers, old.boxes, old.class_ids, gate
    )


def _likeness(tracks: Tracks, detections: Detections, stamp: float) -> NDArray[np.float64] | float:
    """(N, M) evidence of the detections' appearances for the tracks; 0 without appearances."""
    if detections.appearances is None or tracks.appearances is None or detections.visible_parts is None:
        return 0.0
    elapsed = stamp - np.asarray(tracks.appearance_stamps)
    distances = appearance.distances(detections.appearances, tracks.appearances)
    return appearance.evidence(distances, elapsed[None, :], detections.visible_parts[:, None])


def _credibility(
    tracks: Tracks, detections: Detections, gate: Gate, config: TrackerConfig, strengths: Array
) -> NDArray[np.float64] | float:
    """(N, M) log-odds of weak detections to be objects at all, 0 of others; nothing weak holds what may have ended."""
    if config.birth != "evidence":
        return 0.0
    odds = np.minimum(existence.log_odds(strengths), 0.0)[:, None]
    odds[existence.shadows(detections, gate.other_class(detections.class_ids, detections.class_ids))] = -np.inf
    return np.where((odds < 0) & (_evidence(tracks) <= 0)[None, :], -np.inf, odds)


def _assign(costs: NDArray[np.float64], tracks: Tracks, config: TrackerConfig) -> Assignment:
    """Assigns detections to tracks by their costs (N, M)."""
    if config.motion == "fused" and config.association == "hungarian":
        return hungarian(costs, most=False)
    if config.live_first:
        return in_stages(costs, tracks.hits != 0, config.association)
    return METHODS[config.association](costs)


def may_be_bridged(tracks: Tracks) -> NDArray[np.bool_]:
    """(N,) known tracks that have not ended by their misses, see `update`."""
    return np.asarray((tracks.ids > 0) & (_evidence(tracks) > 0))


def _assign_bridged(
    costs: NDArray[np.float64], tracks: Tracks, config: TrackerConfig, bridging: NDArray[np.bool_]
) -> Assignment:
    """As `_assign`; then the `bridging` (N,) detections for the known tracks that are left and have not ended."""
    own, others = np.flatnonzero(bridging), np.flatnonzero(~bridging)
    early = _assign(costs[others], tracks, config)
    left = np.intersect1d(early.free_tracks, np.flatnonzero(may_be_bridged(tracks)))
    late = _assign(costs[np.ix_(own, left)], tracks.select(left), config)
    rows = np.concatenate([others[early.detections], own[late.detections]])
    columns = np.concatenate([early.tracks, left[late.tracks]])
    order = np.argsort(rows, kind="stable")
    free_rows, free_columns = np.arange(len(costs)), np.arange(len(tracks))
    return Assignment(rows[order], columns[order], np.setdiff1d(free_rows, rows), np.setdiff1d(free_columns, columns))


def _continue_and_start(
    old: Tracks,
    detections: Detections,
    next_id: int,
    stamp: float,
    step: float,
    config: TrackerConfig,
    noise: DisplacementNoise,
    strengths: Array,
) -> Tracks:
    """Tracks with this frame's detections: the old tracks, in order, then new ones with ids from `next_id`."""
    matched, count = len(old), len(detections)
    new = count - matched
    means, covariances = _filters(old, detections, step, config, noise)
    if means is not None and config.motion == "fused":
        velocities = means[:, 2:].astype(np.float32)
    else:
        velocities = np.zeros((count, 2), np.float32)
        velocities[:matched] = _velocities(old, detections.centers[:matched], stamp, step, config)
    looks, look_stamps = _appearances(old, detections, stamp)
    evidence = None
    if config.birth == "evidence":
        views = existence.novelty(old.detections.boxes, detections.boxes[:matched])
        evidence = np.concatenate(
            [
                existence.continued(_evidence(old), strengths[:matched], old.ids > 0, views, step),
                existence.first(detections.scores[matched:]),
            ]
        )
    return Tracks(
        detections=detections,
        ids=np.concatenate([old.ids, np.arange(next_id, next_id + new, dtype=np.int64)]),
        ages=np.ones(count, np.int64),
        hits=np.concatenate([old.hits + 1, np.ones(new, np.int64)]),
        births=np.concatenate([old.births, np.full(new, stamp, np.float64)]),
        lengths=np.concatenate([_lengths(old) + 1, np.ones(new, np.int64)]),
        last_stamps=np.full(count, stamp, np.float64),
        image_velocities=velocities,
        kalman_means=means,
        kalman_covariances=covariances,
        appearances=looks,
        appearance_stamps=look_stamps,
        evidence=evidence,
    )


def _appearances(old: Tracks, detections: Detections, stamp: float) -> tuple[Array, Array] | tuple[None, None]:
    """What the tracks look like, and since when: those of the old tracks learn from what is seen whole."""
    if detections.appearances is None or detections.visible_parts is None:
        return None, None
    seen, stamps = detections.appearances.copy(), np.full(len(detections), stamp)
    visible = detections.visible_parts >= appearance.LEARNT_FROM
    seen[~visible] = 0.0
    stamps[~visible] = np.nan
    if old.appearances is not None and old.appearance_stamps is not None:
        count = len(old)
        weights = appearance.learning_weights(stamp - old.appearance_stamps) * visible[:count]
        known = appearance.is_known(old.appearances)
        learnt = visible[:count] & appearance.is_known(detections.appearances[:count])
        seen[:count] = np.where(known[:, None], appearance.blend(old.appearances, seen[:count], weights), seen[:count])
        stamps[:count] = np.where(learnt, stamp, old.appearance_stamps)
    return seen, stamps


def _filters(
    old: Tracks, detections: Detections, step: float, config: TrackerConfig, noise: DisplacementNoise
) -> kalman.Filters | tuple[None, None]:
    """Filters of all detections: those of the old tracks, corrected, then those of the new ones, initialized."""
    if config.motion not in FILTERED:
        return None, None
    rows = np.arange(len(detections))
    matched, new = detections.select(rows[: len(old)]), detections.select(rows[len(old) :])
    if config.motion == "fused":
        sizes = sizes_of(old.detections.boxes)
        means, covariances = fused_motion.correct(filters_of(old), sizes, step, matched, noise)
        new_means, new_covariances = fused_motion.initialize(new, step, noise)
    else:
        means, covariances = correct_filters(old, matched)
        new_means, new_covariances = initialize_filters(new)
    return np.concatenate([means, new_means]), np.concatenate([covariances, new_covariances])


def _velocities(old: Tracks, centers: Array, stamp: float, step: float, config: TrackerConfig) -> Array:
    """(N, 2) px/s: image velocity of the centres since the last match, exponentially smoothed."""
    before = _image_velocities(old)
    elapsed = (stamp - _last_stamps(old)).astype(np.float32)[:, None]
    moved = centers - old.detections.centers
    if config.propagate_lost:  # while the track was lost, its old centre has coasted by this
        moved = moved + before * np.maximum(elapsed - np.float32(step), 0)
    measured = np.divide(moved, elapsed, out=before.copy(), where=elapsed > 0)
    weight = np.where(_lengths(old) > 1, config.velocity_smoothing, 1.0).astype(np.float32)[:, None]
    return weight * measured + (1 - weight) * before


def _recoverable(
    tracks: Tracks,
    free: NDArray[np.int64],
    stamp: float,
    step: float,
    config: TrackerConfig,
    rebirth: Array | None,
    looked: bool,
) -> NDArray[np.int64]:
    """The unmatched tracks that may still be matched in a later frame."""
    if not len(free):
        return free
    recoverable = tracks.ages[free] < config.max_age
    limits = np.full(len(free), config.rebirth) if rebirth is None else rebirth[tracks.detections.class_ids[free]]
    recoverable |= (limits > 0) & (stamp - _last_stamps(tracks)[free] <= limits)
    if config.min_hits > 1:
        recoverable &= _lengths(tracks)[free] >= config.min_hits
    if config.birth == "evidence" and looked:  # tentative ones end with their evidence
        recoverable &= (tracks.ids[free] > 0) | (existence.missed(_evidence(tracks)[free], step) > 0)
    return free[recoverable]


def _coast(old: Tracks, step: float, config: TrackerConfig, looked: bool) -> Tracks:
    """Lost tracks, one frame older: they coast with their last velocity, or stay where they were lost."""
    detections = old.detections
    if config.motion == "fused":
        means, covariances = fused_motion.predict(filters_of(old), sizes_of(detections.boxes), step)
        old = replace(old, kalman_means=means, kalman_covariances=covariances)
    if config.propagate_lost:
        shift = _image_velocities(old) * np.float32(step)
        detections = replace(detections, centers=detections.centers + shift, boxes=detections.boxes + np.tile(shift, 2))
    misses = config.birth == "evidence" and looked
    evidence = existence.missed(_evidence(old), step) if misses else old.evidence
    return replace(old, detections=detections, ages=old.ages + 1, hits=np.zeros_like(old.hits), evidence=evidence)


def _join(parts: list[Tracks]) -> Tracks:
    """One table of all parts, which may differ in their optional columns."""
    if len(parts) == 1:
        return parts[0]
    filtered = any(part.kalman_means is not None for part in parts)
    return Tracks.concatenate([_completed(part, filtered) for part in parts])


def _completed(tracks: Tracks, filtered: bool) -> Tracks:
    """The tracks with every optional column; with Kalman filters only if `filtered`."""
    complete = tracks.lengths is not None and tracks.last_stamps is not None and tracks.image_velocities is not None
    if complete and (not filtered or tracks.kalman_means is not None):
        return tracks
    means, covariances = filters_of(tracks) if filtered else (None, None)
    return replace(
        tracks,
        lengths=_lengths(tracks),
        last_stamps=_last_stamps(tracks),
        image_velocities=_image_velocities(tracks),
        kalman_means=means,
        kalman_covariances=covariances,
    )


# Tracks that a caller made may lack the columns that only this module fills in.
def _lengths(tracks: Tracks) -> Array:
    return tracks.hits if tracks.lengths is None else tracks.lengths


def _last_stamps(tracks: Tracks) -> Array:
    return tracks.births if tracks.last_stamps is None else tracks.last_stamps


def _image_velocities(tracks: Tracks) -> Array:
    return np.zeros((len(tracks), 2), np.float32) if tracks.image_velocities is None else tracks.image_velocities


def _evidence(tracks: Tracks) -> Array:
    return existence.first(tracks.detections.scores) if tracks.evidence is None else tracks.evidence
