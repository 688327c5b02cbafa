# SPDX-License-Identifier: Apache-2.0
"""A model's own tracks as labels: certain tracks are kept, doubtful boxes become ignored regions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.records import AnnotatedFrame
from centertrack_ros.geometry.boxes2d import iou
from centertrack_ros.types import FrameResult

_SAME_OBJECT = 0.7  # IoU from which two boxes are of one object


@dataclass(frozen=True)
class Certainty:
    """When a track becomes labels.

    Attributes:
        score: Least median score over the track's boxes, 0..1.
        box_score: Least score of a box of such a track, 0..1.
        length: Least number of frames with a detection of the track.

    Raises:
        ValueError: No track can meet a value.
    """

    score: float = 0.45
    box_score: float = 0.3
    length: int = 5

    def __post_init__(self) -> None:
        for name in ("score", "box_score"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        if self.length < 1:
            raise ValueError(f"length must be at least 1 frame, got {self.length}")


def detected_tracks(result: FrameResult, **frame: Any) -> AnnotatedFrame:
    """A tracker's result as an annotated frame.

    Args:
        result: Of one image.
        frame: Further fields of the `AnnotatedFrame`.

    Returns:
        The tracks that have a detection in this image, and as `ignore` (M, 4) the detections without a track.
    """
    tracks = result.tracks.select(np.flatnonzero(result.tracks.hits > 0))
    others = np.zeros((0, 4)) if result.detections is None else result.detections.boxes
    return AnnotatedFrame(tracks=tracks, ignore=_away_from(others, tracks.detections.boxes), **frame)


def _away_from(boxes: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    """The boxes (N, 4) of objects that are not among `others` (M, 4)."""
    if not len(boxes) or not len(others):
        return boxes
    return boxes[iou(boxes, others).max(axis=1) < _SAME_OBJECT]


def certain_labels(frames: Sequence[AnnotatedFrame], certainty: Certainty) -> tuple[AnnotatedFrame, ...]:
    """Keep only the certain tracks of a recording.

    Args:
        frames: Of one recording, of `detected_tracks`.
        certainty: Which tracks are certain.

    Returns:
        The frames. Other boxes go to `ignore`; so do boxes interpolated between two detections of a certain track,
        because the object is there, though the model did not detect it.
    """
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, frame in enumerate(frames):
        for row, identity in enumerate(frame.tracks.ids.tolist()):
            places[identity].append((number, row))
    kept: dict[int, list[int]] = defaultdict(list)
    hidden: dict[int, list[NDArray[Any]]] = defaultdict(list)
    for rows in places.values():
        scores = np.array([frames[n].tracks.detections.scores[row] for n, row in rows])
        if len(rows) < certainty.length or float(np.median(scores)) < certainty.score:
            continue
        for (number, row), score in zip(rows, scores.tolist(), strict=True):
            if score >= certainty.box_score:
                kept[number].append(row)
        for number, box in _interpolated([(n, frames[n].tracks.detections.boxes[row]) for n, row in rows]):
            hidden[number].append(box)
    return tuple(
        _with_certain_rows(frame, np.array(sorted(kept[number]), np.int64), hidden[number])
        for number, frame in enumerate(frames)
    )


def _interpolated(detections: Sequence[tuple[int, NDArray[Any]]]) -> list[tuple[int, NDArray[Any]]]:
    """(frame, interpolated box) for the frames between two detections of a track."""
    boxes = []
    for (start, first), (end, last) in pairwise(detections):
        for number in range(start + 1, end):
            part = (number - start) / (end - start)
            boxes.append((number, (1 - part) * first + part * last))
    return boxes


def _with_certain_rows(
    frame: AnnotatedFrame, keep: NDArray[np.int64], hidden: Sequence[NDArray[Any]]
) -> AnnotatedFrame:
    boxes = frame.tracks.detections.boxes
    certain = boxes[keep]
    doubtful = np.concatenate([np.delete(boxes, keep, axis=0), frame.ignore, np.array(hidden).reshape(-1, 4)])
    return replace(frame.select(keep), ignore=_away_from(doubtful, certain))


def as_static_images(document: dict[str, Any]) -> dict[str, Any]:
    """A COCO-video document as one of static images: without videos and track ids."""
    images = [{k: v for k, v in image.items() if k not in ("video_id", "frame_id")} for image in document["images"]]
    rows = [{k: v for k, v in row.items() if k != "track_id"} for row in document["annotations"]]
    return {"images": images, "annotations": rows, "categories": document["categories"]}
