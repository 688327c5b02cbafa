# SPDX-License-Identifier: Apache-2.0
"""A tracking node in a process of its own, and the camera that feeds it: what benchmarks of the node share."""

from __future__ import annotations

import array
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from subprocess import Popen
from typing import Any

import cv2
import numpy as np

from benchmarks import children

ROOT = Path(__file__).resolve().parents[1]
START_S = 60.0  # how long the node may take to start


def use_local_ros() -> None:
    """Keeps ROS traffic on this machine and in a domain of this process, with room for images in shared memory.

    Variables that are set already stay as they are.
    """
    os.environ.setdefault("ROS_DOMAIN_ID", str(os.getpid() % 100 + 1))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):  # up to Jazzy, and from Kilted on
        os.environ.setdefault(name, str(ROOT / "config" / "fastdds.xml"))


@contextlib.contextmanager
def ros_node(name: str) -> Iterator[Any]:
    """A ROS node of this process; SIGTERM ends the block as an exception does."""
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    children.exit_on_sigterm()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(name)
    try:
        yield node
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def tracking_node(name: str, parameters: Sequence[str]) -> contextlib.AbstractContextManager[Popen[str]]:
    """The tracking node in a process of its own.

    Args:
        name: Name of the node.
        parameters: 'name:=value' each.
    """
    command = [sys.executable, str(ROOT / "bin" / "centertrack_node"), "--ros-args", "-r", f"__node:={name}"]
    for parameter in parameters:
        command += ["-p", parameter]
    return children.child(command)


def spin_until(node: Any, condition: Callable[[], Any], timeout_s: float) -> bool:
    """Handles messages until `condition` is true. Returns whether it became true within `timeout_s` seconds."""
    import rclpy

    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        rclpy.spin_once(node, timeout_sec=0.05)
    return True


def image_message(image: np.ndarray, transport: str = "raw") -> Any:
    """A BGR uint8 image as Image, or as CompressedImage (JPEG) for `transport` 'compressed'."""
    from sensor_msgs.msg import CompressedImage, Image

    message: Any
    if transport == "compressed":
        data = cv2.imencode(".jpg", image)[1]
        message = CompressedImage(format="bgr8; jpeg compressed bgr8", data=array.array("B", data.tobytes()))
    else:
        message = Image(encoding="bgr8", height=image.shape[0], width=image.shape[1], step=image.shape[1] * 3)
        message.data = array.array("B", image.tobytes())
    message.header.frame_id = "camera_optical"
    return message


class CameraClient:
    """Publishes one camera's images and calibration, and subscribes to everything but the debug images.

    Attributes:
        timings: The FrameTiming of each frame so far.
        results: The number of Detection2DArray messages so far.
        objects: The number of objects in the newest of them.
    """

    def __init__(self, node: Any, target: str, camera: str = "", transport: str = "raw") -> None:
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import CameraInfo, CompressedImage, Image
        from vision_msgs.msg import Detection2DArray, Detection3DArray
        from visualization_msgs.msg import MarkerArray

        from centertrack_ros.msg import FrameTiming, TrackArray

        part = f"/{camera}" if camera else ""
        kind, suffix = (CompressedImage, "/compressed") if transport == "compressed" else (Image, "")
        reliable = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        self.images = node.create_publisher(kind, f"/{target}/input{part}/image{suffix}", reliable)
        self.infos = node.create_publisher(CameraInfo, f"/{target}/input{part}/camera_info", 1)
        self.timings: list[Any] = []
        self.results = self.objects = 0
        self._timing = node.create_subscription(FrameTiming, f"/{target}/debug{part}/timing", self.timings.append, 50)
        for topic, type_ in (("detections_3d", Detection3DArray), ("tracks", TrackArray), ("markers", MarkerArray)):
            node.create_subscription(type_, f"/{target}/output{part}/{topic}", lambda _: None, 50)
        node.create_subscription(Detection2DArray, f"/{target}/output{part}/detections_2d", self._count, 50)

    def is_connected(self) -> bool:
        """Whether the node subscribes to both topics, and publishes its timings."""
        subscribed = self.images.get_subscription_count() and self.infos.get_subscription_count()
        return bool(subscribed and self._timing.get_publisher_count())

    def _count(self, message: Any) -> None:
        self.results += 1
        self.objects = len(message.detections)


def wait_for_node(node: Any, cameras: Sequence[CameraClient], process: Popen[str]) -> None:
    """Waits until the tracking node is connected with all cameras.

    Raises:
        SystemExit: The node ended, or it took longer than a minute.
    """
    is_ready = spin_until(
        node, lambda: process.poll() is not None or all(camera.is_connected() for camera in cameras), START_S
    )
    if process.poll() is not None:
        raise SystemExit("the node ended before it subscribed")
    if not is_ready:
        raise SystemExit(f"the node did not connect within {START_S:g} s")
