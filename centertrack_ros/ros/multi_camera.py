# SPDX-License-Identifier: Apache-2.0
"""Publishes the merged view of several cameras: each object around the vehicle once, with one id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rclpy.lifecycle import LifecycleNode
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from centertrack_ros.ros.parameters import OutputParameters
from centertrack_ros.ros.publishers import (
    DETECTED_OBJECTS,
    DETECTIONS_3D,
    MARKERS,
    TRACKED_OBJECTS,
    TRACKS,
    ResultMessages,
)
from centertrack_ros.tracking.results import MergedResult


class MergedViewPublishers:
    """The topics directly below ~/output, when several cameras have topics of their own."""

    def __init__(
        self,
        node: LifecycleNode,
        class_names: Sequence[str],
        track_types: Any,
        autoware_types: Any = None,
        session: str = "",
    ) -> None:
        """Offers the topics; the arguments are those of `CameraPublishers`."""
        self._node = node
        self._messages = ResultMessages(class_names, track_types, autoware_types, session)
        kinds = {DETECTIONS_3D: Detection3DArray, MARKERS: MarkerArray}
        if track_types is not None:
            kinds[TRACKS] = track_types.TrackArray
        if autoware_types is not None:
            kinds[TRACKED_OBJECTS] = autoware_types.TrackedObjects
            kinds[DETECTED_OBJECTS] = autoware_types.DetectedObjects
        self._outputs = {
            topic: node.create_lifecycle_publisher(kind, f"~/output/{topic}", 5) for topic, kind in kinds.items()
        }

    def destroy(self) -> None:
        """Takes the topics back."""
        for publisher in self._outputs.values():
            self._node.destroy_lifecycle_publisher(publisher)

    def has_subscribers(self) -> bool:
        """Whether anybody subscribes to the merged view."""
        return any(publisher.get_subscription_count() for publisher in self._outputs.values())

    def publish(self, merged: MergedResult, output: OutputParameters) -> None:
        """The merged view after a step, to those who listen."""
        for topic, message in self._messages.of_merged_view(
            merged, output, lambda t: self._outputs[t].get_subscription_count() > 0
        ):
            self._outputs[topic].publish(message)
