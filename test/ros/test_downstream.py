# SPDX-License-Identifier: Apache-2.0
"""What other stacks take from the node, over DDS: a chosen object for Nav2, Autoware's objects, motion states."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from centertrack_ros.ros.autoware import label_of
from support.ros_harness import (
    CAMERA_MOUNT,
    RELIABLE,
    TORCH,
    CameraClock,
    Probe,
    Process,
    TransformPublisher,
    start_node,
    stop_node,
    wait_until,
)

pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is not installed (make builds it from compat/tf2_msgs)")
services = pytest.importorskip("centertrack_ros.srv", reason="the interfaces of this package are not built")
autoware = pytest.importorskip("autoware_perception_msgs.msg", reason="autoware_perception_msgs is not installed")

OUTPUTS = ("output/detections_3d", "output/detections_2d", "output/tracks", "/diagnostics")


@pytest.fixture(scope="module")
def node(ros) -> Iterator[Process]:
    process = start_node(
        *(RELIABLE, TORCH, "diagnostics.period_s:=0.2", "diagnostics.max_age_s:=1.0", "output.publish_autoware:=true"),
        *("output.target_frame:=odom", "output.fixed_frame:=odom", "output.tf_timeout_s:=1.0"),
        name="downstream",
    )
    yield process
    stop_node(process)


@pytest.fixture(scope="module")
def probe(node) -> Iterator[Probe]:
    from geometry_msgs.msg import PoseStamped
    from tf2_msgs.msg import TFMessage

    probe = Probe("downstream", outputs=OUTPUTS)
    probe.subscribe("output/selected_pose", PoseStamped)
    probe.subscribe("output/tracked_objects", autoware.TrackedObjects)
    probe.subscribe("output/detected_objects", autoware.DetectedObjects)
    probe.subscribe("/tf", TFMessage)
    tf = TransformPublisher(probe)
    probe.wait_for_node()
    tf.wait_for_node()
    tf.publish("odom", "camera_optical", CAMERA_MOUNT)
    time.sleep(0.3)
    probe.calibrate()
    yield probe
    probe.close()


def play(probe: Probe, frames: Any, clock: CameraClock) -> list[tuple[int, int]]:
    """Publishes each image once the result of the one before is there; returns the stamps."""
    stamps = []
    for frame in frames:
        stamps.append(clock.tick())
        probe.show(frame, stamps[-1])
        probe.wait_for_message("output/tracks", stamps[-1])
    return stamps


def chosen_frames(probe: Probe) -> list[Any]:
    return [t for m in probe.received["/tf"] for t in m.transforms if t.child_frame_id == "selected_object"]


def test_a_click_chooses_an_object_whose_pose_is_followed_until_it_is_lost(probe, frames, clock) -> None:
    stamp = play(probe, frames[:3], clock)[-1]
    people = probe.wait_for_message("output/detections_2d", stamp).detections
    solid = {d.id for d in probe.wait_for_message("output/detections_3d", stamp).detections}
    target = min((d for d in people if d.id in solid), key=lambda d: d.bbox.size_x * d.bbox.size_y)
    answer = probe.call("select", services.Select, pixel=[target.bbox.center.position])
    assert answer.success and str(answer.id) == target.id
    before = len(probe.received["output/selected_pose"])
    for stamp in play(probe, frames[3:6], clock):
        pose = probe.wait_for_message("output/selected_pose", stamp)
        box = probe.wait_for_message("output/detections_3d", stamp)
        [same] = [d for d in box.detections if d.id == target.id]
        assert pose.pose == same.bbox.center and pose.header == box.header
    assert len(probe.received["output/selected_pose"]) == before + 3
    frame = wait_until(lambda: chosen_frames(probe)[2:], 5.0, "the object's TF frame")[-1]
    assert frame.header.frame_id == "odom"
    assert frame.transform.translation.x == pytest.approx(pose.pose.position.x)
    _, values = probe.next_status("downstream")
    assert values["selected object"] == f"track {target.id}"

    play(probe, [np.zeros_like(frames[0])] * 3, clock)  # darkness: everybody is lost

    def lost() -> str:
        status, values = probe.next_status("downstream")
        return status.message if "lost" in values["selected object"] else ""

    assert f"track {target.id}, is lost" in wait_until(lost, 5.0, "diagnostics of the loss")
    assert len(probe.received["output/selected_pose"]) == before + 3
    assert probe.call("select", services.Select).success
    assert probe.next_status("downstream")[1]["selected object"] == "none"


def test_a_request_that_names_nothing_is_one_sentence_and_changes_nothing(probe, frames, clock) -> None:
    from vision_msgs.msg import Point2D

    stamp = play(probe, frames[:3], clock)[-1]
    known = probe.wait_for_message("output/tracks", stamp).tracks[0].id
    assert probe.call("select", services.Select, id=known).success
    for words, fields in (
        ("no track 4711", {"id": 4711}),
        ("no object at", {"pixel": [Point2D(x=-50.0, y=float("nan"))]}),
        ("no camera 'rear'", {"id": known, "camera": "rear"}),
    ):
        answer = probe.call("select", services.Select, **fields)
        assert not answer.success and words in answer.message and answer.id == known
    clock.now += 60.0  # a gap resets the tracks: the id stands for nobody any more
    play(probe, frames[:2], clock)
    assert probe.next_status("downstream")[1]["selected object"] == "none"


def test_autoware_gets_the_objects_of_the_3d_detections(probe, frames, clock) -> None:
    identities: dict[str, set[bytes]] = {}
    for stamp in play(probe, frames[:5], clock):
        boxes = probe.wait_for_message("output/detections_3d", stamp)
        tracked = probe.wait_for_message("output/tracked_objects", stamp)
        detected = probe.wait_for_message("output/detected_objects", stamp)
        assert tracked.header == detected.header == boxes.header
        assert len(tracked.objects) == len(detected.objects) == len(boxes.detections) > 0
        for box, item in zip(boxes.detections, tracked.objects, strict=True):
            assert item.kinematics.pose_with_covariance.pose == box.bbox.center
            label = getattr(autoware.ObjectClassification, label_of(box.results[0].hypothesis.class_id))
            assert item.classification[0].label == label
            identities.setdefault(box.id, set()).add(bytes(item.object_id.uuid))
    assert all(len(uuids) == 1 for uuids in identities.values())
    assert len(set.union(*identities.values())) == len(identities)


def test_in_a_fixed_frame_velocities_have_covariances_and_states(probe, frames, clock) -> None:
    """A camera that stands: after a second of walking somebody is known to move, and nobody was before."""
    stamps = play(probe, frames, clock)
    first, last = (probe.wait_for_message("output/tracks", stamp).tracks for stamp in (stamps[0], stamps[-1]))
    assert {track.motion_state for track in first} == {0}
    seen = [track for track in last if track.state == track.STATE_TRACKED and track.lift]
    assert all(np.linalg.eigvalsh(np.reshape(track.velocity_covariance, (3, 3))).min() > 0 for track in seen)
    for track in last:
        speed = np.hypot(track.velocity.x, track.velocity.y)
        assert track.motion_state != track.MOTION_MOVING or speed > 0.3
        assert track.motion_state != track.MOTION_STANDING or speed < 1.4
