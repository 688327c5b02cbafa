# SPDX-License-Identifier: Apache-2.0
"""Parameters that only go together can be set one by one in any order, as `ros2 param load` does."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")

from centertrack_ros.replay.parameters import load_parameters
from support.ros_harness import Probe, launch_node, stop_node

# In the order of a dump: for a while there are more heights than cameras.
TWO_CAMERAS = {
    "camera.heights": ["1.5", "1.2"],
    "cameras": ["front", "rear"],
    "detector.regions": ["0,0 1,0 1,1", ""],
}


def test_before_the_node_is_configured_values_need_not_go_together(ros: None, tmp_path: Path) -> None:
    """What still does not then is said by the transition."""
    from lifecycle_msgs.msg import Transition

    process = launch_node("autostart:=false", name="ordered")
    probe = Probe("ordered")
    try:
        for name, value in TWO_CAMERAS.items():
            [result] = probe.set_parameters(**{name: value})
            assert result.successful, result.reason
        assert probe.set_parameters(cameras=["front"])[0].successful
        assert not probe.change_state(Transition.TRANSITION_CONFIGURE)
        process.wait_for_line("detector.regions needs one entry for each of 1 cameras, got 2")
    finally:
        probe.close()
    stop_node(process)


@pytest.mark.parametrize("hold", [0.5, 5.0])
def test_the_next_camera_has_at_least_the_time_that_the_view_holds(hold: float) -> None:
    """An object that is still shown cannot be forgotten."""
    config = load_parameters([], [f"surround.hold_s:={hold}"]).multi_camera
    assert config.hold_s == hold and config.window_s == max(1.5, hold)
