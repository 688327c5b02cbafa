# SPDX-License-Identifier: Apache-2.0
"""Colour histograms: alike for one object, different for two, and what that is worth."""

from dataclasses import replace

import numpy as np
import pytest

from centertrack_ros.tracking import appearance, fused_motion
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.lifecycle import start_tracks, update
from centertrack_ros.types import Detections

RED, GREEN, BLUE, GREY = (40, 40, 200), (40, 160, 60), (180, 90, 30), (120, 120, 120)


def scene(*people: tuple[int, tuple[int, int, int], tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """An image with people at these left sides, in these colours of coat and trousers (BGR), and their boxes."""
    rng = np.random.default_rng(4)
    image = np.full((120, 320, 3), 90, np.uint8)
    boxes = []
    for left, coat, trousers in people:
        image[20:55, left : left + 30] = coat
        image[55:100, left : left + 30] = trousers
        boxes.append((left, 20, left + 30, 100))
    noisy = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
    return noisy, np.array(boxes, np.float32).reshape(-1, 4)


def test_one_person_is_more_alike_than_two_also_in_other_light():
    image, boxes = scene((20, RED, GREY), (100, GREEN, BLUE), (180, GREY, RED))
    looks = appearance.appearances(image, boxes)
    np.testing.assert_allclose(np.linalg.norm(looks, axis=1), 1, rtol=1e-5)
    darker = (image * 0.97).astype(np.uint8)
    distances = appearance.distances(looks, appearance.appearances(darker, boxes + 1))
    same = np.eye(3, dtype=bool)
    assert distances[same].max() < 0.5 * distances[~same].min()
    evidence = appearance.evidence(distances, 0.5)
    assert evidence[same].min() > 1 and evidence[~same].max() < -1


def test_evidence_falls_with_distance_and_time_and_without_reliability():
    distances = np.linspace(0, 0.4, 9)[None]
    now, later = appearance.evidence(distances, 0.1)[0], appearance.evidence(distances, 10.0)[0]
    assert (np.diff(now) <= 1e-9).all() and now[0] > 2 and now[-1] < -1.5
    assert (np.diff(later) <= 1e-9).all() and later[-1] > now[-1] / 2
    assert appearance.evidence(distances, 0.1, 0.0)[0] == pytest.approx(0)
    assert appearance.evidence(np.array([[np.nan]]), 1.0).tolist() == [[0.0]]


def test_boxes_outside_the_image_look_like_nothing():
    image, _ = scene()
    strange = np.array([[-90, -90, -10, -10], [400, 10, 500, 90], [5, 5, 5, 5], [np.nan] * 4], np.float32)
    assert not appearance.appearances(image, strange).any()
    assert np.isnan(appearance.distances(appearance.appearances(image, strange), np.ones((1, appearance.SIZE)))).all()


def test_the_one_behind_is_covered():
    boxes = np.array([[0, 0, 40, 100], [20, 10, 60, 110], [200, 0, 240, 100]])
    assert appearance.covered_parts(boxes).tolist() == [pytest.approx(0.45), 0, 0]


def _tracked(image: np.ndarray, boxes: np.ndarray) -> Detections:
    return replace(
        Detections.from_boxes(boxes),
        appearances=appearance.appearances(image, boxes),
        visible_parts=1 - appearance.covered_parts(boxes),
    )


@pytest.mark.parametrize("looks_alike", [True, False])
def test_a_lost_track_comes_back_only_if_it_looks_alike(looks_alike):
    config, noise = TrackerConfig(motion="fused", birth="threshold"), fused_motion.DisplacementNoise()
    empty = start_tracks(_tracked(*scene()), 1, 0.0)
    tracks, next_id = update(empty, 1, _tracked(*scene((100, RED, GREY))), 0.0, 0.0, 0.3, config, noise=noise)
    for index in range(1, 31):
        tracks, next_id = update(tracks, next_id, _tracked(*scene()), index / 15, 1 / 15, 0.3, config, noise=noise)
    back = scene((108, RED, GREY) if looks_alike else (108, GREEN, BLUE))
    tracks, _ = update(tracks, next_id, _tracked(*back), 31 / 15, 1 / 15, 0.3, config, noise=noise)
    assert tracks.ids[tracks.hits > 0].tolist() == [1 if looks_alike else 2]
