"""Every parameter of the node in one table: type, range, meaning, and when it may change.

The defaults are sound for the embedded model; the presets in config/ are for the official ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from centertrack_ros.engine import load_engine
from centertrack_ros.engine.base import Engine
from centertrack_ros.network.profile import ASSOCIATION_POINTS
from centertrack_ros.tracking.config import ASSOCIATIONS, COSTS, LIFTS, MOTIONS, TrackerConfig

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


_AS_WEIGHTS = " Negative: the value that belongs to the weights."


def _score(name: str, text: str) -> Spec:
    return Spec(name, -1.0, text + _AS_WEIGHTS, -1.0, 1.0, field=name.split(".")[1])


def _tracking(name: str, default: Value, text: str, *limits: Any, choices: tuple[str, ...] = ()) -> Spec:
    """A parameter that is called as the field of TrackerConfig that it sets."""
    return Spec(name, default, text, *limits, choices=choices, field=name.split(".")[1])


_MODEL = (
    Spec(
        "model.weights",
        "",
        "Path of a checkpoint or name of an embedded model; empty: the default one.",
        change=UNCONFIGURED,
    ),
    Spec("model.engine", "auto", "What runs the network; auto takes the fastest that is there.", change=UNCONFIGURED),
    Spec("model.device", "auto", "Where it runs: auto, cpu, cuda, cuda:1, …", change=UNCONFIGURED),
    Spec("model.input_width", 0, "px, a multiple of 32; 0: as the weights say.", 0, 4096, change=UNCONFIGURED),
    Spec("model.input_height", 0, "px, a multiple of 32; 0: as the weights say.", 0, 4096, change=UNCONFIGURED),
    Spec("model.threads", 0, "CPU threads of the network; 0: as many as cores.", 0, 256, change=UNCONFIGURED),
)
_DETECTOR = (
    _tracking("detector.classes", [""], "Names of the classes that are kept; empty: all that the model knows."),
    _score("detector.out_threshold", "A detection with a lower score is not decoded."),
    _tracking(
        "detector.duplicate_iou", 0.7, "The weaker of two detections that overlap more goes; 1: both stay.", 0.0, 1.0
    ),
    _tracking("detector.depth_scale", 1.0, "Factor on every depth that the network gives.", 0.01, 100.0),
    _tracking("detector.depth_sigma", 0.1, "Relative standard deviation of depths, for covariances.", 0.0, 1.0),
    _tracking(
        "detector.correct_focal_length", True, "Correct depths by the camera's focal length over the trained one."
    ),
    _tracking("detector.default_focal_length", 0.0, "px, when no camera_info is known; 0: no 3D without.", 0.0, 1e6),
)
_TRACKER = (
    _score("tracker.track_threshold", "A track goes on with a detection above this score."),
    _score("tracker.new_threshold", "An unmatched detection above this score starts a track."),
    _score("tracker.pre_threshold", "A track above this score is drawn into the prior heatmap."),
    _tracking("tracker.association", "hungarian", "How detections and tracks are matched.", choices=ASSOCIATIONS),
    _tracking("tracker.cost", "distance", "What is small between a detection and its track.", choices=COSTS),
    _tracking("tracker.gate_scale", 1.0, "Factor on the area that a squared distance may reach.", 0.01, 100.0),
    _tracking("tracker.min_iou", 0.0, "Least overlap with the expected box; 0: none needed.", 0.0, 1.0),
    _tracking(
        "tracker.max_size_ratio", 2.0, "Most that the areas of matched boxes may differ by; 0: any.", 0.0, 1000.0
    ),
    _tracking("tracker.live_first", False, "Lost tracks get only what no live track has taken."),
    _tracking("tracker.max_age", -1, "Frames that a track lives without a detection, plus 1; -1: none.", -1, 1000),
    _tracking("tracker.rebirth", 2.0, "Seconds within which a lost track may be found again; 0: off.", 0.0, 60.0),
    _tracking("tracker.min_hits", 1, "A track is reported from its n-th match on.", 1, 100),
    _tracking("tracker.max_gap_s", 1.0, "A longer pause resets the tracks of a camera; 0: never.", 0.0, 3600.0),
    _tracking(
        "tracker.motion",
        "auto",
        "Where a track is expected; auto: as the network says if it has learnt to, else by a Kalman filter.",
        choices=("auto", *MOTIONS),
    ),
    _tracking(
        "tracker.association_point",
        "auto",
        "What moves by the displacement: the peak or amodal centre (official) or the box's middle; auto: as trained.",
        choices=("auto", *ASSOCIATION_POINTS),
    ),
    _tracking("tracker.velocity_smoothing", 0.5, "Weight of the newest measurement in image velocities.", 0.0, 1.0),
    _tracking("tracker.propagate_lost", False, "Lost tracks move on with their last image velocity."),
    _tracking("tracker.frame_period_s", 0.0, "Time step that displacements were learnt for; 0: not scaled.", 0.0, 60.0),
    _tracking("tracker.zero_tracking", False, "Ignore the displacement that the network predicts."),
    _tracking("tracker.zero_prior_heatmap", False, "Give the network an empty prior heatmap."),
)
_CAMERA = (
    Spec("camera.transport", "auto", "Which image topic is read; auto: the one that is published.",
         choices=("auto", "raw", "compressed"), change=UNCONFIGURED),
    Spec("camera.reliability", "best_effort", "QoS of the image subscription; best_effort fits every publisher.",
         choices=("best_effort", "reliable"), change=UNCONFIGURED),
    Spec("camera.queue_depth", 1, "QoS history of the image subscription; only the newest image is processed.", 1, 100,
         change=UNCONFIGURED),
    Spec("camera.rectified", False, "The images are rectified: P of camera_info holds, else K and D."),
)  # fmt: skip
_SURROUND = (
    Spec("surround.cross_camera_ids", True, "With several cameras and output.target_frame: a track keeps its id from "
         "camera to camera; false: ids belong to one camera each."),
    Spec("surround.window_s", 1.5, "How long the next camera may take to see an object that has left another's view.",
         0.0, 60.0),
    Spec("surround.hold_s", 0.5, "How long the merged view keeps what a camera saw last when it sends nothing more.",
         0.0, 60.0),
)  # fmt: skip
_OUTPUT = (
    Spec("output.target_frame", "", "TF frame of 3D boxes and tracks, such as base_link; empty: the camera's own."),
    Spec("output.fixed_frame", "", "TF frame that stands still while the vehicle moves, such as odom, for ids across "
         "cameras and for velocities; empty: the target frame."),
    Spec("output.tf_timeout_s", 0.1, "How long after an image is taken up its transform may arrive.", 0.0, 1.0),
    _tracking("output.lift", "auto", "Whence 3D boxes: model heads, usual size of a class, or none.", choices=LIFTS),
    Spec("output.publish_detections_2d", True, "Publish ~/output/detections_2d."),
    Spec("output.publish_tracks", True, "Publish ~/output/tracks."),
    Spec("output.publish_markers", True, "Publish ~/output/markers."),
    Spec("output.marker_lifetime_s", 0.5, "RViz removes a marker that was not renewed for this long.", 0.0, 3600.0),
    Spec("output.trail_length", 30, "Points in the trail behind a track, in the markers; 0: none.", 0, 1000),
    Spec("output.trail_s", 3.0, "Seconds of the trail behind a track, in the debug image; 0: none.", 0.0, 60.0),
    Spec("output.lazy", False, "Rest while nobody subscribes; tracks then start anew with the first subscriber."),
)  # fmt: skip
_DIAGNOSTICS = (
    Spec("diagnostics.period_s", 1.0, "Between two messages on /diagnostics.", 0.05, 3600.0, change=UNCONFIGURED),
    Spec("diagnostics.waiting_s", 5.0, "Between two log lines about the same trouble.", 0.1, 3600.0),
    Spec("diagnostics.min_rate_hz", 0.0, "WARN when a camera answers fewer images per second; 0: never.", 0.0, 1000.0),
    Spec("diagnostics.max_latency_ms", 500.0, "WARN when results are older when they are published.", 0.0, 1e6),
    Spec("diagnostics.max_loss", 0.3, "WARN when a larger part of a camera's images never arrives, as gaps in their "
         "stamps tell; 1: never.", 0.0, 1.0),
    Spec("diagnostics.max_age_s", 2.0, "ERROR when the last image of a camera is older.", 0.0, 3600.0),
)  # fmt: skip
SPECS: tuple[Spec, ...] = (
    Spec("autostart", True, "The node configures and activates itself; false: a manager does.", change=READ_ONLY),
    Spec("cameras", [""], "Names of cameras, with topics ~/input/<camera>/…; empty: one, on ~/input/…",
         change=UNCONFIGURED),
    *_MODEL,
    *_DETECTOR,
    *_TRACKER,
    *_CAMERA,
    *_SURROUND,
    *_OUTPUT,
    *_DIAGNOSTICS,
)  # fmt: skip
BY_NAME = {spec.name: spec for spec in SPECS}


class Parameters(Mapping[str, Any]):
    """The node's parameters, always a complete and valid set; reading one is reading a dictionary."""

    def __init__(self, node: Node, configured: Callable[[], bool], apply: Callable[[Mapping[str, Any]], None]) -> None:
        """Declares everything.

        configured  tells whether the node is past its unconfigured state
        apply       gets the new set before it is in force, and raises ValueError to refuse it
        Raises rclpy.exceptions.ParameterException for a start value of a wrong type or out of range, and ValueError
        for a wrong choice.
        """
        self._configured, self._apply = configured, apply
        self._values: dict[str, Any] = {}
        for spec in SPECS:
            value = node.declare_parameter(spec.name, spec.default, spec.descriptor()).value
            if problem := spec.problem(value):
                raise ValueError(problem)
            self._values[spec.name] = value
        node.add_on_set_parameters_callback(self._on_set)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def _on_set(self, parameters: Iterable[Parameter]) -> SetParametersResult:
        new = {p.name: p.value for p in parameters if p.name in BY_NAME}
        try:
            for name, value in new.items():
                if problem := BY_NAME[name].problem(value):
                    raise ValueError(problem)
                if BY_NAME[name].change == UNCONFIGURED and self._configured():
                    raise ValueError(
                        f"{name} cannot change while the node is configured: deactivate and clean it up first"
                    )
            values = {**self._values, **new}
            self._apply(values)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._values = values
        return SetParametersResult(successful=True)


