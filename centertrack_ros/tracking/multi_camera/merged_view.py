# SPDX-License-Identifier: Apache-2.0
"""The merged view of several cameras: their tracks with common ids, and each object once in the target frame.

What another detector finds in 3D is in it as if that were one more camera.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from centertrack_ros.geometry.boxes3d import OrientedBoxes
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.tracking.foreign_boxes import GrowingNames
from centertrack_ros.tracking.multi_camera.box_detector import DETECTOR, BoxDetector
from centertrack_ros.tracking.multi_camera.fusion import MultiCameraTracker
from centertrack_ros.tracking.multi_camera.records import CameraTracks, FusedTracks, MultiCameraConfig
from centertrack_ros.tracking.results import BoxFrame, CameraPoses, CameraResult, MergedResult, OutputFrames
from centertrack_ros.types import LIFT_POINTS, Detections, FrameHeader, Tracks

_Place: TypeAlias = tuple[float, FrameHeader, CameraPoses]  # stamp, header of a view at that time, pose of the sensor


class MergedView:
    """Holds what is remembered of several cameras together."""

    def __init__(
        self, cameras: Sequence[str], class_names: Sequence[str], config: MultiCameraConfig, has_boxes: bool = False
    ) -> None:
        """Starts with nothing.

        Args:
            cameras: Their names.
            class_names: Of the model.
            config: How tracks are fused.
            has_boxes: Another detector finds objects in 3D, too.
        """
        self._detector = BoxDetector(GrowingNames(class_names)) if has_boxes else None
        self._cameras = (*cameras, DETECTOR) if has_boxes else tuple(cameras)
        self._tracker = MultiCameraTracker(self._cameras, class_names, config)
        self._know_classes()
        self.class_names: Sequence[str] = self._detector.names if self._detector else tuple(class_names)
        self._frames: OutputFrames | None = None
        self._newest: tuple[float, FrameHeader, Transform] | None = None  # stamp, header, common -> target frame
        self._tracks: dict[int, Tracks] = {}  # newest tracks by index of the camera
        self._pending_reset = ""

    def reset(self, reason: str) -> None:
        """Forgets all objects; ids start at 1 again."""
        self._tracker.restart()
        if self._detector is not None:
            self._detector.restart(keep_ids=False)
        if self._tracks:
            self._newest, self._tracks, self._pending_reset = None, {}, reason

    def step(
        self,
        results: Sequence[CameraResult],
        frames: OutputFrames,
        config: MultiCameraConfig,
        boxes: Sequence[tuple[BoxFrame, CameraPoses]] = (),
    ) -> tuple[list[CameraResult], MergedResult | None, tuple[str, ...]]:
        """Takes the new results of some of the cameras.

        Args:
            results: Results with poses.
            frames: The target frame and the fixed frame.
            config: How tracks are fused.
            boxes: What another detector has found in 3D, and where its frame was.

        Returns:
            The same results, their tracks with the ids of the merged view; the merged view, None if there are no
            results and the boxes are older than the last one; and sentences on boxes that could not be used.

        Raises:
            ValueError: The results cannot be used. What is remembered stays as it was.
        """
        self._prepare(frames, config)
        measured, notes = self._observe(results, boxes, frames, config)
        before = None if self._newest is None else self._newest[0]
        if not results and not measured:
            return [], None, notes
        observations = [CameraTracks(r.camera, r.frame.stamp, r.result.tracks, _poses(r).to_common) for r in results]
        fused = self._tracker.step([*observations, *(observation for observation, _ in measured)])
        if fused.reset and self._detector is not None and results:
            self._detector.restart(keep_ids=True)
        for observation in (*observations, *(observation for observation, _ in measured)):
            self._tracks[self._cameras.index(observation.camera)] = observation.tracks
        placed = [(r.frame.stamp, r.header, _poses(r)) for r in results]
        for stamp, header, poses in (*placed, *(place for _, place in measured)):
            if fused.reset or self._newest is None or stamp >= self._newest[0]:
                self._newest = (stamp, header, poses.to_target @ poses.to_common.inverse())
        assert self._newest is not None
        if not results and not fused.reset and before is not None and self._newest[0] <= before:
            return [], None, notes
        _, header, to_target = self._newest
        reset, self._pending_reset = self._pending_reset or fused.reset, ""
        view = fused.tracks.transformed(to_target)
        shown = _with_observed_motion(view) if frames.fixed else view.boxes
        merged = MergedResult(header, self._tracks_of(fused.tracks), shown, fused.tracks.stamp, reset)
        return [_with_ids(result, fused.ids[result.camera]) for result in results], merged, notes

    def _observe(
        self,
        results: Sequence[CameraResult],
        boxes: Sequence[tuple[BoxFrame, CameraPoses]],
        frames: OutputFrames,
        config: MultiCameraConfig,
    ) -> tuple[list[tuple[CameraTracks, _Place]], tuple[str, ...]]:
        """What the other detector has seen, with the place of each message, and sentences on what cannot be used."""
        if self._detector is None:
            return [], ()
        if results:
            self._detector.take_image(max(result.frame.stamp for result in results))
        found: list[tuple[CameraTracks, _Place]] = []
        notes: list[str] = []
        for frame, poses in sorted(boxes, key=lambda pair: pair[0].stamp):
            try:
                observation, problems = self._detector.observe(frame, poses, frames, config)
            except Exception as error:  # what is wrong with boxes costs no camera its results
                notes.append(str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}")
                continue
            notes += problems
            found.append((observation, (frame.stamp, FrameHeader(frame.header.stamp_ns, frames.target), poses)))
        self._know_classes()
        return found, tuple(notes)

    def _know_classes(self) -> None:
        """Tells the tracker of classes that the other detector has added."""
        if self._detector is not None:
            names = self._detector.names
            if self._tracker.setup.detector < 0 or len(names) != len(self._tracker.setup.kinds):
                self._tracker.take_boxes_of(DETECTOR, names, names.of_model)

    def _prepare(self, frames: OutputFrames, config: MultiCameraConfig) -> None:
        """Takes over what has changed since the last step."""
        if config != self._tracker.setup.config:
            self._tracker.reconfigure(config)
        if self._frames is not None and frames != self._frames:
            self._newest = None
            if frames.common != self._frames.common:
                self._tracker.reset()
                if self._detector is not None:
                    self._detector.restart(keep_ids=True)
                self._pending_reset = self._pending_reset or f"cameras are compared in frame '{frames.common}' now"
        self._frames = frames

    def _tracks_of(self, view: FusedTracks) -> Tracks:
        """The tracks behind the view's objects, each from the camera whose box is shown, with the view's ids."""
        cameras = sorted(self._tracks)
        parts = [self._tracks[camera] for camera in cameras]
        starts = dict(zip(cameras, np.cumsum([0, *map(len, parts)]).tolist(), strict=False))
        rows = [
            starts[camera] + int(np.flatnonzero(self._tracks[camera].ids == local_id)[0])
            for camera, local_id in zip(view.cameras.tolist(), view.local_ids.tolist(), strict=True)
        ]
        everything = Tracks(
            detections=Detections.concatenate([part.detections for part in parts]),
            ids=np.concatenate([part.ids for part in parts]),
            ages=np.concatenate([part.ages for part in parts]),
            hits=np.concatenate([part.hits for part in parts]),
            births=np.concatenate([part.births for part in parts]),
            motion_states=np.concatenate([_motion_states(part) for part in parts]),
        )
        chosen = replace(everything.select(np.array(rows, np.int64)), ids=view.ids)
        if self._detector is None:
            return chosen
        return _with_measured(chosen, view, self._cameras.index(DETECTOR), self._tracks)


def _with_measured(tracks: Tracks, view: FusedTracks, detector: int, newest: Mapping[int, Tracks]) -> Tracks:
    """The tracks of a view, with what is known of the boxes that another detector has measured."""
    rows = np.flatnonzero(view.sources == detector)
    if not len(rows):
        return tracks
    own, detections = newest[detector], tracks.detections
    behind = (own.ids == view.source_ids[rows, None]).argmax(axis=1)
    unknown = np.full(len(tracks), np.nan)
    lifts = unknown.astype(np.float32) if detections.lifts is None else detections.lifts.copy()
    headings = unknown.copy() if detections.heading_variances is None else detections.heading_variances.copy()
    angles = unknown.astype(np.float32) if detections.rotations_y is None else detections.rotations_y
    states = _motion_states(tracks).copy()
    states[rows] = _motion_states(own)[behind]
    lifts[rows], headings[rows] = LIFT_POINTS, view.boxes.covariances[rows, 5, 5]
    scores = detections.scores.copy()
    scores[rows] = view.scores[rows]
    detections = replace(detections, lifts=lifts, heading_variances=headings, rotations_y=angles, scores=scores)
    return replace(tracks, detections=detections, motion_states=states)


def _motion_states(tracks: Tracks) -> np.ndarray:
    """(N,) of MOTION_UNKNOWN where nobody knows."""
    return np.zeros(len(tracks), np.uint8) if tracks.motion_states is None else tracks.motion_states


def _poses(result: CameraResult) -> CameraPoses:
    assert result.poses is not None  # there is a target frame
    return result.poses


def _with_ids(result: CameraResult, ids: np.ndarray) -> CameraResult:
    tracks = replace(result.result.tracks, ids=ids)
    return replace(result, result=replace(result.result, tracks=tracks))


def _with_observed_motion(view: FusedTracks) -> OrientedBoxes:
    """The boxes, with the motion that was observed where the network gives no velocity."""
    velocities = view.boxes.velocities
    return replace(view.boxes, velocities=np.where(np.isfinite(velocities), velocities, view.motions))
