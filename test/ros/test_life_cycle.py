# SPDX-License-Identifier: Apache-2.0
"""The life of a node's process: transitions, signals, and resources that it frees."""

from __future__ import annotations

import gc
import signal
import sys
import time
import weakref
from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")

from support.ros_harness import (
    RELIABLE,
    ROOT,
    START_S,
    TORCH,
    CameraClock,
    Probe,
    Process,
    image_message,
    launch_node,
    owned_shared_memory,
    stop_node,
    wait_until,
)

SIGNALS = {"sigint": signal.SIGINT, "sigterm": signal.SIGTERM}


@pytest.fixture(scope="module")
def nodes(ros) -> Iterator[dict[str, Process]]:
    """Two nodes, each called as the signal that will end it, which start at the same time."""
    processes = {name: launch_node(RELIABLE, name=name) for name in SIGNALS}
    for process in processes.values():
        process.wait_for_line("model ", timeout=START_S)
    yield processes
    for process in processes.values():
        if process.alive:
            stop_node(process)


def test_after_a_round_of_transitions_the_node_tracks_as_before(nodes, frames) -> None:
    """Deactivated it has no subscription; cleaned up and configured again it works."""
    from lifecycle_msgs.msg import Transition

    probe, clock = Probe("sigint", outputs=("output/detections_2d",)), CameraClock()

    def people() -> int:
        stamp = clock.tick()
        probe.images.publish(image_message(frames[0], stamp))
        return len(probe.wait_for_message("output/detections_2d", stamp).detections)

    try:
        probe.wait_for_node()
        assert people() >= 3
        assert probe.change_state(Transition.TRANSITION_DEACTIVATE)
        wait_until(lambda: not probe.images.get_subscription_count(), 10.0, "the node to unsubscribe")
        assert probe.change_state(Transition.TRANSITION_CLEANUP)
        assert probe.change_state(Transition.TRANSITION_CONFIGURE)
        assert probe.change_state(Transition.TRANSITION_ACTIVATE)
        probe.wait_for_node()
        assert people() >= 3
    finally:
        probe.close()


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_ends_the_node_in_time_with_code_0(name: str, nodes) -> None:
    """Its peers know at once that it is gone, and its shared memory is free again."""
    process, probe = nodes[name], Probe(name)
    try:
        probe.wait_for_node()
        segments = owned_shared_memory(process.pid)
        code, took = process.end(SIGNALS[name])
        assert code == 0 and took < 2.0, "\n".join(process.lines)
        assert not process.logged("Traceback")
        wait_until(lambda: not probe.images.get_subscription_count(), 2.0, "the end of its subscription")
        assert segments and not any(path.exists() for path in segments)
    finally:
        probe.close()


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_during_the_start_ends_the_node_too(name: str, ros) -> None:
    process = Process([sys.executable, str(ROOT / "bin" / "centertrack_node")])
    time.sleep(1.0)
    code, took = process.end(SIGNALS[name])
    assert code == 0 and took < 2.0 and not process.logged("Traceback"), "\n".join(process.lines)


def test_a_clean_up_frees_the_model_and_the_topics(ros) -> None:
    """Whatever the network keeps on its device is freed with the engine."""
    from rclpy.lifecycle import TransitionCallbackReturn

    from centertrack_ros.ros.node import CenterTrackNode

    # With the default engine a thread that exports a faster one may hold it for half a minute.
    arguments = ["--ros-args", "-r", "__node:=held", "-p", "cameras:=[left,right]", "-p", TORCH]
    node = CenterTrackNode(cli_args=arguments)
    try:
        for _ in range(2):
            assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
            assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
            engine = weakref.ref(node._session.pipeline.engine)
            assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
            assert engine() is not None
            assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
            gc.collect()
            assert engine() is None
            topics = [name for name, _ in node.get_publisher_names_and_types_by_node("held", "/")]
            assert not [name for name in topics if "/held/output" in name]
    finally:
        node.stop()
        node.destroy_node()
