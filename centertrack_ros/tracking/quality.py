# SPDX-License-Identifier: Apache-2.0
"""How good tracks look without labels: births, gaps, suspected switches of ids, jumps, flips of headings, latency.

The figures are signs, not errors: an object that leaves the image ends its track, too. What tells is a change between
days, robots or versions.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes2d import iou, sizes_of
from centertrack_ros.geometry.boxes3d import wrapped
from centertrack_ros.types import Tracks

WINDOW_S = 60.0
# A centre that moves by more than this part of the box's side within 1/10 s has jumped to another object.
_JUMP, _JUMP_S = 0.35, 0.1
# A track that begins where another one has just been lost probably is the same object under another id.
_SAME_PLACE_IOU, _SAME_PLACE_S = 0.3, 1.0
_FLIP = math.pi / 2


@dataclass(frozen=True)
class QualityFigures:
    """What happened in the last minute of one camera's frames.

    Attributes:
        frames: Number of frames.
        seconds: Time between the first and the last of them, s.
        objects: Mean number of objects that were seen in a frame.
        births: Tracks that began.
        ends: Tracks that were forgotten.
        gaps: Returns of a track that was not seen in the frame before.
        suspected_switches: Tracks that began where another one was lost less than a second before.
        jumps: Centres that moved by more than a third of the box's side in a tenth of a second.
        yaw_flips: Headings that turned by more than 90° from one frame to the next.
        class_changes: Tracks whose class changed.
        latency_ms: Mean age of the results, ms; NaN: unknown.
        latency_p95_ms: The age that 95 % of the results do not exceed, ms.
    """

    frames: int
    seconds: float
    objects: float
    births: int
    ends: int
    gaps: int
    suspected_switches: int
    jumps: int
    yaw_flips: int
    class_changes: int
    latency_ms: float
    latency_p95_ms: float


_EVENTS = ("births", "ends", "gaps", "suspected_switches", "jumps", "yaw_flips", "class_changes")


@dataclass(frozen=True)
class _Seen:
    """The last sight of a track."""

    stamp: float
    box: NDArray[np.float64]
    class_id: int
    yaw: float


class QualityMonitor:
    """Watches the tracks of one camera. Costs some tens of microseconds a frame."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        """Starts with nothing seen.

        Args:
            window_s: s over which the figures are taken.
        """
        self._window = window_s
        self._live: dict[int, _Seen] = {}
        self._ended: list[_Seen] = []
        self._newest = 0
        self._frames: deque[tuple[float, int, Counter[str], float]] = deque()

    def update(self, tracks: Tracks, stamp: float, latency_ms: float = math.nan, reset: str = "") -> None:
        """Takes the reported tracks of the next frame.

        Args:
            tracks: Seen ones, and lost ones that are still remembered.
            stamp: Of the frame, s.
            latency_ms: Age of the results, ms; NaN: unknown.
            reset: Why the tracks were reset before this frame; '' if they were not.
        """
        previous = self._frames[-1][0] if self._frames else -math.inf
        if stamp < previous:
            self._frames.clear()
        if reset or stamp < previous:
            self._live, self._ended, self._newest = {}, [], 0
        seen = _sights(tracks, stamp)
        counts: Counter[str] = Counter()
        for identity, sight in seen.items():
            if (before := self._live.get(identity)) is not None:
                counts.update(_events(before, sight, previous))
        remembered = set(tracks.ids.tolist())
        gone = [identity for identity in self._live if identity not in remembered]
        counts["ends"] = len(gone)
        self._ended = [one for one in self._ended if stamp - one.stamp <= _SAME_PLACE_S]
        self._ended += [self._live.pop(identity) for identity in gone]
        born = [sight for identity, sight in seen.items() if identity > self._newest]
        lost = [sight for identity, sight in self._live.items() if identity not in seen] + self._ended
        counts["births"] = len(born)
        counts["suspected_switches"] = _replacements(born, lost)
        self._live.update(seen)
        self._newest = max([self._newest, *seen])
        self._frames.append((stamp, len(seen), counts, latency_ms))
        while stamp - self._frames[0][0] > self._window:
            self._frames.popleft()

    def figures(self) -> QualityFigures:
        """The figures of the last frames."""
        frames = len(self._frames)
        total: Counter[str] = Counter()
        for _, _, counts, _ in self._frames:
            total.update(counts)
        latencies = [latency for *_, latency in self._frames if math.isfinite(latency)]
        return QualityFigures(
            frames=frames,
            seconds=self._frames[-1][0] - self._frames[0][0] if frames else 0.0,
            objects=sum(seen for _, seen, _, _ in self._frames) / frames if frames else 0.0,
            latency_ms=float(np.mean(latencies)) if latencies else math.nan,
            latency_p95_ms=float(np.percentile(latencies, 95)) if latencies else math.nan,
            **{name: total[name] for name in _EVENTS},
        )


def _sights(tracks: Tracks, stamp: float) -> dict[int, _Seen]:
    """Id -> what was seen of it in this frame."""
    rows = np.flatnonzero(tracks.hits > 0)
    found = tracks.detections
    yaws = np.full(len(found), np.nan) if found.rotations_y is None else found.rotations_y
    return {
        int(tracks.ids[row]): _Seen(
            stamp, found.boxes[row].astype(np.float64), int(found.class_ids[row]), float(yaws[row])
        )
        for row in rows
    }


def _events(before: _Seen, now: _Seen, previous_stamp: float) -> list[str]:
    """What happened to one track since its last sight."""
    events = ["gaps"] if before.stamp < previous_stamp else []
    moved = np.linalg.norm((now.box[:2] + now.box[2:] - before.box[:2] - before.box[2:]) / 2)
    allowed = _JUMP * max(1.0, (now.stamp - before.stamp) / _JUMP_S) * float(sizes_of(before.box[None])[0])
    if moved > allowed:
        events.append("jumps")
    if abs(float(wrapped(np.array(now.yaw - before.yaw)))) > _FLIP:
        events.append("yaw_flips")
    if now.class_id != before.class_id:
        events.append("class_changes")
    return events


def _replacements(born: list[_Seen], lost: list[_Seen]) -> int:
    """The number of new tracks in the place of one that was lost a moment ago."""
    if not born:
        return 0
    recent = [one for one in lost if born[0].stamp - one.stamp <= _SAME_PLACE_S]
    if not recent:
        return 0
    overlap = iou(np.array([one.box for one in born]), np.array([one.box for one in recent]))
    return int((overlap.max(axis=1) >= _SAME_PLACE_IOU).sum())
