# SPDX-License-Identifier: Apache-2.0
"""The 3D boxes of tracks, as oriented boxes in the camera's optical frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes3d import OrientedBoxes, oriented_boxes
from centertrack_ros.types import Detections, Tracks


def boxes3d_of_tracks(tracks: Tracks) -> tuple[NDArray[np.int64], OrientedBoxes]:
    """(indices into `tracks` that have a 3D box, those boxes in the camera's optical frame)."""
    found = tracks.detections
    if found.locations is None or found.dimensions is None:
        nothing = np.zeros((0, 3))
        return np.zeros(0, np.int64), oriented_boxes(nothing, nothing, None)
    usable = np.isfinite(found.locations).all(axis=1) & np.isfinite(found.dimensions).all(axis=1)
    if found.rotations_y is not None:
        usable &= np.isfinite(found.rotations_y)
    index = np.flatnonzero(usable)
    chosen = found.select(index)
    assert chosen.dimensions is not None and chosen.locations is not None
    boxes = oriented_boxes(
        chosen.dimensions,
        chosen.locations,
        chosen.rotations_y,
        chosen.location_covariances,
        chosen.velocities,
        heading_known=headings_measured(chosen),
    )
    return index, boxes


def headings_measured(found: Detections) -> bool:
    """Whether the 3D boxes were measured by the network; else they are size priors, whose heading is a convention."""
    return found.alphas is not None
