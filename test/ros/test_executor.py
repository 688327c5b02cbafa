# SPDX-License-Identifier: Apache-2.0
"""The node on rclpy's EventsExecutor: images, services, parameters, timers and the end are as with the usual one."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")

from support.ros_harness import (
    RELIABLE,
    TORCH,
    CameraClock,
    Probe,
    demo_frames,
    owned_shared_memory,
    start_node,
    stop_node,
    wait_until,
)


def test_it_serves_everything_that_a_node_serves(ros: None) -> None:
    from std_srvs.srv import Trigger

    node = start_node(RELIABLE, TORCH, "executor:=events", "diagnostics.period_s:=0.2", name="eventful")
    probe, clock = Probe("eventful", outputs=["output/detections_2d", "/diagnostics"]), CameraClock()
    try:
        wait_until(probe.images.get_subscription_count, 20.0, "the node to subscribe to images")
        for _ in range(2):
            probe.show(next(iter(demo_frames(1, (320, 240)))), stamp := clock.tick())
            assert probe.wait_for_message("output/detections_2d", stamp).detections
        assert probe.call("reset_tracks", Trigger).success
        assert probe.set_parameters(**{"tracker.max_age": 7})[0].successful
        assert not probe.set_parameters(executor="single_threaded")[0].successful  # only at start
        assert probe.next_status("eventful") and probe.next_status("eventful")  # a timer's
    finally:
        probe.close()
    held = owned_shared_memory(node.pid)
    stop_node(node)
    assert not [path for path in held if path.exists()]


def test_an_unknown_one_is_refused_with_the_known_ones(ros: None) -> None:
    from support.ros_harness import launch_node

    node = launch_node("executor:=fast", name="refused")
    assert "single_threaded, events" in node.wait_for_line("executor must be one of")
    wait_until(lambda: not node.alive, 20.0, "the end of the process by itself")
    assert node.end()[0] == 1
