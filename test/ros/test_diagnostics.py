# SPDX-License-Identifier: Apache-2.0
"""Losses and idleness of a camera, as /diagnostics reports them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from support.ros_harness import TORCH, CameraClock, Probe, Process, image_message, start_node, stop_node, wait_until

pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")


@pytest.fixture(scope="module")
def node(ros) -> Iterator[Process]:
    process = start_node(
        TORCH,
        "diagnostics.period_s:=0.2",
        "diagnostics.waiting_s:=0.3",
        "diagnostics.max_latency_ms:=1000000.0",
        name="monitored",
    )
    yield process
    stop_node(process)


@pytest.fixture
def probe(node) -> Iterator[Probe]:
    """Without a subscription to any result."""
    probe = Probe("monitored", outputs=("/diagnostics",))
    probe.wait_for_node()
    yield probe
    probe.close()


def test_lost_images_are_a_warning_with_the_remedy(node, probe, frames) -> None:
    """Two thirds of 50 large images a second never arrive, as with best-effort delivery."""
    from diagnostic_msgs.msg import DiagnosticStatus

    clock, random = CameraClock(rate=50.0), np.random.default_rng(3)

    def reported() -> bool:
        for _ in range(5):
            stamp = clock.tick()
            if random.random() < 0.34:
                probe.images.publish(image_message(frames[0], stamp))
            time.sleep(0.02)
        status, values = probe.status("monitored: camera") or (None, {})
        lost = int(values.get("images lost on their way (%)", 0))
        return status is not None and status.level == DiagnosticStatus.WARN and lost > 40

    wait_until(reported, 30.0, "a warning about lost images")
    status, _ = probe.status("monitored: camera")
    assert "get lost on their way" in status.message and "fastdds.xml" in status.message
    # The embedded model's input follows the shape of the images.
    assert len(node.logged("images of 768x576 px need a network input of 512x384 px")) == 1


def test_lazy_it_processes_nothing_without_a_subscriber(node, probe, frames) -> None:
    from diagnostic_msgs.msg import DiagnosticStatus

    assert probe.set_parameters(**{"output.lazy": True})[0].successful
    clock, before = CameraClock(), probe.settled_counts("monitored: camera")

    def gained(kind: str) -> int:
        """After one more image."""
        probe.images.publish(image_message(frames[0], clock.tick()))
        time.sleep(0.2)
        _, values = probe.status("monitored: camera")
        return int(values[kind]) - before[kind]

    wait_until(lambda: gained("received") > 5, 20.0, "images to arrive")
    status, _ = probe.next_status("monitored: camera")
    assert status.level == DiagnosticStatus.OK and "at rest" in status.message  # whatever it lacks: calibration, rate
    start = len(node.lines)
    time.sleep(1.0)
    assert not node.logged("camera_info", start)
    after = probe.settled_counts("monitored: camera")
    assert after["processed"] == before["processed"] and after["rejected"] == before["rejected"]
    before = after
    probe.subscribe("output/detections_2d")
    wait_until(lambda: gained("processed") > 2, 20.0, "images to be processed")
    assert len(probe.received["output/detections_2d"][-1].detections) >= 3
    status, values = probe.next_status("monitored: camera")
    assert status.level == DiagnosticStatus.WARN and values["camera_info"].startswith("waiting for camera_info on")


def test_the_period_holds_from_the_moment_it_is_set(ros) -> None:
    """Before the node is configured, and while it works."""
    node = start_node(TORCH, "autostart:=false", "diagnostics.period_s:=0.5", name="paced", ready="")
    probe = Probe("paced", outputs=("/diagnostics",))

    def in_a_second() -> int:
        start = len(probe.received["/diagnostics"])
        time.sleep(1.0)
        return sum(m.status[0].name == "paced" for m in probe.received["/diagnostics"][start:])

    try:
        wait_until(lambda: probe.status("paced"), 20.0, "diagnostics")
        assert in_a_second() <= 3
        assert probe.set_parameters(**{"diagnostics.period_s": 0.05})[0].successful
        assert in_a_second() >= 8
        from lifecycle_msgs.msg import Transition

        for number in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            assert probe.change_state(number)
        assert in_a_second() >= 8
        assert probe.set_parameters(**{"diagnostics.period_s": 0.5})[0].successful
        assert in_a_second() <= 3
    finally:
        probe.close()
        stop_node(node)


def test_two_robots_have_names_and_hardware_ids_of_their_own(ros) -> None:
    from centertrack_ros.ros.diagnostics import OK, Diagnostics, Health
    from centertrack_ros.ros.node import CenterTrackNode

    nodes = [CenterTrackNode(namespace=robot) for robot in ("robot1", "robot2")]
    probe = Probe("robot1/centertrack", outputs=("/diagnostics",))
    try:
        publishers = [Diagnostics(node, lambda n=node: n.parameters.diagnostics) for node in nodes]

        def seen() -> list[Any]:
            for publisher in publishers:
                publisher.publish(Health(OK, "well", {}), ())
            statuses = [status for message in probe.received["/diagnostics"] for status in message.status]
            return [status for status in statuses if status.message == "well"]

        names = {"robot1/centertrack", "robot2/centertrack"}
        wait_until(lambda: {s.name for s in seen()} == {s.hardware_id for s in seen()} == names, 20.0, "both names")
    finally:
        probe.close()
        for node in nodes:
            node.destroy_node()
