"""Prior heatmap, decoding, lifting to 3D, association, and the Tracker that strings them together."""

from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.tracker import Frame, Pipeline, Tracker
from centertrack_ros.tracking.types import Detections, FrameResult, Tracks, TrackState

__all__ = ["Detections", "Frame", "FrameResult", "Pipeline", "TrackState", "Tracker", "TrackerConfig", "Tracks"]
