# SPDX-License-Identifier: Apache-2.0
"""Prior heatmap, decoding, lifting to 3D, association, and the trackers of one camera and of many that string them."""

from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.multi_camera.fusion import MultiCameraTracker
from centertrack_ros.tracking.multi_camera.records import (
    CameraTracks,
    FusedTracks,
    MultiCameraConfig,
    MultiCameraResult,
)
from centertrack_ros.tracking.pipeline import Pipeline, Tracker
from centertrack_ros.types import Detections, Frame, FrameResult, Tracks, TrackState

__all__ = [
    "CameraTracks",
    "Detections",
    "Frame",
    "FrameResult",
    "FusedTracks",
    "MultiCameraConfig",
    "MultiCameraResult",
    "MultiCameraTracker",
    "Pipeline",
    "TrackState",
    "Tracker",
    "TrackerConfig",
    "Tracks",
]
