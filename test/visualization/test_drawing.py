# SPDX-License-Identifier: Apache-2.0
"""Drawing: what is drawn is where it should be, and nothing that a tracker can say breaks it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from centertrack_ros.datasets.records import tracks_of
from centertrack_ros.geometry import boxes3d
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.visualization.drawing import (
    Annotation,
    Trails,
    annotation_of,
    color_of,
    draw,
    draw_boxes3d,
)
from centertrack_ros.visualization.video import VideoWriter

GREY = np.full((240, 320, 3), 90, np.uint8)
any_number = st.floats(allow_nan=True, allow_infinity=True, width=32)


def annotation(boxes, corners=None) -> Annotation:
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    count = len(boxes)
    return Annotation(boxes, np.arange(1, count + 1), ["person"] * count, np.full(count, 0.5), corners)


def test_the_image_given_is_left_alone():
    image = GREY.copy()
    drawn = draw(image, annotation([(100, 80, 150, 180)]), caption="frame 1")
    assert np.array_equal(image, GREY) and not np.array_equal(drawn, GREY)


def test_nothing_to_draw_changes_nothing():
    assert np.array_equal(draw(GREY, annotation([]), Trails()), GREY)


@settings(max_examples=30, deadline=None)
@given(x=st.integers(20, 200), y=st.integers(60, 120), width=st.integers(20, 90), height=st.integers(20, 100))
def test_a_box_is_drawn_on_its_edges_in_its_own_colour(x, y, width, height):
    drawn = draw(GREY, annotation([(x, y, x + width, y + height)]))
    middle_of_edges = [(y + height // 2, x), (y + height // 2, x + width), (y + height, x + width // 2)]
    for row, column in middle_of_edges:
        assert np.abs(drawn[row, column].astype(int) - color_of(1)).max() < 40
    far_right = min(319, x + width + 8)
    assert np.array_equal(drawn[y + height // 2, far_right], GREY[0, 0]) or far_right == 319


def test_colours_of_neighbouring_ids_differ_and_do_not_change():
    colors = np.array([color_of(identity) for identity in range(1, 200)])
    assert np.array_equal(colors, [color_of(identity) for identity in range(1, 200)])
    for step in (1, 2, 3):
        assert np.abs(colors[step:] - colors[:-step]).max(axis=1).min() > 40


@settings(max_examples=60, deadline=None)
@given(boxes=st.lists(st.tuples(*[any_number] * 4), max_size=5), depth=any_number)
def test_no_box_breaks_the_drawing(boxes, depth):
    corners = np.full((len(boxes), 8, 3), depth)
    camera = Camera.from_focal(320, 240, 300.0)
    drawn = draw(GREY, annotation(boxes, corners), Trails(), camera)
    assert drawn.shape == GREY.shape and drawn.dtype == np.uint8


def box_ahead(depth: float) -> np.ndarray:
    return boxes3d.corners(np.array([[1.6, 1.8, 4.0]]), np.array([[0.0, 0.8, depth]]), np.array([0.3]))


@pytest.mark.parametrize("distortion", [(), (-0.2, 0.05, 0.001, 0.0, 0.0)])
def test_a_3d_box_is_drawn_where_its_corners_project(distortion):
    model = "plumb_bob" if distortion else "none"
    matrix = [[250, 0, 160], [0, 250, 120], [0, 0, 1]]
    camera = Camera.from_matrix(320, 240, matrix, model, distortion)
    corners = box_ahead(12.0)
    canvas = GREY.copy()
    draw_boxes3d(canvas, annotation([(0, 0, 1, 1)], corners), camera)
    changed = np.argwhere((canvas != GREY).any(axis=2))[:, ::-1]
    pixels = camera.distort(camera.project(corners[0]))
    hidden = np.linalg.norm(corners[0], axis=1).argmax()  # but for the ground's, it is behind the faces
    for index, pixel in enumerate(pixels):
        if index != hidden:
            assert np.linalg.norm(changed - pixel, axis=1).min() < 2.0
    forward = corners[0, 0] - corners[0, 3]
    nose = corners[0, :2].mean(axis=0) + forward / np.linalg.norm(forward) * 0.9
    pixels = np.concatenate([pixels, camera.distort(camera.project(nose[None]))])
    assert np.all(changed.min(axis=0) > pixels.min(axis=0) - 4) and np.all(changed.max(axis=0) < pixels.max(axis=0) + 4)


def test_a_3d_box_behind_the_camera_is_not_drawn():
    canvas = GREY.copy()
    draw_boxes3d(canvas, annotation([(0, 0, 1, 1)], box_ahead(-12.0)), Camera.from_focal(320, 240, 250.0))
    assert np.array_equal(canvas, GREY)


def test_lost_tracks_are_not_drawn():
    tracks = tracks_of(np.array([3, 4]), np.array([0, 1]), np.array([0.9, 0.8]), np.zeros((2, 4)))
    tracks.hits[0] = 0
    shown = annotation_of(tracks, ("person", "car"))
    assert shown.ids.tolist() == [4] and list(shown.labels) == ["car"]


def test_trails_forget_what_is_old_and_a_clock_that_goes_back():
    trails = Trails(seconds=1.0)
    for stamp in (0.0, 0.5, 1.2):
        trails.update(annotation([(0, 0, 10, 10 + stamp)]), stamp)
    assert [round(point[0], 1) for point in trails.points[1]] == [0.5, 1.2]
    trails.update(annotation([]), 5.0)
    assert not trails.points
    trails.update(annotation([(0, 0, 1, 1)]), 6.0)
    trails.update(annotation([(0, 0, 1, 1)]), 2.0)
    assert [point[0] for point in trails.points[1]] == [2.0]


def test_a_video_that_cannot_be_written_is_rejected(tmp_path):
    with pytest.raises(ValueError, match=r"\.mkv.*\.webm"):
        VideoWriter(tmp_path / "video.mkv", 10.0)
    with pytest.raises(ValueError, match="rate"):
        VideoWriter(tmp_path / "video.webm", 0.0)
    (tmp_path / "file").touch()
    with VideoWriter(tmp_path / "file" / "video.webm", 10.0) as writer, pytest.raises(OSError, match="file"):
        writer.write(GREY)


def test_joints_are_drawn_where_they_are_and_bones_between_them():
    joints = np.full((1, 17, 2), np.nan)
    joints[0, 5], joints[0, 7], joints[0, 16] = (60, 60), (100, 60), (200, 200)  # a shoulder, its elbow, an ankle
    one = Annotation(np.zeros((1, 4)), np.array([3]), [""], np.array([0.5]), joints=joints)
    drawn = draw(GREY, one)
    bare = draw(GREY, Annotation(np.zeros((1, 4)), np.array([3]), [""], np.array([0.5])))
    changed = (drawn != bare).any(axis=2)
    assert changed[60, 60:101].all(), "the bone of the upper arm"
    assert changed[200, 200] and not changed[120:190].any(), "no bone to a joint whose neighbour is not known"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(any_number, any_number), min_size=17, max_size=17))
def test_no_joint_breaks_the_drawing(points):
    joints = np.array(points, np.float64)[None]
    drawn = draw(GREY, Annotation(np.zeros((1, 4)), np.array([3]), ["person"], np.array([0.5]), joints=joints))
    assert drawn.shape == GREY.shape
