# SPDX-License-Identifier: Apache-2.0
"""Birth and life of tracks by evidence: what is reported, from when, and for how long."""

import numpy as np
import pytest

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.network.profile import Thresholds
from centertrack_ros.tracking import Detections, Tracker, TrackerConfig, existence
from support.rectangles import RectangleEngine, Thing, paint, profile

STEP = 1 / 30
THRESHOLDS = Thresholds(track=0.3, new=0.45)


def reported(scores: list[float], shift: float = 1.0, step: float = STEP, **config) -> list[list[int]]:
    """Ids of what is reported while a thing moves by `shift` px a frame and is detected with these scores; 0: not."""
    tracker = Tracker(RectangleEngine(profile(thresholds=THRESHOLDS)), TrackerConfig(**config))
    found = []
    for index, score in enumerate(scores):
        left = round(50 + index * shift)
        things = [Thing(1, (left, 40, left + 24, 72), score, 0)] if score else []
        tracks = tracker.step(paint(things), stamp=index * step).tracks
        found.append(tracks.ids[tracks.hits > 0].tolist())
    return found


def test_a_strong_detection_is_reported_at_once_and_a_flicker_never():
    assert reported([0.6]) == [[1]]
    assert reported([0.46, 0, 0, 0]) == [[]] * 4
    assert reported([0.46, 0, 0, 0], birth="threshold")[0] == [1]


def test_a_weak_object_that_stays_is_reported_with_one_id():
    found = reported([0.4] * 15)
    assert found[0] == [] and found[-1] == [1]
    assert [ids for ids in found if ids] == [[1]] * sum(bool(ids) for ids in found)
    assert reported([0.4] * 15, birth="threshold") == [[]] * 15


def test_the_time_that_it_takes_does_not_grow_with_the_frame_rate():
    def seconds(step: float) -> float:
        found = reported([0.4] * 40, 40 * step, step)
        return next(index for index, ids in enumerate(found) if ids) * step

    assert seconds(1 / 60) == pytest.approx(seconds(1 / 30), abs=0.1)


def test_what_is_weak_and_does_not_change_is_one_observation():
    assert reported([0.4] * 60, shift=0.0) == [[]] * 60


@pytest.mark.parametrize(("birth", "seen"), [("evidence", 9), ("threshold", 4)])
def test_a_weak_detection_continues_an_object_that_was_well_seen(birth, seen):
    found = reported([0.7] * 4 + [0.27] * 5, birth=birth)
    assert sum(bool(ids) for ids in found) == seen and {one for ids in found for one in ids} == {1}


def test_weak_detections_do_not_hold_an_object_for_ever():
    found = reported([0.7] * 4 + [0.26] * 200, shift=0.3)
    assert found[10] == [1] and found[-1] == []


def test_ids_count_reported_objects_only():
    tracker = Tracker(RectangleEngine(profile(thresholds=THRESHOLDS)), TrackerConfig())
    for index in range(10):  # a flicker in every other frame, at another place each time
        flicker = [Thing(2, (10 + 12 * index, 5, 26 + 12 * index, 25), 0.42, 0)] if index % 2 else []
        tracks = tracker.step(paint([Thing(1, (60, 50, 84, 82), 0.8, 0), *flicker]), stamp=index * STEP).tracks
    assert tracks.ids.tolist() == [1]
    tracks = tracker.step(paint([Thing(3, (120, 50, 150, 90), 0.8, 0)]), stamp=10 * STEP).tracks
    assert tracks.ids[tracks.hits > 0].tolist() == [2]


def test_no_two_tentative_tracks_are_one():
    """One that is not seen in the frame in which another one begins: each has its own box and votes."""
    tracker = Tracker(RectangleEngine(profile(thresholds=THRESHOLDS)), TrackerConfig())
    camera = Camera.from_focal(192, 128, 150.0)
    weak = [Thing(1 + n, (10 + 50 * n, 40, 34 + 50 * n, 72), 0.42, 0) for n in range(3)]
    for index, seen in enumerate([weak[:1], weak[1:2], weak, weak[2:], weak]):
        tracker.step(paint(seen), camera, stamp=index * STEP)
        ids = tracker.state.tracks.ids.tolist()
        assert len(set(ids)) == len(ids) and max(ids) < 0
    assert len(ids) == 3


def test_an_object_keeps_what_was_seen_of_its_3d_box_when_it_is_confirmed():
    tracker = Tracker(RectangleEngine(profile(thresholds=THRESHOLDS)), TrackerConfig())
    camera = Camera.from_focal(192, 128, 150.0)
    views, ids = [], []
    for index in range(15):  # weak, then confirmed
        tracks = tracker.step(paint([Thing(1, (50 + index, 40, 74 + index, 72), 0.4, 0)]), camera, index * STEP).tracks
        views += tracker.state.box_memory.filters.views.tolist()
        ids += tracks.ids.tolist()
    assert ids and set(ids) == {1} and len(ids) < 15
    assert tracker.state.box_memory.filters.ids.tolist() == [1]
    assert views == list(range(1, 16))


def test_tentative_tracks_are_not_shown_to_the_network():
    engine = RectangleEngine(profile(thresholds=THRESHOLDS))
    tracker = Tracker(engine, TrackerConfig())
    for index in range(3):
        result = tracker.step(paint([Thing(1, (50 + index, 40, 74 + index, 72), 0.4, 0)]), stamp=index * STEP)
    assert len(tracker.state.tracks) == 1 and len(result.prior) == 0 and len(result.tracks) == 0
    np.testing.assert_array_equal(result.detections.scores > 0.3, [True])


def test_a_weak_part_of_a_stronger_detection_is_no_second_object():
    boxes = np.array([[0, 0, 40, 100], [10, 20, 38, 80], [100, 0, 140, 100], [0, 0, 40, 95]], np.float32)
    found = Detections.from_boxes(boxes, np.array([0.8, 0.28, 0.27, 0.26]), np.array([0, 0, 0, 1]))
    other = found.class_ids[:, None] != found.class_ids[None, :]
    assert existence.shadows(found, other).tolist() == [False, True, False, False]
