# SPDX-License-Identifier: Apache-2.0
"""Losses and idleness of a camera, as /diagnostics reports them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from centertrack_ros.io.stamps import seconds
from support.ros_harness import (
    START_S,
    TORCH,
    CameraClock,
    Probe,
    Process,
    image_message,
    launch_node,
    start_node,
    stop_node,
    wait_until,
)

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
    assert len(node.logged("images of 768x576 px need a network input of 544x416 px")) == 1


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
    from lifecycle_msgs.msg import Transition

    node = launch_node(TORCH, "autostart:=false", "diagnostics.period_s:=1.0", name="paced")
    probe = Probe("paced", outputs=("/diagnostics",))

    def period() -> float:
        """The median step of the next reports by their own stamps, s."""
        start = len(probe.received["/diagnostics"])
        reports = wait_until(
            lambda: own if len(own := own_reports(start)) >= 6 else None, 30.0, "reports of the node's health"
        )
        return float(np.median(np.diff([seconds(report.header.stamp) for report in reports[1:]])))

    def own_reports(start: int) -> list[Any]:
        return [m for m in probe.received["/diagnostics"][start:] if m.status[0].name == "paced"]

    try:
        wait_until(lambda: probe.status("paced"), START_S, "diagnostics")
        assert period() > 0.8
        assert probe.set_parameters(**{"diagnostics.period_s": 0.1})[0].successful
        assert period() < 0.5
        for number in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            assert probe.change_state(number)
        assert period() < 0.5
        assert probe.set_parameters(**{"diagnostics.period_s": 1.0})[0].successful
        assert period() > 0.8
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


def test_metrics_tell_what_the_last_minute_of_tracks_looked_like(node, frames) -> None:
    """Recorded frames, and one of them again much later: its tracks are reset, so that all of them are born anew."""
    probe = Probe("monitored", outputs=("debug/metrics", "output/detections_2d"))
    probe.wait_for_node()
    try:
        clock = CameraClock(time.time() + 7200.0)
        for image in frames[:6]:
            stamp = clock.tick()
            probe.images.publish(image_message(image, stamp))
            probe.wait_for_message("output/detections_2d", stamp)

        def values() -> dict[str, str]:
            received = probe.received["debug/metrics"]
            return {pair.key: pair.value for pair in received[-1].status[0].values} if received else {}

        wait_until(lambda: values().get("frames") == "6", START_S, "metrics of six frames")
        found = values()
        assert float(found["objects"]) > 1 and int(found["births"]) >= 1
        assert float(found["births_per_minute"]) > int(found["births"])  # six frames are less than a minute
        assert float(found["seconds"]) < 60 and found["jumps"] == "0"
        assert probe.received["debug/metrics"][-1].status[0].name == "monitored: camera: tracks"
    finally:
        probe.close()
