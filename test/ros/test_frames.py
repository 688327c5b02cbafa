# SPDX-License-Identifier: Apache-2.0
"""The node with TF: outputs in another frame, and several cameras as one view, through real /tf traffic."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from centertrack_ros.geometry.transform import Transform
from support.ros_harness import (
    ROOT,
    CameraClock,
    Probe,
    Process,
    TransformPublisher,
    camera_info_message,
    demo_frames,
    image_message,
    stamp_of,
    start_node,
    stop_node,
    wait_until,
)

OUTPUTS = ("output/detections_3d", "output/detections_2d", "output/markers", "/diagnostics")
# A camera that looks ahead of the vehicle: optical axes x right, y down, z ahead in x ahead, y left, z up.
LOOKING_AHEAD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
MOUNT = Transform(LOOKING_AHEAD, np.array([1.5, 0.2, 1.6]))


@pytest.fixture(scope="module")
def node(ros) -> Iterator[Process]:
    pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is not installed (make builds it from compat/tf2_msgs)")
    process = start_node("diagnostics.period_s:=0.2", "diagnostics.waiting_s:=0.2", name="framed")
    yield process
    stop_node(process)


@pytest.fixture(scope="module")
def probe(node) -> Iterator[Probe]:
    probe = Probe("framed", outputs=OUTPUTS)
    with contextlib.suppress(ImportError):  # where the interfaces are not built
        probe.subscribe("output/tracks")
    probe.wait_for_node()
    yield probe
    set_parameters(probe, **{"output.fixed_frame": "", "output.target_frame": ""})
    probe.close()


@pytest.fixture
def clock(probe) -> CameraClock:
    probe.hour = getattr(probe, "hour", time.time()) + 3600.0
    return CameraClock(probe.hour)


def set_parameters(probe: Probe, **values: Any) -> list[Any]:
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter

    parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
    return probe.call("set_parameters", SetParameters, parameters=parameters).results


def show(probe: Probe, frame: np.ndarray, stamp: tuple[int, int]) -> None:
    """What a camera's driver sends."""
    probe.infos.publish(camera_info_message(frame.shape[1], frame.shape[0], stamp))
    probe.images.publish(image_message(frame, stamp))


def play(probe: Probe, frames: Sequence[np.ndarray], clock: CameraClock) -> list:
    from std_srvs.srv import Trigger

    probe.call("reset_tracks", Trigger)
    answers = []
    for frame in frames:
        stamp = clock.tick()
        show(probe, frame, stamp)
        answers.append(probe.wait_for_message("output/detections_3d", stamp))
    return answers


def pose_of(detection: Any) -> Transform:
    p, q = detection.bbox.center.position, detection.bbox.center.orientation
    return Transform.from_quaternion([q.x, q.y, q.z, q.w], [p.x, p.y, p.z])


def assert_moved(plain: Any, moved: Any, transform: Transform) -> None:
    """The same detections, seen from another frame."""
    assert [d.id for d in plain.detections] == [d.id for d in moved.detections] != []
    for one, other in zip(plain.detections, moved.detections, strict=True):
        expected = transform @ pose_of(one)
        np.testing.assert_allclose(pose_of(other).translation, expected.translation, atol=1e-6)
        np.testing.assert_allclose(pose_of(other).rotation, expected.rotation, atol=1e-6)
        assert other.bbox.size == one.bbox.size and other.results[0].pose.pose == other.bbox.center
        covariances = [np.array(d.results[0].pose.covariance).reshape(6, 6) for d in (one, other)]
        np.testing.assert_allclose(covariances[1], transform.covariances(covariances[0]), rtol=1e-6, atol=1e-9)


