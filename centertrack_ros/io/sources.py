# SPDX-License-Identifier: Apache-2.0
"""Sources of frames to track in: a video, a folder of images, one image, a bag, a camera, a stream."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.io.camera_info import Calibration
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.image_decoding import ImageError, compressed_to_bgr, image_to_bgr
from centertrack_ros.io.image_files import IMAGE_SUFFIXES, frame_numbers, load_image, visible
from centertrack_ros.io.rosbag import BagReader, Topic, is_bag
from centertrack_ros.io.stamps import nanoseconds
from centertrack_ros.types import Frame

IMAGE_TYPE, COMPRESSED_TYPE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"
# Parts of a topic's name that do not name the camera.
_GENERIC = re.compile(r"^(image.*|compressed|camera_info|raw)$")
DEFAULT_RATE = 10.0  # frames/s of a folder, whose images have no time

_LOG = logging.getLogger(__name__)

# Height and width of an image -> the camera that took it.
CameraOf = Callable[[int, int], Camera | None]


class Source(Protocol):
    """Frames in the order of time; can be iterated again from the start, except for a live camera.

    A frame that cannot be read is left out, with a logged warning that names it and says why.
    """

    @property
    def name(self) -> str:
        """What output files are named after."""

    @property
    def length(self) -> int | None:
        """Number of frames; None when it is unknown beforehand."""

    @property
    def rate(self) -> float | None:
        """Frames/s; None when only the frames' stamps define it."""

    def __iter__(self) -> Iterator[Frame]: ...


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
    if rate is not None and not rate > 0.0:
        raise ValueError(f"rate must be above 0 frames/s, got {rate}")
    camera_of = _camera_of(intrinsics)
    text = str(location)
    if re.fullmatch(r"\d+", text) and not Path(text).exists():
        return VideoSource(int(text), camera_of, rate)
    if "://" in text:
        return VideoSource(text, camera_of, rate)
    path = Path(location)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file or folder; expected a video, an image, a folder of images or a bag"
        )
    if is_bag(path) or path.suffix == ".bag":
        return BagSource(path, camera_of if intrinsics else None, image_topic, rectified)
    if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageSource(path, camera_of, rate)
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
class VideoSource:
    """A video file, a stream, or a camera by its number; stamps count from 0 s."""

    location: Path | str | int
    camera_of: CameraOf
    requested_rate: float | None = None

    def __post_init__(self) -> None:
        self.name = Path(self.location).stem if isinstance(self.location, Path) else f"camera_{self.location}"
        capture = self._open()
        rate = capture.get(cv2.CAP_PROP_FPS)
        # Containers without a rate report 0, NaN or the clock's 90 kHz.
        self.rate = self.requested_rate or (rate if np.isfinite(rate) and 0.0 < rate < 1000.0 else DEFAULT_RATE)
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.length = count if isinstance(self.location, Path) and count > 0 else None
        capture.release()

    def _open(self) -> cv2.VideoCapture:
        location = str(self.location) if isinstance(self.location, Path) else self.location
        capture = cv2.VideoCapture(location)
        if not capture.isOpened():
            raise ValueError(
                f"{location}: not a video that OpenCV can read; expected a video, a folder of images or a bag"
            )
        return capture

    def __iter__(self) -> Iterator[Frame]:
        capture = self._open()
        index = 0
        try:
            while True:
                good, image = capture.read()
                if not good:
                    break
                index += 1
                camera = self.camera_of(*image.shape[:2])
                yield Frame(image, (index - 1) / self.rate, camera, index=index)  # type: ignore[arg-type]
        finally:
            capture.release()
        if index == 0:
            raise ValueError(f"{self.location}: not one frame of this video can be read")
        if self.length is not None and index < self.length:
            _LOG.warning("%s: ended after %d of %d frames", self.location, index, self.length)


@dataclass
class ImageSource:
    """One image, or a folder of them in the order of the numbers in their names."""

    path: Path
    camera_of: CameraOf
    requested_rate: float | None = None

    def __post_init__(self) -> None:
        self.name = self.path.resolve().stem if self.path.is_file() else _folder_name(self.path.resolve())
        self.rate = self.requested_rate or DEFAULT_RATE
        self.files = [self.path] if self.path.is_file() else visible(self.path, IMAGE_SUFFIXES)
        self.length: int | None = len(self.files)
        if not self.files:
            raise ValueError(f"{self.path}: no images in this folder; expected {', '.join(IMAGE_SUFFIXES)}")

    def __iter__(self) -> Iterator[Frame]:
        numbers = frame_numbers(self.files)
        if numbers is None:
            numbers = list(range(1, len(self.files) + 1))
            if len(self.files) > 1:
                _LOG.warning("%s: the names do not number the images; frames are counted in their order", self.path)
        read = 0
        for index, file in zip(numbers, self.files, strict=True):
            try:
                image = load_image(file)
            except DataError as error:
                _LOG.warning("frame %d is left out: %s", index, error)
                continue
            read += 1
            stamp = (index - numbers[0]) / self.rate  # a hole in the numbers is one in time
            yield Frame(image, stamp, self.camera_of(*image.shape[:2]), index=index)
        if not read:
            raise ValueError(f"{self.path}: not one image here can be read")


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
        self.name = self.path.resolve().stem if self.path.is_file() else self.path.resolve().name
        self.rate: float | None = (topic.count - 1) / span if topic.count > 1 and span > 0 else None
        if self.info_topic is None and self.camera_of is None:
            _LOG.warning("%s: no camera_info for '%s'; no distances without it", self.path, topic.name)

    def __iter__(self) -> Iterator[Frame]:
        calibration, index = Calibration(), 0
        topics = [self.topic.name] + ([self.info_topic] if self.info_topic else [])
        with BagReader(self.path) as reader:
            for record, message in reader.messages(topics):
                if record.topic == self.info_topic:
                    calibration.update(message)
                    continue
                index += 1
                try:
                    image = decode_image(message, record.type)
                except ImageError as error:
                    _LOG.warning("%s: '%s' at %.3f s: %s", self.path, record.topic, record.time_ns / 1e9, error)
                    continue
                stamp = nanoseconds(message.header.stamp) / 1e9
                yield Frame(image, stamp, self._camera(calibration, image), index=index)

    def _camera(self, calibration: Calibration, image: NDArray[np.uint8]) -> Camera | None:
        height, width = image.shape[:2]
        if self.camera_of is not None:
            return self.camera_of(height, width)
        camera = calibration.camera((height, width), self.rectified)
        if calibration.is_known and calibration.problem:
            _LOG.warning("%s: %s", self.path, calibration.problem)
        return camera


def _folder_name(folder: Path) -> str:
    """What the recording in a folder is called: every sequence of MOTChallenge has its images in a folder img1."""
    return (folder.parent.name if folder.name == "img1" else "") or folder.name


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
    topics = reader.of_type(IMAGE_TYPE, COMPRESSED_TYPE)
    if not topics:
        raise ValueError(f"{reader.path}: no images in this bag; it has {reader.listing()}")
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
    cameras = {re.sub(r"/compressed$", "", topic.name) for topic in reader.of_type(IMAGE_TYPE, COMPRESSED_TYPE)}
    return infos[0] if len(infos) == 1 and len(cameras) == 1 else None


def image_topics(reader: BagReader) -> list[Topic]:
    """One topic for each camera of a bag: raw images where there are any, else compressed ones."""
    topics = {topic.name: topic for topic in reader.of_type(IMAGE_TYPE, COMPRESSED_TYPE)}
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
