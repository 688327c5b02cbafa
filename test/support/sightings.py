# SPDX-License-Identifier: Apache-2.0
"""What cameras around a vehicle report of objects at given points, for the tests of multi-camera fusion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks import multi_camera_rig
from centertrack_ros.tracking.lifting import ray_covariances
from centertrack_ros.tracking.multi_camera.fusion import MultiCameraTracker
from centertrack_ros.tracking.multi_camera.records import CameraTracks, MultiCameraConfig
from centertrack_ros.types import Detections, Tracks

CAMERAS = list(multi_camera_rig.MOUNTS)
CAR, TRUCK, PEDESTRIAN = (multi_camera_rig.CLASSES.index(name) for name in ("car", "truck", "pedestrian"))
SIZES = {CAR: multi_camera_rig.CAR, TRUCK: multi_camera_rig.TRUCK, PEDESTRIAN: multi_camera_rig.PEDESTRIAN}
# Seen by both cameras: between front (axis 0 deg) and front_left (55 deg), whose pictures overlap around 28 deg.
OVERLAP = np.array([20 * np.cos(np.radians(28)) + 1.6, 20 * np.sin(np.radians(28)) + 0.25, 0.8])
AHEAD = np.array([18.0, 0.0, 0.8])


def sighting(
    camera: str,
    stamp: float,
    points: list[np.ndarray],
    ids: list[int],
    class_ids: list[int] | None = None,
    scores: list[float] | None = None,
    hits: list[int] | None = None,
    births: list[float] | None = None,
    covariances: bool = True,
    lifted: bool = True,
) -> CameraTracks:
    """What a camera of a vehicle that stands still at the origin reports of cars with their middles at `points`."""
    count = len(ids)
    classes = class_ids or [CAR] * count
    model, to_vehicle = multi_camera_rig.mounted(camera)
    middles = to_vehicle.inverse().points(np.array(points).reshape(-1, 3))
    dimensions = np.array([SIZES[c][::-1] for c in classes]).reshape(-1, 3)
    found = Detections.from_boxes(np.zeros((count, 4)), np.array(scores or [0.7] * count), np.array(classes, np.int64))
    if lifted:
        found = replace(
            found,
            dimensions=dimensions,
            locations=middles + dimensions[:, :1] / 2 * [0.0, 1.0, 0.0],
            rotations_y=np.zeros(count),
            alphas=np.zeros(count),
            location_covariances=ray_covariances(middles, 0.1 * middles[:, 2], model) if covariances else None,
        )
    tracks = Tracks(
        detections=found,
        ids=np.array(ids, np.int64),
        ages=np.ones(count, np.int64),
        hits=np.array(hits or [3] * count, np.int64),
        births=np.array(births or [0.0] * count),
    )
    return CameraTracks(camera, stamp, tracks, to_vehicle)


def tracker(**changes: object) -> MultiCameraTracker:
    return MultiCameraTracker(CAMERAS, multi_camera_rig.CLASSES, MultiCameraConfig(**changes))  # type: ignore[arg-type]
