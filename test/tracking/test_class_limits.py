# SPDX-License-Identifier: Apache-2.0
"""Limits of single classes, the range of what is reported, and the region in which tracks start."""

from __future__ import annotations

import numpy as np
import pytest

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.geometry.regions import Region
from centertrack_ros.network.classes import COCO_CLASSES
from centertrack_ros.tracking import Frame, Tracker, TrackerConfig
from centertrack_ros.tracking.class_limits import ClassLimits
from centertrack_ros.tracking.session import SessionConfig, TrackingSession
from support.peaks import SIZE, PeakEngine, Seen

CAR, TRUCK, PERSON = (COCO_CLASSES.index(name) for name in ("car", "truck", "person"))
LEFT, RIGHT = (10.0, 30.0, 40.0, 60.0), (120.0, 30.0, 150.0, 70.0)
STEP = 0.1


def live(
    video: list[list[Seen]], region: Region | None = None, camera: Camera | None = None, **config: object
) -> list[list[tuple[int, int]]]:
    """(id, class id) of the live tracks of each frame."""
    tracker = Tracker(PeakEngine(video), TrackerConfig(**config), region)  # type: ignore[arg-type]
    image = np.zeros((*SIZE, 3), np.uint8)
    found = []
    for number in range(len(video)):
        tracks = tracker.step(image, camera, number * STEP).tracks
        tracks = tracks.select(tracks.hits > 0)
        found.append(list(zip(tracks.ids.tolist(), tracks.detections.class_ids.tolist(), strict=True)))
    return found


def test_each_class_starts_and_continues_above_its_own_scores() -> None:
    video: list[list[Seen]] = [[(PERSON, 0.4, LEFT), (CAR, 0.4, RIGHT)], [(PERSON, 0.15, LEFT), (CAR, 0.4, RIGHT)]]
    assert live(video) == [[], []]
    limits = {"person": ClassLimits(track_threshold=0.1, new_threshold=0.35)}
    assert live(video, class_limits=limits) == [[(1, PERSON)], [(1, PERSON)]]
    assert live(video, class_limits={"person": ClassLimits(new_threshold=0.35)}) == [[(1, PERSON)], []]
    high = {"car": ClassLimits(track_threshold=0.9)}
    assert live([[(PERSON, 0.8, LEFT), (CAR, 0.8, RIGHT)]], class_limits=high) == [[(1, PERSON)]]


def test_sizes_outside_the_limits_of_a_class_are_ignored() -> None:
    video: list[list[Seen]] = [[(PERSON, 0.8, LEFT), (CAR, 0.7, RIGHT)]]  # longer sides of 30 and 40 px
    for limits, expected in (
        (ClassLimits(min_size=29.0, max_size=31.0), [PERSON, CAR]),
        (ClassLimits(min_size=31.0), [CAR]),
        (ClassLimits(max_size=29.0), [CAR]),
    ):
        [tracks] = live(video, class_limits={"Person": limits})
        assert [class_id for _, class_id in tracks] == expected


def test_a_class_is_remembered_for_its_own_time() -> None:
    both: list[Seen] = [(PERSON, 0.8, LEFT), (CAR, 0.7, RIGHT)]
    video = [both, *[[]] * 9, both]  # 1 s
    limits = {"person": ClassLimits(rebirth=1.5), "car": ClassLimits(rebirth=0.5)}
    assert live(video, rebirth=0.8, class_limits=limits)[-1] == [(1, PERSON), (3, CAR)]
    assert live(video, rebirth=0.8)[-1] == [(3, PERSON), (4, CAR)]
    assert live(video, rebirth=0.0, class_limits=limits)[-1] == [(1, PERSON), (3, CAR)]


def test_what_is_too_far_away_is_not_reported_but_keeps_its_id() -> None:
    camera = Camera.from_focal(SIZE[1], SIZE[0], 150.0)
    near, far = (60.0, 20.0, 90.0, 100.0), (60.0, 50.0, 68.0, 70.0)  # 3.2 and 13 m for a person of 1.7 m
    video: list[list[Seen]] = [[(PERSON, 0.8, box)] for box in (near, far, near)]
    settings = {"max_size_ratio": 0.0, "gate_scale": 100.0, "motion": "none"}
    everything = [[(1, PERSON)], [(1, PERSON)], [(1, PERSON)]]
    assert live(video, camera=camera, **settings) == everything
    assert live(video, camera=camera, max_range=6.0, **settings) == [[(1, PERSON)], [], [(1, PERSON)]]
    assert live(video, camera=None, max_range=6.0, **settings) == everything  # nobody knows how far away
    limits = {"person": ClassLimits(max_range=6.0)}
    assert live(video, camera=camera, max_range=50.0, class_limits=limits, **settings)[1] == []
    assert live(video, camera=camera, class_limits={"car": ClassLimits(max_range=1.0)}, **settings) == everything


def test_limits_of_unknown_classes_and_impossible_limits_are_told() -> None:
    with pytest.raises(ValueError, match="no class 'trukc'; did you mean 'truck'"):
        live([], class_limits={"trukc": ClassLimits()})
    with pytest.raises(ValueError, match="max_size must not be below min_size, got 10 and 20"):
        ClassLimits(min_size=20, max_size=10)
    with pytest.raises(ValueError, match="new_threshold must be between 0 and 1, got 2"):
        ClassLimits(new_threshold=2)


@pytest.mark.parametrize(
    "region",
    [
        Region(polygon=np.array([(0, 0), (0.5, 0), (0.5, 1), (0, 1)], float)),
        Region(polygon=np.array([(0, 0), (96, 0), (96, 128), (0, 128)], float)),
        Region(mask=np.array([[True, False], [True, False]])),
    ],
    ids=["parts", "px", "mask"],
)
def test_tracks_start_inside_the_region_and_continue_outside(region: Region) -> None:
    boxes = [(x, 30.0, x + 30.0, 60.0) for x in (10.0, 40.0, 70.0, 90.0, 110.0)]
    video: list[list[Seen]] = [[(CAR, 0.8, box)] for box in boxes]
    assert live(video, region, motion="none", gate_scale=4.0) == [[(1, CAR)]] * 5
    assert live(video[::-1], region, motion="none", gate_scale=4.0) == [[], [], *[[(1, CAR)]] * 3]


def test_the_middle_of_the_lower_side_decides_and_boxes_beyond_the_border_are_cut() -> None:
    lower_half = Region(polygon=np.array([(0, 0.5), (1, 0.5), (1, 1), (0, 1)], float))
    standing: Seen = (PERSON, 0.8, (20.0, 10.0, 40.0, 70.0))
    hanging: Seen = (PERSON, 0.8, (20.0, 10.0, 40.0, 60.0))
    cut: Seen = (PERSON, 0.8, (170.0, 80.0, 190.0, 150.0))
    assert [len(live([[one]], lower_half)[0]) for one in (standing, hanging, cut)] == [1, 0, 1]


def test_every_camera_of_a_session_has_its_own_region() -> None:
    left = Region(mask=np.array([[True, False]]))
    engine = PeakEngine([[(CAR, 0.8, LEFT), (TRUCK, 0.8, RIGHT)]] * 2)
    session = TrackingSession(engine, SessionConfig(("one", "two"), regions=(left, None)))
    image = np.zeros((*SIZE, 3), np.uint8)
    result = session.step({"one": Frame(image, 0.0), "two": Frame(image, 0.0)})
    assert [len(one.result.tracks) for one in result.cameras] == [1, 2]
    with pytest.raises(ValueError, match="one region for each camera"):
        SessionConfig(("one", "two"), regions=(left,))
