# SPDX-License-Identifier: Apache-2.0
"""Motion models that replace the network's displacement."""

import cv2
import numpy as np
import pytest

from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.lifecycle import begin, update
from centertrack_ros.tracking.motion import flow_displacements, flow_image, kalman_predict
from centertrack_ros.types import Detections

STEP = 0.1


def _boxes(centers: np.ndarray, size: float = 40.0) -> Detections:
    half = size / 2
    return Detections.from_boxes(np.concatenate([centers - half, centers + half], axis=1))


def _run(paths: np.ndarray, config: TrackerConfig):
    """Tracks after feeding the centres (T, N, 2) frame by frame."""
    tracks, next_id = begin(_boxes(paths[0]), 1, 0.0), len(paths[0]) + 1
    for index, centers in enumerate(paths[1:], start=1):
        tracks, next_id = update(tracks, next_id, _boxes(centers), index * STEP, STEP, 0.3, config)
    return tracks


def _straight(velocity: tuple[float, float], frames: int = 12) -> np.ndarray:
    return np.array([100.0, 80.0]) + np.arange(frames)[:, None, None] * STEP * np.array(velocity)


def test_the_filter_foretells_a_steady_motion():
    tracks = _run(_straight((200.0, -50.0)), TrackerConfig.official(motion="kalman"))
    expected = _straight((200.0, -50.0), 13)[-1]
    foretold = kalman_predict(tracks, STEP).kalman_means[:, :2]
    assert np.abs(foretold - expected).max() < 1.0
    assert tracks.kalman_means[0, 2:] == pytest.approx([200.0, -50.0], abs=5.0)


def test_the_filter_grows_less_certain_while_a_track_is_lost():
    tracks = _run(_straight((200.0, 0.0)), TrackerConfig.official(motion="kalman", max_age=10))
    nothing = _boxes(np.zeros((0, 2)))
    spreads = [tracks.kalman_covariances[0, 0, 0]]
    for index in range(3):
        tracks, _ = update(
            tracks, 2, nothing, (12 + index) * STEP, STEP, 0.3, TrackerConfig.official(motion="kalman", max_age=10)
        )
        spreads.append(tracks.kalman_covariances[0, 0, 0])
    assert spreads == sorted(spreads) and spreads[-1] > 2 * spreads[0]
    assert tracks.kalman_means[0, 0] == pytest.approx(_straight((200.0, 0.0), 15)[-1, 0, 0], abs=3.0)


@pytest.mark.parametrize(("motion", "kept"), [("kalman", True), ("constant_velocity", True), ("none", False)])
def test_objects_faster_than_their_size_keep_their_ids_only_with_a_model_of_motion(motion, kept):
    """After a slow start, which shows the velocity, the step grows beyond what a standing track would accept."""
    times = np.concatenate([[0.0], np.cumsum(np.linspace(10, 60, 15))])
    paths = np.stack([np.stack([times, np.full(16, 50.0)], axis=1)], axis=1)
    tracks = _run(paths, TrackerConfig.official(motion=motion))
    assert (tracks.ids.tolist() == [1]) == kept


def test_displacement_is_another_name_for_the_networks():
    paths = _straight((300.0, 0.0))
    assert (
        _run(paths, TrackerConfig.official(motion="displacement")).ids.tolist()
        == _run(paths, TrackerConfig.official()).ids.tolist()
    )
    with pytest.raises(ValueError, match="motion must be one of"):
        TrackerConfig.official(motion="guess")


@pytest.mark.parametrize("size", [(240, 320), (900, 1600)])
def test_flow_finds_where_a_moving_patch_was(size):
    height, width = size
    rng = np.random.default_rng(1)
    scene = cv2.resize(rng.integers(0, 255, (height // 8, width // 8, 3), np.uint8), (width, height))
    patch = cv2.resize(rng.integers(0, 255, (12, 12, 3), np.uint8), (width // 5, width // 5))
    side = patch.shape[0]
    shift = np.array([width // 80, -(width // 160)])
    images = []
    for step in range(2):
        image = scene.copy()
        left, top = np.array([width // 3, height // 4]) + step * shift
        image[top : top + side, left : left + side] = patch
        images.append(flow_image(image))
    boxes = np.array([[left, top, left + side, top + side], [5.0, height - 60, 55, height - 10]], np.float32)
    moved = flow_displacements(images[0], images[1], boxes, size)
    assert moved[0] == pytest.approx(-shift, abs=0.15 * np.abs(shift).max())
    assert moved[1] == pytest.approx([0, 0], abs=0.5)


def test_flow_without_a_fitting_previous_image_says_nothing():
    small, large = np.zeros((60, 80), np.uint8), np.zeros((90, 80), np.uint8)
    boxes = np.array([[1.0, 1, 20, 20]], np.float32)
    assert (flow_displacements(small, large, boxes, (90, 80)) == 0).all()
    outside = np.array([[-500.0, -500, -400, -400], [900, 900, 950, 950]], np.float32)
    assert (flow_displacements(small, small, outside, (60, 80)) == 0).all()
