# SPDX-License-Identifier: Apache-2.0
"""The node's parameters as one frozen, typed tree, which `node_parameters` makes of values.

Their table is in `parameter_specs.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from centertrack_ros.engine import load_engine
from centertrack_ros.engine.base import Engine
from centertrack_ros.engine.cyclists import CyclistEngine
from centertrack_ros.engine.detector_limits import DetectorLimits
from centertrack_ros.io.class_name_files import class_names
from centertrack_ros.io.regions import read_region
from centertrack_ros.io.sensor_messages import SensorConfig
from centertrack_ros.ros.camera_names import check_camera_names
from centertrack_ros.ros.class_parameters import class_limits
from centertrack_ros.ros.parameter_specs import SPECS, Value
from centertrack_ros.tracking.config import EXTERNAL, NETWORK, TrackerConfig
from centertrack_ros.tracking.foreign import engine_for
from centertrack_ros.tracking.multi_camera.records import MultiCameraConfig
from centertrack_ros.tracking.results import OutputFrames
from centertrack_ros.tracking.session import FROM_POSE, SessionConfig

if TYPE_CHECKING:
    from centertrack_ros.engine.detector import Detector

Group = TypeVar("Group")


@dataclass(frozen=True)
class ModelParameters:
    """`model.*`: which network, and what runs it. Sizes in px; 0: as the weights say."""

    weights: str
    engine: str
    device: str
    input_width: int
    input_height: int
    input_pixels: int
    image_sizes: list[str]
    threads: int
    cyclists: bool

    @property
    def image_shapes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) px of images that the network is prepared for.

        Raises:
            ValueError: A size is none.
        """
        found = []
        for size in names(self.image_sizes):
            width, _, height = size.lower().partition("x")
            sides = [int(side) if side.isdecimal() and len(side) < 6 else 0 for side in (height, width)]
            if not all(sides):
                raise ValueError(f"model.image_sizes must be sizes in px such as 1280x720; got '{size}'")
            found.append((sides[0], sides[1]))
        return tuple(found)

    @property
    def input_size(self) -> tuple[int, int] | None:
        """(width, height) px of the network's input; None: as the weights say.

        Raises:
            ValueError: Only one of both is given, or input_pixels beside them.
        """
        if self.input_pixels and (self.input_width or self.input_height):
            raise ValueError("model.input_pixels and model.input_width with model.input_height exclude each other")
        if bool(self.input_width) != bool(self.input_height):
            raise ValueError(
                f"model.input_width and model.input_height go together; got {self.input_width} and {self.input_height}"
            )
        return (self.input_width, self.input_height) if self.input_width else None


@dataclass(frozen=True)
class CameraParameters:
    """`camera.*`: how images are received, and which matrix of camera_info holds."""

    transport: str
    reliability: str
    queue_depth: int
    rectified: bool
    height: float
    heights: tuple[str, ...]
    pitches: tuple[str, ...]


@dataclass(frozen=True)
class DetectorParameters:
    """`detector.*` about another detector; `detector.source` and the others are settings of the tracker. Times in s."""

    tolerance_s: float
    timeout_s: float
    class_names: list[str]
    model: str
    layout: str
    min_score: float
    iou: float

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the other detector's classes in the order of its numbers; empty: not told."""
        return names(self.class_names)

    @property
    def limits(self) -> DetectorLimits:
        """Which boxes of the detector in `model` count."""
        return DetectorLimits(self.min_score, self.iou)


@dataclass(frozen=True)
class OutputParameters:
    """`output.*` without `output.lift`, which is a setting of the tracker. Times in s."""

    target_frame: str
    fixed_frame: str
    tf_timeout_s: float
    publish_detections_2d: bool
    publish_tracks: bool
    publish_markers: bool
    marker_lifetime_s: float
    trail_length: int
    trail_s: float
    lazy: bool
    publish_autoware: bool
    selected_frame: str

    @property
    def frames(self) -> OutputFrames:
        """The frames of the 3D outputs. A fixed frame without a target frame has no effect."""
        target, fixed = self.target_frame.strip("/"), self.fixed_frame.strip("/")
        return OutputFrames(target, fixed) if target else OutputFrames()


