# SPDX-License-Identifier: Apache-2.0
"""The depth cameras and LiDARs of a camera: subscriptions while somebody publishes, and TF between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from centertrack_ros.geometry.transform import Transform
from centertrack_ros.io.sensor_messages import SensorMessages
from centertrack_ros.ros.discovery import latched_qos, publishers_of
from centertrack_ros.ros.frames import FrameTransforms, sensor_pose
from centertrack_ros.ros.logs import ThrottledLog
from centertrack_ros.ros.parameters import NodeParameters
from centertrack_ros.types import Frame, FrameHeader

_QOS = QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT)  # fits every publisher


class SensorInput:
    """Receives on the executor's thread, decodes on the worker's. Subscribes to nothing that nobody publishes."""

    def __init__(
        self, node: Node, prefix: str, parameters: Callable[[], NodeParameters], log: ThrottledLog,
        transforms: FrameTransforms | None,
    ) -> None:  # fmt: skip
        """Resolves the topics.

        Args:
            node: The node.
            prefix: Of the camera's topics.
            parameters: Gives the parameters in force.
            log: For problems.
            transforms: TF; None: sensors must be in the camera's frame.
        """
        depth = node.resolve_topic_name(f"{prefix}depth")
        self._topics = {
            "depth": (depth, Image),
            "compressed depth": (node.resolve_topic_name(f"{depth}/compressedDepth"), CompressedImage),
            "depth info": (node.resolve_topic_name(f"{prefix}depth/camera_info"), CameraInfo),
            "points": (node.resolve_topic_name(f"{prefix}points"), PointCloud2),
        }
        self._node, self._parameters, self._log, self._transforms = node, parameters, log, transforms
        self._messages = SensorMessages(depth, self._topics["points"][0], log.warning)
        self._takers: dict[str, Callable[[Any], None]] = {
            "depth": self._take_depth,
            "compressed depth": self._take_depth,
            "depth info": self._messages.depth_calibration.update,
            "points": lambda message: self._messages.points.add(message, self._now()),
        }
        self._subscriptions: dict[str, Any] = {}

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _take_depth(self, message: Any) -> None:
        self._messages.depth.add(message, self._now())

    def follow_publishers(self) -> None:
        """Subscribes to what is published: to be called again and again."""
        if not self._parameters().tracker.depth_sensors:
            return
        for name, (topic, kind) in self._topics.items():
            if name in self._subscriptions or (name == "compressed depth" and "depth" in self._subscriptions):
                continue
            publishers = publishers_of(self._node, topic, kind)
            if not publishers:
                continue
            qos = (latched_qos(publishers) if name == "depth info" else None) or _QOS
            self._subscriptions[name] = self._node.create_subscription(kind, topic, self._takers[name], qos)
        if self._transforms is not None and {"depth", "compressed depth", "points"} & set(self._subscriptions):
            self._listen()

    def _listen(self) -> None:
        assert self._transforms is not None
        try:
            self._transforms.listen()
        except ValueError as error:
            self._log.once(f"sensors in frames of their own cannot be used: {error}")

    def unsubscribe(self) -> None:
        """Stops to listen."""
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._subscriptions = {}

    def attach(self, frame: Frame) -> Frame:
        """The frame with what sensors measured at its time; the same one while nobody publishes any of it."""
        parameters = self._parameters()
        has_depth = "depth" in self._subscriptions or "compressed depth" in self._subscriptions
        has_points = "points" in self._subscriptions
        if not (has_depth or has_points) or not parameters.tracker.depth_sensors:
            return frame
        fixed = parameters.output.frames.fixed
        deadline = time.monotonic() + parameters.depth.timeout_s

        def lookup(image: FrameHeader, sensor: FrameHeader) -> Transform:
            if self._transforms is None:
                raise ValueError("the node does not listen to TF")
            return sensor_pose(self._transforms.lookup(deadline), image, sensor, fixed)

        return self._messages.attach(frame, parameters.depth, lookup, has_depth, has_points)
