# SPDX-License-Identifier: Apache-2.0
"""Trails: behind what moves, smooth, and no longer than the track is seen."""

from __future__ import annotations

import numpy as np

from centertrack_ros.visualization.drawing import Annotation, Trails
from centertrack_ros.visualization.trails import smooth_way

GREY = np.full((240, 320, 3), 90, np.uint8)
NOTHING = Annotation(np.zeros((0, 4)), np.zeros(0, int), [], np.zeros(0))


def at(x: float, y: float = 150.0) -> Annotation:
    """An object of 20x50 px whose feet are at (x, y)."""
    return Annotation(np.array([(x - 10, y - 50, x + 10, y)]), np.ones(1, int), ["person"], np.ones(1))


def drawn(trails: Trails) -> np.ndarray:
    """(N, 2) x, y px of what the trails change."""
    canvas = GREY.copy()
    trails.draw(canvas)
    return np.argwhere((canvas != GREY).any(axis=2))[:, ::-1]


def walked(steps: int = 60) -> Trails:
    trails = Trails()
    for k in range(steps):
        trails.update(at(40 + 3 * k), k / 30)
    return trails


def test_a_walk_leaves_a_trail_from_its_begin_to_the_box():
    points = drawn(walked())
    assert abs(points[:, 0].min() - 40) < 4 and abs(points[:, 0].max() - (40 + 3 * 59 - 10)) < 8
    assert np.abs(points[:, 1] - 150).max() <= 2


def test_what_stands_and_trembles_has_no_trail():
    random, trails = np.random.default_rng(0), Trails()
    for k in range(100):
        trails.update(at(*random.normal((100, 150), 3.0)), k / 30)
        assert not len(drawn(trails))


def test_a_trail_ends_with_its_track():
    trails = walked()
    trails.update(NOTHING, 2.0)
    assert not len(drawn(trails))


def test_a_trail_survives_a_frame_without_a_box_and_begins_anew_after_a_long_absence():
    trails = walked()
    trails.update(NOTHING, 60 / 30)
    trails.update(at(40 + 3 * 61), 61 / 30)
    assert drawn(trails)[:, 0].min() < 50
    for k in range(62, 90):
        trails.update(NOTHING, k / 30)
    trails.update(at(300), 3.0)
    assert not len(drawn(trails))


def test_jitter_across_the_way_is_smoothed():
    random = np.random.default_rng(0)
    stamps = np.arange(90) / 30
    line = np.stack([stamps, 3 * np.arange(90.0), 100 + random.normal(0, 3, 90)], axis=1)
    way = smooth_way(line, np.array([262.0, 50, 282, 100]), 4.0)
    middle = way[(way[:, 0] > 30) & (way[:, 0] < 230)]
    assert len(middle) > 20 and np.std(middle[:, 1]) < 1.5
    assert np.linalg.norm(np.diff(way, axis=0), axis=1).max() < 12  # without holes


def test_unknown_feet_at_the_lower_border_are_not_drawn():
    trails = Trails()
    for k in range(60):
        trails.update(at(40 + 3 * k, 239.5), k / 30)
    assert not len(drawn(trails))


def test_a_box_that_the_side_border_cuts_does_not_bend_the_trail():
    """The middle of what is left of a box moves slower than its object, and in the end backwards."""
    trails = walked()
    before = drawn(trails)
    for k in range(60, 75):
        left = 40 + 3 * k - 10 + 12 * (k - 59)
        box = np.array([(min(left, 316), 95.0, 319.0, 150.0 + k - 59)])
        trails.update(Annotation(box, np.ones(1, int), ["person"], np.ones(1)), k / 30)
    after = drawn(trails)
    assert abs(after[:, 0].max() - (40 + 3 * 59)) < 14 and np.abs(after[:, 1] - 150).max() <= 3
    assert len(after) >= 0.9 * len(before)
