# SPDX-License-Identifier: Apache-2.0
"""From images to tracks: the pipeline as a function of state, and the `Tracker` that holds the state of one camera."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine.base import Engine
from centertrack_ros.engine.no_network import no_peaks
from centertrack_ros.geometry.affine import Placement
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.geometry.regions import Region
from centertrack_ros.network.peaks import Peaks
from centertrack_ros.tracking.appearance import appearances, covered_parts, prepare_appearances
from centertrack_ros.tracking.box_filter import renamed
from centertrack_ros.tracking.class_names import ClassNames
from centertrack_ros.tracking.class_rules import ClassRules
from centertrack_ros.tracking.class_votes import FLOOR, vote
from centertrack_ros.tracking.config import BOTH, EXTERNAL, NETWORK, PUBLIC, TrackerConfig
from centertrack_ros.tracking.detections import LIFT_HEADS, decode
from centertrack_ros.tracking.existence import SAME_OBJECT_IOU, confirm, needed
from centertrack_ros.tracking.foreign import UsableDetections, none_usable, read_off, usable, with_own
from centertrack_ros.tracking.fused_motion import DisplacementNoise
from centertrack_ros.tracking.lifecycle import may_be_bridged, start_tracks, update
from centertrack_ros.tracking.lifters import LIFTERS, LiftOptions, SensorLifter, TrackLifter
from centertrack_ros.tracking.lifting import focal_correction
from centertrack_ros.tracking.motion import flow_displacements, flow_image
from centertrack_ros.tracking.occupants import vote_on_occupants
from centertrack_ros.tracking.prior_heatmap import EMPTY, prior_points
from centertrack_ros.tracking.sensor_depth import SensorView
from centertrack_ros.types import CameraMount, Detections, ForeignDetections, Frame, FrameResult, Tracks, TrackState

# Step between frames that come without a stamp, s.
DEFAULT_STEP_S = 1.0 / 30
# `ModelProfile.displacement_noise` of a trained displacement of which nothing was measured: cautious.
UNKNOWN_DISPLACEMENT_NOISE = (8.0, 0.5)


@dataclass
class PreparedFrame:
    """A frame on its way through one step, ready for the network.

    Attributes:
        frame: The image, with its stamp and camera.
        state: The state that the step continues, after a reset if there was one.
        placement: How the image lies in the network's input.
        camera: In px of the image, or the one to assume; None: there is none.
        reset: Why the tracks were reset before this frame; '' if they were not.
        network_input: What `Engine.prepare` made of the image.
        prior: (M, 3) int: x, y, radius in input px of the peaks in the prior heatmap.
        foreign: Usable detections of another detector; None: nobody told of any.
        timing_ms: Stage name -> duration.
    """

    frame: Frame
    state: TrackState
    placement: Placement
    camera: Camera | None
    reset: str
    network_input: Any = None
    prior: NDArray[np.int64] = field(default_factory=lambda: EMPTY)
    foreign: UsableDetections | None = None
    timing_ms: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Measures the duration of a `with` block."""
        start = perf_counter()
        yield
        self.timing_ms[stage] = (perf_counter() - start) * 1e3


