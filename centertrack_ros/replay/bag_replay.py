# SPDX-License-Identifier: Apache-2.0
"""The node's work on a recorded bag, without DDS: every image, in the order of recording, as fast as the machine can.

The same session tracks and the same functions write the messages as in the node, so that the output is what the node
would have published, had it not dropped a frame. Two replays write the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rclpy.serialization import serialize_message
from std_msgs.msg import Header

from centertrack_ros.datasets.detection_files import MatchedDetections, open_detections
from centertrack_ros.engine.base import Engine
from centertrack_ros.engine.detector import Detector
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.io.bag_transforms import read_transforms
from centertrack_ros.io.camera_info import Calibration
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.foreign_messages import DETECTIONS_TYPE
from centertrack_ros.io.image_decoding import ImageError
from centertrack_ros.io.rosbag import BagReader, BagWriter, Record, Topic, bag_name, message_types
from centertrack_ros.io.sources import (
    CAMERA_INFO_TYPE,
    COMPRESSED_TYPE,
    IMAGE_TYPE,
    advice_on_images,
    camera_info_topic,
    camera_names,
    decode_image,
    image_topics,
    pictures,
)
from centertrack_ros.io.stamps import from_nanoseconds, nanoseconds, record_stamp, stamp_or_arrival
from centertrack_ros.io.transform_buffer import LookupFailure, TransformBuffer
from centertrack_ros.replay import bag_boxes
from centertrack_ros.replay.bag_sensors import BagSensors, sensors_beside
from centertrack_ros.replay.parameters import live_only, require_replayable
from centertrack_ros.ros.autoware import require_autoware
from centertrack_ros.ros.frames import camera_poses, sensor_pose
from centertrack_ros.ros.messages import generated_messages, label_info
from centertrack_ros.ros.parameters import NodeParameters
from centertrack_ros.ros.publishers import DETECTIONS_2D, UNNAMED, ResultMessages
from centertrack_ros.tracking.config import NETWORK
from centertrack_ros.tracking.pipeline import Pipeline
from centertrack_ros.tracking.results import POSE, STAMP, CameraPoses, Rejection, SessionResult
from centertrack_ros.tracking.session import TrackingSession
from centertrack_ros.types import Frame, FrameHeader

NODE = "/centertrack"
_MOST = 20  # reasons and notes
LABEL_INFO, LABEL_INFO_TYPE = "label_info", "vision_msgs/msg/LabelInfo"


@dataclass
class Summary:
    """What a replay did.

    Attributes:
        images: Images in the bag.
        processed: Those with results.
        left_out: Reason -> number of images without results.
        notes: Sentences about the rest.
    """

    images: int = 0
    processed: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, reason: str) -> None:
        """Counts an image without results."""
        if reason not in self.left_out and len(self.left_out) >= _MOST:
            reason = "other reasons"
        self.left_out[reason] = self.left_out.get(reason, 0) + 1

    def note(self, text: str) -> None:
        """Adds a sentence, once; a recording without end has no more than fit on a screen."""
        if text not in self.notes and len(self.notes) <= _MOST:
            self.notes.append(text if len(self.notes) < _MOST else "further notes are left out")

    def nothing(self) -> str:
        """Why there are no results, in a sentence."""
        reasons = "; ".join(f"{count} {reason}" for reason, count in list(self.left_out.items())[:3])
        return f"not one of its {self.images} images could be processed" + (f": {reasons}" if reasons else "")


@dataclass
class _Camera:
    """One camera of the bag: its topics, its calibration so far, and how its messages are written."""

    name: str
    image_topic: str
    info_topic: str | None
    messages: ResultMessages
    calibration: Calibration = field(default_factory=Calibration)
    detections: MatchedDetections | None = None
    sensors: BagSensors | None = None
    images: int = 0

    def output(self, topic: str, has_boxes: bool) -> str:
        return output_topic(self.name, topic, has_boxes)


def output_topic(camera: str, topic: str, has_boxes: bool) -> str:
    """The full name of a camera's output, as the node has it with or without boxes of another detector."""
    folder = UNNAMED if has_boxes and not camera and topic not in (DETECTIONS_2D, LABEL_INFO) else camera
    return f"{NODE}/output/{folder}".rstrip("/") + f"/{topic}"


