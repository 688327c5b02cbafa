# SPDX-License-Identifier: Apache-2.0
"""The node in its own process, with real images through real DDS: what a user of its topics relies on."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.ros_harness import (
    RELIABLE,
    ROOT,
    START_S,
    TORCH,
    CameraClock,
    Probe,
    Process,
    ids_of,
    image_message,
    stamp_of,
    start_node,
    stop_node,
    wait_until,
)

CLIP = ROOT / "demo" / "pets09_s2l1"
OUTPUTS = (
    "output/detections_3d",
    "output/detections_2d",
    "output/markers",
    "debug/image",
    "debug/prior_heatmap",
    "debug/processing_time_ms",
    "debug/pipeline_latency_ms",
    "/diagnostics",
)


@pytest.fixture(scope="module")
def node(ros) -> Iterator[Process]:
    process = start_node(RELIABLE, TORCH, "diagnostics.period_s:=0.2")
    yield process
    stop_node(process)


@pytest.fixture(scope="module")
def probe(node, own_messages) -> Iterator[Probe]:
    probe = Probe(outputs=(*OUTPUTS, *(("output/tracks", "debug/timing") if own_messages else ())))
    probe.wait_for_node()
    yield probe
    probe.close()


def play(probe: Probe, frames: list[np.ndarray], clock: CameraClock, topic: str = "output/detections_2d") -> list:
    """Publishes each image once the result of the one before is there; returns the results."""
    results = []
    for frame in frames:
        stamp = clock.tick()
        probe.images.publish(image_message(frame, stamp))
        results.append(probe.wait_for_message(topic, stamp))
    return results


def test_people_who_stay_in_view_keep_their_ids_in_every_output(probe, frames, clock, own_messages) -> None:
    probe.calibrate()
    results = play(probe, frames, clock)
    ids = [ids_of(result) for result in results]
    assert len(ids[0]) >= 3 and len(ids[0] & ids[-1]) >= 3
    for result in results:
        stamp = stamp_of(result)
        boxes = probe.wait_for_message("output/detections_3d", stamp)
        assert result.header == boxes.header and result.header.frame_id == "camera_optical"
        # An object that the size prior cannot lift is in 2D only; the others keep their order.
        lifted = ids_of(boxes)
        assert [d.id for d in boxes.detections] == [d.id for d in result.detections if d.id in lifted]
        assert {d.id for d in result.detections if d.results[0].hypothesis.class_id == "person"} <= lifted
        for detection in (*result.detections, *boxes.detections):
            assert detection.header == result.header and detection.results[0].hypothesis.class_id
        for detection in boxes.detections:
            size, center = detection.bbox.size, detection.bbox.center.position
            assert min(size.x, size.y, size.z) > 0.1 and 2.0 < center.z < 200.0
            assert detection.results[0].pose.pose == detection.bbox.center
            assert detection.results[0].pose.covariance[14] > 0.0  # depth, the least certain coordinate
        if own_messages:
            tracks = probe.wait_for_message("output/tracks", stamp)
            live = [str(t.id) for t in tracks.tracks if t.state != t.STATE_LOST]
            assert live == [d.id for d in result.detections]
            assert (tracks.image_width, tracks.image_height) == (768, 576)
    markers = wait_until(lambda: probe.received["output/markers"], 5.0, "markers")[-1]
    assert {m.ns for m in markers.markers} >= {"boxes", "labels"}


def test_debug_images_and_times_are_published_to_subscribers(probe, frames, clock, own_messages) -> None:
    stamps = [stamp_of(a) for a in play(probe, frames[:3], clock)]
    image = probe.wait_for_message("debug/image", stamps[-1])
    assert (image.height, image.width, image.encoding) == (576, 768, "bgr8")
    drawn = np.frombuffer(image.data, np.uint8).reshape(576, 768, 3)
    assert 0 < np.any(drawn != frames[2], axis=-1).mean() < 0.7
    heatmap = probe.wait_for_message("debug/prior_heatmap", stamps[-1])
    assert heatmap.encoding == "mono8" and max(heatmap.data) > 200  # the people of the previous frame
    first = probe.wait_for_message("debug/prior_heatmap", stamps[0])
    assert max(first.data) == 0
    assert probe.received["debug/processing_time_ms"][-1].data > 0.0
    if own_messages:
        timing = probe.wait_for_message("debug/timing", stamps[-1])
        stages = [timing.preprocess_ms, timing.network_ms, timing.postprocess_ms, timing.association_ms]
        assert min(stages) > 0.0 and sum(stages) <= timing.processing_ms
        assert timing.frames_received == timing.frames_processed + timing.frames_dropped


def test_label_info_reaches_late_subscribers(probe) -> None:
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from vision_msgs.msg import LabelInfo

    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    probe.subscribe("output/label_info", LabelInfo, latched)
    [info] = wait_until(lambda: probe.received["output/label_info"], 10.0, "label_info")
    names = {c.class_id: c.class_name for c in info.class_map}
    assert len(names) == 80 and names[0] == "person" and names[2] == "car"


def test_images_that_come_too_fast_are_dropped_and_counted(probe, frames, clock, own_messages) -> None:
    """Processed + dropped = received, the newest image is processed, and results keep the order of their images."""
    before, first = _camera_values(probe), len(probe.received["output/detections_2d"])
    stamps = [clock.tick() for _ in range(60)]
    for index, stamp in enumerate(stamps):
        probe.images.publish(image_message(frames[index % len(frames)], stamp))
        time.sleep(0.005)
    probe.wait_for_message("output/detections_2d", stamps[-1])
    stamps = [stamp_of(m) for m in probe.received["output/detections_2d"][first:]]
    assert stamps == sorted(stamps)

    def settled() -> dict | None:
        now = _camera_values(probe)
        gained = {key: int(now[key]) - int(before[key]) for key in ("received", "processed", "dropped", "rejected")}
        done = gained["received"] == gained["processed"] + gained["dropped"] + gained["rejected"]
        return gained if done and gained["processed"] == len(stamps) else None

    gained = wait_until(settled, 10.0, "the counts to add up")
    assert gained["dropped"] > 10 and gained["rejected"] == 0
    assert int(_camera_values(probe)["received"]) == gained["received"] + int(before["received"])


def _camera_values(probe: Probe) -> dict[str, str]:
    """The camera's values in the next diagnostics."""
    return probe.next_status("centertrack: camera")[1]


