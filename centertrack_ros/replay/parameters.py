# SPDX-License-Identifier: Apache-2.0
"""The node's parameters without a node: their defaults, what a parameter file says, and what the command line says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from centertrack_ros.io.yaml_files import load_yaml, parse_yaml
from centertrack_ros.ros import class_parameters
from centertrack_ros.ros.parameter_specs import BY_NAME, SPECS
from centertrack_ros.ros.parameters import NodeParameters, node_parameters
from centertrack_ros.typed_records import shown

_NODES = ("/**", "centertrack", "/centertrack", "/**/centertrack")
_OTHER = {"use_sim_time"}  # every node's own
# How images reach a live node, when it works, and when it warns: a replay processes every image, at once.
_LIVE_ONLY = (
    "autostart",
    "executor",
    "model.image_sizes",
    "camera.reliability",
    "camera.queue_depth",
    "depth.timeout_s",
    "output.tf_timeout_s",
    "output.trail_s",
    "output.selected_frame",
)


def load_parameters(files: Iterable[Path] = (), assignments: Iterable[str] = ()) -> NodeParameters:
    """The typed tree of `load_values`."""
    files, assignments = list(files), list(assignments)
    values = load_values(files, assignments)
    try:
        return node_parameters(values)
    except ValueError as error:  # of values that do not fit together
        places = ", ".join(map(str, (*files, *assignments)))
        raise ValueError(f"{places}: {error}") from None


def load_values(files: Iterable[Path] = (), assignments: Iterable[str] = ()) -> dict[str, Any]:
    """A complete set of values, as the node would have it with `--params-file` and `-p name:=value`.

    Args:
        files: ROS parameter files; later ones win.
        assignments: `name:=value`, each of which wins over the files.

    Raises:
        ValueError: Names the file or the assignment, the parameter and what was expected.
        OSError: A file cannot be read.
    """
    values: dict[str, Any] = {spec.name: spec.default for spec in SPECS}
    for file in files:
        for name, value in _flat(_content(file)).items():
            values[name] = _checked(str(file), name, value) if name not in _OTHER else value
    for assignment in assignments:
        name, separator, text = assignment.partition(":=")
        if not separator:
            raise ValueError(f"'{assignment}': expected NAME:=VALUE, for instance tracker.motion:=kalman")
        values[name] = _checked(f"'{assignment}'", name, parse_yaml(text, f"'{assignment}'"))
    return {name: value for name, value in values.items() if name not in _OTHER}


def require_replayable(parameters: NodeParameters) -> None:
    """Refuses what would change results and cannot be done without subscribers.

    Raises:
        ValueError: A parameter asks for it.
    """
    if parameters.output.lazy:
        raise ValueError("output.lazy: a replay has no subscribers to wait for; set it to false")


def live_only(parameters: NodeParameters) -> list[str]:
    """Names of the parameters that are not at their default and have no meaning in a replay."""
    names = [name for name in BY_NAME if name in _LIVE_ONLY or name.startswith("diagnostics.")]
    return [name for name in names if _value(parameters, name) != BY_NAME[name].default]


def _value(parameters: NodeParameters, name: str) -> Any:
    value: Any = parameters
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _content(file: Path) -> Mapping[str, Any]:
    document = load_yaml(file)
    if not isinstance(document, dict):
        raise ValueError(f"{file}: expected a ROS parameter file: NODE: ros__parameters: …")
    found: dict[str, Any] = {}
    for node in _NODES:
        parts = document.get(node) or {}
        values = parts.get("ros__parameters") or {} if isinstance(parts, dict) else None
        if not isinstance(values, dict):
            raise ValueError(f"{file}: expected parameters under {node}: ros__parameters:, got {shown(parts)}")
        found |= values
    if not found:
        raise ValueError(f"{file}: no parameters of the node centertrack; expected one of {', '.join(_NODES)}")
    return found


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in tree.items():
        result |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def _checked(where: str, name: str, value: Any) -> Any:
    if name.startswith(class_parameters.PREFIX):
        if problem := class_parameters.problem(name, value):
            raise ValueError(f"{where}: {problem[:240]}")
        return value
    if name not in BY_NAME:
        raise ValueError(f"{where}: the node has no parameter '{name[:80]}'")
    spec = BY_NAME[name]
    expected = type(spec.default)
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**53 else value
    is_mixed = isinstance(value, list) and not all(isinstance(item, str) for item in value)
    if not isinstance(value, expected) or isinstance(value, bool) != (expected is bool) or is_mixed:
        raise ValueError(f"{where}: {name} must be a {expected.__name__}, got {shown(value)}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{where}: {name} must be a whole number of 64 bits, got {shown(value)}")
    if problem := spec.problem(value):
        raise ValueError(f"{where}: {problem[:240]}")
    return value