class Replay:
    """Replays bags through one engine, each in a session of its own."""

    def __init__(self, engine: Engine, parameters: NodeParameters, detector: Detector | None = None) -> None:
        """Checks that a replay can do what the parameters ask for.

        Args:
            engine: Runs the network.
            parameters: The node's, as `load_parameters` gives them.
            detector: Of the user's own, as `detector_of` gives it.

        Raises:
            ValueError: The parameters do not fit the engine's model, or only a live node can honour them.
        """
        require_replayable(parameters)
        Pipeline(engine, parameters.tracker)  # refuses what the model cannot give
        self._engine, self._parameters, self._types = engine, parameters, generated_messages()
        self._detector = detector
        self._autoware = require_autoware() if parameters.output.publish_autoware else None
        self.classes = engine.profile.classes

    def run(
        self,
        source: Path | str,
        target: Path | str,
        topics: Sequence[str] = (),
        keep: Sequence[str] = (),
        passes: int = 1,
        only: Collection[tuple[str, int, int]] | None = None,
        detections: Sequence[str] = (),
        sensors: tuple[str, str] = ("", ""),
        boxes: str = "",
    ) -> Iterator[Summary]:
        """Writes `target`, an mcap bag, and yields the summary so far after every image.

        Args:
            source: The bag.
            target: Where the results go.
            topics: Image topics to process; none: every camera of the bag.
            keep: Topics that are copied from the source; ('*',): all.
            passes: How often the bag is played, one after the other, with the tracks of the pass before.
            detections: Files or topics of another detector, one for each camera; none: if the parameters ask for
                another detector, the bag's only topic of its detections.
            sensors: Topics of depth images and of points; '': `depth` and `points` beside each image topic.
            boxes: Topic of another detector's boxes in 3D; '': if the parameters ask for them, the bag's only one.
            only: (topic, stamp ns, pass from 0) of the images to process, as if the others had been dropped.

        Raises:
            DataError: The source is broken, lacks what the parameters ask for, or none of its images could be
                processed. Results until then stay a readable bag; without any the target is removed.
            FileExistsError: The target exists.
            OSError: The target cannot be written; it is removed.
        """
        with BagReader(source) as reader:
            summary = Summary(notes=[f"{name} concerns a live node only" for name in live_only(self._parameters)])
            cameras = self._cameras(reader, topics, summary)
            kept = self._kept(reader, keep, cameras.values(), summary)
            self._read_detections(reader, list(cameras.values()), detections, summary)
            self._read_sensors(reader, cameras.values(), sensors, summary)
            boxes_topic = bag_boxes.topic_of_boxes(reader, boxes, NODE, summary.note) if self._parameters.boxes else ""
            run = _Run(self._engine, self._parameters, reader, cameras, self._messages, self._detector)
            wanted = kept | set(cameras) | {camera.info_topic for camera in cameras.values() if camera.info_topic}
            wanted |= {boxes_topic} - {""}
            writer = BagWriter(target)
            try:
                with writer:
                    run.announce(writer, kept)
                    for number, record in _repeated(reader, wanted, passes):
                        if record.topic in kept:
                            writer.write(record.topic, record.data, record.time_ns)
                        run.calibrate(record)
                        if record.topic == boxes_topic:
                            run.process_boxes(record, writer, summary)
                        if record.topic in cameras:
                            stamp = record_stamp(record.data, record.time_ns)
                            if only is None or (record.topic, stamp, number) in only:
                                run.process(cameras[record.topic], record, writer, summary)
                            yield summary
                    _note_unmatched(cameras.values(), summary)
                    if only is None and not summary.processed:
                        raise DataError(reader.path, summary.nothing())
            except Exception:
                if writer.failed or not summary.processed:  # nothing that stands in the way of the next try
                    writer.discard()
                raise
            if not summary.images:
                yield summary

    def _read_sensors(
        self, reader: BagReader, cameras: Iterable[_Camera], topics: tuple[str, str], summary: Summary
    ) -> None:
        """The cameras get the sensors beside them, if the parameters do not ignore them."""
        if not self._parameters.tracker.depth_sensors:
            return
        for camera in cameras:
            camera.sensors = sensors_beside(reader, camera.image_topic, summary.note, *topics)
            if camera.sensors is not None:
                summary.note(f"distances for {camera.image_topic} by {' and '.join(camera.sensors.names)}, too")

    def _read_detections(
        self, reader: BagReader, cameras: Sequence[_Camera], named: Sequence[str], summary: Summary
    ) -> None:
        """The cameras get the detections of another detector, if the parameters ask for them."""
        if self._parameters.tracker.detector_source == NETWORK or (self._detector is not None and not named):
            return
        names = list(named) or [topic.name for topic in reader.of_type(DETECTIONS_TYPE)]
        if len(names) != len(cameras):
            raise DataError(
                reader.path,
                f"detector.source {self._parameters.tracker.detector_source} needs one file or topic of detections "
                f"for each of {len(cameras)} cameras, got {len(names)}: name them with --detections",
            )
        detector = self._parameters.detector
        for camera, name in zip(cameras, names, strict=True):
            summary.note(f"detections for {camera.image_topic}: {name}")
            made = open_detections(name, reader.path, dict(enumerate(detector.names)), detector.tolerance_s)
            camera.detections = MatchedDetections(made)

    def _kept(self, reader: BagReader, keep: Sequence[str], cameras: Iterable[_Camera], summary: Summary) -> set[str]:
        """The topics to copy: none that the results are written to, as a bag of an earlier replay has them."""
        kept = set(reader.topics if "*" in keep else (reader.require(name).name for name in keep))
        own = kept & set(self.output_topics([camera.name for camera in cameras]))
        if own and "*" not in keep:
            raise DataError(reader.path, f"'{min(own)}' cannot be kept: the results are written to this topic")
        if own:
            summary.note(f"{len(own)} topics of earlier results are not copied: the new ones have their names")
        return kept - own

    def image_topics(self, source: Path | str, topics: Sequence[str] = ()) -> dict[str, str]:
        """Camera name -> image topic of a bag, as `run` takes them."""
        with BagReader(source) as reader:
            return {camera.name: topic for topic, camera in self._cameras(reader, topics, Summary()).items()}

    def output_topics(self, cameras: Sequence[str]) -> list[str]:
        """All topics of the results of cameras with these names."""
        output, messages = self._parameters.output, self._messages()
        topics = [
            output_topic(camera, topic, self._parameters.boxes)
            for camera in cameras
            for topic in (*messages.topics(output), LABEL_INFO)
        ]
        if replace(self._parameters.session, cameras=tuple(cameras)).merges:
            topics += [f"{NODE}/output/{topic}" for topic in messages.topics(output, merged=True)]
        return topics

    def _messages(self, reader: BagReader | None = None, classes: Sequence[str] | None = None) -> ResultMessages:
        """Writes messages; what Autoware knows a bag's tracks by is the same in each replay of it."""
        session = bag_name(reader.path) if reader else ""
        return ResultMessages(classes or self.classes, self._types, self._autoware, session)

    def _cameras(self, reader: BagReader, topics: Sequence[str], summary: Summary) -> dict[str, _Camera]:
        """Image topic -> camera."""
        chosen = [reader.require(name) for name in topics] or self._image_topics(reader)
        for topic in chosen:
            if topic.type not in (IMAGE_TYPE, COMPRESSED_TYPE):
                raise DataError(reader.path, f"'{topic.name}' is a {topic.type}, expected an Image or CompressedImage")
            if not topic.count:
                raise DataError(reader.path, f"'{topic.name}' has no messages")
        if not chosen:
            raise DataError(reader.path, f"no images; the bag has {reader.listing()}{advice_on_images(reader)}")
        cameras = {}
        for name, topic in self._named(reader, chosen, by_user=bool(topics)):
            info = camera_info_topic(reader, topic.name)
            if info is None:
                summary.note(f"no {CAMERA_INFO_TYPE} for '{topic.name}': its results are in 2D only")
            cameras[topic.name] = _Camera(name, topic.name, info, self._messages(reader))
        if self._types is None:
            summary.note("the interfaces of centertrack_ros are not built: no track arrays (colcon build or make)")
        return cameras

    def _image_topics(self, reader: BagReader) -> list[Topic]:
        """One for each camera, of the type that `camera.transport` asks for."""
        kind = {"raw": IMAGE_TYPE, "compressed": COMPRESSED_TYPE}.get(self._parameters.camera.transport)
        if kind is None:
            return image_topics(reader)
        return sorted((topic for topic in pictures(reader) if topic.type == kind), key=lambda topic: topic.name)

    def _named(self, reader: BagReader, topics: Sequence[Topic], by_user: bool) -> list[tuple[str, Topic]]:
        """The cameras with their names: those of the parameter `cameras` if it is set, else from the topics."""
        names, wanted = camera_names([topic.name for topic in topics]), self._parameters.cameras
        if not wanted:
            return list(zip(names, topics, strict=True))
        if by_user and len(wanted) == len(topics):
            return list(zip(wanted, topics, strict=True))
        found = dict(zip(names, topics, strict=True))
        if missing := [name for name in wanted if name not in found]:
            raise DataError(
                reader.path,
                f"no image topic of a camera '{missing[0]}' (parameter cameras); the bag has "
                f"{', '.join(topic.name for topic in topics)}: name one topic for each camera with --topics",
            )
        return [(name, found[name]) for name in wanted]


