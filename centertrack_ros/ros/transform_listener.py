"""Transforms between frames at the time of an image: tf2_ros where it is installed, else a buffer of our own."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Protocol

import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time

from centertrack_ros.geometry.transform import Transform
from centertrack_ros.io.stamps import nanoseconds
from centertrack_ros.io.transform_buffer import LookupFailure, TransformBuffer
from centertrack_ros.ros.logs import ThrottledLog

_POLL_S = 0.004
_QOS = QoSProfile(depth=100)
_STATIC_QOS = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class TransformSource(Protocol):
    """Listens to /tf and /tf_static on the node's executor."""

    name: str

    def now_known(self, target: str, source: str, stamp: Any) -> Transform:
        """`source` in `target` at a builtin_interfaces/Time, if it is known by now. Raises LookupFailure."""

    def close(self) -> None:
        """Ends the subscriptions."""


def transform_source(node: Node, log: ThrottledLog) -> TransformSource:
    """The one that this machine has. Raises ValueError, with a sentence, if it has none."""
    with contextlib.suppress(ImportError):
        return _Tf2(node)
    try:
        return _Own(node, log)
    except ImportError:
        raise ValueError(
            "output.target_frame needs tf2_ros, or at least tf2_msgs, and neither is installed: "
            "apt-get install ros-$ROS_DISTRO-tf2-ros"
        ) from None


def lookup(transforms: TransformSource, target: str, source: str, stamp: Any, until: float) -> Transform:
    """`source` in `target` at `stamp`; what the next message may bring is waited for.

    until  time.monotonic(), s. Raises LookupFailure.
    """
    while True:
        try:
            return transforms.now_known(target, source, stamp)
        except LookupFailure as failure:
            if not failure.soon or time.monotonic() >= until:
                raise
        time.sleep(_POLL_S)


class _Tf2:
    name = "tf2_ros"

    def __init__(self, node: Node) -> None:
        import tf2_ros

        self._tf2 = tf2_ros
        self._buffer = tf2_ros.Buffer(node=node)
        self._listener = tf2_ros.TransformListener(self._buffer, node, spin_thread=False)

    def now_known(self, target: str, source: str, stamp: Any) -> Transform:
        try:
            time_ = Time(nanoseconds=max(nanoseconds(stamp), 0))  # refuses what is negative
            found = self._buffer.lookup_transform_core(target, source, time_).transform
        except self._tf2.ExtrapolationException as error:
            raise LookupFailure(_sentence(error), soon="past" not in str(error)) from None
        except self._tf2.TransformException as error:
            raise LookupFailure(_sentence(error)) from None
        return _transform(found)

    def close(self) -> None:
        self._listener.unregister()


class _Own:
    name = "built-in buffer"

    def __init__(self, node: Node, log: ThrottledLog) -> None:
        from tf2_msgs.msg import TFMessage

        self._node, self._log, self._buffer = node, log, TransformBuffer()
        self._subscriptions = [
            node.create_subscription(TFMessage, "/tf", lambda m: self._take(m, False), _QOS),
            node.create_subscription(TFMessage, "/tf_static", lambda m: self._take(m, True), _STATIC_QOS),
        ]

    def _take(self, message: Any, static: bool) -> None:
        for stamped in message.transforms:
            stamp = nanoseconds(stamped.header.stamp)
            try:
                pose = _transform(stamped.transform)
            except ValueError as error:
                self._log.warning(f"transform of frame '{stamped.child_frame_id[:100]}' ignored: {error}")
                continue
            problem = self._buffer.insert(stamped.header.frame_id, stamped.child_frame_id, stamp, pose, static)
            if problem:
                self._log.warning(f"transform ignored: {problem}")

    def now_known(self, target: str, source: str, stamp: Any) -> Transform:
        return self._buffer.lookup(target, source, nanoseconds(stamp))

    def close(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)


def _transform(message: Any) -> Transform:
    """From a geometry_msgs/Transform. Raises ValueError if its rotation is none, or a value is not finite."""
    turn, move = message.rotation, message.translation
    return Transform.from_quaternion(np.array([turn.x, turn.y, turn.z, turn.w]), np.array([move.x, move.y, move.z]))


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
