# SPDX-License-Identifier: Apache-2.0
"""Detections of another detector for one camera: each image waits for those of its stamp, and not too long."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from vision_msgs.msg import Detection2DArray, LabelInfo

from centertrack_ros.io.companions import Companions
from centertrack_ros.io.foreign_messages import detections_2d
from centertrack_ros.io.stamps import nanoseconds
from centertrack_ros.ros.discovery import describe_publishers, input_qos
from centertrack_ros.ros.logs import ThrottledLog
from centertrack_ros.ros.parameters import NodeParameters
from centertrack_ros.types import Frame

_MOST_HELD = 30  # images
_PERIOD_S = 0.01  # between two looks for images that have waited long enough
_LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class ForeignInput:
    """Holds the images of a camera until their detections are there. All but `attach` run on the executor's thread.

    A detector is later than its image, and often slower than the camera: an image goes on when its detections arrive,
    and those before it, which it never looked at, are given up. An image whose detections do not come in time goes on
    without.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        parameters: Callable[[], NodeParameters],
        log: ThrottledLog,
        release: Callable[[str, Any], None],
        drop: Callable[[str], None],
    ) -> None:
        """Resolves the topics; `subscribe` starts to listen.

        Args:
            node: The node.
            name: Of the camera; '' for an only one.
            parameters: Gives the parameters in force.
            log: For problems.
            release: Called with the camera's name and an image that goes on.
            drop: Called with the camera's name for an image that is given up.
        """
        prefix = f"~/input/{name}/" if name else "~/input/"
        self.topic = node.resolve_topic_name(prefix + "detections")
        self._label_topic = node.resolve_topic_name(prefix + "label_info")
        self._node, self._name, self._parameters, self._log = node, name, parameters, log
        self._release, self._drop = release, drop
        self._found: Companions[Detection2DArray] = Companions()
        self._labels: dict[int, str] = {}
        self._held: deque[tuple[float, int, Any]] = deque()  # arrival by time.monotonic(), stamp ns, image
        self._subscriptions: list[Any] = []
        self._timer: Any = None
        self.received = self.missing = 0
        self.problem = ""  # of the last image

    def subscribe(self) -> None:
        """Starts to listen, with all counts at 0."""
        self.received, self.missing, self.problem = 0, 0, ""
        self._found.clear()
        self._qos = input_qos(self._parameters().camera.reliability, 10)
        create = self._node.create_subscription
        self._subscriptions = [
            create(Detection2DArray, self.topic, self._received, self._qos),
            create(LabelInfo, self._label_topic, self._received_labels, _LATCHED),
        ]
        self._timer = self._node.create_timer(_PERIOD_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def unsubscribe(self) -> None:
        """Stops to listen; images that wait are forgotten."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        self._subscriptions, self._timer = [], None
        self._held.clear()

    def hold(self, message: Any) -> None:
        """Takes an image message; it is released at once if its detections are there already."""
        stamp = nanoseconds(message.header.stamp)
        self._held.append((time.monotonic(), stamp, message))
        if self._found.nearest(stamp, self._tolerance_ns) is not None:
            self._go_on(len(self._held) - 1)
        elif len(self._held) > _MOST_HELD:
            self._held.popleft()
            self._drop(self._name)

    def attach(self, frame: Frame, message: Any) -> Frame:
        """The frame of an image message with its detections; on the worker's thread."""
        stamp = nanoseconds(message.header.stamp)
        found = self._found.nearest(stamp, self._tolerance_ns)
        if found is None:
            self.missing += 1
            self.problem = self._why_missing(stamp)
            self._log.warning(self.problem)
            return frame
        detector = self._parameters().detector
        foreign, problem = detections_2d(found, {**dict(enumerate(detector.names)), **self._labels})
        self.problem = f"detections on {self.topic}: {problem}" if problem else ""
        if problem:
            self._log.warning(self.problem)
        return replace(frame, foreign=foreign)

    @property
    def _tolerance_ns(self) -> int:
        return round(self._parameters().detector.tolerance_s * 1e9)

    def _received(self, message: Detection2DArray) -> None:
        self.received += 1
        stamp, tolerance = nanoseconds(message.header.stamp), self._tolerance_ns
        self._found.add(stamp, message)
        for place in range(len(self._held) - 1, -1, -1):
            if abs(self._held[place][1] - stamp) <= tolerance:
                self._go_on(place)
                return

    def _received_labels(self, message: LabelInfo) -> None:
        self._labels = {int(one.class_id): str(one.class_name) for one in message.class_map[:10_000]}

    def _look(self) -> None:
        """Lets the newest image go on that has waited long enough."""
        latest = time.monotonic() - self._parameters().detector.timeout_s
        place = sum(arrival <= latest for arrival, *_ in self._held) - 1
        if place >= 0:
            self._go_on(place)

    def _go_on(self, place: int) -> None:
        """Releases an image; those before it are given up."""
        for _ in range(place):
            self._held.popleft()
            self._drop(self._name)
        self._release(self._name, self._held.popleft()[2])

    def _why_missing(self, stamp: int) -> str:
        other = self._found.nearest(stamp, 2**63)
        if other is None:
            publishers = describe_publishers(self._node, self.topic, Detection2DArray, self._qos)
            return f"waiting for detections on {self.topic} ({publishers})"
        away = abs(nanoseconds(other.header.stamp) - stamp) * 1e-9
        detector = self._parameters().detector
        return (
            f"no detections on {self.topic} for an image: the nearest are stamped {away:.3f} s from it, allowed are "
            f"{detector.tolerance_s:g} s (detector.tolerance_s), and none came within {detector.timeout_s:g} s "
            "(detector.timeout_s); a detector copies the stamp of its image, and best-effort messages may get lost"
        )
