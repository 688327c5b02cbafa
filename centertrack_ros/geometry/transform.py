"""Rigid transforms between frames: points, directions, covariances and boxes of one frame in another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from centertrack_ros.geometry import rotations
from centertrack_ros.geometry.oriented_boxes import OrientedBoxes

# Most that R Rᵀ may differ from the identity; what is left of float32 matrices passes.
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Transform:
    """A source frame in a target frame: point_in_target = rotation @ point_in_source + translation.

    rotation     (3, 3) float64;  translation  (3,) float64 m
    `a @ b` is first b, then a: (map from base) @ (base from camera) = (map from camera), as tf2 has it.
    Raises ValueError for a matrix that is no rotation, or values that are not finite.
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
        return cls(np.eye(3), np.zeros(3))

    @classmethod
    def from_quaternion(cls, quaternion: ArrayLike, translation: ArrayLike) -> Transform:
        """From (4,) x, y, z, w of any length but 0 and (3,) m, as geometry_msgs/Transform has them."""
        matrix = rotations.quaternion_to_matrix(np.asarray(quaternion, np.float64))
        return cls(matrix, np.asarray(translation, np.float64))

    @classmethod
    def from_matrix(cls, matrix: ArrayLike) -> Transform:
        """From a homogeneous matrix (4, 4)."""
        values = np.asarray(matrix, np.float64)
        return cls(values[:3, :3], values[:3, 3])

    @property
    def quaternion(self) -> NDArray[np.float64]:
        """(4,) x, y, z, w with w >= 0."""
        return rotations.matrix_to_quaternion(self.rotation)

    def __matmul__(self, other: Transform) -> Transform:
        return Transform(self.rotation @ other.rotation, self.rotation @ other.translation + self.translation)

    def inverse(self) -> Transform:
        """From the target frame back to the source frame."""
        return Transform(self.rotation.T, -self.rotation.T @ self.translation)

    def points(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Points (..., 3) m of the source frame in the target frame."""
        return np.asarray(points, np.float64) @ self.rotation.T + self.translation

    def vectors(self, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        """Directions, velocities (..., 3): turned, not moved. The frames' own motion is not added."""
        return np.asarray(vectors, np.float64) @ self.rotation.T

    def covariances(self, covariances: NDArray[np.floating]) -> NDArray[np.float64]:
        """Covariances (..., 3, 3) or (..., 6, 6) (position and rotation about fixed axes): R C Rᵀ by 3x3 block."""
        values = np.asarray(covariances, np.float64)
        if values.shape[-2:] not in ((3, 3), (6, 6)):
            raise ValueError(f"covariances must be (..., 3, 3) or (..., 6, 6), got {values.shape}")
        turn = self.rotation if values.shape[-1] == 3 else np.kron(np.eye(2), self.rotation)
        return turn @ values @ turn.T

    def boxes(self, boxes: OrientedBoxes) -> OrientedBoxes:
        """The same boxes in the target frame, with orientation, covariance and velocity."""
        return boxes.transformed(self.quaternion, self.translation)


def interpolate(start: Transform, end: Transform, fraction: float) -> Transform:
    """Between two poses of one frame: positions along the line, rotations along the shortest arc (slerp).

    fraction  0 gives `start`, 1 gives `end`
    """
    one, other = start.quaternion, end.quaternion
    cosine = float(one @ other)
    if cosine < 0.0:
        other, cosine = -other, -cosine
    angle = np.arccos(min(cosine, 1.0))
    weights = (1.0 - fraction, fraction)
    if angle > 1e-4:  # else the arc is a line
        weights = (np.sin((1.0 - fraction) * angle) / np.sin(angle), np.sin(fraction * angle) / np.sin(angle))
    translation = (1.0 - fraction) * start.translation + fraction * end.translation
    return Transform.from_quaternion(weights[0] * one + weights[1] * other, translation)
