# SPDX-License-Identifier: Apache-2.0
"""What a camera sees of a 3D box: the 2D box around the part of it that lies in the image."""

import numpy as np

from centertrack_ros.geometry import boxes3d
from centertrack_ros.geometry.camera import Camera

_PARTS = np.linspace(0, 1, 801)[:, None]


def visible_box(
    size: np.ndarray, location: np.ndarray, angle: float, camera: Camera, up: np.ndarray | None = None
) -> np.ndarray:
    """(4,) px: x1, y1, x2, y2 around the part of a box (3,) h, w, l at its bottom centre (3,) that is in the image.

    With `up` (3,), upwards in the optical frame, `location` and `angle` are in the level axes of the camera.
    The ends of a part of a convex body lie on its edges, so that points along the edges are enough.
    """
    corners = boxes3d.corners(size[None], location[None], np.array([angle]))[0]
    if up is not None:
        corners = corners @ boxes3d.level_axes(up)
    points = np.concatenate([corners[a] * (1 - _PARTS) + corners[b] * _PARTS for a, b in boxes3d.EDGES])
    pixels = camera.project(points[points[:, 2] > 0.05])
    inside = ((pixels >= 0) & (pixels <= [camera.width, camera.height])).all(axis=1)
    # Above and below, the rays at the border cut the box where its edges leave the image at a side, and the other way
    # round: a box that leaves at a corner of the image still reaches into it.
    low, high = pixels[inside].min(axis=0), pixels[inside].max(axis=0)
    beside = (pixels[:, 0] >= 0) & (pixels[:, 0] <= camera.width)
    above = (pixels[:, 1] >= 0) & (pixels[:, 1] <= camera.height)
    low[1], high[1] = max(pixels[beside, 1].min(), 0), min(pixels[beside, 1].max(), camera.height)
    low[0], high[0] = max(pixels[above, 0].min(), 0), min(pixels[above, 0].max(), camera.width)
    return np.concatenate([low, high])
