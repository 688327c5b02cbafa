# SPDX-License-Identifier: Apache-2.0
"""The synthetic street: a sequence of images with their complete ground truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.synthetic import scenery
from centertrack_ros.synthetic.actors import CYCLIST, PEDESTRIAN, Model, pool
from centertrack_ros.synthetic.annotations import (
    ActorLabels,
    StreetFrame,
    VisibleActors,
    detections,
    label_actors,
    label_of,
)
from centertrack_ros.synthetic.config import LOOKS, RIGS, Mount, StreetConfig, optical_rotation
from centertrack_ros.synthetic.meshes import box
from centertrack_ros.synthetic.renderer import Renderer
from centertrack_ros.synthetic.road import make_road
from centertrack_ros.synthetic.sensors import LIDAR_HEIGHT, depth_camera, spinning_lidar
from centertrack_ros.synthetic.textures import actor_atlas
from centertrack_ros.synthetic.traffic import make_drive, make_square
from centertrack_ros.types import DepthImage, Tracks

Array = NDArray[np.float64]
BLUR_SAMPLES = 4
# Different sets of textures and shapes within one look.
VARIANTS = 6


@dataclass
class _History:
    """What one camera saw of each road user in the previous frame.

    Attributes:
        centers: Road user -> (2,) px, middle of its visible pixels.
        hits: Road user -> number of frames in a row.
        births: Road user -> stamp of its first frame, s.
    """

    centers: dict[int, NDArray[np.float32]]
    hits: dict[int, int]
    births: dict[int, float]


@dataclass(frozen=True)
class _Body:
    """A road user's handles in the renderer: the whole, its swinging limbs with their parts, its shadow."""

    whole: Any
    limbs: tuple[tuple[Any, Any], ...]
    shadow: Any


class Street:
    """One drawn street; iterating over it gives `StreetFrame`s, camera by camera for each time step.

    Equal configurations give equal bytes. Each iteration starts from the first frame.
    """

    def __init__(self, config: StreetConfig) -> None:
        self.config = config

    def __iter__(self) -> Iterator[StreetFrame]:
        with Renderer.acquire(self.config.width, self.config.height, self.config.supersampling) as renderer:
            yield from Scene(self.config, renderer).frames()

    @property
    def cameras(self) -> dict[str, Camera]:
        """Mount name to camera."""
        return {mount.name: _camera(self.config, mount) for mount in _mounts(self.config)}


@dataclass(frozen=True)
class _PoleCamera:
    """A camera on a pole at the side of a square.

    Attributes:
        height: Above the ground, m.
        radius: Of the square, m.
        distance: From the middle of the square, m.
        tilt: Share of the angle down to that middle by which the camera looks down.
        focal: Focal length in image widths.
    """

    height: float
    radius: float
    distance: float
    tilt: float
    focal: float


def _pole_camera(config: StreetConfig) -> _PoleCamera:
    rng = config.rng(5)
    radius = float(rng.uniform(5, 13))
    return _PoleCamera(
        float(rng.uniform(1.8, 6.5)),
        radius,
        radius + float(rng.uniform(2, 7)),
        float(rng.uniform(0.6, 1.1)),
        float(rng.uniform(0.75, 1.4)),
    )


def _mounts(config: StreetConfig) -> tuple[Mount, ...]:
    if config.scenario == "fixed":
        pole = _pole_camera(config)
        pitch = float(np.arctan2(pole.height - 1.0, pole.distance)) * pole.tilt
        return (
            Mount(
                "CAM_MAST", (0.0, 0.0, pole.height), 0.0, pole.focal if config.focal is None else config.focal, pitch
            ),
        )
    if config.rig == "front" and config.focal is not None:
        return tuple(replace(mount, focal=config.focal) for mount in RIGS[config.rig])
    return RIGS[config.rig]


