# SPDX-License-Identifier: Apache-2.0
"""The rotated IoU of 3D boxes: against polygons clipped by hand, and in cases that anybody can compute."""

import numpy as np
import pytest

from centertrack_ros.geometry.boxes3d import corners
from centertrack_ros.geometry.overlap3d import intersections_over_union


def overlap(one, other) -> float:
    sides = [[np.array([values], float) for values in box] for box in (one, other)]
    (d1, l1, r1), (d2, l2, r2) = sides
    return float(intersections_over_union((d1, d2), (l1, l2), (r1, r2))[0, 0])


def clipped_area(subject: np.ndarray, clip: np.ndarray) -> float:
    """Area of the intersection of two convex polygons by Sutherland and Hodgman."""

    def cross(one: np.ndarray, other: np.ndarray) -> float:
        return float(one[0] * other[1] - one[1] * other[0])

    turn = np.sign(cross(clip[1] - clip[0], clip[2] - clip[1]))
    points = list(subject)
    for start, end in zip(clip, np.roll(clip, -1, axis=0), strict=True):
        edge, kept = end - start, []
        sides = [turn * cross(edge, point - start) for point in points]
        for index, point in enumerate(points):
            before, side_before = points[index - 1], sides[index - 1]
            if (sides[index] >= 0) != (side_before >= 0):
                kept.append(before + (point - before) * side_before / (side_before - sides[index]))
            if sides[index] >= 0:
                kept.append(point)
        points = kept
        if not points:
            return 0.0
    x, y = np.array(points).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def test_boxes_that_share_a_half_overlap_by_a_third() -> None:
    car = ((1.5, 1.6, 4.0), (2.0, 1.7, 30.0), 0.3)
    assert overlap(car, car) == pytest.approx(1.0, abs=1e-6)
    along = np.array([np.cos(0.3), 0.0, -np.sin(0.3)])
    shifted = (car[0], tuple(np.array(car[1]) + 2.0 * along), 0.3)
    assert overlap(car, shifted) == pytest.approx(1 / 3, abs=1e-5)
    raised = (car[0], (2.0, 1.7 - 0.75, 30.0), 0.3)
    assert overlap(car, raised) == pytest.approx(1 / 3, abs=1e-6)
    assert overlap(car, (car[0], (2.0, 0.1, 30.0), 0.3)) == 0.0  # on its roof
    assert overlap(car, ((0.0, 0.0, 0.0), car[1], 0.3)) == 0.0


def test_the_overlap_is_that_of_clipped_polygons_wherever_the_boxes_stand() -> None:
    random = np.random.default_rng(3)
    sizes = random.uniform(0.5, 6.0, (2, 60, 3))
    places = random.uniform([-3, -1, -3], [3, 1, 3], (2, 60, 3))
    places += np.array([300.0, 0.0, 900.0])
    angles = random.uniform(-7, 7, (2, 60))
    found = intersections_over_union(tuple(sizes), tuple(places), tuple(angles))
    faces = [corners(sizes[side], places[side], angles[side]) for side in (0, 1)]
    for row in range(60):
        for column in range(0, 60, 7):
            one, other = faces[0][row], faces[1][column]
            area = clipped_area(one[:4, [0, 2]] - [300, 900], other[:4, [0, 2]] - [300, 900])
            height = min(one[:, 1].max(), other[:, 1].max()) - max(one[:, 1].min(), other[:, 1].min())
            common = area * max(height, 0.0)
            expected = common / (sizes[0, row].prod() + sizes[1, column].prod() - common)
            assert found[row, column] == pytest.approx(expected, abs=2e-4)


def test_no_boxes_give_an_empty_table() -> None:
    none, one = np.zeros((0, 3)), np.ones((2, 3))
    assert intersections_over_union((none, one), (none, one), (np.zeros(0), np.zeros(2))).shape == (0, 2)