@dataclass(frozen=True)
class DiagnosticsParameters:
    """`diagnostics.*`: the limits from which /diagnostics warns."""

    period_s: float
    waiting_s: float
    min_rate_hz: float
    max_latency_ms: float
    max_loss: float
    max_age_s: float


@dataclass(frozen=True)
class NodeParameters:
    """A complete and valid set of parameters.

    Attributes:
        autostart: The node configures and activates itself.
        executor: What runs its callbacks, one of `parameter_specs.EXECUTORS`.
        cameras: Names of the cameras; empty: one without a name.
        model: Which network, and what runs it.
        tracker: `detector.*`, `tracker.*`, `classes.*`, `output.lift` and `output.max_range`.
        detector: About another detector.
        regions: `detector.regions`: where tracks may start, of each camera, as `io.regions.read_region` takes them.
        camera: How images are received.
        depth: `depth.*` without `depth.sensors`, which is a setting of the tracker.
        multi_camera: `surround.*`, with what it takes from other parameters.
        boxes: `surround.detections_3d`: another detector finds objects in 3D.
        output: What is published, and in which frames.
        diagnostics: Limits for /diagnostics.
    """

    autostart: bool
    executor: str
    cameras: tuple[str, ...]
    model: ModelParameters
    tracker: TrackerConfig
    detector: DetectorParameters
    regions: tuple[str, ...]
    camera: CameraParameters
    depth: SensorConfig
    multi_camera: MultiCameraConfig
    boxes: bool
    output: OutputParameters
    diagnostics: DiagnosticsParameters

    @property
    def session(self) -> SessionConfig:
        """What a tracking session takes of them.

        Raises:
            ValueError: Two cameras have one name, or a region, a height or a pitch cannot be used.
            OSError: The image of a region cannot be read.
        """
        cameras = self.cameras or ("",)
        regions = tuple(read_region(text) for text in self.regions)
        if regions and len(regions) != len(cameras):
            raise ValueError(f"detector.regions needs one entry for each of {len(cameras)} cameras, got {len(regions)}")
        all_heights = FROM_POSE if self.camera.height == FROM_POSE else 0.0
        heights = _for_each(self.camera.heights, "camera.heights", cameras, all_heights, {"tf": FROM_POSE})
        if FROM_POSE in heights and not self.output.frames.target:
            raise ValueError("a camera's height from TF needs output.target_frame, a frame on the ground")
        if self.boxes and not self.output.frames.target:
            raise ValueError("surround.detections_3d needs output.target_frame, such as base_link")
        pitches = _for_each(self.camera.pitches, "camera.pitches", cameras, 0.0, {})
        return SessionConfig(
            cameras,
            self.tracker,
            self.multi_camera,
            self.output.frames,
            regions,
            camera_heights=heights,
            camera_pitches=pitches,
            detector=self.detector.limits,
            boxes=self.boxes,
        )


def _for_each(
    texts: tuple[str, ...], name: str, cameras: tuple[str, ...], default: float, words: Mapping[str, float]
) -> tuple[float, ...]:
    """A number for each camera; an empty text stands for `default`."""
    if any(texts) and len(texts) != len(cameras):
        raise ValueError(f"{name} needs one entry for each of {len(cameras)} cameras, got {len(texts)}")
    numbers = []
    for text in texts if any(texts) else [""] * len(cameras):
        try:
            numbers.append(words[text] if text in words else float(text) if text else default)
        except ValueError:
            known = "".join(f" or '{word}'" for word in words)
            raise ValueError(f"{name}: expected a number{known} for each camera, got '{text[:80]}'") from None
    return tuple(numbers) if any(numbers) else ()


