# SPDX-License-Identifier: Apache-2.0
"""The records of all data sets: a recording as a sequence of frames, each with its objects, image and camera."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.io.errors import DataError
from centertrack_ros.types import Detections, Tracks

_NUMBER = re.compile(r"[0-9]{1,19}")
_LOG = logging.getLogger(__name__)
Array = NDArray[Any]
NO_IDENTITY = -1  # id of an object of which nobody knows which object of another frame it is


@dataclass(frozen=True)
class AnnotatedFrame:
    """One frame of a recording with its objects: the ground truth, or the results of a tracker.

    Attributes:
        index: The frame's number as its source counts it: KITTI from 0, MOTChallenge from 1.
        stamp: s; NaN when the source tells neither times nor a rate.
        tracks: The N objects with their ids, NO_IDENTITY where the source has none; of ground truth the scores are 1.
        flags: Further columns of the objects, name -> (N,): 'truncation', 'occlusion', 'visibility', 'considered'.
        ignore: (M, 4) x1, y1, x2, y2 px: ignored regions, in which nothing is evaluated (don't care).
        image: The image file; None when there is none.
        camera: Calibration; None when the recording has none.
        pose: (4, 4) world from the camera's optical frame; None when unknown.
        token: The frame's name in its source, such as nuScenes' sample token; '' when it has none.
        image_size: (height, width) px that the annotations are for; None when they do not tell it.
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
    image_size: tuple[int, int] | None = None

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

    def at_rate(self, rate: float) -> VideoSequence:
        """The recording with stamps by its frame numbers at a rate, frames/s; the first frame is at 0 s."""
        frames = tuple(replace(frame, stamp=(frame.index - self.first) / rate) for frame in self.frames)
        return replace(self, frames=frames, rate=rate)


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


def identity_numbers(labels: Iterable[int | str]) -> dict[int | str, int]:
    """Numbers for names of objects: the names themselves where all are whole numbers of int64, else 1, 2, … in order.

    An id is a name. It never passes through a float64, which would join large numbers.
    """
    distinct = dict.fromkeys(labels)
    numbers = {label: int(label) for label in distinct if _NUMBER.fullmatch(str(label)) and int(label) < 2**63}
    if len(numbers) == len(distinct) == len(set(numbers.values())):
        return numbers
    return {label: number for number, label in enumerate(sorted(distinct, key=str), start=1)}


def checked(sequence: VideoSequence, path: Path | str) -> VideoSequence:
    """The sequence, if all that every reader promises is true of it; see `check_objects`.

    Args:
        sequence: As a reader has it.
        path: The file that it was read from, for messages.

    Raises:
        DataError: A frame is there twice or at an infinite time, or an object is wrong.
    """
    seen: dict[int, AnnotatedFrame] = {}
    for frame in sequence:
        if seen.setdefault(frame.index, frame) is not frame:
            names = " and ".join(f"'{one.token}'" for one in (seen[frame.index], frame) if one.token)
            raise DataError(path, f"{sequence.name}: frame {frame.index} is there twice {names}".rstrip())
        if np.isinf(frame.stamp):
            raise DataError(path, f"{sequence.name}: frame {frame.index} has no finite time")
        sizes = frame.tracks.detections.dimensions
        if sizes is not None and (sizes < 0).any():
            raise DataError(path, f"{sequence.name}: frame {frame.index}: an object has a negative size in m")
    frames = np.repeat([frame.index for frame in sequence], [len(frame.tracks) for frame in sequence]).astype(np.int64)
    if len(frames):
        parts = [frame.tracks for frame in sequence if len(frame.tracks)]
        detections = [part.detections for part in parts]
        has_3d = [one.locations is not None and np.isfinite(one.locations).all(axis=1) for one in detections]
        check_objects(
            path,
            frames,
            np.concatenate([part.ids for part in parts]),
            np.concatenate([one.boxes for one in detections]),
            np.concatenate([one.scores for one in detections]),
            absent=np.concatenate([np.broadcast_to(one, len(part)) for one, part in zip(has_3d, parts, strict=True)]),
            where=f"{sequence.name}: ",
        )
    return sequence


def check_objects(
    path: Path | str,
    frames: Array,
    ids: Array,
    boxes: Array,
    scores: Array,
    *,
    lines: Sequence[int] | None = None,
    absent: Array | None = None,
    where: str = "",
    turned: float = 0.0,
) -> None:
    """Checks what is true of the objects of every data set: the one place that decides it.

    Args:
        path: The file that they are from, for messages.
        frames: (N,) the frame of each object.
        ids: (N,) int64; an id is in a frame once, NO_IDENTITY as often as needed.
        boxes: (N, 4) x1, y1, x2, y2 px, finite and not of a negative size.
        scores: (N,) finite.
        lines: (N,) the line of each object in the file, if it has lines.
        absent: (N,) bool, objects that may have NaN as box: they have a 3D box.
        where: Begins each message.
        turned: Part of the boxes that may have a negative size, which is logged with their number: published results
            have some where an object leaves the image. More of them mean that the columns have another meaning.

    Raises:
        DataError: An object is wrong; the text names it.
    """

    def refuse(rows: Any, problem: str) -> None:
        if len(found := np.flatnonzero(rows)):
            row = int(found[0])
            identity = "" if ids[row] == NO_IDENTITY else f", id {ids[row]}"
            at = "" if lines is not None else f"frame {frames[row]}{identity}: "
            text = problem.format(frame=frames[row], id=ids[row], box=_box_text(boxes[row]), score=scores[row])
            raise DataError(path, f"{where}{at}{text}", lines[row] if lines is not None else None)

    refuse(ids < NO_IDENTITY, "id {id}, expected 0 or more, or -1 for an object without identity")
    unknown = np.isnan(boxes).all(axis=1) & (False if absent is None else absent)
    refuse(~np.isfinite(boxes).all(axis=1) & ~unknown, "the box {box} is not four finite numbers")
    negative = (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    if 0 < negative.sum() <= turned * len(boxes):
        _LOG.warning("%s: %d of %d boxes have a negative width or height", path, negative.sum(), len(boxes))
    else:
        refuse(negative, "negative width or height: x1, y1, x2, y2 are {box}")
    refuse(~np.isfinite(scores), "the score {score} is not a finite number")
    order = np.lexsort((ids, frames))
    again = np.zeros(len(ids), bool)
    again[order[1:]] = (frames[order[1:]] == frames[order[:-1]]) & (ids[order[1:]] == ids[order[:-1]])
    refuse(again & (ids != NO_IDENTITY), "id {id} appears twice in frame {frame}")


def _box_text(box: Array) -> str:
    return ", ".join(f"{value:g}" for value in box)


def renumbered(sequence: VideoSequence, classes: Sequence[str]) -> VideoSequence:
    """The same objects with these class ids; the sequence's own names that are not among `classes` follow them."""
    names = tuple(dict.fromkeys((*classes, *sequence.classes)))
    ids = np.array([names.index(name) for name in sequence.classes], np.int64)
    frames = tuple(
        replace(
            frame,
            tracks=replace(
                frame.tracks,
                detections=replace(frame.tracks.detections, class_ids=ids[frame.tracks.detections.class_ids]),
            ),
        )
        for frame in sequence
    )
    return replace(sequence, classes=names, frames=frames)


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
        rate: Frames/s, for the stamps; None: unknown, the stamps are NaN.
        first: The index of the frame at 0 s.
        ignored: Index of a frame -> (M, 4) its ignored regions.

    Returns:
        One frame for each index in `frames` or `ignored`, in their order.
    """
    order = np.argsort(frames, kind="stable")
    numbers, starts = np.unique(frames[order], return_index=True)
    groups = dict(zip(numbers.tolist(), np.split(order, starts[1:]), strict=True)) if len(frames) else {}
    ignored = ignored or {}
    period = 1.0 / rate if rate else math.nan
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
