# SPDX-License-Identifier: Apache-2.0
"""A detector that finds objects in 3D, in the view of several cameras: it is one more of them, without images."""

from __future__ import annotations

import numpy as np

from centertrack_ros.tracking.foreign_boxes import GrowingNames, in_common_frame, usable_boxes
from centertrack_ros.tracking.multi_camera.box_tracker import BoxTrackerState, objects_of, step
from centertrack_ros.tracking.multi_camera.records import (
    CameraTracks,
    Integers,
    LocalTracks,
    MultiCameraConfig,
    kinds_of,
)
from centertrack_ros.tracking.results import BoxFrame, CameraPoses, OutputFrames

DETECTOR = "~/input/detections_3d"  # in place of a camera's name, which it cannot be


class BoxDetector:
    """Holds what is remembered of the detector: its tracks, and how its stamps lie to those of the cameras."""

    def __init__(self, names: GrowingNames) -> None:
        """Starts with nothing; names of classes that the model does not have are added to `names`."""
        self.names = names
        self._state = BoxTrackerState()
        self._image_stamp: float | None = None
        self._taken_stamp: float | None = None  # of the last message that was taken after the newest image
        self._alone: tuple[float, float] | None = None  # first and last stamp of messages in a row without an image

    def restart(self, keep_ids: bool) -> None:
        """Forgets all tracks; their ids are given again or not."""
        self._state = BoxTrackerState(next_id=self._state.next_id if keep_ids else 1)
        self._taken_stamp = None

    def take_image(self, stamp: float) -> None:
        """Knows that a camera's image of this stamp, s, has come."""
        self._image_stamp, self._taken_stamp, self._alone = stamp, None, None

    def observe(
        self, frame: BoxFrame, poses: CameraPoses, frames: OutputFrames, config: MultiCameraConfig
    ) -> tuple[CameraTracks, tuple[str, ...]]:
        """The tracks after a message, and sentences on what of it could not be used.

        Raises:
            ValueError: It is not the next one, by its stamp.
        """
        self._check_stamp(frame.stamp, config.window_s)
        found = usable_boxes(frame.found, self.names, config.box_sigma)
        boxes = in_common_frame(found.boxes, poses.to_common, _is_upright(frames.common))
        kinds = kinds_of(self.names, self.names.of_model)[found.class_ids]
        self._state = step(self._state, boxes, found.scores, found.class_ids, kinds, frame.stamp, config)
        tracks, placed = objects_of(self._state)
        return CameraTracks(DETECTOR, frame.stamp, tracks, poses.to_common, placed), found.notes

    def _check_stamp(self, stamp: float, window: float) -> None:
        """Raises ValueError for a message whose time, s, is not that of the images, or of the messages without such.

        Another time becomes the right one when nothing else has come for `window` s of it.
        """
        first, last = self._alone or (stamp, stamp)
        self._alone = (first, stamp) if 0 <= stamp - last <= window else (stamp, stamp)
        known = [one for one in (self._image_stamp, self._taken_stamp) if one is not None]
        away = min((stamp - one for one in known), key=abs, default=0.0)
        if abs(away) > window and self._alone[1] - self._alone[0] < window:
            order = "after" if away > 0 else "before"
            newest = "image" if self._taken_stamp is None else "message"
            raise ValueError(
                f"they are stamped {abs(away):.3g} s {order} the newest {newest}, allowed are {window:g} s "
                "(surround.window_s): do the clocks of all sensors agree?"
            )
        behind = self._state.stamp - stamp
        if behind > window:  # time itself went back
            self.restart(keep_ids=True)
        elif behind >= 0:
            raise ValueError(f"their stamp is not after that of the message before, but {behind:.3g} s earlier")
        self._taken_stamp = stamp


def _is_upright(frame: str) -> bool:
    """Whether the z axis of a frame points up, as REP 103 asks of all but optical ones."""
    return not frame.endswith(("_optical", "_optical_frame"))


def surest_boxes(
    local_tracks: LocalTracks, best: Integers, now: float, detector: int, config: MultiCameraConfig
) -> Integers:
    """Rows of the tracks whose boxes are shown for objects that are seen.

    An object that the detector has just missed, but a camera sees, is where it was expected: a camera's distance would
    make it jump.

    Args:
        local_tracks: Of all cameras, the detector among them.
        best: (N,) rows of the tracks that describe the objects.
        now: s, of the view.
        detector: Its index among the cameras.
        config: How long what was seen is remembered, and how objects move.

    Returns:
        (N,) rows: those in `best`, or the detector's of the same objects where it knows their places better.
    """
    measured = np.flatnonzero((local_tracks.cameras == detector) & (now - local_tracks.stamps <= config.window_s))
    rows, columns = np.nonzero(local_tracks.object_ids[best][:, None] == local_tracks.object_ids[measured])
    others, own = best[rows], measured[columns]
    spreads = np.einsum("nii->n", local_tracks.position_covariances)
    elapsed = np.maximum(now - local_tracks.stamps[own], 0.0)
    speeds = np.einsum("nii->n", local_tracks.boxes.velocity_covariances[own])
    speeds = np.where(np.isfinite(speeds), speeds, 3 * config.velocity_sigma**2)
    drifts = speeds * elapsed**2 + config.process_noise**2 * elapsed**3
    drifts = np.where(local_tracks.seen[own] & (elapsed <= config.hold_s), 0.0, drifts)
    surer = spreads[own] + drifts < spreads[others]
    shown = best.copy()
    shown[rows[surer]] = own[surer]
    return shown