class _Run:
    """One bag on its way through a session."""

    def __init__(
        self,
        engine: Engine,
        parameters: NodeParameters,
        reader: BagReader,
        cameras: dict[str, _Camera],
        messages: Callable[[BagReader, Sequence[str]], ResultMessages],
        detector: Detector | None,
    ) -> None:
        self._parameters, self._reader, self._cameras = parameters, reader, cameras
        names = tuple(camera.name for camera in cameras.values())
        self._session = TrackingSession(engine, replace(parameters.session, cameras=names), detector)
        self._merged = messages(reader, self._session.class_names)
        self._transforms = self._read_transforms()

    def _read_transforms(self) -> TransformBuffer | None:
        """All of the bag's, known at once; None if no output needs them."""
        frames = self._session.config.frames
        if not frames.target and not any(camera.sensors for camera in self._cameras.values()):
            return None
        if not frames.target and not any(name in self._reader.topics for name in ("/tf", "/tf_static")):
            return None
        if not any(name in self._reader.topics for name in ("/tf", "/tf_static")):
            raise DataError(
                self._reader.path, f"no /tf or /tf_static, which output.target_frame '{frames.target}' needs"
            )
        return read_transforms(self._reader.path)

    def announce(self, writer: BagWriter, kept: Iterable[str]) -> None:
        """All topics from the start, so that those without messages are there as well; and the labels."""
        for name in sorted(kept):
            topic = self._reader.topics[name]
            writer.add_topic(name, topic.type, topic.qos, source=self._reader)
        output, pipeline = self._parameters.output, self._session.pipeline
        for camera in self._cameras.values():
            for topic_name, kind in camera.messages.topics(output).items():
                writer.add_topic(camera.output(topic_name, self._parameters.boxes), kind)
            labels = label_info(Header(), pipeline.engine.profile.classes, pipeline.thresholds.track)
            label_topic = camera.output(LABEL_INFO, self._parameters.boxes)
            writer.add_topic(label_topic, LABEL_INFO_TYPE)
            data = serialized(labels, LABEL_INFO_TYPE)
            writer.write(label_topic, data, self._reader.start_ns, LABEL_INFO_TYPE)
        if self._session.config.merges:
            for topic_name, kind in self._merged.topics(output, merged=True).items():
                writer.add_topic(f"{NODE}/output/{topic_name}", kind)

    def calibrate(self, record: Record) -> None:
        """Takes a camera_info."""
        for camera in self._cameras.values():
            if camera.info_topic == record.topic:
                camera.calibration.update(self._reader.decode(record))

    def process(self, camera: _Camera, record: Record, writer: BagWriter, summary: Summary) -> None:
        """One image to its messages."""
        summary.images += 1
        try:
            frame = self._frame(camera, record, summary)
        except ImageError as error:
            summary.leave_out(f"not an image: {error}")
            return
        result = self._session.step({camera.name: frame}, self._poses)
        for rejection in result.rejected:
            _leave_out(rejection, summary)
        output, topics = self._parameters.output, camera.messages.topics(self._parameters.output)
        self._write_merged(result, record, writer)
        for one in result.cameras:
            summary.processed += 1
            for note in one.result.notes:
                summary.note(f"{camera.image_topic}: {note}")
            if one.result.reset:
                summary.note(f"tracks of {camera.image_topic} reset at {frame.stamp:.3f} s: {one.result.reset}")
            for topic, message in camera.messages.of_camera(one, output):
                data = serialized(message, topics[topic])
                writer.write(camera.output(topic, self._parameters.boxes), data, record.time_ns, topics[topic])

    def process_boxes(self, record: Record, writer: BagWriter, summary: Summary) -> None:
        """One message of another detector's boxes in 3D to the merged view."""
        try:
            frame = bag_boxes.box_frame(record, self._box_poses, summary.note)
        except ValueError as error:
            summary.note(f"{record.topic}: {error}")
            return
        result = self._session.step({}, boxes=[frame])
        for note in result.box_notes:
            summary.note(f"{record.topic}: {note}")
        self._write_merged(result, record, writer)

    def _write_merged(self, result: SessionResult, record: Record, writer: BagWriter) -> None:
        if result.merged is None:
            return
        output = self._parameters.output
        kinds = self._merged.topics(output, merged=True)
        for topic, message in self._merged.of_merged_view(result.merged, output):
            data = serialized(message, kinds[topic])
            writer.write(f"{NODE}/output/{topic}", data, record.time_ns, kinds[topic])

    def _box_poses(self, header: FrameHeader) -> CameraPoses:
        assert self._transforms is not None
        return camera_poses(self._transforms.lookup, header, self._session.config.frames)

    def _frame(self, camera: _Camera, record: Record, summary: Summary) -> Frame:
        message = self._reader.decode(record)
        camera.images += 1
        image = decode_image(message, record.type)
        told = nanoseconds(message.header.stamp)
        header = FrameHeader(stamp_or_arrival(told, record.time_ns), message.header.frame_id)
        if told == 0:
            summary.note(f"images on {camera.image_topic} have a stamp of 0: the time of recording is used instead")
        stamp = from_nanoseconds(header.stamp_ns)
        model = camera.calibration.camera(image.shape[:2], self._parameters.camera.rectified)
        if camera.calibration.is_known and camera.calibration.problem:
            summary.note(f"2D only for {camera.image_topic}: {camera.calibration.problem}")
        frame = Frame(image, stamp, model, header=header)
        if camera.sensors is not None:
            frame = camera.sensors.attach(frame, self._parameters.depth, self._sensor_pose)
        if camera.detections is None:
            return frame
        foreign = camera.detections.of(replace(frame, index=camera.images))
        if foreign is None:
            summary.note(f"{camera.image_topic}: not every image has detections of the other detector")
        return replace(frame, foreign=foreign)

    def _sensor_pose(self, image: FrameHeader, sensor: FrameHeader) -> Transform:
        if self._transforms is None:
            raise LookupFailure("the bag has no /tf or /tf_static")
        return sensor_pose(self._transforms.lookup, image, sensor, self._parameters.output.frames.fixed)

    def _poses(self, _: str, frame: Frame) -> CameraPoses:
        assert frame.header is not None and self._transforms is not None
        return camera_poses(self._transforms.lookup, frame.header, self._session.config.frames)


def _note_unmatched(cameras: Iterable[_Camera], summary: Summary) -> None:
    for camera in cameras:
        if camera.detections is not None and camera.detections.problem:
            summary.note(f"{camera.image_topic}: {camera.detections.problem}")


def _leave_out(rejection: Rejection, summary: Summary) -> None:
    """Counts a frame without a result. What is not the frame's fault ends the replay."""
    if rejection.error is not None and not isinstance(rejection.error, ValueError):
        raise rejection.error
    if rejection.kind == STAMP:
        summary.leave_out("its stamp is not after that of the image before")
    elif rejection.kind == POSE:
        summary.leave_out("no transform at its stamp")
        if not any(note.startswith("no transform") for note in summary.notes):
            summary.note(f"no transform for an image of {rejection.frame.stamp:.3f} s: {rejection.reason}")
    else:
        summary.leave_out(str(rejection.error))


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
