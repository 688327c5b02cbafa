# SPDX-License-Identifier: Apache-2.0
"""Fuzzed 3D detections cost a sentence, bounded time, and nothing of the images and of the next good message.

Part of `make fuzz`; CENTERTRACK_FUZZ_SEED=… selects other messages.
"""

from __future__ import annotations

import math
import time
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")

from rclpy.serialization import serialize_message

from support.fuzzing import Mutator
from support.ros_harness import Probe, image_message, start_node, stop_node, wait_until
from test.ros.test_fuzzing import SEED, numbers

IMAGE = np.full((144, 192, 3), 90, np.uint8)


def test_fuzzed_boxes_are_tracked_or_left_out_in_bounded_time() -> None:
    from centertrack_ros.engine.no_network import NoNetworkEngine
    from centertrack_ros.geometry.transform import Transform
    from centertrack_ros.io.box_messages import boxes_in, read_boxes
    from centertrack_ros.tracking.class_names import COMMON_CLASSES
    from centertrack_ros.tracking.config import TrackerConfig
    from centertrack_ros.tracking.results import BoxFrame, CameraPoses, OutputFrames
    from centertrack_ros.tracking.session import SessionConfig, TrackingSession
    from centertrack_ros.types import FrameHeader

    config = SessionConfig(tracker=TrackerConfig(detector_source="external"), frames=OutputFrames("a", "b"), boxes=True)
    session, mutator, outcomes = (
        TrackingSession(NoNetworkEngine(COMMON_CLASSES), config),
        Mutator(SEED, IMAGE),
        Counter(),
    )
    here = CameraPoses(Transform.identity(), Transform.identity())
    for number in range(120):
        message = mutator.boxes()
        data = message if isinstance(message, bytes) else bytes(serialize_message(message))
        begin = time.perf_counter()
        try:
            found, problem = boxes_in(read_boxes(data))
        except ValueError:  # test/io/test_box_messages.py looks at the sentence
            outcomes["refused"] += 1
            continue
        frame = BoxFrame(FrameHeader(round((5 + number / 10) * 1e9), "base_link"), found, here)
        result = session.step({}, boxes=[frame])
        outcomes["slow"] += time.perf_counter() - begin > 2.0
        outcomes["told"] += bool(problem or result.box_notes)
        assert result.merged is not None, result.box_notes
        outcomes["tracked"] += bool(len(result.merged.boxes))
        for values in (result.merged.boxes.centers, result.merged.boxes.covariances, result.merged.boxes.sizes):
            assert np.isfinite(values).all()
    assert not outcomes["slow"] and min(outcomes[kind] for kind in ("refused", "told", "tracked")) > 10, outcomes


def test_the_node_survives_fuzzed_boxes(ros) -> None:
    pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is not installed (make builds it from compat/tf2_msgs)")
    from vision_msgs.msg import Detection3DArray

    from support.detection_messages import boxes_message
    from support.ros_harness import CAMERA_MOUNT, CameraClock, TransformPublisher

    parameters = ("model.weights:=none", "detector.source:=external", "detector.timeout_s:=0.0")
    more = ("surround.detections_3d:=true", "output.target_frame:=base_link", "camera.reliability:=reliable")
    node = start_node(*parameters, *more, name="scanned")
    probe = Probe("scanned", outputs=["output/detections_3d", "output/detections_2d"])
    publisher = probe.node.create_publisher(Detection3DArray, "/scanned/input/detections_3d", 10)
    wait_until(publisher.get_subscription_count, 20.0, "the node to subscribe to 3D detections")
    probe.wait_for_node()
    tf = TransformPublisher(probe)
    tf.wait_for_node()
    tf.publish("base_link", "camera_optical", CAMERA_MOUNT)
    mutator, clock = Mutator(SEED, IMAGE), CameraClock(rate=20.0)
    places = [(40.0 + 9 * n, 60.0, 0.75) for n in range(3)]
    for number in range(1, 61):
        publisher.publish(mutator.boxes(clock.tick() if number % 3 else None))
        if number % 10:
            continue
        probe.images.publish(image_message(IMAGE, clock.tick()))
        for _ in range(3):
            stamp = clock.tick()
            publisher.publish(boxes_message(stamp, places, frame="base_link"))
        result = probe.wait_for_message("output/detections_3d", stamp)
        found = [one.bbox.center.position for one in result.detections]
        assert all(any(math.dist((c.x, c.y, c.z), place) < 0.01 for c in found) for place in places)
        assert all(math.isfinite(value) for value in numbers(result))
    assert node.alive and not node.logged("Traceback") and not node.logged("a frame failed"), node.lines[-20:]
    probe.close()
    stop_node(node)
