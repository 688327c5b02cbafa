# SPDX-License-Identifier: Apache-2.0
"""Declared parameters, presets and the documented table agree."""

from __future__ import annotations

import importlib.util
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed (ROS 2 or its wheels)")

from centertrack_ros.network.profile import ModelProfile
from centertrack_ros.ros import parameters
from centertrack_ros.ros.class_parameters import CLASS_PARAMETERS
from centertrack_ros.ros.parameter_specs import BY_NAME, SPECS
from centertrack_ros.ros.parameters import tracker_config
from centertrack_ros.tracking.class_limits import ClassLimits
from centertrack_ros.tracking.config import TrackerConfig

ROOT = Path(__file__).resolve().parents[2]
PRESETS = sorted((ROOT / "config").glob("*.yaml"))
OFFICIAL = ("coco", "coco_pose", "crowdhuman", "kitti", "mot17", "nuscenes")


def parameter_docs() -> ModuleType:
    """tools/parameter_docs.py as a module."""
    spec = importlib.util.spec_from_file_location("parameter_docs", ROOT / "tools" / "parameter_docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def values_in(path: Path) -> dict[str, Any]:
    """Parameter name -> value of a ROS parameter file."""
    flat: dict[str, Any] = {}

    def walk(node: dict[str, Any], prefix: str) -> None:
        for key, value in node.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")
            else:
                flat[prefix + key] = value

    [(_, content)] = yaml.safe_load(path.read_text()).items()
    walk(content["ros__parameters"], "")
    return flat


def test_every_field_of_the_tracker_has_a_parameter_of_its_name() -> None:
    apart = {"class_limits"}  # classes.<name>.<limit>
    assert {s.field for s in SPECS if s.field} == {f.name for f in fields(TrackerConfig)} - apart
    assert set(CLASS_PARAMETERS) == {f.name for f in fields(ClassLimits)}
    assert all(f".{s.name}".replace(".", "_").endswith("_" + s.field) for s in SPECS if s.field)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_every_default_is_allowed_and_every_number_has_a_range(spec) -> None:
    assert spec.problem(spec.default) == ""
    descriptor = spec.descriptor()
    if isinstance(spec.default, (int, float)) and not isinstance(spec.default, bool):
        assert descriptor.integer_range or descriptor.floating_point_range
        assert spec.problem(type(spec.default)(spec.high) + 1) and spec.problem(type(spec.default)(spec.low) - 1)


@pytest.mark.parametrize("path", PRESETS, ids=lambda p: p.stem)
def test_presets_hold_known_parameters_of_the_right_type(path: Path) -> None:
    values = values_in(path)
    values.pop("use_sim_time", None)  # every ROS node has it
    for name, value in values.items():
        assert name in BY_NAME, f"{path.name} sets {name}, which the node does not have"
        assert type(value) is type(BY_NAME[name].default), f"{path.name}: {name} is {value!r}"
        assert BY_NAME[name].problem(value) == ""
    tracker_config({**{s.name: s.default for s in SPECS}, **values})


def test_every_official_model_has_a_preset() -> None:
    from centertrack_ros.network.registry import ZOO

    for name in OFFICIAL:
        weights = values_in(ROOT / "config" / f"{name}.yaml")["model.weights"]
        assert weights.removesuffix(".safetensors") in ZOO


def test_the_default_preset_is_generated_from_the_declarations() -> None:
    docs = parameter_docs()
    assert (ROOT / "config" / "default.yaml").read_text() == docs.default_yaml(), "run tools/parameter_docs.py"
    assert values_in(ROOT / "config" / "default.yaml") == {s.name: s.default for s in SPECS}


def test_the_official_preset_is_the_official_configuration() -> None:
    path = ROOT / "config" / "official.yaml"
    assert path.read_text() == parameter_docs().official_yaml(), "run tools/parameter_docs.py"
    assert tracker_config({**{s.name: s.default for s in SPECS}, **values_in(path)}) == TrackerConfig.official()


def test_the_documented_table_is_the_declarations() -> None:
    text = (ROOT / "docs" / "parameters.md").read_text()
    assert text == parameter_docs().with_table(text), "run tools/parameter_docs.py"
    assert all(f"`{s.name}`" in text for s in SPECS)


def test_the_input_has_a_size_or_a_number_of_px(monkeypatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(parameters, "load_engine", lambda *args, **options: asked.append(options))
    values = {s.name: s.default for s in SPECS}

    def load(**model: int) -> dict[str, Any]:
        changed = {**values, **{f"model.{name}": value for name, value in model.items()}}
        parameters.engine_of(parameters.node_parameters(changed))
        return {name: asked[-1][name] for name in ("input_size", "input_pixels")}

    assert load() == {"input_size": None, "input_pixels": 0}
    assert load(input_pixels=300000) == {"input_size": None, "input_pixels": 300000}
    assert load(input_width=800, input_height=448) == {"input_size": (800, 448), "input_pixels": 0}
    with pytest.raises(ValueError, match="exclude each other"):
        load(input_pixels=300000, input_width=800, input_height=448)


def test_motion_auto_fuses_what_there_is() -> None:
    values = {s.name: s.default for s in SPECS}
    for asked, motion in (("auto", "fused"), ("network", "network"), ("kalman", "kalman")):
        profile = ModelProfile(name="x", architecture="dla_34", classes=("car",), heads={"hm": 1})
        assert tracker_config({**values, "tracker.motion": asked}).resolved(profile).motion == motion
    assert tracker_config(values).track_threshold is None
    assert tracker_config({**values, "tracker.track_threshold": 0.25}).track_threshold == 0.25
