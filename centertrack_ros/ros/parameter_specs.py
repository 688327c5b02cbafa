# SPDX-License-Identifier: Apache-2.0
"""The table of the node's parameters: type, range, meaning, and when each may change.

Defaults of tracking are those of `TrackerConfig`; the presets in config/ are for the official weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from centertrack_ros.engine.detector_limits import DetectorLimits
from centertrack_ros.io.sensor_messages import SensorConfig
from centertrack_ros.network.profile import ASSOCIATION_POINTS, LARGEST_BUDGET
from centertrack_ros.tracking.appearance import METHODS as APPEARANCES
from centertrack_ros.tracking.association import COSTS, METHODS
from centertrack_ros.tracking.config import DETECTOR_SOURCES, MOST_PITCH, MOTIONS, TrackerConfig
from centertrack_ros.tracking.existence import BIRTHS
from centertrack_ros.tracking.lifters import LIFTERS
from centertrack_ros.tracking.multi_camera.records import MultiCameraConfig

LIVE = "live"  # takes effect with the next frame
UNCONFIGURED = "unconfigured"  # only before the node is configured, or after a clean-up
READ_ONLY = "read_only"  # only at start

EXECUTORS = SINGLE_THREADED, EVENTS = ("single_threaded", "events")

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
        """The declaration for ROS."""
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


_TRACKER_DEFAULTS = TrackerConfig()


def _score(name: str, text: str) -> Spec:
    text += " Negative: the value that belongs to the weights."
    return Spec(name, -1.0, text, -1.0, 1.0, field=name.split(".")[1])


def _tracking(
    name: str, text: str, low: float | None = None, high: float | None = None, choices: tuple[str, ...] = ()
) -> Spec:
    """A parameter with the name and the default of the field of TrackerConfig that it sets."""
    field = name.split(".")[1]
    default = getattr(_TRACKER_DEFAULTS, field)
    value = (list(default) or [""]) if isinstance(default, tuple) else default
    return Spec(name, value, text, low, high, choices=choices, field=field)


_MODEL = (
    Spec(
        "model.weights",
        "",
        "Path of a checkpoint or name of an embedded model; empty: the default one; none: no network, with "
        "detector.source external.",
        change=UNCONFIGURED,
    ),
    Spec(
        "model.engine",
        "auto",
        "What runs the network; auto takes the fastest that is there, in bfloat16 or float16 if the weights are "
        "verified for it. By name: openvino, onnxruntime, torch, on a GPU torch, tensorrt, onnxruntime-cuda or "
        "onnxruntime-tensorrt, in float32; with -fp16 behind it, those of a GPU compute in float16.",
        change=UNCONFIGURED,
    ),
    Spec("model.device", "auto", "Where it runs: auto, cpu, cuda, cuda:1, …", change=UNCONFIGURED),
    Spec("model.input_width", 0, "px, a multiple of 32; 0: as the weights say.", 0, 4096, change=UNCONFIGURED),
    Spec("model.input_height", 0, "px, a multiple of 32; 0: as the weights say.", 0, 4096, change=UNCONFIGURED),
    Spec(
        "model.input_pixels",
        0,
        "px of the input, in the image's own aspect, for instance 262144; 0: as the weights say. More find smaller "
        "objects and take longer.",
        0,
        LARGEST_BUDGET,
        change=UNCONFIGURED,
    ),
    Spec(
        "model.image_sizes",
        ["640x480", "640x360"],
        "px of the cameras' images, or others of their shapes. Where the input follows the image, the network is "
        "prepared for them before the node is active; ['']: for the first image, and what comes meanwhile is dropped. "
        "Each takes some tenths of a second and 70 MB.",
        change=UNCONFIGURED,
    ),
    Spec("model.threads", 0, "CPU threads of the network; 0: as many as cores.", 0, 256, change=UNCONFIGURED),
    Spec(
        "model.cyclists",
        False,
        "A rider and the bicycle or motorcycle below are one object, of the class cyclist.",
        change=UNCONFIGURED,
    ),
)
_DETECTOR = (
    _tracking(
        "detector.classes",
        "Classes that are reported, and sets: road, people, animals, signs, indoor, all; auto: road and larger animals "
        "of a COCO model, all of another.",
    ),
    _tracking(
        "detector.class_groups",
        "Classes such as car and truck can be the same object: one box, one track, whose class its detections vote on.",
    ),
    _score("detector.out_threshold", "A detection with a lower score is not decoded."),
    _tracking("detector.duplicate_iou", "The weaker of two detections that overlap more goes; 1: both stay.", 0.0, 1.0),
    _tracking(
        "detector.depth_scale", "Factor on every depth that the network gives. With output.lift heads.", 0.01, 100.0
    ),
    _tracking(
        "detector.depth_sigma",
        "Relative standard deviation of depths, for covariances. With output.lift heads.",
        0.0,
        1.0,
    ),
    _tracking(
        "detector.correct_focal_length",
        "Correct depths by the camera's focal length over the trained one. With output.lift heads.",
    ),
    Spec(
        "detector.regions",
        [""],
        "Where tracks may start, one text for each camera: corners of a polygon, '0,0.4 1,0.4 1,1 0,1' (px, or parts "
        "of width and height), or the path of a mask image; the middle of a box's lower side counts. Empty: all.",
    ),
    _tracking("detector.report_occupants", "Report people who are seen in the windows of a vehicle, too."),
    _tracking("detector.default_focal_length", "px, when no camera_info is known; 0: no 3D without.", 0.0, 1e6),
)
_FOREIGN = (
    Spec(
        "detector.source",
        _TRACKER_DEFAULTS.detector_source,
        "Who finds the objects: the network, another detector on ~/input/detections (external), both, or the network, "
        "of which only what the other one confirms starts tracks (public).",
        choices=DETECTOR_SOURCES,
        change=UNCONFIGURED,
        field="detector_source",
    ),
    _tracking(
        "detector.bridge_misses",
        "With detector.source external: where that detector misses an object that it found before, the network's own "
        "detection continues the track, until the misses end it.",
    ),
    Spec("detector.tolerance_s", 0.01, "How far the stamp of detections may be from their image's.", 0.0, 10.0),
    Spec("detector.timeout_s", 0.3, "How long an image waits for its detections; then it goes on without.", 0.0, 10.0),
    Spec(
        "detector.class_names",
        [""],
        "Names of the other detector's classes in the order of its numbers, where its messages have numbers or names "
        "that the model does not know, and of detector.model; or the path of a .txt or .yaml file of them.",
        change=UNCONFIGURED,
    ),
)
_DETECTOR_LIMITS = DetectorLimits()
_OWN_DETECTOR = (
    Spec(
        "detector.model",
        "",
        "Path of an ONNX file: a detector that finds the objects, run by model.engine. detector.source network means "
        "external then. Empty: none.",
        change=UNCONFIGURED,
    ),
    Spec(
        "detector.layout",
        "",
        "Layout of the outputs of detector.model, such as yolov8; empty: recognised.",
        change=UNCONFIGURED,
    ),
    Spec("detector.min_score", _DETECTOR_LIMITS.min_score, "Weaker boxes of detector.model are left out.", 0.0, 1.0),
    Spec(
        "detector.iou",
        _DETECTOR_LIMITS.iou,
        "Of two boxes of detector.model of one class that overlap more the weaker one goes, where it gives such ones.",
        0.0,
        1.0,
    ),
)
_TRACKER = (
    _score("tracker.track_threshold", "A track continues with a detection above this score."),
    _score("tracker.new_threshold", "An unmatched detection above this score starts a track."),
    _score("tracker.pre_threshold", "A track above this score is drawn into the prior heatmap."),
    _tracking("tracker.association", "How detections and tracks are matched.", choices=tuple(METHODS)),
    _tracking("tracker.cost", "What is small between a detection and its track.", choices=tuple(COSTS)),
    _tracking("tracker.gate_scale", "Factor on the area that a squared distance may reach.", 0.01, 100.0),
    _tracking("tracker.min_iou", "Least overlap with the expected box; 0: none needed.", 0.0, 1.0),
    _tracking("tracker.max_size_ratio", "Most that the areas of matched boxes may differ by; 0: any.", 0.0, 1000.0),
    _tracking(
        "tracker.appearance",
        "Colours tell objects apart, in matching and the more the longer a track was lost; with motion fused. "
        "auto: color.",
        choices=APPEARANCES,
    ),
    _tracking(
        "tracker.birth",
        "What starts a track: the evidence of all its detections, or one above new_threshold (official).",
        choices=BIRTHS,
    ),
    _tracking(
        "tracker.low_threshold",
        "A detection above this score may continue a track where track_threshold is not lower; with birth evidence.",
        0.0,
        1.0,
    ),
    _tracking("tracker.live_first", "Lost tracks get only what no live track has taken."),
    _tracking(
        "tracker.max_age",
        "Frames that a track lives without a detection, plus 1; -1: none. The longer of it and rebirth counts.",
        -1,
        1000,
    ),
    _tracking(
        "tracker.rebirth",
        "Seconds within which a lost track may be found again; 0: off. The longer of it and max_age counts.",
        0.0,
        60.0,
    ),
    _tracking("tracker.min_hits", "A track is reported from its n-th match on.", 1, 100),
    _tracking("tracker.max_gap_s", "A longer pause resets the tracks of a camera; 0: never.", 0.0, 3600.0),
    _tracking(
        "tracker.motion",
        "Where a track is expected; auto: fused, the trained displacement and constant velocity by their covariances.",
        choices=MOTIONS,
    ),
    _tracking(
        "tracker.association_point",
        "What moves by the displacement: the peak or amodal centre (official) or the box's middle; auto: as trained.",
        choices=("auto", *ASSOCIATION_POINTS),
    ),
    _tracking(
        "tracker.velocity_smoothing",
        "Weight of the newest measurement in image velocities, with which lost tracks coast (propagate_lost) "
        "and motion constant_velocity predicts.",
        0.0,
        1.0,
    ),
    _tracking("tracker.propagate_lost", "Lost tracks coast with their last image velocity."),
    _tracking(
        "tracker.frame_period_s",
        "Time step that displacements were learnt for; 0: not scaled. With motion network.",
        0.0,
        60.0,
    ),
    _tracking("tracker.zero_tracking", "Ignore the displacement that the network predicts."),
    _tracking("tracker.zero_prior_heatmap", "Give the network an empty prior heatmap."),
)
_CAMERA = (
    Spec("camera.transport", "auto", "Which image topic is read; auto: the one that is published.",
         choices=("auto", "raw", "compressed"), change=UNCONFIGURED),
    Spec("camera.reliability", "best_effort", "QoS of the image subscription; best_effort fits every publisher.",
         choices=("best_effort", "reliable"), change=UNCONFIGURED),
    Spec("camera.queue_depth", 1, "QoS history of the image subscription; only the newest image is processed.", 1, 100,
         change=UNCONFIGURED),
    Spec("camera.rectified", False, "The images are rectified: P of camera_info holds, else K and D."),
    Spec("camera.height", _TRACKER_DEFAULTS.camera_height, "m, of the cameras over the ground that objects stand on, "
         "whose contact with it then tells distances, too; 0: unknown; -1: that over output.target_frame by TF, which "
         "must lie on the ground. With output.lift size_prior.", -1.0, 100.0, field="camera_height"),
    Spec("camera.heights", [""], "The same for each camera, in the order of cameras: m, 'tf' (as -1), or empty (as "
         "camera.height)."),
    Spec("camera.pitch", _TRACKER_DEFAULTS.camera_pitch, "deg by which the cameras look down, so that 3D boxes stand "
         "upright; 0: by TF to output.target_frame where its z axis is up, else unknown. With output.lift size_prior.",
         -MOST_PITCH, MOST_PITCH, field="camera_pitch"),
    Spec("camera.pitches", [""], "The same for each camera, in the order of cameras; empty: as camera.pitch."),
)  # fmt: skip
_DEPTH = (
    Spec("depth.sensors", True, "Depth images and points tell the distances of objects where they come.",
         field="depth_sensors"),
    Spec("depth.tolerance_s", SensorConfig.tolerance_s, "How far the stamp of a depth image or of points may be from "
         "the image's.", 0.0, 1.0),
    Spec("depth.timeout_s", SensorConfig.timeout_s, "How long an image waits for the depth image or the points of its "
         "time, while such are coming.", 0.0, 1.0),
)  # fmt: skip
_SURROUND = (
    Spec("surround.cross_camera_ids", True, "With several cameras and output.target_frame: a track keeps its id from "
         "camera to camera; false: ids belong to one camera each."),
    Spec("surround.window_s", 1.5, "How long the next camera may take to see an object that has left another's view. "
         "The longer of it and hold_s counts.", 0.0, 60.0),
    Spec("surround.hold_s", 0.5, "How long the merged view keeps what a camera saw last when it sends nothing more.",
         0.0, 60.0),
    Spec("surround.appearance", True, "Colours decide between objects about equally near to what another camera sees "
         "first; needs tracker.appearance."),
    Spec("surround.detections_3d", False, "What another detector finds in 3D, such as that of a LiDAR or a radar, on "
         "~/input/detections_3d, is tracked and fused with the cameras' tracks, also with one camera; needs "
         "output.target_frame.", change=UNCONFIGURED),
    Spec("surround.box_sigma", MultiCameraConfig.box_sigma, "m, standard deviation of the positions in these messages, "
         "where they do not tell it.", 0.01, 10.0),
)  # fmt: skip
_OUTPUT = (
    Spec("output.target_frame", "", "TF frame of 3D boxes and tracks, such as base_link; empty: the camera's own."),
    Spec("output.fixed_frame", "", "Fixed (world) TF frame, such as odom, for ids across cameras and for velocities; "
         "empty: the target frame."),
    Spec("output.tf_timeout_s", 0.1, "How long after an image is taken up its transform may arrive.", 0.0, 1.0),
    _tracking(
        "output.lift", "Source of 3D boxes: model heads, usual size of a class, or none.", choices=tuple(LIFTERS)
    ),
    _tracking(
        "output.max_range", "m on the ground: a track known to be farther away is not published; 0: any.", 0.0, 1e6
    ),
    _tracking("output.filter_boxes3d", "Filter 3D boxes over time. With output.lift size_prior."),
    Spec("output.publish_detections_2d", True, "Publish ~/output/detections_2d."),
    Spec("output.publish_tracks", True, "Publish ~/output/tracks."),
    Spec("output.publish_markers", True, "Publish ~/output/markers."),
    Spec("output.marker_lifetime_s", 0.5, "RViz removes a marker that was not renewed for this long.", 0.0, 3600.0),
    Spec("output.trail_length", 30, "Points in the trail behind a track, in the markers; 0: none.", 0, 1000),
    Spec("output.trail_s", 3.0, "Seconds of the trail behind a track, in the debug image; 0: none.", 0.0, 60.0),
    Spec("output.publish_autoware", False, "Publish ~/output/tracked_objects and detected_objects for Autoware; needs "
         "the package autoware_perception_msgs.", change=UNCONFIGURED),
    Spec("output.selected_frame", "selected_object", "TF frame of the object that ~/select has chosen; empty: none."),
    Spec("output.lazy", False, "Process no image while nobody subscribes; tracks restart with the first subscriber."),
)  # fmt: skip
_DIAGNOSTICS = (
    Spec("diagnostics.period_s", 1.0, "Between two messages on /diagnostics.", 0.05, 3600.0),
    Spec("diagnostics.waiting_s", 5.0, "Between two log lines about the same problem.", 0.1, 3600.0),
    Spec("diagnostics.min_rate_hz", 0.0, "WARN when a camera answers fewer images per second; 0: never.", 0.0, 1000.0),
    Spec("diagnostics.max_latency_ms", 500.0, "WARN when results are older when they are published.", 0.0, 1e6),
    Spec("diagnostics.max_loss", 0.3, "WARN when a larger part of a camera's images never arrives, as gaps in their "
         "stamps tell; 1: never.", 0.0, 1.0),
    Spec("diagnostics.max_age_s", 2.0, "ERROR when the last image of a camera is older.", 0.0, 3600.0),
)  # fmt: skip
SPECS: tuple[Spec, ...] = (
    Spec("autostart", True, "The node configures and activates itself; false: a manager does.", change=READ_ONLY),
    Spec("executor", "single_threaded", "What runs the callbacks: rclpy's usual executor, or its experimental "
         "EventsExecutor, which takes less of the processor, from Jazzy on.", choices=EXECUTORS, change=READ_ONLY),
    Spec("cameras", [""], "Names of cameras, with topics ~/input/<camera>/…; empty: one, on ~/input/…",
         change=UNCONFIGURED),
    *_MODEL,
    *_DETECTOR,
    *_FOREIGN,
    *_OWN_DETECTOR,
    *_TRACKER,
    *_CAMERA,
    *_DEPTH,
    *_SURROUND,
    *_OUTPUT,
    *_DIAGNOSTICS,
)  # fmt: skip
BY_NAME = {spec.name: spec for spec in SPECS}
