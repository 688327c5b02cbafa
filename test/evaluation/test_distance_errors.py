# SPDX-License-Identifier: Apache-2.0
"""Errors of distances count however wrong they are, and runs are compared on the same objects."""

from __future__ import annotations

import numpy as np
import pytest

from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, tracks_of
from centertrack_ros.evaluation.distance_errors import matched_depths, mean_errors
from centertrack_ros.evaluation.trackeval_metrics import SequencePair

BOXES = np.array([[0.0, 0, 40, 40], [100, 0, 130, 90], [300, 10, 320, 30]])


def recording(depths: list[float], boxes: np.ndarray = BOXES) -> VideoSequence:
    """One frame of cars at these depths, m."""
    count = len(depths)
    locations = np.stack([np.zeros(count), np.ones(count), np.array(depths, np.float64)], axis=1)
    tracks = tracks_of(
        np.arange(1, count + 1), np.zeros(count, np.int64), np.ones(count), boxes[:count],
        dimensions=np.ones((count, 3)), locations=locations,
    )  # fmt: skip
    return VideoSequence("drive", ("car",), (AnnotatedFrame(1, 0.0, tracks),), 1, 1)


def test_an_object_counts_by_its_place_in_the_image_however_far_its_distance_is_off() -> None:
    truth, results = recording([8.0, 25.0, 40.0]), recording([24.0, 26.0], BOXES + 2.0)
    found = matched_depths(SequencePair(truth, results))
    assert found == {(1, 1): (8.0, 24.0), (1, 2): (25.0, 26.0)}
    objects, errors = mean_errors({"alone": found})
    assert objects == [1, 0, 1, 0, 2]
    assert errors["alone"] == [pytest.approx(2.0), None, pytest.approx(0.04), None, pytest.approx(1.02)]


def test_runs_are_compared_on_the_objects_that_all_have_found() -> None:
    truth = recording([8.0, 25.0, 40.0])
    runs = {
        "one": matched_depths(SequencePair(truth, recording([8.8, 25.0, 44.0]))),
        "other": matched_depths(SequencePair(truth, recording([8.0, 27.5]))),
    }
    objects, errors = mean_errors(runs)
    assert objects == [1, 0, 1, 0, 2]
    assert errors["one"][-1] == pytest.approx(0.05) and errors["other"][-1] == pytest.approx(0.05)


def test_boxes_that_do_not_meet_are_no_match() -> None:
    assert not matched_depths(SequencePair(recording([8.0]), recording([8.0], BOXES + 200.0)))
