# SPDX-License-Identifier: Apache-2.0
"""3D boxes: as the network gives them (h, w, l, bottom centre, rot_y) and as messages hold them (`OrientedBoxes`)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.array_table import ArrayTable, column
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.geometry.transform import (
    box_quaternions,
    matrix_to_quaternion,
    multiply_quaternions,
    quaternion_to_matrix,
    rotate_covariances,
)

# Sign of (length, height, width) halves for the 8 corners: the four of the ground face, then the four above them.
_LENGTH = np.array([1, 1, -1, -1, 1, 1, -1, -1]) / 2
_HEIGHT = np.array([0, 0, 0, 0, -1, -1, -1, -1])
_WIDTH = np.array([1, -1, -1, 1, 1, -1, -1, 1]) / 2

# Pairs of corners that an edge of the box joins; the first four edges are the ground face.
EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))

_NEAR = 0.1  # m; a corner nearer than that has no place in the image

# Body axes (x forward, y left, z up; REP 103) of a camera that looks forward, from its optical axes.
BODY_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def corners(
    dimensions: NDArray[np.floating],
    locations: NDArray[np.floating],
    rotations_y: NDArray[np.floating],
    ups: NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:
    """(N, 8, 3) corners, m, optical frame: boxes (N, 3) h, w, l at bottom centres (N, 3), turned by rot_y (N,) rad.

    ups  (N, 3) upwards, to which the boxes are tilted about their middles; None or NaN: along -y.
    """
    h, w, length = np.asarray(dimensions, np.float64).T[:, :, None]
    angle = np.asarray(rotations_y, np.float64)[:, None]
    along, across = length * _LENGTH, w * _WIDTH
    x = np.cos(angle) * along + np.sin(angle) * across
    z = -np.sin(angle) * along + np.cos(angle) * across
    if ups is None:
        return np.stack([x, h * _HEIGHT, z], axis=2) + np.asarray(locations, np.float64)[:, None]
    from_middle = np.stack([x, h * _HEIGHT + h / 2, z], axis=2)
    return from_middle @ level_axes(ups) + centers(dimensions, locations)[:, None]


def level_axes(ups: NDArray[np.floating]) -> NDArray[np.float64]:
    """Finds axes that are as those of a camera which looks into the same direction, but along the ground.

    Args:
        ups: (..., 3) upwards in the optical frame, of any length; NaN: along -y.

    Returns:
        (..., 3, 3) rotations from the optical frame: rows are x to the right, y down, z ahead.
    """
    down = -np.asarray(ups, np.float64)
    down = np.where(np.isfinite(down).all(axis=-1, keepdims=True), down, [0.0, 1.0, 0.0])
    down = down / np.maximum(np.linalg.norm(down, axis=-1, keepdims=True), 1e-12)
    ahead = np.array([0.0, 0.0, 1.0]) - down[..., 2:] * down
    ahead = ahead / np.maximum(np.linalg.norm(ahead, axis=-1, keepdims=True), 1e-12)
    return np.stack([np.cross(down, ahead), down, ahead], axis=-2)


def centers(dimensions: NDArray[np.floating], locations: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, 3) middle of boxes whose bottom centre is `locations`: half a height up, which is -y in the optical frame."""
    middle = np.array(locations, np.float64)
    middle[:, 1] -= np.asarray(dimensions, np.float64)[:, 0] / 2
    return middle


def projected_boxes(
    dimensions: NDArray[np.floating], locations: NDArray[np.floating], rotations_y: NDArray[np.floating], camera: Camera
) -> NDArray[np.float64]:
    """(N, 4) x1, y1, x2, y2 px that boxes cover in the image as it arrives, cut at its borders.

    NaN where a box is not known, not wholly in front of the camera, or outside of the image.
    """
    points = corners(dimensions, locations, rotations_y)
    boxes = np.full((len(points), 4), np.nan)
    ahead = np.isfinite(points).all(axis=(1, 2)) & (np.nan_to_num(points[..., 2]) > _NEAR).all(axis=1)
    if not ahead.any():
        return boxes
    pixels = camera.distort(camera.project(points[ahead].reshape(-1, 3))).reshape(-1, 8, 2)
    limits = np.tile([camera.width, camera.height], 2).astype(np.float64)
    found = np.concatenate([pixels.min(axis=1), pixels.max(axis=1)], axis=1).clip(0, limits)
    found[(found[:, 2:] <= found[:, :2]).any(axis=1)] = np.nan
    boxes[ahead] = found
    return boxes


def rotations_from_alpha(
    alphas: NDArray[np.floating], pixels_x: NDArray[np.floating], center_x: float, focal_x: float
) -> NDArray[np.float64]:
    """(N,) rot_y, rad, from observation angles alpha and the px column of the objects; wrapped once into [-pi, pi]."""
    return wrap_once(np.asarray(alphas, np.float64) + np.arctan2(np.asarray(pixels_x, np.float64) - center_x, focal_x))


