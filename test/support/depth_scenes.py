# SPDX-License-Identifier: Apache-2.0
"""Depth images of boxes on a flat ground before a wall, computed ray by ray: the truth is known exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry import boxes3d
from centertrack_ros.geometry.camera import Camera

CAMERA = Camera.from_focal(1280, 720, 900.0)
HEIGHT = 1.5  # m, of the camera over the ground


@dataclass(frozen=True)
class Solid:
    """An upright box that stands on the ground.

    Attributes:
        x: m, of its middle, to the right.
        z: m, of its middle, ahead.
        size: Height, width, length, m.
        angle: rot_y, rad.
    """

    x: float
    z: float
    size: tuple[float, float, float] = (1.6, 1.78, 4.25)
    angle: float = -np.pi / 2

    def box(self, camera: Camera = CAMERA) -> NDArray[np.float64]:
        """(1, 4) px that it covers, whatever stands before it."""
        location = np.array([[self.x, HEIGHT, self.z]])
        return boxes3d.projected_boxes(np.array([self.size]), location, np.array([self.angle]), camera)


def depth_image(*solids: Solid, wall: float = 80.0, camera: Camera = CAMERA, step: int = 2) -> NDArray[np.float32]:
    """(h, w) m, the depths that a perfect sensor of a `step`-th of the camera's resolution measures."""
    u, v = np.meshgrid(np.arange(camera.width)[::step] + step / 2, np.arange(camera.height)[::step] + step / 2)
    fx, fy = camera.focal
    right, down = (u - camera.projection[0, 2]) / fx, (v - camera.projection[1, 2]) / fy
    depths = np.full(u.shape, wall)
    with np.errstate(divide="ignore", invalid="ignore"):
        ground = np.where(down > 1e-6, HEIGHT / down, np.inf)
        depths = np.minimum(depths, ground)
        for solid in solids:
            height, width, length = solid.size
            cos, sin = np.cos(solid.angle), np.sin(solid.angle)
            axes = (
                (cos * right - sin, cos * solid.x - sin * solid.z, length),
                (sin * right + cos, sin * solid.x + cos * solid.z, width),
                (down, HEIGHT - height / 2, height),
            )
            ends = [
                np.sort([(middle - side / 2) / ray, (middle + side / 2) / ray], axis=0) for ray, middle, side in axes
            ]
            enter = np.max([near for near, _ in ends], axis=0)
            leave = np.min([far for _, far in ends], axis=0)
            depths = np.where((enter <= leave) & (enter > 0), np.minimum(depths, enter), depths)
    return depths.astype(np.float32)
