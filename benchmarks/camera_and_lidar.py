#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ids in the view around a vehicle by cameras alone, by a LiDAR's detector alone, and by both together.

    python -m benchmarks.camera_and_lidar [--seeds N] [--first-seed N] [--scene street roundabout] [--cameras 1 6]

The drives and the cameras are those of `benchmarks.multi_camera` with depths off by 10 %. The LiDAR's detector finds
true boxes all around, to 50 m, at 10 Hz and 20 ms late: places off by 0.1 m on each axis, sizes by 5 %, 10 % missing,
and 3 % further boxes where nothing is, with scores like the others. A merged view after each message of the LiDAR is
compared with all objects within 50 m: a box within 2 m of an object is its own.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import process_time

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: many tiny matrices
import numpy as np
from scipy.optimize import linear_sum_assignment

from benchmarks.multi_camera_rig import (
    CLASSES,
    FAR_M,
    MOUNTS,
    CameraSimulation,
    Noise,
    Scene,
    events,
    roundabout,
    street,
    turn,
)
from centertrack_ros.geometry.boxes3d import OrientedBoxes
from centertrack_ros.geometry.transform import Transform, matrix_to_quaternion
from centertrack_ros.tracking.foreign_boxes import GrowingNames
from centertrack_ros.tracking.multi_camera.box_detector import DETECTOR, BoxDetector
from centertrack_ros.tracking.multi_camera.fusion import MultiCameraTracker
from centertrack_ros.tracking.multi_camera.records import CameraTracks, FusedTracks, MultiCameraConfig
from centertrack_ros.tracking.results import BoxFrame, CameraPoses, OutputFrames
from centertrack_ros.types import ForeignBoxes, FrameHeader

SCENES = {"roundabout": roundabout, "street": street}
SENSORS = ("cameras", "lidar", "both")
FRAMES = OutputFrames("base_link", "map")
PERIOD_S, LATE_S, MATCH_M = 0.1, 0.02, 2.0
POSITION_M, SIZE, MISSING, FALSE = 0.1, 0.05, 0.1, 0.03


@dataclass
class Lidar:
    """A detector on the vehicle that sees all around."""

    scene: Scene
    random: np.random.Generator

    def look(self, stamp: float) -> BoxFrame:
        """What it finds at a time, s, in the vehicle's frame."""
        to_world = self.scene.vehicle(stamp)
        to_vehicle, random = to_world.inverse(), self.random
        centers, sizes, yaws, names = [], [], [], []
        ahead = np.arctan2(to_world.rotation[1, 0], to_world.rotation[0, 0])
        for one in self.scene.objects:
            ground, yaw = one.pose(stamp)
            center = to_vehicle.points(np.array([*ground, one.size[2] / 2]))
            if np.linalg.norm(center[:2]) > FAR_M:
                continue
            if random.random() >= MISSING:
                centers.append(center + POSITION_M * random.normal(size=3))
                sizes.append(np.array(one.size) * (1 + SIZE * random.normal(size=3)))
                yaws.append(yaw - ahead + 0.05 * random.normal())
                names.append(CLASSES[one.class_id])
            if random.random() < FALSE:
                bearing, distance = random.uniform(-np.pi, np.pi), random.uniform(5.0, FAR_M)
                centers.append(np.array([distance * np.cos(bearing), distance * np.sin(bearing), 0.8]))
                sizes.append(np.array(one.size))
                yaws.append(bearing)
                names.append(CLASSES[one.class_id])
        count = len(centers)
        turns = np.array([turn(yaw) for yaw in yaws]).reshape(-1, 3, 3)
        boxes = OrientedBoxes(
            centers=np.array(centers).reshape(-1, 3),
            quaternions=matrix_to_quaternion(turns).reshape(-1, 4) if count else np.zeros((0, 4)),
            sizes=np.array(sizes).reshape(-1, 3),
            covariances=np.zeros((count, 6, 6)),
            velocities=np.full((count, 3), np.nan),
            velocity_covariances=np.full((count, 3, 3), np.nan),
        )
        found = ForeignBoxes(boxes, random.uniform(0.4, 0.95, count), np.array(names, np.str_).reshape(-1))
        poses = CameraPoses(Transform.identity(), to_world)
        return BoxFrame(FrameHeader(round(stamp * 1e9), "base_link"), found, poses)


