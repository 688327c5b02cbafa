# SPDX-License-Identifier: Apache-2.0
"""From depth, dimensions and observation angle to boxes in the camera's optical frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes3d import rotations_from_alpha
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.types import Detections

# px (original image), standard deviation of a predicted centre: the lateral part of a 3D box's uncertainty.
CENTER_SIGMA_PX = 4.0

_DIAGONAL = np.arange(3)


def lift_heads(detections: Detections, camera: Camera, depth_sigma: float | NDArray[np.float64] = 0.1) -> Detections:
    """Lifts detections by the depth, dimension and rotation heads (official code, `ddd2locrot`).

    Args:
        detections: N detections with depths, dimensions and alphas.
        camera: The camera of the image that the detections were made in.
        depth_sigma: Relative standard deviation of the depths, of all or (N,) of each.

    Returns:
        The detections with locations (bottom centres, m, optical frame), rotations_y (rad) and location covariances.

    Raises:
        ValueError: The heads are missing.
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
    """Computes the factor on depths for a camera other than the one that the model was trained with.

    A network sees sizes in px of its input: the same image through a longer lens is farther away.

    Args:
        camera: The camera.
        input_scale: Network input px per image px.
        trained_focal_length: px at network input size.

    Returns:
        The factor.
    """
    return camera.focal[0] * input_scale / trained_focal_length


def ray_covariances(
    points: NDArray[np.floating], depth_sigmas: NDArray[np.floating], camera: Camera
) -> NDArray[np.float64]:
    """Computes covariances of points whose depth is uncertain, and whose pixel is by `CENTER_SIGMA_PX`.

    Args:
        points: (N, 3) m, optical frame.
        depth_sigmas: (N,) m.
        camera: The camera.

    Returns:
        (N, 3, 3) m², elongated along the viewing rays.
    """
    distances = np.maximum(np.linalg.norm(points, axis=1), 1e-6)
    rays = points / distances[:, None]
    along = np.asarray(depth_sigmas, np.float64) * distances / np.maximum(np.abs(points[:, 2]), 1e-6)
    across = CENTER_SIGMA_PX * distances / camera.focal[0]
    return covariances_along(rays, along, across)


def covariances_along(
    rays: NDArray[np.float64], along: NDArray[np.float64], across: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Computes covariances from a standard deviation along a direction and one across it.

    Args:
        rays: (N, 3) directions of length 1.
        along: (N,) standard deviations along them.
        across: (N,) standard deviations across them.

    Returns:
        (N, 3, 3).
    """
    covariances = rays[:, :, None] * (rays * (along**2 - across**2)[:, None])[:, None, :]
    covariances[:, _DIAGONAL, _DIAGONAL] += across[:, None] ** 2
    return covariances
