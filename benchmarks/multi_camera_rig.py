# SPDX-License-Identifier: Apache-2.0
"""A simulation of six cameras around a vehicle that drives among moving objects: each camera's tracks, and the truth.

Nothing is rendered and nothing is detected: the tracks of each camera are computed from the scene, exactly or with
errors of monocular detectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from centertrack_ros.geometry.boxes3d import BODY_FROM_OPTICAL
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.tracking.lifting import ray_covariances
from centertrack_ros.tracking.multi_camera.fusion import MultiCameraTracker
from centertrack_ros.tracking.multi_camera.records import CameraTracks, MultiCameraConfig, MultiCameraResult
from centertrack_ros.types import Detections, Tracks

CLASSES = ("car", "truck", "bus", "bicycle", "pedestrian")
WIDTH, HEIGHT = 1600, 900
RATE_HZ = 12.0
FAR_M = 50.0

# Name: position in the vehicle m (x forward, y left, z up), direction of view deg to the left, focal length px.
MOUNTS = {
    "front": ((1.7, 0.0, 1.5), 0.0, 1260.0),
    "front_left": ((1.5, 0.5, 1.5), 55.0, 1260.0),
    "back_left": ((1.0, 0.5, 1.55), 110.0, 1260.0),
    "back": ((0.0, 0.0, 1.55), 180.0, 800.0),
    "back_right": ((1.0, -0.5, 1.55), -110.0, 1260.0),
    "front_right": ((1.5, -0.5, 1.5), -55.0, 1260.0),
}


def turn(yaw: float) -> np.ndarray:
    """(3, 3): rotation to the left by `yaw` rad about the upward axis."""
    return np.array([[np.cos(yaw), -np.sin(yaw), 0.0], [np.sin(yaw), np.cos(yaw), 0.0], [0.0, 0.0, 1.0]])


@cache
def mounted(name: str) -> tuple[Camera, Transform]:
    """The camera, and its optical frame -> the vehicle."""
    position, yaw, focal = MOUNTS[name]
    camera = Camera.from_focal(WIDTH, HEIGHT, focal)
    return camera, Transform(turn(np.radians(yaw)) @ BODY_FROM_OPTICAL, np.array(position))


@dataclass(frozen=True)
class SceneObject:
    """A box that moves: `pose` gives, for a time s, its ground position (2,) m in the world and its heading rad."""

    class_id: int
    size: tuple[float, float, float]  # length, width, height, m
    pose: Callable[[float], tuple[np.ndarray, float]]


def parked(class_id: int, size: tuple[float, float, float], x: float, y: float, yaw: float = 0.0) -> SceneObject:
    """An object that stands at x, y m."""
    return SceneObject(class_id, size, lambda t: (np.array([x, y]), yaw))


def driving(
    class_id: int, size: tuple[float, float, float], x: float, y: float, speed: float, yaw: float
) -> SceneObject:
    """An object that starts at x, y m and moves straight ahead with `speed` m/s."""
    direction = np.array([np.cos(yaw), np.sin(yaw)])
    return SceneObject(class_id, size, lambda t: (np.array([x, y]) + speed * t * direction, yaw))


@dataclass(frozen=True)
class Noise:
    """Relative standard deviations of depth and sizes, px of the projected centre, rad of the heading.

    depth   half of its variance stays the same for as long as a camera sees an object
    missed  probability that a camera's tracker loses an object for a frame
    """

    depth: float = 0.0
    moved_px: float = 0.0
    size: float = 0.0
    heading: float = 0.0
    missed: float = 0.0

    @classmethod
    def of_depth(cls, depth: float) -> Noise:
        """Errors of a monocular detector with this relative error of depths."""
        return cls(depth, moved_px=3.0, size=0.05, heading=0.15, missed=0.05)


@dataclass(frozen=True)
class Scene:
    """The world: where the vehicle is at a time s (vehicle -> world), and the objects around it."""

    vehicle: Callable[[float], Transform]
    objects: tuple[SceneObject, ...]


def winding_drive(speed: float = 8.0, swing: float = 0.8, period: float = 9.0) -> Callable[[float], Transform]:
    """A drive at `speed` m/s whose heading swings by +-`swing` rad."""
    times = np.arange(0.0, 60.0, 0.01)
    yaws = swing * np.sin(2 * np.pi * times / period)
    x, y = (np.cumsum(speed * f(yaws)) * 0.01 for f in (np.cos, np.sin))

    def pose(t: float) -> Transform:
        yaw = swing * np.sin(2 * np.pi * t / period)
        return Transform(turn(yaw), np.array([np.interp(t, times, x), np.interp(t, times, y), 0.0]))

    return pose


def circling_drive(speed: float = 6.0, radius: float = 12.0) -> Callable[[float], Transform]:
    """Round and round to the left: what stands beside the road passes through every camera."""

    def pose(t: float) -> Transform:
        yaw = speed / radius * t
        return Transform(turn(yaw), radius * np.array([np.sin(yaw), 1 - np.cos(yaw), 0.0]))

    return pose


def passing_around(
    vehicle: Callable[[float], Transform], class_id: int, size: tuple[float, float, float], distance: float,
    start: float, seconds: float,
) -> SceneObject:  # fmt: skip
    """An object that goes once around the vehicle in `seconds`, from bearing `start` rad, at about `distance` m."""

    def position(t: float) -> np.ndarray:
        bearing = start + 2 * np.pi * t / seconds
        radius = distance * (1 + 0.15 * np.sin(3 * bearing))
        return vehicle(t).points(radius * np.array([np.cos(bearing), np.sin(bearing), 0.0]))[:2]

    def pose(t: float) -> tuple[np.ndarray, float]:
        step = position(t + 0.05) - position(t - 0.05)
        return position(t), float(np.arctan2(step[1], step[0]))

    return SceneObject(class_id, size, pose)


@dataclass
class _Known:
    """What a camera's tracker keeps of an object."""

    local_id: int
    birth: float
    depth_bias: float
    hits: int = 0
    age: int = 1
    score: float = 0.5


