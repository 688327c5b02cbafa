# SPDX-License-Identifier: Apache-2.0
"""From results to messages, the one way for the node and the replay; and the publishers of one camera."""

from __future__ import annotations

import array
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Float64, Header
from vision_msgs.msg import Detection2DArray, Detection3DArray, LabelInfo
from visualization_msgs.msg import MarkerArray

from centertrack_ros.geometry import gaussian
from centertrack_ros.geometry.boxes3d import OrientedBoxes
from centertrack_ros.ros.autoware import DETECTED_TYPE, TRACKED_TYPE, AutowareWriter
from centertrack_ros.ros.markers import MarkerWriter
from centertrack_ros.ros.messages import MessageWriter, header_of, label_info
from centertrack_ros.ros.parameters import OutputParameters
from centertrack_ros.ros.quality import QualityTopic
from centertrack_ros.tracking.results import CameraResult, MergedResult
from centertrack_ros.tracking.track_boxes import boxes3d_of_tracks
from centertrack_ros.types import FrameHeader, Tracks
from centertrack_ros.visualization import drawing

_QOS = QoSProfile(depth=5)
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
DETECTIONS_3D, DETECTIONS_2D, TRACKS, MARKERS = "detections_3d", "detections_2d", "tracks", "markers"
TRACKED_OBJECTS, DETECTED_OBJECTS = "tracked_objects", "detected_objects"
# Below ~/output: the 3D outputs of an only camera without a name, where ~/output has those of the merged view.
UNNAMED = "camera"


def everything(_: str) -> bool:
    """Every topic has subscribers: a recording wants all."""
    return True


class ResultMessages:
    """Writes the messages of one camera, or of the merged view, in the order in which they are published.

    A message holds until the next one is asked for: publish or serialise it at once.
    """

    def __init__(
        self, class_names: Sequence[str], track_types: Any, autoware_types: Any = None, session: str = ""
    ) -> None:
        """Starts with no markers on the screen.

        Args:
            class_names: Of the model.
            track_types: The generated module centertrack_ros.msg; None if it is not built: no track arrays then.
            autoware_types: The module autoware_perception_msgs.msg; None: its messages are not wanted.
            session: Of `AutowareWriter`.
        """
        self._writer, self._markers = MessageWriter(class_names, track_types), MarkerWriter(class_names)
        self._has_tracks = track_types is not None
        self._autoware = AutowareWriter(class_names, autoware_types, session) if autoware_types else None
        self._marker_frame = ""

    def topics(self, output: OutputParameters, merged: bool = False) -> dict[str, str]:
        """Topic name below ~/output -> message type, of what the parameters ask for."""
        chosen = {
            DETECTIONS_3D: ("vision_msgs/msg/Detection3DArray", True),
            DETECTIONS_2D: ("vision_msgs/msg/Detection2DArray", output.publish_detections_2d and not merged),
            TRACKS: ("centertrack_ros/msg/TrackArray", output.publish_tracks and self._has_tracks),
            MARKERS: ("visualization_msgs/msg/MarkerArray", output.publish_markers),
            TRACKED_OBJECTS: (TRACKED_TYPE, self._autoware is not None),
            DETECTED_OBJECTS: (DETECTED_TYPE, self._autoware is not None),
        }
        return {name: kind for name, (kind, wanted) in chosen.items() if wanted}

    def of_camera(
        self, result: CameraResult, output: OutputParameters, has_subscribers: Callable[[str], bool] = everything
    ) -> Iterator[tuple[str, Any]]:
        """Yields (topic name, message) for one camera's result, of the topics that have subscribers."""
        tracks = result.result.tracks
        index, boxes = boxes3d_of_tracks(tracks)
        if result.poses is not None:
            boxes = result.poses.to_target.boxes(boxes)
        wanted = [topic for topic in self.topics(output) if has_subscribers(topic)]
        if DETECTIONS_2D in wanted:
            yield DETECTIONS_2D, self._writer.detections_2d(header_of(result.image_header), tracks)
        yield from self._in_3d(
            result.header, tracks, index, boxes, _size(result), result.frame.stamp, result.result.reset, output, wanted
        )

    def of_merged_view(
        self, merged: MergedResult, output: OutputParameters, has_subscribers: Callable[[str], bool] = everything
    ) -> Iterator[tuple[str, Any]]:
        """Yields (topic name, message) for the merged view, of the topics that have subscribers."""
        wanted = [topic for topic in self.topics(output, merged=True) if has_subscribers(topic)]
        index = np.arange(len(merged.tracks))
        yield from self._in_3d(
            merged.header, merged.tracks, index, merged.boxes, (0, 0), merged.stamp, merged.reset, output, wanted
        )

    def _in_3d(
        self,
        frame_header: FrameHeader,
        tracks: Tracks,
        index: NDArray[np.int64],
        boxes: OrientedBoxes,
        image_size: tuple[int, int],
        stamp: float,
        reset: str,
        output: OutputParameters,
        wanted: Sequence[str],
    ) -> Iterator[tuple[str, Any]]:
        header = header_of(frame_header)
        if DETECTIONS_3D in wanted:
            yield DETECTIONS_3D, self._writer.detections_3d(header, tracks, index, boxes)
        if TRACKS in wanted:
            yield TRACKS, self._writer.track_array(header, tracks, index, boxes, image_size, stamp, reset)
        if MARKERS in wanted:
            if reset or self._marker_frame not in ("", header.frame_id):
                yield MARKERS, self._markers.clear(header)
            self._marker_frame = header.frame_id
            lifetime, trail = output.marker_lifetime_s, output.trail_length
            yield MARKERS, self._markers.write(header, tracks, index, boxes, lifetime, trail)
        if self._autoware is not None:
            if reset:
                self._autoware.reset()
            if TRACKED_OBJECTS in wanted:
                yield TRACKED_OBJECTS, self._autoware.tracked_objects(header, tracks, index, boxes)
            if DETECTED_OBJECTS in wanted:
                yield DETECTED_OBJECTS, self._autoware.detected_objects(header, tracks, index, boxes)


