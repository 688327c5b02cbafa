# SPDX-License-Identifier: Apache-2.0
"""What the node's command line asks for in vain: parameters that do not exist, files that are not for this node."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path

from rclpy.node import Node

from centertrack_ros.io.yaml_files import load_yaml
from centertrack_ros.ros.parameter_specs import BY_NAME


def unused_parameters(node: Node, arguments: Sequence[str]) -> list[str]:
    """Sentences on parameters without effect, as ROS ignores them in silence.

    Args:
        node: With all of its parameters declared.
        arguments: Of the command line.
    """
    unknown = [name for name in _overrides(node) if not node.has_parameter(name)]
    lines = [_unknown(name) for name in sorted(unknown) if not name.startswith("qos_overrides.")]
    return lines + [line for file in _parameter_files(arguments) if (line := _not_for(node, file))]


def _overrides(node: Node) -> Iterable[str]:
    """Names of all parameters that the command line gives to this node. rclpy has no public way to ask for them."""
    return getattr(node, "_parameter_overrides", {})


def _unknown(name: str) -> str:
    similar = difflib.get_close_matches(name, BY_NAME, n=1)
    hint = f"; did you mean '{similar[0]}'?" if similar else " (docs/parameters.md lists all)"
    return f"parameter '{name}' has no effect: the node has none of this name{hint}"


def _parameter_files(arguments: Sequence[str]) -> list[Path]:
    return [Path(value) for option, value in pairwise(arguments) if option == "--params-file"]


def _not_for(node: Node, file: Path) -> str:
    """A sentence if the file has no parameters for the node; rclpy has read the file before."""
    try:
        document = load_yaml(file)
    except (OSError, ValueError):  # YAML that rclpy takes and PyYAML does not
        return ""
    if not isinstance(document, dict) or not document:
        return f"the parameter file {file} is empty"
    own = node.get_fully_qualified_name()
    if any(_matches(str(name), own) for name in document) or any(_matches(f"/{n}", own) for n in _pairs(document)):
        return ""
    names = ", ".join(f"'{name}'" for name in document)
    return f"the parameter file {file} has nothing for this node, '{own}': it is for {names}"


def _pairs(document: dict[str, object]) -> list[str]:
    """Namespace and node name as two levels: 'robot/centertrack'."""
    return [f"{space}/{name}" for space, nodes in document.items() if isinstance(nodes, dict) for name in nodes]


def _matches(pattern: str, full_name: str) -> bool:
    """Whether rcl applies what stands under this name to the node: * is any part of a name, ** any number of them."""
    full = re.sub("/+", "/", f"/{pattern}")
    return fnmatchcase(full_name, full) or fnmatchcase(full_name, full.replace("/**/", "/"))


def without_places(text: str) -> str:
    """The text of an rcl error as one line, without the places in its source: ', at /src/rcl/arguments.c:415'."""
    return re.sub(r", at /\S+:\d+", "", " ".join(text.split())).removeprefix("failed to initialize rcl: ")
