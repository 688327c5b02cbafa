# SPDX-License-Identifier: Apache-2.0
"""Time as cameras and bags have it: it loops, stands still, skips, comes out of order, twice, or not at all."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from support.ros_harness import (
    START_S,
    CameraClock,
    Probe,
    Process,
    compressed_message,
    image_message,
    stamp_of,
    start_node,
    stop_node,
    wait_until,
)

pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")


@pytest.fixture(scope="module")
def node(ros) -> Iterator[Process]:
    process = start_node("model.engine:=torch", "tracker.max_gap_s:=2.0", name="timed")
    yield process
    stop_node(process)


@pytest.fixture(scope="module")
def probe(node) -> Iterator[Probe]:
    probe = Probe("timed", outputs=("output/detections_2d",))
    probe.wait_for_node()
    yield probe
    probe.close()


def ids_at(probe: Probe, frame: np.ndarray, stamp: tuple[int, int]) -> set[str]:
    probe.images.publish(image_message(frame, stamp))
    return {d.id for d in probe.wait_for_message("output/detections_2d", stamp).detections}


def test_a_gap_below_the_limit_keeps_ids_and_one_above_it_does_not(node, probe, frames) -> None:
    clock, start = CameraClock(), len(node.lines)
    before = ids_at(probe, frames[0], clock.tick())
    clock.now += 1.0
    after = ids_at(probe, frames[1], clock.tick())
    assert len(before & after) >= 3 and not node.logged("reset", start)
    clock.now += 5.0
    later = ids_at(probe, frames[2], clock.tick())
    node.wait_for_line("reset: no image for 5.1 s", start)
    assert len(later) >= 3 and not later & (before | after)


def test_images_without_a_stamp_are_tracked_by_their_time_of_arrival(node, probe, frames) -> None:
    ids = []
    for frame in frames[:3]:
        seen = len(probe.received["output/detections_2d"])
        probe.images.publish(image_message(frame, (0, 0)))
        [answer] = wait_until(lambda n=seen: probe.received["output/detections_2d"][n:], 20.0, "an answer")
        assert stamp_of(answer) == (0, 0)
        ids.append({d.id for d in answer.detections})
    assert len(ids[0] & ids[2]) >= 3


def test_time_that_jumps_ahead_by_hours_and_back_does_not_stop_anything(node, probe, frames) -> None:
    clock = CameraClock()
    seen: set[str] = set()
    for jump in (60.0, 7200.0, -3600.0, -1.5e9, 3.0e8, 30.0):
        there = CameraClock(clock.tick()[0] + jump)
        first, second = (ids_at(probe, frame, there.tick()) for frame in frames[:2])
        assert len(first & second) >= 3 and not first & seen
        seen |= first | second


def small_bag(folder: Path, frames: list[np.ndarray]) -> Path:
    """A second of the clip, recorded in 1970."""
    from rclpy.serialization import serialize_message

    from centertrack_ros.io.rosbag import BagWriter

    clock = CameraClock(start=1000.0)
    with BagWriter(folder) as writer:
        writer.add_topic("/cam", "sensor_msgs/msg/CompressedImage")
        for frame in frames:
            stamp = clock.tick()
            message = compressed_message(cv2.imencode(".jpg", frame)[1].tobytes(), stamp)
            writer.write("/cam", serialize_message(message), stamp[0] * 10**9 + stamp[1])
    return folder


def test_a_bag_that_loops_in_simulated_time(ros, frames, tmp_path: Path) -> None:
    """Each round starts tracks of its own, without help; latency is told in the bag's time, not since 1970."""
    bag, topic = small_bag(tmp_path / "bag", frames), "output/detections_2d"
    parameters = ("model.engine:=torch", "model.input_width:=256", "model.input_height:=192")
    node = start_node(*parameters, "camera.transport:=compressed", "use_sim_time:=true", name="looped")
    probe = Probe("looped", outputs=(topic, "debug/pipeline_latency_ms"))
    probe.wait_for_node(probe.compressed)
    player = ("-m", "centertrack_ros.ros.player", str(bag), "--loop", "0", "--clock", "50", "--rate", "0.4")
    camera = Process([sys.executable, *player, "--remap", "/cam:=/looped/input/image/compressed"])
    try:

        def rounds() -> list[list]:
            """Answers by round."""
            found: list[list] = [[]]
            for answer in probe.received[topic]:
                if found[-1] and stamp_of(answer) < stamp_of(found[-1][-1]):
                    found.append([])
                found[-1].append(answer)
            return found

        wait_until(lambda: len(rounds()) >= 4, START_S, "answers to four rounds")
        complete = rounds()[:3]
        ids = [{d.id for answer in answers for d in answer.detections} for answers in complete]
        assert all(ids) and not ids[0] & ids[1] and not ids[1] & ids[2]
        assert node.logged("reset: stamp went back by")
        assert all(abs(m.data) < 5000.0 for m in probe.received["debug/pipeline_latency_ms"])
    finally:
        camera.end()
        probe.close()
        stop_node(node)


def test_simulated_time_that_stands_still_stops_neither_answers_nor_messages(ros, frames) -> None:
    """`use_sim_time` without a /clock: images are tracked by their stamps, and what is missing is told."""
    node = start_node("model.engine:=torch", "use_sim_time:=true", "diagnostics.waiting_s:=1.0", name="still")
    probe = Probe("still", outputs=("output/detections_2d",))
    try:
        node.wait_for_line("waiting for image on /still/input/image")
        probe.wait_for_node()
        clock = CameraClock(time.time())
        first, second = (ids_at(probe, frame, clock.tick()) for frame in frames[:2])
        assert len(first & second) >= 3
    finally:
        probe.close()
        stop_node(node)
