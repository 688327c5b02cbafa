# SPDX-License-Identifier: Apache-2.0
"""`ros2 param` over every parameter: listed, described, dumped, loaded with good values, refused with bad ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")

from centertrack_ros.ros.parameter_specs import LIVE, READ_ONLY, SPECS, UNCONFIGURED, Spec
from support.ros_harness import Process, wait_until
from support.workspace import Workspace, flat, parameters_of

pytestmark = pytest.mark.packaging

NODE = "/tuned"
# Texts, and values which have to suit the others.
GOOD: dict[str, Any] = {
    "cameras": ["front", "rear"],
    "model.weights": "mobilenetv3-coco",
    "model.engine": "torch",
    "model.device": "cpu",
    "model.input_width": 512,
    "model.input_height": 384,
    "model.input_pixels": 0,
    "model.image_sizes": ["1280x720", "768x576"],
    "detector.classes": ["person", "road"],
    "detector.regions": ["0,0.4 1,0.4 1,1 0,1", ""],
    "detector.class_names": ["person", "car"],
    "detector.model": "/no/such/detector.onnx",
    "detector.layout": "yolov8",
    "camera.heights": ["1.5", ""],
    "camera.pitches": ["2.0", ""],
    "output.target_frame": "base_link",
    "output.fixed_frame": "odom",
    "output.selected_frame": "prey",
}


def good(spec: Spec) -> Any:
    """A value that the parameter can take, and another one than its default where there is another."""
    if spec.name in GOOD:
        return GOOD[spec.name]
    if isinstance(spec.default, bool):
        return not spec.default
    if spec.choices:
        return next(choice for choice in spec.choices if choice != spec.default)
    assert spec.low is not None and spec.high is not None, f"{spec.name} needs a value in GOOD"
    middle = (spec.low + min(spec.high, spec.low + 10.0)) / 2.0
    return type(spec.default)(middle)


def bad(spec: Spec) -> Any:
    """A value that the parameter cannot take: another type, or outside of what is allowed."""
    if isinstance(spec.default, bool):
        return 7
    if spec.choices:
        return "nonsense"
    if spec.high is not None:
        return type(spec.default)(spec.high) + 1
    return 3.5


def load(workspace: Workspace, path: Path, values: dict[str, Any]) -> dict[str, str]:
    """`ros2 param load`, in one process: parameter -> why it was not set, '' if it was."""
    path.write_text(yaml.safe_dump({NODE: {"ros__parameters": values}}))
    lines = workspace.ros2("param", "load", NODE, str(path)).text.splitlines()
    said = [line.removeprefix("Set parameter ").partition(" ") for line in lines if line.startswith("Set parameter ")]
    assert {name for name, _, _ in said} == set(values), "\n".join(lines)
    return {name: "" if rest == "successful" else rest for name, _, rest in said}


@pytest.fixture(scope="module")
def node(workspace: Workspace) -> Iterator[Process]:
    """An unconfigured node, which loads no model."""
    arguments = {"name": NODE[1:], "autostart": "false"}
    with workspace.launched("centertrack", ready="process started", **arguments) as process:
        wait_until(lambda: "autostart" in workspace.ros2("param", "list", NODE).text, 60.0, "the node's parameters")
        yield process


def test_every_parameter_is_listed_and_described(workspace: Workspace, node: Process) -> None:
    listed = workspace.ros2("param", "list", NODE).out.split()
    assert {spec.name for spec in SPECS} <= set(listed)
    text = workspace.ros2("param", "describe", NODE, *(spec.name for spec in SPECS)).text
    for spec in SPECS:
        assert f"Parameter name: {spec.name}\n" in text
        assert spec.text in text, f"{spec.name} is not explained"
        assert not spec.choices or f"one of: {', '.join(spec.choices)}" in text


def test_the_defaults_are_those_of_the_preset(workspace: Workspace, node: Process) -> None:
    preset = yaml.safe_load((workspace.share / "config" / "default.yaml").read_text())
    expected = flat(preset["/**"]["ros__parameters"]) | {"autostart": False}
    found = parameters_of(workspace, NODE)
    assert {name: found[name] for name in expected} == expected


def test_every_bad_value_is_refused_with_a_reason(workspace: Workspace, node: Process, tmp_path: Path) -> None:
    before = parameters_of(workspace, NODE)
    refused = load(workspace, tmp_path / "bad.yaml", {spec.name: bad(spec) for spec in SPECS})
    for spec in SPECS:
        reason = refused[spec.name].partition(": ")[2]
        assert reason, f"{spec.name} took {bad(spec)!r}"
        assert "Traceback" not in reason and len(reason) < 400
        if spec.choices and spec.change != READ_ONLY:
            assert "must be one of" in reason
    assert parameters_of(workspace, NODE) == before


def test_every_good_value_is_taken_and_dumped(workspace: Workspace, node: Process, tmp_path: Path) -> None:
    """Then the defaults come back, from a dump of the node itself."""
    before = parameters_of(workspace, NODE)
    values = {spec.name: good(spec) for spec in SPECS if spec.change != READ_ONLY}
    refused = load(workspace, tmp_path / "good.yaml", values)
    assert {name: why for name, why in refused.items() if why} == {}
    after = parameters_of(workspace, NODE)
    assert {name: after[name] for name in values} == values
    back = load(workspace, tmp_path / "back.yaml", before)
    read_only = {spec.name for spec in SPECS if spec.change == READ_ONLY} | {"start_type_description_service"}
    assert {name for name, why in back.items() if why} <= read_only
    assert parameters_of(workspace, NODE) == before


def test_single_values_by_hand(workspace: Workspace, node: Process) -> None:
    def put(name: str, value: str) -> str:
        return workspace.ros2("param", "set", NODE, name, value).text.strip()

    assert put("tracker.max_age", "5") == "Set parameter successful"
    assert workspace.ros2("param", "get", NODE, "tracker.max_age").out == "Integer value is: 5"
    assert "Setting parameter failed" in put("tracker.max_age", "-2")
    assert "must be one of" in put("tracker.motion", "teleport")
    assert "Setting parameter failed" in put("autostart", "true")
    assert "the node has no parameter" in put("tracker.max_aeg", "5")
    assert put("classes.person.min_size", "20.0") == "Set parameter successful"
    assert "must be between" in put("classes.person.min_size", "-1.0")
    assert put("detector.classes", "[person, car]") == "Set parameter successful"


@pytest.mark.slow
def test_a_configured_node_takes_what_is_live_and_refuses_the_rest(
    workspace: Workspace, node: Process, tmp_path: Path
) -> None:
    load(workspace, tmp_path / "small.yaml", {"model.engine": workspace.engine, "model.input_pixels": 76800})
    assert workspace.ros2("lifecycle", "set", NODE, "configure").out == "Transitioning successful"
    try:
        apart = ("detector.regions", "camera.heights", "camera.pitches")  # one text for each of two cameras
        live = {s.name: good(s) for s in SPECS if s.change == LIVE and s.name not in apart}
        live["output.lift"] = "none"  # the model has no heads for 3D boxes
        assert {name: why for name, why in load(workspace, tmp_path / "live.yaml", live).items() if why} == {}
        found = parameters_of(workspace, NODE)
        assert {name: found[name] for name in live} == live
        fixed = {spec.name: good(spec) for spec in SPECS if spec.change == UNCONFIGURED}
        refused = load(workspace, tmp_path / "fixed.yaml", fixed)
        assert all("cannot change while the node is configured" in why for why in refused.values())
    finally:
        workspace.ros2("lifecycle", "set", NODE, "cleanup")
