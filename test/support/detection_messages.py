# SPDX-License-Identifier: Apache-2.0
"""Messages of other detectors, in 2D and in 3D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from support.ros_harness import header

Box = tuple[float, float, float, float]
Place = tuple[float, float, float]


def detections_message(stamp: tuple[int, int], boxes: Sequence[Box], name: str, score: float) -> Any:
    from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

    message = Detection2DArray(header=header(stamp))
    for number, (x1, y1, x2, y2) in enumerate(boxes):
        one = Detection2D(header=header(stamp), id=str(99 - number))
        one.bbox.center.position.x, one.bbox.center.position.y = (x1 + x2) / 2, (y1 + y2) / 2
        one.bbox.size_x, one.bbox.size_y = float(x2 - x1), float(y2 - y1)
        hypothesis = ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id, hypothesis.hypothesis.score = name, score
        one.results = [hypothesis]
        message.detections.append(one)
    return message


def boxes_message(
    stamp: tuple[int, int], places: Sequence[Place], name: str = "CAR", score: float = 0.8, frame: str = "lidar"
) -> Any:
    """Cars at places in their frame, which look along its x axis."""
    from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose

    message = Detection3DArray(header=header(stamp, frame))
    for x, y, z in places:
        one = Detection3D(header=message.header, results=[ObjectHypothesisWithPose()])
        one.results[0].hypothesis.class_id, one.results[0].hypothesis.score = name, score
        position, size = one.bbox.center.position, one.bbox.size
        position.x, position.y, position.z = x, y, z
        size.x, size.y, size.z = 4.2, 1.8, 1.5
        message.detections.append(one)
    return message
