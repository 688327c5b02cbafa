"""A model's own tracks as labels: what is certain is kept, what is doubtful becomes a region where nothing is asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.records import AnnotatedFrame
from centertrack_ros.geometry.boxes2d import iou
from centertrack_ros.types import FrameResult

_SAME = 0.7  # overlap from which two boxes are of one object


@dataclass(frozen=True)
class Certainty:
    """When a track becomes labels. Raises ValueError for what cannot be met.

    score      least median score over the track's boxes, 0..1
    box_score  least score of a box of such a track, 0..1
    length     least number of frames in which the track was seen
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


def seen(result: FrameResult, **frame: Any) -> AnnotatedFrame:
    """A tracker's answer as a frame: tracks that it saw, and as `ignore` the detections (M, 4) that no track took."""
    tracks = result.tracks.select(np.flatnonzero(result.tracks.hits > 0))
    others = np.zeros((0, 4)) if result.detections is None else result.detections.boxes
    return AnnotatedFrame(tracks=tracks, ignore=_away_from(others, tracks.detections.boxes), **frame)


def _away_from(boxes: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    """The boxes (N, 4) that are none of `others` (M, 4)."""
    if not len(boxes) or not len(others):
        return boxes
    return boxes[iou(boxes, others).max(axis=1) < _SAME]


def certain_labels(frames: Sequence[AnnotatedFrame], certainty: Certainty) -> tuple[AnnotatedFrame, ...]:
    """The frames of one recording with certain tracks alone.

    Other boxes go to `ignore`, and so does the way between two sightings of a certain track, in a straight line: it is
    there, though the model did not see it.
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
        for number, box in _between([(n, frames[n].tracks.detections.boxes[row]) for n, row in rows]):
            hidden[number].append(box)
    return tuple(
        _divided(frame, np.array(sorted(kept[number]), np.int64), hidden[number]) for number, frame in enumerate(frames)
    )


def _between(sightings: Sequence[tuple[int, NDArray[Any]]]) -> list[tuple[int, NDArray[Any]]]:
    """(frame, box) for the frames between sightings that are not next to each other."""
    found = []
    for (start, first), (end, last) in zip(sightings[:-1], sightings[1:], strict=True):
        for number in range(start + 1, end):
            part = (number - start) / (end - start)
            found.append((number, (1 - part) * first + part * last))
    return found


def _divided(frame: AnnotatedFrame, keep: NDArray[np.int64], hidden: Sequence[NDArray[Any]]) -> AnnotatedFrame:
    boxes = frame.tracks.detections.boxes
    certain = boxes[keep]
    doubtful = np.concatenate([np.delete(boxes, keep, axis=0), frame.ignore, np.array(hidden).reshape(-1, 4)])
    return replace(frame.select(keep), ignore=_away_from(doubtful, certain))


def as_stills(document: dict[str, Any]) -> dict[str, Any]:
    """A COCO-video document as one of still images: without videos and identities."""
    images = [{k: v for k, v in image.items() if k not in ("video_id", "frame_id")} for image in document["images"]]
    rows = [{k: v for k, v in row.items() if k != "track_id"} for row in document["annotations"]]
    return {"images": images, "annotations": rows, "categories": document["categories"]}
