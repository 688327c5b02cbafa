# SPDX-License-Identifier: Apache-2.0
"""From depth, dimensions and observation angle to boxes in the camera's optical frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes3d import rotations_from_alpha
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.types import Detections

# px (original image) by which a network's centre is commonly off: the lateral part of a 3D box's uncertainty.
CENTER_SIGMA_PX = 4.0

_DIAGONAL = np.arange(3)


def lift_heads(detections: Detections, camera: Camera, depth_sigma: float = 0.1) -> Detections:
    """The detections with locations, rotations_y and covariances, from the depth, dimension and rotation heads.

    camera  belongs to the image that the detections were made in
    Locations are bottom centres, m, optical frame. Raises ValueError when the heads are missing.
    """
    if detections.depths is None or detections.dimensions is None or detections.alphas is None:
        raise ValueError("lifting by heads needs a model with dep, dim and rot heads")
    pixels = detections.centers if detections.amodal_centers is None else detections.amodal_centers
    pixels = camera.undistort(pixels)
    middles = camera.unproject(pixels, detections.depths)
    locations = middles.copy()
    locations[:, 1] += detections.dimensions[:, 0] / 2
    return replace(
        detections,
        locations=locations.astype(np.float32),
        rotations_y=rotations_from_alpha(
            detections.alphas, pixels[:, 0], camera.projection[0, 2], camera.projection[0, 0]
        ).astype(np.float32),
        location_covariances=ray_covariances(middles, depth_sigma * np.abs(middles[:, 2]), camera),
    )


def focal_correction(camera: Camera, input_scale: float, trained_focal_length: float) -> float:
    """Factor on depths for a camera other than the one that the model was trained with.

    A network sees sizes in its input's px: the same picture through a longer lens is farther away.
    input_scale  network input px per image px;  trained_focal_length  px at network input size
    """
    return camera.focal[0] * input_scale / trained_focal_length


def ray_covariances(
    points: NDArray[np.floating], depth_sigmas: NDArray[np.floating], camera: Camera
) -> NDArray[np.float64]:
    """(N, 3, 3) m²: `depth_sigmas` (N,), m, along the viewing ray through `points` (N, 3), a few px across it."""
    distances = np.maximum(np.linalg.norm(points, axis=1), 1e-6)
    rays = points / distances[:, None]
    along = np.asarray(depth_sigmas, np.float64) * distances / np.maximum(np.abs(points[:, 2]), 1e-6)
    across = CENTER_SIGMA_PX * distances / camera.focal[0]
    return spreads_along(rays, along, across)


def spreads_along(
    rays: NDArray[np.float64], along: NDArray[np.float64], across: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N, 3, 3): covariances of what is unsure by `along` (N,) on rays (N, 3) of length 1, by `across` (N,) beside."""
    covariances = rays[:, :, None] * (rays * (along**2 - across**2)[:, None])[:, None, :]
    covariances[:, _DIAGONAL, _DIAGONAL] += across[:, None] ** 2
    return covariances
