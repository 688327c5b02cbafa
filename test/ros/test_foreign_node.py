# SPDX-License-Identifier: Apache-2.0
"""The node with another detector: late, slow, silent and broken detections, without a network and with one."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")

from support.detection_messages import Box, detections_message
from support.ros_harness import (
    RELIABLE,
    TORCH,
    CameraClock,
    Probe,
    Process,
    ids_of,
    image_message,
    start_node,
    stop_node,
    wait_until,
)

OUTPUTS = ("output/detections_2d", "/diagnostics")
IMAGE = np.full((240, 320, 3), 90, np.uint8)


class Detector:
    """A detector in the process of the test."""

    def __init__(self, probe: Probe) -> None:
        from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
        from vision_msgs.msg import Detection2DArray, LabelInfo

        self.probe = probe
        reliable = QoSProfile(depth=30, reliability=ReliabilityPolicy.RELIABLE)
        latched = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        self.publisher = probe.node.create_publisher(Detection2DArray, f"{probe.prefix}/input/detections", reliable)
        self.labels = probe.node.create_publisher(LabelInfo, f"{probe.prefix}/input/label_info", latched)
        probe.wait_for_node()
        for publisher in (self.publisher, self.labels):
            wait_until(publisher.get_subscription_count, 20.0, f"the node to subscribe to {publisher.topic_name}")

    def found(self, stamp: tuple[int, int], boxes: Sequence[Box], name: str = "car", score: float = 0.9) -> None:
        self.publisher.publish(detections_message(stamp, boxes, name, score))

    def track(self, stamp: tuple[int, int], boxes: Sequence[Box], name: str = "car", score: float = 0.9) -> Any:
        """The result for an image whose detections come 30 ms later, or just before it where they take long to send."""
        message = detections_message(stamp, boxes, name, score)
        if len(boxes) > 1000:
            self.publisher.publish(message)
        self.probe.images.publish(image_message(IMAGE, stamp))
        if len(boxes) <= 1000:
            time.sleep(0.03)
            self.publisher.publish(message)
        return self.probe.wait_for_message("output/detections_2d", stamp)


def boxes_of(message: Any) -> list[Box]:
    return sorted(
        (
            round(one.bbox.center.position.x - one.bbox.size_x / 2, 3),
            round(one.bbox.center.position.y - one.bbox.size_y / 2, 3),
            round(one.bbox.center.position.x + one.bbox.size_x / 2, 3),
            round(one.bbox.center.position.y + one.bbox.size_y / 2, 3),
        )
        for one in message.detections
    )


@pytest.fixture(scope="module")
def node(ros) -> Iterator[Process]:
    parameters = ("model.weights:=none", "detector.source:=external", "detector.timeout_s:=0.4")
    process = start_node(*parameters, RELIABLE, "diagnostics.period_s:=0.2", "diagnostics.waiting_s:=0.5", name="apart")
    yield process
    stop_node(process)


@pytest.fixture(scope="module")
def detector(node) -> Iterator[Detector]:
    probe = Probe("apart", outputs=OUTPUTS)
    yield Detector(probe)
    probe.close()


@pytest.fixture(scope="module")
def clock() -> CameraClock:
    return CameraClock(rate=10.0)


def moving(step: int) -> list[Box]:
    return [(20.0 + 6 * step, 40, 60.0 + 6 * step, 120), (240.0 - 6 * step, 50, 290.0 - 6 * step, 130)]


def test_late_detections_are_tracked_with_their_own_boxes(detector, clock) -> None:
    results = [detector.track(clock.tick(), moving(step)) for step in range(8)]
    assert [boxes_of(result) for result in results] == [sorted(moving(step)) for step in range(8)]
    assert len({frozenset(ids_of(result)) for result in results}) == 1
    assert {one.results[0].hypothesis.class_id for one in results[-1].detections} == {"car"}


def test_an_image_without_detections_goes_on_without_and_is_counted(node, detector, clock) -> None:
    before = ids_of(detector.track(clock.tick(), moving(8)))
    start, stamp, count = len(node.lines), clock.tick(), missing(detector)
    detector.probe.images.publish(image_message(IMAGE, stamp))
    assert not detector.probe.wait_for_message("output/detections_2d", stamp, timeout=2.0).detections
    node.wait_for_line("the nearest are stamped 0.100 s from it, allowed are 0.01 s (detector.tolerance_s)", start)
    wait_until(lambda: missing(detector) == count + 1, 5.0, "the count of images without detections")
    assert ids_of(detector.track(clock.tick(), moving(10))) == before


def missing(detector: Detector) -> int:
    return int(detector.probe.next_status("apart: camera")[1]["images without detections"])


def test_a_detector_that_sees_every_third_image_sets_the_pace(detector, clock) -> None:
    count, stamps = missing(detector), [clock.tick() for _ in range(12)]
    seen = stamps[::3]
    for number, stamp in enumerate(stamps):
        detector.probe.images.publish(image_message(IMAGE, stamp))
        time.sleep(0.03)
        if number >= 2 and stamps[number - 2] in seen:  # two images later
            detector.found(stamps[number - 2], moving(number - 2))
    for stamp in seen:
        assert len(detector.probe.wait_for_message("output/detections_2d", stamp).detections) == 2
    assert missing(detector) <= count + 1  # the last two images, of which the newer one goes on
    detector.probe.settled_counts("apart: camera")


BAD: dict[str, tuple[list[Box], float, str]] = {
    "outside": ([(400, 10, 440, 60)], 0.9, "1 of 1 detections of the other detector are left out: 1 outside the image"),
    "nan": ([(math.nan, 10, 40, 60)], 0.9, "1 not finite"),
    "score": ([(20, 40, 60, 120)], 87.0, "1 scores of the other detector are not in 0..1"),
    "many": (
        [(20.0, 40.0, 60.0 + n % 97, 120.0 + n % 89) for n in range(10_000)],
        0.5,
        "9900 weaker than the 100 best",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_detections_cost_one_sentence(name, node, detector, clock) -> None:
    boxes, score, words = BAD[name]
    start = len(node.lines)
    time.sleep(0.6)  # the last line about the same may be that old
    begin = time.monotonic()
    detector.track(clock.tick(), boxes, score=score)
    assert words in node.wait_for_line("other detector", start)
    assert time.monotonic() - begin < 10.0  # of which the test itself needs a part for ten thousand
    good = [detector.track(clock.tick(), moving(step)) for step in range(3)]
    assert boxes_of(good[-1])[-2:] == sorted(moving(2))


def test_detections_without_hypotheses_are_left_out(node, detector, clock) -> None:
    start, stamp = len(node.lines), clock.tick()
    message = detections_message(stamp, moving(0), "car", 0.9)
    message.detections[0].results = []
    detector.publisher.publish(message)  # before its image
    detector.probe.images.publish(image_message(IMAGE, stamp))
    assert len(detector.probe.wait_for_message("output/detections_2d", stamp).detections) == 1
    node.wait_for_line("1 of 2 detections have no class and no score", start)


def test_numbers_get_their_names_from_a_label_info(node, detector, clock) -> None:
    from vision_msgs.msg import LabelInfo, VisionClass

    start = len(node.lines)
    time.sleep(0.6)
    unknown = detector.track(clock.tick(), [(100, 150, 140, 220)], "7")
    assert {one.results[0].hypothesis.class_id for one in unknown.detections} == {"unknown"}
    node.wait_for_line("'7' of the other detector are no classes here and are tracked as 'unknown': numbers get", start)
    labels = [VisionClass(class_id=7, class_name="Pedestrian")]
    detector.labels.publish(LabelInfo(class_map=labels))
    time.sleep(0.3)
    for _ in range(3):
        known = detector.track(clock.tick(), [(200, 150, 230, 220)], "7")
    assert "person" in {one.results[0].hypothesis.class_id for one in known.detections}


def test_the_network_finds_what_the_other_detector_misses(ros, frames) -> None:
    node = start_node(TORCH, RELIABLE, "detector.source:=both", "detector.class_names:=[forklift]", name="together")
    probe = Probe("together", outputs=("output/detections_2d",))
    detector, clock = Detector(probe), CameraClock()
    box = (10.0, 10.0, 110.0, 90.0)
    for frame in frames[:4]:
        stamp = clock.tick()
        detector.found(stamp, [box], "0")
        probe.images.publish(image_message(frame, stamp))
        result = probe.wait_for_message("output/detections_2d", stamp)
    names = [one.results[0].hypothesis.class_id for one in result.detections]
    assert box in boxes_of(result) and names.count("forklift") == 1 and names.count("person") >= 2
    probe.close()
    stop_node(node)


def test_nothing_to_find_objects_is_one_sentence(ros) -> None:
    from support.ros_harness import launch_node

    node = launch_node("model.weights:=none", name="blind")
    line = node.wait_for_line("cannot load the model", timeout=60.0)
    assert "without a network (weights 'none') another detector must find the objects" in line
    node.end()
