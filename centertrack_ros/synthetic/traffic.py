# SPDX-License-Identifier: Apache-2.0
"""The motion of road users along their paths: they keep their distance and stop at red lights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.synthetic.actors import BUS, CAR, CYCLIST, PEDESTRIAN, TRUCK
from centertrack_ros.synthetic.road import Road

Array = NDArray[np.float64]

# Traffic lights: seconds of main green, all red, cross green, all red.
PHASES = (14.0, 2.0, 12.0, 2.0)
STEP = 0.1  # s, longest step of the simulation
NO_LANE = -1


@dataclass
class Traffic:
    """The state of N road users; paths are the main road or straight lines of their own.

    class_ids, models (N,) int; lane (N,) int: those of one lane follow each other, NO_LANE is free
    progress (N,) m along the direction of travel;  speed, desired_speed (N,) m/s;  length (N,) m
    lateral (N,) m to the left of the path's own direction;  sway (N, 3) amplitude m, rate rad/s, phase
    on_road (N,) bool: the path is the main road, travelled in `direction` (+1, -1)
    origin (N, 2), bearing (N,): start and heading of the straight paths
    parked_yaw (N,) rad added to the heading
    stops (N, S) progress at which a red light stops, NaN for none; stop_phase (N,) 0: obeys the main road's light, 1:
    the cross road's
    gait (N,) rad phase of the legs
    """

    road: Road
    class_ids: NDArray[np.int64]
    models: NDArray[np.int64]
    lane: NDArray[np.int64]
    progress: Array
    speed: Array
    desired_speed: Array
    length: Array
    lateral: Array
    sway: Array
    on_road: NDArray[np.bool_]
    direction: Array
    origin: Array
    bearing: Array
    parked_yaw: Array
    stops: Array
    stop_phase: NDArray[np.int64]
    gait: Array
    clock: float = 0.0

    def __post_init__(self) -> None:
        self.positions, self.yaws = self._pose()
        self.velocities = np.zeros_like(self.positions)
        self._update_velocities()

    def __len__(self) -> int:
        return len(self.class_ids)

    def _pose(self) -> tuple[Array, Array]:
        offset = self.lateral + self.sway[:, 0] * np.sin(self.sway[:, 1] * self.clock + self.sway[:, 2])
        point, heading = self.road.at(self.progress * self.direction, offset * self.direction)
        heading = heading + np.where(self.direction < 0, np.pi, 0.0)
        along = np.stack([np.cos(self.bearing), np.sin(self.bearing)], 1)
        left = np.stack([-along[:, 1], along[:, 0]], 1)
        straight = self.origin + along * self.progress[:, None] + left * offset[:, None]
        position = np.where(self.on_road[:, None], point, straight)
        yaw = np.where(self.on_road, heading, self.bearing) + self.parked_yaw
        return position, yaw

    def _update_velocities(self) -> None:
        """Velocities (N, 2) m/s of the current instant, from a step of a millisecond."""
        before = self.positions
        keep = self.progress, self.clock
        self.progress, self.clock = self.progress + self.speed * 1e-3, self.clock + 1e-3
        after, _ = self._pose()
        self.progress, self.clock = keep
        self.velocities = (after - before) / 1e-3

    def red(self, clock: float) -> tuple[bool, bool]:
        """Whether the main road and the cross roads must stop."""
        t = clock % sum(PHASES)
        return t >= PHASES[0], not sum(PHASES[:2]) <= t < sum(PHASES[:3])

    def advance(self, seconds: float) -> None:
        """Move everyone by `seconds`."""
        count = max(1, int(np.ceil(seconds / STEP - 1e-9)))
        for _ in range(count):
            self._step(seconds / count)
        self.positions, self.yaws = self._pose()
        self._update_velocities()

    def _step(self, dt: float) -> None:
        gap, closing = self._gaps()
        desired_speed = np.maximum(self.desired_speed, 0.1)
        desired_gap = 2.0 + self.speed * 1.3 + self.speed * closing / (2 * np.sqrt(1.5 * 2.0))
        acceleration = 1.5 * (
            1 - (self.speed / desired_speed) ** 4 - (np.maximum(desired_gap, 0.5) / np.maximum(gap, 0.3)) ** 2
        )
        acceleration = np.where(self.desired_speed > 0, np.clip(acceleration, -7.0, 2.0), 0.0)
        walking = (self.class_ids == PEDESTRIAN) & (self.desired_speed > 0)
        acceleration = np.where(
            walking, np.clip((np.where(gap < 1.0, 0.0, self.desired_speed) - self.speed) / 0.4, -4, 3), acceleration
        )
        speed = np.maximum(self.speed + acceleration * dt, 0.0)
        self.progress = self.progress + (self.speed + speed) / 2 * dt
        self.speed = speed
        stride = np.where(self.class_ids == CYCLIST, 0.9, 0.72)
        self.gait = self.gait + np.pi * speed * dt / stride
        self.clock += dt

    def _gaps(self) -> tuple[Array, Array]:
        """Room (N,) m to the next in the lane or to a red light, and speed (N,) m/s at which it shrinks."""
        order = np.lexsort((self.progress, self.lane))
        ahead, same = order[1:], order[:-1]
        linked = (self.lane[ahead] == self.lane[same]) & (self.lane[same] != NO_LANE)
        gap = np.full(len(self), np.inf)
        closing = np.zeros(len(self))
        room = self.progress[ahead] - self.progress[same] - (self.length[ahead] + self.length[same]) / 2
        gap[same[linked]] = room[linked]
        closing[same[linked]] = (self.speed[same] - self.speed[ahead])[linked]
        red = np.array(self.red(self.clock))[self.stop_phase]
        to_line = self.stops - self.progress[:, None] - self.length[:, None] / 2
        can_stop = to_line > np.maximum(self.speed**2 / 10.0, 0.0)[:, None] - 0.1
        line = np.where(red[:, None] & can_stop & (to_line > -0.5), to_line, np.inf)
        line = np.nanmin(np.where(np.isnan(line), np.inf, line), axis=1, initial=np.inf)
        nearer = line < gap
        return np.where(nearer, np.maximum(line, 0.1), gap), np.where(nearer, self.speed, closing)


class _Roster:
    """Collects road users one by one; `traffic` builds the arrays."""

    def __init__(self, road: Road, rng: np.random.Generator) -> None:
        self.road, self.rng = road, rng
        self.rows: list[dict[str, Any]] = []

    def add(self, class_id: int, model: int, length: float, **values: Any) -> None:
        self.rows.append(
            {
                "class_ids": class_id,
                "models": model,
                "length": length,
                "lane": NO_LANE,
                "progress": 0.0,
                "speed": 0.0,
                "desired_speed": 0.0,
                "lateral": 0.0,
                "sway": (0.0, 0.0, 0.0),
                "on_road": True,
                "direction": 1.0,
                "origin": (0.0, 0.0),
                "bearing": 0.0,
                "parked_yaw": 0.0,
                "stops": (),
                "stop_phase": 0,
                "gait": self.rng.uniform(0, 6.28),
                **values,
            }
        )

    def traffic(self, clock: float) -> Traffic:
        most = max([1] + [len(row["stops"]) for row in self.rows])
        for row in self.rows:
            row["stops"] = (*row["stops"], *[np.nan] * (most - len(row["stops"])))
        kinds = {"class_ids": np.int64, "models": np.int64, "lane": np.int64, "stop_phase": np.int64, "on_road": bool}
        arrays = {k: np.array([row[k] for row in self.rows], dtype=kinds.get(k, np.float64)) for k in self.rows[0]}
        return Traffic(self.road, clock=clock, **arrays)


def _sway(rng: np.random.Generator, amplitude: float) -> tuple[float, float, float]:
    return float(rng.uniform(0, amplitude)), float(rng.uniform(0.2, 0.7)), float(rng.uniform(0, 6.28))


def _vehicle(rng: np.random.Generator) -> int:
    return int(rng.choice([CAR, TRUCK, BUS], p=[0.84, 0.11, 0.05]))


def _queue(
    roster: _Roster,
    lengths: list[Array],
    pace: float,
    spacing: float,
    start: float,
    end: float,
    keep_clear: float | None,
    **values: Any,
) -> None:
    """Fill a lane from `start` to `end` (progress, m) with vehicles, leaving room for the ego at `keep_clear`."""
    rng, at = roster.rng, start + roster.rng.uniform(0, spacing)
    while at < end:
        class_id = _vehicle(rng)
        model = int(rng.integers(len(lengths[class_id])))
        length = float(lengths[class_id][model])
        if keep_clear is None or abs(at - keep_clear) > 9 + length / 2:
            desired_speed = pace * float(rng.uniform(0.75, 1.2))
            roster.add(
                class_id,
                model,
                length,
                progress=at,
                speed=desired_speed * 0.8,
                desired_speed=desired_speed,
                sway=_sway(rng, 0.15),
                **values,
            )
        at += length + 4 + float(rng.exponential(spacing))


def _park(roster: _Roster, lengths: list[Array], end: float) -> None:
    road, rng = roster.road, roster.rng
    if not road.parking:
        return
    for side in (-1, 1):
        angle = 0.0 if rng.random() < 0.75 else float(rng.choice([0.8, np.pi / 2]))
        station, share = -90.0, rng.uniform(0.3, 0.9)
        while station < end:
            class_id = CAR if rng.random() < 0.95 else TRUCK
            model = int(rng.integers(len(lengths[class_id])))
            length = float(lengths[class_id][model])
            if angle and class_id == TRUCK:
                class_id, model, length = CAR, 0, float(lengths[CAR][0])
            if rng.random() < share and not road.near_crossing(station, 8.0):
                turn = (
                    float(np.pi if side > 0 and rng.random() < 0.85 else 0.0)
                    + angle * side
                    + float(rng.normal(0, 0.03))
                )
                outward = road.lanes * road.lane + road.cycle + (road.parking / 2 if not angle else 2.4)
                roster.add(class_id, model, length, progress=station, lateral=side * outward, parked_yaw=turn)
            station += (length + rng.uniform(0.8, 2.5)) if not angle else rng.uniform(2.8, 3.6)


def _sidewalks(roster: _Roster, lengths: list[Array], end: float, count: float) -> None:
    road, rng = roster.road, roster.rng
    for _ in range(rng.poisson(count * (end + 60) / 10)):
        side, way = float(rng.choice([-1, 1])), float(rng.choice([-1, 1]))
        station, walk = rng.uniform(-60, end), road.kerb + rng.uniform(0.5, road.sidewalk - 0.3)
        pace = 0.0 if rng.random() < 0.15 else float(np.clip(rng.normal(1.3, 0.25), 0.6, 2.2))
        turned = float(rng.uniform(-3.1, 3.1)) if pace == 0.0 else 0.0
        for i in range(int(rng.choice([1, 1, 1, 2, 3]))):
            model = int(rng.integers(len(lengths[PEDESTRIAN])))
            place = {
                "progress": (station + rng.uniform(-0.3, 0.3)) * way,
                "lateral": side * way * (walk + 0.7 * i),
                "direction": way,
            }
            roster.add(
                PEDESTRIAN,
                model,
                0.5,
                speed=pace,
                desired_speed=pace,
                sway=_sway(rng, 0.25),
                parked_yaw=turned,
                **place,
            )


def _cross_roads(roster: _Roster, lengths: list[Array], pace: float, spacing: float, walkers: float) -> None:
    road, rng = roster.road, roster.rng
    for k, station in enumerate(road.crossings):
        (point,), (heading,) = road.at(np.array([station]))
        stop = road.kerb + 5.0
        for way in (-1, 1):
            bearing = float(heading + np.pi / 2 * way)
            lane: dict[str, Any] = {
                "lane": 100 + 2 * k + (way > 0),
                "on_road": False,
                "origin": tuple(point),
                "bearing": bearing,
                "lateral": -road.cross_half / 2,
                "stops": (-stop,),
                "stop_phase": 1,
            }
            _queue(roster, lengths, pace * 0.8, spacing, -70, 70, None, **lane)
        for side in (-1, 1):  # zebra crossings over the main road
            (at,), _ = road.at(np.array([station + side * (road.cross_half + 1.8)]))
            for _ in range(rng.poisson(walkers)):
                direction = float(rng.choice([-1, 1]))
                pace_on_foot = float(np.clip(rng.normal(1.35, 0.2), 0.8, 2.0))
                roster.add(
                    PEDESTRIAN,
                    int(rng.integers(len(lengths[PEDESTRIAN]))),
                    0.5,
                    progress=-road.kerb - rng.uniform(0.3, 9),
                    speed=pace_on_foot,
                    desired_speed=pace_on_foot,
                    on_road=False,
                    origin=tuple(at),
                    bearing=float(heading + np.pi / 2 * direction),
                    lateral=float(rng.uniform(-1.2, 1.2)),
                    stops=(-road.kerb - 0.1,),
                    stop_phase=1,
                    sway=_sway(rng, 0.15),
                )


def make_drive(road: Road, rng: np.random.Generator, lengths: list[Array], density: float, seconds: float) -> Traffic:
    """Traffic on a street; road user 0 is the vehicle with the cameras. `lengths` (m) per class and model."""
    roster = _Roster(road, rng)
    pace = float(rng.uniform(7, 14))
    end = float(road.stations[-1]) - 30
    spacing = float(rng.uniform(10, 45)) / max(density, 1e-3)
    ego_lane = int(rng.integers(road.lanes))
    lights = road.crossings
    for way in (1.0, -1.0):
        stops = np.sort(way * lights - road.cross_half - 5.0)
        for lane in range(road.lanes):
            lateral = -(lane + 0.5) * road.lane
            values: dict[str, Any] = {
                "lane": lane + (10 if way < 0 else 0),
                "lateral": lateral,
                "direction": way,
                "stops": tuple(stops),
            }
            ego = way > 0 and lane == ego_lane
            if ego:
                desired_speed = pace * float(rng.uniform(0.8, 1.15))
                roster.add(
                    CAR,
                    0,
                    4.6,
                    speed=desired_speed * float(rng.choice([0.0, 0.7, 0.9, 1.0])),
                    desired_speed=desired_speed,
                    sway=_sway(rng, 0.2),
                    **values,
                )
                roster.rows.insert(0, roster.rows.pop())
            span = (-110.0, end) if way > 0 else (-end, 110.0)
            if density > 0:
                _queue(roster, lengths, pace, spacing, *span, 0.0 if ego else None, **values)
        for _ in range(rng.poisson(density * 2.5)):
            desired_speed = float(np.clip(rng.normal(4.5, 1), 2.5, 7))
            model = int(rng.integers(len(lengths[CYCLIST])))
            at = float(rng.uniform(-40, min(end, 140))) * way
            roster.add(
                CYCLIST,
                model,
                1.8,
                lane=(30 if way > 0 else 31),
                progress=at,
                speed=desired_speed,
                desired_speed=desired_speed,
                direction=way,
                lateral=-(road.lanes * road.lane + road.cycle / 2),
                sway=_sway(rng, 0.1),
                stops=tuple(stops),
            )

    if density > 0:
        _park(roster, lengths, end)
        _sidewalks(roster, lengths, end, float(rng.uniform(0.2, 2.2)) * density)
        _cross_roads(roster, lengths, pace, spacing * 1.2, float(rng.uniform(0, 4)) * density)
    return roster.traffic(float(rng.uniform(0, sum(PHASES))))


def make_square(
    road: Road,
    rng: np.random.Generator,
    lengths: list[Array],
    density: float,
    center: tuple[float, float],
    radius: float,
) -> Traffic:
    """People walking over a square around `center` m, and the traffic behind them; road user 0 stands for the pole."""
    roster = _Roster(road, rng)
    roster.add(CAR, 0, 0.1, progress=-140.0)
    for _ in range(max(3, rng.poisson(rng.uniform(6, 32) * density))):
        bearing = float(rng.choice([0.0, np.pi / 2, np.pi, -np.pi / 2]) + rng.normal(0, 0.5))
        pace = 0.0 if rng.random() < 0.12 else float(np.clip(rng.normal(1.25, 0.3), 0.4, 2.4))
        origin = np.array(center) + rng.uniform(-radius, radius, 2)
        for i in range(int(rng.choice([1, 1, 1, 2, 2, 3]))):
            roster.add(
                PEDESTRIAN,
                int(rng.integers(len(lengths[PEDESTRIAN]))),
                0.5,
                on_road=False,
                origin=tuple(origin),
                bearing=bearing,
                lateral=0.7 * i,
                progress=float(rng.uniform(-0.3, 0.3)),
                speed=pace,
                desired_speed=pace,
                sway=_sway(rng, 0.5),
            )
    for _ in range(rng.poisson(1.5 * density)):
        pace = float(rng.uniform(2.5, 5))
        start = np.array(center) + rng.uniform(-radius, radius, 2)
        roster.add(
            CYCLIST,
            int(rng.integers(len(lengths[CYCLIST]))),
            1.8,
            on_road=False,
            origin=tuple(start),
            bearing=float(rng.uniform(-3.1, 3.1)),
            speed=pace,
            desired_speed=pace,
            sway=_sway(rng, 0.4),
        )
    for way in (1.0, -1.0):
        _queue(
            roster,
            lengths,
            9.0,
            25 / max(density, 0.01),
            -100,
            100,
            None,
            lane=int(way > 0),
            lateral=-road.lane / 2,
            direction=way,
        )
    _park(roster, lengths, 100)
    _sidewalks(roster, lengths, 100, 0.8 * density)
    return roster.traffic(float(rng.uniform(0, sum(PHASES))))
