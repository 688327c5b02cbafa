# SPDX-License-Identifier: Apache-2.0
"""Stands in for tf2_ros, which is not on PyPI: what the node uses of it, with errors in words of its own."""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.task import Future
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from centertrack_ros.io.transform_buffer import LookupFailure, TransformBuffer


class TransformException(Exception):  # noqa: N818 - its name in tf2_ros
    pass


class LookupException(TransformException):
    pass


class ExtrapolationException(TransformException):
    pass


class Buffer:
    def __init__(self, node: Any) -> None:
        self.core, self.waiting = TransformBuffer(), []
        self.srv = node.create_service(Trigger, "tf2_frames", lambda _, response: response)

    def insert(self, message: TFMessage, static: bool) -> None:
        self.core.insert_message(message, static)
        for future, asked in self.waiting[:]:
            if self._known(*asked):
                self.waiting.remove((future, asked))
                future.set_result(True)

    def _known(self, *asked: Any) -> bool:
        try:
            return bool(self.lookup_transform_core(*asked))
        except TransformException:
            return False

    def wait_for_transform_async(self, *asked: Any) -> Future:
        future = Future()
        self.waiting.append((future, asked))
        return future

    def lookup_transform_core(self, target: str, source: str, time: Any) -> TransformStamped:
        try:
            pose = self.core.lookup(target, source, time.nanoseconds)
        except LookupFailure as failure:
            kind = ExtrapolationException if failure.soon else LookupException
            raise kind(f'no way for a look-up from "{source}" to "{target}"') from None
        result = TransformStamped()
        move, turn = result.transform.translation, result.transform.rotation
        move.x, move.y, move.z = pose.translation.tolist()
        turn.x, turn.y, turn.z, turn.w = pose.quaternion.tolist()
        return result


class TransformListener:
    def __init__(self, buffer: Buffer, node: Any, spin_thread: bool) -> None:
        assert not spin_thread
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._node = node
        self._subscriptions = [
            node.create_subscription(TFMessage, "/tf", lambda m: buffer.insert(m, False), 100),
            node.create_subscription(TFMessage, "/tf_static", lambda m: buffer.insert(m, True), latched),
        ]

    def unregister(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