def test_diagnostics_report_the_health_of_a_camera(probe, frames, clock) -> None:
    from diagnostic_msgs.msg import DiagnosticStatus

    play(probe, frames[:4], clock)
    status, values = probe.next_status("centertrack")
    assert status.level == DiagnosticStatus.OK and values["device"] == "cpu"

    def stale() -> bool:
        status, _ = probe.status("centertrack: camera")
        return (
            status.level == DiagnosticStatus.ERROR and "waiting for image on /centertrack/input/image" in status.message
        )

    wait_until(stale, 10.0, "an ERROR about the camera that stopped")


def test_tracks_are_reset_by_service_and_by_time_going_back(probe, node, frames, clock) -> None:
    from std_srvs.srv import Trigger

    play(probe, frames[:4], clock)
    assert probe.call("reset_tracks", Trigger).success
    again = play(probe, frames[4:6], clock)
    assert [d.id for d in again[0].detections][:3] == ["1", "2", "3"]
    start = len(node.lines)
    highest = max(int(d.id) for d in again[-1].detections)
    back = play(probe, frames[:2], CameraClock(clock.now - 100.0))
    node.wait_for_line("reset: stamp went back by", start)
    assert min(int(d.id) for d in back[0].detections) > highest


def test_a_late_frame_is_dropped_and_nothing_is_reset(probe, node, frames, clock) -> None:
    before = play(probe, frames[:3], clock)
    late, start = clock.now - 0.15, len(node.lines)
    late_stamp, last_stamp = (int(late), int(late % 1 * 1e9)), stamp_of(before[-1])
    dropped = probe.settled_counts("centertrack: camera")["dropped"]
    for stamp in (late_stamp, last_stamp):  # the second is a duplicate
        probe.images.publish(image_message(frames[0], stamp))
        dropped += 1
        counted = lambda n=dropped: probe.settled_counts("centertrack: camera")["dropped"] == n  # noqa: E731
        wait_until(counted, 10.0, "the image to be counted as dropped")
    after = play(probe, frames[3:4], clock)
    assert len(ids_of(before[-1]) & ids_of(after[0])) >= 3 and not node.logged("reset", start)
    stamps = [stamp_of(m) for m in probe.received["output/detections_2d"]]
    assert stamps.count(last_stamp) == 1 and late_stamp not in stamps


