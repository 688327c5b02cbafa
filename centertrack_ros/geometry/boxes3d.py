"""3D boxes: dimensions (height, width, length), bottom centre and rotation about the camera's downward axis."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.camera import Camera

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
    dimensions: NDArray[np.floating], locations: NDArray[np.floating], rotations_y: NDArray[np.floating]
) -> NDArray[np.float64]:
    """(N, 8, 3) corners, m, optical frame: boxes (N, 3) h, w, l at bottom centres (N, 3), turned by rot_y (N,) rad."""
    h, w, length = np.asarray(dimensions, np.float64).T[:, :, None]
    angle = np.asarray(rotations_y, np.float64)[:, None]
    along, across = length * _LENGTH, w * _WIDTH
    x = np.cos(angle) * along + np.sin(angle) * across
    z = -np.sin(angle) * along + np.cos(angle) * across
    return np.stack([x, h * _HEIGHT, z], axis=2) + np.asarray(locations, np.float64)[:, None]


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


def yaw_in_body(rotations_y: NDArray[np.floating]) -> NDArray[np.float64]:
    """rot_y (N,) in the optical frame -> yaw about the upward axis of the body frame (x forward), in [-pi, pi]."""
    yaw = -np.asarray(rotations_y, np.float64) - np.pi / 2
    return (yaw + np.pi) % (2 * np.pi) - np.pi
