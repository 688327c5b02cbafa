# SPDX-License-Identifier: Apache-2.0
"""The options of a street; everything else is drawn from the seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.typed_records import shown

SCENARIOS = ("drive", "fixed")
LOOKS = ("train", "val", "test")
# Focal length over image width of the nuScenes cameras (1266 px at 1600 px).
USUAL_FOCAL = 0.791


@dataclass(frozen=True)
class Mount:
    """A camera on the vehicle.

    Attributes:
        name: Of the camera.
        position: x forward, y left, z up, m from the ground under the vehicle's middle.
        yaw: rad to the left.
        focal: Focal length in image widths.
        pitch: rad, positive looks down.
    """

    name: str
    position: tuple[float, float, float]
    yaw: float
    focal: float = USUAL_FOCAL
    pitch: float = 0.0


def _degrees(angle: float) -> float:
    return float(np.radians(angle))


RIGS: dict[str, tuple[Mount, ...]] = {
    "front": (Mount("CAM_FRONT", (0.6, 0.0, 1.5), 0.0),),
    "six": (
        Mount("CAM_FRONT", (0.8, 0.0, 1.5), 0.0),
        Mount("CAM_FRONT_RIGHT", (0.6, -0.5, 1.5), _degrees(-55)),
        Mount("CAM_BACK_RIGHT", (0.1, -0.5, 1.55), _degrees(-110)),
        Mount("CAM_BACK", (-0.9, 0.0, 1.55), _degrees(180), 0.506),
        Mount("CAM_BACK_LEFT", (0.1, 0.5, 1.55), _degrees(110)),
        Mount("CAM_FRONT_LEFT", (0.6, 0.5, 1.5), _degrees(55)),
    ),
}


@dataclass(frozen=True)
class StreetConfig:
    """One sequence of the synthetic street.

    Attributes:
        seed: Decides on everything that is drawn at random.
        frames: Number of time steps.
        rate: Time steps per second, Hz.
        width: Of each image, px.
        height: Of each image, px.
        rig: 'front' or 'six' (drive only).
        scenario: 'drive': cameras on a vehicle in traffic; 'fixed': a camera on a pole beside a square full of people.
        look: 'train', 'val', 'test': disjoint sets of textures and of road users' shapes.
        density: Factor on the number of road users.
        exposure: Motion blur: how long the shutter is open, s; 0 for none.
        supersampling: Pixels rendered per image pixel and axis.
        focal: Focal length in image widths of the front camera or the pole's; None takes the mount's own.
        max_distance: Road users farther than this are not drawn, m.
        depth: Each camera has a depth camera of the same view; see `sensors.depth_camera`.
        points: Each camera has a LiDAR above it that spins; see `sensors.spinning_lidar`.
    """

    seed: int = 0
    frames: int = 40
    rate: float = 10.0
    width: int = 512
    height: int = 288
    rig: str = "front"
    scenario: str = "drive"
    look: str = "train"
    density: float = 1.0
    exposure: float = 0.0
    supersampling: float = 1.25
    focal: float | None = None
    max_distance: float = 90.0
    depth: bool = False
    points: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (
            ("rig", self.rig, RIGS),
            ("scenario", self.scenario, SCENARIOS),
            ("look", self.look, LOOKS),
        ):
            if value not in known:
                raise ValueError(f"street: {name} must be one of {', '.join(known)}, got {shown(value)}")
        bounds = {
            "frames": (1, 100_000), "rate": (0.5, 120), "width": (32, 4096), "height": (32, 4096), "density": (0, 5),
            "exposure": (0, 0.2), "supersampling": (1, 4), "max_distance": (10, 500), "seed": (0, 2**62),
        }  # fmt: skip
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"street: {name} must be from {low} to {high}, got {value}")
        if self.focal is not None and not 0.2 <= self.focal <= 5:
            raise ValueError(f"street: focal must be from 0.2 to 5 image widths, got {self.focal}")

    @property
    def name(self) -> str:
        """What the files of this street are called."""
        return f"{self.look}_{self.seed:06d}"

    def rng(self, purpose: int) -> np.random.Generator:
        """A stream of random numbers of its own for one `purpose`."""
        return np.random.default_rng([self.seed, LOOKS.index(self.look), purpose])


def optical_rotation(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> NDArray[np.float64]:
    """(3, 3) optical axes (x right, y down, z forward) as columns in a frame with x forward, y left, z up.

    yaw rad to the left, pitch rad downwards, roll rad clockwise
    """
    base = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1.0]])
    about_y = np.array([[cp, 0, sp], [0, 1.0, 0], [-sp, 0, cp]])
    about_x = np.array([[1.0, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return about_z @ about_y @ about_x @ base
