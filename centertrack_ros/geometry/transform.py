# SPDX-License-Identifier: Apache-2.0
"""Rotations, and rigid transforms between frames: points, directions, covariances and boxes of one frame in another.

Quaternions are (x, y, z, w) as in ROS messages, with w >= 0. All rotation arithmetic is scipy's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation, Slerp

if TYPE_CHECKING:
    from centertrack_ros.geometry.boxes3d import OrientedBoxes

# Largest difference of R Rᵀ from the identity; rounded float32 matrices pass.
_TOLERANCE = 1e-4
_MIN_NORM = 1e-9  # of a quaternion


def _quaternions(rotation: Any) -> NDArray[np.float64]:
    """(..., 4) x, y, z, w of a scipy Rotation, with w >= 0."""
    values = np.asarray(rotation.as_quat(), np.float64)
    return values * np.where(values[..., 3:] < 0, -1.0, 1.0)


def quaternion_to_matrix(quaternion: ArrayLike) -> NDArray[np.float64]:
    """Convert quaternions to rotation matrices.

    Args:
        quaternion: (4,) or (N, 4), x, y, z, w of any length but 0.

    Returns:
        (3, 3) or (N, 3, 3).

    Raises:
        ValueError: A quaternion has no length, or is not finite.
    """
    values = np.asarray(quaternion, np.float64)
    norms = np.linalg.norm(values, axis=-1)
    if not (np.isfinite(norms) & (norms >= _MIN_NORM)).all():
        raise ValueError(f"a rotation quaternion must have length 1, got {values.tolist()}")
    return np.asarray(Rotation.from_quat(values).as_matrix(), np.float64)


def matrix_to_quaternion(matrix: ArrayLike) -> NDArray[np.float64]:
    """Convert rotation matrices to quaternions.

    Args:
        matrix: (3, 3) or (N, 3, 3).

    Returns:
        (4,) or (N, 4), x, y, z, w with w >= 0.
    """
    return _quaternions(Rotation.from_matrix(np.asarray(matrix, np.float64)))


def box_quaternions(rotations_y: ArrayLike) -> NDArray[np.float64]:
    """Orientation of boxes in the optical frame; their axes are x forward, y left, z up (REP 103).

    Args:
        rotations_y: (N,) rot_y, rad.

    Returns:
        (N, 4) x, y, z, w with w >= 0: rot_y about y after a quarter turn about x; NaN stays NaN.
    """
    angles = np.asarray(rotations_y, np.float64)
    quaternions = np.full((len(angles), 4), np.nan)
    known = np.isfinite(angles)
    if known.any():  # scipy refuses NaN
        # The quarter turn takes forward, left, up of a box on the road to forward, z, -y of the optical frame.
        euler = np.column_stack([angles[known], np.full(int(known.sum()), np.pi / 2)])
        quaternions[known] = _quaternions(Rotation.from_euler("YX", euler))
    return quaternions


def multiply_quaternions(left: ArrayLike, right: ArrayLike) -> NDArray[np.float64]:
    """Compose rotations: first `right`, then `left`.

    Args:
        left: (4,) or (N, 4), x, y, z, w; NaN stays NaN.
        right: (4,) or (N, 4).

    Returns:
        (4,) or (N, 4), with w >= 0.

    Raises:
        ValueError: A quaternion has no length.
    """
    first, second = np.asarray(left, np.float64), np.asarray(right, np.float64)
    known = np.isfinite(first).all(axis=-1) & np.isfinite(second).all(axis=-1)
    if known.size and known.all():
        return _quaternions(Rotation.from_quat(first) * Rotation.from_quat(second))
    shape = np.broadcast_shapes(first.shape, second.shape)
    products = np.full(shape, np.nan)
    if known.any():  # scipy refuses NaN
        first, second = np.broadcast_to(first, shape)[known], np.broadcast_to(second, shape)[known]
        products[known] = _quaternions(Rotation.from_quat(first) * Rotation.from_quat(second))
    return products


def rotate_covariances(rotation: NDArray[np.floating], covariances: ArrayLike) -> NDArray[np.float64]:
    """Rotate covariances, R C Rᵀ for each 3x3 block.

    Args:
        rotation: (3, 3).
        covariances: (..., 3, 3), or (..., 6, 6) of position and rotation about fixed axes.

    Raises:
        ValueError: Another shape.
    """
    values = np.asarray(covariances, np.float64)
    if values.shape[-2:] not in ((3, 3), (6, 6)):
        raise ValueError(f"covariances must be (..., 3, 3) or (..., 6, 6), got {values.shape}")
    if values.shape[-1] == 6:
        both = np.zeros((6, 6))
        both[:3, :3] = both[3:, 3:] = rotation
        rotation = both
    return rotation @ values @ rotation.T


@dataclass(frozen=True)
class Transform:
    """The pose of a source frame in a target frame: point_in_target = rotation @ point_in_source + translation.

    `a @ b` is first b, then a: (map from base) @ (base from camera) = (map from camera), as in tf2.

    Attributes:
        rotation: (3, 3) float64.
        translation: (3,) float64, m.

    Raises:
        ValueError: A matrix that is no rotation, or values that are not finite.
    """

    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]

    def __post_init__(self) -> None:
        rotation, translation = np.asarray(self.rotation, np.float64), np.asarray(self.translation, np.float64)
        if rotation.shape != (3, 3) or translation.shape != (3,):
            raise ValueError(
                f"a transform has a rotation (3, 3) and a translation (3,), got {rotation.shape}, {translation.shape}"
            )
        if not np.isfinite(translation).all():
            raise ValueError(f"a translation must be finite, got {translation.tolist()}")
        off = np.abs(rotation @ rotation.T - np.eye(3)).max()
        if not off <= _TOLERANCE or np.linalg.det(rotation) < 0:
            raise ValueError(f"a rotation matrix must be orthonormal and right-handed, got {rotation.tolist()}")
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "translation", translation)

    @classmethod
    def identity(cls) -> Transform:
        """The pose of a frame in itself."""
        return cls(np.eye(3), np.zeros(3))

    @classmethod
    def from_quaternion(cls, quaternion: ArrayLike, translation: ArrayLike) -> Transform:
        """Make a transform from the fields of geometry_msgs/Transform.

        Args:
            quaternion: (4,) x, y, z, w of any length but 0.
            translation: (3,) m.

        Raises:
            ValueError: The quaternion has no length, or a value is not finite.
        """
        made = cls(quaternion_to_matrix(quaternion), np.asarray(translation, np.float64))
        # Known already; to compute it from the matrix is the slowest step of a frame's boxes.
        made.__dict__["quaternion"] = _quaternions(Rotation.from_quat(quaternion))
        return made

    @classmethod
    def from_matrix(cls, matrix: ArrayLike) -> Transform:
        """Make a transform from a homogeneous matrix.

        Args:
            matrix: (4, 4).

        Raises:
            ValueError: It holds no rotation, or a value that is not finite.
        """
        values = np.asarray(matrix, np.float64)
        return cls(values[:3, :3], values[:3, 3])

    @cached_property
    def quaternion(self) -> NDArray[np.float64]:
        """(4,) x, y, z, w with w >= 0."""
        return matrix_to_quaternion(self.rotation)

    def __matmul__(self, other: Transform) -> Transform:
        return Transform(self.rotation @ other.rotation, self.rotation @ other.translation + self.translation)

    def inverse(self) -> Transform:
        """The transform from the target frame to the source frame."""
        return Transform(self.rotation.T, -self.rotation.T @ self.translation)

    def points(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Points (..., 3) m of the source frame in the target frame."""
        return np.asarray(points, np.float64) @ self.rotation.T + self.translation

    def vectors(self, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        """Directions or velocities (..., 3) of the source frame in the target frame: rotated, not translated.

        The motion of the frames themselves is not added.
        """
        return np.asarray(vectors, np.float64) @ self.rotation.T

    def covariances(self, covariances: NDArray[np.floating]) -> NDArray[np.float64]:
        """Covariances of the source frame in the target frame; see `rotate_covariances`."""
        return rotate_covariances(self.rotation, covariances)

    def boxes(self, boxes: OrientedBoxes) -> OrientedBoxes:
        """The same boxes in the target frame, with orientation, covariance and velocity."""
        return boxes.transformed(self.quaternion, self.translation)


def interpolate(start: Transform, end: Transform, fraction: float) -> Transform:
    """Interpolate two poses of one frame: positions along the line, rotations along the shortest arc (slerp).

    Args:
        start: The pose at fraction 0.
        end: The pose at fraction 1.
        fraction: 0..1.

    Returns:
        The pose between.

    Raises:
        ValueError: The fraction is not within 0..1.
    """
    turns = Slerp([0.0, 1.0], Rotation.from_quat(np.stack([start.quaternion, end.quaternion])))
    translation = (1.0 - fraction) * start.translation + fraction * end.translation
    return Transform(np.asarray(turns(fraction).as_matrix(), np.float64), translation)
