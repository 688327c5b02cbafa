"""How much a motion model matters: association on annotated boxes, at full and reduced frame rates.

The tracker's own association runs on boxes that are given, true or public, instead of a network's. The displacement
that a network would regress is taken from the truth, so that it stands for a perfect displacement head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets import mot
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, tracks_of
from centertrack_ros.evaluation.tables import table
from centertrack_ros.evaluation.trackeval_metrics import Pair, TrackScores, score_kitti, score_mot, summary
from centertrack_ros.geometry.boxes2d import areas, iou
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.lifecycle import begin, update
from centertrack_ros.tracking.motion import flow_displacements, flow_image
from centertrack_ros.types import Detections, Tracks

MOTIONS = ("displacement", "none", "constant_velocity", "kalman", "flow")
FIGURES = ("MOTA", "IDF1", "HOTA", "IDSW")
_ALL = np.float32(-np.inf)  # every given box may begin a track


@dataclass(frozen=True)
class Cell:
    """The figures of one class, motion model and frame rate; `every` n means every n-th frame."""

    kind: str
    motion: str
    every: int
    figures: Mapping[str, float | int]


def every_nth(recording: VideoSequence, every: int) -> VideoSequence:
    """Every n-th frame, counted anew from the first; stamps stay."""
    frames = tuple(
        replace(frame, index=recording.first + (frame.index - recording.first) // every)
        for frame in recording
        if (frame.index - recording.first) % every == 0
    )
    return replace(recording, frames=frames, length=-(-recording.length // every))


def given_objects(frame: AnnotatedFrame) -> AnnotatedFrame:
    """The objects of a truth that a tracker should report: pedestrians that are judged (MOT), all of KITTI's.

    The best visible first, the larger first among equals: association goes through detections in the order of their
    scores, and a network gives its high scores to these.
    """
    flags, count = frame.flags, len(frame.tracks)
    hidden = flags.get("occlusion", np.zeros(count)) + flags.get("truncation", np.zeros(count))
    hidden = hidden - flags.get("visibility", np.zeros(count))
    order = np.lexsort((-areas(frame.tracks.detections.boxes), hidden))
    keep = np.asarray(flags.get("considered", np.ones(count)), bool)
    return frame.select(order[keep[order]])


def true_displacements(frame: AnnotatedFrame, previous: AnnotatedFrame | None) -> NDArray[np.float32]:
    """(N, 2) px: from each object's centre to its centre in the previous frame; 0 for one that was not there."""
    result = np.zeros((len(frame.tracks), 2), np.float32)
    if previous is None:
        return result
    places = {identity: row for row, identity in enumerate(previous.tracks.ids.tolist())}
    for row, identity in enumerate(frame.tracks.ids.tolist()):
        if identity in places:
            before = previous.tracks.detections.centers[places[identity]]
            result[row] = before - frame.tracks.detections.centers[row]
    return result


def borrowed_displacements(
    detections: Detections, frame: AnnotatedFrame, shifts: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(N, 2) px: the displacement of the true object that each detection overlaps most (IoU at least 0.5), else its
    own.
    """
    result = np.array(detections.displacements, np.float32)
    if len(detections) and len(frame.tracks):
        overlaps = iou(detections.boxes, frame.tracks.detections.boxes)
        best = overlaps.argmax(axis=1)
        found = overlaps[np.arange(len(detections)), best] >= 0.5
        result[found] = shifts[best[found]]
    return result


def track(truth: VideoSequence, given: VideoSequence, config: TrackerConfig) -> VideoSequence:
    """The tracker's answer to the boxes of `given`, the truth itself or public detections, frame by frame."""
    boxes = {frame.index: frame for frame in given}
    said = {frame.index: frame for frame in truth}
    step = _step(truth)
    nothing = tracks_of(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 4)))
    empty = AnnotatedFrame(0, 0.0, nothing)
    tracks: Tracks | None = None
    next_id, previous, image = 1, None, None
    frames = []
    for index in range(truth.first, truth.first + truth.length):
        frame = said.get(index, replace(empty, index=index))
        detections = boxes.get(index, empty).tracks.detections
        shifts, image = _shifts(frame, previous, detections, image, config.motion, given is truth, truth.image_size)
        detections = replace(detections, displacements=shifts)
        stamp = (index - truth.first) * step
        if tracks is None:
            tracks = begin(detections.select(np.zeros(0, np.int64)), 1, stamp)
        tracks, next_id = update(tracks, next_id, detections, stamp, step, float(_ALL), config)
        frames.append(AnnotatedFrame(index, stamp, tracks.select(tracks.hits > 0)))
        previous = frame
    return replace(truth, classes=given.classes, frames=tuple(frames))