def test_disabled_it_ignores_images(probe, frames, clock) -> None:
    from std_srvs.srv import SetBool

    def age() -> float:
        """Time since the last image has reached the node, s."""
        return float(_camera_values(probe)["image age (s)"])

    assert probe.call("enable", SetBool, data=False).success
    stamp, before = clock.tick(), age()
    probe.images.publish(image_message(frames[0], stamp))
    wait_until(lambda: age() < before, 10.0, "the image to reach the node")
    assert probe.call("enable", SetBool, data=True).success
    play(probe, frames[1:2], clock)
    assert stamp not in [stamp_of(m) for m in probe.received["output/detections_2d"]]


def test_parameters_change_live_or_are_rejected_with_a_reason(probe, frames, clock) -> None:
    def set_parameter(name: str, value: Any) -> Any:
        return probe.set_parameters(**{name: value})[0]

    assert len(play(probe, frames[:1], clock)[0].detections) >= 3
    assert set_parameter("detector.classes", ["car"]).successful
    assert not any(d.results[0].hypothesis.class_id != "car" for d in play(probe, frames[1:2], clock)[0].detections)
    rejected = set_parameter("detector.classes", ["unicorn"])
    assert not rejected.successful and "unicorn" in rejected.reason
    assert set_parameter("detector.classes", [""]).successful
    assert not set_parameter("tracker.new_threshold", 7.0).successful
    rejected = set_parameter("tracker.association", "magic")
    assert not rejected.successful and "greedy" in rejected.reason
    rejected = set_parameter("model.device", "cuda")
    assert not rejected.successful and "while the node is configured" in rejected.reason
    assert len(play(probe, frames[2:3], clock)[0].detections) >= 3


@pytest.fixture(scope="module")
def plain_node(ros, own_messages) -> Iterator[Process]:
    """What `pip install` alone gives: a node without the generated centertrack_ros.msg, where that can be left out."""
    environment = {}
    if own_messages:
        import centertrack_ros.msg

        built = Path(centertrack_ros.msg.__file__).parents[2]
        if not (built / "vision_msgs").is_dir():
            old = os.environ.get("PYTHONPATH", "").split(os.pathsep)
            rest = [str(ROOT), *(path for path in old if path and Path(path) != built)]
            environment["PYTHONPATH"] = os.pathsep.join(rest)
    process = start_node(RELIABLE, name="plain", **environment)
    yield process
    stop_node(process)


def test_without_its_own_messages_it_logs_that_and_publishes_the_rest(plain_node, own_messages, frames) -> None:
    if not own_messages:
        pytest.skip("the interfaces are not built here: every other test runs without them")
    if not plain_node.logged("are off"):
        pytest.skip("vision_msgs is installed in the same folder: the interfaces cannot be left out")
    probe = Probe("plain", outputs=("output/detections_2d",))
    try:
        probe.wait_for_node()
        assert len(plain_node.logged("~/output/tracks and ~/debug/timing are off")) == 1
        assert len(play(probe, frames[:1], CameraClock())[0].detections) >= 3
        topics = dict(probe.node.get_topic_names_and_types())
        assert "/plain/output/detections_3d" in topics and "/plain/output/tracks" not in topics
    finally:
        probe.close()


def test_images_of_another_process_are_tracked(plain_node) -> None:
    """Three processes: the bag player with JPEG images, the node, and this one, which subscribes."""
    from centertrack_ros.io.rosbag import BagReader

    with BagReader(CLIP) as reader:
        [topic] = reader.of_type("sensor_msgs/msg/CompressedImage")
    player = [sys.executable, "-m", "centertrack_ros.ros.player", str(CLIP)]
    camera = Process([*player, "--loop", "0", "--remap", f"{topic.name}:=/plain/input/image/compressed"])
    probe = Probe("plain", outputs=("output/detections_2d",))
    try:
        # A raw publisher would make the node subscribe to raw images.
        probe.node.destroy_publisher(probe.images)
        results = wait_until(
            lambda: probe.received["output/detections_2d"][8:], START_S, "results of the player's images"
        )
        assert len(results[-1].detections) >= 3
        assert results[-1].header.frame_id
    finally:
        camera.end()
        probe.close()
