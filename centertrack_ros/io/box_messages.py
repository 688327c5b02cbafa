# SPDX-License-Identifier: Apache-2.0
"""3D boxes of another detector in vision_msgs/Detection3DArray, of rclpy or of a bag, in bounded time."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from centertrack_ros.geometry.boxes3d import OrientedBoxes
from centertrack_ros.io.errors import sentence
from centertrack_ros.io.foreign_messages import best_hypothesis
from centertrack_ros.io.rosbag import message_types
from centertrack_ros.types import ForeignBoxes

BOXES_TYPE = "vision_msgs/msg/Detection3DArray"
MOST = 2000  # boxes of a message: reading takes 0.06 ms for each, and images wait meanwhile
MOST_BYTES = 4_000_000
_LONGEST_NAME = 200


def read_boxes(data: bytes) -> Any:
    """The message in serialised data (CDR), with the fields of a Detection3DArray.

    rclpy reads such a message five times as slowly, and however large it is.

    Raises:
        ValueError: It is too large, or no such message.
    """
    try:
        count = _count(data)
        found = message_types().deserialize_cdr(data, BOXES_TYPE) if count <= MOST and len(data) <= MOST_BYTES else None
    except Exception as error:  # whatever the library stumbles over
        raise ValueError(f"a message cannot be read as a {BOXES_TYPE}: {sentence(error)}") from None
    if found is None:
        raise ValueError(
            f"a message of {count} boxes and {len(data) / 1e6:.1f} MB is not read, expected are at most {MOST} boxes "
            f"and {MOST_BYTES / 1e6:.0f} MB"
        )
    return found


def _count(data: bytes) -> int:
    """The number of boxes, which stands behind the header: 4 bytes of CDR, the stamp, the frame."""
    order = "<" if data[1] & 1 else ">"
    (length,) = struct.unpack_from(f"{order}I", data, 12)
    end = 16 + length
    (count,) = struct.unpack_from(f"{order}I", data, end + (-end) % 4)
    return int(count)


def boxes_in(message: Any) -> tuple[ForeignBoxes, str]:
    """The boxes of a message, each with its best hypothesis, whose pose's covariance is the box's. Ids are ignored.

    Args:
        message: A Detection3DArray.

    Returns:
        The boxes, and a sentence on those that have none; '' without any.
    """
    places: list[tuple[float, ...]] = []
    covariances: list[Any] = []
    scores: list[float] = []
    names: list[str] = []
    found = message.detections[:MOST]
    for one in found:
        if not len(one.results):
            continue
        best = best_hypothesis(one.results)
        center, size = one.bbox.center, one.bbox.size
        position, turn = center.position, center.orientation
        places.append((position.x, position.y, position.z, turn.x, turn.y, turn.z, turn.w, size.x, size.y, size.z))
        covariances.append(best.pose.covariance)
        scores.append(best.hypothesis.score)
        names.append(str(best.hypothesis.class_id)[:_LONGEST_NAME].replace("\0", "").strip() or "unknown")
    values, count = np.array(places, np.float64).reshape(-1, 10), len(places)
    boxes = OrientedBoxes(
        centers=values[:, :3],
        quaternions=values[:, 3:7],
        sizes=values[:, 7:],
        covariances=np.array(covariances, np.float64).reshape(-1, 6, 6),
        velocities=np.full((count, 3), np.nan),
        velocity_covariances=np.full((count, 3, 3), np.nan),
    )
    problem = ""
    if bare := len(found) - count:
        problem = f"{bare} of {len(found)} boxes have no class and no score (results is empty): they are left out"
    if len(message.detections) > MOST:
        problem = f"{len(message.detections)} boxes in one message: the first {MOST} of them are read"
    return ForeignBoxes(boxes, np.array(scores, np.float64), np.array(names, np.str_).reshape(-1)), problem
