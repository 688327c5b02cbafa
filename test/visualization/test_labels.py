# SPDX-License-Identifier: Apache-2.0
"""Names of objects: within the image, beside each other, and of a size that follows the image's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from centertrack_ros.visualization.canvas import line_width, text_height
from centertrack_ros.visualization.labels import LabelSides, draw_labels

SIZES = [(240, 320), (480, 640), (1080, 1920), (2160, 3840)]
boxes_in = st.lists(st.tuples(*[st.integers(-60, 400)] * 4), max_size=25)


def names_of(count: int) -> list[list[str]]:
    return [[f"person {number}", str(number)] for number in range(count)]


@settings(max_examples=60, deadline=None)
@given(corners=boxes_in, size=st.sampled_from([(240, 320), (120, 60), (20, 20)]))
def test_names_are_within_the_image_and_do_not_cover_each_other(corners, size):
    boxes = np.array([(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners], float).reshape(-1, 4)
    canvas = np.zeros((*size, 3), np.uint8)
    places = draw_labels(canvas, boxes, np.arange(len(boxes)), names_of(len(boxes)))
    for index, (left, top, right, bottom) in enumerate(places):
        assert 0 <= left < right <= size[1] and 0 <= top < bottom <= size[0]
        for x1, y1, x2, y2 in places[:index]:
            assert x2 <= left or right <= x1 or y2 <= top or bottom <= y1


def test_the_nearest_of_a_crowd_has_its_name_and_the_hidden_ones_none():
    boxes = np.array([(100, 100, 140, 130 + k) for k in range(40)], float)
    canvas = np.zeros((240, 320, 3), np.uint8)
    places = draw_labels(canvas, boxes, np.arange(40), names_of(40))
    assert 2 <= len(places) < 40
    assert abs(places[0][3] - 100) <= 1 and places[0][0] == 100  # right above the lowest box, at its left


def test_a_name_stays_on_its_side_while_there_is_room():
    """Two objects side by side whose lower edges tremble: who is nearer changes, the places of the names do not."""
    canvas, sides, chosen = np.zeros((240, 320, 3), np.uint8), LabelSides(), set()
    for step in range(20):
        boxes = np.array([(100.0, 90, 140, 150 + step % 2 * 3), (120.0, 92, 160, 152)])
        draw_labels(canvas, boxes, np.array([1, 2]), names_of(2), sides)
        chosen.add(tuple(sorted(sides.chosen.items())))
    assert len(chosen) == 1
    alone = draw_labels(canvas, boxes[:1] + 1, np.array([1]), names_of(1), sides)
    assert set(sides.chosen) == {1} and len(alone) == 1


def test_names_leave_reserved_places_free():
    canvas = np.zeros((240, 320, 3), np.uint8)
    box, caption = np.array([(0.0, 200, 50, 240)]), (0, 190, 320, 240)
    ((_, _, _, bottom),) = draw_labels(canvas, box, np.ones(1, int), names_of(1), reserved=[caption])
    assert bottom <= 190


@pytest.mark.parametrize("size", SIZES)
def test_names_can_be_read_and_leave_room_in_every_size(size):
    canvas = np.zeros((*size, 3), np.uint8)
    assert text_height(canvas) >= 8.0
    assert 0.009 * size[1] < text_height(canvas) < 0.03 * size[1]
    ((left, top, right, bottom),) = draw_labels(canvas, np.array([(9.0, 90, 99, 200)]), np.ones(1, int), names_of(1))
    assert right - left < size[1] / 3 and bottom - top < size[0] / 8
    ink = canvas[top:bottom, left:right].max(axis=2)
    assert ink.min() < 90 < 200 < ink.max()  # dark on bright


def test_lines_are_thicker_in_larger_images():
    widths = [line_width(np.zeros((*size, 3), np.uint8)) for size in SIZES]
    assert widths[0] == 1 and widths == sorted(widths) and widths[-1] >= 4
