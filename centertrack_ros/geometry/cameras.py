"""The camera that took an image: projection, distortion and the size that they refer to."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in its optical frame (x right, y down, z forward; REP 103).

    width, height   size in px of the image that `projection` belongs to
    projection      (3, 4) float64, px: pixel ~ projection @ (X, Y, Z, 1); the last column is 0 but for rectified stereo/KITTI
    distortion_model  'none', 'plumb_bob', 'rational_polynomial' or 'equidistant'; of the image as it arrives
    distortion      coefficients in the order of sensor_msgs/CameraInfo; empty when there are none
    """

    width: int
    height: int
    projection: NDArray[np.float64]
    distortion_model: str = "none"
    distortion: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
