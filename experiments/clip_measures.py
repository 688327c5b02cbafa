# SPDX-License-Identifier: Apache-2.0
"""What a viewer sees in tracks of a clip without ground truth: ids that leap, double boxes, changing classes, gaps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine.base import Engine
from centertrack_ros.geometry.boxes2d import iou, sizes_of
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.json_files import load_json
from centertrack_ros.io.sources import open_source
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.pipeline import Tracker
from centertrack_ros.types import Tracks

LEAP = 0.35  # of the square root of the box's area
LEAP_FRAMES = 3  # most frames between the two boxes of a leap
DOUBLE_IOU = 0.7
LONGEST_GAP = 10  # frames; a longer absence is not a gap of an object in view
SAME_OBJECT_IOU = 0.5


@dataclass(frozen=True)
class ClipFigures:
    """The figures of one clip.

    Attributes:
        frames: Number of frames.
        boxes: Number of reported boxes.
        ids: Number of tracks.
        leaps: See `leaps`.
        doubled: Share of the frames with two boxes of an IoU above `DOUBLE_IOU`.
        reclassified: Number of tracks with more than one class.
        gaps: See `gaps`.
    """

    frames: int
    boxes: int
    ids: int
    leaps: int
    doubled: float
    reclassified: int
    gaps: int


@dataclass(frozen=True)
class Coverage:
    """How one labelled object was reported.

    Attributes:
        frames: Number of labelled frames, interpolated ones included.
        found: Those in which a box overlaps the label by `SAME_OBJECT_IOU`.
        ids: The ids of these boxes.
        classes: Their classes.
    """

    frames: int
    found: int
    ids: tuple[int, ...]
    classes: tuple[str, ...]


def track_clip(path: Path, engine: Engine, config: TrackerConfig, frames: int) -> list[Tracks]:
    """The reported tracks in each of the first `frames` frames of a video: those that are boxed in this frame.

    Raises:
        ValueError: The video cannot be read.
    """
    tracker = Tracker(engine, config)
    found = []
    for frame in islice(open_source(path), frames):
        tracks = tracker.step(frame.image, frame.camera, frame.stamp).tracks
        found.append(tracks.select(np.flatnonzero(tracks.hits > 0)))
    return found


def figures(frames: Sequence[Tracks]) -> ClipFigures:
    """The figures of a clip's reported tracks."""
    kinds: dict[int, set[int]] = defaultdict(set)
    for tracks in frames:
        for identity, kind in zip(tracks.ids.tolist(), tracks.detections.class_ids.tolist(), strict=True):
            kinds[identity].add(kind)
    return ClipFigures(
        frames=len(frames),
        boxes=sum(len(tracks) for tracks in frames),
        ids=len(kinds),
        leaps=len(leaps(frames)),
        doubled=sum(_has_doubles(tracks.detections.boxes) for tracks in frames) / max(len(frames), 1),
        reclassified=sum(len(found) > 1 for found in kinds.values()),
        gaps=gaps(frames),
    )


def leaps(frames: Sequence[Tracks]) -> list[tuple[int, int]]:
    """(frame, id) of boxes more than `LEAP` sizes away from the track's last box, `LEAP_FRAMES` ago at most."""
    last: dict[int, tuple[int, NDArray[np.float64], float]] = {}
    found = []
    for index, tracks in enumerate(frames):
        boxes = tracks.detections.boxes.astype(np.float64)
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        for identity, center, size in zip(tracks.ids.tolist(), centers, sizes_of(boxes).tolist(), strict=True):
            if identity in last:
                before, place, extent = last[identity]
                if index - before <= LEAP_FRAMES and np.linalg.norm(center - place) > LEAP * extent:
                    found.append((index, identity))
            last[identity] = index, center, size
    return found


def gaps(frames: Sequence[Tracks]) -> int:
    """How often a track has no box for 1 to `LONGEST_GAP` frames and then has one again."""
    seen: dict[int, list[int]] = defaultdict(list)
    for index, tracks in enumerate(frames):
        for identity in tracks.ids.tolist():
            seen[identity].append(index)
    return sum(1 < after - before <= LONGEST_GAP + 1 for at in seen.values() for before, after in pairwise(at))


def coverage(frames: Sequence[Tracks], labels: Mapping[int, NDArray[np.float64]], classes: Sequence[str]) -> Coverage:
    """How an object was reported.

    Args:
        frames: The reported tracks, from frame 0 on.
        labels: Frame -> x1, y1, x2, y2 px of the object; boxes between labelled frames are interpolated.
        classes: Names of the model's classes.
    """
    count = found = 0
    ids, kinds = set(), set()
    for index, box in _interpolated(labels):
        if index >= len(frames):
            break
        count += 1
        tracks = frames[index]
        rows = np.flatnonzero(iou(tracks.detections.boxes, box[None])[:, 0] >= SAME_OBJECT_IOU)
        found += len(rows) > 0
        ids |= set(tracks.ids[rows].tolist())
        kinds |= {classes[kind] for kind in tracks.detections.class_ids[rows].tolist()}
    return Coverage(count, found, tuple(sorted(ids)), tuple(sorted(kinds)))


def read_labels(path: Path) -> dict[int, NDArray[np.float64]]:
    """Frame -> x1, y1, x2, y2 px, of a file of labels of one object.

    Raises:
        DataError: It is not one.
    """
    try:
        boxes = {int(frame): np.array(box, np.float64) for frame, box in load_json(path)["boxes"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(path, f"expected an object with 'boxes': frame -> [x1, y1, x2, y2] ({error})") from None
    if not boxes or any(box.shape != (4,) or not np.all(box[2:] > box[:2]) for box in boxes.values()):
        raise DataError(path, "expected boxes of four px with x1 < x2 and y1 < y2")
    return boxes


def _interpolated(labels: Mapping[int, NDArray[np.float64]]) -> Iterator[tuple[int, NDArray[np.float64]]]:
    known = sorted(labels)
    corners = np.array([labels[frame] for frame in known])
    for frame in range(known[0], known[-1] + 1):
        yield frame, np.array([np.interp(frame, known, corner) for corner in corners.T])


def _has_doubles(boxes: NDArray[np.floating]) -> bool:
    overlaps = iou(boxes, boxes)
    np.fill_diagonal(overlaps, 0.0)
    return bool((overlaps > DOUBLE_IOU).any())
