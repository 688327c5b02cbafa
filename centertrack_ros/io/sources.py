# SPDX-License-Identifier: Apache-2.0
"""Sources of frames to track in: a video, a folder of images, one image, a bag, a camera, a stream."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.io.camera_info import Calibration
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.frame_numbers import told_numbers
from centertrack_ros.io.image_decoding import ImageError, compressed_to_bgr, image_to_bgr
from centertrack_ros.io.image_files import IMAGE_SUFFIXES, frame_count
from centertrack_ros.io.image_source import AnimatedSource, ImageSource
from centertrack_ros.io.rosbag import BagReader, Topic, bag_name, bags_inside, is_bag
from centertrack_ros.io.source_base import CameraOf, LeftOut, Source
from centertrack_ros.io.stamps import nanoseconds, stamp_or_arrival
from centertrack_ros.io.video_source import VideoSource
from centertrack_ros.types import Frame

ANIMATED_SUFFIXES = (".gif", ".apng")
IMAGE_TYPE, COMPRESSED_TYPE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"
_OTHER_IMAGES = (
    "ffmpeg_image_transport_msgs/msg/FFMPEGPacket",
    "theora_image_transport/msg/Packet",
    "foxglove_msgs/msg/CompressedImage",
    "foxglove_msgs/msg/CompressedVideo",
    "foxglove_msgs/msg/RawImage",
)
# Parts of a topic's name that do not name the camera.
_GENERIC = re.compile(r"^(image.*|compressed|camera_info|raw)$")

_LOG = logging.getLogger(__name__)


def open_source(
    location: Path | str,
    *,
    intrinsics: tuple[float, float, float, float] | None = None,
    rate: float | None = None,
    image_topic: str | None = None,
    rectified: bool = False,
) -> Source:
    """Opens a source of frames.

    Args:
        location: A path, the number of a camera ('0') or the address of a stream ('rtsp://…').
        intrinsics: fx, fy, cx, cy in px of the images as they are; None: a bag's own camera_info.
        rate: Frames/s, where the source has none or a wrong one; ignored for bags, which have stamps.
        image_topic: Of a bag; may be left out when the bag has only one.
        rectified: A bag's images are undistorted: P of its camera_info holds, not K and D.

    Raises:
        FileNotFoundError: There is nothing at `location`.
        ValueError: It cannot be read; the text says what is wrong and what was expected.
    """
    if rate is not None and not 0.0 < rate < math.inf:
        raise ValueError(f"rate must be a number of frames/s above 0, got {rate}")
    camera_of = _camera_of(intrinsics)
    text, path = str(location), Path(location)
    if not os.path.exists(text):  # a file of that name comes first
        if re.fullmatch(r"[0-9]+", text):
            return VideoSource(int(text), camera_of, rate)
        if "://" in text:
            return VideoSource(text, camera_of, rate)
        what = "a link that leads nowhere" if os.path.islink(text) else "no such file or folder"
        raise FileNotFoundError(f"{path}: {what}; expected a video, an image, a folder of images or a bag")
    if is_bag(path) or path.suffix == ".bag" or bags_inside(path):
        return BagSource(path, camera_of if intrinsics else None, image_topic, rectified)
    if path.is_dir():
        return ImageSource(path, camera_of, rate)
    if path.suffix.lower() in (*IMAGE_SUFFIXES, *ANIMATED_SUFFIXES) and path.is_file():
        return (AnimatedSource if frame_count(path) > 1 else ImageSource)(path, camera_of, rate)
    return VideoSource(path, camera_of, rate)


def open_sources(
    location: Path | str,
    *,
    intrinsics: tuple[float, float, float, float] | None = None,
    rate: float | None = None,
    image_topic: str | None = None,
    rectified: bool = False,
) -> list[Source]:
    """Opens every camera of a bag with several as sources named BAG_CAMERA; else the one source of `open_source`."""
    path = Path(location)
    if image_topic is None and path.exists() and is_bag(path):
        with BagReader(path) as reader:
            topics = [topic.name for topic in image_topics(reader)]
        if len(topics) > 1:
            camera_of = _camera_of(intrinsics) if intrinsics else None
            sources: list[Source] = []
            for topic, name in zip(topics, camera_names(topics), strict=True):
                source = BagSource(path, camera_of, topic, rectified)
                source.name = f"{source.name}_{name}"
                sources.append(source)
            return sources
    return [open_source(location, intrinsics=intrinsics, rate=rate, image_topic=image_topic, rectified=rectified)]


def _camera_of(intrinsics: tuple[float, float, float, float] | None) -> CameraOf:
    if intrinsics is None:
        return lambda height, width: None
    fx, fy, cx, cy = intrinsics
    matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    return lambda height, width: Camera.from_matrix(width, height, matrix)


@dataclass
class BagSource:
    """The images of one topic of a rosbag2, each with the newest camera_info before it, as a live node sees them."""

    path: Path
    camera_of: CameraOf | None = None
    image_topic: str | None = None
    rectified: bool = False

    def __post_init__(self) -> None:
        with BagReader(self.path) as reader:
            topic = _image_topic(reader, self.image_topic)
            self.info_topic = camera_info_topic(reader, topic.name)
            span = (reader.end_ns - reader.start_ns) / 1e9
        self.topic, self.length = topic, topic.count
        self.name = bag_name(self.path)
        self._problems: list[str] = []  # of the calibration, each said once
        self.rate: float | None = (topic.count - 1) / span if topic.count > 1 and span > 0 else None
        if self.info_topic is None and self.camera_of is None:
            _LOG.warning("%s: no camera_info for '%s'; no distances without it", self.path, topic.name)

    def __iter__(self) -> Iterator[Frame]:
        calibration, left_out, count = Calibration(), LeftOut(self.path), 0
        topics = [self.topic.name] + ([self.info_topic] if self.info_topic else [])
        try:
            with BagReader(self.path) as reader:
                numbers = told_numbers(reader, self.topic.name)
                for record, message in reader.messages(topics):
                    if record.topic == self.info_topic:
                        calibration.update(message)
                        continue
                    count += 1
                    stamp_ns = stamp_or_arrival(nanoseconds(message.header.stamp), record.time_ns)
                    index = numbers.get(stamp_ns, count)
                    try:
                        image = decode_image(message, record.type)
                    except ImageError as error:
                        left_out.add(f"frame {index} ('{record.topic}' at {record.time_ns / 1e9:.3f} s): {error}")
                        continue
                    yield Frame(image, stamp_ns / 1e9, self._camera(calibration, image), index=index)
        finally:
            left_out.report(count)
        if count and left_out.count == count:
            raise DataError(self.path, f"not one of {count} images can be decoded; the last: {left_out.last}")

    def _camera(self, calibration: Calibration, image: NDArray[np.uint8]) -> Camera | None:
        height, width = image.shape[:2]
        if self.camera_of is not None:
            return self.camera_of(height, width)
        camera = calibration.camera((height, width), self.rectified)
        if calibration.is_known and calibration.problem and calibration.problem not in self._problems:
            self._problems.append(calibration.problem)
            _LOG.warning("%s: %s", self.path, calibration.problem)
        return camera


def decode_image(message: Any, type_name: str) -> NDArray[np.uint8]:
    """BGR (H, W, 3) of an Image or CompressedImage message; may be a view of the message. Raises ImageError."""
    return compressed_to_bgr(message) if type_name == COMPRESSED_TYPE else image_to_bgr(message)


def _image_topic(reader: BagReader, requested: str | None) -> Topic:
    if requested is not None:
        topic = reader.require(requested)
        if topic.type not in (IMAGE_TYPE, COMPRESSED_TYPE):
            raise ValueError(f"{reader.path}: '{requested}' is a {topic.type}, expected an Image or CompressedImage")
        if not topic.count:
            raise ValueError(f"{reader.path}: '{requested}' has no messages")
        return topic
    topics = image_topics(reader)
    if not topics:
        raise ValueError(f"{reader.path}: no images in this bag; it has {reader.listing()}{advice_on_images(reader)}")
    if len(topics) > 1:
        raise ValueError(f"{reader.path}: several image topics, name one: {', '.join(topic.name for topic in topics)}")
    return topics[0]


def camera_info_topic(reader: BagReader, image_topic: str) -> str | None:
    """The camera_info beside an image topic (image_transport's rule), else the bag's only one, else None."""
    infos = [topic.name for topic in reader.of_type(CAMERA_INFO_TYPE)]
    base = re.sub(r"/(compressed|image_transport|raw)$", "", image_topic)
    sibling = base.rsplit("/", 1)[0] + "/camera_info"
    if sibling in infos:
        return sibling
    cameras = {re.sub(r"/compressed$", "", topic.name) for topic in pictures(reader)}
    return infos[0] if len(infos) == 1 and len(cameras) == 1 else None


def pictures(reader: BagReader) -> list[Topic]:
    """The topics of images, but for depth: the node's own, and what image_transport packs into a CompressedImage."""
    return [
        topic
        for topic in reader.of_type(IMAGE_TYPE, COMPRESSED_TYPE)
        if not topic.name.endswith(("/compressedDepth", "/depth"))
    ]


def advice_on_images(reader: BagReader) -> str:
    """What to do about a bag whose images are of other types; '' when it has no such."""
    others = [topic for topic in reader.topics.values() if topic.type in _OTHER_IMAGES]
    if not others:
        return ""
    return f"; republish '{others[0].name}' as a sensor_msgs/CompressedImage: {others[0].type} is not read here"


def image_topics(reader: BagReader) -> list[Topic]:
    """One topic for each camera of a bag: raw images where there are any, else compressed ones."""
    topics = {topic.name: topic for topic in pictures(reader)}
    return [
        topic for name, topic in sorted(topics.items()) if name.removesuffix("/compressed") not in set(topics) - {name}
    ]


def camera_names(topics: Sequence[str]) -> list[str]:
    """The cameras' names in the output topics: '' for an only one, else the parts of their topics that differ."""
    if len(topics) == 1:
        return [""]
    parts = [[part for part in topic.split("/") if part and not _GENERIC.match(part)] for topic in topics]
    names = ["_".join(part) or "camera" for part in parts]
    return names if len(set(names)) == len(names) else [topic.strip("/").replace("/", "_") for topic in topics]
