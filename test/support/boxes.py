# SPDX-License-Identifier: Apache-2.0
"""What a LiDAR's detector finds, for the tests of 3D detections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from centertrack_ros.geometry.boxes3d import OrientedBoxes
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.tracking.results import BoxFrame, CameraPoses
from centertrack_ros.types import ForeignBoxes, FrameHeader

CAR = (4.2, 1.8, 1.5)


def oriented(
    centers: Sequence[Sequence[float]], size: Sequence[float] = CAR, quaternion: Sequence[float] = (0, 0, 0, 1)
) -> OrientedBoxes:
    """Boxes of one size and orientation; what else there is to know is unknown."""
    count = len(centers)
    return OrientedBoxes(
        centers=np.array(centers, np.float64).reshape(-1, 3),
        quaternions=np.tile(np.array(quaternion, np.float64), (count, 1)),
        sizes=np.tile(np.array(size, np.float64), (count, 1)),
        covariances=np.zeros((count, 6, 6)),
        velocities=np.full((count, 3), np.nan),
        velocity_covariances=np.full((count, 3, 3), np.nan),
    )


def found(boxes: OrientedBoxes, score: float = 0.8, name: str = "car") -> ForeignBoxes:
    """Boxes of one class and score."""
    return ForeignBoxes(boxes, np.full(len(boxes), score), np.full(len(boxes), name))


def scan(
    stamp: float, centers: Sequence[Sequence[float]], score: float = 0.8, name: str = "car",
    pose: Transform | None = None,
) -> BoxFrame:  # fmt: skip
    """A message of cars at places in the frame of the LiDAR, which is at `pose` in every frame."""
    here = pose or Transform.identity()
    header = FrameHeader(round(stamp * 1e9), "lidar")
    return BoxFrame(header, found(oriented(centers), score, name), CameraPoses(here, here))
