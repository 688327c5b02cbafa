# SPDX-License-Identifier: Apache-2.0
"""The prior heatmap: live tracks as Gaussians, an input of the network beside the image."""

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
    """Computes the Gaussians of live tracks (official code, `_get_additional_inputs`).

    Boxes are clipped to the input; those outside of it are left out. The centre is that of the clipped box, truncated
    to whole px like the radius.

    Args:
        tracks: The tracks of the previous frame; None: there are none. Tentative ones (ids below 0) are left out.
        to_input: (2, 3) map, image px -> input px.
        input_size: (height, width) px.
        threshold: Least score of a track.

    Returns:
        (M, 3) int: x, y, radius, input px.
    """
    if tracks is None or not len(tracks):
        return EMPTY
    shown = (tracks.detections.scores >= threshold) & (tracks.hits != 0) & (tracks.ids > 0)
    return box_points(tracks.detections.boxes[shown], to_input, input_size)


def box_points(
    boxes: NDArray[np.floating], to_input: NDArray[np.float64], input_size: tuple[int, int]
) -> NDArray[np.int64]:
    """Computes the Gaussians of boxes, see `prior_points`.

    Args:
        boxes: (N, 4) x1, y1, x2, y2, image px.
        to_input: (2, 3) map, image px -> input px.
        input_size: (height, width) px.

    Returns:
        (M, 3) int: x, y, radius, input px.
    """
    height, width = input_size
    points = boxes.astype(np.float32, copy=False).reshape(-1, 2, 2) @ to_input[:, :2].T + to_input[:, 2]
    corners = np.clip(points.astype(np.float32), 0, np.array([width - 1, height - 1], np.float32))
    size = corners[:, 1] - corners[:, 0]
    inside = (size > 0).all(axis=1)
    corners, size = corners[inside], np.ceil(size[inside])
    radius = np.maximum(gaussian_radius(size[:, 1], size[:, 0]).astype(np.int64), 0)
    centers = ((corners[:, 0] + corners[:, 1]) / 2).astype(np.int64)
    return np.column_stack([centers, radius])
