# SPDX-License-Identifier: Apache-2.0
"""Births, matches, losses and returns of tracks: one frame's detections into the tracks of all frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.tracking.association import (
    COSTS,
    METHODS,
    Assignment,
    Gate,
    confirm_by_public,
    in_stages,
)
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.motion import kalman_begin, kalman_correct, kalman_predict, kalman_state
from centertrack_ros.types import Array, Detections, Tracks


def begin(detections: Detections, next_id: int, stamp: float) -> Tracks:
    """New tracks, one for each detection, with ids from `next_id` on."""
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
    new_threshold: float,
    config: TrackerConfig,
    public_centers: Array | None = None,
) -> tuple[Tracks, int]:
    """The tracks after a frame and the id of the next birth.

    stamp  s, of this frame;  step  s since the last one;  public_centers  (P, 2) px: only detections that one of these
    vouches for may begin a track (None: all may)
    Order: matches in detection order, then births, then lost tracks that are still remembered.
    """
    if config.motion == "kalman":
        tracks = kalman_predict(tracks, step)
    predicted = _predicted(detections, step, config)
    assignment = _assign(tracks, detections, predicted, step, config)
    births = assignment.free_detections
    if public_centers is not None:
        births = confirm_by_public(predicted, detections.boxes, births, public_centers)
    births = births[detections.scores[births] > np.float32(new_threshold)]
    old = _without_details(tracks).select(assignment.tracks)
    seen = detections.select(np.concatenate([assignment.detections, births]))
    parts = [_seen(old, seen, next_id, stamp, step, config)]
    if len(lost := _remembered(tracks, assignment.free_tracks, stamp, config)):
        parts.append(_lost(tracks.select(lost), step, config))
    return _join([part for part in parts if len(part)] or parts[:1]), next_id + len(births)


def _without_details(tracks: Tracks) -> Tracks:
    """The tracks with only what moving and matching need of their old detections: the rest is about to be replaced."""
    old = tracks.detections
    return replace(tracks, detections=Detections(old.scores, old.class_ids, old.boxes, old.centers, old.displacements))


def _predicted(detections: Detections, step: float, config: TrackerConfig) -> Array:
    """(N, 2) px: where the detections' centres were in the previous frame."""
    if config.motion not in ("network", "displacement", "flow"):
        return detections.centers
    if config.motion != "flow" and config.frame_period_s > 0 and step > 0:
        return detections.centers + detections.displacements * np.float32(step / config.frame_period_s)
    return detections.centers + detections.displacements


def _assign(tracks: Tracks, detections: Detections, predicted: Array, step: float, config: TrackerConfig) -> Assignment:
    centers = tracks.detections.centers
    if config.motion == "constant_velocity" and tracks.image_velocities is not None:
        centers = centers + tracks.image_velocities * np.float32(step)
    if config.motion == "kalman" and tracks.kalman_means is not None:
        centers = tracks.kalman_means[:, :2]
    costs = COSTS[config.cost](
        predicted,
        detections.boxes,
        detections.class_ids,
        centers,
        tracks.detections.boxes,
        tracks.detections.class_ids,
        Gate(config.gate_scale, config.min_iou, config.max_size_ratio),
    )
    if config.live_first:
        return in_stages(costs, tracks.hits != 0, config.association)
    return METHODS[config.association](costs)


def _seen(
    old: Tracks, detections: Detections, next_id: int, stamp: float, step: float, config: TrackerConfig
) -> Tracks:
    """Tracks with this frame's detections: those of before, in order, then new ones with ids from `next_id`."""
    matched, count = len(old), len(detections)
    births = count - matched
    means, covariances = _filters(old, detections) if config.motion == "kalman" else (None, None)
    velocities = np.zeros((count, 2), np.float32)
    velocities[:matched] = _velocities(old, detections.centers[:matched], stamp, step, config)
    return Tracks(
        detections=detections,
        ids=np.concatenate([old.ids, np.arange(next_id, next_id + births, dtype=np.int64)]),
        ages=np.ones(count, np.int64),
        hits=np.concatenate([old.hits + 1, np.ones(births, np.int64)]),
        births=np.concatenate([old.births, np.full(births, stamp, np.float64)]),
        lengths=np.concatenate([_lengths(old) + 1, np.ones(births, np.int64)]),
        last_stamps=np.full(count, stamp, np.float64),
        image_velocities=velocities,
        kalman_means=means,
        kalman_covariances=covariances,
    )