def _shifts(
    frame: AnnotatedFrame,
    previous: AnnotatedFrame | None,
    detections: Detections,
    image: NDArray[np.uint8] | None,
    motion: str,
    is_truth: bool,
    size: tuple[int, int] | None,
) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None]:
    """The displacements that belong to the motion model, and the picture to keep for the next frame's."""
    if motion == "flow":
        picture = _picture(frame)
        now = flow_image(picture)
        if image is None:
            return np.zeros((len(detections), 2), np.float32), now
        return flow_displacements(image, now, detections.boxes, picture.shape[:2]), now
    if motion != "displacement":
        return np.zeros((len(detections), 2), np.float32), None
    shifts = true_displacements(frame, previous)
    return shifts if is_truth else borrowed_displacements(detections, frame, shifts), None


def _picture(frame: AnnotatedFrame) -> NDArray[np.uint8]:
    import cv2

    picture = cv2.imread(str(frame.image))
    if picture is None:
        raise ValueError(f"{frame.image}: not a picture that can be read; motion 'flow' needs every frame's")
    return np.asarray(picture, np.uint8)


def _step(recording: VideoSequence) -> float:
    """S between two frames of a recording that may have been thinned out."""
    if len(recording.frames) > 1:
        one, two = recording.frames[0], recording.frames[-1]
        return (two.stamp - one.stamp) / (two.index - one.index)
    return 1.0 / (recording.rate or 10.0)


def compare_motions(
    recordings: Sequence[VideoSequence],
    given: Mapping[str, VideoSequence] | None = None,
    motions: Iterable[str] = MOTIONS,
    every: Iterable[int] = (1,),
    config: TrackerConfig | None = None,
    progress: Callable[[str], Any] = lambda _: None,
) -> tuple[list[Cell], list[str]]:
    """The figures of each motion model and frame rate over all recordings, and notes on what was left out.

    given  public detections by the recordings' names; None: the truth's own boxes
    Motion 'flow' is left out when a frame has no picture.
    """
    cells, notes = [], []
    for motion in motions:
        if motion == "flow" and not all(frame.image for recording in recordings for frame in recording):
            notes.append("flow: left out, it needs the pictures of all frames")
            continue
        for step in every:
            progress(f"{motion}, every {step}")
            chosen = replace(config or TrackerConfig.official(), motion=motion)
            scores = _score([_pair(recording, given, chosen, step) for recording in recordings])
            for kind, raw in scores.combined.items():
                figures = summary(raw)
                cells.append(Cell(kind, motion, step, {name: figures[name] for name in FIGURES}))
    return cells, notes


def _pair(
    recording: VideoSequence, given: Mapping[str, VideoSequence] | None, config: TrackerConfig, every: int
) -> Pair:
    truth = every_nth(recording, every)
    fed = replace(truth, frames=tuple(map(given_objects, truth)))
    if given is None:
        return Pair(truth, track(fed, fed, config))
    return Pair(truth, track(fed, every_nth(given[recording.name], every), config))


def _score(pairs: list[Pair]) -> TrackScores:
    if pairs[0].truth.classes == mot.CLASSES or pairs[0].truth.classes == ("pedestrian",):
        return score_mot(pairs)
    return score_kitti(pairs)


def cells_table(cells: Sequence[Cell], figure: str, markdown: bool = False) -> str:
    """One figure: a row for each motion model, a column for each frame rate; a block for each class."""
    blocks = []
    for kind in dict.fromkeys(cell.kind for cell in cells):
        rates = sorted({cell.every for cell in cells})
        known = {(cell.motion, cell.every): cell.figures[figure] for cell in cells if cell.kind == kind}
        motions = list(dict.fromkeys(cell.motion for cell in cells))
        rows = [[motion, *(_text(known.get((motion, rate))) for rate in rates)] for motion in motions]
        heading = [f"{kind} {figure}", *(f"1/{rate}" for rate in rates)]
        blocks.append(_markdown(heading, rows) if markdown else table(heading, rows))
    return "\n\n".join(blocks)


def _text(value: float | int | None) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.1f}"


def _markdown(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
