"""One frame in, tracks out: the pipeline as a function of state, and the Tracker that holds the state of one camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine.base import Engine
from centertrack_ros.geometry.cameras import Camera
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.types import FrameResult, TrackState


@dataclass(frozen=True)
class Frame:
    """One camera image to track in: BGR uint8 (H, W, 3), stamp in s, camera if it is calibrated."""

    image: NDArray[np.uint8]
    stamp: float
    camera: Camera | None = None


class Pipeline:
    """Network and tracking as a function of (frames, states); holds no state of its own between calls."""

    def __init__(self, engine: Engine, config: TrackerConfig | None = None) -> None: ...

    def step(self, frames: Sequence[Frame], states: Sequence[TrackState]) -> list[tuple[FrameResult, TrackState]]:
        """One step for each camera, the network run on them as batches of equal input size."""


class Tracker:
    """Tracks the objects in one camera's video."""

    def __init__(self, engine: Engine, config: TrackerConfig | None = None) -> None: ...

    def step(self, image: NDArray[np.uint8], camera: Camera | None = None, stamp: float | None = None) -> FrameResult: ...

    def reset(self) -> None: ...
