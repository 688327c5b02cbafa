# SPDX-License-Identifier: Apache-2.0
"""What is drawn of tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry import boxes3d
from centertrack_ros.types import Tracks


@dataclass(frozen=True)
class Annotation:
    """What is drawn of N objects.

    Attributes:
        boxes: (N, 4) x1, y1, x2, y2 px.
        ids: (N,) int64.
        labels: N class names.
        scores: (N,) 0..1.
        corners: (N, 8, 3) m in the camera's optical frame, in the order of `geometry.boxes3d.corners`; None: no 3D.
        joints: (N, J, 2) px of people, in the order of `network.joints`; None: the model gives none.
    """

    boxes: NDArray[np.floating]
    ids: NDArray[np.integer]
    labels: Sequence[str]
    scores: NDArray[np.floating]
    corners: NDArray[np.floating] | None = None
    joints: NDArray[np.floating] | None = None

    def __len__(self) -> int:
        return len(self.ids)


def annotation_of(tracks: Tracks, classes: Sequence[str]) -> Annotation:
    """Makes the annotation of the tracks that were matched in this frame; lost ones (hits == 0) are left out.

    Args:
        tracks: The tracks.
        classes: Names of the model's classes.
    """
    seen = tracks.select(tracks.hits > 0)
    detections = seen.detections
    corners = None
    if detections.dimensions is not None and detections.locations is not None and detections.rotations_y is not None:
        corners = boxes3d.corners(detections.dimensions, detections.locations, detections.rotations_y, detections.ups)
    labels = [classes[c] for c in detections.class_ids]
    return Annotation(detections.boxes, seen.ids, labels, detections.scores, corners, detections.keypoints)
