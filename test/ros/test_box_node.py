# SPDX-License-Identifier: Apache-2.0
"""The node with 3D detections of a LiDAR: fused with its camera's tracks, alone, silent, and broken."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")
pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is not installed (make builds it from compat/tf2_msgs)")

from centertrack_ros.geometry.transform import Transform
from support.detection_messages import Place, boxes_message, detections_message
from support.ros_harness import (
    CAMERA_MOUNT,
    RELIABLE,
    CameraClock,
    Probe,
    Process,
    TransformPublisher,
    ids_of,
    image_message,
    launch_node,
    start_node,
    stop_node,
    wait_until,
)

IMAGE = np.full((240, 320, 3), 90, np.uint8)
LIDAR = Transform(np.eye(3), np.array([1.0, 0.0, 1.8]))  # in base_link
FRAMES = ("output.target_frame:=base_link", "output.fixed_frame:=odom")
# A car 12 m ahead of the camera (focal length 384 px), 4.2 x 1.8 x 1.5 m, seen from behind, and one behind the vehicle.
AHEAD, BEHIND, ASIDE = (15.6, 0.2, 0.75), (-14.0, 3.0, 0.75), (2.0, -20.0, 0.75)
SEEN = [(160.0 - 29, 120.0 + 3, 160.0 + 29, 120.0 + 51)]


class Vehicle:
    """A camera with a detector of its own, and a LiDAR with another one."""

    def __init__(self) -> None:
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from vision_msgs.msg import Detection2DArray, Detection3DArray

        outputs = ("output/detections_3d", "output/camera/detections_3d", "output/detections_2d", "/diagnostics")
        self.probe = Probe("around", outputs=outputs)
        reliable = QoSProfile(depth=30, reliability=ReliabilityPolicy.RELIABLE)
        create = self.probe.node.create_publisher
        self.boxes = create(Detection3DArray, f"{self.probe.prefix}/input/detections_3d", reliable)
        self.found = create(Detection2DArray, f"{self.probe.prefix}/input/detections", reliable)
        self.probe.wait_for_node()
        for publisher in (self.boxes, self.found):
            wait_until(publisher.get_subscription_count, 20.0, f"the node to subscribe to {publisher.topic_name}")
        self.tf = TransformPublisher(self.probe)
        self.tf.wait_for_node()
        self.tf.publish("base_link", "camera_optical", CAMERA_MOUNT)
        self.tf.publish("base_link", "lidar", LIDAR)
        self.tf.publish("odom", "base_link", Transform.identity())
        self.probe.calibrate(320, 240)
        self.clock = CameraClock(rate=20.0)

    def look(self, boxes: Sequence[tuple[float, float, float, float]] = ()) -> Any:
        """The camera's next image with these detections; its result in 3D."""
        stamp = self.clock.tick()
        self.found.publish(detections_message(stamp, boxes, "car", 0.9))
        self.probe.images.publish(image_message(IMAGE, stamp))
        return self.probe.wait_for_message("output/camera/detections_3d", stamp)

    def scan(self, places: Sequence[Place], **changes: Any) -> Any:
        """The LiDAR's next message; the merged view at its stamp."""
        stamp = self.clock.tick()
        self.boxes.publish(lidar_message(stamp, places, **changes))
        return self.probe.wait_for_message("output/detections_3d", stamp)


def lidar_message(stamp: tuple[int, int], places: Sequence[Place], **changes: Any) -> Any:
    """Cars at places in base_link, as the LiDAR has them."""
    return boxes_message(stamp, [tuple(np.array(place) - LIDAR.translation) for place in places], **changes)


def at(message: Any, place: Place) -> list[Any]:
    """The objects of a message within 4 m of a place in base_link."""
    centers = [(one, one.bbox.center.position) for one in message.detections]
    return [one for one, c in centers if math.dist((c.x, c.y), place[:2]) < 4.0]


@pytest.fixture(scope="module")
def node(ros) -> Iterator[Process]:
    parameters = ("model.weights:=none", "detector.source:=external", "detector.timeout_s:=0.4", *FRAMES)
    more = ("surround.detections_3d:=true", "diagnostics.period_s:=0.2", "diagnostics.waiting_s:=0.5")
    process = start_node(*parameters, RELIABLE, *more, name="around")
    yield process
    stop_node(process)


@pytest.fixture(scope="module")
def vehicle(node) -> Iterator[Vehicle]:
    vehicle = Vehicle()
    yield vehicle
    vehicle.probe.close()


