# SPDX-License-Identifier: Apache-2.0
"""Regions of an image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from centertrack_ros.geometry.regions import Region

corners = st.lists(st.tuples(st.integers(2, 60), st.integers(2, 60)), min_size=3, max_size=8, unique=True)


@given(corners, st.lists(st.tuples(st.integers(0, 63), st.integers(0, 63)), min_size=1, max_size=20))
def test_points_are_inside_where_an_even_odd_ray_says_so(corners: list[tuple[int, int]], points: list) -> None:
    at = np.array(points) + 0.37  # on no corner and no level edge
    inside = Region(polygon=np.array(corners, float)).contains(at, (64, 64))
    for point, is_inside in zip(at, inside, strict=True):
        crossed = 0
        for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
            if (y1 > point[1]) != (y2 > point[1]):
                crossed += point[0] < x1 + (point[1] - y1) * (x2 - x1) / (y2 - y1)
        assert is_inside == bool(crossed % 2)


@given(corners)
def test_a_convex_polygon_holds_what_opencv_says(corners: list[tuple[int, int]]) -> None:
    hull = cv2.convexHull(np.array(corners, np.float32))
    if len(hull) < 3:
        return
    points = np.stack(np.meshgrid(np.arange(64), np.arange(64)), -1).reshape(-1, 2) + 0.37
    inside = Region(polygon=hull[:, 0].astype(float)).contains(points, (64, 64))
    distances = np.array([cv2.pointPolygonTest(hull, tuple(map(float, p)), True) for p in points])
    clear = np.abs(distances) > 1e-3
    np.testing.assert_array_equal(inside[clear], distances[clear] > 0)


def test_parts_of_the_image_and_masks_follow_its_size() -> None:
    half = Region(polygon=np.array([(0, 0.5), (1, 0.5), (1, 1), (0, 1)]))
    mask = Region(mask=np.array([[False] * 3, [True] * 3]))
    for region in (half, mask):
        assert region.contains(np.array([(5, 10), (5, 70), (99.9, 99.9), (100, 100)]), (100, 100)).tolist()[:3] == [
            False,
            True,
            True,
        ]
        assert region.contains(np.array([(5, 10)]), (16, 16)).item()


def test_what_is_no_region_is_told() -> None:
    with pytest.raises(ValueError, match="at least 3 corners"):
        Region(polygon=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="something white"):
        Region(mask=np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match="either a polygon or a mask"):
        Region()
