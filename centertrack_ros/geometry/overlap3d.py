# SPDX-License-Identifier: Apache-2.0
"""Intersection over union of upright 3D boxes that are turned about the vertical axis."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes3d import centers


def intersections_over_union(
    dimensions: tuple[NDArray[np.floating], NDArray[np.floating]],
    locations: tuple[NDArray[np.floating], NDArray[np.floating]],
    rotations_y: tuple[NDArray[np.floating], NDArray[np.floating]],
) -> NDArray[np.float64]:
    """IoU of every first box with every second one, in the camera's optical frame.

    Args:
        dimensions: (N, 3) and (M, 3) h, w, l, m.
        locations: (N, 3) and (M, 3) bottom centres, m.
        rotations_y: (N,) and (M,) rad about the downward axis.

    Returns:
        (N, M) volume of the intersection over that of the union; 0 for boxes of no volume.
    """
    first, second = (np.asarray(values, np.float64).reshape(-1, 3) for values in dimensions)
    here, there = (centers(d, at) for d, at in zip((first, second), locations, strict=True))
    volumes = first.prod(axis=1)[:, None], second.prod(axis=1)[None]
    low = np.maximum(here[:, None, 1] - first[:, None, 0] / 2, there[None, :, 1] - second[None, :, 0] / 2)
    high = np.minimum(here[:, None, 1] + first[:, None, 0] / 2, there[None, :, 1] + second[None, :, 0] / 2)
    heights = np.maximum(high - low, 0.0)
    reach = np.hypot(first[:, 1], first[:, 2])[:, None] + np.hypot(second[:, 1], second[:, 2])[None]
    apart = np.hypot(here[:, None, 0] - there[None, :, 0], here[:, None, 2] - there[None, :, 2])
    near = (heights > 0) & (2 * apart <= reach) & (volumes[0] > 0) & (volumes[1] > 0)
    areas = np.zeros_like(apart)
    for row, column in np.argwhere(near):
        # Seen from the first box, so that float32 is exact enough however far away both are.
        origin = here[row]
        one = _rectangle(here[row] - origin, first[row], float(rotations_y[0][row]))
        other = _rectangle(there[column] - origin, second[column], float(rotations_y[1][column]))
        areas[row, column] = _common_area(one, other)
    common = areas * heights
    total = volumes[0] + volumes[1] - common
    return np.divide(common, total, out=np.zeros_like(common), where=total > 0)


def _rectangle(center: NDArray[np.float64], dimensions: NDArray[np.float64], angle: float) -> cv2.typing.RotatedRect:
    """The footprint as OpenCV's rotated rectangle in x, z; rot_y turns from x towards -z."""
    return (
        (float(center[0]), float(center[2])),
        (float(dimensions[2]), float(dimensions[1])),
        float(np.degrees(-angle)),
    )


def _common_area(one: cv2.typing.RotatedRect, other: cv2.typing.RotatedRect) -> float:
    kind, points = cv2.rotatedRectangleIntersection(one, other)
    if kind == cv2.INTERSECT_NONE or points is None or len(points) < 3:
        return 0.0
    return float(cv2.contourArea(cv2.convexHull(points)))