def test_boxes_come_in_the_target_frame_at_the_stamp_of_the_image(probe, frames, clock) -> None:
    """First as the camera sees them, then in the vehicle, then on the map along which the vehicle drives."""
    tf = TransformPublisher(probe)
    plain = play(probe, frames[:3], clock)
    assert plain[-1].header.frame_id == "camera_optical"
    assert all(r.successful for r in set_parameters(probe, **{"output.target_frame": "base_link"}))
    wait_until(tf.fixed.get_subscription_count, 10.0, "the node to listen to /tf_static")
    wait_until(tf.moving.get_subscription_count, 10.0, "the node to listen to /tf")
    tf.publish("base_link", "camera_optical", MOUNT)
    time.sleep(0.3)
    for one, other in zip(plain, in_vehicle := play(probe, frames[:3], clock), strict=True):
        assert_moved(one, other, MOUNT)
        assert other.header.frame_id == other.detections[0].header.frame_id == "base_link"
        seen = probe.wait_for_message("output/detections_2d", stamp_of(other))
        assert seen.header.frame_id == "camera_optical" and seen.header.stamp == other.header.stamp
    people = [d.bbox.center.position for d in in_vehicle[-1].detections]
    assert min(p.x for p in people) > 3.0  # ahead of the vehicle
    shown = wait_until(lambda: probe.received["output/markers"], 5.0, "markers")[-1]
    assert {m.header.frame_id for m in shown.markers} == {"base_link"}

    set_parameters(probe, **{"output.target_frame": "map", "output.tf_timeout_s": 1.0})
    poses = [Transform.from_quaternion([0, 0, np.sin(i / 20), np.cos(i / 20)], [1e3 + i, -i, 0.0]) for i in range(9)]
    start = int(clock.now) + 1
    for i, pose in enumerate(poses):
        tf.publish("map", "base_link", pose, (start + i, 0))
    clock.now = start + 3.0 - clock.step
    on_map = play(probe, frames[:3], clock)
    for i, (one, other) in enumerate(zip(plain, on_map, strict=True)):
        after = 3.0 + i * clock.step  # between two samples: 1 m ahead and a tenth of a radian for each second
        base = Transform.from_quaternion([0, 0, np.sin(after / 20), np.cos(after / 20)], [1e3 + after, -after, 0.0])
        assert_moved(one, other, base @ MOUNT)
        assert other.header.frame_id == "map"


def test_a_transform_that_is_missing_costs_the_frame_and_says_so(probe, node, frames, clock) -> None:
    from diagnostic_msgs.msg import DiagnosticStatus

    assert set_parameters(probe, **{"output.target_frame": "world", "output.tf_timeout_s": 1.0})[0].successful
    tf = TransformPublisher(probe)
    wait_until(tf.moving.get_subscription_count, 10.0, "the node to listen to /tf")
    wait_until(tf.fixed.get_subscription_count, 10.0, "the node to listen to /tf_static")
    tf.publish("vehicle", "camera_optical", MOUNT)
    start, lost = len(node.lines), clock.tick()
    show(probe, frames[0], lost)
    node.wait_for_line("dropped, no transform: nobody has published a frame 'world'", start)

    def told() -> bool:
        status, values = probe.status("framed: camera")
        return status.level >= DiagnosticStatus.WARN and "world" in status.message and int(values["TF failures"]) > 0

    wait_until(told, 10.0, "diagnostics that tell of the missing transform")
    _, values = probe.status("framed: camera")
    assert sum(int(values[k]) for k in ("processed", "dropped", "rejected")) == int(values["received"])

    tf.publish("world", "vehicle", Transform.identity(), (int(clock.now) - 1, 0))
    time.sleep(0.2)
    stamp = clock.tick()
    show(probe, frames[1], stamp)
    time.sleep(0.4)  # the transform is late, but not too late
    tf.publish("world", "vehicle", Transform.identity(), (int(clock.now) + 1, 0))
    answer = probe.wait_for_message("output/detections_3d", stamp)
    assert answer.header.frame_id == "world" and len(answer.detections) >= 3
    assert lost not in [stamp_of(m) for m in probe.received["output/detections_3d"]]


def test_no_transform_on_tf_ends_the_node(probe, node, frames, clock) -> None:
    """Rings, frames without a name, rotations and places that are none, stamps that no clock gives."""
    from geometry_msgs.msg import TransformStamped
    from tf2_msgs.msg import TFMessage

    assert set_parameters(probe, **{"output.target_frame": "moon", "output.tf_timeout_s": 0.0})[0].successful
    tf = TransformPublisher(probe)
    for publisher in (tf.moving, tf.fixed):
        wait_until(publisher.get_subscription_count, 10.0, "the node to listen to TF")
    tf.publish("moon", "camera_optical", MOUNT)
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
    node.wait_for_line("two different frames")
    node.wait_for_line("of frame 'camera_optical' ignored")
    for target in ("far", "a", "moon"):
        assert set_parameters(probe, **{"output.target_frame": target})[0].successful
        for stamp in ((-7, 3), clock.tick()):
            show(probe, frames[0], stamp)
    answer = probe.wait_for_message("output/detections_3d", stamp)
    assert answer.header.frame_id == "moon" and len(answer.detections) >= 3
    assert not node.logged("Traceback") and all(len(line) < 1000 for line in node.lines)