def names(value: Iterable[str]) -> tuple[str, ...]:
    """A list of names without the empty one: ROS cannot tell the type of an empty list, so [''] stands for none."""
    return tuple(name for name in value if name)


def engine_of(values: Mapping[str, Any], background: bool = False) -> Engine:
    """The network that the parameters `model.*` ask for. Raises ValueError, OSError or RuntimeError with a sentence.

    background  as in `load_engine`
    """
    width, height = values["model.input_width"], values["model.input_height"]
    if bool(width) != bool(height):
        raise ValueError(f"model.input_width and model.input_height go together; got {width} and {height}")
    return load_engine(
        values["model.weights"],
        engine=values["model.engine"],
        device=values["model.device"],
        threads=values["model.threads"] or None,
        background=background,
        input_size=(width, height) if width else None,
    )


def tracker_config(values: Mapping[str, Any], trained_tracking: bool = True) -> TrackerConfig:
    """What the parameters say about tracking with a model. Raises ValueError.

    trained_tracking  whether the model's displacement means something: decides `tracker.motion: auto`
    """
    fields = {spec.field: values[spec.name] for spec in SPECS if spec.field}
    fields["classes"] = names(fields["classes"])
    if fields["motion"] == "auto":
        fields["motion"] = "network" if trained_tracking else "kalman"
    for name in ("track_threshold", "out_threshold", "pre_threshold", "new_threshold"):
        fields[name] = None if fields[name] < 0.0 else fields[name]
    return TrackerConfig(**fields)
