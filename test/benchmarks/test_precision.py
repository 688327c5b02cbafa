# SPDX-License-Identifier: Apache-2.0
"""How the errors of a lower precision are counted."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("scipy")

from benchmarks.precision import Errors
from centertrack_ros.tracking.lifecycle import start_tracks
from centertrack_ros.types import Detections

BOXES = np.array([[0, 0, 10, 10], [100, 0, 120, 40], [300, 300, 320, 320]], np.float32)


def result(boxes: np.ndarray, ids: list[int], classes: list[int] | None = None):
    found = Detections.from_boxes(boxes, class_ids=np.array(classes or [0] * len(boxes)))
    tracks = start_tracks(found, 1, 0.0)
    tracks.ids[:] = ids
    return SimpleNamespace(tracks=tracks)


def test_the_same_answers_have_no_errors() -> None:
    errors = Errors()
    for _ in range(3):  # ids of the two runs have nothing to do with each other
        errors.add(result(BOXES, [1, 2, 3]), result(BOXES[::-1], [30, 20, 10]))
    found = errors.summary()
    assert found["objects"] == 9 and found["iou_worst"] == 1.0 and found["edge_px_worst"] == 0.0
    assert found["missing_percent"] == found["further_percent"] == found["id_switches"] == 0


def test_an_exchange_of_two_ids_is_two_switches() -> None:
    errors = Errors()
    errors.add(result(BOXES, [1, 2, 3]), result(BOXES, [1, 2, 3]))
    for _ in range(2):
        errors.add(result(BOXES, [1, 2, 3]), result(BOXES, [2, 1, 3]))
    assert errors.summary()["id_switches"] == 2


def test_what_has_no_partner_is_counted_on_its_side() -> None:
    errors = Errors()
    errors.add(result(BOXES, [1, 2, 3], [0, 0, 1]), result(BOXES[1:] + np.float32(1), [2, 3], [0, 0]))
    found = errors.summary()
    assert found["missing_percent"] == pytest.approx(200 / 3)  # one is not there, one is of another class
    assert found["further_percent"] == pytest.approx(100 / 3)
    assert found["edge_px"] == 1.0
    overlap = 19 * 39 / (2 * 800 - 19 * 39)
    assert found["iou"] == pytest.approx(overlap)
    errors.add(result(BOXES[:0], []), result(BOXES[:0], []))
    assert errors.summary() == found
