"""Every parameter of the node in one table: type, range, meaning, and when it may change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from centertrack_ros.tracking.config import ASSOCIATIONS, LIFTS, TrackerConfig

LIVE = "live"  # takes effect with the next frame
UNCONFIGURED = "unconfigured"  # only before the node is configured, or after a clean-up
READ_ONLY = "read_only"  # only at start

Value = bool | int | float | str | list[str]


@dataclass(frozen=True)
class Spec:
    """One parameter. `field` names the field of TrackerConfig that it sets."""

    name: str
    default: Value
    text: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    change: str = LIVE
    field: str = ""

    def descriptor(self) -> ParameterDescriptor:
        when = {
            LIVE: "",
            UNCONFIGURED: " Changes only while the node is unconfigured.",
            READ_ONLY: " Set at start only.",
        }
        descriptor = ParameterDescriptor(description=self.text + when[self.change], read_only=self.change == READ_ONLY)
        if self.choices:
            descriptor.additional_constraints = f"one of: {', '.join(self.choices)}"
        if self.low is not None and self.high is not None:
            if isinstance(self.default, int):
                descriptor.integer_range = [IntegerRange(from_value=int(self.low), to_value=int(self.high), step=1)]
            else:
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=self.low, to_value=self.high, step=0.0)
                ]
        return descriptor

    def problem(self, value: Any) -> str:
        """Why the value cannot be taken; '' if it can."""
        if self.choices and value not in self.choices:
            return f"{self.name} must be one of {', '.join(self.choices)}; got '{value}'"
        if self.low is not None and self.high is not None and not self.low <= value <= self.high:
            return f"{self.name} must be between {self.low:g} and {self.high:g}; got {value}"
        return ""


_SCORE = {"low": -1.0, "high": 1.0}
_AS_WEIGHTS = " Negative: the value that belongs to the weights."

SPECS: tuple[Spec, ...] = (
    Spec(
        "autostart",
        True,
        "The node configures and activates itself; false leaves both to a lifecycle manager.",
        change=READ_ONLY,
    ),
    Spec(
        "cameras",
        [""],
        "Names of the cameras, whose topics are ~/input/<camera>/…; empty: one camera on ~/input/…",
        change=UNCONFIGURED,
    ),
    Spec(
        "model.weights",
        "",
        "Path of a converted checkpoint (.safetensors); empty: the embedded COCO model.",
        change=UNCONFIGURED,
    ),
    Spec(
        "model.engine",
        "auto",
        "What runs the network; auto takes the fastest one that is installed.",
        change=UNCONFIGURED,
    ),
    Spec("model.device", "auto", "Where it runs: auto, cpu, cuda, cuda:1, …", change=UNCONFIGURED),
    Spec(
        "detector.classes",
        [""],
        "Names of the classes that are kept; empty: all that the model knows.",
        field="classes",
    ),
    Spec(
        "detector.out_threshold",
        -1.0,
        "A detection with a lower score is not decoded." + _AS_WEIGHTS,
        **_SCORE,
        field="out_threshold",
    ),
    Spec(
        "detector.depth_scale", 1.0, "Factor on every depth that the network gives.", 0.01, 100.0, field="depth_scale"
    ),
    Spec(
        "detector.correct_focal_length",
        False,
        "Scale depths by the camera's focal length over the one that the network was trained with.",
        field="correct_focal_length",
    ),
    Spec(
        "tracker.track_threshold",
        -1.0,
        "A track goes on with a detection above this score." + _AS_WEIGHTS,
        **_SCORE,
        field="track_threshold",
    ),
    Spec(
        "tracker.new_threshold",
        -1.0,
        "An unmatched detection above this score starts a track." + _AS_WEIGHTS,
        **_SCORE,
        field="new_threshold",
    ),
    Spec(
        "tracker.pre_threshold",
        -1.0,
        "A track above this score is drawn into the prior heatmap." + _AS_WEIGHTS,
        **_SCORE,
        field="pre_threshold",
    ),
    Spec(
        "tracker.association",
        "greedy",
        "How detections and tracks are matched.",
        choices=ASSOCIATIONS,
        field="association",
    ),
    Spec(
        "tracker.max_age",
        -1,
        "Frames that a track lives without a detection, plus 1; -1 drops it at once.",
        -1,
        1000,
        field="max_age",
    ),
    Spec(
        "tracker.rebirth",
        1.0,
        "Seconds within which a lost track may be found again; 0: off.",
        0.0,
        60.0,
        field="rebirth",
    ),
    Spec(
        "tracker.max_gap_s",
        1.0,
        "A longer pause between two frames resets the tracks of a camera.",
        0.01,
        3600.0,
        field="max_gap_s",
    ),
    Spec("tracker.zero_tracking", False, "Ignore the displacement that the network predicts.", field="zero_tracking"),
    Spec(
        "camera.transport",
        "auto",
        "Which image topic is read; auto takes the one that is published.",
        choices=("auto", "raw", "compressed"),
        change=UNCONFIGURED,
    ),
    Spec(
        "camera.reliability",
        "best_effort",
        "QoS of the image subscription; best_effort fits every publisher.",
        choices=("best_effort", "reliable"),
        change=UNCONFIGURED,
    ),
    Spec(
        "camera.queue_depth",
        1,
        "QoS history of the image subscription; only the newest frame is ever processed.",
        1,
        100,
        change=UNCONFIGURED,
    ),
    Spec("camera.rectified", False, "The images are rectified: P of camera_info holds, else K and D."),
    Spec(
        "output.lift",
        "auto",
        "Where 3D boxes come from: the model's heads, the usual size of a class and camera_info, or nowhere.",
        choices=LIFTS,
        field="lift",
    ),
    Spec("output.publish_detections_2d", True, "Publish ~/output/detections_2d."),
    Spec("output.publish_tracks", True, "Publish ~/output/tracks."),
    Spec("output.publish_markers", True, "Publish ~/output/markers while somebody subscribes."),
    Spec("output.marker_lifetime_s", 0.5, "RViz removes a marker that was not renewed for this long.", 0.0, 3600.0),
    Spec(
        "output.trail_length",
        30,
        "Frames in the trail behind a track, in markers and the debug image; 0: none.",
        0,
        1000,
    ),
    Spec(
        "output.lazy",
        False,
        "Rest while nobody subscribes to any output; tracks then start anew with the first subscriber.",
    ),
    Spec("diagnostics.period_s", 1.0, "Between two messages on /diagnostics.", 0.05, 3600.0, change=UNCONFIGURED),
    Spec("diagnostics.waiting_s", 5.0, "Between two log lines about input that does not arrive.", 0.1, 3600.0),
    Spec("diagnostics.min_rate_hz", 0.0, "WARN when a camera answers fewer frames per second; 0: never.", 0.0, 1000.0),
    Spec(
        "diagnostics.max_latency_ms", 500.0, "WARN when results are older than this when they are published.", 0.0, 1e6
    ),
    Spec("diagnostics.max_age_s", 2.0, "ERROR when the last image of a camera is older than this.", 0.0, 3600.0),
)
BY_NAME = {spec.name: spec for spec in SPECS}


class Parameters(Mapping[str, Any]):
    """The node's parameters, always a complete and valid set; reading one is reading a dictionary.

    configured  tells whether the node is past its unconfigured state
    changed     called after live parameters took new values
    """

    def __init__(self, node: Node, configured: Callable[[], bool], changed: Callable[[], None]) -> None:
        """Declares everything. Raises rclpy.exceptions.ParameterException for an override of a wrong type or range, and
        ValueError for a wrong choice."""
        self._configured, self._changed = configured, changed
        self._values: dict[str, Any] = {}
        for spec in SPECS:
            value = node.declare_parameter(spec.name, spec.default, spec.descriptor()).value
            if problem := spec.problem(value):
                raise ValueError(problem)
            self._values[spec.name] = value
        tracker_config(self)
        node.add_on_set_parameters_callback(self._on_set)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def _on_set(self, parameters: Iterable[Parameter]) -> SetParametersResult:
        new = {p.name: p.value for p in parameters if p.name in BY_NAME}
        for name, value in new.items():
            problem = BY_NAME[name].problem(value)
            if not problem and BY_NAME[name].change == UNCONFIGURED and self._configured():
                problem = f"{name} cannot change while the node is configured: deactivate and clean it up first"
            if problem:
                return SetParametersResult(successful=False, reason=problem)
        values = {**self._values, **new}
        try:
            tracker_config(values)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._values = values
        if new:
            self._changed()
        return SetParametersResult(successful=True)


def names(value: Iterable[str]) -> tuple[str, ...]:
    """A list of names without the empty one: ROS cannot tell the type of an empty list, so [''] stands for none."""
    return tuple(name for name in value if name)


def tracker_config(values: Mapping[str, Any]) -> TrackerConfig:
    """What the parameters say about tracking. Raises ValueError."""
    fields: dict[str, Any] = {}
    for spec in SPECS:
        if not spec.field:
            continue
        value = values[spec.name]
        if spec.field == "classes":
            value = names(value)
        elif spec.field.endswith("_threshold") and value < 0.0:
            value = None
        fields[spec.field] = value
    return TrackerConfig(**fields)
