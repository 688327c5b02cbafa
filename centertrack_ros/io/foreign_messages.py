# SPDX-License-Identifier: Apache-2.0
"""Detections of another detector in vision_msgs/Detection2DArray, of rclpy or of a bag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from centertrack_ros.types import ForeignDetections

DETECTIONS_TYPE = "vision_msgs/msg/Detection2DArray"
MOST = 20_000  # objects that are read of one message
_LONGEST_NAME = 200


def detections_2d(message: Any, names: Mapping[int, str]) -> tuple[ForeignDetections, str]:
    """The boxes of a message, each with its best hypothesis. Ids are ignored; turned boxes become those around them.

    Args:
        message: A Detection2DArray.
        names: Names of the classes where the message has their numbers.

    Returns:
        The detections, and a sentence on those that have none; '' without any.
    """
    rows: list[tuple[float, float, float, float, float]] = []
    scores: list[float] = []
    called: list[str] = []
    found = message.detections[:MOST]
    for one in found:
        if not one.results:
            continue
        best = best_hypothesis(one.results).hypothesis
        box = one.bbox
        position = box.center.position
        rows.append((position.x, position.y, box.size_x, box.size_y, box.center.theta))
        scores.append(best.score)
        called.append(_name(best.class_id, names))
    values = np.array(rows, np.float64).reshape(-1, 5)
    with np.errstate(invalid="ignore", over="ignore"):
        half = values[:, 2:4] / 2
        cos, sin = np.abs(np.cos(values[:, 4])), np.abs(np.sin(values[:, 4]))
        width, height = half[:, 0] * cos + half[:, 1] * sin, half[:, 0] * sin + half[:, 1] * cos
        is_as_told = (values[:, 4:] == 0) | (half < 0).any(axis=1, keepdims=True)  # a negative size is no area
        half = np.where(is_as_told, half, np.stack([width, height], axis=1))
        boxes = np.concatenate([values[:, :2] - half, values[:, :2] + half], axis=1).astype(np.float32)
        confidences = np.array(scores, np.float32)
    detections = ForeignDetections(boxes, confidences, np.array(called, np.str_).reshape(-1))
    problem = ""
    if bare := len(found) - len(rows):
        problem = f"{bare} of {len(found)} detections have no class and no score (results is empty): they are left out"
    if len(message.detections) > MOST:
        problem = f"{len(message.detections)} detections in one message: the first {MOST} of them are read"
    return detections, problem


def best_hypothesis(results: Sequence[Any]) -> Any:
    """The result (at least one is there) with the highest score; one without a number is none."""
    if len(results) == 1:
        return results[0]
    scores = [one.hypothesis.score for one in results]
    return results[int(np.argmax([score if score == score else -np.inf for score in scores]))]


def _name(class_id: Any, names: Mapping[int, str]) -> str:
    text = str(class_id)[:_LONGEST_NAME].replace("\0", "")
    if text.isascii() and text.isdecimal() and len(text) < 9:
        return names.get(int(text), text)
    return text
