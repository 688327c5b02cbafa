"""Where the cameras of a bag were in the world, from its tf."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.rotations import quaternion_to_matrix
from centertrack_ros.io.rosbag import BagReader, stamp_ns

WORLDS = ("map", "world", "odom", "earth")  # names of frames that stand still, REP 105
_TYPE = "tf2_msgs/msg/TFMessage"
_EXTRAPOLATED_NS = 200_000_000  # beyond its first and last stamp a transform holds this long
_LONGEST = 64  # frames from a camera to the world; more is a circle


class Poses:
    """The transforms of a bag, by time."""

    def __init__(self, path: Path | str) -> None:
        """Reads `/tf` and `/tf_static`, or whatever topics carry transforms. Raises DataError for a broken bag."""
        found: dict[str, dict[int, tuple[str, NDArray[np.float64]]]] = defaultdict(dict)
        self._static: dict[str, tuple[str, NDArray[np.float64]]] = {}
        with BagReader(path) as reader:
            topics = [topic.name for topic in reader.of_type(_TYPE)]
            for record, message in reader.messages(topics):
                for item in message.transforms:
                    child = item.child_frame_id.lstrip("/")
                    step = (item.header.frame_id.lstrip("/"), _numbers(item.transform))
                    if record.topic.endswith("tf_static"):
                        self._static[child] = step
                    else:
                        found[child][stamp_ns(item.header.stamp)] = step
        self._moving = {child: sorted(steps.items()) for child, steps in found.items()}

    def world(self, frame: str, time_ns: int) -> NDArray[np.float64] | None:
        """(4, 4) from `frame` to the world at that time; None when no transforms lead to one of WORLDS.

        Between two stamps the place is interpolated in a straight line, the turn along the chord.
        """
        frame, pose = frame.lstrip("/"), np.eye(4)
        for _ in range(_LONGEST):
            if frame in WORLDS and frame not in self._moving and frame not in self._static:
                return pose
            step = self._static.get(frame) or self._at(frame, time_ns)
            if step is None:
                return pose if frame in WORLDS else None
            frame, pose = step[0], _matrix(step[1]) @ pose
        return None

    def _at(self, frame: str, time_ns: int) -> tuple[str, NDArray[np.float64]] | None:
        steps = self._moving.get(frame)
        if not steps:
            return None
        right = bisect_left(steps, time_ns, key=lambda step: step[0])
        if right < len(steps) and steps[right][0] == time_ns:
            return steps[right][1]
        if right in (0, len(steps)):
            nearest = steps[min(right, len(steps) - 1)]
            return nearest[1] if abs(nearest[0] - time_ns) <= _EXTRAPOLATED_NS else None
        (before, (parent, one)), (after, (_, two)) = steps[right - 1], steps[right]
        part = (time_ns - before) / (after - before)
        two = np.concatenate((two[:3], two[3:] * (1.0 if one[3:] @ two[3:] >= 0 else -1.0)))
        return parent, (1 - part) * one + part * two


def _numbers(transform: Any) -> NDArray[np.float64]:
    """(7,) x y z of the place, x y z w of the turn."""
    place, turn = transform.translation, transform.rotation
    return np.array([place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w], np.float64)


def _matrix(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    pose = np.eye(4)
    pose[:3, :3] = quaternion_to_matrix(numbers[3:] / np.linalg.norm(numbers[3:]))
    pose[:3, 3] = numbers[:3]
    return pose
