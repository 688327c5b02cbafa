"""Prior heatmap, decoding, lifting to 3D, association, and the trackers of one camera and of many that string them."""

from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.multi_camera.fusion import SurroundTracker
from centertrack_ros.tracking.multi_camera.records import CameraTracks, SurroundConfig, SurroundResult, SurroundTracks
from centertrack_ros.tracking.pipeline import Pipeline, Tracker
from centertrack_ros.types import Detections, Frame, FrameResult, Tracks, TrackState

__all__ = [
    "CameraTracks",
    "Detections",
    "Frame",
    "FrameResult",
    "Pipeline",
    "SurroundConfig",
    "SurroundResult",
    "SurroundTracker",
    "SurroundTracks",
    "TrackState",
    "Tracker",
    "TrackerConfig",
    "Tracks",
]
