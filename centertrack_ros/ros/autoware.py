# SPDX-License-Identifier: Apache-2.0
"""Tracks into Autoware's messages: `autoware_perception_msgs` TrackedObjects and DetectedObjects, where installed.

The pose is in the header's frame, the twist in the object's own axes, x ahead. What is not estimated says so by its
flag or, where there is none, by a variance that is large.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header

from centertrack_ros.geometry.boxes3d import OrientedBoxes
from centertrack_ros.geometry.transform import quaternion_to_matrix
from centertrack_ros.network.class_groups import ANIMALS
from centertrack_ros.ros.messages import set_pose
from centertrack_ros.tracking.track_boxes import headings_measured
from centertrack_ros.types import MOTION_STANDING, STATE_LOST, Detections, Tracks

TRACKED_TYPE = "autoware_perception_msgs/msg/TrackedObjects"
DETECTED_TYPE = "autoware_perception_msgs/msg/DetectedObjects"
# Name of a class, in lower case and with spaces -> name of the label. All other classes are UNKNOWN: also trains and
# trams, which Autoware has no label for. Riders together with what they ride are what they ride.
LABELS: dict[str, str] = {
    **dict.fromkeys(("car", "van", "caravan", "vehicle"), "CAR"),
    **dict.fromkeys(("truck", "construction vehicle"), "TRUCK"),
    "bus": "BUS",
    "trailer": "TRAILER",
    **dict.fromkeys(("motorcycle", "motorbike", "motor", "motorcyclist"), "MOTORCYCLE"),
    **dict.fromkeys(("bicycle", "bike", "cyclist", "bicyclist", "rider"), "BICYCLE"),
    **dict.fromkeys(("person", "pedestrian", "person sitting", "person (sitting)"), "PEDESTRIAN"),
    **dict.fromkeys(ANIMALS, "ANIMAL"),
}
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "centertrack_ros/tracked_objects")
_KNOWN_HEADING = np.radians(45.0) ** 2  # rad² up to which a heading tells front from back
_UNKNOWN_SPEED = 10.0**2  # (m/s)², variance of a velocity that is not known
_UNKNOWN_TURN = np.pi**2  # (rad/s)²: turn rates are not estimated


def autoware_messages() -> Any:
    """The module autoware_perception_msgs.msg; None where it is not installed."""
    with contextlib.suppress(ImportError):
        import autoware_perception_msgs.msg as types

        if hasattr(types, "TrackedObjects"):
            return types
    return None


def require_autoware() -> Any:
    """The module autoware_perception_msgs.msg.

    Raises:
        ValueError: It is not installed.
    """
    if (types := autoware_messages()) is None:
        raise ValueError(
            "output.publish_autoware needs the ROS package autoware_perception_msgs, which is not installed: "
            "apt-get install ros-$ROS_DISTRO-autoware-perception-msgs"
        )
    return types


def track_uuid(session: str, track_id: int) -> bytes:
    """The 16 bytes by which Autoware knows a track: the same for the same session and id, in every process."""
    return uuid.uuid5(_NAMESPACE, f"{session}/{track_id}").bytes


def label_of(name: str) -> str:
    """The name of Autoware's label for a class."""
    return LABELS.get(name.lower().replace("_", " "), "UNKNOWN")