@dataclass
class CameraSimulation:
    """One camera's tracker: a new id for each object whenever it comes into view; a missed frame leaves it lost."""

    name: str
    scene: Scene
    noise: Noise
    random: np.random.Generator
    rebirth_s: float = 0.5
    truth: dict[int, int] = field(default_factory=dict)  # local id -> scene_object
    _known: dict[int, _Known] = field(default_factory=dict)
    _last: dict[int, Detections] = field(default_factory=dict)
    _last_seen: dict[int, float] = field(default_factory=dict)

    def look(self, stamp: float) -> CameraTracks:
        """The camera's tracks at a time, s."""
        camera, mount = mounted(self.name)
        to_world = self.scene.vehicle(stamp) @ mount
        view = to_world.inverse()
        for number, scene_object in enumerate(self.scene.objects):
            self._look_at(number, scene_object, stamp, camera, view)
        for number in [n for n, last in self._last_seen.items() if stamp - last > self.rebirth_s]:
            del self._known[number], self._last[number], self._last_seen[number]
        order = sorted(self._known, key=lambda n: -self._known[n].score)
        known = [self._known[n] for n in order]
        tracks = Tracks(
            detections=Detections.concatenate([self._last[n] for n in order])
            if order
            else Detections.from_boxes(np.zeros((0, 4))),
            ids=np.array([k.local_id for k in known], np.int64),
            ages=np.array([k.age for k in known], np.int64),
            hits=np.array([k.hits for k in known], np.int64),
            births=np.array([k.birth for k in known], np.float64),
        )
        return CameraTracks(self.name, stamp, tracks, to_world)

    def _look_at(self, number: int, scene_object: SceneObject, stamp: float, camera: Camera, view: Transform) -> None:
        found = self._detection(number, scene_object, stamp, camera, view)
        known = self._known.get(number)
        if found is None or (known is not None and self.random.random() < self.noise.missed):
            if known is not None:
                known.hits, known.age = 0, known.age + 1
            return
        if known is None:
            bias = self.noise.depth * np.sqrt(0.5) * self.random.normal()
            known = self._known[number] = _Known(len(self.truth) + 1, stamp, bias)
            self.truth[known.local_id] = number
            found = self._detection(number, scene_object, stamp, camera, view)
            assert found is not None
        known.hits, known.age, known.score = known.hits + 1, 1, float(found.scores[0])
        self._last[number], self._last_seen[number] = found, stamp

    def _detection(
        self, number: int, scene_object: SceneObject, stamp: float, camera: Camera, view: Transform
    ) -> Detections | None:
        """What the camera sees of the object, with errors; None when its middle is not in the picture."""
        ground, yaw = scene_object.pose(stamp)
        length, width, height = scene_object.size
        center = view.points(np.array([*ground, height / 2]))
        if center[2] < 1.0 or np.linalg.norm(center) > FAR_M:
            return None
        pixel = camera.project(center[None])[0]
        if not (0 <= pixel[0] < WIDTH and 0 <= pixel[1] < HEIGHT):
            return None
        known, noise, random = self._known.get(number), self.noise, self.random
        factor = 1 + (known.depth_bias if known else 0.0) + noise.depth * np.sqrt(0.5) * random.normal()
        depth = center[2] * max(factor, 0.3)
        pixel = pixel + noise.moved_px * random.normal(size=2)
        middle = camera.unproject(pixel[None], np.array([depth]))
        dimensions = np.array([[height, width, length]]) * (1 + noise.size * random.normal(size=(1, 3)))
        heading = view.vectors(np.array([np.cos(yaw), np.sin(yaw), 0.0]))
        rotation_y = np.arctan2(-heading[2], heading[0]) + noise.heading * random.normal()
        found = Detections.from_boxes(np.tile(pixel, 2)[None] + [[-20, -20, 20, 20]], random.uniform(0.4, 0.9, 1))
        return Detections(
            scores=found.scores,
            class_ids=np.array([scene_object.class_id], np.int64),
            boxes=found.boxes,
            centers=found.centers,
            displacements=found.displacements,
            dimensions=dimensions.astype(np.float32),
            locations=(middle + [[0.0, dimensions[0, 0] / 2, 0.0]]).astype(np.float32),
            rotations_y=np.array([rotation_y], np.float32),
            alphas=np.array([rotation_y], np.float32),
            location_covariances=ray_covariances(middle, 0.1 * middle[:, 2], camera),
        )