def _filters(old: Tracks, detections: Detections) -> tuple[Array, Array]:
    """Those of the tracks of before after measuring the first of the detections; the other detections' begin."""
    rows = np.arange(len(detections))
    means, covariances = kalman_correct(old, detections.select(rows[: len(old)]))
    new_means, new_covariances = kalman_begin(detections.select(rows[len(old) :]))
    return np.concatenate([means, new_means]), np.concatenate([covariances, new_covariances])


def _velocities(old: Tracks, centers: Array, stamp: float, step: float, config: TrackerConfig) -> Array:
    """(N, 2) px/s: how the centre moved to `centers` since the last match, smoothed over the track's life."""
    before = _image_velocities(old)
    elapsed = (stamp - _last_stamps(old)).astype(np.float32)[:, None]
    moved = centers - old.detections.centers
    if config.propagate_lost:  # the old centre has moved on by itself while the track was lost
        moved = moved + before * np.maximum(elapsed - np.float32(step), 0)
    measured = np.divide(moved, elapsed, out=before.copy(), where=elapsed > 0)
    weight = np.where(_lengths(old) > 1, config.velocity_smoothing, 1.0).astype(np.float32)[:, None]
    return weight * measured + (1 - weight) * before


def _remembered(tracks: Tracks, free: NDArray[np.int64], stamp: float, config: TrackerConfig) -> NDArray[np.int64]:
    """Those of the unmatched tracks that may be found again."""
    if not len(free):
        return free
    remembered = tracks.ages[free] < config.max_age
    if config.rebirth > 0:
        remembered |= stamp - _last_stamps(tracks)[free] <= config.rebirth
    if config.min_hits > 1:
        remembered &= _lengths(tracks)[free] >= config.min_hits
    return free[remembered]


def _lost(old: Tracks, step: float, config: TrackerConfig) -> Tracks:
    """Unmatched tracks one frame older, where they were or where they were going."""
    detections = old.detections
    if config.propagate_lost:
        shift = _image_velocities(old) * np.float32(step)
        detections = replace(detections, centers=detections.centers + shift, boxes=detections.boxes + np.tile(shift, 2))
    return replace(old, detections=detections, ages=old.ages + 1, hits=np.zeros_like(old.hits))


def _join(parts: list[Tracks]) -> Tracks:
    if len(parts) == 1:
        return parts[0]
    filtered = any(part.kalman_means is not None for part in parts)
    return Tracks.concatenate([_completed(part, filtered) for part in parts])


def _completed(tracks: Tracks, filtered: bool) -> Tracks:
    """The tracks with every optional column; with Kalman filters only if `filtered`."""
    if tracks.lengths is not None and tracks.last_stamps is not None and tracks.image_velocities is not None:
        if not filtered or tracks.kalman_means is not None:
            return tracks
    means, covariances = kalman_state(tracks) if filtered else (None, None)
    return replace(
        tracks,
        lengths=_lengths(tracks),
        last_stamps=_last_stamps(tracks),
        image_velocities=_image_velocities(tracks),
        kalman_means=means,
        kalman_covariances=covariances,
    )


# Tracks that someone else made may lack what only this module fills in.
def _lengths(tracks: Tracks) -> Array:
    return tracks.hits if tracks.lengths is None else tracks.lengths


def _last_stamps(tracks: Tracks) -> Array:
    return tracks.births if tracks.last_stamps is None else tracks.last_stamps


def _image_velocities(tracks: Tracks) -> Array:
    return np.zeros((len(tracks), 2), np.float32) if tracks.image_velocities is None else tracks.image_velocities