class AutowareWriter:
    """Writes the messages of one camera, or of the merged view."""

    def __init__(self, class_names: Sequence[str], types: Any, session: str = "") -> None:
        """Starts a session.

        Args:
            class_names: Of the model.
            types: As `autoware_messages` gives them.
            session: Ids of one session belong to one object each; '': a new session.
        """
        self._types, self._session, self._resets = types, session or uuid.uuid4().hex, 0
        self._names, self._labels = class_names, list[int]()

    def reset(self) -> None:
        """Ids may start again: from now on they make other UUIDs."""
        self._resets += 1

    def tracked_objects(self, header: Header, tracks: Tracks, index: NDArray[np.int64], boxes: OrientedBoxes) -> Any:
        """The tracks that were matched in this frame and have a box; `boxes[k]` belongs to track `index[k]`."""
        message = self._types.TrackedObjects(header=header)
        for track, row in _matched(tracks, index):
            item = self._types.TrackedObject()
            item.object_id.uuid = np.frombuffer(self._uuid(int(tracks.ids[track])), np.uint8)
            item.existence_probability = _existence(tracks, track)
            self._describe(item, tracks, track, boxes, row)
            states = tracks.motion_states
            item.kinematics.is_stationary = states is not None and int(states[track]) == MOTION_STANDING
            message.objects.append(item)
        return message

    def detected_objects(self, header: Header, tracks: Tracks, index: NDArray[np.int64], boxes: OrientedBoxes) -> Any:
        """The same objects without identities, with the score of this frame's detection."""
        message = self._types.DetectedObjects(header=header)
        for track, row in _matched(tracks, index):
            item = self._types.DetectedObject()
            item.existence_probability = float(tracks.detections.scores[track])
            self._describe(item, tracks, track, boxes, row)
            kinematics = item.kinematics
            kinematics.has_position_covariance = bool(boxes.covariances[row].any())
            kinematics.has_twist = bool(np.isfinite(boxes.velocities[row]).all())
            kinematics.has_twist_covariance = kinematics.has_twist and _velocity_covariance(boxes, row) is not None
            message.objects.append(item)
        return message

    def _uuid(self, track_id: int) -> bytes:
        return track_uuid(f"{self._session}/{self._resets}", track_id)

    def _label(self, class_id: int) -> int:
        """The label of a class; there may be more of them than at the start."""
        classification = self._types.ObjectClassification
        for name in list(self._names)[len(self._labels) :] if class_id >= len(self._labels) else ():
            # Older releases have fewer labels.
            self._labels.append(getattr(classification, label_of(name), classification.UNKNOWN))
        return self._labels[class_id]

    def _describe(self, item: Any, tracks: Tracks, track: int, boxes: OrientedBoxes, row: int) -> None:
        """What both kinds of objects have: class, pose, twist, shape."""
        label = self._label(int(tracks.detections.class_ids[track]))
        item.classification = [self._types.ObjectClassification(label=label, probability=1.0)]
        kinematics = item.kinematics
        set_pose(kinematics.pose_with_covariance.pose, boxes, row)
        kinematics.pose_with_covariance.covariance = boxes.covariances[row].reshape(36)
        known = _knows_heading(tracks.detections, track)
        kinematics.orientation_availability = kinematics.AVAILABLE if known else kinematics.UNAVAILABLE
        _set_twist(kinematics.twist_with_covariance, boxes, row)
        item.shape.type = item.shape.BOUNDING_BOX
        size = item.shape.dimensions
        size.x, size.y, size.z = boxes.sizes[row].tolist()


def _matched(tracks: Tracks, index: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """(track, row of its box) of the tracks that are not lost."""
    rows = np.flatnonzero(tracks.states[index] != STATE_LOST)
    return zip(index[rows].tolist(), rows.tolist(), strict=True)


def _existence(tracks: Tracks, track: int) -> float:
    """0..1: by the evidence of all detections of the track where it is counted, else this frame's score."""
    evidence = np.nan if tracks.evidence is None else float(tracks.evidence[track])
    if np.isfinite(evidence):
        return float(1.0 / (1.0 + np.exp(-np.clip(evidence, -50.0, 50.0))))
    return float(tracks.detections.scores[track])


def _knows_heading(detections: Detections, track: int) -> bool:
    """Whether front and back can be told."""
    if detections.rotations_y is None:
        return False
    if detections.heading_variances is not None and np.isfinite(detections.heading_variances[track]):
        return bool(detections.heading_variances[track] <= _KNOWN_HEADING)
    return headings_measured(detections)


def _velocity_covariance(boxes: OrientedBoxes, row: int) -> NDArray[np.float64] | None:
    """(3, 3) (m/s)² in the frame of the boxes; None if unknown."""
    covariance = boxes.velocity_covariances[row]
    return covariance if np.isfinite(covariance).all() else None


def _set_twist(twist: Any, boxes: OrientedBoxes, row: int) -> None:
    """Velocity and covariance in the object's axes; 0 with a large variance where it is not known."""
    turn, velocity = quaternion_to_matrix(boxes.quaternions[row]), boxes.velocities[row]
    covariance, found = np.diag([_UNKNOWN_SPEED] * 3 + [_UNKNOWN_TURN] * 3), _velocity_covariance(boxes, row)
    if np.isfinite(velocity).all():
        linear = twist.twist.linear
        linear.x, linear.y, linear.z = (turn.T @ velocity).tolist()
        if found is not None:
            covariance[:3, :3] = turn.T @ found @ turn
    twist.covariance = covariance.reshape(36)
