# SPDX-License-Identifier: Apache-2.0
"""Velocities over ground from the network and from the path of each track in a fixed (world) frame, REP 105.

The network's error is systematic: its next results for the same object are wrong by the same vector, so that averaging
them does not help. The positions of the object measure its velocity independently, and better the longer the track is,
as far as the errors of its distances do not drift: the covariances allow for that.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes3d import centers
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.tracking import depth_drift, kalman
from centertrack_ros.tracking.lifting import covariances_along
from centertrack_ros.tracking.motion_state import motion_states
from centertrack_ros.types import MOTION_UNKNOWN, Tracks, VelocityFilters

Array = NDArray[np.float64]

# Chosen on synthetic streets other than those of docs/paper_tables.md.
_NETWORK_SIGMAS = 1.3, 0.7  # m/s, of the network's velocity along the viewing ray and across it
_FIRST_SIGMA = 10.0  # m/s, of the velocity of an object that was seen once
_PROCESS_NOISE = 0.5  # m/s that a velocity may change within a second
# Squared Mahalanobis distance from which a filter starts anew: another object, a wrong position before, or the fixed
# frame has jumped. Of what fits, 0.01 % is farther away (three dimensions); taken for motion, a jump would last.
_MAX_SQUARED_DISTANCE = 21.1
_USEFUL_SIGMA = 1.5  # m/s up to which a velocity is reported if the network gives none


def filter_velocities(
    filters: VelocityFilters, tracks: Tracks, camera: Transform, stamp: float
) -> tuple[Tracks, VelocityFilters]:
    """Combines the network's velocities with those of the tracks' paths.

    A track without a 3D box keeps its velocity. Without a velocity of the network, a track gets one as soon as it is
    known to about 1 m/s. A stamp that is not later than a filter's reinitializes the filter.

    Args:
        filters: Those of the previous frame. Filters of tracks that no longer exist are dropped.
        tracks: The tracks of this frame.
        camera: The camera's optical frame at `stamp` -> the fixed frame.
        stamp: s.

    Returns:
        The tracks with velocities, m/s over ground in camera axes, their covariances and motion states; and the filters
        after this frame.
    """
    detections = tracks.detections
    if detections.locations is None or detections.dimensions is None or detections.location_covariances is None:
        return tracks, filters.select(np.flatnonzero(np.isin(filters.ids, tracks.ids)))
    middles = np.asarray(centers(detections.dimensions, detections.locations), np.float64)
    known = np.isfinite(middles).all(axis=1) & np.isfinite(detections.location_covariances).all(axis=(1, 2))
    rows = np.flatnonzero((tracks.hits > 0) & known)
    filters = filters.select(np.flatnonzero(np.isin(filters.ids, tracks.ids) & (filters.stamps < stamp)))
    ids, positions = tracks.ids[rows], camera.points(middles[rows])
    rays = camera.vectors(middles[rows] / np.maximum(np.linalg.norm(middles[rows], axis=1, keepdims=True), 1e-6))
    position_covariances = camera.covariances(detections.location_covariances[rows])
    measured = _measure(filters, ids, stamp, positions, position_covariances)
    velocities = np.full((len(tracks), 3), np.nan)
    if detections.velocities is not None:
        velocities = detections.velocities.astype(np.float64)
    combined, spread = _combine(
        measured.means[:, 3:],
        measured.covariances[:, 3:, 3:],
        camera.vectors(velocities[rows]),
        rays,
        depth_drift.of_velocities(measured.drifts),
    )
    to_camera = camera.inverse()
    velocities[rows] = to_camera.vectors(combined)
    covariances = np.full((len(tracks), 3, 3), np.nan)
    covariances[rows] = to_camera.covariances(spread)
    measured = replace(measured, motion_states=motion_states(combined, spread, measured.motion_states))
    result = replace(
        tracks,
        detections=replace(detections, velocities=velocities.astype(np.float32), velocity_covariances=covariances),
        motion_states=np.zeros(len(tracks), np.uint8),
    )
    assert result.motion_states is not None
    result.motion_states[rows] = measured.motion_states
    unseen = filters.select(np.flatnonzero(~np.isin(filters.ids, ids)))
    return result, VelocityFilters.concatenate([unseen, measured])


def _measure(
    filters: VelocityFilters,
    ids: NDArray[np.int64],
    stamp: float,
    positions: Array,
    position_covariances: Array,
) -> VelocityFilters:
    """Filters of the tracks `ids` (N,) after their positions (N, 3), m in the fixed frame, were measured at `stamp`.

    Their motion states are those of the frame before.
    """
    errors = depth_drift.errors_of(position_covariances)
    drifts = depth_drift.started(errors)
    states = np.full(len(ids), MOTION_UNKNOWN, np.uint8)
    means, covariances = kalman.initialize(positions, position_covariances, np.zeros_like(positions), _FIRST_SIGMA)
    _, old, rows = np.intersect1d(filters.ids, ids, assume_unique=True, return_indices=True)
    if len(old):
        before = filters.select(old)
        states[rows] = before.motion_states
        steps = stamp - before.stamps
        predicted = kalman.predict(before.means, before.covariances, steps, _PROCESS_NOISE)
        near = kalman.are_near(predicted, positions[rows], position_covariances[rows], _MAX_SQUARED_DISTANCE)
        rows, predicted = rows[near], (predicted[0][near], predicted[1][near])
        gains = kalman.gains_of(predicted[1], position_covariances[rows])
        drifts[rows] = depth_drift.continued(before.drifts[near], steps[near], gains, errors[rows])
        means[rows], covariances[rows] = kalman.correct(*predicted, positions[rows], position_covariances[rows])
    return VelocityFilters(ids, np.full(len(ids), stamp), means, covariances, states, drifts)


def _combine(
    filtered: Array, filter_covariances: Array, predicted: Array, rays: Array, drifts: Array
) -> tuple[Array, Array]:
    """(N, 3) m/s and (N, 3, 3): velocities of filters and network, weighted; one alone if the other is not known.

    Args:
        filtered: (N, 3) m/s, of the filters.
        filter_covariances: (N, 3, 3) of those.
        predicted: (N, 3) m/s, of the network; NaN where there is none.
        rays: (N, 3) from the camera to the objects, of length 1.
        drifts: (N, 3, 3) what `filter_covariances` do not know of the errors of the filters.
    """
    network_covariances = covariances_along(rays, *(np.full(len(rays), sigma) for sigma in _NETWORK_SIGMAS))
    gains = filter_covariances @ np.linalg.inv(kalman.regular(filter_covariances + network_covariances))
    weighted = filtered + (gains @ (predicted - filtered)[:, :, None])[:, :, 0]
    useful = np.trace(filter_covariances, axis1=1, axis2=2)[:, None] <= _USEFUL_SIGMA**2
    both = np.isfinite(predicted).all(axis=1, keepdims=True)
    covariances = np.where(
        np.reshape(both, (-1, 1, 1)), filter_covariances - gains @ filter_covariances, filter_covariances
    )
    of_filters = np.eye(3) - gains * np.reshape(both, (-1, 1, 1))
    covariances = covariances + of_filters @ drifts @ np.swapaxes(of_filters, 1, 2)
    return np.where(both, weighted, np.where(useful, filtered, np.nan)), covariances