@dataclass
class Counts:
    """What went wrong, and how often it could have.

    changes     times that an object's id in the merged view became another one, though it had not been out of sight for
                longer than an object is waited for
    duplicates  times that an object was in one merged view twice
    mixed       times that one id stood for two objects, one after the other
    missing     times that an object which a camera saw in its newest frame was not in the merged view
    published   boxes in merged views
    frames      merged views
    handovers   times that the camera of an object's box changed
    errors      m, distances of published centres from the truth at the view's stamp
    """

    window_s: float = MultiCameraConfig.window_s
    objects: int = 0
    frames: int = 0
    published: int = 0
    handovers: int = 0
    changes: int = 0
    duplicates: int = 0
    mixed: int = 0
    missing: int = 0
    errors: list[float] = field(default_factory=list)
    _ids: dict[int, int] = field(default_factory=dict)
    _stamps: dict[int, float] = field(default_factory=dict)
    _cameras: dict[int, int] = field(default_factory=dict)
    _owners: dict[int, int] = field(default_factory=dict)

    def add(
        self, result: MultiCameraResult, simulations: dict[str, CameraSimulation], seen: dict[str, set[int]]
    ) -> None:
        """Counts one merged view. `seen`: the objects in the newest frame of each camera."""
        tracks, names = result.tracks, list(simulations)
        truth = [
            simulations[names[camera]].truth[local]
            for camera, local in zip(tracks.cameras.tolist(), tracks.local_ids.tolist(), strict=True)
        ]
        scene = next(iter(simulations.values())).scene
        self.frames += 1
        self.published += len(truth)
        self.duplicates += len(truth) - len(set(truth))
        self.missing += len(set().union(*seen.values()) - set(truth))
        for row, scene_object in enumerate(truth):
            track_id, camera = int(tracks.ids[row]), int(tracks.cameras[row])
            waited = tracks.stamp - self._stamps.get(scene_object, tracks.stamp) <= self.window_s
            self.changes += waited and self._ids.get(scene_object, track_id) != track_id
            self.mixed += self._owners.get(track_id, scene_object) != scene_object
            self.handovers += self._cameras.get(scene_object, camera) != camera
            self._ids[scene_object], self._owners[track_id], self._cameras[scene_object] = (
                track_id,
                scene_object,
                camera,
            )
            self._stamps[scene_object] = tracks.stamp
            ground = scene.objects[scene_object].pose(tracks.stamp)[0]
            self.errors.append(float(np.linalg.norm(tracks.boxes.centers[row, :2] - ground)))
        self.objects = len(self._ids)


def events(seconds: float, random: np.random.Generator) -> Iterator[list[tuple[float, str]]]:
    """Batches of (stamp, camera) in the order of processing: unsynchronised cameras, some frames late by one place."""
    ticks = []
    for number, name in enumerate(MOUNTS):
        phase = (number * 0.37 % 1.0) / RATE_HZ
        stamps = np.arange(phase, seconds, 1 / RATE_HZ)
        ticks += [(float(t), name) for t in stamps + random.uniform(-0.004, 0.004, len(stamps)) + 0.01]
    ticks.sort()
    for i in range(0, len(ticks) - 1, 2):
        if random.random() < 0.2 and ticks[i][1] != ticks[i + 1][1]:
            ticks[i], ticks[i + 1] = ticks[i + 1], ticks[i]
    while ticks:
        size = int(random.integers(1, 4))
        names: set[str] = set()
        batch: list[tuple[float, str]] = []
        while ticks and len(batch) < size and ticks[0][1] not in names:  # the newest frame of a camera wins
            names.add(ticks[0][1])
            batch.append(ticks.pop(0))
        yield batch


