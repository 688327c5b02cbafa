# SPDX-License-Identifier: Apache-2.0
"""centertrack.launch.py with real processes: images on the chosen topics lead to detections on the chosen topics.

On a ROS installation `colcon test` runs it; by hand: launch_test test/ros/test_centertrack_launch.py
"""

from __future__ import annotations

import os
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("launch_testing", reason="launch_testing is not installed (ROS 2 itself, no wheels)")
pytest.importorskip("launch_ros", reason="launch_ros is not installed (ROS 2 itself, no wheels)")


import launch_testing.actions
import launch_testing.asserts
import rclpy
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from vision_msgs.msg import Detection3DArray

from launch import LaunchDescription
from support.ros_harness import (
    START_S,
    CameraClock,
    camera_info_message,
    demo_frames,
    image_message,
    stamp_of,
    wait_until,
)

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = {
    "image": "/front/image_raw",
    "camera_info": "/front/camera_info",
    "detections_3d": "/front/objects",
    "name": "tracker",
    "namespace": "robot",
    "device": "cpu",
    "rectified": "true",
}


@pytest.mark.launch_test
def generate_test_description() -> LaunchDescription:
    os.environ["ROS_DOMAIN_ID"] = str(os.getpid() % 100 + 1)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    source = PythonLaunchDescriptionSource(str(ROOT / "launch" / "centertrack.launch.py"))
    return LaunchDescription(
        [
            IncludeLaunchDescription(source, launch_arguments=ARGUMENTS.items()),
            launch_testing.actions.ReadyToTest(),
        ]
    )


class TestCenterTrack(unittest.TestCase):
    node: Node

    @classmethod
    def setUpClass(cls) -> None:
        rclpy.init()
        cls.node = rclpy.create_node("launch_test")

    @classmethod
    def tearDownClass(cls) -> None:
        cls.node.destroy_node()
        rclpy.try_shutdown()

    def spin_until(self, condition: Callable[[], Any], what: str) -> Any:
        def step() -> Any:
            rclpy.spin_once(self.node, timeout_sec=0.05)
            return condition()

        return wait_until(step, START_S, what)

    def test_images_lead_to_detections(self) -> None:
        received: list[Detection3DArray] = []
        self.node.create_subscription(Detection3DArray, "/front/objects", received.append, 5)
        images = self.node.create_publisher(Image, "/front/image_raw", 1)
        infos = self.node.create_publisher(CameraInfo, "/front/camera_info", 1)
        self.spin_until(lambda: images.get_subscription_count() and infos.get_subscription_count(), "an active node")
        frames, clock = demo_frames(3), CameraClock()
        sent: list[tuple[int, int]] = []

        def detected() -> bool:
            frame = frames[len(sent) % len(frames)]
            sent.append(clock.tick())
            infos.publish(camera_info_message(frame.shape[1], frame.shape[0], sent[-1]))
            images.publish(image_message(frame, sent[-1]))
            rclpy.spin_once(self.node, timeout_sec=0.1)
            return any(message.detections for message in received)

        self.spin_until(detected, "detections of the people in the demo")
        assert {stamp_of(message) for message in received} <= set(sent)

    def test_arguments_reach_the_parameters(self) -> None:
        client = self.node.create_client(GetParameters, "/robot/tracker/get_parameters")
        self.spin_until(client.service_is_ready, "the node's parameters")
        future = client.call_async(GetParameters.Request(names=["model.device", "camera.rectified"]))
        self.spin_until(future.done, "their values")
        device, rectified = future.result().values
        assert (device.string_value, rectified.bool_value) == ("cpu", True)


@launch_testing.post_shutdown_test()
class TestEnd(unittest.TestCase):
    def test_the_node_ends_with_0(self, proc_info) -> None:
        launch_testing.asserts.assertExitCodes(proc_info)
