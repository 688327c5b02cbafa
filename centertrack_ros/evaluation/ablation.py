# SPDX-License-Identifier: Apache-2.0
"""Compares motion models: association on annotated boxes, at full and reduced frame rates.

The tracker's own association runs on ground-truth boxes or public detections instead of a network's. The displacement
that a network would regress is computed from the ground truth: that of a perfect displacement head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets import mot
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, empty_tracks
from centertrack_ros.evaluation.tables import markdown_table, table
from centertrack_ros.evaluation.trackeval_metrics import SequencePair, TrackScores, score_kitti, score_mot, summary
from centertrack_ros.geometry.boxes2d import areas, iou
from centertrack_ros.io.image_files import load_image
from centertrack_ros.io.source_base import DEFAULT_RATE
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.lifecycle import start_tracks, update
from centertrack_ros.tracking.motion import flow_displacements, flow_image
from centertrack_ros.types import Detections, Tracks

MOTIONS = ("displacement", "none", "constant_velocity", "kalman", "flow")
FIGURES = ("MOTA", "IDF1", "HOTA", "IDSW")
_NO_THRESHOLD = float("-inf")  # every box may start a track


@dataclass(frozen=True)
class Cell:
    """The figures of one class, motion model and frame rate.

    Attributes:
        kind: The class.
        motion: The motion model.
        every: n for every n-th frame.
        figures: MOTA, IDF1, HOTA in percent, and IDSW.
    """

    kind: str
    motion: str
    every: int
    figures: Mapping[str, float | int]


def every_nth(recording: VideoSequence, every: int) -> VideoSequence:
    """Every n-th frame of a recording, renumbered from its first frame; stamps stay."""
    frames = tuple(
        replace(frame, index=recording.first + (frame.index - recording.first) // every)
        for frame in recording
        if (frame.index - recording.first) % every == 0
    )
    return replace(recording, frames=frames, length=-(-recording.length // every))


def considered_objects(frame: AnnotatedFrame) -> AnnotatedFrame:
    """The objects that a tracker should report: the considered pedestrians (MOT), all of KITTI's.

    The most visible come first, among equals the largest: association processes detections in the order of their
    scores, and a network scores these highest.
    """
    flags, count = frame.flags, len(frame.tracks)
    hidden = flags.get("occlusion", np.zeros(count)) + flags.get("truncation", np.zeros(count))
    hidden = hidden - flags.get("visibility", np.zeros(count))
    order = np.lexsort((-areas(frame.tracks.detections.boxes), hidden))
    keep = np.asarray(flags.get("considered", np.ones(count)), bool)
    return frame.select(order[keep[order]])


def true_displacements(frame: AnnotatedFrame, previous: AnnotatedFrame | None) -> NDArray[np.float32]:
    """(N, 2) px: from each object's centre to its centre in the previous frame; 0 for one that was not present."""
    result = np.zeros((len(frame.tracks), 2), np.float32)
    if previous is None:
        return result
    row_of = {identity: row for row, identity in enumerate(previous.tracks.ids.tolist())}
    for row, identity in enumerate(frame.tracks.ids.tolist()):
        if identity in row_of:
            before = previous.tracks.detections.centers[row_of[identity]]
            result[row] = before - frame.tracks.detections.centers[row]
    return result


