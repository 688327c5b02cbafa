"""Quaternions (x, y, z, w), as ROS messages hold them, over whichever rotation library the machine has."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Half of the +90 degrees about x that take the axes of a box on the road (x forward, y left, z up) to the optical
# frame's (x right, y down, z forward): forward stays, left becomes z, up becomes -y.
_HALF = math.sqrt(0.5)


@cache
def _library() -> Any:
    """tf_transformations where ROS has it, else an adapter over transforms3d with the same two functions."""
    try:
        import tf_transformations  # type: ignore[import-not-found]

        return tf_transformations
    except ImportError:
        return _Transforms3d


class _Transforms3d:
    """transforms3d's quaternions are (w, x, y, z); ROS's are (x, y, z, w)."""

    @staticmethod
    def quaternion_matrix(quaternion: NDArray[np.floating]) -> NDArray[np.float64]:
        from transforms3d.quaternions import quat2mat  # type: ignore[import-untyped]

        matrix = np.eye(4)
        matrix[:3, :3] = quat2mat(np.roll(quaternion, 1))
        return matrix

    @staticmethod
    def quaternion_from_matrix(matrix: NDArray[np.floating]) -> NDArray[np.float64]:
        from transforms3d.quaternions import mat2quat  # type: ignore[import-untyped]

        return np.roll(mat2quat(matrix[:3, :3]), -1)


def quaternion_to_matrix(quaternion: NDArray[np.floating]) -> NDArray[np.float64]:
    """(4,) x, y, z, w -> (3, 3) rotation matrix. Raises ValueError for a quaternion of no length."""
    values = np.asarray(quaternion, np.float64)
    norm = float(np.linalg.norm(values))
    if not np.isfinite(norm) or norm < 1e-9:
        raise ValueError(f"a rotation quaternion must have length 1, got {values.tolist()}")
    return np.asarray(_library().quaternion_matrix(values / norm), np.float64)[:3, :3]


def matrix_to_quaternion(matrix: NDArray[np.floating]) -> NDArray[np.float64]:
    """(3, 3) rotation matrix -> (4,) x, y, z, w with w >= 0."""
    padded = np.eye(4)
    padded[:3, :3] = matrix
    quaternion = np.asarray(_library().quaternion_from_matrix(padded), np.float64)
    return -quaternion if quaternion[3] < 0 else quaternion


def box_quaternions(rotations_y: NDArray[np.floating]) -> NDArray[np.float64]:
    """rot_y (N,), rad -> (N, 4) x, y, z, w: orientation in the optical frame of boxes with x forward, y left, z up.

    q_y(rot_y) * q_x(+90 degrees), multiplied out: it is needed for every object of every frame.
    """
    half = np.asarray(rotations_y, np.float64) / 2
    c, s = _HALF * np.cos(half), _HALF * np.sin(half)
    return np.stack([c, s, -s, c], axis=1)


def multiply(left: NDArray[np.floating], right: NDArray[np.floating]) -> NDArray[np.float64]:
    """Hamilton product of quaternions (..., 4) x, y, z, w: first `right`, then `left`."""
    x1, y1, z1, w1 = np.moveaxis(np.asarray(left, np.float64), -1, 0)
    x2, y2, z2, w2 = np.moveaxis(np.asarray(right, np.float64), -1, 0)
    return np.stack(
        [
            w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
            w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
            w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
            w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
        ],
        axis=-1,
    )
