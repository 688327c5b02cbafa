# SPDX-License-Identifier: Apache-2.0
"""Properties of rotations, 3D boxes and overlaps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from centertrack_ros.geometry import boxes3d
from centertrack_ros.geometry.boxes2d import areas, iou
from centertrack_ros.geometry.transform import (
    box_quaternions,
    matrix_to_quaternion,
    multiply_quaternions,
    quaternion_to_matrix,
)

angles = st.floats(-3.1, 3.1)
lengths = st.floats(0.1, 20)
dimensions = st.tuples(lengths, lengths, lengths).map(lambda row: np.array([row]))
locations = st.tuples(st.floats(-30, 30), st.floats(-5, 5), st.floats(1, 80)).map(lambda row: np.array([row]))


@given(dimensions, locations, angles)
def test_corners_are_a_box_of_the_stated_size_on_its_ground_point(size, location, angle):
    corners = boxes3d.corners(size, location, np.array([angle]))[0]
    height, width, length = size[0]
    np.testing.assert_allclose(corners[:4].mean(0), location[0], atol=1e-9)
    np.testing.assert_allclose(corners.mean(0), boxes3d.centers(size, location)[0], atol=1e-9)
    sides = sorted(np.linalg.norm(corners[a] - corners[b]) for a, b in boxes3d.EDGES)
    np.testing.assert_allclose(sides, sorted([height] * 4 + [width] * 4 + [length] * 4), atol=1e-9)


@given(dimensions, locations, angles)
def test_the_quaternion_turns_a_box_of_the_road_onto_the_corners(size, location, angle):
    height, width, length = size[0]
    local = np.array(
        [[x, y, z] for x in (-length / 2, length / 2) for y in (-width / 2, width / 2) for z in (0, height)]
    )
    matrix = quaternion_to_matrix(box_quaternions(np.array([angle]))[0])
    turned = local @ matrix.T + location
    corners = boxes3d.corners(size, location, np.array([angle]))[0]
    distances = np.linalg.norm(turned[:, None] - corners[None], axis=2)
    np.testing.assert_allclose(distances.min(axis=1), 0, atol=1e-9)
    assert len(set(distances.argmin(axis=1).tolist())) == 8


@given(angles)
def test_the_box_quaternion_is_a_turn_about_y_after_a_quarter_turn_about_x(angle):
    about_y = np.array([0, np.sin(angle / 2), 0, np.cos(angle / 2)])
    about_x = np.array([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])
    got = box_quaternions(np.array([angle]))[0]
    np.testing.assert_allclose(got, multiply_quaternions(about_y, about_x), atol=1e-12)


@given(angles)
def test_in_a_body_frame_the_yaw_is_minus_the_rotation_less_a_quarter_turn(angle):
    forward = boxes3d.BODY_FROM_OPTICAL @ np.array([np.cos(angle), 0, -np.sin(angle)])  # of a box with this rot_y
    yaw = boxes3d.yaw_in_body(np.array([angle]))[0]
    np.testing.assert_allclose([np.cos(yaw), np.sin(yaw)], forward[:2], atol=1e-9)
    assert -np.pi <= yaw <= np.pi


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_a_quaternion_survives_its_matrix(values):
    quaternion = np.array(values) / np.linalg.norm(values)
    matrix = quaternion_to_matrix(quaternion)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-9)
    back = matrix_to_quaternion(matrix)
    assert abs(abs(back @ quaternion) - 1) < 1e-6 and back[3] >= 0


def test_a_quaternion_without_length_is_an_error():
    with pytest.raises(ValueError, match="length 1"):
        quaternion_to_matrix(np.zeros(4))


@given(st.floats(-3.1, 3.1), st.floats(0, 1600), st.floats(200, 2000))
def test_alpha_and_rotation_are_inverse(angle, column, focal):
    back = boxes3d.alphas_from_rotation(
        boxes3d.rotations_from_alpha(np.array([angle]), np.array([column]), 800.0, focal),
        np.array([column]),
        800.0,
        focal,
    )[0]
    assert abs((back - angle + np.pi) % (2 * np.pi) - np.pi) < 1e-9


boxes = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=5
).map(lambda rows: np.array([(x, y, x + w, y + h) for x, y, w, h in rows], np.float32))


@given(boxes, boxes)
def test_overlap_counts_pixels(first, second):
    def mask(box):
        grid = np.zeros((90, 90), bool)
        x1, y1, x2, y2 = box.astype(int)
        grid[y1:y2, x1:x2] = True
        return grid

    expected = [[(mask(a) & mask(b)).sum() / (mask(a) | mask(b)).sum() for b in second] for a in first]
    np.testing.assert_allclose(iou(first, second), expected, atol=1e-6)
    assert areas(first).tolist() == [mask(box).sum() for box in first]


def test_boxes_without_area_do_not_overlap():
    empty = np.array([[3, 3, 3, 3]], np.float32)
    assert iou(empty, empty).tolist() == [[0.0]]