def node_parameters(values: Mapping[str, Value]) -> NodeParameters:
    """The typed tree of a complete set of values.

    Args:
        values: Name of a parameter -> its value, for every one of `SPECS`.

    Raises:
        ValueError: The values contradict each other.
    """
    output = _group(OutputParameters, "output", values)
    tracker = tracker_config(values)
    check_camera_names(names(values["cameras"]))  # type: ignore[arg-type]
    return NodeParameters(
        autostart=bool(values["autostart"]),
        executor=str(values["executor"]),
        cameras=names(values["cameras"]),  # type: ignore[arg-type]
        model=_group(ModelParameters, "model", values),
        tracker=tracker,
        detector=detector_parameters(values),
        regions=tuple(values["detector.regions"]) if any(values["detector.regions"]) else (),  # type: ignore[arg-type]
        camera=_group(CameraParameters, "camera", values),
        depth=_group(SensorConfig, "depth", values),
        multi_camera=MultiCameraConfig(
            cross_camera=bool(values["surround.cross_camera_ids"]),
            # Set one by one, the two pass through every combination.
            window_s=max(float(values["surround.window_s"]), float(values["surround.hold_s"])),  # type: ignore[arg-type]
            hold_s=float(values["surround.hold_s"]),  # type: ignore[arg-type]
            appearance=bool(values["surround.appearance"]),
            depth_sigma=tracker.depth_sigma,
            measured_velocities=bool(output.frames.fixed),  # relative to a moving frame they would mislead
            box_sigma=float(values["surround.box_sigma"]),  # type: ignore[arg-type]
        ),
        boxes=bool(values["surround.detections_3d"]),
        output=output,
        diagnostics=_group(DiagnosticsParameters, "diagnostics", values),
    )


def _group(kind: type[Group], prefix: str, values: Mapping[str, Value]) -> Group:
    return kind(**{field.name: values[f"{prefix}.{field.name}"] for field in fields(kind)})  # type: ignore[arg-type]


def detector_parameters(values: Mapping[str, Value]) -> DetectorParameters:
    """The values of the parameters about another detector; class names in a file are read.

    Raises:
        ValueError: The file is not there, or has something else in it.
    """
    given = class_names(names(values["detector.class_names"]))  # type: ignore[arg-type]
    return _group(DetectorParameters, "detector", {**values, "detector.class_names": list(given)})


def tracker_config(values: Mapping[str, Value]) -> TrackerConfig:
    """The values of the parameters that set fields of TrackerConfig.

    Raises:
        ValueError: A value is out of range.
    """
    chosen: dict[str, Any] = {spec.field: values[spec.name] for spec in SPECS if spec.field}
    chosen["classes"] = names(chosen["classes"])
    chosen["camera_height"] = 0.0 if chosen["camera_height"] == FROM_POSE else chosen["camera_height"]
    chosen["class_limits"] = class_limits(values)
    for name in ("track_threshold", "out_threshold", "pre_threshold", "new_threshold"):
        chosen[name] = None if chosen[name] < 0.0 else chosen[name]
    if values["detector.model"] and chosen["detector_source"] == NETWORK:
        chosen["detector_source"] = EXTERNAL
    return TrackerConfig(**chosen)


def names(value: Iterable[str]) -> tuple[str, ...]:
    """A list of names without the empty one: ROS cannot tell the type of an empty list, so [''] stands for none."""
    return tuple(name for name in value if name)


def detector_of(parameters: NodeParameters) -> Detector | None:
    """Loads the detector of `detector.model`; None: there is none.

    Raises:
        ValueError: The file is no detector, or its layout or classes are not known.
        ImportError: What runs it is not installed.
        OSError: There is no such file.
    """
    detector, model = parameters.detector, parameters.model
    if not detector.model:
        return None
    from centertrack_ros.engine.detector import load_detector

    return load_detector(
        detector.model,
        detector.layout,
        detector.names,
        engine=model.engine,
        device=model.device,
        threads=model.threads or None,
    )


def engine_of(parameters: NodeParameters, background: bool = False, detector: Detector | None = None) -> Engine:
    """Loads the network that `model.*` asks for, for the detections that `detector.*` asks for.

    Args:
        parameters: Of the node.
        background: As in `load_engine`.
        detector: Of `detector_of`.

    Raises:
        ValueError: A parameter does not fit the model.
        OSError: The weights cannot be read.
        RuntimeError: The device cannot be used.
    """
    model = parameters.model

    def load() -> Engine:
        engine = load_engine(
            model.weights,
            engine=model.engine,
            device=model.device,
            threads=model.threads or None,
            background=background,
            input_size=model.input_size,
            input_pixels=model.input_pixels,
        )
        return CyclistEngine(engine) if model.cyclists else engine

    known = parameters.detector.names if detector is None else detector.class_names
    return engine_for(parameters.tracker.detector_source, known, model.weights, load)
