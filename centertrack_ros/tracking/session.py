# SPDX-License-Identifier: Apache-2.0
"""The way of a frame through tracking, for any number of cameras: the owner of all state. Knows nothing of ROS.

The node and the bag replay are thin callers: they bring frames and poses, and publish or write the results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from centertrack_ros.engine.base import Engine
from centertrack_ros.engine.detector_limits import DetectorLimits
from centertrack_ros.geometry.regions import Region
from centertrack_ros.tracking.config import NETWORK, TrackerConfig
from centertrack_ros.tracking.multi_camera.merged_view import MergedView
from centertrack_ros.tracking.multi_camera.records import MultiCameraConfig
from centertrack_ros.tracking.pipeline import Pipeline
from centertrack_ros.tracking.results import (
    ERROR,
    POSE,
    STAMP,
    BoxFrame,
    CameraPoses,
    CameraResult,
    MergedResult,
    OutputFrames,
    PoseLookup,
    Rejection,
    SessionResult,
)
from centertrack_ros.tracking.stamp_rules import StampRules
from centertrack_ros.tracking.velocity_filter import filter_velocities
from centertrack_ros.types import CameraMount, Frame, FrameHeader, FrameResult, TrackState, VelocityFilters

FROM_POSE = -1.0  # as the height of a camera: that over the target frame

if TYPE_CHECKING:
    from centertrack_ros.engine.detector import Detector


@dataclass(frozen=True)
class SessionConfig:
    """Everything that a user may choose about a session, apart from the model.

    Attributes:
        cameras: Names of the cameras; ('',) for an only one.
        tracker: How detections become tracks.
        multi_camera: How the tracks of several cameras become one view.
        frames: The frames of the 3D outputs.
        regions: Where tracks may start in the images of each camera, None: everywhere. Empty: everywhere in all.
        camera_heights: m, of each camera over the ground that objects stand on; 0: as `tracker` says; `FROM_POSE`: that
            over the target frame, which must lie on the ground. Empty: 0 for all.
        camera_pitches: deg by which each camera looks down; 0: as `tracker` says, else as the pose of the camera in the
            target frame tells, whose z axis must point up. Empty: 0 for all.
        detector: Which boxes of a detector of the user's own count.
        boxes: Another detector finds objects in 3D, as of a LiDAR: they are in the view of all cameras, which there is
            with one camera as well.
    """

    cameras: tuple[str, ...] = ("",)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    multi_camera: MultiCameraConfig = field(default_factory=MultiCameraConfig)
    frames: OutputFrames = field(default_factory=OutputFrames)
    regions: tuple[Region | None, ...] = ()
    camera_heights: tuple[float, ...] = ()
    camera_pitches: tuple[float, ...] = ()
    detector: DetectorLimits = field(default_factory=DetectorLimits)
    boxes: bool = False

    def __post_init__(self) -> None:
        if not self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise ValueError(f"each of the cameras needs a name of its own, got {', '.join(self.cameras) or 'none'}")
        if self.regions and len(self.regions) != len(self.cameras):
            raise ValueError(f"one region for each camera is needed, got {len(self.regions)} for {len(self.cameras)}")
        for name, values in (("height", self.camera_heights), ("pitch", self.camera_pitches)):
            if values and len(values) != len(self.cameras):
                raise ValueError(f"one {name} for each camera is needed, got {len(values)} for {len(self.cameras)}")
        for height in self.camera_heights:
            if height != FROM_POSE:
                replace(self.tracker, camera_height=height)  # checks the range
        for pitch in self.camera_pitches:
            replace(self.tracker, camera_pitch=pitch)

    @property
    def merges(self) -> bool:
        """Whether the cameras, and boxes of another detector, are fused into one view."""
        return (len(self.cameras) > 1 or self.boxes) and bool(self.frames.target)


@dataclass
class _CameraState:
    """What is remembered of one camera.

    Attributes:
        tracks: State of its tracker, with its velocity filters.
        stamps: Decides which frame is the next one.
        filter_frame: The fixed frame that the velocity filters belong to.
        requested_reset: Why the tracks are to be reset before the next frame.
        unreported_reset: Why they were reset in a frame that had no result.
        mount: What its last pose tells of how the camera stands; None: nothing.
    """

    tracks: TrackState = field(default_factory=TrackState)
    stamps: StampRules = field(default_factory=StampRules)
    filter_frame: str = ""
    requested_reset: str = ""
    unreported_reset: str = ""
    mount: CameraMount | None = None


class TrackingSession:
    """Tracks in the images of all cameras with one network.

    `step` is called from one thread; `configure` and `reset` may be called from another one at any time and take effect
    with the next step.
    """

    def __init__(self, engine: Engine, config: SessionConfig | None = None, detector: Detector | None = None) -> None:
        """Starts with nothing remembered.

        Args:
            engine: Runs the network; batches of as many images as there are cameras.
            config: What a user may choose; None: the defaults, for one camera.
            detector: Of the user's own, for frames without detections of another one; None: there is none.

        Raises:
            ValueError: The configuration asks for what the engine's model cannot give.
        """
        config = config or SessionConfig()
        self._setup = (config, Pipeline(engine, config.tracker))
        self._detector = detector
        self._cameras = {name: _CameraState() for name in config.cameras}
        self._view = MergedView(config.cameras, engine.profile.classes, config.multi_camera, config.boxes)
        self._requested_view_reset = ""

    @property
    def config(self) -> SessionConfig:
        """The configuration in force."""
        return self._setup[0]

    @property
    def pipeline(self) -> Pipeline:
        """Network and tracking of one frame, as configured."""
        return self._setup[1]

    @property
    def class_names(self) -> Sequence[str]:
        """Of the merged view: the model's, and behind them those that only another detector has; they may grow."""
        return self._view.class_names

    def configure(self, config: SessionConfig) -> None:
        """Takes another configuration; what is remembered stays, unless ids would change their meaning.

        Raises:
            ValueError: The model cannot give what it asks for, or it names other cameras. Nothing has changed then.
        """
        before, pipeline = self._setup
        if config.cameras != before.cameras:
            raise ValueError("the cameras of a session cannot change")
        if config.boxes != before.boxes:
            raise ValueError("a session cannot begin to take boxes of another detector, or end it")
        if config.tracker != before.tracker:
            pipeline = Pipeline(pipeline.engine, config.tracker)
        self._setup = (config, pipeline)
        if config.merges != before.merges:  # ids of single cameras and ids of the merged view are counted apart
            self.reset(f"cameras are {'merged' if config.merges else 'tracked apart'} now")

    def reset(self, reason: str) -> None:
        """Ends all tracks before the next frame of each camera, and starts ids at 1 again.

        A reset that a frame itself causes (a gap, a jump back, another size) does the same for its camera, but ids go
        on counting there, so that no id stands for two objects unless a user has asked for it.

        Args:
            reason: In words, for the results of those frames.
        """
        for camera in self._cameras.values():
            camera.requested_reset = reason
        self._requested_view_reset = reason

    def step(
        self,
        frames: Mapping[str, Frame],
        poses: PoseLookup | Mapping[str, CameraPoses] | None = None,
        boxes: Sequence[BoxFrame] = (),
    ) -> SessionResult:
        """Tracks in the next frames of some of the cameras. A frame that cannot be used costs its own result only.

        Args:
            frames: Name of the camera -> its next frame.
            poses: Where the cameras were at the stamps of their frames, or a function that knows it; not needed without
                a target frame. The function is called after the network, so that a transform may arrive meanwhile.
            boxes: What another detector has found in 3D since the last step, with or without frames.

        Returns:
            The results, and the frames that have none, with the reasons.

        Raises:
            ValueError: A camera is not one of the session's.
        """
        config, pipeline = self._setup
        if unknown := [name for name in frames if name not in self._cameras]:
            raise ValueError(f"camera '{unknown[0]}' is not one of {', '.join(self._cameras)}")
        rejected: list[Rejection] = []
        accepted = self._accept(_with_regions(frames, config), rejected)
        known_poses = _Poses(poses)
        if pipeline.uses_mount:
            accepted = {
                name: replace(frame, mount=frame.mount or partial(self._mount, name, frame, config, known_poses))
                for name, frame in accepted.items()
            }
        tracked = self._track(pipeline, self._with_detections(accepted, config, rejected), rejected)
        located = self._locate(tracked, config.frames, known_poses, rejected)
        results, merged, notes = self._merge(located, boxes, config, rejected)
        return SessionResult(tuple(results), tuple(rejected), merged, notes)

    def _accept(self, frames: Mapping[str, Frame], rejected: list[Rejection]) -> dict[str, Frame]:
        """The frames that are the next ones of their cameras; requested resets take place."""
        accepted = {}
        for name, frame in frames.items():
            camera = self._cameras[name]
            self._apply_requested_reset(camera)
            if reason := camera.stamps.rejection_reason(frame.stamp):
                rejected.append(Rejection(name, frame, STAMP, reason))
            else:
                accepted[name] = frame
        return accepted

    def _with_detections(
        self, frames: dict[str, Frame], config: SessionConfig, rejected: list[Rejection]
    ) -> dict[str, Frame]:
        """The frames with what the user's own detector finds in them."""
        if self._detector is None or config.tracker.detector_source == NETWORK:
            return frames
        seen = {}
        for name, frame in frames.items():
            if frame.foreign is not None:
                seen[name] = frame
                continue
            try:
                seen[name] = replace(frame, foreign=self._detector.detect(frame.image, config.detector))
            except Exception as error:  # an image or an output that cannot be used costs its frame only
                rejected.append(_failed(name, frame, error))
        return seen

    @staticmethod
    def _apply_requested_reset(camera: _CameraState) -> None:
        reason, camera.requested_reset = camera.requested_reset, ""
        if reason and camera.tracks.stamp is not None:
            camera.tracks, camera.stamps = TrackState(), StampRules()
            camera.unreported_reset = camera.unreported_reset or reason

    def _track(
        self, pipeline: Pipeline, frames: Mapping[str, Frame], rejected: list[Rejection]
    ) -> list[tuple[str, Frame, FrameResult]]:
        """One step of the pipeline for all frames; if that fails, for each alone."""
        if not frames:
            return []
        names = list(frames)
        try:
            outcomes = pipeline.step([frames[name] for name in names], [self._cameras[name].tracks for name in names])
        except Exception as error:
            if len(names) > 1:
                return [one for name in names for one in self._track(pipeline, {name: frames[name]}, rejected)]
            rejected.append(_failed(names[0], frames[names[0]], error))
            return []
        tracked = []
        for name, (result, state) in zip(names, outcomes, strict=True):
            camera = self._cameras[name]
            camera.tracks = state
            camera.unreported_reset = camera.unreported_reset or result.reset
            tracked.append((name, frames[name], result))
        return tracked

    def _mount(self, name: str, frame: Frame, config: SessionConfig, poses: _Poses) -> CameraMount:
        """How the camera stands at this frame: as configured, else as its pose tells, else as the last one told."""
        camera, index = self._cameras[name], config.cameras.index(name)
        height = config.camera_heights[index] if config.camera_heights else 0.0
        pitch = (config.camera_pitches[index] if config.camera_pitches else 0.0) or config.tracker.camera_pitch
        seen = None
        if config.frames.target and not (pitch and height != FROM_POSE):
            with suppress(Exception):  # the result of this frame says it
                camera.mount = poses(name, frame).mount
            seen = camera.mount
        seen = seen or CameraMount()
        mount = CameraMount.of_pitch(seen.height if height == FROM_POSE else height, pitch)
        return mount if pitch else replace(mount, up=seen.up)

    def _locate(
        self,
        tracked: Sequence[tuple[str, Frame, FrameResult]],
        frames: OutputFrames,
        poses: _Poses,
        rejected: list[Rejection],
    ) -> list[CameraResult]:
        """The results with the poses of their cameras; with filtered velocities where the camera's motion is known."""
        located = []
        for name, frame, result in tracked:
            camera = self._cameras[name]
            header = frame.header or FrameHeader(round(frame.stamp * 1e9))
            found = None
            if frames.target:
                try:
                    found = poses(name, frame)
                except Exception as error:
                    rejected.append(Rejection(name, frame, POSE, str(error), error))
                    continue
                header = replace(header, frame_id=frames.target)
                if frames.fixed:
                    try:
                        result = self._with_filtered_velocities(camera, result, found, frames.fixed, frame.stamp)
                        result = replace(result, tracks=self.pipeline.turned_by_motion(result.tracks))
                    except Exception as error:  # poses beyond all measure
                        rejected.append(_failed(name, frame, error))
                        continue
            result = replace(result, reset=camera.unreported_reset)
            camera.unreported_reset = ""
            located.append(CameraResult(name, frame, header, result, found))
        return located

    @staticmethod
    def _with_filtered_velocities(
        camera: _CameraState, result: FrameResult, poses: CameraPoses, fixed: str, stamp: float
    ) -> FrameResult:
        filters = camera.tracks.velocity_filters if fixed == camera.filter_frame else VelocityFilters()
        tracks, filters = filter_velocities(filters, result.tracks, poses.to_common, stamp)
        camera.filter_frame, camera.tracks = fixed, replace(camera.tracks, velocity_filters=filters)
        return replace(result, tracks=tracks)

    def _merge(
        self, results: list[CameraResult], boxes: Sequence[BoxFrame], config: SessionConfig, rejected: list[Rejection]
    ) -> tuple[list[CameraResult], MergedResult | None, tuple[str, ...]]:
        """The results with the ids of the merged view, that view, and sentences on boxes that are not in it."""
        if self._requested_view_reset:
            self._view.reset(self._requested_view_reset)
            self._requested_view_reset = ""
        if not config.merges or not (results or boxes):
            return results, None, ()
        placed, notes = _located_boxes(boxes)
        try:
            results, merged, more = self._view.step(results, config.frames, config.multi_camera, placed)
            return results, merged, (*notes, *more)
        except Exception as error:  # without the view their ids are not known
            rejected += [_failed(one.camera, one.frame, error) for one in results]
            return [], None, notes


