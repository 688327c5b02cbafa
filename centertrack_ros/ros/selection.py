# SPDX-License-Identifier: Apache-2.0
"""The one object that a user has chosen, as a pose and a TF frame: what Nav2's following server takes (docs/ros.md)."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, TransformStamped
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode

from centertrack_ros.geometry.boxes3d import OrientedBoxes
from centertrack_ros.ros.logs import ThrottledLog
from centertrack_ros.ros.messages import header_of, set_pose
from centertrack_ros.tracking.results import CameraResult, MergedResult
from centertrack_ros.tracking.track_boxes import boxes3d_of_tracks
from centertrack_ros.types import STATE_LOST, FrameHeader, Tracks


@dataclass(frozen=True)
class _Choice:
    """A track of a camera (or of all together, '') and when it was last published, time.monotonic(), s."""

    track_id: int
    camera: str
    seen: float


def selection_service() -> Any:
    """The generated service centertrack_ros.srv.Select; None when it is not built."""
    with contextlib.suppress(ImportError):
        from centertrack_ros.srv import Select

        return Select
    return None


class Selection:
    """Takes requests on the executor's thread and results on the worker's."""

    def __init__(self, node: LifecycleNode, frame: Callable[[], str], log: ThrottledLog) -> None:
        """Nothing is chosen.

        Args:
            node: The node.
            frame: Gives the TF frame of the chosen object; '': none.
            log: For what happens to the object.
        """
        self._node, self._frame, self._log = node, frame, log
        self._lock = threading.Lock()
        self._choice: _Choice | None = None
        self._latest: dict[str, Tracks] = {}  # camera -> its last tracks
        self._cameras: tuple[str, ...] = ("",)
        self._merges = False
        self._merged_ids: frozenset[int] = frozenset()  # of the last view of all cameras
        self._poses: Any = None
        self._transforms: Any = None

    @property
    def is_active(self) -> bool:
        """Whether an object is chosen, so that images must be processed."""
        return self._choice is not None

    def offer(self, cameras: tuple[str, ...]) -> None:
        """Creates the topic, for these cameras."""
        self._cameras = cameras
        self._poses = self._node.create_lifecycle_publisher(PoseStamped, "~/output/selected_pose", 5)

    def destroy(self) -> None:
        """Takes the topics back; nothing is chosen any more."""
        with self._lock:
            self._choice, self._latest, self._merged_ids = None, {}, frozenset()
        for publisher, remove in (
            (self._poses, self._node.destroy_lifecycle_publisher),
            (self._transforms, self._node.destroy_publisher),
        ):
            if publisher is not None:
                remove(publisher)
        self._poses = self._transforms = None

    # Requests

    def answer(self, request: Any, response: Any) -> Any:
        """A call of ~/select."""
        with self._lock:
            try:
                choice = self._chosen(request)
            except ValueError as error:
                response.success, response.message = False, str(error)
                response.id = self._choice.track_id if self._choice else 0
                return response
            self._choice = choice
        response.success, response.id = True, choice.track_id if choice else 0
        response.message = f"track {choice.track_id} is selected" if choice else "nothing is selected"
        return response

    def _chosen(self, request: Any) -> _Choice | None:
        """What is asked for; raises ValueError, with a sentence, if there is no such track."""
        if not request.id and not request.pixel:
            return None
        if request.camera and request.camera not in self._cameras:
            names = ", ".join(filter(None, self._cameras)) or "only one, without a name"
            raise ValueError(f"there is no camera '{request.camera}', the node has {names}")
        if not self._latest and not self._merged_ids:
            raise ValueError("no image has been processed yet")
        camera, track_id = self._by_id(request) if request.id else self._at(request)
        return _Choice(track_id, "" if self._merges else camera, time.monotonic())

    def _by_id(self, request: Any) -> tuple[str, int]:
        cameras = [request.camera] if request.camera else list(self._latest)
        found = [name for name in cameras if name in self._latest and request.id in self._latest[name].ids.tolist()]
        if not found and request.id in self._merged_ids and not request.camera:
            return "", int(request.id)  # of an object that no camera sees, but another detector
        if not found:
            raise ValueError(f"there is no track {request.id} in the last results")
        if len(found) > 1 and not self._merges:
            raise ValueError(f"the cameras {', '.join(found)} have a track {request.id} each: name the camera, too")
        return found[0], int(request.id)

    def _at(self, request: Any) -> tuple[str, int]:
        """The smallest box around the pixel: what stands in front of something larger is meant."""
        camera, x, y = request.camera or self._cameras[0], request.pixel[0].x, request.pixel[0].y
        if camera not in self._latest:
            raise ValueError(f"camera '{camera}' has no results yet")
        tracks = self._latest[camera]
        boxes = tracks.detections.boxes.astype(np.float64)
        inside = (boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y) & (y <= boxes[:, 3])
        rows = np.flatnonzero(inside & (tracks.states != STATE_LOST))
        if not len(rows):
            raise ValueError(f"there is no object at ({x:g}, {y:g}) px")
        areas = (boxes[rows, 2] - boxes[rows, 0]) * (boxes[rows, 3] - boxes[rows, 1])
        return camera, int(tracks.ids[rows[areas.argmin()]])

    # Results

    def take(self, result: CameraResult, merges: bool) -> None:
        """Takes the result of a camera, and publishes the object where cameras are not merged."""
        tracks = result.result.tracks
        with self._lock:
            self._latest[result.camera], self._merges = tracks, merges
            self._merged_ids = self._merged_ids if merges else frozenset()
        if not merges and self._is_of(result.camera):
            index, boxes = boxes3d_of_tracks(tracks)
            if result.poses is not None:
                boxes = result.poses.to_target.boxes(boxes)
            self._publish(result.header, tracks, index, boxes, result.result.reset)

    def take_merged(self, merged: MergedResult) -> None:
        """Publishes the object as the merged view has it."""
        with self._lock:
            self._merges, self._merged_ids = True, frozenset(merged.tracks.ids.tolist())
        if self._is_of(""):
            self._publish(merged.header, merged.tracks, np.arange(len(merged.tracks)), merged.boxes, merged.reset)

    def _is_of(self, camera: str) -> bool:
        choice = self._choice
        return choice is not None and choice.camera == camera

    def _publish(
        self, header: FrameHeader, tracks: Tracks, index: NDArray[np.int64], boxes: OrientedBoxes, reset: str
    ) -> None:
        choice = self._choice
        if choice is None:
            return
        if reset:  # the id stands for nothing any more, or for another object
            self._replace(choice, None)
            self._log.warning(f"track {choice.track_id} is no longer selected: tracks were reset ({reset})")
            return
        matched = (tracks.ids[index] == choice.track_id) & (tracks.states[index] != STATE_LOST)
        for row in np.flatnonzero(matched).tolist()[:1]:
            self._replace(choice, replace(choice, seen=time.monotonic()))
            message = PoseStamped(header=header_of(header))
            set_pose(message.pose, boxes, row)
            if self._poses is not None:
                self._poses.publish(message)
            self._publish_frame(message)

    def _replace(self, before: _Choice, after: _Choice | None) -> None:
        """Another choice, unless a request came in between."""
        with self._lock:
            if self._choice is before:
                self._choice = after

    def _publish_frame(self, pose: PoseStamped) -> None:
        child = self._frame()
        if not child or not pose.header.frame_id or child == pose.header.frame_id:
            return
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            self._log.once("the selected object has no TF frame: tf2_msgs is not installed")
            return
        if self._transforms is None:
            self._transforms = self._node.create_publisher(TFMessage, "/tf", 10)
        transform = TransformStamped(header=pose.header, child_frame_id=child)
        position, move = pose.pose.position, transform.transform.translation
        move.x, move.y, move.z = position.x, position.y, position.z
        transform.transform.rotation = pose.pose.orientation
        self._transforms.publish(TFMessage(transforms=[transform]))

    # Diagnostics

    def status(self, overdue_s: float) -> tuple[str, str]:
        """(Words for /diagnostics, a problem or ''): the object counts as lost after `overdue_s` without a pose."""
        choice = self._choice
        if choice is None:
            return "none", ""
        name = f"track {choice.track_id}" + (f" of {choice.camera}" if choice.camera else "")
        age = time.monotonic() - choice.seen
        if age <= overdue_s:
            return name, ""
        return f"{name}, lost for {age:.1f} s", f"the selected object, {name}, is lost: no pose for {age:.1f} s"
