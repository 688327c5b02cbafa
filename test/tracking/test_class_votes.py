# SPDX-License-Identifier: Apache-2.0
"""One object has one box, one id and one class, whatever its detections are called."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from centertrack_ros.geometry.boxes2d import iou
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.network.classes import COCO_CLASSES
from centertrack_ros.tracking import Detections, Tracker, TrackerConfig
from centertrack_ros.tracking.class_votes import MEMORY_S, vote
from centertrack_ros.tracking.lifecycle import start_tracks
from centertrack_ros.types import Tracks
from support.peaks import PeakEngine

CAR, TRUCK, TRAIN, PERSON = (COCO_CLASSES.index(name) for name in ("car", "truck", "train", "person"))
BOX = (60.0, 30.0, 120.0, 90.0)
STEP = 0.1


def run(video: list[list[tuple[int, float, tuple[float, ...]]]], **config: object) -> list[Tracks]:
    """The live tracks of each frame of a video of (class id, score, box) detections."""
    engine = PeakEngine(video)
    tracker = Tracker(engine, TrackerConfig(motion="none", **config))  # type: ignore[arg-type]
    image = np.zeros((128, 192, 3), np.uint8)
    found = [tracker.step(image, Camera.from_focal(192, 128, 150.0), k * STEP).tracks for k in range(len(video))]
    return [tracks.select(tracks.hits > 0) for tracks in found]


def test_an_object_that_is_called_differently_in_every_frame_keeps_one_id_and_the_class_of_most_frames() -> None:
    names = [TRUCK, TRUCK, CAR, TRUCK, TRAIN, TRUCK, TRUCK, CAR, CAR, TRUCK, TRUCK, TRAIN]
    tracks = run([[(name, 0.7, BOX)] for name in names])
    assert [t.ids.tolist() for t in tracks] == [[1]] * len(names)
    assert {t.detections.class_ids.item() for t in tracks} == {TRUCK}


def test_without_groups_every_class_is_an_object_for_itself() -> None:
    tracks = run([[(name, 0.7, BOX)] for name in (TRUCK, CAR, TRUCK)], class_groups=False)
    assert [t.ids.tolist() for t in tracks] == [[1], [2], [1]]


def test_a_vehicle_has_one_box_and_its_weaker_names_count_as_votes() -> None:
    video = [[(CAR, 0.6, BOX), (TRUCK, 0.59, BOX)] if k % 2 else [(TRUCK, 0.6, BOX)] for k in range(10)]
    tracks = run(video)
    assert all(len(t) == 1 for t in tracks)
    assert tracks[-1].detections.class_ids.item() == TRUCK
    votes = tracks[-1].class_votes[0]
    assert votes[CAR] > 0 and not votes[PERSON]


def test_a_class_gives_way_only_to_lasting_evidence_and_then_the_size_of_the_new_one_holds() -> None:
    tracks = run([[(CAR, 0.8, BOX)]] * 10 + [[(TRUCK, 0.8, BOX)]] * 40)
    classes = [t.detections.class_ids.item() for t in tracks]
    change = classes.index(TRUCK)
    assert set(classes[:change]) == {CAR} and set(classes[change:]) == {TRUCK}
    assert 12 < change < 10 + 2 * MEMORY_S / STEP
    heights = [t.detections.dimensions[0, 0].item() for t in tracks]
    assert max(heights[:change]) < 1.1 * min(heights[:change]) < 1.2 * min(heights[:change]) < min(heights[change:])
    assert tracks[change].detections.depths[0] > 1.5 * tracks[change - 1].detections.depths[0]


def test_equal_votes_change_no_class() -> None:
    tracks = run([[(CAR, 0.7, BOX)]] * 5 + [[(CAR, 0.7, BOX), (TRUCK, 0.7, BOX)]] * 60)
    assert {t.detections.class_ids.item() for t in tracks} == {CAR}


def test_a_lost_track_keeps_its_votes() -> None:
    tracks = start_tracks(Detections.from_boxes(np.array([BOX])), 1, 0.0)
    voted = vote(tracks, None, 0.0, np.ones(3))
    lost = replace(tracks, ages=tracks.ages + 1, hits=tracks.hits * 0)
    later = vote(lost, voted, 1.0, np.ones(3))
    np.testing.assert_array_equal(later.class_votes, voted.class_votes)
    seen_again = vote(tracks, voted, 1.0, np.ones(3))
    assert seen_again.class_votes[0, 0] == pytest.approx((1 + np.exp(-1 / MEMORY_S)) * np.log(20))


def test_a_detection_that_turns_out_to_be_of_a_requested_class_is_reported() -> None:
    names = [TRUCK, TRUCK, CAR, TRUCK, CAR, TRUCK]
    tracks = run([[(name, 0.7, BOX), (PERSON, 0.7, (10, 10, 20, 40))] for name in names], classes=("truck",))
    assert [t.ids.tolist() for t in tracks] == [[1]] * len(names)
    assert not any(len(t) for t in run([[(name, 0.7, BOX)] for name in names], classes=("car",)))


def test_a_train_is_named_only_by_more_than_a_trucks_doubt() -> None:
    doubt = [[(TRAIN, 0.5, BOX), (TRUCK, 0.2, BOX)]] * 3
    sure = [[(TRAIN, 0.7, BOX), (TRUCK, 0.1, BOX)]] * 3
    assert run(doubt)[-1].detections.class_ids.item() == TRUCK
    assert run(sure)[-1].detections.class_ids.item() == TRAIN
    assert run(doubt, classes=("train", "truck"))[-1].detections.class_ids.item() == TRAIN  # asked for by its name


def test_a_person_and_a_vehicle_never_fill_the_same_box() -> None:
    [tracks] = run([[(CAR, 0.8, BOX), (PERSON, 0.7, BOX), (PERSON, 0.7, (60, 30, 80, 90))]])
    assert sorted(tracks.detections.class_ids.tolist()) == [PERSON, CAR]
    overlaps = iou(tracks.detections.boxes, tracks.detections.boxes)
    assert overlaps[0, 1] < 0.7
