#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Distances by depth images, by a LiDAR and by sizes on the synthetic street: mean errors by source and distance.

    python -m experiments.sensor_depth [--streets N] [--frames N] [--size WIDTH HEIGHT] [--seed N]

The boxes are those of the visible pixels, with jittered edges; tracks are the true ones. The depth image has 1 % noise
and holes of 5 % of its pixels; the LiDAR stands over the camera and has 64 rings, noise of 2 cm, 15 % dropouts and
mixed pixels at edges. Scored are road users of which half is seen, and which are not cut off by the image's border.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.synthetic.actors import CLASSES
from centertrack_ros.synthetic.annotations import StreetFrame
from centertrack_ros.synthetic.config import StreetConfig
from centertrack_ros.synthetic.renderer import Renderer
from centertrack_ros.synthetic.sensors import LIDAR_HEIGHT, depth_camera, spinning_lidar
from centertrack_ros.synthetic.street import Scene
from centertrack_ros.tracking.box_lifter import SizePriorLifter
from centertrack_ros.tracking.sensor_depth import SensorView
from centertrack_ros.types import BoxMemory, DepthImage, Points, Tracks

Array = NDArray[np.float64]
BINS = ((0.0, 10.0), (10.0, 20.0), (20.0, 30.0), (30.0, 50.0))  # m


@dataclass(frozen=True)
class Measured:
    """What the sensors saw of one frame: sources by name, None where a source has nothing in this frame."""

    frame: StreetFrame
    views: dict[str, SensorView | None]


def turned(points: Array, degrees: float) -> Array:
    """The points as a calibration sees them that is wrong by so many degrees, about the upward axis and the right."""
    angle = np.radians(degrees) / np.sqrt(2)
    cos, sin = np.cos(angle), np.sin(angle)
    yaw = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    pitch = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    return points @ (yaw @ pitch).T


def measure(config: StreetConfig) -> Iterator[Measured]:
    """Renders a street with what its sensors see."""
    rng = np.random.default_rng(config.seed)
    with Renderer.acquire(config.width, config.height, config.supersampling) as renderer:
        for frame in Scene(config, renderer).frames():
            rotation, position, focal = frame.pose[:3, :3], frame.pose[:3, 3], frame.camera.focal[0]
            depths = renderer.depths(rotation, position, focal)
            above = position + np.array([0, 0, LIDAR_HEIGHT])
            points = spinning_lidar(renderer.depths(rotation, above, focal), focal, rng)
            shift = rotation.T @ (above - position)
            camera = frame.camera

            def view(
                depth: DepthImage | None = None, cloud: Array | None = None, camera: Camera = camera
            ) -> SensorView:
                return SensorView(camera, depth, None if cloud is None else Points(cloud.astype(np.float32)))

            half = view(depth_camera(depths, rng, 0.5)) if frame.index % 4 < 2 else None
            dense = depth_camera(depths, rng)
            views = {
                "size prior": None,
                "depth image": view(dense),
                "half missing": half,
                "points": view(cloud=points + shift),
                "depth image and points": view(dense, points + shift),
                "points, 1 degree off": view(cloud=turned(points, 1.0) + shift),
            }
            yield Measured(frame, views)


def jittered(tracks: Tracks, rng: np.random.Generator) -> Tracks:
    """The tracks with the edges of their boxes off by 2 % of the sides, as a detector's."""
    boxes = tracks.detections.boxes
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moved = (boxes + sides * rng.normal(0, 0.02, boxes.shape)).astype(np.float32)
    flat = replace(
        tracks.detections, boxes=moved, depths=None, dimensions=None, locations=None, alphas=None, rotations_y=None,
        amodal_centers=None, velocities=None,
    )  # fmt: skip
    return replace(tracks, detections=flat)


def errors(streets: int, frames: int, size: tuple[int, int], first: int = 0) -> dict[str, Array]:
    """Source -> (M, 3): class, true distance and estimated one, m."""
    lifter = SizePriorLifter(CLASSES)
    found: dict[str, list[Array]] = {}
    for seed in range(first, first + streets):
        config = StreetConfig(seed=seed, frames=frames, look="test", width=size[0], height=size[1])
        memories: dict[str, BoxMemory] = {}
        rng = np.random.default_rng(seed)
        for measured in measure(config):
            frame = measured.frame
            true = frame.tracks.detections
            tracks = jittered(frame.tracks, rng)
            scored = frame.clear(0.5, 12.0) & (frame.truncation < 0.05)
            for name, view in measured.views.items():
                lifted, memories[name] = lifter.lift_tracks(
                    tracks, frame.camera, frame.stamp, memories.get(name, BoxMemory()), view=view
                )
                assert true.depths is not None and lifted.detections.depths is not None
                rows = np.stack([true.class_ids, true.depths, lifted.detections.depths], axis=1)
                found.setdefault(name, []).append(rows[scored].astype(np.float64))
    return {name: np.concatenate(rows) for name, rows in found.items()}


def table(found: dict[str, Array]) -> str:
    """Mean errors in %, by source and distance."""
    lines = [
        f"{'mean error, %':<22}" + "".join(f"{f'{low:g}-{high:g} m':>10}" for low, high in BINS) + f"{'to 30 m':>10}"
    ]
    for name, rows in found.items():
        relative = np.abs(rows[:, 2] / rows[:, 1] - 1) * 100
        bins = [*BINS, (0.0, 30.0)]
        means = [relative[(rows[:, 1] >= low) & (rows[:, 1] < high)] for low, high in bins]
        lines.append(f"{name:<22}" + "".join(f"{values.mean() if len(values) else np.nan:>10.2f}" for values in means))
    for row, name in enumerate(CLASSES):
        near = {
            source: np.abs(rows[:, 2] / rows[:, 1] - 1)[(rows[:, 0] == row) & (rows[:, 1] < 30)] * 100
            for source, rows in found.items()
        }
        count = len(next(iter(near.values())))
        if count:
            texts = ", ".join(f"{source} {values.mean():.2f}" for source, values in near.items())
            lines.append(f"  {name} to 30 m ({count}): {texts}")
    return "\n".join(lines)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streets", type=int, default=8)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--size", type=int, nargs=2, default=(512, 288), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--seed", type=int, default=0, help="of the first street")
    args = parser.parse_args()
    print(table(errors(args.streets, args.frames, tuple(args.size), args.seed)))


if __name__ == "__main__":
    main()
