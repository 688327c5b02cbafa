# SPDX-License-Identifier: Apache-2.0
"""`classes.<name>.<limit>` and regions: given at start, set and removed live, refused with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")

from rclpy.node import Node
from rclpy.parameter import Parameter

from centertrack_ros.replay.parameters import load_parameters
from centertrack_ros.ros.declared_parameters import DeclaredParameters
from centertrack_ros.ros.parameters import NodeParameters
from centertrack_ros.tracking.class_limits import ClassLimits
from centertrack_ros.tracking.session import FROM_POSE
from support.ros_harness import RELIABLE, TORCH, CameraClock, Probe, image_message, start_node, stop_node


def start(applied: list[NodeParameters], **overrides: Any) -> tuple[Node, DeclaredParameters]:
    """A node with the tracker's parameters; `applied` gets every set that comes into force."""
    given = [Parameter(name, value=value) for name, value in overrides.items()]
    node = Node("with_classes", parameter_overrides=given, allow_undeclared_parameters=True)
    return node, DeclaredParameters(node, lambda: False, applied.append)


@pytest.fixture
def declared(ros) -> Iterator[tuple[Node, DeclaredParameters]]:
    node, parameters = start([], **{"classes.truck.new_threshold": 0.35, "classes.traffic_light.min_size": 20})
    yield node, parameters
    node.destroy_node()


def test_limits_that_are_given_at_start_are_declared_and_in_force(declared: Any) -> None:
    node, parameters = declared
    assert node.get_parameter("classes.truck.new_threshold").value == 0.35
    assert dict(parameters.current.tracker.class_limits) == {
        "truck": ClassLimits(new_threshold=0.35),
        "traffic_light": ClassLimits(min_size=20.0),
    }


def test_limits_can_be_set_changed_and_removed_live(declared: Any) -> None:
    node, parameters = declared
    assert node.set_parameters([Parameter("classes.person.rebirth", value=3.0)])[0].successful
    assert parameters.current.tracker.class_limits["person"] == ClassLimits(rebirth=3.0)
    assert node.set_parameters([Parameter("classes.truck.new_threshold", value=-1.0)])[0].successful
    assert parameters.current.tracker.class_limits["truck"] == ClassLimits()
    assert node.set_parameters([Parameter("classes.person.rebirth")])[0].successful  # ros2 param delete
    assert "person" not in parameters.current.tracker.class_limits


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("classes.person.new_treshold", 0.3, "expected classes.NAME.LIMIT, limits are track_threshold"),
        ("classes.person", 0.3, "expected classes.NAME.LIMIT"),
        ("classes.person.new_threshold", "high", "must be a number"),
        ("classes.person.new_threshold", 1.5, "must be between -1 and 1; got 1.5"),
        ("classes.traffic_light.max_size", 10.0, "max_size must not be below min_size"),
        ("detector.clases", ["car"], "the node has no parameter 'detector.clases'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(declared: Any, name: str, value: Any, words: str) -> None:
    node, parameters = declared
    before = parameters.current
    [result] = node.set_parameters([Parameter(name, value=value)])
    assert not result.successful and words in result.reason
    assert parameters.current is before and not node.has_parameter(name)


def test_a_wrong_limit_at_start_is_an_error(ros: None) -> None:
    with pytest.raises(ValueError, match=r"there is no parameter 'classes\.person\.speed'"):
        start([], **{"classes.person.speed": 3.0})


def test_a_replay_takes_the_same_parameters(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("/**:\n  ros__parameters:\n    classes:\n      truck: {new_threshold: 0.3, max_range: 80}\n")
    tracker = load_parameters([file], ["classes.car.rebirth:=1.5"]).tracker
    assert tracker.class_limits == {
        "truck": ClassLimits(new_threshold=0.3, max_range=80.0),
        "car": ClassLimits(rebirth=1.5),
    }
    with pytest.raises(ValueError, match=r"own.yaml.*|'classes.car.rebirth:=x'.*must be a number"):
        load_parameters([file], ["classes.car.rebirth:=x"])


def test_every_camera_has_a_region_of_its_own() -> None:
    session = load_parameters([], ["cameras:=[left, right]", "detector.regions:=['', '0,0 1,0 1,1']"]).session
    assert session.regions[0] is None and session.regions[1] is not None
    with pytest.raises(ValueError, match=r"detector\.regions needs one entry for each of 1 cameras, got 2"):
        _ = load_parameters([], ["detector.regions:=['0,0 1,0 1,1', '']"]).session


def test_every_camera_has_a_height_and_a_pitch_of_its_own() -> None:
    two, tf = "cameras:=[left, right]", "output.target_frame:=base_link"
    session = load_parameters([], [two, tf, "camera.heights:=['1.5', tf]", "camera.pitches:=['', '12']"]).session
    assert session.camera_heights == (1.5, FROM_POSE) and session.camera_pitches == (0.0, 12.0)
    both = load_parameters([], [two, tf, "camera.height:=-1.0"])
    assert both.session.camera_heights == (FROM_POSE, FROM_POSE) and both.tracker.camera_height == 0.0
    assert load_parameters([], ["camera.height:=1.6"]).session.camera_heights == ()
    for wrong, reason in (
        ([tf, "camera.heights:=['1', '2']"], r"camera\.heights needs one entry for each of 1 cameras, got 2"),
        (["camera.height:=-1.0"], r"needs output\.target_frame"),
        (["camera.heights:=[high]"], r"camera\.heights: expected a number or 'tf' for each camera, got 'high'"),
        (["camera.pitches:=['90']"], r"camera_pitch must be between -75 and 75"),
    ):
        with pytest.raises(ValueError, match=reason):
            _ = load_parameters([], wrong).session


def test_limits_and_regions_hold_from_the_next_image_on(ros: None, frames: Any) -> None:
    process = start_node(RELIABLE, TORCH, "classes.person.min_size:=1000", name="limited")
    probe, clock = Probe("limited", outputs=("output/detections_2d",)), CameraClock()

    def people() -> int:
        stamp = clock.tick()
        probe.images.publish(image_message(frames[0], stamp))
        found = probe.wait_for_message("output/detections_2d", stamp).detections
        return sum(one.results[0].hypothesis.class_id == "person" for one in found)

    try:
        probe.wait_for_node()
        assert people() == 0
        assert probe.set_parameters(**{"classes.person.min_size": 0.0})[0].successful
        assert people() >= 3
        [result] = probe.set_parameters(**{"classes.perzon.min_size": 10.0})
        assert not result.successful and "no class 'perzon'; did you mean 'person'" in result.reason
        assert probe.set_parameters(**{"detector.classes": ["car"]})[0].successful
        assert people() == 0
        [result] = probe.set_parameters(**{"detector.regions": ["0,0 1,1"]})
        assert not result.successful and "at least 3 corners" in result.reason
    finally:
        probe.close()
        stop_node(process)
