# SPDX-License-Identifier: Apache-2.0
"""The stamps of cameras and bags: they loop, jump, leave gaps, or are missing; simulated time may not run."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from support.ros_harness import (
    RELIABLE,
    START_S,
    TORCH,
    CameraClock,
    Probe,
    Process,
    compressed_message,
    ids_of,
    image_message,
    stamp_of,
    start_node,
    stop_node,
    wait_until,
)

pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")


@pytest.fixture(scope="module")
def node(ros) -> Iterator[Process]:
    process = start_node(RELIABLE, TORCH, "tracker.max_gap_s:=2.0", name="timed")
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
    return ids_of(probe.wait_for_message("output/detections_2d", stamp))


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
    """Which stands in the headers of the results too: 0 is no time that anybody could look up a transform for."""
    ids = []
    for frame in frames[:3]:
        seen = len(probe.received["output/detections_2d"])
        probe.images.publish(image_message(frame, (0, 0)))
        [result] = wait_until(lambda n=seen: probe.received["output/detections_2d"][n:], 20.0, "a result")
        assert 0.0 <= time.time() - stamp_of(result)[0] < 20.0
        ids.append(ids_of(result))
    assert len(ids[0] & ids[2]) >= 3


def test_what_is_amiss_with_headers_is_logged_once(node, probe, frames) -> None:
    """Stamps in the future (not those that are a little ahead), and an empty frame_id."""
    start, clock = len(node.lines), CameraClock(time.time() + 0.1)
    ids_at(probe, frames[0], clock.tick())
    assert not node.logged("in the future", start)
    clock.now += 30.0
    for _ in range(3):
        message = image_message(frames[0], clock.tick())
        message.header.frame_id = ""
        probe.images.publish(message)
        probe.wait_for_message("output/detections_2d", stamp_of(message))
    for words in ("s in the future: do the clocks of both machines agree", "have an empty frame_id"):
        [line] = node.logged(words)  # not once more after the test before
        assert "images on /timed/input/image" in line


def test_jumps_of_time_by_hours_start_new_tracks(node, probe, frames) -> None:
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


def test_each_round_of_a_looped_bag_in_simulated_time_has_tracks_of_its_own(ros, frames, tmp_path: Path) -> None:
    """Latencies are differences of the bag's time, which starts in 1970, not of the system's."""
    bag, topic = small_bag(tmp_path / "bag", frames[:10]), "output/detections_2d"
    parameters = (TORCH, "model.input_width:=256", "model.input_height:=192")
    node = start_node(RELIABLE, *parameters, "camera.transport:=compressed", "use_sim_time:=true", name="looped")
    probe = Probe("looped", outputs=(topic, "debug/pipeline_latency_ms"))
    probe.wait_for_node(probe.compressed)
    player = ("-m", "centertrack_ros.ros.player", str(bag), "--loop", "0", "--clock", "50", "--rate", "0.8")
    camera = Process([sys.executable, *player, "--remap", "/cam:=/looped/input/image/compressed"])
    try:

        def rounds() -> list[list[Any]]:
            """The results by round."""
            rounds: list[list[Any]] = [[]]
            for result in probe.received[topic]:
                if rounds[-1] and stamp_of(result) < stamp_of(rounds[-1][-1]):
                    rounds.append([])
                rounds[-1].append(result)
            return rounds

        wait_until(lambda: len(rounds()) >= 4, START_S, "results of four rounds")
        ids = [set[str]().union(*map(ids_of, results)) for results in rounds()[:3]]
        assert all(ids) and not ids[0] & ids[1] and not ids[1] & ids[2]
        assert node.logged("reset: stamp went back by")
        assert all(abs(m.data) < 5000.0 for m in probe.received["debug/pipeline_latency_ms"])
    finally:
        camera.end()
        probe.close()
        stop_node(node)


def results_without_stamp(probe: Probe, frames: list[np.ndarray]) -> list[Any]:
    """The results of images with a stamp of 0."""
    topic = "output/detections_2d"
    start = len(probe.received[topic])
    for count, frame in enumerate(frames, 1):
        probe.images.publish(image_message(frame, (0, 0)))
        wait_until(lambda n=count: len(probe.received[topic]) == start + n, 20.0, "a result")
    return probe.received[topic][start:]


def test_without_a_clock_in_simulated_time_it_tracks_and_logs(ros, frames, own_messages) -> None:
    """`use_sim_time` without /clock: images are tracked by their stamps, and the log names what is missing.

    How old a result is nobody knows: no number is made up.
    """
    parameters = (TORCH, "use_sim_time:=true", "diagnostics.waiting_s:=1.0")
    node = start_node(RELIABLE, *parameters, name="still")
    ages = "debug/pipeline_latency_ms"
    probe = Probe("still", outputs=("output/detections_2d", ages, "debug/processing_time_ms", "/diagnostics"))
    if own_messages:
        probe.subscribe("debug/timing")
    try:
        node.wait_for_line("waiting for image on /still/input/image")
        node.wait_for_line("use_sim_time is true and nothing comes on /clock")
        probe.wait_for_node()
        clock = CameraClock(time.time())
        first, second = (ids_at(probe, frame, clock.tick()) for frame in frames[:2])
        assert len(first & second) >= 3
        wait_until(lambda: len(probe.received["debug/processing_time_ms"]) >= 2, 10.0, "times of processing")
        status, values = probe.next_status("still: camera")
        assert values["pipeline latency (ms)"] == "unknown" and "old" not in status.message
        if own_messages:
            [timing, *_] = wait_until(lambda: probe.received["debug/timing"], 10.0, "times by stage")
            assert math.isnan(timing.latency_ms) and math.isnan(timing.image_age_ms) and timing.processing_ms > 0.0
        assert not probe.received[ages]
        without_stamp = [ids_of(m) for m in results_without_stamp(probe, frames[:2])]
        assert len(without_stamp[0] & without_stamp[1]) >= 3
        time.sleep(1.2)
        assert len(node.logged("nothing comes on /clock")) == 1
    finally:
        probe.close()
        stop_node(node)
