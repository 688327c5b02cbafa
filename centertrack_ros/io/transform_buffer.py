# SPDX-License-Identifier: Apache-2.0
"""The poses of frames over time, from the messages on /tf and /tf_static: for bags, and for machines without tf2_ros.

Lookups follow tf2's buffer: a pose between two samples is interpolated, a lookup outside of the samples fails, and
samples older than the cache length are dropped.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from dataclasses import dataclass, field
from threading import Condition
from typing import Any

import numpy as np

from centertrack_ros.geometry.transform import Transform, interpolate
from centertrack_ros.io.stamps import nanoseconds

CACHE_NS = 10_000_000_000
# A faulty publisher must not fill the memory: more frames than any robot has, ten seconds at 1 kHz.
MAX_FRAMES, MAX_SAMPLES = 2000, 10_000


class LookupFailure(ValueError):  # noqa: N818 - ROS users know "lookup failure"
    """There is no such transform; the text says why.

    Attributes:
        soon: The next message on /tf may bring it.
    """

    def __init__(self, text: str, soon: bool = False) -> None:
        super().__init__(text)
        self.soon = soon


@dataclass
class _Edge:
    """A frame in its parent: samples in the order of their stamps, ns; a static one has a single sample."""

    parent: str
    static: bool
    stamps: list[int] = field(default_factory=list)
    poses: list[Transform] = field(default_factory=list)

    def insert(self, stamp: int, pose: Transform, cache_ns: int | None) -> None:
        jumped_back = cache_ns is not None and self.stamps and stamp < self.stamps[-1] - cache_ns
        if self.static or jumped_back:
            self.stamps, self.poses = [], []
        at = bisect_left(self.stamps, stamp)
        replaces = at < len(self.stamps) and self.stamps[at] == stamp
        self.stamps[at : at + replaces], self.poses[at : at + replaces] = [stamp], [pose]
        if cache_ns is not None:
            expired = bisect_left(self.stamps, self.stamps[-1] - cache_ns)
            surplus = max(expired, len(self.stamps) - MAX_SAMPLES)
            del self.stamps[:surplus], self.poses[:surplus]

    def at(self, stamp: int, name: str, tolerance_ns: int) -> Transform:
        if self.static or stamp == 0:  # 0 stands for the newest, as in tf2
            return self.poses[-1]
        after = bisect_left(self.stamps, stamp)
        if after < len(self.stamps) and self.stamps[after] == stamp:
            return self.poses[after]
        if after == len(self.stamps):
            late = stamp - self.stamps[-1]
            if late <= tolerance_ns:
                return self.poses[-1]
            raise LookupFailure(f"frame '{name}' in '{self.parent}' is {late * 1e-9:.3f} s behind the image", soon=True)
        if after == 0:
            early = self.stamps[0] - stamp
            if early <= tolerance_ns:
                return self.poses[0]
            raise LookupFailure(
                f"the oldest sample of frame '{name}' in '{self.parent}' is {early * 1e-9:.3f} s after the image"
            )
        start, end = self.stamps[after - 1 : after + 1]
        return interpolate(self.poses[after - 1], self.poses[after], (stamp - start) / (end - start))


class TransformBuffer:
    """A tree of frames with their poses over time. Threads may insert, look up and wait at the same time."""

    def __init__(self, cache_ns: int | None = CACHE_NS, tolerance_ns: int = 0) -> None:
        """Creates an empty buffer.

        Args:
            cache_ns: How long samples are kept, counted from the newest of their frame, ns. A sample that is older than
                that means that time was set back: the frame's samples are cleared. None keeps all: for a whole bag.
            tolerance_ns: A lookup that is at most this long before the first or after the last sample of a frame takes
                that sample, ns.
        """
        self._cache_ns, self._tolerance_ns = cache_ns, tolerance_ns
        self._edges: dict[str, _Edge] = {}
        self._changed = Condition()  # guards the edges as well

    def insert_message(self, message: Any, static: bool) -> list[str]:
        """Inserts the transforms of a tf2_msgs/TFMessage (of rclpy, of rosbags: whatever has its fields).

        Args:
            message: The TFMessage.
            static: It came on /tf_static.

        Returns:
            One sentence for each transform that cannot be inserted; the others are inserted.
        """
        problems, valid = [], []
        for stamped in message.transforms:
            try:
                pose = transform_from_message(stamped.transform)
            except ValueError as error:
                problems.append(f"transform of frame '{stamped.child_frame_id[:100]}' ignored: {error}")
                continue
            valid.append((stamped.header.frame_id, stamped.child_frame_id, nanoseconds(stamped.header.stamp), pose))
        with self._changed:
            rejections = [self._insert(*transform, static) for transform in valid]
            self._changed.notify_all()
        return problems + [f"transform ignored: {rejection}" for rejection in rejections if rejection]

    def insert(self, parent: str, child: str, stamp: int, pose: Transform, static: bool) -> str:
        """Inserts the pose of `child` in `parent` at `stamp`, ns.

        Returns:
            Why it cannot be inserted; '' if it was.
        """
        with self._changed:
            rejection = self._insert(parent, child, stamp, pose, static)
            self._changed.notify_all()
        return rejection

    def lookup(self, target: str, source: str, stamp: int) -> Transform:
        """Looks up the pose of the frame `source` in the frame `target` at `stamp`, ns; 0 stands for the newest.

        Raises:
            LookupFailure: There is no such transform at that time.
        """
        with self._changed:
            return self._lookup(target.lstrip("/"), source.lstrip("/"), stamp)

    def wait_for(self, target: str, source: str, stamp: int, deadline: float) -> Transform:
        """As `lookup`, but sleeps while the next message may bring the transform, and wakes when one arrives.

        Args:
            target: The frame to transform to.
            source: The frame to transform from.
            stamp: The time of the transform, ns.
            deadline: When to stop waiting, on the clock of time.monotonic(), s.

        Raises:
            LookupFailure: There is no such transform, and no message can bring it or none did before the deadline.
        """
        target, source = target.lstrip("/"), source.lstrip("/")
        with self._changed:
            while True:
                try:
                    return self._lookup(target, source, stamp)
                except LookupFailure as failure:
                    remaining = deadline - time.monotonic()
                    if not failure.soon or remaining <= 0.0:
                        raise
                self._changed.wait(remaining)

    def ancestors(self, name: str) -> list[str]:
        """The frame itself, then its parents up to the root; a ring of frames ends where it would close."""
        with self._changed:
            return self._ancestors(name.lstrip("/"))

    def _insert(self, parent: str, child: str, stamp: int, pose: Transform, static: bool) -> str:
        parent, child = parent.lstrip("/"), child.lstrip("/")
        if not parent or not child or parent == child:
            return f"a transform from '{parent[:100]}' to '{child[:100]}': expected two different frames"
        edge = self._edges.get(child)
        if edge is None or (edge.parent, edge.static) != (parent, static):
            if edge is None and len(self._edges) >= MAX_FRAMES:
                return f"more than {MAX_FRAMES} frames"
            edge = self._edges[child] = _Edge(parent, static)
        edge.insert(stamp, pose, self._cache_ns)
        return ""

    def _lookup(self, target: str, source: str, stamp: int) -> Transform:
        up, down = self._ancestors(source), self._ancestors(target)
        common = next((name for name in up if name in down), None)
        if common is None:
            raise LookupFailure(self._unconnected(source, target))
        common_from_source = self._chain(up[: up.index(common)], stamp)
        common_from_target = self._chain(down[: down.index(common)], stamp)
        return common_from_target.inverse() @ common_from_source

    def _unconnected(self, source: str, target: str) -> str:
        known = {*self._edges, *(edge.parent for edge in self._edges.values())}
        unknown = [f"'{name}'" for name in (source, target) if name not in known]
        if unknown:
            return f"nobody has published a frame {' or '.join(unknown)}"
        return f"the frames '{source}' and '{target}' are not connected"

    def _ancestors(self, name: str) -> list[str]:
        names = [name]
        while (edge := self._edges.get(names[-1])) is not None and edge.parent not in names:
            names.append(edge.parent)
        return names

    def _chain(self, names: list[str], stamp: int) -> Transform:
        """The pose of the first of these frames in the parent of the last."""
        pose = Transform.identity()
        for name in names:
            pose = self._edges[name].at(stamp, name, self._tolerance_ns) @ pose
        return pose


def transform_from_message(message: Any) -> Transform:
    """Converts a geometry_msgs/Transform.

    Raises:
        ValueError: Its quaternion is no rotation, or a value is not finite.
    """
    turn, move = message.rotation, message.translation
    return Transform.from_quaternion(np.array([turn.x, turn.y, turn.z, turn.w]), np.array([move.x, move.y, move.z]))
