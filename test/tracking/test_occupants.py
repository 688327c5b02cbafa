# SPDX-License-Identifier: Apache-2.0
"""People in vehicles are not reported as pedestrians; pedestrians near vehicles are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from centertrack_ros.network.classes import COCO_CLASSES
from centertrack_ros.tracking import Tracker, TrackerConfig
from centertrack_ros.tracking.occupants import are_in_vehicles
from support.peaks import SIZE, PeakEngine, Seen

CAR, PERSON = COCO_CLASSES.index("car"), COCO_CLASSES.index("person")
VEHICLE = (40.0, 20.0, 120.0, 90.0)
DRIVER = (60.0, 30.0, 75.0, 50.0)
HEIGHT, FOCAL = 720, 1000.0


def reported(video: list[list[Seen]], **config: object) -> list[list[int]]:
    """The ids of the people that are reported in each frame."""
    tracker = Tracker(PeakEngine(video), TrackerConfig(**config))  # type: ignore[arg-type]
    image = np.zeros((*SIZE, 3), np.uint8)
    found = [tracker.step(image, stamp=k / 10).tracks for k in range(len(video))]
    return [t.ids[(t.hits > 0) & (t.detections.class_ids == PERSON)].tolist() for t in found]


def test_a_driver_is_reported_only_when_asked_for() -> None:
    video: list[list[Seen]] = [[(CAR, 0.8, VEHICLE), (PERSON, 0.7, DRIVER)]] * 3
    assert reported(video) == [[]] * 3
    assert reported(video, report_occupants=True) == [[2]] * 3
    assert [len(ids) for ids in reported([[(PERSON, 0.7, DRIVER)]] * 3)] == [1] * 3


def test_a_driver_stays_one_while_the_car_is_missed_and_gets_out_with_the_same_id() -> None:
    seen, missed = [(CAR, 0.8, VEHICLE), (PERSON, 0.7, DRIVER)], [(PERSON, 0.7, DRIVER)]
    assert reported([seen] * 4 + [missed] * 3 + [seen]) == [[]] * 8  # type: ignore[list-item]
    video: list[list[Seen]] = [[(CAR, 0.8, VEHICLE), (PERSON, 0.7, DRIVER)]] * 4 + [[(PERSON, 0.7, DRIVER)]] * 10
    assert reported(video)[-1] == [2]


def box(x: float, bottom: float, top: float, width: float, distance: float, camera: float) -> list[float]:
    """Box in px of something upright: x, width, heights of its ends over the ground and distance in m."""
    left, right = (640 + FOCAL * (x + side * width / 2) / distance for side in (-1, 1))
    return [left, 360 + FOCAL * (camera - top) / distance, right, 360 + FOCAL * (camera - bottom) / distance]


@given(
    st.floats(5, 40),
    st.floats(-1.5, 1.5),
    st.floats(0.3, 6),
    st.floats(1.0, 1.95),
    st.floats(1.2, 2.5),
    st.sampled_from([(1.8, 1.5), (2.5, 3.2)]),
)
def test_a_pedestrian_before_a_vehicle_is_none_of_its_occupants(
    distance: float, x: float, ahead: float, tall: float, camera: float, size: tuple[float, float]
) -> None:
    vehicle = box(0, 0, size[1], size[0], distance, camera)
    person = box(x, 0, tall, 0.6, max(distance - ahead, 2), camera)
    assert not are_in_vehicles(np.array([person]), np.array([vehicle]), HEIGHT).any()
    assert not are_in_vehicles(np.array([person]), np.array([vehicle]), int(vehicle[3])).any()  # cut by the border


@given(st.floats(4, 40), st.floats(-0.5, 0.5), st.floats(1.2, 2.5))
def test_who_is_seen_in_the_window_of_a_car_or_a_bus_is_inside(distance: float, x: float, camera: float) -> None:
    for (width, height), (low, high) in (((1.8, 1.5), (0.9, 1.35)), ((2.5, 3.2), (1.3, 2.2))):
        vehicle = box(0, 0, height, width, distance, camera)
        person = box(x, low, high, 0.5, distance + 0.3, camera)
        assert are_in_vehicles(np.array([person]), np.array([vehicle]), 100_000).all()
        cut = np.array([vehicle])
        below_sill = int(box(0, 0, low - 0.2, 1, distance, camera)[1])
        assert are_in_vehicles(np.array([person]), cut, max(below_sill, int(person[3]) + 4)).all()
