# SPDX-License-Identifier: Apache-2.0
"""The joints of people in an image, with the bones between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.network.joints import bones_of
from centertrack_ros.visualization.canvas import Image, color_of, line_width, polyline, shaded


def draw_skeletons(canvas: Image, joints: NDArray[np.floating], ids: NDArray[np.integer]) -> None:
    """Draws into `canvas`; bones only where the joints are those of COCO. A joint that is not a number is left out.

    Args:
        canvas: (H, W, 3) BGR.
        joints: (N, J, 2) px.
        ids: (N,) of the people, for their colours.
    """
    bones = np.array(bones_of(joints.shape[1]), np.int64).reshape(-1, 2)
    width, dot = line_width(canvas), line_width(canvas) * np.array([[-1.0, 0.0], [1.0, 0.0]])
    for points, identity in zip(joints.astype(np.float64), ids.tolist(), strict=True):
        color = color_of(identity)
        known = np.isfinite(points).all(axis=1)
        for start, end in bones[known[bones].all(axis=1)].tolist():
            polyline(canvas, points[[start, end]], color, width)
        for point in points[known]:
            polyline(canvas, point + dot, shaded(color, 1.4), 2 * width)
