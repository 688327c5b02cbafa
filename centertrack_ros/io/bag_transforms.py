# SPDX-License-Identifier: Apache-2.0
"""The transforms of a bag: its tf in one buffer, and the pose of a frame in the world."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.io.rosbag import BagReader
from centertrack_ros.io.transform_buffer import LookupFailure, TransformBuffer

FIXED_FRAMES = ("map", "world", "odom", "earth")  # names of world frames, REP 105
TF_TYPE = "tf2_msgs/msg/TFMessage"

_LOG = logging.getLogger(__name__)


def read_transforms(path: Path | str, tolerance_ns: int = 0) -> TransformBuffer:
    """Reads `/tf` and `/tf_static` of a bag, or whatever topics carry transforms, into one buffer that keeps them all.

    Transforms on a topic whose name ends in `tf_static` hold at any time. A transform that is invalid is left out, with
    one warning for the bag.

    Args:
        path: The bag.
        tolerance_ns: As in `TransformBuffer`.

    Raises:
        DataError: The bag is broken.
    """
    buffer = TransformBuffer(cache_ns=None, tolerance_ns=tolerance_ns)
    problems: list[str] = []
    with BagReader(path) as reader:
        topics = [topic.name for topic in reader.of_type(TF_TYPE)]
        for record, message in reader.messages(topics):
            problems += buffer.insert_message(message, static=record.topic.endswith("tf_static"))
    if problems:
        _LOG.warning("%s: %s (%d transforms in all)", path, problems[0], len(problems))
    return buffer


def pose_in_world(buffer: TransformBuffer, frame: str, stamp: int) -> NDArray[np.float64] | None:
    """The pose of a frame in the outermost of FIXED_FRAMES above it.

    Returns:
        (4, 4) world from `frame` at `stamp`, ns; None when no transforms lead to one of FIXED_FRAMES at that time.
    """
    for world in reversed([name for name in buffer.ancestors(frame) if name in FIXED_FRAMES]):
        try:
            pose = buffer.lookup(world, frame, stamp)
        except LookupFailure:
            continue
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = pose.rotation, pose.translation
        return matrix
    return None
