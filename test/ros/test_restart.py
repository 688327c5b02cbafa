# SPDX-License-Identifier: Apache-2.0
"""Publisher, subscriber or node are killed and start again: the other processes continue by themselves."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.ros_harness import ROOT, START_S, TORCH, Probe, Process, stamp_of, start_node, wait_until

TOPIC = "output/detections_2d"
PARAMETERS = (
    TORCH,
    "model.input_width:=256",
    "model.input_height:=192",
    "camera.transport:=compressed",
    "diagnostics.period_s:=0.2",
)


def start_tracker() -> Process:
    return start_node(*PARAMETERS, name="survivor")


def start_camera() -> Process:
    """Plays the demo clip without end at five images a second: slow enough to process nearly all."""
    bag = ROOT / "demo" / "pets09_s2l1"
    from centertrack_ros.io.rosbag import BagReader

    with BagReader(bag) as reader:
        [topic] = reader.of_type("sensor_msgs/msg/CompressedImage")
    remap = f"{topic.name}:=/survivor/input/image/compressed"
    options = ("--loop", "0", "--rate", "0.5", "--topics", topic.name, "--remap", remap)
    return Process([sys.executable, "-m", "centertrack_ros.ros.player", str(bag), *options])


def start_recorder(folder: Path) -> Process:
    """A subscriber in a process of its own, which reports what it receives."""
    module = "centertrack_ros.ros.recorder"
    return Process([sys.executable, "-m", module, str(folder), "--topics", f"/survivor/{TOPIC}", "--events"])


def kill(process: Process) -> None:
    code, _ = process.end(signal.SIGKILL)
    assert code == -signal.SIGKILL


class System:
    """The processes of a test, and a probe that receives every result of the node."""

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
    def results(self) -> list[Any]:
        return self.probe.received[TOPIC]

    def wait_for_results(self, count: int, what: str) -> None:
        """`count` more than there are now."""
        target = len(self.results) + count
        wait_until(lambda: len(self.results) >= target, START_S, f"{what}; last log lines: {self.node.lines[-5:]}")

    def check_counts(self) -> None:
        """Each received image was processed, and its result received here, or was counted as dropped."""

        def settled() -> bool:
            counts = self.probe.settled_counts("survivor: camera")
            assert counts["rejected"] == 0
            return counts["processed"] == len(self.results)

        wait_until(settled, 20.0, f"as many results as processed images; there are {len(self.results)}")

    def close(self) -> None:
        self.probe.close()
        for process in (self.camera, self.node, *self.others):
            process.end(signal.SIGKILL)


@pytest.fixture(scope="module")
def shared_system(ros) -> Iterator[System]:
    system = System()
    yield system
    system.close()


@pytest.fixture
def system(shared_system) -> System:
    """With a camera, whatever the test before has done to it."""
    if not shared_system.camera.alive:
        shared_system.camera = start_camera()
    return shared_system


def test_the_camera_driver_is_killed_and_starts_again(system) -> None:
    system.wait_for_results(3, "results to the first driver")
    kill(system.camera)
    system.check_counts()
    system.camera = start_camera()
    system.wait_for_results(3, "results to the second driver")
    kill(system.camera)
    system.check_counts()
    assert len(system.results[-1].detections) >= 1
    assert system.node.alive and not system.node.logged("Traceback")


def test_a_subscriber_is_killed_and_another_one_starts(system, tmp_path: Path) -> None:
    first = start_recorder(tmp_path / "first")
    system.others.append(first)
    first.wait_for_line('"recorded"', timeout=START_S)
    kill(first)
    system.wait_for_results(6, "results after a subscriber was killed")
    second = start_recorder(tmp_path / "second")
    system.others.append(second)
    second.wait_for_line('"recorded"', timeout=START_S)
    kill(system.camera)
    system.check_counts()
    assert system.node.alive and not system.node.logged("Traceback")


def test_the_node_is_killed_and_started_again(system, tmp_path: Path) -> None:
    """Driver and subscribers stay as they are and exchange messages with the new node."""
    recorder = start_recorder(tmp_path / "bag")
    system.others.append(recorder)
    recorder.wait_for_line('"recorded"', timeout=START_S)
    system.wait_for_results(3, "results of the first node")
    kill(system.node)
    system.results.clear()
    start = len(recorder.lines)
    system.node = start_tracker()
    system.wait_for_results(3, "results of the second node")
    recorder.wait_for_line('"recorded"', start, timeout=START_S)
    assert system.camera.alive and recorder.alive
    stamps = [stamp_of(result) for result in system.results]
    assert len(set(stamps)) == len(stamps)