@dataclass
class Scores:
    """How published ids agree with the objects.

    Attributes:
        true: Objects within reach, over all views.
        boxes: Boxes in all views.
        matched: Boxes that are an object's.
        changes: Times that an object's id was another one than the last that it had, no longer ago than an object is
            waited for.
        errors: m, of the matched boxes.
    """

    true: int = 0
    boxes: int = 0
    matched: int = 0
    changes: int = 0
    errors: list[float] = field(default_factory=list)
    _last: dict[int, tuple[int, float]] = field(default_factory=dict)  # id and stamp
    _common: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, view: FusedTracks, scene: Scene) -> None:
        """Counts one merged view."""
        here = scene.vehicle(view.stamp).translation[:2]
        places = np.array([one.pose(view.stamp)[0] for one in scene.objects])
        near = np.flatnonzero(np.linalg.norm(places - here, axis=1) <= FAR_M)
        centers = view.boxes.centers[:, :2]
        within = np.flatnonzero(np.linalg.norm(centers - here, axis=1) <= FAR_M)
        self.true, self.boxes = self.true + len(near), self.boxes + len(within)
        distances = np.linalg.norm(places[near][:, None] - centers[within], axis=2)
        for row, column in zip(*linear_sum_assignment(np.minimum(distances, 10 * MATCH_M)), strict=True):
            if distances[row, column] > MATCH_M:
                continue
            user, track_id = int(near[row]), int(view.ids[within[column]])
            self.matched += 1
            before, seen = self._last.get(user, (track_id, view.stamp))
            self.changes += before != track_id and view.stamp - seen <= MultiCameraConfig.window_s
            self._last[user] = (track_id, view.stamp)
            self._common[user, track_id] = self._common.get((user, track_id), 0) + 1
            self.errors.append(float(distances[row, column]))

    @property
    def idf1(self) -> float:
        """In %: boxes with the one id that stands for their object best, of all boxes and objects."""
        users = {user: i for i, user in enumerate(sorted({user for user, _ in self._common}))}
        ids = {track: i for i, track in enumerate(sorted({track for _, track in self._common}))}
        table = np.zeros((len(users), len(ids)))
        for (user, track), count in self._common.items():
            table[users[user], ids[track]] = count
        rows, columns = linear_sum_assignment(-table)
        return float(200.0 * table[rows, columns].sum() / max(self.true + self.boxes, 1))


def run(scene: Scene, seconds: float, seed: int, sensors: str, cameras: int) -> Scores:
    """Drives through the scene.

    Args:
        scene: The world.
        seconds: How long.
        seed: Of the errors.
        sensors: One of `SENSORS`.
        cameras: How many of `MOUNTS`, from the front one on.
    """
    random = np.random.default_rng(seed)
    names = list(MOUNTS)[:cameras]
    simulations = {name: CameraSimulation(name, scene, Noise.of_depth(0.1), random) for name in names}
    config, scores = MultiCameraConfig(), Scores()
    lidar, detector = Lidar(scene, np.random.default_rng(seed + 1)), BoxDetector(GrowingNames(CLASSES))
    tracker = MultiCameraTracker([*names, DETECTOR], CLASSES, config)
    tracker.take_boxes_of(DETECTOR, CLASSES, len(CLASSES))
    due, result = PERIOD_S, None
    for batch in events(seconds, np.random.default_rng(seed + 2)):
        observations: list[CameraTracks] = []
        if sensors != "lidar":
            observations = [simulations[name].look(stamp) for stamp, name in batch if name in simulations]
        now = max(stamp for stamp, _ in batch)
        if observations:
            result = tracker.step(observations)
            detector.take_image(max(o.stamp for o in observations))
        if now < due + LATE_S:
            continue
        if sensors != "cameras":
            frame = lidar.look(due)
            assert isinstance(frame.poses, CameraPoses)
            result = tracker.step([detector.observe(frame, frame.poses, FRAMES, config)[0]])
        due += PERIOD_S
        if result is not None:
            scores.add(result.tracks, scene)
    return scores


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="drives for each line of the table (default: 3)")
    parser.add_argument("--first-seed", type=int, default=100, help="of the first drive (default: 100)")
    parser.add_argument("--scene", nargs="+", choices=SCENES, default=list(SCENES))
    parser.add_argument("--cameras", type=int, nargs="+", choices=range(1, len(MOUNTS) + 1), default=[1, 6])
    args = parser.parse_args(arguments)
    columns = ("true", "boxes", "missed %", "false %", "changes", "IDF1", "error m", "CPU s")
    print(f"{'scene':<12}{'cameras':>8}  {'by':<8}" + "".join(f"{name:>10}" for name in columns))
    for scene in args.scene:
        for cameras in args.cameras:
            for sensors in SENSORS:
                start = process_time()
                drives = [
                    run(*SCENES[scene](seed), seed, sensors, cameras)
                    for seed in range(args.first_seed, args.first_seed + args.seeds)
                ]
                true, boxes, matched, changes = (
                    sum(getattr(one, name) for one in drives) for name in ("true", "boxes", "matched", "changes")
                )
                errors = np.concatenate([one.errors for one in drives])
                print(
                    f"{scene:<12}{cameras:>8}  {sensors:<8}{true:>10}{boxes:>10}{100 * (1 - matched / true):>10.1f}"
                    f"{100 * (1 - matched / max(boxes, 1)):>10.1f}{changes:>10}"
                    f"{np.mean([one.idf1 for one in drives]):>10.1f}{errors.mean():>10.2f}"
                    f"{process_time() - start:>10.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
