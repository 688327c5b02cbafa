# SPDX-License-Identifier: Apache-2.0
"""Which object a request for one means, with one camera, several, and all of them merged."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("centertrack_ros.srv", reason="the interfaces of this package are not built")
pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed (make builds it from compat/vision_msgs)")

from centertrack_ros.geometry.boxes3d import OrientedBoxes
from centertrack_ros.ros.logs import ThrottledLog
from centertrack_ros.ros.selection import Selection
from centertrack_ros.srv import Select
from centertrack_ros.tracking.results import CameraResult, MergedResult
from centertrack_ros.types import Detections, Frame, FrameHeader, FrameResult, Tracks

IMAGE = np.zeros((100, 200, 3), np.uint8)


@pytest.fixture
def selection(ros) -> Iterator[Selection]:
    import rclpy
    from rclpy.lifecycle import LifecycleNode

    assert rclpy.ok()
    node = LifecycleNode(f"selecting_{os.getpid()}")
    chosen = Selection(node, lambda: "", ThrottledLog(node.get_logger(), lambda: 1.0))
    yield chosen
    chosen.destroy()
    node.destroy_node()


def result(camera: str, *ids: int, hits: int = 2, reset: str = "") -> CameraResult:
    """A large box with a smaller one in its middle, and so on; all of them in space."""
    shrink = 10.0 * np.arange(len(ids))[:, None] * np.array([1, 1, -1, -1])
    count = len(ids)
    detections = replace(
        Detections.from_boxes(np.array([20.0, 10.0, 180.0, 90.0]) + shrink),
        dimensions=np.ones((count, 3), np.float32),
        locations=np.tile(np.array([0.0, 0.0, 5.0], np.float32), (count, 1)),
        rotations_y=np.zeros(count, np.float32),
    )
    ages, all_hits = np.ones(count, np.int64), np.full(count, hits)
    tracks = Tracks(detections, np.array(ids, np.int64), ages, all_hits, np.zeros(count))
    outcome = FrameResult(tracks, np.zeros((0, 3), np.int64), (32, 32), np.eye(2, 3), reset=reset)
    return CameraResult(camera, Frame(IMAGE, 1.0), FrameHeader(1, "optical"), outcome)


def ask(selection: Selection, **fields: Any) -> Any:
    if "pixel" in fields:
        from vision_msgs.msg import Point2D

        fields["pixel"] = [Point2D(x=float(fields["pixel"][0]), y=float(fields["pixel"][1]))]
    return selection.answer(Select.Request(**fields), Select.Response())


def test_a_pixel_means_the_smallest_box_around_it(selection: Selection) -> None:
    selection.offer(("",))
    assert "no image" in ask(selection, id=1).message
    selection.take(result("", 1, 2, 3), merges=False)
    assert [ask(selection, pixel=pixel).id for pixel in ((100, 50), (35, 50), (22, 50))] == [3, 2, 1]
    answer = ask(selection, pixel=(5, 5))
    assert (answer.success, answer.id) == (False, 1) and "no object at (5, 5) px" in answer.message
    assert ask(selection).id == 0 and not selection.is_active


def test_a_lost_object_cannot_be_clicked_but_its_id_can_be_named(selection: Selection) -> None:
    """Whoever knows the id may wait for the object to come back."""
    selection.offer(("",))
    selection.take(result("", 4, hits=0), merges=False)
    assert not ask(selection, pixel=(100, 50)).success
    assert ask(selection, id=4).success
    time.sleep(0.05)
    words, problem = selection.status(0.01)
    assert words.startswith("track 4, lost for") and "track 4, is lost" in problem
    selection.take(result("", 4), merges=False)
    assert selection.status(0.5) == ("track 4", "")


def test_cameras_that_count_alike_are_told_apart(selection: Selection) -> None:
    selection.offer(("left", "right"))
    for camera in ("left", "right"):
        selection.take(result(camera, 1, 2), merges=False)
    assert "left, right have a track 1 each" in ask(selection, id=1).message
    assert ask(selection, id=1, camera="right").success
    assert selection.status(9.0)[0] == "track 1 of right"
    selection.take(result("left", 7, reset="a gap"), merges=False)
    assert selection.is_active, "the other camera's reset"
    selection.take(result("right", 7, reset="a gap"), merges=False)
    assert not selection.is_active


def test_in_the_merged_view_an_id_is_one_object_whichever_camera_sees_it(selection: Selection) -> None:
    selection.offer(("left", "right"))
    for camera in ("left", "right"):
        selection.take(result(camera, 1, 2), merges=True)
    assert ask(selection, id=1).success and selection.status(9.0)[0] == "track 1"
    time.sleep(0.05)
    assert selection.status(0.01)[1]
    tracks = result("left", 1, 2).result.tracks
    boxes = replace(OrientedBoxes.blank(2), centers=np.zeros((2, 3)), quaternions=np.tile([0.0, 0, 0, 1], (2, 1)))
    selection.take_merged(MergedResult(FrameHeader(2, "base_link"), tracks, boxes, 1.0))
    assert selection.status(0.04) == ("track 1", "")
    selection.take_merged(MergedResult(FrameHeader(3, "base_link"), tracks, boxes, 1.1, reset="requested"))
    assert not selection.is_active


def test_an_object_that_no_camera_sees_can_be_chosen(selection: Selection) -> None:
    """Of a LiDAR: it is in the merged view alone."""
    selection.offer(("",))
    tracks = result("", 5).result.tracks
    boxes = replace(OrientedBoxes.blank(1), centers=np.zeros((1, 3)), quaternions=np.array([[0.0, 0, 0, 1]]))
    selection.take_merged(MergedResult(FrameHeader(2, "base_link"), tracks, boxes, 1.0))
    assert ask(selection, id=5).success and not ask(selection, id=6).success
    selection.take(result("", 1), merges=True)
    assert ask(selection, id=5).success
    selection.take(result("", 1), merges=False)  # nothing is merged any more
    assert not ask(selection, id=5).success
