# SPDX-License-Identifier: Apache-2.0
"""Simple ways from a 2D box to a distance, to compare with: sizes averaged over all headings, and the contact alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.tracking.box_fit import EDGE_SIGMA_PX, cut_edges
from centertrack_ros.tracking.lifting import ray_covariances
from centertrack_ros.tracking.size_prior import class_sizes
from centertrack_ros.types import Detections

Array = NDArray[Any]

# A cut side shows between a third of the object and all of it: mean and standard deviation of the logarithm.
_CUT_SHIFT, _CUT_SIGMA = 0.4, 0.4


def by_mean_size(class_names: Sequence[str], detections: Detections, camera: Camera) -> Detections:
    """Distances by the height and by the width averaged over all headings; the heading is along the viewing ray."""
    classes = class_sizes(class_names)
    height, width, length = classes.means[detections.class_ids].T
    height_sigma = np.sqrt(classes.covariances[detections.class_ids, 0, 0]) / height
    turns = np.linspace(0, np.pi, 181)
    widths = width[:, None] * np.abs(np.cos(turns)) + length[:, None] * np.abs(np.sin(turns))
    seen, spread = widths.mean(axis=1), widths.std(axis=1)
    corners = camera.undistort(detections.boxes.reshape(-1, 2)).reshape(-1, 2, 2)
    size = np.maximum(corners[:, 1] - corners[:, 0], 1e-3)
    cut = cut_edges(detections.boxes, camera)
    depths, sigmas = [], []
    for axis, extent, sigma in ((1, height, height_sigma), (0, seen, np.hypot(spread / seen, height_sigma))):
        is_cut = cut[:, axis] | cut[:, axis + 2]
        depths.append(np.log(camera.focal[axis] * extent / size[:, axis] + seen / 4) - _CUT_SHIFT * is_cut)
        sigmas.append(np.hypot(np.hypot(sigma, EDGE_SIGMA_PX / size[:, axis]), _CUT_SIGMA * is_cut))
    weights = 1 / np.square(sigmas)
    share = weights[0] / weights.sum(axis=0)
    disagreement = np.abs(depths[0] - depths[1]) * np.sqrt(share * (1 - share))
    depth = np.exp(share * depths[0] + (1 - share) * depths[1])
    sigma = np.maximum(np.sqrt(1 / weights.sum(axis=0)), disagreement)
    middles = camera.unproject(corners.mean(axis=1), depth)
    return replace(
        detections,
        depths=depth,
        dimensions=classes.means[detections.class_ids],
        locations=middles + np.array([0.0, 0.5, 0.0]) * height[:, None],
        rotations_y=np.arctan2(middles[:, 0], middles[:, 2]) - np.pi / 2,
        location_covariances=ray_covariances(middles, sigma * depth, camera),
    )


def by_contact(detections: Detections, camera: Camera, height: float) -> Detections:
    """Distances by where boxes end below, with a horizon that does not move; NaN where the box ends above it."""
    bottoms = camera.undistort(detections.boxes[:, 2:])[:, 1]
    slopes = (bottoms - camera.projection[1, 2]) / camera.focal[1]
    depths = np.where(slopes > 0, height / np.maximum(slopes, 1e-6), np.nan)
    points = camera.unproject(np.column_stack([(detections.boxes[:, 0] + detections.boxes[:, 2]) / 2, bottoms]), depths)
    nothing = np.full(len(depths), np.nan)
    return replace(
        detections,
        depths=depths,
        locations=points,
        rotations_y=nothing,
        location_covariances=np.full((len(depths), 3, 3), np.nan),
    )
