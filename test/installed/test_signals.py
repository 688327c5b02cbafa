# SPDX-License-Identifier: Apache-2.0
"""Signals to `ros2 launch` and `ros2 run`: the node ends with 0 and leaves nothing behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from support.ros_harness import START_S, Process, owned_shared_memory, wait_until
from support.workspace import PACKAGE, Workspace, is_running, pid_of_node

pytestmark = pytest.mark.packaging

CLEANLY = "process has finished cleanly"


@pytest.fixture
def launched(workspace: Workspace) -> Process:
    """`ros2 launch` with a node that tracks."""
    arguments = [f"engine:={workspace.engine}", "device:=cpu", "input_pixels:=76800"]
    process = workspace.start("ros2", "launch", PACKAGE, "centertrack.launch.py", *arguments)
    process.wait_for_line("model ", timeout=START_S)
    return process


def memory_of(node: int, parent: Process) -> set[Path]:
    """The node's shared memory; it inherits open files of `ros2 launch`, whose own is not meant."""
    return owned_shared_memory(node) - owned_shared_memory(parent.pid)


def gone(pid: int, segments: set[Path]) -> None:
    """Waits for the end of a process, and asserts that its shared memory is free."""
    wait_until(lambda: not is_running(pid), 10.0, "the end of the node")
    assert segments and not any(segment.exists() for segment in segments)


def test_ctrl_c_ends_everything(launched: Process) -> None:
    """A terminal sends SIGINT to launch and to the node, and launch sends it to the node again."""
    node = pid_of_node(launched)
    segments = memory_of(node, launched)
    os.killpg(launched.pid, signal.SIGINT)
    wait_until(lambda: not launched.alive, 20.0, "the end of launch")
    assert launched.end()[0] == 0 and launched.logged(CLEANLY) and not launched.logged("Traceback")
    gone(node, segments)


def test_sigint_to_launch_alone_ends_the_node(launched: Process) -> None:
    """As the unit for systemd sends it: to the main process."""
    node = pid_of_node(launched)
    segments = memory_of(node, launched)
    code, _ = launched.end(signal.SIGINT, timeout=20.0)
    text = "\n".join(launched.lines)
    assert code == 0 and CLEANLY in text and "escalating" not in text, f"{code}\n{text}"
    gone(node, segments)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["sigterm", "sigkill"])
def test_no_node_stays_behind_when_launch_ends_at_once(launched: Process, number: int) -> None:
    """`ros2 launch` does not wait for its nodes then, and says that they may go on."""
    node = pid_of_node(launched)
    segments = memory_of(node, launched)
    launched.end(number, timeout=20.0)
    gone(node, segments)


def test_launch_notices_when_the_node_has_ended(launched: Process) -> None:
    os.kill(pid_of_node(launched), signal.SIGTERM)
    wait_until(lambda: not launched.alive, 20.0, "the end of launch")
    assert launched.end()[0] == 0 and launched.logged(CLEANLY)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["sigint", "sigterm"])
def test_ros2_run_ends_with_the_terminal(workspace: Workspace, number: int) -> None:
    options = ["-p", f"model.engine:={workspace.engine}", "-p", "model.input_pixels:=76800"]
    process = workspace.start("ros2", "run", PACKAGE, "centertrack_node", "--ros-args", *options)
    process.wait_for_line("model ", timeout=START_S)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    [node] = [int(pid) for pid in children]
    segments = memory_of(node, process)
    os.killpg(process.pid, number)
    wait_until(lambda: not process.alive, 20.0, "the end of ros2 run")
    gone(node, segments)
    assert not process.logged("Traceback")
