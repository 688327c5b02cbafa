# SPDX-License-Identifier: Apache-2.0
"""The 3D boxes of tracks, as oriented boxes in the camera's optical frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes3d import UNKNOWN_HEADING_VARIANCE, OrientedBoxes, oriented_boxes
from centertrack_ros.types import LIFT_HEADS, LIFT_SIZE_PRIOR, Detections, Tracks


def boxes3d_of_tracks(tracks: Tracks) -> tuple[NDArray[np.int64], OrientedBoxes]:
    """Returns the indices of the tracks that have a 3D box, and these boxes in the camera's optical frame."""
    detections = tracks.detections
    if detections.locations is None or detections.dimensions is None:
        nothing = np.zeros((0, 3))
        return np.zeros(0, np.int64), oriented_boxes(nothing, nothing, None)
    usable = np.isfinite(detections.locations).all(axis=1) & np.isfinite(detections.dimensions).all(axis=1)
    if detections.rotations_y is not None:
        usable &= np.isfinite(detections.rotations_y)
    index = np.flatnonzero(usable)
    chosen = detections.select(index)
    assert chosen.dimensions is not None and chosen.locations is not None
    boxes = oriented_boxes(
        chosen.dimensions,
        chosen.locations,
        chosen.rotations_y,
        chosen.location_covariances,
        chosen.velocities,
        heading_variances=_heading_variances(chosen),
        ups=chosen.ups,
        velocity_covariances=chosen.velocity_covariances,
    )
    return index, boxes


def _heading_variances(detections: Detections) -> NDArray[np.float64] | None:
    """(N,) rad² as they are known; any angle if nothing measured the headings; None: as of the network."""
    if detections.heading_variances is not None or headings_measured(detections):
        return detections.heading_variances
    return np.full(len(detections), UNKNOWN_HEADING_VARIANCE)


def headings_measured(detections: Detections) -> bool:
    """Tells whether the network measured the 3D boxes; else they were fitted to the 2D boxes by size priors."""
    return detections.alphas is not None


def lifts_of(detections: Detections) -> NDArray[np.uint8]:
    """(N,) LIFT_HEADS and others: what told the distances of the 3D boxes."""
    usual = LIFT_HEADS if headings_measured(detections) else LIFT_SIZE_PRIOR
    if detections.lifts is None:
        return np.full(len(detections), usual, np.uint8)
    return np.where(np.isnan(detections.lifts), usual, detections.lifts).astype(np.uint8)
