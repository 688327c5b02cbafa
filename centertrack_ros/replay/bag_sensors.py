# SPDX-License-Identifier: Apache-2.0
"""The depth images and points of a bag, beside the images of a camera: as the node takes them, and none too late."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from centertrack_ros.io.errors import DataError
from centertrack_ros.io.rosbag import BagReader, Record
from centertrack_ros.io.sensor_messages import SensorConfig, SensorLookup, SensorMessages
from centertrack_ros.io.sources import CAMERA_INFO_TYPE, COMPRESSED_TYPE, IMAGE_TYPE
from centertrack_ros.io.stamps import record_stamp
from centertrack_ros.types import Frame

POINTS_TYPE = "sensor_msgs/msg/PointCloud2"


class BagSensors:
    """The sensors of one camera of a bag."""

    def __init__(self, reader: BagReader, topics: dict[str, str], warn: Callable[[str], None]) -> None:
        """Starts before the first message.

        Args:
            reader: The bag.
            topics: 'depth', 'points' and 'info', as far as there are such -> name of the topic.
            warn: Takes sentences about messages that cannot be used.
        """
        self._reader, self._topics, self._warn = reader, topics, warn
        self._last_ns = -1
        self._restart()

    @property
    def names(self) -> list[str]:
        """The topics of depth images and points."""
        return [name for kind, name in self._topics.items() if kind != "info"]

    def _restart(self) -> None:
        self._messages = SensorMessages(self._topics.get("depth", ""), self._topics.get("points", ""), self._warn)
        self._records: Iterator[Record] = iter(self._reader.records(self._topics.values()))
        self._next = next(self._records, None)

    def attach(self, frame: Frame, config: SensorConfig, lookup: SensorLookup) -> Frame:
        """The frame with what sensors measured at its time; see `SensorMessages.attach`."""
        assert frame.header is not None
        if frame.header.stamp_ns < self._last_ns:  # the bag is played once more
            self._restart()
        self._last_ns = frame.header.stamp_ns
        latest = frame.header.stamp_ns + round(config.tolerance_s * 1e9)
        while self._next is not None and record_stamp(self._next.data, self._next.time_ns) <= latest:
            self._take(self._next)
            self._next = next(self._records, None)
        waiting = replace(config, timeout_s=0.0)  # what comes at all is there
        return self._messages.attach(frame, waiting, lookup, "depth" in self._topics, "points" in self._topics)

    def _take(self, record: Record) -> None:
        try:
            message = self._reader.decode(record)
        except DataError as error:
            self._warn(str(error))
            return
        if record.topic == self._topics.get("info"):
            self._messages.depth_calibration.update(message)
        else:
            topic = self._messages.depth if record.topic == self._topics.get("depth") else self._messages.points
            topic.add(message, record.time_ns)


def sensors_beside(
    reader: BagReader, image_topic: str, warn: Callable[[str], None], depth: str = "", points: str = ""
) -> BagSensors | None:
    """The sensors of the camera of an image topic; None if it has none.

    Args:
        reader: The bag.
        image_topic: Such as /camera/image, beside which are /camera/depth and /camera/points, as with the node.
        warn: Takes sentences about messages that cannot be used.
        depth: Another topic of depth images.
        points: Another topic of points.

    Raises:
        DataError: The bag has no such topic, or it is of another type.
    """
    folder = re.sub(r"/(compressed|image_transport|raw)$", "", image_topic).rsplit("/", 1)[0]
    depth_types = (IMAGE_TYPE, COMPRESSED_TYPE)
    beside = _first(reader, (f"{folder}/depth", f"{folder}/depth/compressedDepth"), depth_types)
    topics = {
        "depth": _named(reader, depth, depth_types) if depth else beside,
        "points": _named(reader, points, (POINTS_TYPE,))
        if points
        else _first(reader, (f"{folder}/points",), (POINTS_TYPE,)),
    }
    if base := topics["depth"]:
        base = base.removesuffix("/compressedDepth")
        infos = (f"{base}/camera_info", f"{base.rsplit('/', 1)[0]}/camera_info") if depth else (f"{base}/camera_info",)
        topics["info"] = _first(reader, infos, (CAMERA_INFO_TYPE,))
    known = {kind: name for kind, name in topics.items() if name}
    return BagSensors(reader, known, warn) if set(known) - {"info"} else None


def _first(reader: BagReader, names: tuple[str, ...], types: tuple[str, ...]) -> str:
    return next((name for name in names if name in reader.topics and reader.topics[name].type in types), "")


def _named(reader: BagReader, name: str, types: tuple[str, ...]) -> str:
    topic = reader.require(name)
    if topic.type not in types:
        raise DataError(reader.path, f"'{name}' is a {topic.type}, expected a {' or '.join(types)}")
    return name
