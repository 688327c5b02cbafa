# SPDX-License-Identifier: Apache-2.0
"""`ros2 lifecycle` takes the installed node through its states, and says when a transition fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.ros_harness import Process, wait_until
from support.workspace import Workspace

pytestmark = pytest.mark.packaging

NODE = "/managed"
START = {"name": "managed", "autostart": "false", "device": "cpu"}


@pytest.fixture(scope="module")
def node(workspace: Workspace) -> Iterator[Process]:
    """A node that waits for a manager."""
    with workspace.launched("centertrack", ready="process started", engine=workspace.engine, **START) as process:
        wait_until(lambda: NODE in workspace.ros2("lifecycle", "nodes").text, 60.0, "the node")
        yield process


def state(workspace: Workspace) -> str:
    return workspace.ros2("lifecycle", "get", NODE).out


def test_a_manager_takes_it_through_every_state(workspace: Workspace, node: Process) -> None:
    assert state(workspace) == "unconfigured [1]"
    for transition, expected in (
        ("configure", "inactive [2]"),
        ("activate", "active [3]"),
        ("deactivate", "inactive [2]"),
        ("cleanup", "unconfigured [1]"),
    ):
        answer = workspace.ros2("lifecycle", "set", NODE, transition)
        assert (answer.code, answer.out) == (0, "Transitioning successful")
        assert state(workspace) == expected
    assert workspace.ros2("topic", "info", f"{NODE}/output/detections_2d").text.count("Unknown topic")


def test_transitions_that_a_state_has_not_are_refused(workspace: Workspace, node: Process) -> None:
    listed = workspace.ros2("lifecycle", "list", NODE).text
    assert "configure [1]" in listed and "shutdown [5]" in listed and "activate [3]" not in listed
    answer = workspace.ros2("lifecycle", "set", NODE, "activate")
    assert answer.code != 0 and "Unknown transition requested" in answer.text


def test_a_missing_model_fails_the_transition_with_a_sentence(workspace: Workspace, node: Process) -> None:
    """And the next try, with a model that is there, succeeds."""
    line = len(node.lines)
    answer = workspace.ros2("param", "set", NODE, "model.weights", "/no/such/weights.safetensors")
    assert answer.out == "Set parameter successful"
    answer = workspace.ros2("lifecycle", "set", NODE, "configure")
    assert "Transitioning failed" in answer.text
    assert "/no/such/weights.safetensors" in node.wait_for_line("cannot load the model", line)
    assert state(workspace) == "unconfigured [1]"
    workspace.ros2("param", "set", NODE, "model.weights", "mobilenetv3-coco-track")
    assert workspace.ros2("lifecycle", "set", NODE, "configure").out == "Transitioning successful"
    assert workspace.ros2("lifecycle", "set", NODE, "cleanup").out == "Transitioning successful"
    assert not node.logged("Traceback")
