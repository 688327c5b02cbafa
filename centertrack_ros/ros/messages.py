# SPDX-License-Identifier: Apache-2.0
"""Tracks into messages: vision_msgs detections in 2D and 3D, and this package's TrackArray and FrameTiming.

Conventions (docs/ros.md): every header is the image's; class ids are names; ids are decimal strings, the same in every
output; `results` is never empty; a lost track is in TrackArray only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Pose
from numpy.typing import NDArray
from std_msgs.msg import Header
from vision_msgs.msg import (
    BoundingBox2D,
    BoundingBox3D,
    Detection2D,
    Detection2DArray,
    Detection3D,
    Detection3DArray,
    LabelInfo,
    ObjectHypothesisWithPose,
    Point2D,
    VisionClass,
)

from centertrack_ros.geometry.boxes3d import OrientedBoxes
from centertrack_ros.network.joints import joint_names
from centertrack_ros.tracking.attributes import attribute
from centertrack_ros.tracking.track_boxes import lifts_of
from centertrack_ros.types import STATE_LOST, Detections, FrameHeader, Tracks

_MIN_SIDE = 1e-3  # px


def class_name(class_names: Sequence[str], class_id: int) -> str:
    """Never empty and never a number: one-class models of the official zoo leave their only class unnamed."""
    return class_names[class_id] or "object"


class MessageWriter:
    """Writes the messages of one camera.

    Building a message takes longer than sending it, so the parts are reused: a message holds until the next call of the
    same method. Publishing serialises at once.
    """

    def __init__(self, class_names: Sequence[str], track_types: Any = None) -> None:
        """`track_types` is the generated module centertrack_ros.msg; None if it is not built."""
        self._names = class_names
        self._types = track_types
        self._detections_2d: list[Detection2D] = []
        self._detections_3d: list[Detection3D] = []
        self._tracks: list[Any] = []

    def detections_2d(self, header: Header, tracks: Tracks) -> Detection2DArray:
        """The tracks that were matched in this frame, in their order."""
        matched = np.flatnonzero(tracks.states != STATE_LOST)
        detections = tracks.detections
        _grow(self._detections_2d, len(matched), _new_detection_2d)
        message = Detection2DArray(header=header, detections=self._detections_2d[: len(matched)])
        ids, class_ids, scores = (
            tracks.ids[matched].tolist(),
            detections.class_ids[matched].tolist(),
            detections.scores[matched].tolist(),
        )
        for i, (detection, box) in enumerate(zip(message.detections, detections.boxes[matched].tolist(), strict=True)):
            detection.header = header
            detection.id = str(ids[i])
            _set_box_2d(detection.bbox, box)
            self._set_hypothesis(detection.results[0], class_ids[i], scores[i])
        return message

    def detections_3d(
        self, header: Header, tracks: Tracks, index: NDArray[np.int64], boxes: OrientedBoxes
    ) -> Detection3DArray:
        """The tracks that were matched in this frame and have a box; `boxes[k]` belongs to track `index[k]`."""
        rows = np.flatnonzero(tracks.states[index] != STATE_LOST)
        chosen, detections = index[rows], tracks.detections
        _grow(self._detections_3d, len(rows), _new_detection_3d)
        message = Detection3DArray(header=header, detections=self._detections_3d[: len(rows)])
        ids, class_ids, scores = (v[chosen].tolist() for v in (tracks.ids, detections.class_ids, detections.scores))
        for i, (detection, row) in enumerate(zip(message.detections, rows.tolist(), strict=True)):
            detection.header = header
            detection.id = str(ids[i])
            _set_box_3d(detection.bbox, boxes, row)
            result = detection.results[0]
            self._set_hypothesis(result, class_ids[i], scores[i])
            result.pose.pose = detection.bbox.center
            result.pose.covariance = boxes.covariances[row].reshape(36)
        return message

    def _set_hypothesis(self, result: ObjectHypothesisWithPose, class_id: int, score: float) -> None:
        result.hypothesis.class_id = class_name(self._names, class_id)
        result.hypothesis.score = score

    def track_array(
        self,
        header: Header,
        tracks: Tracks,
        index: NDArray[np.int64],
        boxes: OrientedBoxes,
        image_size: tuple[int, int],
        stamp: float,
        reset: str = "",
    ) -> Any:
        """Writes everything about every track, the lost ones too.

        Args:
            header: Of the boxes: the image's stamp, and their frame.
            tracks: N tracks.
            index: (M,) which of them have a box.
            boxes: M boxes in the header's frame.
            image_size: (height, width) px.
            stamp: s, on the clock that `tracks.births` counts on.
            reset: Why the tracks before this image have ended; '' if they have not.
        """
        _grow(self._tracks, len(tracks), self._types.Track)
        message = self._types.TrackArray(header=header, reset=bool(reset), reset_reason=reset)
        message.image_height, message.image_width = image_size
        message.tracks = self._tracks[: len(tracks)]
        if tracks.detections.keypoints is not None:
            message.joint_names = joint_names(tracks.detections.keypoints.shape[1])
        rows = np.full(len(tracks), -1)
        rows[index] = np.arange(len(index))
        lifetimes, states = np.maximum(stamp - tracks.births, 0.0).tolist(), tracks.states.tolist()
        lifts = lifts_of(tracks.detections).tolist()
        for i, track in enumerate(message.tracks):
            track.state = states[i]
            _set_duration(track.lifetime, lifetimes[i])
            self._set_track(track, tracks, i, boxes, int(rows[i]), lifts[i])
            self._set_motion(track, tracks, i, boxes, int(rows[i]))
            _set_joints(track, tracks.detections, i)
        return message

    def _set_track(self, track: Any, tracks: Tracks, i: int, boxes: OrientedBoxes, row: int, lift: int) -> None:
        detections = tracks.detections
        track.id, track.age, track.hits = int(tracks.ids[i]), int(tracks.ages[i]), int(tracks.hits[i])
        track.class_name = class_name(self._names, int(detections.class_ids[i]))
        track.score = float(detections.scores[i])
        _set_box_2d(track.bbox_2d, detections.boxes[i].tolist())
        _set_point_2d(track.center, detections.centers[i].tolist())
        _set_point_2d(track.displacement, detections.displacements[i].tolist())
        lifted = row >= 0
        amodal = detections.amodal_centers[i].tolist() if lifted and detections.amodal_centers is not None else _UNKNOWN
        _set_point_2d(track.amodal_center, amodal)
        _set_xyz(track.velocity, boxes.velocities[row].tolist() if lifted else _UNKNOWN)
        if lifted:
            track.lift = lift
            _set_box_3d(track.bbox_3d, boxes, row)
            track.covariance = boxes.covariances[row].reshape(36)
        elif track.lift != track.LIFT_NONE:
            track.lift, track.bbox_3d, track.covariance = track.LIFT_NONE, BoundingBox3D(), np.zeros(36)
        best = ("", 0.0) if detections.attributes is None else attribute(track.class_name, detections.attributes[i])
        track.attribute, track.attribute_score = best

    @staticmethod
    def _set_motion(track: Any, tracks: Tracks, i: int, boxes: OrientedBoxes, row: int) -> None:
        track.motion_state = 0 if tracks.motion_states is None else int(tracks.motion_states[i])
        if row >= 0 and np.isfinite(boxes.velocity_covariances[row]).all():
            track.velocity_covariance = boxes.velocity_covariances[row].reshape(9)
        elif track.velocity_covariance.any():
            track.velocity_covariance = np.zeros(9)


_UNKNOWN = (float("nan"),) * 3


def _grow(kept: list[Any], count: int, make: Callable[[], Any]) -> None:
    kept.extend(make() for _ in range(count - len(kept)))


def _new_detection_2d() -> Detection2D:
    return Detection2D(results=[ObjectHypothesisWithPose()])


def _new_detection_3d() -> Detection3D:
    return Detection3D(results=[ObjectHypothesisWithPose()])


def _set_box_2d(target: BoundingBox2D, box: Sequence[float]) -> None:
    x1, y1, x2, y2 = box
    target.center.position.x, target.center.position.y = (x1 + x2) / 2, (y1 + y2) / 2
    target.size_x, target.size_y = max(x2 - x1, _MIN_SIDE), max(y2 - y1, _MIN_SIDE)


def _set_box_3d(target: BoundingBox3D, boxes: OrientedBoxes, row: int) -> None:
    set_pose(target.center, boxes, row)
    _set_xyz(target.size, boxes.sizes[row].tolist())


def set_pose(target: Pose, boxes: OrientedBoxes, row: int) -> None:
    """Centre and orientation of one of the boxes."""
    _set_xyz(target.position, boxes.centers[row].tolist())
    q = target.orientation
    q.x, q.y, q.z, q.w = boxes.quaternions[row].tolist()


def _set_xyz(target: Any, values: Sequence[float]) -> None:
    target.x, target.y, target.z = values


def _set_point_2d(target: Point2D, values: Sequence[float]) -> None:
    target.x, target.y = values[0], values[1]


def _set_joints(target: Any, detections: Detections, i: int) -> None:
    if detections.keypoints is None:
        if target.joints:
            target.joints, target.joint_scores = [], []
        return
    points = detections.keypoints[i].tolist()
    target.joints = [Point2D(x=x, y=y) for x, y in points]
    scores = detections.joint_scores
    target.joint_scores = [0.0] * len(points) if scores is None else np.nan_to_num(scores[i]).tolist()


def _set_duration(target: Duration, seconds: float) -> None:
    target.sec = int(seconds)
    target.nanosec = int((seconds - target.sec) * 1e9)


def header_of(header: FrameHeader) -> Header:
    """The message of a frame's header, exactly."""
    message = Header(frame_id=header.frame_id)
    message.stamp.sec, message.stamp.nanosec = divmod(header.stamp_ns, 1_000_000_000)
    return message


def generated_messages() -> Any:
    """The module centertrack_ros.msg with this package's own messages; None when it is not built."""
    with contextlib.suppress(ImportError):
        import centertrack_ros.msg as types

        if hasattr(types, "TrackArray"):
            return types
    return None


def label_info(header: Header, class_names: Sequence[str], threshold: float) -> LabelInfo:
    """The model's classes by heatmap channel, and the score above which an object is reported."""
    message = LabelInfo(header=header, threshold=float(threshold))
    message.class_map = [
        VisionClass(class_id=i, class_name=class_name(class_names, i)) for i in range(len(class_names))
    ]
    return message
