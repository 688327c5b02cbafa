# SPDX-License-Identifier: Apache-2.0
"""The node with TF: 3D outputs in another frame, through real /tf traffic."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from centertrack_ros.geometry.transform import Transform
from support.ros_harness import (
    CAMERA_MOUNT,
    RELIABLE,
    ROOT,
    TORCH,
    CameraClock,
    Probe,
    Process,
    TransformPublisher,
    stamp_of,
    start_node,
    stop_node,
    wait_until,
)

HAS_TF2 = importlib.util.find_spec("tf2_ros") is not None
OUTPUTS = ("output/detections_3d", "output/detections_2d", "output/markers", "/diagnostics")


@pytest.fixture(scope="module")
def node(ros) -> Iterator[Process]:
    pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is not installed (make builds it from compat/tf2_msgs)")
    process = start_node(RELIABLE, TORCH, "diagnostics.period_s:=0.2", "diagnostics.waiting_s:=0.2", name="framed")
    yield process
    stop_node(process)


@pytest.fixture(scope="module")
def probe(node) -> Iterator[Probe]:
    probe = Probe("framed", outputs=OUTPUTS)
    with contextlib.suppress(ImportError):  # where the interfaces are not built
        probe.subscribe("output/tracks")
    probe.wait_for_node()
    probe.calibrate()
    yield probe
    probe.set_parameters(**{"output.fixed_frame": "", "output.target_frame": ""})
    probe.close()


def play(probe: Probe, frames: Sequence[np.ndarray], clock: CameraClock) -> list[Any]:
    """Resets the tracks and publishes each frame once the result of the one before is there; returns the results."""
    from std_srvs.srv import Trigger

    probe.call("reset_tracks", Trigger)
    results = []
    for frame in frames:
        stamp = clock.tick()
        probe.show(frame, stamp)
        results.append(probe.wait_for_message("output/detections_3d", stamp))
    return results


def pose_of(detection: Any) -> Transform:
    p, q = detection.bbox.center.position, detection.bbox.center.orientation
    return Transform.from_quaternion([q.x, q.y, q.z, q.w], [p.x, p.y, p.z])


def assert_moved(plain: Any, moved: Any, transform: Transform) -> None:
    """The same detections, seen from another frame."""
    assert [d.id for d in plain.detections] == [d.id for d in moved.detections] != []
    for one, other in zip(plain.detections, moved.detections, strict=True):
        expected = transform @ pose_of(one)
        np.testing.assert_allclose(pose_of(other).translation, expected.translation, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(pose_of(other).rotation, expected.rotation, atol=1e-6)
        assert other.bbox.size == one.bbox.size and other.results[0].pose.pose == other.bbox.center
        covariances = [np.array(d.results[0].pose.covariance).reshape(6, 6) for d in (one, other)]
        np.testing.assert_allclose(covariances[1], transform.covariances(covariances[0]), rtol=1e-5, atol=1e-9)


def test_boxes_come_in_the_target_frame_at_the_stamp_of_the_image(probe, frames, clock) -> None:
    """First as the camera sees them, then in the vehicle, then on the map along which the vehicle drives."""
    tf = TransformPublisher(probe)
    plain = play(probe, frames[:3], clock)
    assert plain[-1].header.frame_id == "camera_optical"
    assert all(r.successful for r in probe.set_parameters(**{"output.target_frame": "base_link"}))
    tf.wait_for_node()
    tf.publish("base_link", "camera_optical", CAMERA_MOUNT)
    time.sleep(0.3)
    for one, other in zip(plain, in_vehicle := play(probe, frames[:3], clock), strict=True):
        assert_moved(one, other, CAMERA_MOUNT)
        assert other.header.frame_id == other.detections[0].header.frame_id == "base_link"
        seen = probe.wait_for_message("output/detections_2d", stamp_of(other))
        assert seen.header.frame_id == "camera_optical" and seen.header.stamp == other.header.stamp
    people = [d.bbox.center.position for d in in_vehicle[-1].detections]
    assert min(p.x for p in people) > 3.0  # ahead of the vehicle
    shown = wait_until(lambda: probe.received["output/markers"], 5.0, "markers")[-1]
    assert {m.header.frame_id for m in shown.markers} == {"base_link"}

    probe.set_parameters(**{"output.target_frame": "map", "output.tf_timeout_s": 1.0})
    poses = [Transform.from_quaternion([0, 0, np.sin(i / 20), np.cos(i / 20)], [1e3 + i, -i, 0.0]) for i in range(9)]
    start = int(clock.now) + 1
    for i, pose in enumerate(poses):
        tf.publish("map", "base_link", pose, (start + i, 0))
    clock.now = start + 3.0 - clock.step
    on_map = play(probe, frames[:3], clock)
    for i, (one, other) in enumerate(zip(plain, on_map, strict=True)):
        after = 3.0 + i * clock.step  # between two samples: 1 m ahead and a tenth of a radian for each second
        base = Transform.from_quaternion([0, 0, np.sin(after / 20), np.cos(after / 20)], [1e3 + after, -after, 0.0])
        assert_moved(one, other, base @ CAMERA_MOUNT)
        assert other.header.frame_id == "map"


def test_without_a_transform_the_image_is_dropped_with_a_reason(probe, node, frames, clock) -> None:
    from diagnostic_msgs.msg import DiagnosticStatus

    assert probe.set_parameters(**{"output.target_frame": "world", "output.tf_timeout_s": 1.0})[0].successful
    tf = TransformPublisher(probe)
    tf.wait_for_node()
    tf.publish("vehicle", "camera_optical", CAMERA_MOUNT)
    start, dropped = len(node.lines), clock.tick()
    probe.show(frames[0], dropped)
    assert "world" in node.wait_for_line("dropped, no transform: ", start)
    if not HAS_TF2:  # which has words of its own
        assert node.logged("dropped, no transform: nobody has published a frame 'world'", start)

    def reported() -> bool:
        status, values = probe.status("framed: camera")
        return status.level >= DiagnosticStatus.WARN and "world" in status.message and int(values["TF failures"]) > 0

    wait_until(reported, 10.0, "diagnostics with the missing transform")
    _, values = probe.status("framed: camera")
    assert sum(int(values[k]) for k in ("processed", "dropped", "rejected")) == int(values["received"])

    tf.publish("world", "vehicle", Transform.identity(), (int(clock.now) - 1, 0))
    time.sleep(0.2)
    stamp = clock.tick()
    probe.show(frames[1], stamp)
    time.sleep(0.4)  # the transform is late, but not too late
    tf.publish("world", "vehicle", Transform.identity(), (int(clock.now) + 1, 0))
    result = probe.wait_for_message("output/detections_3d", stamp)
    assert result.header.frame_id == "world" and len(result.detections) >= 3
    assert dropped not in [stamp_of(m) for m in probe.received["output/detections_3d"]]


def test_malformed_transforms_are_rejected_and_the_node_goes_on(probe, node, frames, clock) -> None:
    """Cycles, frames without a name, invalid rotations and positions, impossible stamps."""
    from geometry_msgs.msg import TransformStamped
    from tf2_msgs.msg import TFMessage

    assert probe.set_parameters(**{"output.target_frame": "moon", "output.tf_timeout_s": 0.0})[0].successful
    tf = TransformPublisher(probe)
    tf.wait_for_node()
    tf.publish("moon", "camera_optical", CAMERA_MOUNT)
    nan, inf = float("nan"), float("inf")
    for parent, child, w, x, stamp in (
        ("", "", 1.0, 0.0, (0, 0)), ("a", "a", 1.0, 0.0, (1, 0)), ("a", "b", 1.0, 0.0, (1, 0)),
        ("b", "a", 1.0, 0.0, (1, 0)), ("moon", "camera_optical", 0.0, 0.0, (1, 0)),
        ("moon", "camera_optical", nan, 0.0, (1, 0)), ("moon", "camera_optical", 1.0, inf, (1, 0)),
        ("moon", "far", 1.0, 1e308, (1, 0)), ("x" * 10**5, "y" * 10**5, 1.0, 0.0, (-5, 4_294_967_295)),
    ):  # fmt: skip
        message = TransformStamped(child_frame_id=child)
        message.header.frame_id, message.transform.rotation.w, message.transform.translation.x = parent, w, x
        message.header.stamp.sec, message.header.stamp.nanosec = stamp
        for publisher in (tf.moving, tf.fixed):
            publisher.publish(TFMessage(transforms=[message]))
    if HAS_TF2:  # it has words of its own, and takes an infinite position until a valid one comes
        tf.publish("moon", "camera_optical", CAMERA_MOUNT)
    else:
        node.wait_for_line("two different frames")
        node.wait_for_line("of frame 'camera_optical' ignored")
    for target in ("far", "a", "moon"):
        assert probe.set_parameters(**{"output.target_frame": target})[0].successful
        for stamp in ((-7, 3), clock.tick()):
            probe.show(frames[0], stamp)
    result = probe.wait_for_message("output/detections_3d", stamp)
    assert result.header.frame_id == "moon" and len(result.detections) >= 3
    assert not node.logged("Traceback") and all(len(line) < 1000 for line in node.lines)


def test_frames_can_be_set_in_any_order(probe, frames, clock) -> None:
    """One by one, as `ros2 param load` does: a fixed frame alone changes nothing."""
    for name in ("output.target_frame", "output.fixed_frame"):
        assert probe.set_parameters(**{name: ""})[0].successful
    tf = TransformPublisher(probe)
    tf.wait_for_node()
    tf.publish("vehicle", "camera_optical", CAMERA_MOUNT)
    assert probe.set_parameters(**{"output.fixed_frame": "nowhere"})[0].successful
    assert play(probe, frames[:1], clock)[0].header.frame_id == "camera_optical"
    assert probe.set_parameters(**{"output.fixed_frame": "vehicle"})[0].successful
    assert probe.set_parameters(**{"output.target_frame": "vehicle"})[0].successful
    assert play(probe, frames[:1], clock)[0].header.frame_id == "vehicle"


def test_without_tf_packages_a_target_frame_is_one_clear_error(ros) -> None:
    if HAS_TF2:
        pytest.skip("tf2_ros is installed here: it cannot be left out")
    import tf2_msgs.msg

    installed = Path(tf2_msgs.msg.__file__).parents[2]
    rest = [str(ROOT), *(p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and Path(p) != installed)]
    path = os.pathsep.join(rest)
    node = start_node(
        TORCH,
        "output.target_frame:=base_link",
        "diagnostics.period_s:=0.2",
        name="lonely",
        ready="[ERROR]",
        PYTHONPATH=path,
    )
    probe = Probe("lonely", outputs=("/diagnostics", "output/detections_3d"))
    try:
        [line] = node.logged("[ERROR]")
        assert "cannot be configured: output.target_frame needs tf2_ros" in line
        wait_until(lambda: probe.status("lonely"), 10.0, "diagnostics")
        assert probe.set_parameters(**{"output.target_frame": ""})[0].successful
        from lifecycle_msgs.msg import Transition

        for number in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            assert probe.change_state(number)
        [rejected] = probe.set_parameters(**{"output.target_frame": "base_link"})
        assert not rejected.successful and "needs tf2_ros" in rejected.reason
    finally:
        probe.close()
        stop_node(node)


def test_velocities_are_estimated_in_the_fixed_frame(probe, frames, clock) -> None:
    """The same image again and again, from a vehicle that drives ahead: all objects drive ahead at its speed."""
    pytest.importorskip("centertrack_ros.msg", reason="the interfaces are not built")
    speed, tf = 3.0, TransformPublisher(probe)
    assert probe.set_parameters(**{"output.target_frame": "car", "output.fixed_frame": "odometry"})[0].successful
    tf.wait_for_node()
    tf.publish("car", "camera_optical", CAMERA_MOUNT)
    start = int(clock.now) + 1
    for second in range(5):
        tf.publish("odometry", "car", Transform(np.eye(3), np.array([speed * second, 7.0, 0.0])), (start + second, 0))
    clock.now = start + 0.05
    results = play(probe, [frames[0]] * 30, clock)
    first, last = (probe.wait_for_message("output/tracks", stamp_of(results[i])) for i in (0, -1))
    assert last.tracks and all(np.isnan(track.velocity.x) for track in first.tracks)
    for track in last.tracks:
        velocity = np.array([track.velocity.x, track.velocity.y, track.velocity.z])
        if np.isfinite(velocity).all():  # close enough for an estimate
            assert np.abs(velocity - [speed, 0.0, 0.0]).max() < 0.3
    assert sum(np.isfinite(track.velocity.x) for track in last.tracks) >= 3
