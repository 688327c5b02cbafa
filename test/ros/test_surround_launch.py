# SPDX-License-Identifier: Apache-2.0
"""surround.launch.py with real processes: every camera uses its topics, regular or not.

On a ROS installation `colcon test` runs it; by hand: launch_test test/ros/test_surround_launch.py
"""

from __future__ import annotations

import os
import unittest
from pathlib import Path

import pytest

pytest.importorskip("launch_testing", reason="launch_testing is not installed (ROS 2 itself, no wheels)")
pytest.importorskip("launch_ros", reason="launch_ros is not installed (ROS 2 itself, no wheels)")


import launch_testing.actions
import launch_testing.asserts
import rclpy
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from rclpy.node import Node
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from launch import LaunchDescription
from support.ros_harness import START_S, CameraClock, demo_frames, image_message, stamp_of, wait_until

ROOT = Path(__file__).resolve().parents[2]
TOPICS = {"front": "/front/image_raw", "rear": "/reversing/image"}
ARGUMENTS = {"cameras": "front,rear", "rear_image": TOPICS["rear"], "device": "cpu"}


@pytest.mark.launch_test
def generate_test_description() -> LaunchDescription:
    os.environ["ROS_DOMAIN_ID"] = str(os.getpid() % 100 + 1)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    source = PythonLaunchDescriptionSource(str(ROOT / "launch" / "surround.launch.py"))
    return LaunchDescription(
        [
            IncludeLaunchDescription(source, launch_arguments=ARGUMENTS.items()),
            launch_testing.actions.ReadyToTest(),
        ]
    )


class TestSurround(unittest.TestCase):
    node: Node

    @classmethod
    def setUpClass(cls) -> None:
        rclpy.init()
        cls.node = rclpy.create_node("launch_test")

    @classmethod
    def tearDownClass(cls) -> None:
        cls.node.destroy_node()
        rclpy.try_shutdown()

    def test_every_camera_gets_results(self) -> None:
        received: dict[str, list[Detection2DArray]] = {camera: [] for camera in TOPICS}
        images = {}
        for camera, topic in TOPICS.items():
            output = f"/centertrack/output/{camera}/detections_2d"
            self.node.create_subscription(Detection2DArray, output, received[camera].append, 5)
            images[camera] = self.node.create_publisher(Image, topic, 1)
        frames, clocks = demo_frames(2), {camera: CameraClock() for camera in TOPICS}
        sent: dict[str, set[tuple[int, int]]] = {camera: set() for camera in TOPICS}

        def detected() -> bool:
            for camera, frame in zip(TOPICS, frames, strict=True):
                stamp = clocks[camera].tick()
                sent[camera].add(stamp)
                images[camera].publish(image_message(frame, stamp))
            rclpy.spin_once(self.node, timeout_sec=0.1)
            return all(any(message.detections for message in messages) for messages in received.values())

        wait_until(detected, START_S, "detections of every camera")
        for camera, messages in received.items():
            assert {stamp_of(message) for message in messages} <= sent[camera]


@launch_testing.post_shutdown_test()
class TestEnd(unittest.TestCase):
    def test_the_node_ends_with_0(self, proc_info) -> None:
        launch_testing.asserts.assertExitCodes(proc_info)
