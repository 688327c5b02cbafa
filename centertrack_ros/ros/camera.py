"""One camera of the node: what it subscribes to, its calibration, its tracks and its counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.io.camera_info import CameraInfoError, camera_from_info
from centertrack_ros.io.image_decoding import ImageError, compressed_to_bgr, image_to_bgr
from centertrack_ros.io.stamps import Loss, StampRules, seconds
from centertrack_ros.ros.logs import ThrottledLog
from centertrack_ros.types import Frame, TrackState

_MAX_FRAME_ID = 1000


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


@dataclass(frozen=True)
class Arrival:
    """An image message as it came in; `compressed` tells its type."""

    message: Any
    compressed: bool


class CameraStream:
    """Receives on the executor's thread, decodes on the worker's."""

    def __init__(
        self,
        node: Node,
        name: str,
        parameters: Mapping[str, Any],
        log: ThrottledLog,
        arrived: Callable[[CameraStream, Arrival], None],
    ) -> None:
        """`name` is '' for an only camera; `arrived` is called with every image message."""
        prefix = f"~/input/{name}/" if name else "~/input/"
        self.name = name
        self.image_topic = node.resolve_topic_name(prefix + "image")
        self.compressed_topic = node.resolve_topic_name(prefix + "image/compressed")
        self.info_topic = node.resolve_topic_name(prefix + "camera_info")
        self.counts = Counts()
        self.state = TrackState()
        self.reset_requested = False
        self.calibration = "no camera_info yet"  # '' when good: for diagnostics
        self.last_arrival: float | None = None  # time.monotonic()
        self.loss, self.image_bytes = Loss(), 0  # of images on their way; of the last one
        self._node, self._parameters, self._log, self._arrived = node, parameters, log, arrived
        self._subscriptions: dict[str, Any] = {}
        self._info: CameraInfo | None = None
        self._camera: Camera | None = None
        self._camera_key: Any = None
        self._stamps = StampRules()
        self._waiting_since = time.monotonic()
        self._qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=parameters["camera.queue_depth"],
            reliability=ReliabilityPolicy.RELIABLE
            if parameters["camera.reliability"] == "reliable"
            else ReliabilityPolicy.BEST_EFFORT,
        )

    def subscribe(self) -> None:
        self.counts, self.state, self._stamps = Counts(), TrackState(), StampRules()
        self.loss = Loss()
        self.last_arrival, self._waiting_since = None, time.monotonic()
        best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._subscriptions["info"] = self._node.create_subscription(
            CameraInfo, self.info_topic, self._on_info, best_effort
        )
        if self._parameters["camera.transport"] != "compressed":
            self._subscriptions["raw"] = self._node.create_subscription(
                Image, self.image_topic, self._on_image, self._qos
            )
        if self._parameters["camera.transport"] == "compressed":
            self._subscribe_compressed()
        self.choose_transport()

    def _subscribe_compressed(self) -> None:
        self._subscriptions["compressed"] = self._node.create_subscription(
            CompressedImage, self.compressed_topic, self._on_compressed, self._qos
        )

    def unsubscribe(self) -> None:
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._subscriptions = {}

    def choose_transport(self) -> None:
        """With transport 'auto': compressed images are taken while nobody publishes raw ones."""
        if self._parameters["camera.transport"] != "auto" or "raw" not in self._subscriptions:
            return
        raw = self._node.count_publishers(self.image_topic)
        subscribed = "compressed" in self._subscriptions
        if not raw and not subscribed and self._node.count_publishers(self.compressed_topic):
            self._subscribe_compressed()
        elif raw and subscribed:
            self._node.destroy_subscription(self._subscriptions.pop("compressed"))

    def _on_image(self, message: Image) -> None:
        self._received(Arrival(message, compressed=False))

    def _on_compressed(self, message: CompressedImage) -> None:
        self._received(Arrival(message, compressed=True))

    def _received(self, arrival: Arrival) -> None:
        self.last_arrival = time.monotonic()
        self.loss.add(seconds(arrival.message.header.stamp))
        self.image_bytes = len(arrival.message.data)
        self._arrived(self, arrival)

    def _on_info(self, info: CameraInfo) -> None:
        self._info = info

    def frame(self, arrival: Arrival, now: float) -> Frame | None:
        """The frame in a message, or None if it is not one to track in; the reason is logged and counted.

        now  s on the node's clock, which stands in for a stamp of 0
        """
        message = arrival.message
        topic = self.compressed_topic if arrival.compressed else self.image_topic
        stamp = seconds(message.header.stamp)
        if stamp == 0.0:
            self._log.warning(f"images on {self.image_topic} have a stamp of 0: the time of arrival is used instead")
            stamp = now
        try:
            _check_frame_id(message.header.frame_id)
            image = compressed_to_bgr(message) if arrival.compressed else image_to_bgr(message)
        except ImageError as error:
            self.counts.add("rejected")
            self._log.warning(f"image on {topic} skipped: {error}")
            return None
        if refusal := self._stamps.refuse(stamp):
            self.counts.add("dropped")
            self._log.warning(f"image on {self.image_topic} dropped: {refusal}")
            return None
        return Frame(image, stamp, self._camera_of(image.shape[:2]))

    def _camera_of(self, image_size: tuple[int, int]) -> Camera | None:
        """The camera of an image of this size; None, with the reason in `calibration`, if it is not calibrated."""
        info, rectified = self._info, self._parameters["camera.rectified"]
        if info is None:
            return None
        key = (image_size, rectified, _content(info))
        if key != self._camera_key:
            try:
                self._camera, self.calibration = camera_from_info(info, image_size, rectified), ""
            except CameraInfoError as error:
                self._camera, self.calibration = None, str(error)
            self._camera_key = key
        if self.calibration:
            self._log.warning(f"2D only for {self.image_topic}: {self.calibration}")
        return self._camera

    def report_waiting(self) -> None:
        """Logs what does not arrive, and why, once it is overdue."""
        overdue, now = self._parameters["diagnostics.waiting_s"], time.monotonic()
        if now - (self.last_arrival or self._waiting_since) >= overdue:
            self._log.warning(self.waiting_for())
        elif self._info is None and self.last_arrival and now - self._waiting_since >= overdue:
            self._log.warning(f"waiting for camera_info on {self.info_topic}: until then there are no 3D boxes")

    def waiting_for(self) -> str:
        """A sentence on the image that does not arrive, naming topic, publishers and incompatible QoS."""
        raw, compressed = [self.image_topic], [self.compressed_topic]
        topics = {"raw": raw, "compressed": compressed, "auto": raw + compressed}[self._parameters["camera.transport"]]
        return "waiting for image on " + " or ".join(f"{topic} ({self._publishers(topic)})" for topic in topics)

    def _publishers(self, topic: str) -> str:
        offers = self._node.get_publishers_info_by_topic(topic)
        for offer in offers:
            compatibility, reason = qos_check_compatible(offer.qos_profile, self._qos)
            if compatibility == QoSCompatibility.ERROR:
                return f"a publisher offers incompatible QoS: {reason.strip().rstrip(';')}"
        return f"{len(offers)} publisher{'' if len(offers) == 1 else 's'}" if offers else "no publisher"


def _check_frame_id(frame_id: str) -> None:
    """Every object of every output repeats it: what is too long for a name would be published a hundred times."""
    if len(frame_id) > _MAX_FRAME_ID:
        raise ImageError(f"its frame_id has {len(frame_id)} characters; expected at most {_MAX_FRAME_ID}")


def _content(info: CameraInfo) -> tuple[Any, ...]:
    """All of a CameraInfo that the camera depends on, to see whether it changed."""
    roi = info.roi
    size = (info.width, info.height, info.binning_x, info.binning_y, roi.x_offset, roi.y_offset, roi.width, roi.height)
    return (*size, info.distortion_model, bytes(info.k), bytes(info.p), bytes(memoryview(info.d)))