def _size(result: CameraResult) -> tuple[int, int]:
    height, width = result.frame.image.shape[:2]
    return height, width


@dataclass(frozen=True)
class Timing:
    """Of one frame: durations in ms, `stages` as in FrameTiming.msg without the suffix, and the counts so far.

    A duration that is not known is NaN.
    """

    stages: Mapping[str, float]
    received: int
    processed: int
    dropped: int


class CameraPublishers:
    """The publishers of one camera. Nothing is built for a topic that nobody subscribes to."""

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        class_names: Sequence[str],
        track_types: Any,
        autoware_types: Any = None,
        session: str = "",
        folder: str | None = None,
    ) -> None:
        """Offers the topics.

        Args:
            node: The node.
            name: Name of the camera; '' for an only one.
            class_names: Of the model.
            track_types: The generated module centertrack_ros.msg; None if it is not built.
            autoware_types: The module autoware_perception_msgs.msg; None: its messages are not wanted.
            session: Of `AutowareWriter`.
            folder: Below ~/output, of the 3D outputs; None: the camera's name.
        """
        self._node, self._types, self._class_names = node, track_types, class_names
        self._publishers: list[Any] = []
        self._messages = ResultMessages(class_names, track_types, autoware_types, session)
        self._trails, self._sides = drawing.Trails(), drawing.LabelSides()
        output, debug = (f"~/{kind}/{name}".rstrip("/") for kind in ("output", "debug"))
        kinds = {DETECTIONS_3D: Detection3DArray, DETECTIONS_2D: Detection2DArray, MARKERS: MarkerArray}
        if track_types is not None:
            kinds[TRACKS] = track_types.TrackArray
        if autoware_types is not None:
            kinds[TRACKED_OBJECTS] = autoware_types.TrackedObjects
            kinds[DETECTED_OBJECTS] = autoware_types.DetectedObjects
        in_3d = output if folder is None else f"~/output/{folder}".rstrip("/")
        self._outputs = {
            topic: self._publisher(kind, f"{output if topic == DETECTIONS_2D else in_3d}/{topic}")
            for topic, kind in kinds.items()
        }
        self._label_info = self._publisher(LabelInfo, f"{output}/label_info", _LATCHED)
        self._debug_image = self._publisher(Image, f"{debug}/image")
        self._prior_heatmap = self._publisher(Image, f"{debug}/prior_heatmap")
        self._times = {
            stage: self._publisher(Float64, f"{debug}/{topic}")
            for stage, topic in (
                ("processing", "processing_time_ms"),
                ("latency", "pipeline_latency_ms"),
                ("cyclic", "cyclic_time_ms"),
            )
        }
        self._timing = self._publisher(track_types.FrameTiming, f"{debug}/timing") if track_types else None
        self.quality = QualityTopic(node, self._publisher(DiagnosticArray, f"{debug}/metrics"), name)

    def _publisher(self, kind: Any, topic: str, qos: QoSProfile = _QOS) -> Any:
        publisher = self._node.create_lifecycle_publisher(kind, topic, qos)
        self._publishers.append(publisher)
        return publisher

    def destroy(self) -> None:
        """Takes the topics back."""
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers = []

    def has_subscribers(self) -> bool:
        """Whether anybody subscribes to anything that depends on the images."""
        return any(p is not self._label_info and p.get_subscription_count() for p in self._publishers)

    def publish_labels(self, threshold: float) -> None:
        """The classes of the model, latched; they hold at any time, so the header has none."""
        self._label_info.publish(label_info(Header(), self._class_names, threshold))

    def publish(self, result: CameraResult, output: OutputParameters) -> None:
        """All results of one frame."""
        for topic, message in self._messages.of_camera(result, output, lambda t: _has_subscribers(self._outputs[t])):
            self._outputs[topic].publish(message)
        if result.result.reset:
            self._trails, self._sides = drawing.Trails(), drawing.LabelSides()
        self._publish_images(result, output)

    def _publish_images(self, result: CameraResult, output: OutputParameters) -> None:
        frame, header = result.frame, header_of(result.image_header)
        if _has_subscribers(self._debug_image):
            annotation = drawing.annotation_of(result.result.tracks, self._class_names)
            self._trails.seconds = output.trail_s
            self._trails.update(annotation, frame.stamp)
            image = drawing.draw(frame.image, annotation, self._trails, frame.camera, scores=True, sides=self._sides)
            self._debug_image.publish(image_message(header, image, "bgr8"))
        if _has_subscribers(self._prior_heatmap):
            heatmap = (gaussian.render(result.result.prior, result.result.input_size) * 255).astype(np.uint8)
            self._prior_heatmap.publish(image_message(header, heatmap, "mono8"))

    def publish_timing(self, frame_header: FrameHeader, timing: Timing) -> None:
        """Durations of one frame."""
        for stage, publisher in self._times.items():
            if _has_subscribers(publisher) and not math.isnan(timing.stages.get(stage, math.nan)):
                publisher.publish(Float64(data=timing.stages[stage]))
        if self._timing is not None and _has_subscribers(self._timing):
            message = self._types.FrameTiming(header=header_of(frame_header))
            for stage, value in timing.stages.items():
                setattr(message, f"{stage}_ms", value)
            message.frames_received, message.frames_processed = timing.received, timing.processed
            message.frames_dropped = timing.dropped
            self._timing.publish(message)


def _has_subscribers(publisher: Any) -> bool:
    return publisher.get_subscription_count() > 0


def image_message(header: Header, image: NDArray[np.uint8], encoding: str) -> Image:
    """An image (H, W) or (H, W, C) as a message."""
    message = Image(header=header, encoding=encoding, height=image.shape[0], width=image.shape[1])
    message.step = image.strides[0] if image.flags.c_contiguous else image[0].size
    # Of all ways to fill the field this is the fast one: 0.2 ms, where handing over the array takes 200.
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(image).data.cast("B"))
    message.data = data
    return message