def matched_displacements(
    detections: Detections, frame: AnnotatedFrame, shifts: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Displacements of detections from the ground truth.

    Args:
        detections: N detections.
        frame: The ground truth of the frame, M objects.
        shifts: (M, 2) their displacements, px.

    Returns:
        (N, 2) px: the displacement of the ground-truth object that each detection overlaps most (IoU at least 0.5),
        else the detection's own.
    """
    result = np.array(detections.displacements, np.float32)
    if len(detections) and len(frame.tracks):
        overlaps = iou(detections.boxes, frame.tracks.detections.boxes)
        best = overlaps.argmax(axis=1)
        is_match = overlaps[np.arange(len(detections)), best] >= 0.5
        result[is_match] = shifts[best[is_match]]
    return result


def track(truth: VideoSequence, boxes: VideoSequence, config: TrackerConfig) -> VideoSequence:
    """Runs the tracker on boxes instead of a network's detections.

    Args:
        truth: The ground truth.
        boxes: The boxes to track: the ground truth itself, or public detections.
        config: Of the tracker.

    Returns:
        The tracks of every frame.
    """
    detections_of = {frame.index: frame for frame in boxes}
    truth_of = {frame.index: frame for frame in truth}
    empty = AnnotatedFrame(0, 0.0, empty_tracks())
    step = _step(truth)
    tracks: Tracks | None = None
    next_id, previous, image = 1, None, None
    frames = []
    for index in range(truth.first, truth.first + truth.length):
        frame = truth_of.get(index, replace(empty, index=index))
        detections = detections_of.get(index, empty).tracks.detections
        shifts, image = _shifts(frame, previous, detections, image, config.motion, boxes is truth)
        detections = replace(detections, displacements=shifts)
        stamp = (index - truth.first) * step
        if tracks is None:
            tracks = start_tracks(detections.select(np.zeros(0, np.int64)), 1, stamp)
        tracks, next_id = update(tracks, next_id, detections, stamp, step, _NO_THRESHOLD, config)
        frames.append(AnnotatedFrame(index, stamp, tracks.select(tracks.hits > 0)))
        previous = frame
    return replace(truth, classes=boxes.classes, frames=tuple(frames))


def _shifts(
    frame: AnnotatedFrame,
    previous: AnnotatedFrame | None,
    detections: Detections,
    previous_image: NDArray[np.uint8] | None,
    motion: str,
    is_truth: bool,
) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None]:
    """The displacements (N, 2) px by the motion model, and the image to keep for the next frame."""
    if motion == "flow":
        image = _read_image(frame)
        small = flow_image(image)
        if previous_image is None:
            return np.zeros((len(detections), 2), np.float32), small
        return flow_displacements(previous_image, small, detections.boxes, image.shape[:2]), small
    if motion != "displacement":
        return np.zeros((len(detections), 2), np.float32), None
    shifts = true_displacements(frame, previous)
    return shifts if is_truth else matched_displacements(detections, frame, shifts), None


def _read_image(frame: AnnotatedFrame) -> NDArray[np.uint8]:
    if frame.image is None:
        raise ValueError(f"frame {frame.index}: no image; motion 'flow' needs every frame's image")
    return load_image(frame.image)


def _step(recording: VideoSequence) -> float:
    """Seconds between two frames of a recording, which may have been reduced to every n-th frame."""
    if len(recording.frames) > 1:
        one, two = recording.frames[0], recording.frames[-1]
        return (two.stamp - one.stamp) / (two.index - one.index)
    return 1.0 / (recording.rate or DEFAULT_RATE)


def compare_motions(
    recordings: Sequence[VideoSequence],
    public: Mapping[str, VideoSequence] | None = None,
    motions: Iterable[str] = MOTIONS,
    every: Iterable[int] = (1,),
    config: TrackerConfig | None = None,
    progress: Callable[[str], Any] = lambda _: None,
) -> tuple[list[Cell], list[str]]:
    """The figures of each motion model and frame rate over all recordings.

    Args:
        recordings: The ground truth.
        public: Public detections by the recordings' names; None: the ground truth's own boxes.
        motions: The motion models. 'flow' is left out when a frame has no image.
        every: The frame rates: n for every n-th frame.
        config: Of the tracker; its motion model is replaced.
        progress: Called with a line before each measurement.

    Returns:
        The figures, and notes on what was left out or assumed.

    Raises:
        ValueError: The ground truth has no object.
    """
    if not any(len(frame.tracks) for recording in recordings for frame in recording):
        raise ValueError(f"{', '.join(one.name for one in recordings)}: no object in the ground truth")
    cells, notes = [], []
    for place, one in enumerate(recordings):
        if not all(math.isfinite(frame.stamp) for frame in one):
            notes.append(f"{one.name}: no rate is told: {DEFAULT_RATE:g} frames/s")
            recordings = [*recordings[:place], one.at_rate(DEFAULT_RATE), *recordings[place + 1 :]]
    for motion in motions:
        if motion == "flow" and not all(frame.image for recording in recordings for frame in recording):
            notes.append("flow: left out, it needs the images of all frames")
            continue
        for step in every:
            progress(f"{motion}, every {step}")
            chosen = replace(config or TrackerConfig.official(), motion=motion)
            scores = _score([_pair(recording, public, chosen, step) for recording in recordings])
            for kind, raw in scores.combined.items():
                figures = summary(raw)
                cells.append(Cell(kind, motion, step, {name: figures[name] for name in FIGURES}))
    return cells, notes


def _pair(
    recording: VideoSequence, public: Mapping[str, VideoSequence] | None, config: TrackerConfig, every: int
) -> SequencePair:
    truth = every_nth(recording, every)
    considered = replace(truth, frames=tuple(map(considered_objects, truth)))
    if public is None:
        return SequencePair(truth, track(considered, considered, config))
    return SequencePair(truth, track(considered, every_nth(public[recording.name], every), config))


def _score(pairs: list[SequencePair]) -> TrackScores:
    if pairs[0].truth.classes == mot.CLASSES or pairs[0].truth.classes == ("pedestrian",):
        return score_mot(pairs)
    return score_kitti(pairs)


def cells_table(cells: Sequence[Cell], figure: str, markdown: bool = False) -> str:
    """One figure as text or Markdown: a table for each class, a row for each motion model, a column for each rate."""
    blocks = []
    for kind in dict.fromkeys(cell.kind for cell in cells):
        rates = sorted({cell.every for cell in cells})
        known = {(cell.motion, cell.every): cell.figures[figure] for cell in cells if cell.kind == kind}
        motions = list(dict.fromkeys(cell.motion for cell in cells))
        rows = [[motion, *(_text(known.get((motion, rate))) for rate in rates)] for motion in motions]
        heading = [f"{kind} {figure}", *(f"1/{rate}" for rate in rates)]
        blocks.append(markdown_table(heading, rows) if markdown else table(heading, rows))
    return "\n\n".join(blocks)


def _text(value: float | int | None) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.1f}"
