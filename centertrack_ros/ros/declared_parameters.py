# SPDX-License-Identifier: Apache-2.0
"""The parameters of a running node: declared, checked when they are set, and given as one valid set."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from centertrack_ros.ros import class_parameters
from centertrack_ros.ros.parameter_specs import BY_NAME, SPECS, UNCONFIGURED
from centertrack_ros.ros.parameters import NodeParameters, node_parameters


class DeclaredParameters:
    """The parameters of a running node; `current` is always a complete and valid set."""

    def __init__(self, node: Node, configured: Callable[[], bool], apply: Callable[[NodeParameters], None]) -> None:
        """Declares everything.

        Args:
            node: The node.
            configured: Tells whether the node is past its unconfigured state.
            apply: Gets the new set before it is in force, and raises ValueError to reject it.

        Raises:
            rclpy.exceptions.ParameterException: A start value has a wrong type or is out of range.
            ValueError: A start value is not among the choices, or two contradict each other.
        """
        self._configured, self._apply = configured, apply
        self._values: dict[str, Any] = {}
        for spec in SPECS:
            value: Any = node.declare_parameter(spec.name, spec.default, spec.descriptor()).value
            if value is None:  # of [], whose type ROS cannot tell
                if not isinstance(spec.default, list):
                    raise ValueError(f"{spec.name} cannot be an empty list")
                value = []
            if problem := spec.problem(value):
                raise ValueError(problem)
            self._values[spec.name] = value
        self._node = node
        self._declare_class_parameters()
        self.current = node_parameters(self._values)
        node.add_on_set_parameters_callback(self._on_set)

    def _declare_class_parameters(self) -> None:
        """Declares those of the parameters of single classes that are given at start. Raises ValueError."""
        given = getattr(self._node, "_parameter_overrides", {})  # rclpy has no public way to ask for them
        for name in sorted(name for name in given if name.startswith(class_parameters.PREFIX)):
            if problem := class_parameters.problem(name, given[name].value):
                raise ValueError(problem)
            text = class_parameters.CLASS_PARAMETERS[name.rpartition(".")[2]][2]
            descriptor = ParameterDescriptor(description=text, dynamic_typing=True)
            default = class_parameters.default_of(name)
            self._values[name] = self._node.declare_parameter(name, default, descriptor).value

    def _problem(self, name: str, value: Any) -> str:
        """Why a parameter that is set cannot be taken; '' if it can."""
        if name in BY_NAME:
            return BY_NAME[name].problem(value)
        if name.startswith(class_parameters.PREFIX):
            return class_parameters.problem(name, value)
        known = self._node.has_parameter(name) or name.startswith("qos_overrides.")
        return "" if known else f"the node has no parameter '{name[:80]}'"

    def _on_set(self, parameters: Iterable[Parameter]) -> SetParametersResult:
        given = {p.name: p.value for p in parameters}
        try:
            if problem := next(filter(None, (self._problem(*item) for item in given.items())), ""):
                raise ValueError(problem)
            new = {n: v for n, v in given.items() if n in BY_NAME or n.startswith(class_parameters.PREFIX)}
            for name in new.keys() & BY_NAME.keys():
                if BY_NAME[name].change == UNCONFIGURED and self._configured():
                    raise ValueError(
                        f"{name} cannot change while the node is configured: deactivate and clean it up first"
                    )
            values = {**self._values, **new}
            current = node_parameters(values)
            self._apply(current)
        except (ValueError, OSError) as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._values, self.current = values, current
        return SetParametersResult(successful=True)
