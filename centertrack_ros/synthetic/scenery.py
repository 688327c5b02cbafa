# SPDX-License-Identifier: Apache-2.0
"""Everything that does not move: ground, markings, houses, trees, lamps, the sky."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.synthetic import textures as tex
from centertrack_ros.synthetic.meshes import Mesh, box, cylinder, ellipsoid, merge, quad, ribbon
from centertrack_ros.synthetic.renderer import Light, Renderer
from centertrack_ros.synthetic.road import Road

# Painter's order of what lies flat on the ground.
SKY, GROUND, STRIP, CROSS, LANE, MARKING, SHADOW = range(7)
CHUNK = 40.0  # m of road per node, so that what is behind the camera is culled
# How far off (m) a kind of thing is still drawn; houses (other textures) always are.
REACH = {"plain": 70.0, "foliage": 130.0, "bark": 70.0}
# Where crowns of trees become coarser: they are a third of all triangles.
COARSE = 45.0

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Weather:
    """overcast and dusk in 0..1; `sun` (3,) points from the sun into the scene."""

    overcast: float
    dusk: float
    sun: Array

    @property
    def light(self) -> Light:
        """Sun and sky light that go with it."""
        bright = 1.0 - 0.45 * self.dusk
        warm = np.array([1.0, 0.96 - 0.1 * self.dusk, 0.88 - 0.25 * self.dusk])
        return Light(
            self.sun,
            warm * 0.62 * (1 - 0.85 * self.overcast) * bright,
            np.array([0.58, 0.6, 0.65]) * (1 + 0.35 * self.overcast) * bright,
        )

    @property
    def shadow(self) -> float:
        """Opacity of shadows."""
        return 0.25 + 0.25 * (1 - self.overcast)


def make_weather(rng: np.random.Generator) -> Weather:
    """Mostly day, sometimes overcast or dusk."""
    overcast = float(rng.choice([0.0, 1.0, rng.random()]))
    dusk = float(rng.uniform(0.3, 1.0)) if rng.random() < 0.2 else 0.0
    azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.3) * (1 - 0.4 * dusk)
    sun = -np.array([np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)])
    return Weather(overcast, dusk, np.array([0.0, 0.0, -1.0]) * 0.9 + sun * 0.1 if overcast > 0.8 else sun)


class _Stage:
    """Collects meshes by texture and place before they go to the renderer as few nodes."""

    def __init__(self, renderer: Renderer, look: int, rng: np.random.Generator) -> None:
        self.renderer, self.rng, self._look = renderer, rng, look
        self._solid: dict[tuple[str, int, int, tuple[float, float]], list[Mesh]] = defaultdict(list)
        self._flat: dict[tuple[int, str, int], list[Mesh]] = defaultdict(list)
        self.casts: list[Mesh] = []

    def kind(self, name: str, count: int) -> int:
        """The seed of one of `count` textures of a kind."""
        return self._look * 1000 + int(self.rng.integers(count))

    def solid(self, mesh: Mesh, kind: str, seed: int, station: float, coarse: Mesh | None = None) -> None:
        """A thing that stands at `station` of the road; `coarse` takes its place beyond `COARSE`."""
        chunk, reach = int(station // CHUNK), REACH.get(kind, 260.0)
        self._solid[kind, seed, chunk, (0.0, reach if coarse is None else COARSE)].append(mesh)
        if coarse is not None:
            self._solid[kind, seed, chunk, (COARSE, reach)].append(coarse)

    def flat(self, mesh: Mesh, layer: int, kind: str, seed: int) -> None:
        self._flat[layer, kind, seed].append(mesh)

    def finish(self) -> None:
        for (kind, seed, _, (beyond, reach)), meshes in self._solid.items():
            self.renderer.add(merge(meshes), tex.material(kind, seed), reach=reach, beyond=beyond)
        for (layer, kind, seed), meshes in self._flat.items():
            self.renderer.add(merge(meshes), tex.material(kind, seed), layer=layer, occludes=False)


def _strip(
    road: Road,
    left: float,
    right: float,
    color: tuple[float, float, float],
    metres: tuple[float, float],
    step: int = 4,
    span: tuple[float, float] | None = None,
) -> Mesh:
    low, high = (road.stations[0], road.stations[-1] - 1) if span is None else span
    stations = (
        np.arange(low, high, step) if span is None else np.linspace(low, high, max(2, int((high - low) / step) + 1))
    )
    a, _ = road.at(stations, np.full(len(stations), left))
    b, _ = road.at(stations, np.full(len(stations), right))
    zero = np.zeros((len(stations), 1))
    return ribbon(np.hstack([a, zero]), np.hstack([b, zero]), color, metres, stations - low)


def _straight(
    origin: Array,
    bearing: float,
    along: tuple[float, float],
    across: tuple[float, float],
    color: tuple[float, float, float],
    metres: tuple[float, float] = (4.0, 4.0),
    pieces: int = 8,
) -> Mesh:
    direction = np.array([np.cos(bearing), np.sin(bearing)])
    normal = np.array([-direction[1], direction[0]])
    at = np.linspace(*along, pieces + 1)
    edges = [origin + at[:, None] * direction + normal * offset for offset in (max(across), min(across))]
    zero = np.zeros((pieces + 1, 1))
    return ribbon(np.hstack([edges[0], zero]), np.hstack([edges[1], zero]), color, metres, at)


def _ground(stage: _Stage, road: Road, paved: bool) -> None:
    rng = stage.rng
    kind = "paving" if paved else "grass"
    middle, _ = road.at(np.array([100.0]))
    (x, y), size, cell = middle[0], 640.0, 160.0
    grass = stage.kind(kind, 6)
    low = np.arange(-size, size, cell)
    ys = y + np.arange(-size, size + 1, cell)
    for gx in low:
        right = np.stack([np.full_like(ys, x + gx + cell), ys, np.zeros_like(ys)], 1)
        left = np.stack([np.full_like(ys, x + gx), ys, np.zeros_like(ys)], 1)
        stage.flat(ribbon(left, right, (1, 1, 1), (5.0, 5.0), ys - ys[0]), GROUND, kind, grass)
    paving, asphalt, tone = stage.kind("paving", 8), stage.kind("asphalt", 8), rng.uniform(0.8, 1.1)
    kerb, walk = road.kerb, road.sidewalk
    for side in (-1, 1):
        inner, outer = side * kerb, side * (kerb + walk)
        stage.flat(_strip(road, max(inner, outer), min(inner, outer), (tone,) * 3, (3.0, 3.0)), STRIP, "paving", paving)
        edge = side * (kerb + 0.25)
        stage.flat(_strip(road, max(inner, edge), min(inner, edge), (0.72,) * 3, (1.0, 1.0)), STRIP, "plain", 1)
    for station in road.crossings:
        (point,), (heading,) = road.at(np.array([station]))
        half = road.cross_half
        for way in (-1, 1):
            bearing = heading + way * np.pi / 2
            stage.flat(
                _straight(point, bearing, (0, 110), (-half - 2.5, half + 2.5), (tone,) * 3, (3.0, 3.0)),
                STRIP,
                "paving",
                paving,
            )
            stage.flat(_straight(point, bearing, (0, 110), (-half, half), (1, 1, 1)), CROSS, "asphalt", asphalt)
    stage.flat(_strip(road, kerb, -kerb, (1, 1, 1), (4.0, 4.0)), LANE, "asphalt", asphalt)
    if road.parking and rng.random() < 0.5:
        for side in (-1, 1):
            a, b = side * (kerb - road.parking), side * kerb
            stage.flat(
                _strip(road, max(a, b), min(a, b), (0.85, 0.82, 0.8), (2.0, 2.0)),
                LANE,
                "paving",
                stage.kind("paving", 8),
            )


def _markings(stage: _Stage, road: Road, length: float) -> None:
    rng = stage.rng
    white = (rng.uniform(0.75, 0.95),) * 3
    edge = road.lanes * road.lane

    def line(
        lateral: float, a: float, b: float, width: float = 0.14, color: tuple[float, float, float] = white
    ) -> None:
        if not road.near_crossing(a, 4.0) and not road.near_crossing(b, 4.0):
            stage.flat(
                _strip(road, lateral + width / 2, lateral - width / 2, color, (1, 1), 3, (a, b)), MARKING, "plain", 1
            )

    double = rng.random() < 0.4
    middle = (0.85, 0.7, 0.15) if rng.random() < 0.3 else white
    for station in np.arange(-60, length, 6.0):
        if double:
            line(0.15, station, station + 6, color=middle)
            line(-0.15, station, station + 6, color=middle)
        else:
            line(0.0, station, station + 3.2, color=middle)
        for side in (-1, 1):
            for lane in range(1, road.lanes):
                line(side * lane * road.lane, station, station + 3)
            line(side * edge, station, station + 6, 0.12)
    for station in road.crossings:
        for side in (-1, 1):
            at = station + side * (road.cross_half + 1.8)
            for lateral in np.arange(-road.kerb + 0.3, road.kerb - 0.6, 1.0):
                stage.flat(
                    _strip(road, lateral + 0.5, lateral, white, (1, 1), 3, (at - 1.4, at + 1.4)), MARKING, "plain", 1
                )
            stop = station + side * (road.cross_half + 4.6)
            low, high = (0.1, edge) if side > 0 else (-edge, -0.1)
            stage.flat(_strip(road, high, low, white, (1, 1), 1, (stop - 0.2, stop + 0.2)), MARKING, "plain", 1)


def _house(
    stage: _Stage, center: Array, yaw: float, size: tuple[float, float, float], station: float, shop: bool
) -> None:
    length, depth, height = size
    facade, rng = stage.kind("facade", 24), stage.rng
    tint = rng.uniform(0.8, 1.1) * (1 + rng.normal(0, 0.04, 3))
    base = 3.6 if shop else 0.0
    tiles = max(1, round(length / 7.5))
    region = (0.0, 0.0, float(tiles), max(1, round((height - base) / 3.1)) / 2)
    offset = (float(center[0]), float(center[1]), 0.0)
    walls = box((-length / 2, -depth / 2, base), (length / 2, depth / 2, height), tint, region)
    stage.solid(walls.moved(offset, yaw), "facade", facade, station)
    if shop:
        ground = box((-length / 2, -depth / 2, 0), (length / 2, depth / 2, base), (1, 1, 1), (0, 0, float(tiles), 1))
        stage.solid(ground.moved(offset, yaw), "shop", stage.kind("shop", 12), station)
    roof = rng.uniform(0.25, 0.6) * np.array([1.0, rng.uniform(0.6, 1), rng.uniform(0.5, 1)])
    if height < 14 and rng.random() < 0.6:
        ridge, top = rng.uniform(1.5, 3.5), height
        x, y = length / 2 + 0.3, depth / 2 + 0.4
        a, b, c, d = (-x, -y, top), (x, -y, top), (x, y, top), (-x, y, top)
        e, f = (-x, 0, top + ridge), (x, 0, top + ridge)
        gable = merge(
            [
                quad([a, b, f, e], roof, (0, 0, 6, 3)),
                quad([c, d, e, f], roof, (0, 0, 6, 3)),
                quad([b, c, f, f], tint),
                quad([d, a, e, e], tint),
            ]
        )
        stage.solid(gable.moved(offset, yaw), "roof", 2, station)
    else:
        rim = box(
            (-length / 2 - 0.25, -depth / 2 - 0.25, height - 0.5),
            (length / 2 + 0.25, depth / 2 + 0.25, height + 0.25),
            roof,
        )
        stage.solid(rim.moved(offset, yaw), "roof", 2, station)
    stage.casts.append(box((-length / 2, -depth / 2, 0), (length / 2, depth / 2, height), (0, 0, 0)).moved(offset, yaw))


def _houses(stage: _Stage, road: Road, length: float, clear: tuple[Array, float] | None) -> None:
    rng = stage.rng
    shops, tall = rng.random(), rng.uniform(6, 22)
    for side in (-1, 1):
        setback = road.kerb + road.sidewalk + (0.3 if rng.random() < 0.5 else rng.uniform(2, 9))
        built, station = rng.uniform(0.35, 1.0), -120.0
        while station < length:
            wide = float(rng.uniform(9, 24))
            depth, height = float(rng.uniform(8, 14)), float(np.clip(rng.normal(tall, 4), 4.5, 34))
            middle = station + wide / 2
            (point,), (heading,) = road.at(np.array([middle]), np.array([side * (setback + depth / 2)]))
            free = clear is None or np.hypot(*(point - clear[0])) > clear[1] + wide / 2
            if not road.near_crossing(middle, wide / 2 + 1.5) and free:
                if rng.random() < built:
                    _house(
                        stage,
                        point,
                        float(heading + (np.pi if side > 0 else 0)),
                        (wide, depth, height),
                        middle,
                        rng.random() < shops,
                    )
                elif rng.random() < 0.5:
                    low = box(
                        (-wide / 2, -0.4, 0),
                        (wide / 2, 0.4, rng.uniform(0.8, 1.9)),
                        (0.45, 0.75, 0.4),
                        (0, 0, wide / 2, 1),
                    )
                    (hedge,), _ = road.at(np.array([middle]), np.array([side * (setback + 0.3)]))
                    stage.solid(low.moved((*hedge, 0), float(heading)), "foliage", stage.kind("foliage", 6), middle)
            station += wide + (float(rng.uniform(0, 6)) if rng.random() < 0.5 else 0.0)
    _cross_road_houses(stage, road, tall, clear)


def _cross_road_houses(stage: _Stage, road: Road, tall: float, clear: tuple[Array, float] | None) -> None:
    rng = stage.rng
    for station in road.crossings:
        (point,), (heading,) = road.at(np.array([station]))
        for way in (-1, 1):
            bearing = heading + way * np.pi / 2
            direction = np.array([np.cos(bearing), np.sin(bearing)])
            normal = np.array([-direction[1], direction[0]])
            for side in (-1, 1):
                at = road.kerb + road.sidewalk + 18.0
                while at < 75:
                    wide = float(rng.uniform(10, 18))
                    center = point + direction * (at + wide / 2) + normal * side * (road.cross_half + 8.5)
                    if clear is None or np.hypot(*(center - clear[0])) > clear[1] + wide / 2:
                        turned = float(bearing + (np.pi if side > 0 else 0))
                        _house(
                            stage,
                            center,
                            turned,
                            (wide, 9.0, float(np.clip(rng.normal(tall, 4), 4.5, 30))),
                            station,
                            False,
                        )
                    at += wide + float(rng.uniform(0, 8))


def _tree(rng: np.random.Generator, height: float) -> tuple[Mesh, Mesh, Mesh]:
    """Trunk, crown, and the crown as it looks from afar."""
    trunk = height * rng.uniform(0.25, 0.4)
    wood = cylinder((0, 0, 0), (0, 0, trunk + 0.5), (0.16, 0.1), (0.4, 0.32, 0.25), 6, (0, 0, 1, 3))
    green = (
        rng.uniform((0.35, 0.45, 0.2), (0.62, 0.68, 0.38))
        if rng.random() < 0.93
        else rng.uniform((0.65, 0.45, 0.2), (0.8, 0.6, 0.3))
    )
    blobs, coarse = [], []
    for _ in range(int(rng.integers(2, 5))):
        size = (height - trunk) * rng.uniform(0.28, 0.45)
        center = (*(rng.normal(0, size * 0.45, 2)), trunk + (height - trunk) * rng.uniform(0.35, 0.65))
        rough = rng.uniform(0.78, 1.2, (7, 10))
        look = center, (size, size, size * 1.1), green * rng.uniform(0.85, 1.1)
        blobs.append(ellipsoid(*look, 6, 10, (0, 0, 4, 3), rough))
        coarse.append(ellipsoid(*look, 3, 5, (0, 0, 4, 3), rough[::2, ::2]))
    return wood, merge(blobs), merge(coarse)


def _furniture(stage: _Stage, road: Road, length: float, clear: tuple[Array, float] | None) -> None:
    rng = stage.rng
    trees = [_tree(rng, float(rng.uniform(4.5, 10))) for _ in range(5)]
    leaves, bark = stage.kind("foliage", 6), stage.kind("bark", 3)
    spacing, lamps = rng.uniform(7, 30), rng.uniform(22, 40)
    for side in (-1, 1):
        rows = [
            ("tree", spacing, road.kerb + 0.8),
            ("lamp", lamps, road.kerb + 0.4),
            ("sign", 34.0, road.kerb + 0.5),
            ("bin", 27.0, road.kerb + 0.7),
            ("tree", spacing * 1.3, road.kerb + road.sidewalk + rng.uniform(3, 12)),
        ]
        for kind, step, lateral in rows:
            station = -70.0 + rng.uniform(0, step)
            while station < length:
                station += step * rng.uniform(0.7, 1.3)
                if road.near_crossing(station, 5.0):
                    continue
                (point,), (heading,) = road.at(np.array([station]), np.array([side * lateral]))
                if clear is not None and np.hypot(*(point - clear[0])) < clear[1]:
                    continue
                at = (point[0], point[1], 0.0)
                if kind == "tree":
                    wood, crown, coarse = trees[int(rng.integers(len(trees)))]
                    turn, grow = rng.uniform(0, 6.28), rng.uniform(0.8, 1.25)
                    stage.solid(wood.moved(at, turn, (grow,) * 3), "bark", bark, station)
                    place = at, turn, (grow,) * 3
                    stage.solid(crown.moved(*place), "foliage", leaves, station, coarse.moved(*place))
                    top = float(crown.positions[:, 2].max()) * grow
                    stage.casts.append(
                        ellipsoid((*point, top * 0.7), (top * 0.25, top * 0.25, top * 0.3), (0, 0, 0), 3, 6)
                    )
                else:
                    stage.solid(
                        _post(rng, kind).moved(at, float(heading) + (np.pi if side > 0 else 0)), "plain", 2, station
                    )
    for station in road.crossings:
        for side in (-1, 1):
            (point,), (heading,) = road.at(
                np.array([station - side * (road.cross_half + 4.0)]), np.array([-side * (road.kerb + 0.5)])
            )
            light = merge(
                [
                    cylinder((0, 0, 0), (0, 0, 3.2), (0.06, 0.05), (0.3, 0.3, 0.3), 6),
                    box((-0.14, -0.16, 2.5), (0.14, 0.16, 3.4), (0.12, 0.13, 0.12)),
                    quad(
                        [(-0.15, 0.1, 3.1), (-0.15, -0.1, 3.1), (-0.15, -0.1, 3.32), (-0.15, 0.1, 3.32)],
                        (0.9, 0.15, 0.1),
                    ),
                ]
            )
            stage.solid(light.moved((*point, 0), float(heading) + (np.pi if side < 0 else 0)), "plain", 2, station)


def _post(rng: np.random.Generator, kind: str) -> Mesh:
    if kind == "lamp":
        tall = 6.5
        return merge(
            [
                cylinder((0, 0, 0), (0, 0, tall), (0.09, 0.05), (0.35, 0.37, 0.37), 6),
                cylinder((0, 0, tall), (0, 1.4, tall + 0.2), (0.05, 0.04), (0.35, 0.37, 0.37), 5),
                box((-0.12, 1.0, tall + 0.1), (0.12, 1.6, tall + 0.25), (0.8, 0.8, 0.75)),
            ]
        )
    if kind == "sign":
        color = rng.choice(np.array([(0.8, 0.1, 0.1), (0.15, 0.3, 0.7), (0.9, 0.8, 0.2), (0.95, 0.95, 0.95)]))
        disc = cylinder((-0.02, 0, 2.3), (0.02, 0, 2.3), (0.32, 0.32), color, 10, cap=(0, 0, 1, 1))
        return merge([cylinder((0, 0, 0), (0, 0, 2.5), (0.035, 0.035), (0.6, 0.6, 0.6), 5), disc])
    shade = rng.uniform(0.2, 0.5) * rng.uniform(0.75, 1.0, 3)
    if rng.random() < 0.5:
        return cylinder((0, 0, 0), (0, 0, 0.95), (0.24, 0.28), shade, 8, cap=(0, 0, 1, 1))
    return box((-0.3, -0.4, 0), (0.3, 0.4, rng.uniform(0.9, 1.4)), shade)


def _sky(renderer: Renderer, look: int, rng: np.random.Generator, weather: Weather) -> Any:
    """A drum around the camera; returns its handle, which follows the camera."""
    image = tex.sky(np.random.default_rng([look, int(rng.integers(16))]), weather.overcast, weather.dusk)
    angle = np.linspace(0, 2 * np.pi, 25)
    radius = 300.0
    low = np.stack([np.cos(angle) * radius, np.sin(angle) * radius, np.full(25, -6.0)], 1)
    high = low + (0, 0, 206.0)
    # Seen from inside, so the strip runs the other way round.
    wall = ribbon(high, low, (1, 1, 1), (206.0, 2 * np.pi * radius), angle * radius)
    wall = Mesh(wall.positions, wall.normals, wall.colors, np.roll(wall.texcoords, 1, axis=1), wall.triangles[:, ::-1])
    lid = quad([high[i] for i in (0, 6, 12, 18)][::-1], np.asarray(image[0].mean(axis=0)[::-1] / 255))
    node = renderer.add(wall, image, layer=SKY, lit=False, occludes=False)
    renderer.add(lid, layer=SKY, lit=False, occludes=False, parent=node)
    return node


def build(
    renderer: Renderer,
    road: Road,
    rng: np.random.Generator,
    look: int,
    length: float,
    weather: Weather,
    clear: tuple[Array, float] | None = None,
) -> Any:
    """Sets up ground, houses, trees, sky and light.

    Args:
        renderer: Where they go.
        road: Its course.
        rng: Draws the scenery.
        look: Which set of textures.
        length: Up to which station of the road there is scenery, m.
        weather: Sun, clouds and time of day.
        clear: Centre (2,) m and radius m of a circle that stays empty.

    Returns:
        The sky's handle.
    """
    renderer.light(weather.light)
    sky = _sky(renderer, look, rng, weather)
    stage = _Stage(renderer, look, rng)
    _ground(stage, road, paved=clear is not None)
    _markings(stage, road, length)
    _houses(stage, road, length, clear)
    _furniture(stage, road, length, clear)
    stage.finish()
    if weather.overcast < 0.6 and stage.casts:
        renderer.add(
            flattened(merge(stage.casts), weather.sun), layer=SHADOW, lit=False, occludes=False, opacity=weather.shadow
        )
    return sky


def flattened(mesh: Mesh, sun: Array) -> Mesh:
    """The shadow of convex pieces on the ground: each lit face, projected along `sun` (3,).

    It covers each point of the shadow exactly once.
    """
    shadow = mesh.positions.copy()
    shadow[:, :2] -= shadow[:, 2:] * (sun[:2] / sun[2])
    shadow[:, 2] = 0.0
    a, b, c = (shadow[mesh.triangles[:, k], :2] for k in range(3))
    ab, ac = b - a, c - a
    lit = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0] > 1e-6
    black = np.tile([0.0, 0.0, 0.0, 1.0], (len(shadow), 1))
    return Mesh(shadow, np.tile([0.0, 0.0, 1.0], (len(shadow), 1)), black, mesh.texcoords, mesh.triangles[lit])
