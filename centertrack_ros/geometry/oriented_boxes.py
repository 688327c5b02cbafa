# SPDX-License-Identifier: Apache-2.0
"""3D boxes as messages hold them: centre, orientation and full extents in any frame, with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry import boxes3d
from centertrack_ros.geometry.transform import (
    box_quaternions,
    multiply_quaternions,
    quaternion_to_matrix,
    rotate_covariances,
)

MIN_EXTENT = 0.01  # m; a box of size 0 is invisible, and divides by 0 in its consumers
# A road object stands upright. A heading that nothing tells is any angle: the variance of a uniform turn.
_UPRIGHT_VARIANCE = np.radians(5.0) ** 2
_HEADING_VARIANCE = np.radians(15.0) ** 2
_UNKNOWN_HEADING_VARIANCE = np.pi**2 / 3


@dataclass(frozen=True)
class OrientedBoxes:
    """M boxes in one frame. Local axes: x forward (length), y left (width), z up (height); REP 103.

    centers      (M, 3) float64 m, middle of the box
    quaternions  (M, 4) float64 x, y, z, w
    sizes        (M, 3) float64 m: length, width, height; never 0
    covariances  (M, 6, 6) float64 of centre and rotation about the frame's fixed axes, m² and rad²; all 0: unknown
    velocities   (M, 3) float64 m/s; NaN where unknown
    """

    centers: NDArray[np.float64]
    quaternions: NDArray[np.float64]
    sizes: NDArray[np.float64]
    covariances: NDArray[np.float64]
    velocities: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.centers)

    def select(self, index: NDArray[Any]) -> OrientedBoxes:
        """The boxes at `index` (a mask or integers), in that order, as copies."""
        return OrientedBoxes(**{name: values[index] for name, values in vars(self).items()})

    @classmethod
    def concatenate(cls, parts: Sequence[OrientedBoxes]) -> OrientedBoxes:
        """The boxes of all parts, at least one, in order. All must be in the same frame."""
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})

    def transformed(self, quaternion: NDArray[np.floating], translation: NDArray[np.floating]) -> OrientedBoxes:
        """The same boxes in another frame: rotated by `quaternion` (4,) x, y, z, w, then moved by `translation` (3,) m.

        Covariances turn block by block, R C Rᵀ; velocities turn but are not moved: the frames are taken at one instant.
        """
        matrix = quaternion_to_matrix(quaternion)
        return replace(
            self,
            centers=self.centers @ matrix.T + np.asarray(translation, np.float64),
            quaternions=multiply_quaternions(quaternion, self.quaternions),
            covariances=rotate_covariances(matrix, self.covariances),
            velocities=self.velocities @ matrix.T,
        )


def oriented_boxes(
    dimensions: NDArray[np.floating],
    locations: NDArray[np.floating],
    rotations_y: NDArray[np.floating] | None,
    location_covariances: NDArray[np.floating] | None = None,
    velocities: NDArray[np.floating] | None = None,
    heading_known: bool = True,
) -> OrientedBoxes:
    """Boxes in the optical frame from (N, 3) h, w, l, (N, 3) bottom centres, m, and (N,) rot_y, rad.

    heading_known  False when `rotations_y` is a convention: the covariance then says so. Without `rotations_y` the
                   boxes face along the optical axis.
    """
    count = len(locations)
    heading_known &= rotations_y is not None
    angles = np.full(count, -np.pi / 2) if rotations_y is None else np.asarray(rotations_y, np.float64)
    covariances = np.zeros((count, 6, 6))
    if location_covariances is not None:
        covariances[:, :3, :3] = location_covariances
        turn = _HEADING_VARIANCE if heading_known else _UNKNOWN_HEADING_VARIANCE
        covariances[:, (3, 4, 5), (3, 4, 5)] = (_UPRIGHT_VARIANCE, turn, _UPRIGHT_VARIANCE)
    sizes = np.asarray(dimensions, np.float64)[:, ::-1]
    return OrientedBoxes(
        centers=boxes3d.centers(dimensions, locations),
        quaternions=box_quaternions(angles),
        sizes=np.maximum(sizes, MIN_EXTENT),
        covariances=covariances,
        velocities=np.full((count, 3), np.nan) if velocities is None else np.asarray(velocities, np.float64),
    )
