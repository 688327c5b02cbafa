# SPDX-License-Identifier: Apache-2.0
"""3D boxes as solids: hidden faces are not drawn, the front is marked, near ones cover far ones."""

from __future__ import annotations

import numpy as np
import pytest

from centertrack_ros.geometry import boxes3d
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.visualization.drawing import Annotation, color_of, draw
from centertrack_ros.visualization.solids import draw_solids

GREY = np.full((240, 320, 3), 90, np.uint8)
CAMERA = Camera.from_focal(320, 240, 250.0)


def solid(x: float = 0.0, z: float = 10.0, yaw: float = 0.0, y: float = 1.5) -> np.ndarray:
    """Corners of a car of 4 m length; yaw 0 looks right, -pi/2 away from the camera, +pi/2 at it."""
    return boxes3d.corners(np.array([[1.5, 1.8, 4.0]]), np.array([[x, y, z]]), np.array([yaw]))


def changed(*boxes: np.ndarray) -> np.ndarray:
    canvas = GREY.copy()
    draw_solids(canvas, np.concatenate(boxes), np.arange(1, len(boxes) + 1), CAMERA)
    return canvas


def test_the_seen_side_is_filled_and_the_hidden_edges_are_not_drawn():
    corners = solid(y=0.75)  # at the camera's height: only the side is seen
    canvas = changed(corners)
    pixels = CAMERA.project(corners[0])
    near = pixels[corners[0, :, 2] < 10]
    left, top = near.min(axis=0)
    right, bottom = near.max(axis=0)
    inside = canvas[int(top) + 4 : int(bottom) - 30, int(left) + 8 : int(right) - 8]
    assert (inside != 90).any(axis=2).all()
    assert np.array_equal(inside, np.broadcast_to(inside[0, 0], inside.shape))  # one colour: no line runs through


@pytest.mark.parametrize(("yaw", "shown"), [(np.pi / 2, True), (-np.pi / 2, False)])
def test_the_front_is_marked_where_it_is_seen(yaw, shown):
    """A face that looks at the camera: as strong as two layers if it is the front, else weaker."""
    canvas, color = changed(solid(yaw=yaw, y=1.0)), np.array(color_of(1), float)
    pixels = CAMERA.project(solid(yaw=yaw, y=1.0)[0])
    middle = np.round(pixels[solid(yaw=yaw, y=1.0)[0, :, 2] < 10].mean(axis=0)).astype(int)
    filled = canvas[middle[1] - 12, middle[0]].astype(float)
    assert (np.abs(filled - 90).sum() > 0.45 * np.abs(color - 90).sum()) == shown


def test_the_footprint_has_a_nose_ahead_of_the_front():
    canvas = changed(solid(yaw=0.0))
    columns = np.argwhere((canvas != GREY).any(axis=(0, 2)))[:, 0]
    pixels = CAMERA.project(solid(yaw=0.0)[0])[:, 0]
    assert columns.max() > pixels.max() + 8 and columns.min() > pixels.min() - 4


def test_a_near_solid_covers_a_far_one_in_any_order():
    near, far = solid(z=9.0), solid(z=20.0)
    canvas = GREY.copy()
    draw_solids(canvas, np.concatenate([near, far]), np.array([1, 2]), CAMERA)
    other = GREY.copy()
    draw_solids(other, np.concatenate([far, near]), np.array([2, 1]), CAMERA)
    assert np.array_equal(canvas, other)


@pytest.mark.parametrize("z", [1.0, 2.5, 3.0])
def test_a_solid_that_reaches_behind_the_camera_is_cut_off(z):
    canvas = GREY.copy()
    drawn = draw_solids(canvas, solid(x=2.0, z=z, yaw=-np.pi / 2), np.ones(1, int), CAMERA)
    assert drawn.tolist() == [True]
    assert not (canvas[:, :150] != GREY[:, :150]).any()  # it is on the right


def test_a_camera_within_the_box_sees_nothing_of_it():
    canvas = GREY.copy()
    assert not draw_solids(canvas, solid(z=0.5, y=0.75), np.ones(1, int), CAMERA).any()
    assert np.array_equal(canvas, GREY)


def test_the_2d_box_recedes_beside_a_solid():
    box = np.array([(90.0, 60.0, 230.0, 180.0)])
    with_3d = Annotation(box, np.ones(1, int), ["car"], np.ones(1), solid(z=30.0))
    far = draw(GREY, with_3d, camera=CAMERA)
    whole = draw(GREY, Annotation(box, np.ones(1, int), ["car"], np.ones(1), np.full((1, 8, 3), np.nan)), camera=CAMERA)
    assert np.array_equal(far[180, 160], GREY[0, 0]) and not np.array_equal(whole[180, 160], GREY[0, 0])
    assert not np.array_equal(far[180, 92], GREY[0, 0])  # a corner