def _camera(config: StreetConfig, mount: Mount) -> Camera:
    focal = mount.focal * config.width
    projection = np.array([[focal, 0, config.width / 2, 0], [0, focal, config.height / 2, 0], [0, 0, 1, 0]], float)
    return Camera(config.width, config.height, projection)


class Scene:
    """One simulation of a street: its road users and scenery in a renderer, from the first to the last frame."""

    def __init__(self, config: StreetConfig, renderer: Renderer) -> None:
        self.config, self.renderer = config, renderer
        rng = config.rng(0)
        look = LOOKS.index(config.look) * VARIANTS + int(rng.integers(VARIANTS))
        self.models = pool(look)
        lengths = [np.array([model.dimensions[2] for model in models]) for models in self.models]
        seconds = config.frames / config.rate
        self.fixed = config.scenario == "fixed"
        length = 160.0 if self.fixed else 260.0 + 15.0 * seconds
        road = make_road(config.rng(1), length)
        self.weather = scenery.make_weather(config.rng(2))
        self.pole: tuple[Array, float] | None = None
        clear: tuple[Array, float] | None = None
        if self.fixed:
            self.pole, clear = self._square(road)
        self.traffic = (
            make_square(road, config.rng(3), lengths, config.density, tuple(clear[0]), clear[1])
            if clear is not None
            else make_drive(road, config.rng(3), lengths, config.density, seconds)
        )
        self.sky = scenery.build(renderer, road, config.rng(4), look, length, self.weather, clear)
        self.mounts = _mounts(config)
        self.cameras = {mount.name: _camera(config, mount) for mount in self.mounts}
        self._histories = {mount.name: _History({}, {}, {}) for mount in self.mounts}
        self._shadows = renderer.shadows(self.weather.sun)
        self._atlas = actor_atlas(look)
        self._bodies: dict[int, _Body] = {}
        self._stances: dict[int, tuple[float, ...]] = {}  # x, y, yaw, gait in which each body stands in the renderer
        self._sensor = _Sensor(config, self.weather.dusk)

    def _square(self, road: Any) -> tuple[tuple[Array, float], tuple[Array, float]]:
        """Where the pole stands (point, yaw), and the circle (centre, radius m) that houses leave free."""
        rng = self.config.rng(6)
        pole = _pole_camera(self.config)
        radius = pole.radius
        station, side = float(rng.uniform(10, 60)), float(rng.choice([-1, 1]))
        (center,), (heading,) = road.at(np.array([station]), np.array([side * (road.kerb + road.sidewalk + radius)]))
        yaw = (
            float(heading - side * np.pi / 2 + rng.normal(0, 0.4))
            if rng.random() < 0.6
            else float(rng.uniform(-3.1, 3.1))
        )
        foot = center - np.array([np.cos(yaw), np.sin(yaw)]) * pole.distance
        return (foot, yaw), (center, radius + 8)

    def frames(self) -> Iterator[StreetFrame]:
        """Simulates the street and renders each camera at each time step."""
        config = self.config
        for index in range(config.frames):
            if index:
                self.traffic.advance(1.0 / config.rate)
            shake = config.rng(1000 + index).normal(0, 0.0015, 2) if not self.fixed else np.zeros(2)
            for mount in self.mounts:
                yield self._frame(index, mount, shake)

    def pose(self, mount: Mount, shake: Array, later: float = 0.0) -> Array:
        """(4, 4) optical to world of a mount, `later` s after the current instant."""
        if self.pole is not None:
            (x, y), yaw = self.pole
        else:
            x, y = self.traffic.positions[0] + self.traffic.velocities[0] * later
            yaw = self.traffic.yaws[0]
        cos, sin = np.cos(yaw), np.sin(yaw)
        px, py, pz = mount.position
        pose = np.eye(4)
        pose[:3, :3] = optical_rotation(yaw + mount.yaw, mount.pitch + shake[0], shake[1])
        pose[:3, 3] = x + cos * px - sin * py, y + sin * px + cos * py, pz
        return pose

    def _visible_actors(self, pose: Array, half_view: float) -> VisibleActors:
        """The road users that the camera may see; `half_view` is half the image's width over the focal length."""
        traffic = self.traffic
        offset = traffic.positions - pose[:2, 3]
        ahead = offset @ pose[:2, 2]
        beside = np.abs(offset @ pose[:2, 0])
        # Long vehicles and shadows reach into the image from outside.
        within = beside < np.maximum(ahead, 0.0) * half_view + 10.0
        near = (np.hypot(*offset.T) < self.config.max_distance) & (ahead > -8.0) & within
        near[0] = False
        rows = np.flatnonzero(near)
        models = [self.models[c][m] for c, m in zip(traffic.class_ids[rows], traffic.models[rows], strict=True)]
        return VisibleActors(
            rows,
            traffic.class_ids[rows],
            models,
            traffic.positions[rows],
            traffic.yaws[rows],
            traffic.velocities[rows],
            traffic.gait[rows],
        )

    def _body(self, actor: int, model: Model) -> _Body:
        if actor not in self._bodies:
            renderer = self.renderer
            whole = renderer.group()
            limbs = []
            for part in model.parts:
                mesh = part.mesh.moved([-v for v in part.pivot])
                node = renderer.add(mesh, self._atlas, label=label_of(actor, part.rider), parent=whole)
                renderer.swing(node, part.pivot, 0.0)
                if part.swing:
                    limbs.append((node, part))
            height, width, length = model.dimensions * (0.92, 0.94, 0.94)
            slim = 0.5 if model.class_id in (PEDESTRIAN, CYCLIST) else 1.0  # legs apart only now and then
            proxy = box((-length / 2 * slim, -width / 2, 0.02), (length / 2 * slim, width / 2, height), (0, 0, 0))
            shadow = renderer.add(
                proxy,
                layer=scenery.SHADOW,
                lit=False,
                occludes=False,
                parent=self._shadows,
                opacity=self.weather.shadow,
            )
            self._bodies[actor] = _Body(whole, tuple(limbs), shadow)
        return self._bodies[actor]

    def _arrange(self, actors: VisibleActors, later: float) -> None:
        shown = set(actors.ids.tolist())
        for actor, body in self._bodies.items():
            self.renderer.show(body.whole, actor in shown)
            self.renderer.show(body.shadow, actor in shown)
        for actor, model, position, yaw, velocity, gait in zip(
            actors.ids.tolist(),
            actors.models,
            actors.positions,
            actors.yaws,
            actors.velocities,
            actors.gaits,
            strict=True,
        ):
            body = self._body(actor, model)
            stance = (*(position + velocity * later).tolist(), float(yaw), float(gait))
            if self._stances.get(actor) == stance:  # parked, or waiting
                continue
            self._stances[actor] = stance
            at = (*stance[:2], 0.0)
            self.renderer.place(body.whole, at, yaw)
            self.renderer.place(body.shadow, at, yaw)
            for node, part in body.limbs:
                self.renderer.swing(node, part.pivot, part.angle(gait))

    def _render(self, actors: VisibleActors, mount: Mount, shake: Array) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        focal = self.cameras[mount.name].projection[0, 0]
        total: NDArray[np.float32] | None = None
        if self.config.exposure:
            for later in (np.arange(BLUR_SAMPLES) / (BLUR_SAMPLES - 1) - 0.5) * self.config.exposure:
                pose = self.pose(mount, shake, later)
                self._arrange(actors, later)
                image, _ = self.renderer.render(pose[:3, :3], pose[:3, 3], focal, self.sky, ids=False)
                total = image.astype(np.float32) if total is None else total + image
        self._arrange(actors, 0.0)
        pose = self.pose(mount, shake)
        image, labels = self.renderer.render(pose[:3, :3], pose[:3, 3], focal, self.sky)
        assert labels is not None
        return (image if total is None else (total / BLUR_SAMPLES + 0.5).astype(np.uint8)), labels

    def _frame(self, index: int, mount: Mount, shake: Array) -> StreetFrame:
        config, camera, pose = self.config, self.cameras[mount.name], self.pose(mount, shake)
        actors = self._visible_actors(pose, camera.width / 2 / camera.projection[0, 0])
        image, labels = self._render(actors, mount, shake)
        shown = label_actors(labels, actors, camera, pose, actors.class_ids == CYCLIST)
        stamp = index / config.rate
        tracks = self._track(mount.name, shown, camera, pose, stamp)
        return StreetFrame(
            index,
            stamp,
            mount.name,
            self._sensor.expose(image, index),
            camera,
            pose,
            tracks,
            shown.visibility,
            shown.truncation,
            shown.amodal_boxes,
            shown.rider_boxes,
            shown.bicycle_boxes,
            not self.fixed,
            *self._measure(index, camera, pose),
        )

    def _measure(self, index: int, camera: Camera, pose: Array) -> tuple[DepthImage | None, Array | None]:
        """What the sensors of a camera see of the frame that was rendered last."""
        config, focal = self.config, float(camera.focal[0])
        rotation, position = pose[:3, :3], pose[:3, 3]
        depth = points = None
        if config.depth:
            depths = self.renderer.depths(rotation, position, focal)
            depth = depth_camera(depths, config.rng(20_000 + index))
        if config.points:
            above = position - LIDAR_HEIGHT * rotation[:, 1]  # as it is mounted
            points = spinning_lidar(self.renderer.depths(rotation, above, focal), focal, config.rng(30_000 + index))
        return depth, points

    def _track(self, name: str, shown: ActorLabels, camera: Camera, pose: Array, stamp: float) -> Tracks:
        history, actors = self._histories[name], shown.actors.ids.tolist()
        centers = (shown.boxes[:, :2] + shown.boxes[:, 2:]) / 2
        before = np.array(
            [history.centers.get(a, c) for a, c in zip(actors, centers, strict=True)], np.float32
        ).reshape(-1, 2)
        hits = {a: history.hits.get(a, 0) + 1 for a in actors}
        births = {**history.births, **{a: stamp for a in actors if a not in history.births}}
        self._histories[name] = _History(dict(zip(actors, centers, strict=True)), hits, births)
        return Tracks(
            detections(shown, camera, pose, (before - centers).astype(np.float32)),
            np.array(actors, np.int64),
            np.ones(len(actors), np.int64),
            np.array([hits[a] for a in actors], np.int64),
            np.array([births[a] for a in actors], np.float64),
        )


class _Sensor:
    """Exposure, white balance and noise of the camera, drawn once per sequence."""

    def __init__(self, config: StreetConfig, dusk: float) -> None:
        rng = config.rng(7)
        gain = rng.normal(1.0, 0.04, 3) * rng.uniform(0.85, 1.2) * (1 + 0.3 * dusk)
        gamma = rng.uniform(0.8, 1.15)
        levels = np.arange(256) / 255
        curve = np.clip(levels[:, None] * gain, 0, 1) ** gamma * 255
        self._curve = curve.astype(np.uint8).reshape(1, 256, 3)
        sigma = rng.uniform(0.5, 3.5) * (1 + dusk)
        size = (config.height + 64, config.width + 64, 3)
        self._noise = np.clip(rng.standard_normal(size, np.float32) * sigma, -60, 60).astype(np.int16)
        self._config = config

    def expose(self, image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """Applies the response curve and the noise of frame `index` to a rendered image."""
        y, x = self._config.rng(10_000 + index).integers(0, 64, 2)
        height, width = image.shape[:2]
        noise = self._noise[y : y + height, x : x + width]
        return np.asarray(cv2.add(cv2.LUT(image, self._curve), noise, dtype=cv2.CV_8U), np.uint8)
