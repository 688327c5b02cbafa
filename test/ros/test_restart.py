# SPDX-License-Identifier: Apache-2.0
"""Publisher, subscriber and node die by SIGKILL in mid stream and come back: the others go on without any help."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.ros_harness import ROOT, START_S, Probe, Process, stamp_of, start_node, wait_until

TOPIC = "output/detections_2d"
PARAMETERS = (
    "model.engine:=torch",
    "model.input_width:=256",
    "model.input_height:=192",
    "camera.transport:=compressed",
    "diagnostics.period_s:=0.2",
)


def start_tracker() -> Process:
    return start_node(*PARAMETERS, name="survivor")


def start_camera() -> Process:
    """The demo clip for ever, at three images a second: slow enough for the network to answer each."""
    bag = ROOT / "demo" / "pets09_s2l1"
    from centertrack_ros.io.rosbag import BagReader

    with BagReader(bag) as reader:
        [topic] = reader.of_type("sensor_msgs/msg/CompressedImage")
    remap = f"{topic.name}:=/survivor/input/image/compressed"
    options = ("--loop", "0", "--rate", "0.3", "--topics", topic.name, "--remap", remap)
    return Process([sys.executable, "-m", "centertrack_ros.ros.player", str(bag), *options])


def start_listener(folder: Path) -> Process:
    """A subscriber in a process of its own, which tells what it hears."""
    module = "centertrack_ros.ros.recorder"
    return Process([sys.executable, "-m", module, str(folder), "--topics", f"/survivor/{TOPIC}", "--events"])


def kill(process: Process) -> None:
    code, _ = process.end(signal.SIGKILL)
    assert code == -signal.SIGKILL


class Stage:
    """The processes of a test, and a probe that hears every answer of the node."""

    def __init__(self) -> None:
        from rclpy.qos import QoSProfile
        from vision_msgs.msg import Detection2DArray

        self.node = start_tracker()
        self.others: list[Process] = []
        self.probe = Probe("survivor", outputs=("/diagnostics",))
        self.probe.node.destroy_publisher(self.probe.images)
        self.probe.subscribe(TOPIC, Detection2DArray, QoSProfile(depth=1000))
        self.probe.wait_for_node(self.probe.compressed)
        self.probe.node.destroy_publisher(self.probe.compressed)
        self.camera = start_camera()

    @property
    def answers(self) -> list[Any]:
        return self.probe.received[TOPIC]

    def wait_for_answers(self, count: int, what: str) -> None:
        """`count` more than there are now."""
        begin = len(self.answers)
        wait_until(lambda: len(self.answers) >= begin + count, START_S, f"{what}; the node said {self.node.lines[-5:]}")

    def check_counts(self) -> None:
        """Each image that was received has been answered, and the answer has come here; or it is counted as dropped."""

        def settled() -> bool:
            seen = len(self.probe.received["/diagnostics"])
            _, values = wait_until(lambda: self.probe.status("survivor: camera", seen), 10.0, "diagnostics")
            received, processed, dropped, rejected = (
                int(values[key]) for key in ("received", "processed", "dropped", "rejected")
            )
            assert rejected == 0
            return received == processed + dropped and processed == len(self.answers)

        wait_until(settled, 20.0, f"as many answers as images; {len(self.answers)} answers are here")

    def close(self) -> None:
        self.probe.close()
        for process in (self.camera, self.node, *self.others):
            process.end(signal.SIGKILL)


@pytest.fixture
def stage(ros) -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


def test_the_camera_driver_is_killed_and_comes_back(stage) -> None:
    stage.wait_for_answers(3, "answers to the first driver")
    kill(stage.camera)
    stage.check_counts()
    stage.camera = start_camera()
    stage.wait_for_answers(3, "answers to the second driver")
    kill(stage.camera)
    stage.check_counts()
    assert len(stage.answers[-1].detections) >= 1
    assert stage.node.alive and not stage.node.logged("Traceback")


def test_a_listener_is_killed_and_another_comes(stage, tmp_path: Path) -> None:
    first = start_listener(tmp_path / "first")
    stage.others.append(first)
    first.wait_for_line('"recorded"', timeout=START_S)
    kill(first)
    stage.wait_for_answers(6, "answers while a listener lies dead")
    second = start_listener(tmp_path / "second")
    stage.others.append(second)
    second.wait_for_line('"recorded"', timeout=START_S)
    kill(stage.camera)
    stage.check_counts()
    assert stage.node.alive and not stage.node.logged("Traceback")


def test_the_node_is_killed_and_started_again(stage, tmp_path: Path) -> None:
    """Driver and listeners do nothing about it, and the new node's tracks reach them."""
    listener = start_listener(tmp_path / "bag")
    stage.others.append(listener)
    listener.wait_for_line('"recorded"', timeout=START_S)
    stage.wait_for_answers(3, "answers of the first node")
    kill(stage.node)
    stage.answers.clear()
    heard = len(listener.lines)
    stage.node = start_tracker()
    stage.wait_for_answers(3, "answers of the second node")
    listener.wait_for_line('"recorded"', heard, timeout=START_S)
    assert stage.camera.alive and listener.alive
    stamps = [stamp_of(answer) for answer in stage.answers]
    assert len(set(stamps)) == len(stamps)