def test_what_both_see_has_one_id_and_what_one_sees_is_there(node, vehicle) -> None:
    for _ in range(4):
        seen = vehicle.look(SEEN)
        merged = vehicle.scan([AHEAD, BEHIND])
    assert merged.header.frame_id == "base_link" and len(merged.detections) == 2
    [ahead], [behind] = at(merged, AHEAD), at(merged, BEHIND)
    assert ids_of(seen) == {ahead.id} and behind.id != ahead.id
    assert ahead.results[0].hypothesis.class_id == behind.results[0].hypothesis.class_id == "car"
    center = ahead.bbox.center.position  # the LiDAR's: a camera is not sure of distances to centimetres
    np.testing.assert_allclose([center.x, center.y, center.z], AHEAD, atol=1e-6)
    flat = vehicle.probe.received["output/detections_2d"][-1]
    assert ids_of(flat) == {ahead.id}
    # The LiDAR stops: the camera's object stays, and keeps its id; what is behind is forgotten.
    for _ in range(12):
        seen = vehicle.look(SEEN)
    assert ids_of(seen) == {ahead.id}
    last = vehicle.probe.wait_for_message("output/detections_3d", (seen.header.stamp.sec, seen.header.stamp.nanosec))
    assert ids_of(last) == {ahead.id}
    node.wait_for_line("waiting for 3D detections on /around/input/detections_3d", timeout=5.0)
    # The camera stops: the LiDAR goes on alone, with the same id.
    for _ in range(4):
        merged = vehicle.scan([AHEAD])
    assert [one.id for one in at(merged, AHEAD)] == [ahead.id]


def test_names_that_nobody_knows_are_kept(vehicle) -> None:
    for _ in range(4):
        merged = vehicle.scan([ASIDE], name="straddle carrier")
    assert [one.results[0].hypothesis.class_id for one in at(merged, ASIDE)] == ["straddle carrier"]


def _nan(message: Any) -> None:
    message.detections[0].bbox.center.position.x = math.nan


def _flat(message: Any) -> None:
    message.detections[0].bbox.size.y = -1.0


def _no_turn(message: Any) -> None:
    message.detections[0].bbox.center.orientation.w = 0.0


def _bare(message: Any) -> None:
    message.detections[0].results = []


def _unknown_frame(message: Any) -> None:
    message.header.frame_id = "nowhere"


def _no_frame(message: Any) -> None:
    message.header.frame_id = ""


def _future(message: Any) -> None:
    message.header.stamp.sec += 100


def _past(message: Any) -> None:
    message.header.stamp.sec -= 100


def _many(message: Any) -> None:
    message.detections = message.detections * 5000


BAD = {
    _nan: "1 of 2 boxes are left out: 1 not finite",
    _flat: "1 without a size",
    _no_turn: "1 with a quaternion that is no rotation",
    _bare: "1 of 2 boxes have no class and no score",
    _unknown_frame: "no transform: ",
    _no_frame: "their frame_id is empty",
    _future: "s after the newest image, allowed are 1.5 s",
    _past: "s before the newest image, allowed are 1.5 s",
    _many: "a message of 10000 boxes and 4.7 MB is not read, expected are at most 2000 boxes",
}


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__[1:])
def test_a_bad_message_costs_one_sentence(spoil, node, vehicle) -> None:
    vehicle.look()
    start, message = len(node.lines), lidar_message(vehicle.clock.tick(), [AHEAD, BEHIND])
    spoil(message)
    time.sleep(0.6)  # the last line about the same may be that old
    vehicle.look()
    vehicle.boxes.publish(message)
    assert "3D detections on /around/input/detections_3d: " in node.wait_for_line(BAD[spoil], start)
    begin = time.monotonic()
    vehicle.look()
    for _ in range(3):
        merged = vehicle.scan([AHEAD, BEHIND])
    assert len(at(merged, AHEAD)) == len(at(merged, BEHIND)) == 1
    assert time.monotonic() - begin < 5.0
    assert not node.logged("a frame failed")


def test_diagnostics_tell_of_the_input(vehicle) -> None:
    vehicle.scan([AHEAD])
    status, values = vehicle.probe.next_status("around")
    assert values["3D detections topic"] == "/around/input/detections_3d" and "waiting" not in status.message
    assert 0 < int(values["3D detections used"]) <= int(values["3D detections received"])


def test_without_a_target_frame_configuring_fails_with_a_sentence(ros) -> None:
    node = launch_node("model.weights:=none", "detector.source:=external", "surround.detections_3d:=true", name="lost")
    line = node.wait_for_line("cannot be configured", timeout=60.0)
    assert "surround.detections_3d needs output.target_frame" in line
    node.end()
