# SPDX-License-Identifier: Apache-2.0
"""A session with a detector of the user's own: an ONNX file finds the red part of each image, and it is tracked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from centertrack_ros.engine.detector import Detector, load_detector
from centertrack_ros.engine.detector_limits import DetectorLimits
from centertrack_ros.engine.no_network import NoNetworkEngine
from centertrack_ros.tracking.config import EXTERNAL, NETWORK, TrackerConfig
from centertrack_ros.tracking.results import ERROR
from centertrack_ros.tracking.session import SessionConfig, TrackingSession
from centertrack_ros.types import ForeignDetections, Frame

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from support.detector_graphs import red_detector

HEIGHT, WIDTH = 128, 192


@pytest.fixture
def detector(tmp_path: Path) -> Detector:
    """Finds the red part as a bus."""
    path = red_detector(tmp_path / "red.onnx", (64, 96))
    return load_detector(path, class_names=("car", "bus"), engine="onnxruntime", threads=1)


def frame(step: int, stamp: float | None = None) -> Frame:
    image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    image[40:80, 20 + 4 * step : 60 + 4 * step] = (0, 0, 255)
    return Frame(image, 10.0 + 0.1 * step if stamp is None else stamp)


def session(detector: Detector, source: str = EXTERNAL, **limits: float) -> TrackingSession:
    config = SessionConfig(tracker=TrackerConfig(detector_source=source), detector=DetectorLimits(**limits))
    return TrackingSession(NoNetworkEngine(detector.class_names), config, detector)


def test_what_the_detector_finds_keeps_its_id(detector: Detector) -> None:
    tracking = session(detector)
    for step in range(6):
        [result] = tracking.step({"": frame(step)}).cameras
        tracks = result.result.tracks
        assert tracks.ids.tolist() == [1] and detector.class_names[tracks.detections.class_ids[0]] == "bus"
        np.testing.assert_allclose(tracks.detections.boxes[0], (20 + 4 * step, 40, 60 + 4 * step, 80), atol=4)


def test_detections_that_came_with_the_frame_are_not_replaced(detector: Detector) -> None:
    told = ForeignDetections(np.array([[100, 10, 130, 30]], np.float32), np.array([0.9], np.float32), np.array(["car"]))
    [result] = session(detector).step({"": replace(frame(0), foreign=told)}).cameras
    np.testing.assert_allclose(result.result.tracks.detections.boxes, told.boxes, atol=1e-4)


def test_the_limits_change_with_the_next_frame(detector: Detector) -> None:
    tracking = session(detector)
    assert len(tracking.step({"": frame(0)}).cameras[0].result.detections) == 1
    tracking.configure(replace(tracking.config, detector=DetectorLimits(min_score=0.95)))
    assert len(tracking.step({"": frame(1)}).cameras[0].result.detections) == 0


def test_a_detector_that_is_not_asked_does_not_run(detector: Detector) -> None:
    detector._graph = None  # type: ignore[assignment]  # it would fail
    assert not session(detector, NETWORK).step({"": frame(0)}).rejected


def test_a_frame_that_the_detector_cannot_use_costs_itself_only(detector: Detector) -> None:
    tracking = session(detector)
    tracking.step({"": frame(0)})
    broken = tracking.step({"": replace(frame(1), image=np.zeros((4, 4), np.uint8))})
    assert not broken.cameras and broken.rejected[0].kind == ERROR and "uint8 array" in broken.rejected[0].reason
    assert tracking.step({"": frame(2)}).cameras[0].result.tracks.ids.tolist() == [1]
