# SPDX-License-Identifier: Apache-2.0
"""The records of all data sets: a recording as a sequence of frames, each with its objects, image and camera."""

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
    """One frame of a recording with its objects: the ground truth, or the results of a tracker.

    Attributes:
        index: The frame's number as its source counts it: KITTI from 0, MOTChallenge from 1.
        stamp: s.
        tracks: The N objects with their ids; of ground truth the scores are 1.
        flags: Further columns of the objects, name -> (N,): 'truncation', 'occlusion', 'visibility', 'considered'.
        ignore: (M, 4) x1, y1, x2, y2 px: ignored regions, in which nothing is evaluated (don't care).
        image: The image file; None when there is none.
        camera: Calibration; None when the recording has none.
        pose: (4, 4) world from the camera's optical frame; None when unknown.
        token: The frame's name in its source, such as nuScenes' sample token; '' when it has none.
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
        """Selects objects of the frame; `keep` is a mask (N,) or indices."""
        flags = {name: values[keep] for name, values in self.flags.items()}
        return replace(self, tracks=self.tracks.select(keep), flags=flags)


@dataclass(frozen=True)
class VideoSequence:
    """One recording of one camera: frames in the order of their index; frames without objects may be absent.

    Attributes:
        name: Of the recording, and of the camera where there are several: SCENE/CAMERA.
        classes: The names that `class_ids` of the objects refer to.
        frames: In the order of their index.
        first: Index of the first frame of the recording.
        length: Number of frames of the recording.
        rate: Frames/s; None when unknown.
        image_size: (height, width) px; None when unknown.
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
        """Selects the frames whose index is in first..last, both included."""
        frames = tuple(frame for frame in self.frames if first <= frame.index <= last)
        return replace(self, frames=frames, first=first, length=max(0, last - first + 1))


def empty_tracks() -> Tracks:
    """The tracks of a frame without objects."""
    return tracks_of(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 4)))


def tracks_of(ids: Array, class_ids: Array, scores: Array, boxes: Array, **others: Array | None) -> Tracks:
    """Builds tracks from columns: centres are those of the boxes, displacements 0; numbers keep their precision.

    Args:
        ids: (N,) int64.
        class_ids: (N,) int64.
        scores: (N,) 0..1.
        boxes: (N, 4) x1, y1, x2, y2 px.
        **others: Further fields of `Detections`, (N, …).
    """
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
    """Splits objects into frames.

    Args:
        frames: (N,) the index of the frame that each object belongs to.
        tracks: The N objects.
        flags: As in `AnnotatedFrame`, for all objects.
        rate: Frames/s, for the stamps; None: 1.
        first: The index of the frame at 0 s.
        ignored: Index of a frame -> (M, 4) its ignored regions.

    Returns:
        One frame for each index in `frames` or `ignored`, in their order.
    """
    order = np.argsort(frames, kind="stable")
    numbers, starts = np.unique(frames[order], return_index=True)
    groups = dict(zip(numbers.tolist(), np.split(order, starts[1:]), strict=True)) if len(frames) else {}
    ignored = ignored or {}
    period = 1.0 / rate if rate else 1.0
    no_rows = np.zeros(0, np.int64)
    result = []
    for number in sorted(set(groups) | set(ignored)):
        index = groups.get(number, no_rows)
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
