# SPDX-License-Identifier: Apache-2.0
"""The boxes of another detector in 3D, as of a LiDAR, in a bag."""

from __future__ import annotations

from collections.abc import Callable

from centertrack_ros.io.box_messages import BOXES_TYPE, boxes_in, read_boxes
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.rosbag import BagReader, Record
from centertrack_ros.io.stamps import nanoseconds, stamp_or_arrival
from centertrack_ros.tracking.results import BoxFrame, CameraPoses
from centertrack_ros.types import FrameHeader


def topic_of_boxes(reader: BagReader, name: str, node: str, note: Callable[[str], None]) -> str:
    """The topic of the boxes.

    Args:
        reader: The bag.
        name: As a user names it; '': the only one that is no output of the node.
        node: The node's full name.
        note: Takes a sentence on which one it is.

    Raises:
        DataError: There is no such topic, or several.
    """
    if name:
        topic = reader.require(name)
        if topic.type != BOXES_TYPE:
            raise DataError(reader.path, f"'{name}' is a {topic.type}, expected a {BOXES_TYPE}")
        return topic.name
    found = [topic.name for topic in reader.of_type(BOXES_TYPE) if not topic.name.startswith(f"{node}/output/")]
    if len(found) != 1:
        raise DataError(
            reader.path,
            f"surround.detections_3d needs one topic of {BOXES_TYPE}, the bag has {', '.join(found) or 'none'}: "
            "name it with --detections-3d",
        )
    note(f"3D detections of another detector: {found[0]}")
    return found[0]


def box_frame(record: Record, poses: Callable[[FrameHeader], CameraPoses], note: Callable[[str], None]) -> BoxFrame:
    """What is in a message.

    Args:
        record: Of the bag.
        poses: Looks up where a frame was.
        note: Takes a sentence on boxes that are left out.

    Raises:
        ValueError: It cannot be read.
    """
    message = read_boxes(record.data)
    found, problem = boxes_in(message)
    if problem:
        note(f"{record.topic}: {problem}")
    stamp = stamp_or_arrival(nanoseconds(message.header.stamp), record.time_ns)
    header = FrameHeader(stamp, message.header.frame_id)
    return BoxFrame(header, found, lambda: poses(header))
