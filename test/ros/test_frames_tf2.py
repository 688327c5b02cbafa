# SPDX-License-Identifier: Apache-2.0
"""The node where tf2_ros is installed. Here a stand-in takes its place."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from support.ros_harness import ROOT

STAND_INS = ROOT / "test" / "support" / "stand_ins"


def test_listening_again_leaves_no_service_and_no_subscription_behind(ros, monkeypatch) -> None:
    pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is not installed (make builds it from compat/tf2_msgs)")
    import rclpy

    from centertrack_ros.ros.frames import FrameTransforms
    from centertrack_ros.ros.logs import ThrottledLog
    from centertrack_ros.tracking.results import OutputFrames

    monkeypatch.syspath_prepend(str(STAND_INS))
    node = rclpy.create_node("listens_again")

    def entities() -> list[str]:
        names = [s.srv_name for s in node.services] + [s.topic_name for s in node.subscriptions]
        return sorted(name.rsplit("/", 1)[-1] for name in names)

    before = entities()
    transforms = FrameTransforms(node, ThrottledLog(node.get_logger(), lambda: 1.0))
    for _ in range(3):
        transforms.prepare(OutputFrames("map"))
        assert transforms.source == "tf2_ros"
        assert entities() == sorted([*before, "tf", "tf_static", "tf2_frames"])
        transforms.close()
        assert entities() == before
    node.destroy_node()


@pytest.mark.slow
def test_all_tests_of_frames_pass_with_it(ros) -> None:
    pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is not installed (make builds it from compat/tf2_msgs)")
    path = os.pathsep.join([str(STAND_INS), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-q", "-rs", str(ROOT / "test" / "ros" / "test_frames.py")]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": path})
    assert run.returncode == 0 and "tf2_ros is installed here" in run.stdout, run.stdout[-5000:]
