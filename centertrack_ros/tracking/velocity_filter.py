# SPDX-License-Identifier: Apache-2.0
"""Velocities over ground from the network and from where each track has been, in a frame that stands still.

A network that has seen two images errs by an object, not by chance: its next answers about the same object are wrong
by the same. Where the object has been says something else, and says it better the longer the track is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes3d import centers
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.tracking import motion3d
from centertrack_ros.tracking.lifting import spreads_along
from centertrack_ros.types import Tracks, VelocityFilters

Array = NDArray[np.float64]

# Chosen on synthetic streets other than those of docs/paper_tables.md.
_NETWORK_SIGMAS = 1.3, 0.7  # m/s, of the network's velocity along the viewing ray and across it
_FIRST_SIGMA = 10.0  # m/s, of the velocity of an object that was seen once
_PROCESS_NOISE = 0.5  # m/s that a velocity may change within a second
_JUMP = 100.0  # squared Mahalanobis distance from which a filter begins anew: another object, or the frame has jumped
_USEFUL_SIGMA = 1.5  # m/s up to which a velocity is worth telling without a network's


def filter_velocities(
    filters: VelocityFilters, tracks: Tracks, camera: Transform, stamp: float
) -> tuple[Tracks, VelocityFilters]:
    """The tracks with velocities, m/s over ground in camera axes, in which their ways through the world have a say.

    filters  of the frame before; those of tracks that are gone are dropped
    camera   the camera's optical frame at `stamp`, s -> a frame that stands still
    A track without a 3D box keeps what it has; without a velocity of the network's it gets one once it is known to
    about a metre per second. A stamp that is not after the last one begins the filters anew.
    """
    found = tracks.detections
    if found.locations is None or found.dimensions is None or found.location_covariances is None:
        return tracks, filters.select(np.flatnonzero(np.isin(filters.ids, tracks.ids)))
    middles = np.asarray(centers(found.dimensions, found.locations), np.float64)
    known = np.isfinite(middles).all(axis=1) & np.isfinite(found.location_covariances).all(axis=(1, 2))
    rows = np.flatnonzero((tracks.hits > 0) & known)
    filters = filters.select(np.flatnonzero(np.isin(filters.ids, tracks.ids) & (filters.stamps < stamp)))
    ids, positions = tracks.ids[rows], camera.points(middles[rows])
    rays = camera.vectors(middles[rows] / np.maximum(np.linalg.norm(middles[rows], axis=1, keepdims=True), 1e-6))
    spreads = camera.covariances(found.location_covariances[rows])
    means, covariances = motion3d.begin(positions, spreads, np.zeros_like(positions), _FIRST_SIGMA)
    _, old, new = np.intersect1d(filters.ids, ids, assume_unique=True, return_indices=True)
    if len(old):
        before = filters.select(old)
        predicted = motion3d.predict(before.means, before.covariances, stamp - before.stamps, _PROCESS_NOISE)
        begun = means[new], covariances[new]
        means[new], covariances[new] = motion3d.correct_or_begin(predicted, begun, positions[new], spreads[new], _JUMP)
    velocities = np.full((len(tracks), 3), np.nan) if found.velocities is None else found.velocities.astype(np.float64)
    both = _together(means[:, 3:], covariances[:, 3:, 3:], camera.vectors(velocities[rows]), rays)
    velocities[rows] = camera.inverse().vectors(both)
    waiting = filters.select(np.flatnonzero(~np.isin(filters.ids, ids)))
    measured = VelocityFilters(ids, np.full(len(ids), stamp), means, covariances)
    filters = VelocityFilters.concatenate([waiting, measured])
    return replace(tracks, detections=replace(found, velocities=velocities.astype(np.float32))), filters


def _together(path: Array, path_spreads: Array, said: Array, rays: Array) -> Array:
    """(N, 3) m/s: velocities of filters and of the network, weighed; one alone where the other is not known.

    rays  (N, 3) from the camera to the objects, of length 1
    """
    said_spreads = spreads_along(rays, *(np.full(len(rays), sigma) for sigma in _NETWORK_SIGMAS))
    gains = path_spreads @ np.linalg.inv(path_spreads + said_spreads)
    weighed = path + (gains @ (said - path)[:, :, None])[:, :, 0]
    useful = np.trace(path_spreads, axis1=1, axis2=2)[:, None] <= _USEFUL_SIGMA**2
    return np.where(np.isfinite(said).all(axis=1, keepdims=True), weighed, np.where(useful, path, np.nan))