def alphas_from_rotation(
    rotations_y: NDArray[np.floating], pixels_x: NDArray[np.floating], center_x: float, focal_x: float
) -> NDArray[np.float64]:
    """(N,) alpha, rad: the inverse of `rotations_from_alpha`."""
    return wrap_once(
        np.asarray(rotations_y, np.float64) - np.arctan2(np.asarray(pixels_x, np.float64) - center_x, focal_x)
    )


def wrap_once(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles, rad, brought back by one turn where they leave [-pi, pi]."""
    return angles + 2 * np.pi * ((angles < -np.pi).astype(np.float64) - (angles > np.pi))


def wrapped(angles: NDArray[np.floating]) -> NDArray[np.float64]:
    """Angles, rad, in [-pi, pi), from however many turns."""
    return np.asarray((angles + np.pi) % (2 * np.pi) - np.pi, np.float64)


def yaw_in_body(rotations_y: NDArray[np.floating]) -> NDArray[np.float64]:
    """rot_y (N,) in the optical frame -> yaw about the upward axis of the body frame (x forward), in [-pi, pi]."""
    return wrapped(-np.asarray(rotations_y, np.float64) - np.pi / 2)


MIN_EXTENT = 0.01  # m; a box of size 0 is invisible, and divides by 0 in its consumers
# A road object stands upright. A heading that nothing tells is any angle: the variance of a uniform turn.
_UPRIGHT_VARIANCE = np.radians(5.0) ** 2
_HEADING_VARIANCE = np.radians(15.0) ** 2
UNKNOWN_HEADING_VARIANCE = np.pi**2 / 3


@dataclass(frozen=True)
class OrientedBoxes(ArrayTable):
    """M boxes in one frame. Local axes: x forward (length), y left (width), z up (height); REP 103.

    centers      (M, 3) float64 m, middle of the box
    quaternions  (M, 4) float64 x, y, z, w
    sizes        (M, 3) float64 m: length, width, height; never 0
    covariances  (M, 6, 6) float64 of centre and rotation about the frame's fixed axes, m² and rad²; all 0: unknown
    velocities   (M, 3) float64 m/s; NaN where unknown
    velocity_covariances  (M, 3, 3) float64 (m/s)²; NaN where unknown
    """

    centers: NDArray[np.float64] = field(metadata=column(3, blank=np.nan))
    quaternions: NDArray[np.float64] = field(metadata=column(4, blank=np.nan))
    sizes: NDArray[np.float64] = field(metadata=column(3, blank=np.nan))
    covariances: NDArray[np.float64] = field(metadata=column(6, 6, blank=np.nan))
    velocities: NDArray[np.float64] = field(metadata=column(3, blank=np.nan))
    velocity_covariances: NDArray[np.float64] = field(metadata=column(3, 3, blank=np.nan))

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
            velocity_covariances=rotate_covariances(matrix, self.velocity_covariances),
        )


def oriented_boxes(
    dimensions: NDArray[np.floating],
    locations: NDArray[np.floating],
    rotations_y: NDArray[np.floating] | None,
    location_covariances: NDArray[np.floating] | None = None,
    velocities: NDArray[np.floating] | None = None,
    heading_variances: NDArray[np.floating] | None = None,
    ups: NDArray[np.floating] | None = None,
    velocity_covariances: NDArray[np.float64] | None = None,
) -> OrientedBoxes:
    """Boxes in the optical frame from (N, 3) h, w, l, (N, 3) bottom centres, m, and (N,) rot_y, rad.

    heading_variances  (N,) rad², at most that of any angle; None: as of a heading that the network measured. Without
                       `rotations_y` the boxes face along the optical axis, which is a convention.
    ups                (N, 3) upwards, to which the boxes are tilted about their middles; None or NaN: along -y.
    """
    count = len(locations)
    angles = np.full(count, -np.pi / 2) if rotations_y is None else np.asarray(rotations_y, np.float64)
    covariances = np.zeros((count, 6, 6))
    if location_covariances is not None:
        covariances[:, :3, :3] = location_covariances
        if rotations_y is None:
            turn: NDArray[np.floating] = np.full(count, UNKNOWN_HEADING_VARIANCE)
        else:
            turn = np.full(count, _HEADING_VARIANCE) if heading_variances is None else heading_variances
        covariances[:, (3, 5), (3, 5)] = _UPRIGHT_VARIANCE
        covariances[:, 4, 4] = np.minimum(turn, UNKNOWN_HEADING_VARIANCE)
    sizes = np.asarray(dimensions, np.float64)[:, ::-1]
    quaternions = box_quaternions(angles)
    if ups is not None and count:
        from_level = np.swapaxes(level_axes(ups), 1, 2)
        quaternions = multiply_quaternions(matrix_to_quaternion(from_level), quaternions)
        covariances[:, 3:, 3:] = from_level @ covariances[:, 3:, 3:] @ np.swapaxes(from_level, 1, 2)
    return OrientedBoxes(
        centers=centers(dimensions, locations),
        quaternions=quaternions,
        sizes=np.maximum(sizes, MIN_EXTENT),
        covariances=covariances,
        velocities=np.full((count, 3), np.nan) if velocities is None else np.asarray(velocities, np.float64),
        velocity_covariances=np.full((count, 3, 3), np.nan) if velocity_covariances is None else velocity_covariances,
    )
