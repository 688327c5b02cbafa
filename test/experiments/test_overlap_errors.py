# SPDX-License-Identifier: Apache-2.0
"""Errors of 3D boxes on objects that were found in the image."""

from dataclasses import replace

import numpy as np
import pytest

from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, tracks_of
from centertrack_ros.evaluation.trackeval_metrics import SequencePair
from experiments.overlap_errors import ERRORS, box_errors, without_ignored


def _sequence(**changes: np.ndarray) -> VideoSequence:
    """Three frames with a car, a pedestrian and a car far away."""
    fields = {
        "dimensions": np.array([[1.5, 1.8, 4.2], [1.8, 0.6, 0.6], [1.5, 1.8, 4.2]]),
        "locations": np.array([[-3.0, 1.5, 12.0], [2.0, 1.5, 8.0], [0.0, 1.5, 60.0]]),
        "rotations_y": np.array([0.3, -3.1, 1.0]),
        "velocities": np.array([[0.0, 0, 8.0], [1.0, 0, 0], [0, 0, 5.0]]),
        **changes,
    }
    boxes = np.array([[10.0, 10, 60, 50], [100, 10, 120, 70], [200, 30, 212, 40]])
    tracks = tracks_of(np.array([1, 2, 3]), np.array([0, 1, 0]), np.ones(3), boxes, **fields)
    frames = tuple(AnnotatedFrame(index, index * 0.2, tracks) for index in (1, 2, 3))
    return VideoSequence("s", ("car", "pedestrian"), frames, 1, 3)


def test_the_truth_as_results_has_no_errors() -> None:
    errors = box_errors(_sequence(), _sequence())
    assert set(errors) == {"car", "pedestrian"}
    for kind in errors:
        # The far car is not asked about; in the first frame nobody can tell how fast things move.
        assert {name: len(errors[kind][name]) for name in ERRORS} == dict(translation=3, yaw=3, size=3, velocity=2)
        for name in ERRORS:
            assert errors[kind][name] == pytest.approx(0, abs=1e-9)


def test_each_error_is_what_was_done_to_the_boxes() -> None:
    truth = _sequence()
    said = truth.frames[0].tracks.detections
    results = _sequence(
        locations=said.locations * (1.1, 1, 1.1),
        rotations_y=said.rotations_y + np.radians(20),
        velocities=said.velocities + (0.3, 9.0, 0.4),  # what is up or down does not count
        dimensions=said.dimensions * (1, 1, 2),
    )
    errors = box_errors(truth, results)["pedestrian"]
    distance = np.linalg.norm([2.0, 1.5 - 0.9, 8.0])
    assert errors["translation"] == pytest.approx(np.hypot(0.2, 0.8) / distance)
    assert np.degrees(errors["yaw"]) == pytest.approx(20)
    assert errors["velocity"] == pytest.approx(0.5)
    assert errors["size"] == pytest.approx(0.5)


def test_what_is_not_on_its_object_in_the_image_or_of_another_class_is_not_measured() -> None:
    truth = _sequence()
    moved = [replace(f, tracks=replace(f.tracks, detections=replace(
        f.tracks.detections, boxes=f.tracks.detections.boxes + 40))) for f in truth]  # fmt: skip
    swapped = replace(truth, classes=("pedestrian", "car"))
    for results in (replace(truth, frames=tuple(moved)), swapped, replace(truth, frames=())):
        assert all(not len(values) for kind in box_errors(truth, results).values() for values in kind.values())


def test_classes_are_told_by_their_names() -> None:
    results = _sequence()
    detections = replace(results.frames[0].tracks.detections, class_ids=np.array([1, 0, 1]))
    frames = tuple(replace(f, tracks=replace(f.tracks, detections=detections)) for f in results)
    errors = box_errors(_sequence(), replace(results, classes=("pedestrian", "car"), frames=frames))
    assert len(errors["car"]["yaw"]) == 3


def test_what_lies_in_an_ignored_region_is_no_false_alarm_unless_it_is_a_judged_object() -> None:
    truth = _sequence()
    region = np.array([[0.0, 0, 130, 80]])  # over the first two objects, and over a result that is nothing
    truth = replace(truth, frames=tuple(replace(frame, ignore=region) for frame in truth))
    boxes = [[10.0, 10, 60, 50], [100, 10, 120, 70], [200, 30, 212, 40], [70, 20, 90, 40], [300, 20, 330, 40]]
    extra = tracks_of(np.arange(1, 6), np.array([0, 1, 0, 0, 0]), np.ones(5), np.array(boxes))
    results = replace(truth, frames=tuple(AnnotatedFrame(frame.index, frame.stamp, extra) for frame in truth))
    kept = without_ignored(SequencePair(truth, results)).results
    assert [frame.tracks.ids.tolist() for frame in kept] == [[1, 2, 3, 5]] * 3