def test_frames_can_be_set_in_any_order(probe, frames, clock) -> None:
    """As `ros2 param load` does, one by one: a fixed frame alone changes nothing."""
    for name in ("output.target_frame", "output.fixed_frame"):
        assert set_parameters(probe, **{name: ""})[0].successful
    tf = TransformPublisher(probe)
    wait_until(tf.fixed.get_subscription_count, 10.0, "the node to listen to /tf_static")
    tf.publish("vehicle", "camera_optical", MOUNT)
    assert set_parameters(probe, **{"output.fixed_frame": "nowhere"})[0].successful
    assert play(probe, frames[:1], clock)[0].header.frame_id == "camera_optical"
    assert set_parameters(probe, **{"output.fixed_frame": "vehicle"})[0].successful
    assert set_parameters(probe, **{"output.target_frame": "vehicle"})[0].successful
    assert play(probe, frames[:1], clock)[0].header.frame_id == "vehicle"


def test_where_tf_is_missing_a_target_frame_is_one_clear_error(ros) -> None:
    import importlib.util

    if importlib.util.find_spec("tf2_ros") is not None:
        pytest.skip("tf2_ros is installed here: it cannot be left out")
    import tf2_msgs.msg

    installed = Path(tf2_msgs.msg.__file__).parents[2]
    rest = [str(ROOT), *(p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and Path(p) != installed)]
    path = os.pathsep.join(rest)
    node = start_node(
        "output.target_frame:=base_link", "diagnostics.period_s:=0.2", name="lonely", ready="[ERROR]", PYTHONPATH=path
    )
    probe = Probe("lonely", outputs=("/diagnostics", "output/detections_3d"))
    try:
        [line] = node.logged("[ERROR]")
        assert "cannot be configured: output.target_frame needs tf2_ros" in line
        wait_until(lambda: probe.status("lonely"), 10.0, "diagnostics")
        assert set_parameters(probe, **{"output.target_frame": ""})[0].successful
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        for number in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            assert probe.call("change_state", ChangeState, transition=Transition(id=number)).success
        [refused] = set_parameters(probe, **{"output.target_frame": "base_link"})
        assert not refused.successful and "needs tf2_ros" in refused.reason
    finally:
        probe.close()
        stop_node(node)


def test_where_tracks_have_been_tells_their_velocities(probe, frames, clock) -> None:
    """The same picture again and again, from a vehicle that drives ahead: all in it drive ahead as fast."""
    pytest.importorskip("centertrack_ros.msg", reason="the interfaces are not built")
    speed, tf = 3.0, TransformPublisher(probe)
    assert set_parameters(probe, **{"output.target_frame": "car", "output.fixed_frame": "odometry"})[0].successful
    for publisher in (tf.moving, tf.fixed):
        wait_until(publisher.get_subscription_count, 10.0, "the node to listen to TF")
    tf.publish("car", "camera_optical", MOUNT)
    start = int(clock.now) + 1
    for second in range(5):
        tf.publish("odometry", "car", Transform(np.eye(3), np.array([speed * second, 7.0, 0.0])), (start + second, 0))
    clock.now = start + 0.05
    answers = play(probe, [frames[0]] * 30, clock)
    first, last = (probe.wait_for_message("output/tracks", stamp_of(answers[i])) for i in (0, -1))
    assert last.tracks and all(np.isnan(track.velocity.x) for track in first.tracks)
    for track in last.tracks:
        velocity = np.array([track.velocity.x, track.velocity.y, track.velocity.z])
        if np.isfinite(velocity).all():  # near enough to be sure
            assert np.abs(velocity - [speed, 0.0, 0.0]).max() < 0.3
    assert sum(np.isfinite(track.velocity.x) for track in last.tracks) >= 3


# Several cameras


