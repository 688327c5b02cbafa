# SPDX-License-Identifier: Apache-2.0
"""What a dataset reader gives: a recording as a sequence of frames, each with what is known of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.types import Detections, Tracks

Array = NDArray[Any]


@dataclass(frozen=True)
class AnnotatedFrame:
    """One frame of a recording: its truth, or a tracker's answer to it.

    index   the frame's number as its source counts it (KITTI from 0, MOT from 1)
    stamp   s
    tracks  the objects, with their identities
    flags   further facts per object, name -> (N,): 'truncation', 'occlusion', 'visibility', 'considered'
    ignore  (M, 4) x1, y1, x2, y2 px: regions in which nothing is judged
    image   the picture's file, where there is one
    camera  where the recording is calibrated
    pose    (4, 4) camera's optical frame -> world, None when unknown
    token   the frame's name in its source, where it has one (nuScenes' sample)
    """

    index: int
    stamp: float
    tracks: Tracks
    flags: Mapping[str, Array] = field(default_factory=dict)
    ignore: Array = field(default_factory=lambda: np.zeros((0, 4)))
    image: Path | None = None
    camera: Camera | None = None
    pose: Array | None = None
    token: str = ""

    def select(self, keep: Array) -> AnnotatedFrame:
        """The same frame with only the objects at `keep` (mask or integers)."""
        flags = {name: values[keep] for name, values in self.flags.items()}
        return replace(self, tracks=self.tracks.select(keep), flags=flags)


@dataclass(frozen=True)
class VideoSequence:
    """One recording: frames in order of their index; frames without objects may be absent.

    classes     names that `class_ids` refers to
    first, length  index of the first frame and how many frames the recording has
    rate        frames per s, None when unknown
    image_size  (height, width) px, None when unknown
    """

    name: str
    classes: tuple[str, ...]
    frames: tuple[AnnotatedFrame, ...]
    first: int
    length: int
    rate: float | None = None
    image_size: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[AnnotatedFrame]:
        return iter(self.frames)

    def between(self, first: int, last: int) -> VideoSequence:
        """The frames whose index is in first..last, both included."""
        frames = tuple(frame for frame in self.frames if first <= frame.index <= last)
        return replace(self, frames=frames, first=first, length=max(0, last - first + 1))


def empty_tracks() -> Tracks:
    """A frame in which nothing is."""
    return tracks_of(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 4)))


def tracks_of(ids: Array, class_ids: Array, scores: Array, boxes: Array, **others: Array | None) -> Tracks:
    """Tracks from columns (N, …), the centre of the box as centre, no displacement; numbers keep their precision."""
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    detections = Detections(scores, class_ids, boxes, centers, np.zeros_like(centers), **others)
    count = np.ones(len(ids), np.int64)
    return Tracks(detections, ids, count, count.copy(), np.zeros(len(ids)))


def frames_of(
    frames: Array,
    tracks: Tracks,
    flags: Mapping[str, Array] | None = None,
    *,
    rate: float | None = None,
    first: int = 0,
    ignored: Mapping[int, Array] | None = None,
) -> tuple[AnnotatedFrame, ...]:
    """One `AnnotatedFrame` for each number in `frames` (N,), the frame that each object of `tracks` belongs to."""
    order = np.argsort(frames, kind="stable")
    numbers, starts = np.unique(frames[order], return_index=True)
    groups = dict(zip(numbers.tolist(), np.split(order, starts[1:]), strict=True)) if len(frames) else {}
    ignored = ignored or {}
    period = 1.0 / rate if rate else 1.0
    nothing = np.zeros(0, np.int64)
    result = []
    for number in sorted(set(groups) | set(ignored)):
        index = groups.get(number, nothing)
        result.append(
            AnnotatedFrame(
                index=number,
                stamp=(number - first) * period,
                tracks=tracks.select(index),
                flags={name: values[index] for name, values in (flags or {}).items()},
                ignore=ignored.get(number, np.zeros((0, 4))),
            )
        )
    return tuple(result)