class Pipeline:
    """Network and tracking as a function of (frames, states); holds no state of its own between calls."""

    def __init__(self, engine: Engine, config: TrackerConfig | None = None) -> None:
        """Checks the configuration against the model.

        Args:
            engine: Runs the network.
            config: How detections become tracks; None: the defaults.

        Raises:
            ValueError: The configuration asks for what the engine's model cannot give.
        """
        self.engine = engine
        profile = engine.profile
        self.config = (config or TrackerConfig()).resolved(profile)
        self.thresholds = self.config.thresholds(profile.thresholds)
        options = LiftOptions(self.config.depth_sigma, self.config.camera_height, self.config.camera_pitch)
        self._lift = LIFTERS[self.config.lift](profile, options)
        self._track_lifter: TrackLifter | None = None
        if self.config.filter_boxes3d and isinstance(self._lift, TrackLifter):
            self._track_lifter = self._lift
        self.rules = ClassRules.of(profile, self.config)
        if self.config.appearance == "color":
            prepare_appearances()
        self._point = self.config.association_point
        if self._point == "auto":
            self._point = profile.association_point
        # A foreign box has a middle and no cell of its own; only amodal centres are left.
        has_amodal = self._point == "official" and all(head in profile.heads for head in LIFT_HEADS)
        self._foreign_point = "official" if has_amodal else "box"
        self._names = ClassNames(profile.classes)
        self._asks = self.config.detector_source in (EXTERNAL, BOTH)
        self._bridges = self.config.bridge_misses and self.config.birth == "evidence"

    def step(self, frames: Sequence[Frame], states: Sequence[TrackState]) -> list[tuple[FrameResult, TrackState]]:
        """Runs one step for each camera; images of equal input size share one batch of the network.

        Args:
            frames: The next frame of each camera.
            states: The state of each camera, in the same order.

        Returns:
            The result and the new state of each camera, in the same order.

        Raises:
            ValueError: A frame cannot be used. Nothing was computed then; the given states are still valid.
        """
        if len(frames) != len(states):
            raise ValueError(f"one state for each frame is needed, got {len(frames)} frames and {len(states)} states")
        prepared = [self.prepare(frame, state) for frame, state in zip(frames, states, strict=True)]
        peaks = self.infer(prepared)
        return [self.associate(one, found) for one, found in zip(prepared, peaks, strict=True)]

    def prepare(self, frame: Frame, state: TrackState) -> PreparedFrame:
        """Warps the image to the network's input and draws the prior heatmap of the live tracks.

        Raises:
            ValueError: The frame is not an image with a finite stamp.
        """
        _check(frame)
        height, width = frame.image.shape[:2]
        profile = self.engine.profile
        placement = profile.place((height, width))
        foreign = None
        if frame.foreign is not None and self.config.detector_source != NETWORK:
            # Their cells take the places of the network's weakest peaks; with 'both' half of these are left.
            places = profile.max_detections
            shared = places if self.config.detector_source == BOTH else 0
            foreign = usable(frame.foreign, placement, self._names, max(places - shared // 2, 1), shared)
        if self.config.detector_source == PUBLIC:
            frame = _with_public(frame, foreign or none_usable())
        reset = _reset_reason(state, frame, self.config.max_gap_s)
        if reset:
            state = state.without_tracks()
        if state.tracks is None and frame.initial is not None:
            known = frame.initial.select(frame.initial.scores > np.float32(self.thresholds.new))
            tracks = start_tracks(known, state.next_id, frame.stamp)
            state = replace(state, tracks=tracks, next_id=state.next_id + len(tracks))
        camera = self._camera(frame.camera, placement)
        prepared = PreparedFrame(frame, state, placement, camera, reset, foreign=foreign)
        with prepared.timed("preprocess"):
            prepared.network_input = self.engine.prepare(frame.image, placement.to_input, placement.input_size)
            if profile.prior_heatmap and not self.config.zero_prior_heatmap:
                prepared.prior = prior_points(
                    state.tracks, placement.to_input, placement.input_size, self.thresholds.pre
                )
        return prepared

    def infer(self, prepared: Sequence[PreparedFrame]) -> list[Peaks]:
        """Runs the network, one batch for each input size. The first frame of a video is its own previous image."""
        by_size: dict[tuple[int, int], list[int]] = {}
        peaks: dict[int, Peaks] = {}
        for index, one in enumerate(prepared):
            if self.config.detector_source == EXTERNAL and not self._needs_network(one):
                peaks[index] = no_peaks()
            else:
                by_size.setdefault(one.placement.input_size, []).append(index)
        for indices in by_size.values():
            batch = [prepared[index] for index in indices]
            peaks.update(zip(indices, self._infer_batch(batch), strict=True))
        return [peaks[index] for index in range(len(prepared))]

    def _needs_network(self, prepared: PreparedFrame) -> bool:
        """Whether there is something to be read off at another detector's boxes, or to be bridged that it missed."""
        if prepared.foreign is None or len(prepared.foreign.cells):
            return prepared.foreign is not None
        tracks = prepared.state.tracks
        return self._bridges and tracks is not None and bool(may_be_bridged(tracks).any())

    def _infer_batch(self, batch: list[PreparedFrame]) -> list[Peaks]:
        start = perf_counter()
        images = [one.network_input for one in batch]
        previous = [
            one.network_input if one.state.previous_input is None else one.state.previous_input for one in batch
        ]
        arguments = (images, previous, [one.prior for one in batch])
        if self._asks:
            cells = [none_usable().cells if one.foreign is None else one.foreign.cells for one in batch]
            peaks = self.engine.infer(*arguments, cells)
        else:
            peaks = self.engine.infer(*arguments)
        elapsed = (perf_counter() - start) * 1e3
        for one in batch:
            one.timing_ms["network"] = elapsed
        return peaks

    def associate(self, prepared: PreparedFrame, peaks: Peaks) -> tuple[FrameResult, TrackState]:
        """Turns the network's peaks into detections, and those into tracks."""
        state, frame, camera = prepared.state, prepared.frame, prepared.camera
        mount = frame.mount() if callable(frame.mount) else frame.mount
        step = 0.0 if state.stamp is None else frame.stamp - state.stamp
        view = self._view(frame, camera)
        with prepared.timed("postprocess"):
            detections, own = self._decode(peaks, prepared.placement, camera, step, prepared.foreign)
            if self._track_lifter is None and camera is not None:
                detections = self._lifted(detections, camera, mount, view)
        with prepared.timed("association"):
            flow = flow_image(frame.image) if self.config.motion == "flow" else None
            if flow is not None and state.flow_image is not None:
                shifts = flow_displacements(state.flow_image, flow, detections.boxes, prepared.placement.image_size)
                detections = replace(detections, displacements=shifts)
            if self.config.appearance == "color":
                detections = replace(
                    detections,
                    appearances=appearances(frame.image, detections.boxes),
                    visible_parts=1.0 - covered_parts(detections.boxes),
                )
            tracks, next_id = update(
                start_tracks(detections.select(np.zeros(0, np.int64)), 1, frame.stamp)
                if state.tracks is None
                else state.tracks,
                state.next_id,
                detections,
                frame.stamp,
                step,
                self.rules.new[detections.class_ids],
                self.config,
                frame.public_centers,
                self._displacement_noise(prepared.placement),
                self.rules.same if self.config.class_groups else None,
                self.rules.rebirth,
                _in_region(detections, prepared),
                self.config.detector_source != EXTERNAL or prepared.foreign is not None,
                own,
            )
            if self.config.class_groups:
                tracks = self._with_voted_classes(tracks, prepared, mount, view)
            if not self.config.report_occupants:
                tracks = vote_on_occupants(
                    tracks,
                    state.tracks,
                    frame.stamp,
                    self.rules.people,
                    self.rules.vehicles,
                    prepared.placement.image_size[0],
                )
            ids = tracks.ids
            shown, tracks, next_id = confirm(tracks, next_id, needed(self.rules.new[tracks.detections.class_ids]))
            memory = renamed(state.box_memory, ids, tracks.ids)
            if self._track_lifter is not None and camera is not None:
                tracks, memory = self._track_lifter.lift_tracks(tracks, camera, frame.stamp, memory, mount, view)
            reported = self._reported(tracks, shown)
        result = FrameResult(
            tracks=reported,
            prior=np.array(prepared.prior),
            input_size=prepared.placement.input_size,
            affine=np.array(prepared.placement.to_input),
            timing_ms=prepared.timing_ms,
            reset=prepared.reset,
            detections=self.rules.reportable(detections if own is None else detections.select(~own)),
            notes=() if prepared.foreign is None else prepared.foreign.notes,
        )
        size, filters = prepared.placement.image_size, state.velocity_filters
        return result, TrackState(prepared.network_input, size, tracks, next_id, frame.stamp, flow, filters, memory)

    def _displacement_noise(self, placement: Placement) -> DisplacementNoise:
        """How far the network's displacements are off, px of the image."""
        profile = self.engine.profile
        if self.config.zero_tracking or not profile.trained_tracking:
            return DisplacementNoise()
        sigma, slope_error = profile.displacement_noise or UNKNOWN_DISPLACEMENT_NOISE
        return DisplacementNoise(sigma / placement.scale, slope_error)

    def detect(self, peaks: Peaks, placement: Placement, camera: Camera | None = None, step: float = 0.0) -> Detections:
        """Decodes the detections of one image and lifts them to 3D as far as configuration and camera allow.

        Args:
            peaks: What the network found on its output grid.
            placement: How the image lies in the network's input.
            camera: The camera, if it is calibrated.
            step: s since the previous image; 0: there is none.

        Returns:
            The detections, strongest first.
        """
        camera = self._camera(camera, placement)
        detections = self.rules.reportable(self._decode(peaks, placement, camera, step)[0])
        return detections if camera is None else self._lift(detections, camera)

    def _decode(
        self,
        peaks: Peaks,
        placement: Placement,
        camera: Camera | None,
        step: float,
        foreign: UsableDetections | None = None,
    ) -> tuple[Detections, NDArray[np.bool_] | None]:
        """What may start or continue a track, in 2D, and with what the network's heads tell of 3D.

        Also which of them only bridge what the other detector missed; None: that is not done.
        """
        config, profile = self.config, self.engine.profile
        removes_duplicates = config.duplicate_iou < 1
        lowest = float(self.rules.low.min())
        if removes_duplicates:  # the score of every class that an object may be counts
            lowest = min(lowest, float(FLOOR))
        depth_scale = config.depth_scale
        if config.correct_focal_length and camera is not None and profile.trained_focal_length:
            depth_scale *= focal_correction(camera, placement.scale, profile.trained_focal_length)
        zero_tracking = config.zero_tracking or not profile.trained_tracking
        velocity_step = step if profile.velocity_per_frame else None

        def decoded(found: Peaks, threshold: float, point: str) -> Detections:
            return decode(found, placement.from_grid, threshold, zero_tracking, depth_scale, velocity_step, point)

        def useful(detections: Detections) -> Detections:
            detections = self.rules.considered_of(detections)
            if removes_duplicates:
                detections = self.rules.without_duplicates(detections, config.duplicate_iou)
            return self.rules.accepted(detections)

        if not self._asks:
            return useful(decoded(peaks, lowest, self._point)), None
        given = read_off(
            foreign or none_usable(),
            peaks.asked or {},
            peaks.joints,
            placement,
            lambda found: decoded(found, -1.0, self._foreign_point),
        )
        given = useful(given.select(given.scores > np.float32(lowest)))
        if config.detector_source == EXTERNAL and (foreign is None or not self._bridges):
            return given, None
        own = useful(decoded(peaks, lowest, self._point))
        if config.detector_source == EXTERNAL:
            return with_own(given, own, self.rules.exclusive, SAME_OBJECT_IOU)
        return with_own(given, own, self.rules.exclusive)[0], None

    @property
    def uses_mount(self) -> bool:
        """Whether it matters how a camera stands over the ground."""
        return isinstance(self._lift, TrackLifter)

    def _lifted(
        self, detections: Detections, camera: Camera, mount: CameraMount | None, view: SensorView | None = None
    ) -> Detections:
        """The detections with 3D boxes, by what sensors measured as well."""
        if isinstance(self._lift, TrackLifter):
            return self._lift.lift(detections, camera, mount, view)
        if view is not None and isinstance(self._lift, SensorLifter):
            return self._lift.lift_sensed(detections, camera, view)
        return self._lift(detections, camera)

    def _camera(self, camera: Camera | None, placement: Placement) -> Camera | None:
        """The camera in px of the image, or the one to assume; None: there is none."""
        height, width = placement.image_size
        if camera is not None:
            return camera.scaled_to(width, height)
        if self.config.default_focal_length > 0:
            return Camera.from_focal(width, height, self.config.default_focal_length)
        return None

    def _view(self, frame: Frame, camera: Camera | None) -> SensorView | None:
        """What sensors measured of the frame's view; None: nothing, or nobody asks for it."""
        if camera is None or not self.config.depth_sensors or (frame.depth is None and frame.points is None):
            return None
        return SensorView(camera, frame.depth, frame.points)

    def _with_voted_classes(
        self, tracks: Tracks, prepared: PreparedFrame, mount: CameraMount | None, view: SensorView | None
    ) -> Tracks:
        """The tracks with the classes that their detections have voted for, and with the 3D boxes of those."""
        voted = vote(tracks, prepared.state.tracks, prepared.frame.stamp, self.rules.odds)
        rows = np.flatnonzero(voted.detections.class_ids != tracks.detections.class_ids)
        if prepared.camera is None or not len(rows) or self._track_lifter is not None:
            return voted
        lifted = self._lifted(voted.detections.select(rows), prepared.camera, mount, view)
        return replace(voted, detections=voted.detections.with_rows(rows, lifted))

    def turned_by_motion(self, tracks: Tracks) -> Tracks:
        """The tracks with headings by their velocities over ground, where the network measures none."""
        return tracks if self._track_lifter is None else self._track_lifter.turn_by_motion(tracks)

    def _reported(self, tracks: Tracks, exist: NDArray[np.bool_]) -> Tracks:
        """Copies of the tracks of requested classes that exist and have been matched often enough to be shown."""
        shown = exist & self.rules.requested[tracks.detections.class_ids] & self.rules.in_range(tracks.detections)
        if self.config.min_hits > 1 and tracks.lengths is not None:
            shown &= tracks.lengths >= self.config.min_hits
        if not self.config.report_occupants and tracks.occupant_votes is not None:
            shown &= ~(tracks.occupant_votes > 0)
        return tracks.select(shown)


def _check(frame: Frame) -> None:
    image = frame.image
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"an image must be a uint8 array (height, width, 3) in BGR order, got {found}")
    if not image.shape[0] or not image.shape[1]:
        raise ValueError(f"an image must not be empty, got {image.shape[1]}x{image.shape[0]} px")
    if not math.isfinite(frame.stamp):
        raise ValueError(f"a stamp must be a finite number of seconds, got {frame.stamp}")


def _with_public(frame: Frame, foreign: UsableDetections) -> Frame:
    """The frame with the other detector's word on which tracks may begin, where the frame has none of its own."""
    if frame.public_centers is not None:
        return frame
    known = foreign.as_detections()
    return replace(frame, public_centers=known.centers, initial=known if frame.initial is None else frame.initial)


def _in_region(detections: Detections, prepared: PreparedFrame) -> NDArray[np.bool_] | None:
    """(N,) mask of the detections whose lower side has its middle in the frame's region; None without a region."""
    region, (height, width) = prepared.frame.region, prepared.placement.image_size
    if region is None:
        return None
    x1, _, x2, y2 = np.clip(detections.boxes, 0.5, np.tile((width, height), 2) - 0.5).T  # middles of border pixels
    return region.contains(np.stack([(x1 + x2) / 2, y2], axis=1), (height, width))


def _reset_reason(state: TrackState, frame: Frame, max_gap_s: float) -> str:
    """Why the tracks of the last frame cannot go on in this one; '' when they can."""
    if state.image_size is not None and state.image_size != frame.image.shape[:2]:
        (old_height, old_width), (height, width) = (state.image_size, frame.image.shape[:2])
        return f"image size changed from {old_width}x{old_height} to {width}x{height}"
    if state.stamp is None:
        return ""
    step = frame.stamp - state.stamp
    if step < 0:
        return f"stamp went back by {-step:.3g} s"
    if max_gap_s > 0 and step > max_gap_s:
        return f"no image for {step:.3g} s"
    return ""


class Tracker:
    """Tracks the objects in one camera's video."""

    def __init__(self, engine: Engine, config: TrackerConfig | None = None, region: Region | None = None) -> None:
        """Starts with nothing remembered.

        Args:
            engine: Runs the network.
            config: How detections become tracks; None: the defaults.
            region: Where tracks may start, see `Frame`; None: everywhere.

        Raises:
            ValueError: The configuration asks for what the engine's model cannot give.
        """
        self.pipeline = Pipeline(engine, config)
        self.state = TrackState()
        self.region = region

    def step(
        self,
        image: NDArray[np.uint8],
        camera: Camera | None = None,
        stamp: float | None = None,
        public_centers: NDArray[np.floating] | None = None,
        initial: Detections | None = None,
        foreign: ForeignDetections | None = None,
    ) -> FrameResult:
        """Tracks the objects in the next image.

        Args:
            image: BGR uint8 (H, W, 3).
            camera: The camera, if it is calibrated: without it there are no 3D boxes.
            stamp: s; None: a thirtieth of a second after the previous image.
            public_centers: (P, 2) px of given detections: only what one of them confirms may start a track.
            initial: Objects that are known at the first frame.
            foreign: What another detector has found in the image, see `TrackerConfig.detector_source`.

        Returns:
            The tracks of this image.

        Raises:
            ValueError: The image cannot be used. The next good one is tracked as if this one had not been there.
        """
        if stamp is None:
            stamp = 0.0 if self.state.stamp is None else self.state.stamp + DEFAULT_STEP_S
        frame = Frame(image, stamp, camera, public_centers, initial, region=self.region, foreign=foreign)
        [(result, self.state)] = self.pipeline.step([frame], [self.state])
        return result

    def reset(self) -> None:
        """Forgets everything; ids start at 1 again."""
        self.state = TrackState()
