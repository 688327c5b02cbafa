"""What /diagnostics and the log tell about cameras, and what a configured node holds on to."""

from __future__ import annotations

import gc
import time
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.ros_harness import CameraClock, Probe, demo_frames, image_message, start_node, stop_node, wait_until

pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")

from centertrack_ros.io.stamps import Loss


def fed(stamps: np.ndarray) -> Loss:
    loss = Loss()
    for stamp in stamps:
        loss.add(float(stamp))
    return loss


@given(st.integers(0, 10_000), st.floats(1.0, 60.0), st.floats(0.0, 0.6), st.floats(0.0, 0.05))
def test_the_part_that_is_lost_shows_in_the_stamps(seed: int, rate: float, part: float, jitter: float) -> None:
    random = np.random.default_rng(seed)
    stamps = 1e9 + (np.arange(400) + random.uniform(-jitter, jitter, 400)) / rate
    kept = random.random(400) >= part
    if np.diff(stamps[kept]).max() < 2.0:
        lost = 1.0 - kept[np.flatnonzero(kept)[-60] :].mean()
        assert fed(stamps[kept]).part == pytest.approx(lost, abs=0.1)


def test_a_pause_a_jump_and_a_few_images_are_no_loss() -> None:
    assert fed(np.arange(15) * 0.5).part == 0.0
    steady = np.arange(30) * 0.1
    for break_ in (60.0, -60.0):
        assert fed(np.concatenate([steady, steady + break_])).part < 0.01


def test_images_that_get_lost_on_their_way_are_told_of_with_the_remedy(ros) -> None:
    """Large ones, as best effort loses them: of 50 a second two thirds never arrive."""
    from diagnostic_msgs.msg import DiagnosticStatus

    node = start_node("diagnostics.period_s:=0.2", "diagnostics.max_latency_ms:=1000000.0", name="lossy")
    probe = Probe("lossy", outputs=("/diagnostics",))
    try:
        probe.wait_for_node()
        [picture], clock, random = demo_frames(1), CameraClock(rate=50.0), np.random.default_rng(3)

        def told() -> bool:
            for _ in range(5):
                stamp = clock.tick()
                if random.random() < 0.34:
                    probe.images.publish(image_message(picture, stamp))
                time.sleep(0.02)
            status, values = probe.status("lossy: camera") or (None, {})
            lost = int(values.get("images lost on their way (%)", 0))
            return status is not None and status.level == DiagnosticStatus.WARN and lost > 40

        wait_until(told, 30.0, "a warning about lost images")
        status, _ = probe.status("lossy: camera")
        assert "get lost on their way" in status.message and "fastdds.xml" in status.message
        # The embedded model's input follows the shape of the images.
        assert len(node.logged("images of 768x576 px need a network input of 512x384 px")) == 1
    finally:
        probe.close()
        stop_node(node)


def test_cleaned_up_it_holds_no_model(ros) -> None:
    """Whatever the network keeps on its device goes with the engine."""
    from rclpy.lifecycle import TransitionCallbackReturn

    from centertrack_ros.ros.node import CenterTrackNode

    node = CenterTrackNode(cli_args=["--ros-args", "-r", "__node:=held", "-p", "cameras:=[left,right]"])
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
            left = [
                name for name, _ in node.get_publisher_names_and_types_by_node("held", "/") if "/held/output" in name
            ]
            assert not left
    finally:
        node.stop()
        node.destroy_node()
