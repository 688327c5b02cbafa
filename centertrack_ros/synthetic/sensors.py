# SPDX-License-Identifier: Apache-2.0
"""What a depth camera and a spinning LiDAR measure of the street: true depths with noise, holes and mixed pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.types import DepthImage

Array = NDArray[np.float64]

DEPTH_RANGE = 60.0  # m, of the depth camera
LIDAR_RANGE = 120.0  # m
LIDAR_HEIGHT = 0.4  # m over the camera
RINGS = np.radians(np.linspace(-24.8, 2.0, 64))
TURNS = np.radians(np.arange(-60.0, 60.0, 0.2))
_DEPTH_NOISE = 0.01  # of the depth
_LIDAR_NOISE = 0.02  # m
_DROPOUTS = 0.15  # of the LiDAR's rays
_MIXED = 0.5  # of the rays at an edge that end between both surfaces
_EDGE = 0.05  # of the distance, from which neighbours are two surfaces


def depth_camera(depths: NDArray[np.float32], rng: np.random.Generator, holes: float = 0.05) -> DepthImage:
    """What a depth camera measures: with 1 % noise, nothing beyond its range, and nothing at some pixels.

    Args:
        depths: (H, W) m, the true ones.
        rng: For noise and holes.
        holes: Part of the pixels without a depth.
    """
    seen = depths * (1 + rng.normal(0, _DEPTH_NOISE, depths.shape).astype(np.float32))
    seen[(rng.random(depths.shape) < holes) | (depths > DEPTH_RANGE)] = 0
    return DepthImage(seen)


def spinning_lidar(depths: NDArray[np.float32], focal: float, rng: np.random.Generator) -> Array:
    """The points of a LiDAR of 64 rings, with noise of 2 cm, 15 % dropouts, and mixed pixels at edges.

    Args:
        depths: (H, W) m, of a view from where the LiDAR stands.
        focal: px, of that view.
        rng: For noise, dropouts and mixed pixels.

    Returns:
        (P, 3) m, in the axes of the view.
    """
    height, width = depths.shape
    down, turn = np.meshgrid(-RINGS, TURNS, indexing="ij")
    rays = np.stack([np.cos(down) * np.sin(turn), np.sin(down), np.cos(down) * np.cos(turn)], axis=-1).reshape(-1, 3)
    columns = (rays[:, 0] / rays[:, 2] * focal + width / 2).astype(np.intp)
    rows = (rays[:, 1] / rays[:, 2] * focal + height / 2).astype(np.intp)
    inside = (columns >= 0) & (columns < width - 1) & (rows >= 0) & (rows < height)
    inside &= rng.random(len(rays)) > _DROPOUTS
    rays, columns, rows = rays[inside], columns[inside], rows[inside]
    found, beside = depths[rows, columns].astype(np.float64), depths[rows, columns + 1].astype(np.float64)
    with np.errstate(invalid="ignore"):
        mixed = (
            (np.abs(found - beside) > _EDGE * found) & (rng.random(len(found)) < _MIXED) & np.isfinite(found + beside)
        )
    found[mixed] += rng.random(int(mixed.sum())) * (beside[mixed] - found[mixed])
    distances = found / rays[:, 2] + rng.normal(0, _LIDAR_NOISE, len(found))
    return (rays * distances[:, None])[distances < LIDAR_RANGE]