def run(
    scene: Scene,
    seconds: float,
    noise: Noise,
    seed: int,
    config: MultiCameraConfig | None = None,
    on_result: Callable[[MultiCameraResult, dict[str, CameraSimulation]], None] | None = None,
    motion_known: bool = True,
    looks: Callable[[CameraTracks, dict[int, int]], CameraTracks] | None = None,
) -> Counts:
    """Drives through the scene and counts what the merged view gets wrong.

    motion_known  False: the common frame is the vehicle, since nobody tells how it moves
    looks         adds what the tracks look like, by the objects' numbers behind the local ids
    """
    random = np.random.default_rng(seed)
    simulations = {name: CameraSimulation(name, scene, noise, random) for name in MOUNTS}
    tracker = MultiCameraTracker(list(MOUNTS), CLASSES, config)
    seen: dict[str, set[int]] = {}
    counts = Counts(tracker.setup.config.window_s)
    for batch in events(seconds, random):
        observations = [simulations[name].look(stamp) for stamp, name in batch]
        if looks is not None:
            observations = [looks(o, simulations[o.camera].truth) for o in observations]
        if not motion_known:
            observations = [replace(o, to_fixed=mounted(o.camera)[1]) for o in observations]
        for observation in observations:
            now = observation.tracks.ids[observation.tracks.hits > 0]
            seen[observation.camera] = {simulations[observation.camera].truth[i] for i in now.tolist()}
        result = tracker.step(observations)
        to_world = Transform.identity() if motion_known else scene.vehicle(result.tracks.stamp)
        counts.add(replace(result, tracks=result.tracks.transformed(to_world)), simulations, seen)
        if on_result is not None:
            on_result(result, simulations)
    return counts


CAR, TRUCK, PEDESTRIAN = (4.5, 1.9, 1.6), (9.0, 2.6, 3.2), (0.7, 0.7, 1.75)


def street(seed: int) -> tuple[Scene, float]:
    """A winding drive between parked cars, oncoming ones and walkers, while two objects go around the vehicle."""
    random = np.random.default_rng(seed)
    vehicle = winding_drive(random.uniform(5, 10), random.uniform(0.4, 0.9))
    start = random.uniform(0, 2 * np.pi)
    objects = [
        passing_around(vehicle, 0, CAR, random.uniform(10, 14), start, 20.0),
        passing_around(vehicle, 4, PEDESTRIAN, random.uniform(5, 8), start + np.pi, -20.0),
    ]
    objects += [parked(0, CAR, x, side * random.uniform(17, 20)) for x in range(-10, 160, 14) for side in (-1, 1)]
    objects += [driving(1, TRUCK, random.uniform(60, 120), -26.0, random.uniform(6, 10), np.pi)]
    objects += [driving(0, CAR, random.uniform(-30, 0), 26.0, random.uniform(9, 14), 0.0)]
    objects += [
        driving(4, PEDESTRIAN, x, side * random.uniform(11, 14), random.uniform(0.8, 1.6), random.uniform(-3, 3))
        for x in range(5, 120, 16)
        for side in (-1, 1)
    ]
    return Scene(vehicle, tuple(objects)), 20.0


def roundabout(seed: int) -> tuple[Scene, float]:
    """Two rounds of a roundabout: all that stands around it passes through every camera, twice."""
    random = np.random.default_rng(seed)
    vehicle = circling_drive(random.uniform(5, 8), random.uniform(9, 14))
    angles = np.arange(0, 2 * np.pi, 2 * np.pi / 9) + random.uniform(0, 1)
    objects = [
        parked(
            0 if i % 2 else 4, CAR if i % 2 else PEDESTRIAN,
            random.uniform(24, 30) * np.cos(a), 12 + random.uniform(24, 30) * np.sin(a), random.uniform(-3, 3),
        )
        for i, a in enumerate(angles)
    ]  # fmt: skip
    return Scene(vehicle, (*objects, passing_around(vehicle, 0, CAR, 9.0, 0.0, 22.0))), 22.0
