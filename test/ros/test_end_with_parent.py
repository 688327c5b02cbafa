# SPDX-License-Identifier: Apache-2.0
"""A node of a launch file does not outlive `ros2 launch`, however that ends: the next start would make two of them."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")

from centertrack_ros.ros.ending import END_WITH_PARENT
from support.ros_harness import ROOT, START_S, Process, wait_until

PARENT = "import subprocess, sys; subprocess.run(sys.argv[1:])"


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("asked", ["1", ""], ids=["launch file", "by hand"])
def test_the_node_ends_when_the_process_that_started_it_was_killed(ros: None, asked: str) -> None:
    """By hand nothing changes: a node in the background outlives its shell."""
    node = [str(ROOT / "bin" / "centertrack_node"), "--ros-args", "-p", "autostart:=false", "-r", "__node:=child"]
    parent = Process([sys.executable, "-c", PARENT, sys.executable, *node], **{END_WITH_PARENT: asked})
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    child = int(wait_until(lambda: children.read_text().split(), START_S, "the node's process")[0])
    wait_until(lambda: catches_signals(child), START_S, "the node's handlers")
    parent.end(signal.SIGKILL)
    try:
        if asked:
            wait_until(lambda: not running(child), 10.0, "the end of the node")
        else:
            assert running(child)
    finally:
        if running(child):
            os.kill(child, signal.SIGKILL)


def catches_signals(pid: int) -> bool:
    """Whether the node's own handlers are there: before, it is the interpreter that starts."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [caught] = [line.split()[1] for line in lines if line.startswith("SigCgt")]
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)
