"""The node's work on a recorded bag, without DDS: every image, in the order of recording, as fast as the machine can.

The same parts as in the node do the work (image decoding, cameras, the rules on stamps, the pipeline, the message
writers), so that what is written is what the node would have published, had it not dropped a frame. Two replays write
the same bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rclpy.serialization import serialize_message
from std_msgs.msg import Header

from centertrack_ros.engine.base import Engine
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.io.camera_info import CameraInfoError, camera_from_info
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.image_decoding import ImageError
from centertrack_ros.io.rosbag import BagReader, BagWriter, Record, message_types
from centertrack_ros.io.sources import (
    CAMERA_INFO_TYPE,
    COMPRESSED_TYPE,
    IMAGE_TYPE,
    camera_info_topic,
    camera_names,
    decode_image,
    image_topics,
)
from centertrack_ros.io.stamps import StampRules, seconds
from centertrack_ros.ros.markers import MarkerWriter
from centertrack_ros.ros.messages import MessageWriter
from centertrack_ros.ros.parameters import tracker_config
from centertrack_ros.ros.topics import header_stamp_ns
from centertrack_ros.tracking.pipeline import Pipeline
from centertrack_ros.tracking.track_boxes import boxes_of
from centertrack_ros.types import Frame, FrameResult, TrackState

NODE = "/centertrack"


@dataclass
class Summary:
    """What a replay did: images seen, answered and left out, by reason; `notes` are sentences about the rest."""

    images: int = 0
    answered: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, reason: str) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + 1


@dataclass
class _Camera:
    """One camera from its topics to its messages."""

    name: str
    image_topic: str
    info_topic: str | None
    writer: MessageWriter
    markers: MarkerWriter
    state: TrackState = field(default_factory=TrackState)
    stamps: StampRules = field(default_factory=StampRules)
    info: Any = None

    @property
    def output(self) -> str:
        return f"{NODE}/output/{self.name}".rstrip("/")


class Replay:
    """Replays bags through one engine. Raises ValueError when the parameters do not fit the engine's model."""

    def __init__(self, engine: Engine, parameters: Mapping[str, Any]) -> None:
        """`parameters` is a complete set of the node's, as `load_parameters` gives it."""
        self._parameters = parameters
        self._pipeline = Pipeline(engine, tracker_config(parameters, engine.profile.trained_tracking))
        self._types = generated_messages()
        self._kinds = dict(self._outputs())
        self.outputs = tuple(self._kinds)  # names of the topics of each camera

    def run(
        self,
        source: Path | str,
        target: Path | str,
        topics: Sequence[str] = (),
        keep: Sequence[str] = (),
        passes: int = 1,
        only: Collection[tuple[str, int, int]] | None = None,
    ) -> Iterator[Summary]:
        """Writes `target`, an mcap bag, and yields the summary so far after every image.

        topics  image topics to answer; none: every camera of the bag
        keep    topics that are copied from the source; ('*',): all
        passes  how often the bag is played, one after the other, with the tracks of the pass before
        only    (topic, stamp ns, pass from 0) of the images to answer, as if the others had been dropped; None: all
        Raises DataError when the source is broken, FileExistsError, OSError when the target cannot be written; what was
        written until then stays a readable bag.
        """
        with BagReader(source) as reader:
            summary = Summary()
            cameras = self._cameras(reader, topics, summary)
            kept = set(reader.topics if "*" in keep else (reader.require(name).name for name in keep))
            wanted = kept | set(cameras) | {camera.info_topic for camera in cameras.values() if camera.info_topic}
            infos = {camera.info_topic: camera for camera in cameras.values()}
            with BagWriter(target) as writer:
                self._announce(writer, cameras.values(), kept, reader)
                for number, record in _repeated(reader, wanted, passes):
                    if record.topic in kept:
                        writer.write(record.topic, record.data, record.time_ns)
                    if record.topic in infos:
                        for camera in cameras.values():
                            if camera.info_topic == record.topic:
                                camera.info = reader.decode(record)
                    if record.topic in cameras:
                        if only is None or (record.topic, header_stamp_ns(record.data), number) in only:
                            self._answer(cameras[record.topic], reader, record, writer, summary)
                        yield summary
            if not summary.images:
                yield summary

    def _cameras(self, reader: BagReader, topics: Sequence[str], summary: Summary) -> dict[str, _Camera]:
        chosen = [reader.require(name) for name in topics] or image_topics(reader)
        for topic in chosen:
            if topic.type not in (IMAGE_TYPE, COMPRESSED_TYPE):
                raise DataError(reader.path, f"'{topic.name}' is a {topic.type}, expected an Image or CompressedImage")
        if not chosen:
            raise DataError(reader.path, f"no images; the bag has {reader.listing()}")
        names = camera_names([topic.name for topic in chosen])
        cameras = {}
        for topic, name in zip(chosen, names, strict=True):
            info = camera_info_topic(reader, topic.name)
            if info is None:
                summary.notes.append(f"no {CAMERA_INFO_TYPE} for '{topic.name}': its results are in 2D only")
            classes = self._pipeline.engine.profile.classes
            writer, markers = MessageWriter(classes, self._types), MarkerWriter(classes)
            cameras[topic.name] = _Camera(name, topic.name, info, writer, markers)
        if self._types is None:
            summary.notes.append(
                "the interfaces of centertrack_ros are not built: no track arrays (colcon build or make)"
            )
        return cameras

    def _announce(self, writer: BagWriter, cameras: Any, kept: set[str], reader: BagReader) -> None:
        """All topics from the start, so that those without messages are there as well."""
        for name in sorted(kept):
            topic = reader.topics[name]
            writer.add_topic(name, topic.type, topic.qos, source=reader)
        for camera in cameras:
            for topic, kind in self._kinds.items():
                writer.add_topic(f"{camera.output}/{topic}", kind)

    def _outputs(self) -> list[tuple[str, str]]:
        found = [("detections_3d", "vision_msgs/msg/Detection3DArray")]
        if self._parameters["output.publish_detections_2d"]:
            found.append(("detections_2d", "vision_msgs/msg/Detection2DArray"))
        if self._parameters["output.publish_tracks"] and self._types is not None:
            found.append(("tracks", "centertrack_ros/msg/TrackArray"))
        if self._parameters["output.publish_markers"]:
            found.append(("markers", "visualization_msgs/msg/MarkerArray"))
        return found

    def _answer(self, camera: _Camera, reader: BagReader, record: Record, writer: BagWriter, summary: Summary) -> None:
        summary.images += 1
        message = reader.decode(record)
        header = _header(message.header)
        stamp = seconds(header.stamp)
        try:
            image = decode_image(message, record.type)
        except ImageError as error:
            summary.leave_out(f"not an image: {error}")
            return
        if camera.stamps.refuse(stamp):
            summary.leave_out("its stamp is not after that of the image before")
            return
        frame = Frame(image, stamp, self._camera_model(camera, image.shape[:2], summary))
        try:
            [(result, state)] = self._pipeline.step([frame], [camera.state])
        except ValueError as error:
            summary.leave_out(str(error))
            return
        camera.state = state
        summary.answered += 1
        if result.reset:
            summary.notes.append(f"tracks of {camera.image_topic} reset at {stamp:.3f} s: {result.reset}")
        for topic, answer in self._messages(camera, header, frame, result):
            kind = self._kinds[topic]
            writer.write(f"{camera.output}/{topic}", serialized(answer, kind), record.time_ns, kind)

    def _camera_model(self, camera: _Camera, size: tuple[int, int], summary: Summary) -> Camera | None:
        if camera.info is None:
            return None
        try:
            return camera_from_info(camera.info, size, self._parameters["camera.rectified"])
        except CameraInfoError as error:
            note = f"2D only for {camera.image_topic}: {error}"
            if note not in summary.notes:
                summary.notes.append(note)
            return None

    def _messages(self, camera: _Camera, header: Any, frame: Frame, result: FrameResult) -> Iterator[tuple[str, Any]]:
        """Topic -> message, in the order in which the node publishes them."""
        tracks, size, parameters = result.tracks, (frame.image.shape[0], frame.image.shape[1]), self._parameters
        index, boxes = boxes_of(tracks)
        yield "detections_3d", camera.writer.detections_3d(header, tracks, index, boxes)
        if parameters["output.publish_detections_2d"]:
            yield "detections_2d", camera.writer.detections_2d(header, tracks)
        if parameters["output.publish_tracks"] and self._types is not None:
            yield "tracks", camera.writer.track_array(header, tracks, index, boxes, size, frame.stamp, result.reset)
        if parameters["output.publish_markers"]:
            if result.reset:
                yield "markers", camera.markers.clear(header)
            lifetime, trail = parameters["output.marker_lifetime_s"], parameters["output.trail_length"]
            yield "markers", camera.markers.write(header, tracks, index, boxes, lifetime, trail)


def _repeated(reader: BagReader, topics: Collection[str], passes: int) -> Iterator[tuple[int, Record]]:
    """(pass, record); the times of recording go on from pass to pass, the messages' stamps do not."""
    length = reader.end_ns - reader.start_ns + 1
    for number in range(passes):
        for record in reader.records(topics):
            yield number, replace(record, time_ns=record.time_ns + number * length)


def serialized(message: Any, kind: str) -> bytes:
    """CDR of a ROS message, always the same bytes: rmw leaves in the gaps between fields what was in memory."""
    store = message_types()
    return bytes(store.serialize_cdr(store.deserialize_cdr(serialize_message(message), kind), kind))


def _header(recorded: Any) -> Header:
    header = Header(frame_id=recorded.frame_id)
    header.stamp.sec, header.stamp.nanosec = int(recorded.stamp.sec), int(recorded.stamp.nanosec)
    return header


def generated_messages() -> Any:
    """The module centertrack_ros.msg; None when it is not built."""
    with contextlib.suppress(ImportError):
        import centertrack_ros.msg as types

        if hasattr(types, "TrackArray"):
            return types
    return None