class Rig:
    """Cameras that look at the same scene from the same place: what one sees, the others see there too."""

    def __init__(self, name: str, cameras: Sequence[str]) -> None:
        self.view = Probe(name, "unused", outputs=("output/detections_3d", "output/markers", "/diagnostics"))
        with contextlib.suppress(ImportError):  # where the interfaces are not built
            self.view.subscribe("output/tracks")
        self.view.node.destroy_publisher(self.view.images)
        self.view.node.destroy_publisher(self.view.infos)
        self.probes = {camera: Probe(name, camera, [f"output/{camera}/detections_3d"]) for camera in cameras}
        for probe in self.probes.values():
            probe.wait_for_node()
        tf = TransformPublisher(self.view)
        wait_until(tf.fixed.get_subscription_count, 10.0, "the node to listen to /tf_static")
        tf.publish("base_link", "camera_optical", MOUNT)
        tf.publish("odom", "base_link", Transform.identity())
        time.sleep(0.3)

    def show(self, frame: np.ndarray, clock: CameraClock, cameras: Sequence[str]) -> tuple[Any, dict[str, Any]]:
        """The newest merged view with the answers of the cameras, once all of them are in it."""
        stamp = clock.tick()
        for camera in cameras:
            show(self.probes[camera], frame, stamp)
        answers = {c: self.probes[c].wait_for_message(f"output/{c}/detections_3d", stamp) for c in cameras}
        # Images that come at the same time go through the network together or one after the other.
        count = max(len(answer.detections) for answer in answers.values())

        def merged() -> Any:
            views = [m for m in list(self.view.received["output/detections_3d"]) if stamp_of(m) == stamp]
            return views[-1] if views and len(views[-1].detections) >= count else None

        return wait_until(merged, 20.0, f"a view of {count} objects"), answers

    def close(self) -> None:
        for probe in (self.view, *self.probes.values()):
            probe.close()


def ids_of(message: Any) -> set[str]:
    return {d.id for d in message.detections}


def test_several_cameras_are_one_view_with_every_person_once(ros, frames) -> None:
    """Two cameras see the same people; then only the one does, then only the other: ids stay, nobody is there twice."""
    pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is not installed (make builds it from compat/tf2_msgs)")
    parameters = ("cameras:=[left,right]", "output.target_frame:=base_link", "output.fixed_frame:=odom")
    node = start_node(*parameters, "diagnostics.period_s:=0.2", "detector.classes:=[person]", name="around")
    rig = None
    try:
        rig = Rig("around", ("left", "right"))
        clock, seen = CameraClock(), []
        for index, frame in enumerate(frames):
            cameras = ("left", "right") if index < 4 else ("left",) if index < 8 else ("right",)
            view, answers = rig.show(frame, clock, cameras)
            assert view.header.frame_id == "base_link" and len(ids_of(view)) == len(view.detections)
            assert all(ids_of(answer) <= ids_of(view) for answer in answers.values())
            seen.append(ids_of(next(iter(answers.values()))))
            if index in (3, 7):  # what another camera saw last stays in the view for half a second
                both = [ids_of(answer) for answer in answers.values()]
                assert len(both[0] & both[-1]) == len(both[0]) == len(view.detections) >= 3
            for detection in view.detections:
                assert detection.header == view.header and detection.bbox.center.position.x > 3.0
        print(f"\nids by frame: {', '.join('/'.join(sorted(ids, key=int)) for ids in seen)}")
        assert len(seen[0] & seen[-1]) >= 3
        assert len(seen[7] & seen[8]) >= 3  # from the left camera to the right one
        status = wait_until(lambda: rig.view.status("around: left"), 10.0, "diagnostics of a camera")
        assert status[1]["TF failures"] == "0"
        shown = wait_until(lambda: rig.view.received["output/markers"], 5.0, "markers")[-1]
        assert {m.header.frame_id for m in shown.markers} == {"base_link"}
        for message in rig.view.received["output/tracks"]:
            same = [m for m in rig.view.received["output/detections_3d"] if m.header == message.header]
            assert {str(t.id) for t in message.tracks} in [ids_of(m) for m in same]
            assert all(t.class_name == "person" and t.bbox_3d.center.position.x > 3.0 for t in message.tracks)

        [result] = set_parameters(rig.view, **{"surround.cross_camera_ids": False})
        assert result.successful
        view, answers = rig.show(frames[0], clock, ("left", "right"))
        own = [ids_of(answer) for answer in answers.values()]
        assert not own[0] & own[1] and len(own[0]) == len(own[1]) == len(view.detections) >= 3

        # Without a target frame there is no view, and each camera counts its own tracks from 1.
        set_parameters(rig.view, **{"output.fixed_frame": "", "output.target_frame": ""})
        before, stamp = len(rig.view.received["output/detections_3d"]), clock.tick()
        for camera in ("left", "right"):
            show(rig.probes[camera], frames[1], stamp)
        for camera in ("left", "right"):
            answer = rig.probes[camera].wait_for_message(f"output/{camera}/detections_3d", stamp)
            assert answer.header.frame_id == "camera_optical" and ids_of(answer) >= {"1", "2"}
        assert len(rig.view.received["output/detections_3d"]) == before
        assert not node.logged("a frame failed")
    finally:
        if rig is not None:
            rig.close()
        stop_node(node)
