# SPDX-License-Identifier: Apache-2.0
"""What the node subscribes to, and what it says when nothing arrives: durability, type and names of topics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.ros_harness import (
    RELIABLE,
    TORCH,
    CameraClock,
    Probe,
    Process,
    camera_info_message,
    compressed_message,
    image_message,
    start_node,
    stop_node,
    wait_until,
)

SMALL = (RELIABLE, TORCH, "model.input_width:=256", "model.input_height:=192", "diagnostics.waiting_s:=0.5")


def latched() -> Any:
    from rclpy.qos import DurabilityPolicy, QoSProfile

    return QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture
def node_with_latched_info(ros) -> Iterator[tuple[Process, Probe]]:
    """The calibration was published once, before the node started."""
    from sensor_msgs.msg import CameraInfo

    probe = Probe("latched", outputs=("output/detections_3d", "/diagnostics"))
    probe.node.destroy_publisher(probe.infos)
    infos = probe.node.create_publisher(CameraInfo, "/latched/input/camera_info", latched())
    infos.publish(camera_info_message(768, 576))
    node = start_node(*SMALL, "diagnostics.period_s:=0.2", name="latched")
    yield node, probe
    probe.close()
    stop_node(node)


def test_a_calibration_that_was_latched_before_the_start_is_used(node_with_latched_info, frames) -> None:
    _, probe = node_with_latched_info
    probe.wait_for_node()
    clock = CameraClock()

    def boxes() -> list[Any]:
        stamp = clock.tick()
        probe.images.publish(image_message(frames[0], stamp))
        return list(probe.wait_for_message("output/detections_3d", stamp).detections)

    assert wait_until(boxes, 10.0, "3D boxes")
    # An activation anew asks for it again.
    from lifecycle_msgs.msg import Transition

    for number in (
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_CLEANUP,
        Transition.TRANSITION_CONFIGURE,
        Transition.TRANSITION_ACTIVATE,
    ):
        assert probe.change_state(number)
    probe.wait_for_node()
    assert wait_until(boxes, 10.0, "3D boxes")
    _, values = probe.next_status("latched: camera")
    assert values["camera_info"] == "good"


def test_waiting_names_publishers_types_and_qos(ros) -> None:
    """Of images, and of a camera_info that is another message."""
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import CompressedImage, Image

    node = start_node(*SMALL, name="named", more=["-r", "~/input/image:=/cam/image/compressed"])
    probe = Probe("named")
    try:
        probe.node.create_publisher(CompressedImage, "/cam/image/compressed", 1)
        name = probe.node.get_name()
        line = node.wait_for_line("waiting for image on /cam/image/compressed (1 publisher")
        text = (
            f"/{name} publishes sensor_msgs/msg/CompressedImage, reliable and volatile, and not sensor_msgs/msg/Image"
        )
        line = node.wait_for_line(text)
        assert "or /cam/image/compressed/compressed (no publisher)" in line
        silent = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        probe.node.create_publisher(Image, "/cam/image/compressed/compressed", silent)
        node.wait_for_line("compressed/compressed (1 publisher: ")
    finally:
        probe.close()
        stop_node(node)


def test_a_calibration_that_never_comes_is_waited_for_by_name(ros, frames) -> None:
    node = start_node(*SMALL, name="uncalibrated")
    probe, clock = Probe("uncalibrated"), CameraClock()
    try:
        probe.wait_for_node()

        def said() -> list[str]:
            probe.images.publish(image_message(frames[0], clock.tick()))
            return node.logged("waiting for camera_info on /uncalibrated/input/camera_info (1 publisher: ")

        [line, *_] = wait_until(said, 20.0, "the reason for results in 2D")
        assert f"/{probe.node.get_name()} publishes sensor_msgs/msg/CameraInfo, reliable and volatile" in line
        assert "until then there are no 3D boxes" in line
    finally:
        probe.close()
        stop_node(node)


@pytest.mark.parametrize(
    ("remaps", "topic"),
    [
        (["~/input/image:=/cam/image_raw"], "/cam/image_raw/compressed"),
        (["~/input/image:=/cam/image_raw", "~/input/image/compressed:=/jpeg"], "/jpeg"),
        (["__ns:=/robot", "~/input/image:=cam/image"], "/robot/cam/image/compressed"),
        (["followed:~/input/image:=/only/here"], "/only/here/compressed"),
        ([], "/followed/input/image/compressed"),
    ],
)
def test_the_topic_of_compressed_images_follows_that_of_images(remaps: list[str], topic: str, ros) -> None:
    from centertrack_ros.ros.camera import CameraInput
    from centertrack_ros.ros.node import CenterTrackNode

    rules = [word for rule in (*remaps, "__node:=followed") for word in ("-r", rule)]
    node = CenterTrackNode(cli_args=["--ros-args", *rules])
    try:
        camera = CameraInput(node, "", lambda: node.parameters, node._log, lambda *_: None)
        assert camera.compressed_topic == topic
    finally:
        node.destroy_node()


def test_compressed_images_beside_the_remapped_topic_are_tracked(ros, frames) -> None:
    import cv2
    from sensor_msgs.msg import CompressedImage

    node = start_node(*SMALL, name="beside", more=["-r", "~/input/image:=/cam9/image_raw"])
    probe = Probe("beside", outputs=("output/detections_2d",))
    try:
        images = probe.node.create_publisher(CompressedImage, "/cam9/image_raw/compressed", 5)
        probe.wait_for_node(images)
        stamp = CameraClock().tick()
        images.publish(compressed_message(cv2.imencode(".jpg", frames[0])[1].tobytes(), stamp))
        assert len(probe.wait_for_message("output/detections_2d", stamp).detections) >= 1
    finally:
        probe.close()
        stop_node(node)
