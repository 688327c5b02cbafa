# SPDX-License-Identifier: Apache-2.0
"""3D detections of another detector, of a LiDAR or a radar: received by the executor, read by the worker."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from vision_msgs.msg import Detection3DArray

from centertrack_ros.io.box_messages import boxes_in, read_boxes
from centertrack_ros.io.rosbag import message_types
from centertrack_ros.io.stamps import nanoseconds, stamp_or_arrival
from centertrack_ros.ros.discovery import describe_publishers, input_qos
from centertrack_ros.ros.frames import FrameTransforms, camera_poses
from centertrack_ros.ros.logs import ThrottledLog
from centertrack_ros.ros.parameters import NodeParameters
from centertrack_ros.tracking.results import BoxFrame, CameraPoses
from centertrack_ros.types import FrameHeader

_MOST_HELD = 10  # messages that wait for the worker
# s that a message waits for its transform while the one before has waited in vain: images wait meanwhile.
_SHORT_S = 0.02
_LONGEST_FRAME_ID = 1000


class BoxInput:
    """Keeps messages as they came, so that a large one holds nobody, until the worker takes them."""

    def __init__(
        self,
        node: Node,
        parameters: Callable[[], NodeParameters],
        log: ThrottledLog,
        transforms: FrameTransforms,
        arrived: Callable[[], None],
    ) -> None:
        """Resolves the topic; `subscribe` starts to listen.

        Args:
            node: The node.
            parameters: Gives the parameters in force.
            log: For problems.
            transforms: TF.
            arrived: Called when there is something to take.

        Raises:
            ImportError: What reads the messages is not installed.
        """
        message_types()  # takes a third of a second, which the first message must not wait for
        self.topic = node.resolve_topic_name("~/input/detections_3d")
        self._node, self._parameters, self._log, self._transforms = node, parameters, log, transforms
        self._arrived = arrived
        self._held: deque[bytes] = deque(maxlen=_MOST_HELD)
        self._subscription: Any = None
        self._since = time.monotonic()
        self._last_arrival: float | None = None
        self._untransformed = False
        self.received = self.used = 0
        self.problem = ""  # of the last message
        self._qos = input_qos(parameters().camera.reliability, _MOST_HELD)

    def subscribe(self) -> None:
        """Starts to listen, with all counts at 0."""
        self.received = self.used = 0
        self.problem, self._last_arrival, self._since = "", None, time.monotonic()
        self._subscription = self._node.create_subscription(
            Detection3DArray, self.topic, self._received, self._qos, raw=True
        )

    def unsubscribe(self) -> None:
        """Stops to listen."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._subscription = None
        self._held.clear()

    def _received(self, data: bytes) -> None:
        self.received += 1
        self._last_arrival = time.monotonic()
        self._held.append(data)
        self._arrived()

    def forget(self) -> None:
        """Drops what waits."""
        self._held.clear()

    def take(self, wanted: bool) -> list[BoxFrame]:
        """What has come since the last call, in the order of arrival; nothing, and it is forgotten, if not `wanted`."""
        frames: list[BoxFrame] = []
        if not wanted:
            self.forget()
        for _ in range(len(self._held)):
            try:
                frames.append(self._frame(self._held.popleft()))
            except ValueError as error:
                self.report([str(error)])
        return frames

    def _frame(self, data: bytes) -> BoxFrame:
        message = read_boxes(data)
        found, problem = boxes_in(message)
        if problem:
            self.report([problem])
        told, now = nanoseconds(message.header.stamp), self._node.get_clock().now().nanoseconds
        if told == 0:
            self.report(["their stamp is 0: the time of arrival is used instead"])
        if not message.header.frame_id or len(message.header.frame_id) > _LONGEST_FRAME_ID:
            raise ValueError("their frame_id is empty, or too long for a name: it must name a frame of TF")
        header = FrameHeader(stamp_or_arrival(told, now or time.time_ns()), message.header.frame_id)
        return BoxFrame(header, found, lambda: self._poses(header))

    def _poses(self, header: FrameHeader) -> CameraPoses:
        parameters = self._parameters().output
        wait = min(parameters.tf_timeout_s, _SHORT_S) if self._untransformed else parameters.tf_timeout_s
        self._untransformed = True
        lookup = self._transforms.lookup(time.monotonic() + wait)
        poses = camera_poses(lookup, header, parameters.frames)
        self._untransformed = False
        return poses

    def report(self, notes: list[str] | tuple[str, ...]) -> None:
        """Logs what was wrong with messages, and keeps it for /diagnostics until the next good one."""
        for note in notes:
            self.problem = f"3D detections on {self.topic}: {note}"
            self._log.warning(self.problem)

    def done(self, frames: int, notes: tuple[str, ...]) -> None:
        """Takes what the session says of the messages of a step."""
        self.used += frames
        if frames and not notes:
            self.problem = ""
        self.report(notes)

    def waiting_for(self) -> str:
        """A sentence on messages that do not arrive, once they are overdue; '' while they do."""
        overdue, now = self._parameters().diagnostics.waiting_s, time.monotonic()
        if now - (self._last_arrival or self._since) < overdue:
            return ""
        publishers = describe_publishers(self._node, self.topic, Detection3DArray, self._qos)
        return f"waiting for 3D detections on {self.topic} ({publishers}): the cameras go on alone"

    def values(self) -> dict[str, Any]:
        """For /diagnostics."""
        age = "never" if self._last_arrival is None else f"{time.monotonic() - self._last_arrival:.2f}"
        return {
            "3D detections topic": self.topic,
            "3D detections received": self.received,
            "3D detections used": self.used,
            "3D detections age (s)": age,
        }
