# SPDX-License-Identifier: Apache-2.0
"""The errors of each frame, for the report's images: matches, misses, false positives, id switches.

The counts of the tables are TrackEval's. These matches, by an overlap of at least a half with a preference for the
track of the frame before (as CLEAR has it), only show where in a recording to look.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, empty_tracks
from centertrack_ros.evaluation.trackeval_metrics import SequencePair
from centertrack_ros.geometry.boxes2d import iou

_MIN_OVERLAP = 0.5


@dataclass(frozen=True)
class FrameErrors:
    """What is right and wrong in one frame; all numbers are rows of the frames' objects.

    Attributes:
        truth: The ground truth.
        results: The tracker's results.
        matches: (ground-truth row, result row) of what belongs together.
        missed: Ground-truth rows without a match.
        false_positives: Result rows without a match.
        switched: Ground-truth rows whose match has another track id than their last one.
    """

    truth: AnnotatedFrame
    results: AnnotatedFrame
    matches: tuple[tuple[int, int], ...]
    missed: tuple[int, ...]
    false_positives: tuple[int, ...]
    switched: tuple[int, ...]

    @property
    def error_count(self) -> int:
        """Misses and false positives, and id switches three times."""
        return len(self.missed) + len(self.false_positives) + 3 * len(self.switched)


@dataclass
class Trajectory:
    """A ground-truth track.

    Attributes:
        frames: The frames in which the object is present.
        tracks: The track id that it was matched with in each of them; -1: missed.
        switches: The frames of its id switches.
    """

    frames: list[int] = field(default_factory=list)
    tracks: list[int] = field(default_factory=list)
    switches: list[int] = field(default_factory=list)


def frame_errors(pair: SequencePair) -> list[FrameErrors]:
    """The errors of each frame in which ground truth or results have objects."""
    results = {frame.index: frame for frame in pair.results}
    truths = {frame.index: frame for frame in pair.truth}
    last_match: dict[int, int] = {}  # ground-truth id -> track id of its last match
    previous_match: dict[int, int] = {}  # the same, of the previous frame alone
    errors = []
    for index in sorted(set(results) | set(truths)):
        truth = _considered(truths.get(index, AnnotatedFrame(index, 0.0, empty_tracks())))
        result = results.get(index, AnnotatedFrame(index, 0.0, empty_tracks()))
        is_same_class = _same_class(pair.truth, truth, pair.results, result)
        errors.append(_errors_of(truth, result, is_same_class, last_match, previous_match))
    return errors


def _considered(frame: AnnotatedFrame) -> AnnotatedFrame:
    """The frame without ignored objects."""
    return frame.select(np.asarray(frame.flags["considered"], bool)) if "considered" in frame.flags else frame


def _same_class(
    truth: VideoSequence, one: AnnotatedFrame, results: VideoSequence, two: AnnotatedFrame
) -> NDArray[np.bool_]:
    """(N, M) whether two objects are of the same class, whatever the case of its name."""
    true_names = np.array([truth.classes[k].lower() for k in one.tracks.detections.class_ids])
    result_names = np.array([results.classes[k].lower() for k in two.tracks.detections.class_ids])
    return np.asarray(true_names[:, None] == result_names[None, :])


def _errors_of(
    truth: AnnotatedFrame,
    results: AnnotatedFrame,
    allowed: NDArray[np.bool_],
    last_match: dict[int, int],
    previous_match: dict[int, int],
) -> FrameErrors:
    """The errors of one frame; updates both dictionaries of matches."""
    from scipy.optimize import linear_sum_assignment

    overlaps = iou(truth.tracks.detections.boxes, results.tracks.detections.boxes) * allowed
    true_ids, track_ids = truth.tracks.ids.tolist(), results.tracks.ids.tolist()
    is_kept = np.array([[previous_match.get(one) == other for other in track_ids] for one in true_ids])
    gains = np.where(overlaps >= _MIN_OVERLAP, overlaps + 1000.0 * is_kept.reshape(overlaps.shape), 0.0)
    matches = tuple((int(r), int(c)) for r, c in zip(*linear_sum_assignment(-gains), strict=True) if gains[r, c] > 0)
    switched = []
    if true_ids and track_ids:  # as in CLEAR, a frame without either does not break the preference
        previous_match.clear()
    for row, column in matches:
        identity, track = true_ids[row], track_ids[column]
        if last_match.get(identity, track) != track:
            switched.append(row)
        last_match[identity] = previous_match[identity] = track
    rows, columns = {r for r, _ in matches}, {c for _, c in matches}
    missed = tuple(r for r in range(len(true_ids)) if r not in rows)
    false_positives = tuple(c for c in range(len(track_ids)) if c not in columns)
    return FrameErrors(truth, results, matches, missed, false_positives, tuple(switched))


def trajectories(errors: list[FrameErrors]) -> dict[int, Trajectory]:
    """Ground-truth id -> its trajectory, in order of appearance."""
    result: dict[int, Trajectory] = {}
    for frame in errors:
        matched = dict(frame.matches)
        for row, identity in enumerate(frame.truth.tracks.ids.tolist()):
            trajectory = result.setdefault(identity, Trajectory())
            trajectory.frames.append(frame.truth.index)
            trajectory.tracks.append(int(frame.results.tracks.ids[matched[row]]) if row in matched else -1)
            if row in frame.switched:
                trajectory.switches.append(frame.truth.index)
    return result


def worst_frames(errors: list[FrameErrors], count: int, apart: int = 15) -> list[FrameErrors]:
    """The frames with the most errors, worst first; never one without errors.

    Args:
        errors: All frames.
        count: The largest number of frames to return.
        apart: The smallest distance between two of them, frames.
    """
    chosen: list[FrameErrors] = []
    for frame in sorted(errors, key=lambda one: (-one.error_count, one.truth.index)):
        if frame.error_count and all(abs(frame.truth.index - other.truth.index) >= apart for other in chosen):
            chosen.append(frame)
        if len(chosen) == count:
            break
    return chosen
