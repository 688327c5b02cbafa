# SPDX-License-Identifier: Apache-2.0
"""Tracklets as Gaussians in the prior heatmap that the network sees beside the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.gaussian import gaussian_radius
from centertrack_ros.types import Tracks

EMPTY = np.zeros((0, 3), np.int64)
EMPTY.flags.writeable = False


def prior_points(
    tracks: Tracks | None, to_input: NDArray[np.float64], input_size: tuple[int, int], threshold: float
) -> NDArray[np.int64]:
    """(M, 3) int: x, y, radius in input px of the Gaussians of live tracks with a score of at least `threshold`.

    to_input  (2, 3) map image px -> input px;  input_size  (height, width) px
    Boxes are cut at the input's border; those outside of it are left out. The centre is that of the cut box, truncated
    to whole px like the radius (official code).
    """
    if tracks is None or not len(tracks):
        return EMPTY
    shown = (tracks.detections.scores >= threshold) & (tracks.hits != 0)
    return box_points(tracks.detections.boxes[shown], to_input, input_size)


def box_points(
    boxes: NDArray[np.floating], to_input: NDArray[np.float64], input_size: tuple[int, int]
) -> NDArray[np.int64]:
    """(M, 3) int: x, y, radius in input px of the Gaussians of boxes (N, 4) image px."""
    height, width = input_size
    points = boxes.astype(np.float32, copy=False).reshape(-1, 2, 2) @ to_input[:, :2].T + to_input[:, 2]
    corners = np.clip(points.astype(np.float32), 0, np.array([width - 1, height - 1], np.float32))
    size = corners[:, 1] - corners[:, 0]
    inside = (size > 0).all(axis=1)
    corners, size = corners[inside], np.ceil(size[inside])
    radius = np.maximum(gaussian_radius(size[:, 1], size[:, 0]).astype(np.int64), 0)
    centers = ((corners[:, 0] + corners[:, 1]) / 2).astype(np.int64)
    return np.column_stack([centers, radius])
