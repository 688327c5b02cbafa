"""What the node publishes of several cameras together: each object around the vehicle once, with one id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from centertrack_ros.geometry.oriented_boxes import OrientedBoxes
from centertrack_ros.geometry.transform import Transform
from centertrack_ros.ros.frames import Goal, Placed
from centertrack_ros.ros.markers import MarkerWriter
from centertrack_ros.ros.messages import MessageWriter
from centertrack_ros.tracking.multi_camera.fusion import SurroundTracker
from centertrack_ros.tracking.multi_camera.records import CameraTracks, SurroundConfig, SurroundResult, SurroundTracks
from centertrack_ros.types import Detections, Tracks


def surround_config(values: Mapping[str, Any]) -> SurroundConfig:
    """What the parameters say about tracking from camera to camera. Raises ValueError."""
    return SurroundConfig(
        cross_camera=values["surround.cross_camera_ids"],
        window_s=values["surround.window_s"],
        hold_s=values["surround.hold_s"],
        depth_sigma=values["detector.depth_sigma"],
        measured_velocities=bool(values["output.fixed_frame"]),  # relative to a moving frame they would mislead
    )


@dataclass(frozen=True)
class Sight:
    """One camera's frame on its way into the view: stamp in s, its tracks with the camera's ids, where it was."""

    camera: str
    stamp: float
    tracks: Tracks
    placed: Placed


class SurroundView:
    """Tracks objects from camera to camera and publishes them. Nothing is built for who does not listen."""

    def __init__(
        self,
        node: LifecycleNode,
        cameras: Sequence[str],
        class_names: Sequence[str],
        parameters: Mapping[str, Any],
        types: Any,
    ) -> None:
        """`types` is the module centertrack_ros.msg, None if it is not built."""
        self.reset_requested = False
        self._node, self._cameras, self._parameters = node, tuple(cameras), parameters
        self._class_names = class_names
        self._tracker = SurroundTracker(cameras, class_names, surround_config(parameters))
        self._goal: Goal | None = None
        self._newest: tuple[float, Header, Transform] | None = None  # stamp, header, common -> target frame
        self._latest: dict[int, Tracks] = {}  # by index of the camera
        self._result: SurroundResult | None = None
        self._messages, self._markers = MessageWriter(class_names, types), MarkerWriter(class_names)
        self._detections_3d = node.create_lifecycle_publisher(Detection3DArray, "~/output/detections_3d", 5)
        self._marker_array = node.create_lifecycle_publisher(MarkerArray, "~/output/markers", 5)
        self._tracks = node.create_lifecycle_publisher(types.TrackArray, "~/output/tracks", 5) if types else None

    def _publishers(self) -> list[Any]:
        return [p for p in (self._detections_3d, self._marker_array, self._tracks) if p is not None]

    def destroy(self) -> None:
        for publisher in self._publishers():
            self._node.destroy_lifecycle_publisher(publisher)

    def wanted(self) -> bool:
        return any(publisher.get_subscription_count() for publisher in self._publishers())

    def step(self, sights: Sequence[Sight], goal: Goal) -> list[Tracks]:
        """Takes new frames; returns the tracks of each with their ids around the vehicle. `publish` shows the view.

        Raises ValueError when the frames cannot be used; the next ones can.
        """
        self._prepare(goal)
        observations = [CameraTracks(s.camera, s.stamp, s.tracks, _known(s.placed.to_fixed)) for s in sights]
        result = self._tracker.step(observations)
        for sight in sights:
            self._latest[self._cameras.index(sight.camera)] = sight.tracks
            if result.reset or self._newest is None or sight.stamp >= self._newest[0]:
                to_target = _known(sight.placed.to_target) @ _known(sight.placed.to_fixed).inverse()
                self._newest = (sight.stamp, sight.placed.header, to_target)
        self._result = result
        return [replace(s.tracks, ids=result.ids[s.camera]) for s in sights]

    def _prepare(self, goal: Goal) -> None:
        """Takes over what has changed since the last step."""
        config = surround_config(self._parameters)
        if self.reset_requested:
            self.reset_requested = False
            self._tracker = SurroundTracker(self._cameras, self._class_names, config)
            self._clear()
        if config != self._tracker.rig.config:
            self._tracker.reconfigure(config)
        if self._goal is not None and goal != self._goal:
            if goal.common != self._goal.common:
                self._tracker.reset()
            self._clear()
        self._goal = goal

    def _clear(self) -> None:
        """Takes the markers off the screen, and forgets where the last frame was."""
        if self._newest is not None:
            self._marker_array.publish(self._markers.clear(self._newest[1]))
        self._newest = None

    def publish(self) -> None:
        """The view after the last step."""
        if self._result is None or self._newest is None or self._goal is None or not self.wanted():
            return
        view, reset, (_, header, to_target) = self._result.tracks, self._result.reset, self._newest
        tracks, boxes = self._tracks_of(view), view.transformed(to_target)
        index, around = np.arange(len(view)), _moving(boxes) if self._goal.fixed else boxes.boxes
        if self._detections_3d.get_subscription_count():
            self._detections_3d.publish(self._messages.detections_3d(header, tracks, index, around))
        if self._parameters["output.publish_tracks"] and self._tracks and self._tracks.get_subscription_count():
            message = self._messages.track_array(header, tracks, index, around, (0, 0), view.stamp, reset)
            self._tracks.publish(message)
        if self._parameters["output.publish_markers"] and self._marker_array.get_subscription_count():
            if reset:
                self._marker_array.publish(self._markers.clear(header))
            lifetime, trail = self._parameters["output.marker_lifetime_s"], self._parameters["output.trail_length"]
            self._marker_array.publish(self._markers.write(header, tracks, index, around, lifetime, trail))

    def _tracks_of(self, view: SurroundTracks) -> Tracks:
        """The tracks behind the view's objects, each from the camera whose box is shown, with the view's ids."""
        cameras = sorted(self._latest)
        parts = [self._latest[camera] for camera in cameras]
        starts = dict(zip(cameras, np.cumsum([0, *map(len, parts)]).tolist(), strict=False))
        rows = [
            starts[camera] + int(np.flatnonzero(self._latest[camera].ids == local_id)[0])
            for camera, local_id in zip(view.cameras.tolist(), view.local_ids.tolist(), strict=True)
        ]
        everything = Tracks(
            detections=Detections.concatenate([part.detections for part in parts]),
            ids=np.concatenate([part.ids for part in parts]),
            ages=np.concatenate([part.ages for part in parts]),
            hits=np.concatenate([part.hits for part in parts]),
            births=np.concatenate([part.births for part in parts]),
        )
        return replace(everything.select(np.array(rows, np.int64)), ids=view.ids)


def _known(transform: Transform | None) -> Transform:
    assert transform is not None  # there is a goal
    return transform


def _moving(view: SurroundTracks) -> OrientedBoxes:
    """The boxes, with the motion that was observed where the network tells no velocity."""
    velocities = view.boxes.velocities
    return replace(view.boxes, velocities=np.where(np.isfinite(velocities), velocities, view.motions))