def _located_boxes(boxes: Sequence[BoxFrame]) -> tuple[list[tuple[BoxFrame, CameraPoses]], tuple[str, ...]]:
    """The boxes with the poses of their frames, and why the others have none."""
    found: list[tuple[BoxFrame, CameraPoses]] = []
    notes: list[str] = []
    for frame in boxes:
        try:
            found.append((frame, frame.poses() if callable(frame.poses) else frame.poses))
        except Exception as error:
            notes.append(f"no transform: {error}")
    return found, tuple(notes)


def _with_regions(frames: Mapping[str, Frame], config: SessionConfig) -> Mapping[str, Frame]:
    """The frames with the regions of their cameras."""
    if not any(config.regions):
        return frames
    regions = dict(zip(config.cameras, config.regions, strict=True))
    return {name: replace(frame, region=regions[name]) for name, frame in frames.items()}


class _Poses:
    """The poses of the cameras in one step, each asked for once, when it is needed."""

    def __init__(self, source: PoseLookup | Mapping[str, CameraPoses] | None) -> None:
        self._source = source
        self._found: dict[str, CameraPoses | Exception] = {}

    def __call__(self, name: str, frame: Frame) -> CameraPoses:
        """The poses of a camera at its frame. Raises what the source raises."""
        if name not in self._found:
            try:
                self._found[name] = self._look_up(name, frame)
            except Exception as error:
                self._found[name] = error
        found = self._found[name]
        if isinstance(found, Exception):
            raise found
        return found

    def _look_up(self, name: str, frame: Frame) -> CameraPoses:
        if callable(self._source):
            return self._source(name, frame)
        if self._source is None or name not in self._source:
            raise ValueError(f"no pose of camera '{name}' was given")
        return self._source[name]


def _failed(name: str, frame: Frame, error: Exception) -> Rejection:
    return Rejection(name, frame, ERROR, f"{type(error).__name__}: {error}", error)
