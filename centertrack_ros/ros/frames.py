"""The frames of the 3D outputs: which are asked for, and where an image's camera was in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from std_msgs.msg import Header

from centertrack_ros.geometry.transform import Transform
from centertrack_ros.ros.logs import ThrottledLog
from centertrack_ros.ros.transform_listener import TransformSource, lookup, transform_source


@dataclass(frozen=True)
class Goal:
    """The frames that are asked for; `fixed` is '' when none is known to stand still."""

    target: str
    fixed: str = ""

    @property
    def common(self) -> str:
        """The frame in which cameras are compared."""
        return self.fixed or self.target


@dataclass(frozen=True)
class Placed:
    """Where the camera was at an image's stamp.

    header     of the 3D outputs: the image's stamp, the target frame or else the image's
    to_target  optical frame -> target frame;  to_fixed  optical frame -> common frame; None without a target frame
    """

    header: Header
    to_target: Transform | None = None
    to_fixed: Transform | None = None


def goal_of(values: Mapping[str, Any]) -> Goal | None:
    """What the parameters ask for; None: the camera's own frame. A fixed frame alone asks for nothing."""
    target, fixed = values["output.target_frame"].strip("/"), values["output.fixed_frame"].strip("/")
    return Goal(target, fixed) if target else None


class Frames:
    """Asks TF where cameras are. Listens from the first time on that a target frame is set."""

    def __init__(self, node: Node, parameters: Mapping[str, Any], log: ThrottledLog) -> None:
        self._node, self._parameters, self._log = node, parameters, log
        self._source: TransformSource | None = None

    @property
    def source(self) -> str:
        """What answers: for the log."""
        return self._source.name if self._source else "none"

    def prepare(self, values: Mapping[str, Any]) -> None:
        """Listens to TF if these parameters need it. Raises ValueError when they cannot be had."""
        if goal_of(values) is not None and self._source is None:
            self._source = transform_source(self._node, self._log)

    def close(self) -> None:
        if self._source is not None:
            self._source.close()
        self._source = None

    def goal(self) -> Goal | None:
        return goal_of(self._parameters) if self._source is not None else None

    def place(self, header: Header, goal: Goal | None, until: float) -> Placed:
        """Where the camera of this image was. `until`: time.monotonic(), s. Raises LookupFailure."""
        if goal is None or self._source is None:
            return Placed(header)
        to_target = lookup(self._source, goal.target, header.frame_id, header.stamp, until)
        to_fixed = to_target
        if goal.fixed:
            to_fixed = lookup(self._source, goal.fixed, header.frame_id, header.stamp, until)
        return Placed(Header(stamp=header.stamp, frame_id=goal.target), to_target, to_fixed)
