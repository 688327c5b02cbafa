# SPDX-License-Identifier: Apache-2.0
"""One camera of the node: its subscriptions, its calibration, its counts, and what diagnostics tell of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from centertrack_ros.io.camera_info import Calibration
from centertrack_ros.io.image_decoding import ImageError, compressed_to_bgr, image_to_bgr
from centertrack_ros.io.stamps import Loss, from_nanoseconds, nanoseconds, seconds, stamp_or_arrival
from centertrack_ros.ros.discovery import describe_publishers, input_qos, latched_qos, publishers_of
from centertrack_ros.ros.foreign_input import ForeignInput
from centertrack_ros.ros.frames import FrameTransforms
from centertrack_ros.ros.logs import ThrottledLog
from centertrack_ros.ros.parameters import NodeParameters
from centertrack_ros.ros.publishers import CameraPublishers
from centertrack_ros.ros.sensors import SensorInput
from centertrack_ros.types import Frame, FrameHeader

_MAX_FRAME_ID = 1000
# s by which a stamp may be later than the node's clock: clocks of two machines differ, and /clock comes in steps.
_MAX_AHEAD_S = 1.0
_INFO_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)  # fits every publisher


class Counts:
    """Images since activation: received = processed + dropped + rejected + those that wait or are in work.

    dropped   given up for a newer one before the network had time, or not the next one by its stamp
    rejected  unusable: not an image, or the tracker could not take it
    untransformed  those of the dropped that TF had no transform for
    """

    def __init__(self) -> None:
        self.received = self.processed = self.dropped = self.rejected = self.untransformed = 0
        self._lock = threading.Lock()  # `+= 1` in two threads at once would lose one of them

    def add(self, kind: str) -> None:
        """One more that is 'received', 'processed', 'dropped', 'rejected' or 'untransformed'."""
        with self._lock:
            setattr(self, kind, getattr(self, kind) + 1)


ImageMessage: TypeAlias = Image | CompressedImage


class CameraInput:
    """Receives on the executor's thread, decodes on the worker's."""

    def __init__(
        self,
        node: Node,
        name: str,
        parameters: Callable[[], NodeParameters],
        log: ThrottledLog,
        received: Callable[[str, ImageMessage], None],
        transforms: FrameTransforms | None = None,
    ) -> None:
        """Resolves the topics; `subscribe` starts to listen.

        Args:
            node: The node.
            name: Name of the camera; '' for an only one.
            parameters: Gives the parameters in force.
            log: For problems.
            received: Called with the camera's name and every image message.
            transforms: TF, for sensors in frames of their own.
        """
        prefix = f"~/input/{name}/" if name else "~/input/"
        self.name = name
        self.image_topic = node.resolve_topic_name(prefix + "image")
        self.compressed_topic = _compressed_topic(node, prefix + "image/compressed", self.image_topic)
        self.info_topic = node.resolve_topic_name(prefix + "camera_info")
        self.counts = Counts()
        self.calibration = Calibration()
        self.last_arrival: float | None = None  # time.monotonic()
        self.loss, self.image_bytes = Loss(), 0  # of images on their way; of the last one
        self.resting = False  # with output.lazy: nobody subscribes to a result
        self._node, self._parameters, self._log, self._notify = node, parameters, log, received
        self._subscriptions: dict[str, Any] = {}
        self._sensors = SensorInput(node, prefix, parameters, log, transforms)
        self._waiting_since = time.monotonic()
        camera = parameters().camera
        self._transport = camera.transport
        self._qos = input_qos(camera.reliability, camera.queue_depth)

    def subscribe(self) -> None:
        """Starts to listen, with all counts at 0."""
        self.counts, self.loss = Counts(), Loss()
        self.last_arrival, self._waiting_since = None, time.monotonic()
        self._subscriptions["info"] = self._node.create_subscription(
            CameraInfo, self.info_topic, self.calibration.update, _INFO_QOS
        )
        if self._transport != "compressed":
            self._subscriptions["raw"] = self._node.create_subscription(
                Image, self.image_topic, self._received, self._qos
            )
        if self._transport == "compressed":
            self._subscribe_compressed()
        self.follow_publishers()

    def _subscribe_compressed(self) -> None:
        self._subscriptions["compressed"] = self._node.create_subscription(
            CompressedImage, self.compressed_topic, self._received, self._qos
        )

    def unsubscribe(self) -> None:
        """Stops to listen."""
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._subscriptions = {}
        self._sensors.unsubscribe()

    def follow_publishers(self) -> None:
        """Subscribes to what is published: to be called again and again."""
        if not self._subscriptions:
            return
        self._sensors.follow_publishers()
        if self._transport == "auto":
            self._choose_transport()
        if "latched info" not in self._subscriptions:
            qos = latched_qos(publishers_of(self._node, self.info_topic, CameraInfo))
            if qos is not None:
                self._subscriptions["latched info"] = self._node.create_subscription(
                    CameraInfo, self.info_topic, self.calibration.update, qos
                )

    def _choose_transport(self) -> None:
        """Compressed images are taken while nobody publishes raw ones."""
        raw = publishers_of(self._node, self.image_topic, Image)
        subscribed = "compressed" in self._subscriptions
        if not raw and not subscribed and publishers_of(self._node, self.compressed_topic, CompressedImage):
            self._subscribe_compressed()
        elif raw and subscribed:
            self._node.destroy_subscription(self._subscriptions.pop("compressed"))

    def _received(self, message: ImageMessage) -> None:
        self.last_arrival, stamp = time.monotonic(), seconds(message.header.stamp)
        self.loss.add(stamp)
        self._warn_of_header(stamp, message.header.frame_id)
        self.image_bytes = len(message.data)
        self._notify(self.name, message)

    def _warn_of_header(self, stamp: float, frame_id: str) -> None:
        """Warns, once, of what makes the results hard to use."""
        now = self._node.get_clock().now().nanoseconds * 1e-9
        if now and stamp > now + _MAX_AHEAD_S:
            self._log.once(
                f"images on {self.image_topic} are stamped {stamp - now:.1f} s in the future: do the clocks of both "
                "machines agree, and does use_sim_time fit?"
            )
        if not frame_id:
            self._log.once(
                f"images on {self.image_topic} have an empty frame_id: their driver should name the camera's optical "
                "frame; RViz shows no results without, and no transform is found"
            )

    def frame(self, message: ImageMessage, now_ns: int) -> Frame | None:
        """Decodes a message.

        Args:
            message: The image.
            now_ns: On the node's clock, which replaces a stamp of 0, in the results as well.

        Returns:
            The frame; None if the message is not an image. The reason is logged and counted.
        """
        is_compressed = isinstance(message, CompressedImage)
        told = nanoseconds(message.header.stamp)
        if told == 0:
            self._log.warning(f"images on {self.image_topic} have a stamp of 0: the time of arrival is used instead")
        try:
            _check_frame_id(message.header.frame_id)
            image = compressed_to_bgr(message) if is_compressed else image_to_bgr(message)
        except ImageError as error:
            self.counts.add("rejected")
            topic = self.compressed_topic if is_compressed else self.image_topic
            self._log.warning(f"image on {topic} skipped: {error}")
            return None
        camera = self.calibration.camera(image.shape[:2], self._parameters().camera.rectified)
        if self.calibration.is_known and self.calibration.problem:
            self._log.warning(f"2D only for {self.image_topic}: {self.calibration.problem}")
        header = FrameHeader(stamp_or_arrival(told, now_ns), message.header.frame_id)
        frame = Frame(image, from_nanoseconds(header.stamp_ns), camera, header=header)
        return self._sensors.attach(frame)

    def report_waiting(self) -> None:
        """Logs what does not arrive, and why, once it is overdue."""
        overdue, now = self._parameters().diagnostics.waiting_s, time.monotonic()
        if now - (self.last_arrival or self._waiting_since) >= overdue:
            self._log.warning(self.waiting_for())
        elif self.last_arrival and now - self._waiting_since >= overdue and (problem := self.missing_calibration()):
            self._log.warning(f"{problem}: until then there are no 3D boxes")

    def waiting_for(self) -> str:
        """A sentence on the image that does not arrive, naming topics, publishers, types and QoS."""
        raw, compressed = (self.image_topic, Image), (self.compressed_topic, CompressedImage)
        topics = {"raw": [raw], "compressed": [compressed], "auto": [raw, compressed]}[self._transport]
        texts = (f"{topic} ({describe_publishers(self._node, topic, kind, self._qos)})" for topic, kind in topics)
        return "waiting for image on " + " or ".join(texts)

    def missing_calibration(self) -> str:
        """A sentence on the camera_info that has never come, as `waiting_for`; '' if it has, or if nobody needs it."""
        if self.calibration.is_known or self.resting:
            return ""
        publishers = describe_publishers(self._node, self.info_topic, CameraInfo, _INFO_QOS)
        return f"waiting for camera_info on {self.info_topic} ({publishers})"


def _compressed_topic(node: Node, name: str, image_topic: str) -> str:
    """The topic of compressed images: beside that of raw images, unless it is remapped itself."""
    resolved = node.resolve_topic_name(name)
    if resolved != node.resolve_topic_name(name, only_expand=True):
        return resolved
    return node.resolve_topic_name(f"{image_topic}/compressed")


def _check_frame_id(frame_id: str) -> None:
    """Every object of every output repeats it: what is too long for a name would be published a hundred times."""
    if len(frame_id) > _MAX_FRAME_ID:
        raise ImageError(f"its frame_id has {len(frame_id)} characters; expected at most {_MAX_FRAME_ID}")


@dataclass
class CameraPipeline:
    """One camera from its topics to its results.

    Attributes:
        input: What it receives.
        publishers: What it publishes.
        foreign: Detections of another detector; None: the network alone detects.
        stages: ms, of the last frame, by name of the stage.
        last_start: time.perf_counter() at the start of the last frame; 0: there was none.
        transform_error: Why the last frame could not be published; '' if it was.
    """

    input: CameraInput
    publishers: CameraPublishers
    foreign: ForeignInput | None = None
    stages: Mapping[str, float] = field(default_factory=dict)
    last_start: float = 0.0
    transform_error: str = ""
