# SPDX-License-Identifier: Apache-2.0
"""Messages of 3D detections: what is read of them, and in how much time."""

from __future__ import annotations

import time

import numpy as np
import pytest

from centertrack_ros.io.box_messages import BOXES_TYPE, MOST, boxes_in, read_boxes
from centertrack_ros.io.rosbag import message_types


def detection(name: str, score: float, x: float, results: int = 1):
    kinds = message_types().types
    header = kinds["std_msgs/msg/Header"](kinds["builtin_interfaces/msg/Time"](5, 7), "lidar")
    turn = kinds["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0)
    pose = kinds["geometry_msgs/msg/Pose"](kinds["geometry_msgs/msg/Point"](x, 2.0, 3.0), turn)
    covariance = np.arange(36.0)
    placed = kinds["geometry_msgs/msg/PoseWithCovariance"](pose, covariance)
    hypotheses = [
        kinds["vision_msgs/msg/ObjectHypothesisWithPose"](
            kinds["vision_msgs/msg/ObjectHypothesis"](f"{name}{n or ''}", score / (n + 1)), placed
        )
        for n in reversed(range(results))
    ]
    box = kinds["vision_msgs/msg/BoundingBox3D"](pose, kinds["geometry_msgs/msg/Vector3"](4.0, 1.8, 1.5))
    return kinds["vision_msgs/msg/Detection3D"](header, hypotheses, box, "9")


def array(*detections) -> bytes:
    kinds = message_types().types
    header = kinds["std_msgs/msg/Header"](kinds["builtin_interfaces/msg/Time"](5, 7), "lidar")
    message = kinds[BOXES_TYPE](header, list(detections))
    return bytes(message_types().serialize_cdr(message, BOXES_TYPE))


def test_the_best_hypothesis_counts_and_boxes_without_one_are_told():
    message = read_boxes(array(detection("car", 0.9, 1.0, results=3), detection("van", 0.5, 2.0, results=0)))
    found, problem = boxes_in(message)
    assert (message.header.frame_id, message.header.stamp.sec) == ("lidar", 5)
    assert found.class_names.tolist() == ["car"] and found.scores.tolist() == [0.9]
    assert found.boxes.centers.tolist() == [[1.0, 2.0, 3.0]] and found.boxes.sizes.tolist() == [[4.0, 1.8, 1.5]]
    np.testing.assert_array_equal(found.boxes.covariances[0], np.arange(36.0).reshape(6, 6))
    assert problem.startswith("1 of 2 boxes have no class and no score")
    assert len(boxes_in(read_boxes(array()))[0]) == 0


def test_a_message_of_too_many_boxes_is_refused_unread():
    data, start = array(*[detection("car", 0.5, 1.0)] * 10_000), time.perf_counter()
    with pytest.raises(ValueError, match=rf"10000 boxes .* at most {MOST} boxes"):
        read_boxes(data)
    assert time.perf_counter() - start < 0.05


def test_malformed_bytes_are_one_sentence():
    data, random = array(*[detection("car", 0.5, 1.0)] * 3), np.random.default_rng(1)
    said = []
    for _ in range(300):
        malformed = bytearray(data[: random.integers(0, len(data))])
        for place in random.integers(0, max(len(malformed), 1), 3).tolist() if malformed else ():
            malformed[place] = int(random.integers(0, 256))
        try:
            boxes_in(read_boxes(bytes(malformed)))
        except ValueError as error:
            said.append(str(error))
    assert len(said) > 200 and all("message" in text and "\n" not in text for text in said)
