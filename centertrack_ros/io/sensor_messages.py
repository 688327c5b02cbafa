# SPDX-License-Identifier: Apache-2.0
"""What depth cameras and LiDARs sent beside the images of a camera: each frame gets what belongs to it.

One sentence for what cannot be used; the frame then goes on without, and the next good message is served.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from centertrack_ros.geometry.transform import Transform
from centertrack_ros.io.camera_info import Calibration
from centertrack_ros.io.companions import Companions
from centertrack_ros.io.depth_decoding import DepthError, check_aligned, depth_of, points_of_depth
from centertrack_ros.io.point_decoding import PointsError, points_of
from centertrack_ros.io.stamps import nanoseconds
from centertrack_ros.types import DepthImage, Frame, FrameHeader, Points

_KEEP = 12  # messages of a topic: more than a second of a LiDAR, some images of a depth camera
_SILENT_S = 1.0  # after which nobody waits for the next message of a topic
_UNMET = 20  # frames in a row without a message of their time, after which that is told
_FOREVER_NS = 1 << 62

# Frame of the image, frame of the sensor, stamps of both in ns -> the sensor in the image's frame, with the motion
# between the stamps if it is known. Raises ValueError.
SensorLookup = Callable[[FrameHeader, FrameHeader], Transform]


@dataclass(frozen=True)
class SensorConfig:
    """How messages of sensors find their images.

    Attributes:
        tolerance_s: How far the stamp of a message may be from the image's.
        timeout_s: How long a frame waits for it.
    """

    tolerance_s: float = 0.05
    timeout_s: float = 0.02


class SensorTopic:
    """The messages of one topic."""

    def __init__(self, name: str) -> None:
        """`name` is that of the topic, for sentences."""
        self.name = name
        self._messages: Companions[Any] = Companions(_KEEP)
        self._last, self._unmet = -np.inf, 0
        self._decoded: tuple[Any, Any] = (None, None)
        self._lock = threading.Lock()

    def add(self, message: Any, arrival_ns: int = 0) -> None:
        """Takes a message with a header; one without a stamp gets the time of arrival."""
        self._last = time.monotonic()
        self._messages.add(nanoseconds(message.header.stamp) or arrival_ns, message)

    def at(self, stamp_ns: int, config: SensorConfig, exact: bool, warn: Callable[[str], None]) -> Any:
        """The message of an image's time; None if there is none.

        Args:
            stamp_ns: Of the image.
            config: How far it may be from that, and how long to wait.
            exact: Wait for the message of exactly that stamp, even if another one is near enough.
            warn: Takes a sentence if messages come but never fit.
        """
        tolerance = round(config.tolerance_s * 1e9)
        found = self._messages.nearest(stamp_ns, 0 if exact else tolerance)
        if found is None:
            silent = time.monotonic() - self._last > _SILENT_S
            found = self._messages.wait(stamp_ns, tolerance, 0.0 if silent else config.timeout_s)
        if found is not None:
            self._unmet = 0
            return found
        nearest = self._messages.nearest(stamp_ns, _FOREVER_NS)
        self._unmet += nearest is not None
        if nearest is not None and self._unmet >= _UNMET:
            off = (nanoseconds(nearest.header.stamp) - stamp_ns) * 1e-9
            warn(
                f"no message on {self.name} within {config.tolerance_s:g} s of an image for {self._unmet} images: the "
                f"nearest is {off:+.3f} s off; do the clocks agree? (depth.tolerance_s)"
            )
        return None

    def decoded(self, message: Any, decode: Callable[[Any], Any]) -> Any:
        """What a message holds; the last one is remembered, as a cloud serves several images."""
        with self._lock:
            if self._decoded[0] is not message:
                self._decoded = (message, decode(message))
            return self._decoded[1]


class SensorMessages:
    """The sensors of one camera."""

    def __init__(self, depth_topic: str, points_topic: str, warn: Callable[[str], None]) -> None:
        """Starts without messages.

        Args:
            depth_topic: Name of the topic of depth images.
            points_topic: That of points.
            warn: Takes sentences about messages that cannot be used.
        """
        self.depth, self.points = SensorTopic(depth_topic), SensorTopic(points_topic)
        self.depth_calibration = Calibration()
        self._warn = warn

    def attach(
        self, frame: Frame, config: SensorConfig, lookup: SensorLookup, depth: bool = True, points: bool = True
    ) -> Frame:
        """The frame with what sensors measured at its time.

        Args:
            frame: A frame with a header.
            config: How far stamps may be apart, and how long to wait.
            lookup: Finds where a sensor is.
            depth: Whether depth images come at all.
            points: Whether points come.
        """
        if frame.header is None or frame.camera is None:
            return frame
        clouds = []
        if depth and (message := self._at(self.depth, frame, config, exact=True)) is not None:
            aligned, cloud = self._guarded(self.depth, self._depth, message, frame, lookup) or (None, None)
            frame = replace(frame, depth=aligned)
            clouds.append(cloud)
        if points and (message := self._at(self.points, frame, config, exact=False)) is not None:
            clouds.append(self._guarded(self.points, self._cloud, message, frame, lookup))
        arrays = [cloud.points for cloud in clouds if cloud is not None]
        return replace(frame, points=Points(np.concatenate(arrays))) if arrays else frame

    def _at(self, topic: SensorTopic, frame: Frame, config: SensorConfig, exact: bool) -> Any:
        assert frame.header is not None
        return topic.at(frame.header.stamp_ns, config, exact, self._warn)

    def _guarded(self, topic: SensorTopic, use: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return use(*arguments)
        except (DepthError, PointsError) as error:
            self._warn(f"message on {topic.name} skipped: {error}")
        except ValueError as error:  # of the transform
            self._warn(f"message on {topic.name} not used, no transform: {error}")
        return None

    def _depth(self, message: Any, frame: Frame, lookup: SensorLookup) -> tuple[DepthImage | None, Points | None]:
        """Depths of the image's own view; or points, of a depth camera that is another one."""
        depth: DepthImage = self.depth.decoded(message, depth_of)
        size = depth.depths.shape
        own = self.depth_calibration.camera((size[0], size[1])) if self.depth_calibration.is_known else None
        assert frame.header is not None and frame.camera is not None
        source, target = message.header.frame_id, frame.header.frame_id
        scaled = frame.camera.scaled_to(size[1], size[0])
        same_view = own is None or np.allclose(own.projection[:, :3], scaled.projection[:, :3], rtol=0.01, atol=1.0)
        if same_view and (not source or source == target):
            check_aligned(depth, frame.image.shape[:2])
            return depth, None
        if own is None:
            if self.depth_calibration.is_known:
                raise DepthError(f"its camera_info cannot be used: {self.depth_calibration.problem}")
            check_aligned(depth, frame.image.shape[:2])  # as depth_image_proc's register gives it
            return depth, None
        return None, self._moved(points_of_depth(depth, own), message, frame, lookup)

    def _cloud(self, message: Any, frame: Frame, lookup: SensorLookup) -> Points:
        return self._moved(self.points.decoded(message, points_of), message, frame, lookup)

    @staticmethod
    def _moved(points: Points, message: Any, frame: Frame, lookup: SensorLookup) -> Points:
        """The points in the frame of the image's camera."""
        assert frame.header is not None
        header = FrameHeader(nanoseconds(message.header.stamp) or frame.header.stamp_ns, message.header.frame_id)
        if not header.frame_id or header.frame_id == frame.header.frame_id:
            return points
        pose = lookup(frame.header, header)
        rotation, translation = pose.rotation.astype(np.float32), pose.translation.astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            return Points(points.points @ rotation.T + translation)
