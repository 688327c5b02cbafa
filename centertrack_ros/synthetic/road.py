# SPDX-License-Identifier: Apache-2.0
"""The course of the street: a bent main road, straight cross roads, and how wide everything is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Road:
    """A main road along a smooth curve; stations s (m) run along it, lateral offsets (m) to its left.

    stations (K,) 1 m apart, points (K, 2), headings (K,) rad: the centre line
    lanes        per direction;  lane  width of one, m
    cycle, parking, sidewalk   widths of the strips beside the lanes, m; parking may be 0
    crossings    (C,) stations of the cross roads;  cross_half  half their width, m
    """

    stations: Array
    points: Array
    headings: Array
    lanes: int
    lane: float
    cycle: float
    parking: float
    sidewalk: float
    crossings: Array
    cross_half: float

    @property
    def kerb(self) -> float:
        """Lateral distance of the kerb from the centre line, m."""
        return self.lanes * self.lane + self.cycle + self.parking

    def at(self, station: Array, lateral: Array | float = 0.0) -> tuple[Array, Array]:
        """Points (N, 2) m and headings (N,) rad at stations (N,) and offsets to the left (N,)."""
        index = np.clip(station - self.stations[0], 0, len(self.stations) - 1.001)
        low = index.astype(int)
        share = (index - low)[..., None]
        point = self.points[low] * (1 - share) + self.points[low + 1] * share
        heading = self.headings[low] * (1 - share[..., 0]) + self.headings[low + 1] * share[..., 0]
        normal = np.stack([-np.sin(heading), np.cos(heading)], -1)
        return point + normal * np.asarray(lateral)[..., None], heading

    def near_crossing(self, station: float, margin: float) -> bool:
        """Whether `station` is within `margin` m of a cross road's edge."""
        return bool(np.any(np.abs(self.crossings - station) < self.cross_half + margin))


def make_road(rng: np.random.Generator, length: float) -> Road:
    """A road from 150 m behind the start to `length` m ahead."""
    stations = np.arange(-150.0, length + 1.0)
    bend = rng.uniform(0, 0.006) if rng.random() < 0.6 else rng.uniform(0.006, 0.014)
    period = rng.uniform(120, 320)
    curvature = bend * np.sin(2 * np.pi * stations / period + rng.uniform(0, 2 * np.pi))
    headings = np.cumsum(curvature)
    headings -= headings[150]
    steps = np.stack([np.cos(headings), np.sin(headings)], 1)
    points = np.cumsum(steps, axis=0)
    points -= points[150]
    crossings, station = [], rng.uniform(15, 70)
    while station < length - 20:
        crossings.append(station)
        station += rng.uniform(55, 140)
    behind = -rng.uniform(40, 100)
    return Road(
        stations,
        points,
        headings,
        int(rng.choice([1, 1, 2])),
        float(rng.uniform(3.1, 3.6)),
        float(rng.uniform(1.1, 1.6)),
        float(rng.choice([0.0, 2.3, 2.3])),
        float(rng.uniform(2.2, 4.5)),
        np.array([behind, *crossings]),
        float(rng.uniform(3.6, 5.0)),
    )
