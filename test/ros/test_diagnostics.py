# SPDX-License-Identifier: Apache-2.0
"""Losses and idleness of a camera, as /diagnostics reports them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from support.ros_harness import TORCH, CameraClock, Probe, Process, image_message, start_node, stop_node, wait_until

pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")


@pytest.fixture(scope="module")
def node(ros) -> Iterator[Process]:
    process = start_node(TORCH, "diagnostics.period_s:=0.2", "diagnostics.max_latency_ms:=1000000.0", name="monitored")
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


def test_lazy_it_processes_nothing_without_a_subscriber(probe, frames) -> None:
    assert probe.set_parameters(**{"output.lazy": True})[0].successful
    clock, before = CameraClock(), probe.settled_counts("monitored: camera")

    def gained(kind: str) -> int:
        """After one more image."""
        probe.images.publish(image_message(frames[0], clock.tick()))
        time.sleep(0.2)
        _, values = probe.status("monitored: camera")
        return int(values[kind]) - before[kind]

    wait_until(lambda: gained("received") > 5, 20.0, "images to arrive")
    after = probe.settled_counts("monitored: camera")
    assert after["processed"] == before["processed"] and after["rejected"] == before["rejected"]
    before = after
    probe.subscribe("output/detections_2d")
    wait_until(lambda: gained("processed") > 2, 20.0, "images to be processed")
    assert len(probe.received["output/detections_2d"][-1].detections) >= 3
