# SPDX-License-Identifier: Apache-2.0
"""Where cameras were at the stamps of their images: by tf2_ros where it is installed, else by the package's buffer."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time

from centertrack_ros.geometry.transform import Transform
from centertrack_ros.io.errors import sentence
from centertrack_ros.io.transform_buffer import LookupFailure, TransformBuffer, transform_from_message
from centertrack_ros.ros.logs import ThrottledLog
from centertrack_ros.tracking.results import CameraPoses, OutputFrames
from centertrack_ros.types import FrameHeader

_QOS = QoSProfile(depth=100)
_STATIC_QOS = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)

# Target frame, source frame, stamp in ns -> the source in the target. Raises LookupFailure.
Lookup = Callable[[str, str, int], Transform]


def camera_poses(lookup: Lookup, header: FrameHeader, frames: OutputFrames) -> CameraPoses:
    """Looks up where the camera of an image was.

    Args:
        lookup: Finds a transform.
        header: The image's: its stamp, and the optical frame of its camera.
        frames: The target frame, and the fixed frame if there is one.

    Raises:
        LookupFailure: A transform is not known.
    """
    to_target = lookup(frames.target, header.frame_id, header.stamp_ns)
    to_fixed = lookup(frames.fixed, header.frame_id, header.stamp_ns) if frames.fixed else to_target
    return CameraPoses(to_target, to_fixed)


def sensor_pose(lookup: Lookup, image: FrameHeader, sensor: FrameHeader, fixed: str = "") -> Transform:
    """Looks up where a sensor was when it measured, in the frame of an image's camera when that was taken.

    Args:
        lookup: Finds a transform.
        image: The image's header.
        sensor: The header of what the sensor sent.
        fixed: A fixed frame: how the camera moved between the two stamps is taken from it. Empty: as if it stood.

    Raises:
        LookupFailure: A transform is not known.
    """
    if fixed and image.stamp_ns != sensor.stamp_ns:
        to_fixed = lookup(fixed, sensor.frame_id, sensor.stamp_ns)
        return lookup(fixed, image.frame_id, image.stamp_ns).inverse() @ to_fixed
    return lookup(image.frame_id, sensor.frame_id, image.stamp_ns)


class FrameTransforms:
    """Asks TF where cameras are. Listens from the first time on that a target frame is set."""

    def __init__(self, node: Node, log: ThrottledLog) -> None:
        self._node, self._log = node, log
        self._listener: TransformListener | None = None

    @property
    def source(self) -> str:
        """What answers: for the log."""
        return self._listener.name if self._listener else "none"

    def prepare(self, frames: OutputFrames) -> None:
        """Listens to TF if these frames need it.

        Raises:
            ValueError: Nothing that listens to TF is installed.
        """
        if frames.target:
            self.listen()

    def listen(self) -> None:
        """Listens to TF.

        Raises:
            ValueError: Nothing that listens to TF is installed.
        """
        if self._listener is None:
            self._listener = _transform_listener(self._node, self._log)

    def close(self) -> None:
        """Stops to listen."""
        if self._listener is not None:
            self._listener.close()
        self._listener = None

    def poses(self, header: FrameHeader, frames: OutputFrames, deadline: float) -> CameraPoses:
        """Looks up where the camera of an image was, and waits for what the next message may bring.

        Args:
            header: The image's.
            frames: The frames that are asked for.
            deadline: time.monotonic(), s, until which to wait.

        Raises:
            LookupFailure: A transform is not known by then.
        """
        return camera_poses(self.lookup(deadline), header, frames)

    def lookup(self, deadline: float) -> Lookup:
        """Finds transforms, and waits for them until time.monotonic() is `deadline`, s.

        Raises:
            LookupFailure: The node does not listen to TF.
        """
        listener = self._listener
        if listener is None:
            raise LookupFailure("the node does not listen to TF")
        return lambda target, source, stamp_ns: listener.wait_for(target, source, stamp_ns, deadline)


class TransformListener(Protocol):
    """Listens to /tf and /tf_static on the node's executor."""

    name: str

    def wait_for(self, target: str, source: str, stamp_ns: int, deadline: float) -> Transform:
        """`source` in `target` at a stamp, as soon as it is known. Raises LookupFailure."""

    def close(self) -> None:
        """Ends the subscriptions."""


def _transform_listener(node: Node, log: ThrottledLog) -> TransformListener:
    """The one that this machine has. Raises ValueError, with a sentence, if it has none."""
    with contextlib.suppress(ImportError):
        return _Tf2Listener(node)
    try:
        return _BufferListener(node, log)
    except ImportError:
        raise ValueError(
            "output.target_frame needs tf2_ros, or at least tf2_msgs, and neither is installed: "
            "apt-get install ros-$ROS_DISTRO-tf2-ros"
        ) from None


class _Tf2Listener:
    name = "tf2_ros"

    def __init__(self, node: Node) -> None:
        import tf2_ros

        self._node, self._tf2 = node, tf2_ros
        self._buffer = tf2_ros.Buffer(node=node)
        self._listener = tf2_ros.TransformListener(self._buffer, node, spin_thread=False)

    def wait_for(self, target: str, source: str, stamp_ns: int, deadline: float) -> Transform:
        stamp = Time(nanoseconds=max(stamp_ns, 0))  # refuses what is negative
        try:
            return self._lookup(target, source, stamp)
        except LookupFailure as failure:
            remaining = deadline - time.monotonic()
            if not failure.soon or remaining <= 0.0:
                raise
        # tf2 calls back when a transform has arrived with which the look-up succeeds.
        arrived = threading.Event()
        future = self._buffer.wait_for_transform_async(target, source, stamp)
        future.add_done_callback(lambda _: arrived.set())
        if not arrived.wait(remaining):
            future.cancel()
        return self._lookup(target, source, stamp)

    def _lookup(self, target: str, source: str, stamp: Time) -> Transform:
        try:
            return transform_from_message(self._buffer.lookup_transform_core(target, source, stamp).transform)
        except self._tf2.ExtrapolationException as error:
            raise LookupFailure(sentence(error), soon="past" not in str(error)) from None
        except self._tf2.TransformException as error:
            raise LookupFailure(sentence(error)) from None

    def close(self) -> None:
        self._listener.unregister()
        # What tf2_ros leaves to the node's own end: its service, and that it is told of jumps of the clock.
        if (service := getattr(self._buffer, "srv", None)) is not None:
            self._node.destroy_service(service)
        if (handle := getattr(self._buffer, "jump_handle", None)) is not None:
            handle.unregister()


class _BufferListener:
    name = "built-in buffer"

    def __init__(self, node: Node, log: ThrottledLog) -> None:
        from tf2_msgs.msg import TFMessage

        self._node, self._log, self._buffer = node, log, TransformBuffer()
        self.wait_for = self._buffer.wait_for
        self._subscriptions = [
            node.create_subscription(TFMessage, "/tf", lambda m: self._insert(m, False), _QOS),
            node.create_subscription(TFMessage, "/tf_static", lambda m: self._insert(m, True), _STATIC_QOS),
        ]

    def _insert(self, message: Any, static: bool) -> None:
        for problem in self._buffer.insert_message(message, static):
            self._log.warning(problem)

    def close(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
