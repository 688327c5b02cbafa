# SPDX-License-Identifier: Apache-2.0
"""The merged view of several cameras: their tracks with common ids, and each object once in the target frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from centertrack_ros.geometry.boxes3d import OrientedBoxes
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.tracking.multi_camera.fusion import MultiCameraTracker
from centertrack_ros.tracking.multi_camera.records import CameraTracks, FusedTracks, MultiCameraConfig
from centertrack_ros.tracking.results import CameraPoses, CameraResult, MergedResult, OutputFrames
from centertrack_ros.types import Detections, FrameHeader, Tracks


class MergedView:
    """Holds what is remembered of several cameras together."""

    def __init__(self, cameras: Sequence[str], class_names: Sequence[str], config: MultiCameraConfig) -> None:
        self._cameras = tuple(cameras)
        self._tracker = MultiCameraTracker(cameras, class_names, config)
        self._frames: OutputFrames | None = None
        self._newest: tuple[float, FrameHeader, Transform] | None = None  # stamp, header, common -> target frame
        self._tracks: dict[int, Tracks] = {}  # newest tracks by index of the camera
        self._pending_reset = ""

    def reset(self, reason: str) -> None:
        """Forgets all objects; ids start at 1 again."""
        self._tracker.restart()
        if self._tracks:
            self._newest, self._tracks, self._pending_reset = None, {}, reason

    def step(
        self, results: Sequence[CameraResult], frames: OutputFrames, config: MultiCameraConfig
    ) -> tuple[list[CameraResult], MergedResult]:
        """Takes the new results of some of the cameras.

        Args:
            results: Results with poses.
            frames: The target frame and the fixed frame.
            config: How tracks are fused.

        Returns:
            The same results, their tracks with the ids of the merged view, and the merged view.

        Raises:
            ValueError: The results cannot be used. What is remembered stays as it was.
        """
        self._prepare(frames, config)
        observations = [CameraTracks(r.camera, r.frame.stamp, r.result.tracks, _poses(r).to_common) for r in results]
        fused = self._tracker.step(observations)
        for result in results:
            self._tracks[self._cameras.index(result.camera)] = result.result.tracks
            if fused.reset or self._newest is None or result.frame.stamp >= self._newest[0]:
                poses = _poses(result)
                self._newest = (result.frame.stamp, result.header, poses.to_target @ poses.to_common.inverse())
        assert self._newest is not None
        _, header, to_target = self._newest
        reset, self._pending_reset = self._pending_reset or fused.reset, ""
        view = fused.tracks.transformed(to_target)
        boxes = _with_observed_motion(view) if frames.fixed else view.boxes
        merged = MergedResult(header, self._tracks_of(fused.tracks), boxes, fused.tracks.stamp, reset)
        return [_with_ids(result, fused.ids[result.camera]) for result in results], merged

    def _prepare(self, frames: OutputFrames, config: MultiCameraConfig) -> None:
        """Takes over what has changed since the last step."""
        if config != self._tracker.setup.config:
            self._tracker.reconfigure(config)
        if self._frames is not None and frames != self._frames:
            self._newest = None
            if frames.common != self._frames.common:
                self._tracker.reset()
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
        return replace(everything.select(np.array(rows, np.int64)), ids=view.ids)


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
