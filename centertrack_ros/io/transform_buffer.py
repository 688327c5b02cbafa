"""Where frames are at which time, from the messages on /tf and /tf_static: for machines that have no tf2_ros.

It answers as tf2's buffer does: poses between two samples are interpolated, those outside of them are refused, the last
ten seconds are kept.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from threading import Lock

from centertrack_ros.geometry.transform import Transform, interpolate

CACHE_NS = 10_000_000_000
# A publisher gone wild must not fill the memory: more frames than any robot has, ten seconds at 1 kHz.
MAX_FRAMES, MAX_SAMPLES = 2000, 10_000


class LookupFailure(ValueError):
    """There is no such transform; the text says why. `soon`: the next message on /tf may bring it."""

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

    def insert(self, stamp: int, pose: Transform) -> None:
        if self.static or (self.stamps and stamp < self.stamps[-1] - CACHE_NS):  # time was set back
            self.stamps, self.poses = [], []
        at = bisect_left(self.stamps, stamp)
        replaces = at < len(self.stamps) and self.stamps[at] == stamp
        self.stamps[at : at + replaces], self.poses[at : at + replaces] = [stamp], [pose]
        old = max(bisect_left(self.stamps, self.stamps[-1] - CACHE_NS), len(self.stamps) - MAX_SAMPLES)
        del self.stamps[:old], self.poses[:old]

    def at(self, stamp: int, name: str) -> Transform:
        if self.static or stamp == 0:  # 0 stands for the newest, as in tf2
            return self.poses[-1]
        after = bisect_left(self.stamps, stamp)
        if after < len(self.stamps) and self.stamps[after] == stamp:
            return self.poses[after]
        if after == len(self.stamps):
            late = (stamp - self.stamps[-1]) * 1e-9
            raise LookupFailure(f"frame '{name}' in '{self.parent}' is {late:.3f} s behind the image", soon=True)
        if after == 0:
            early = (self.stamps[0] - stamp) * 1e-9
            raise LookupFailure(f"the oldest of frame '{name}' in '{self.parent}' is {early:.3f} s after the image")
        begin, end = self.stamps[after - 1 : after + 1]
        return interpolate(self.poses[after - 1], self.poses[after], (stamp - begin) / (end - begin))


class TransformBuffer:
    """Filled on one thread, asked on another."""

    def __init__(self) -> None:
        self._edges: dict[str, _Edge] = {}
        self._lock = Lock()

    def insert(self, parent: str, child: str, stamp: int, pose: Transform, static: bool) -> str:
        """Takes the pose of `child` in `parent` at `stamp`, ns. Returns why it cannot be taken, '' if it was."""
        parent, child = parent.lstrip("/"), child.lstrip("/")
        if not parent or not child or parent == child:
            return f"a transform from '{parent[:100]}' to '{child[:100]}': expected two different frames"
        with self._lock:
            edge = self._edges.get(child)
            if edge is None or (edge.parent, edge.static) != (parent, static):
                if edge is None and len(self._edges) >= MAX_FRAMES:
                    return f"more than {MAX_FRAMES} frames"
                edge = self._edges[child] = _Edge(parent, static)
            edge.insert(stamp, pose)
        return ""

    def lookup(self, target: str, source: str, stamp: int) -> Transform:
        """The pose of the frame `source` in the frame `target` at `stamp`, ns. Raises LookupFailure."""
        target, source = target.lstrip("/"), source.lstrip("/")
        with self._lock:
            up, down = self._ancestors(source), self._ancestors(target)
            common = next((name for name in up if name in down), None)
            if common is None:
                raise LookupFailure(self._unconnected(source, target))
            there = self._chain(up[: up.index(common)], stamp)
            back = self._chain(down[: down.index(common)], stamp)
        return back.inverse() @ there

    def _unconnected(self, source: str, target: str) -> str:
        known = {*self._edges, *(edge.parent for edge in self._edges.values())}
        unknown = [f"'{name}'" for name in (source, target) if name not in known]
        if unknown:
            return f"nobody has published a frame {' or '.join(unknown)}"
        return f"the frames '{source}' and '{target}' are not connected"

    def _ancestors(self, name: str) -> list[str]:
        """The frame itself, then its parents up to the root."""
        names = [name]
        while (edge := self._edges.get(names[-1])) is not None and edge.parent not in names:
            names.append(edge.parent)
        return names

    def _chain(self, names: list[str], stamp: int) -> Transform:
        """From the first of these frames to the parent of the last."""
        whole = Transform.identity()
        for name in names:
            whole = self._edges[name].at(stamp, name) @ whole
        return whole
