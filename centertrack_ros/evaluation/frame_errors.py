"""What happened in each frame, for the report's pictures: which true object was found as which track, what was missed.

The counts of the tables are TrackEval's. These matches, by overlap of at least a half with a preference for the track
of the frame before (as CLEAR has it), only say where in a recording to look.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, empty_tracks
from centertrack_ros.evaluation.trackeval_metrics import Pair
from centertrack_ros.geometry.boxes2d import iou

_LEAST_OVERLAP = 0.5


@dataclass(frozen=True)
class Moment:
    """One frame: what is true and what was found, as indices; `switched` true rows have another track than before."""

    truth: AnnotatedFrame
    found: AnnotatedFrame
    pairs: tuple[tuple[int, int], ...]
    missed: tuple[int, ...]
    wrong: tuple[int, ...]
    switched: tuple[int, ...]

    @property
    def badness(self) -> int:
        """Misses and false ones, and switches three times."""
        return len(self.missed) + len(self.wrong) + 3 * len(self.switched)


@dataclass
class Life:
    """A true object's life: frames in which it was there, and the track that it was found as (-1: missed)."""

    frames: list[int] = field(default_factory=list)
    tracks: list[int] = field(default_factory=list)
    switches: list[int] = field(default_factory=list)


def moments(pair: Pair) -> list[Moment]:
    """One for each frame of the truth that has objects on either side."""
    answers = {frame.index: frame for frame in pair.results}
    said = {frame.index: frame for frame in pair.truth}
    before: dict[int, int] = {}  # true id -> the track that it was found as last
    latest: dict[int, int] = {}  # the same, only of the frame before
    result = []
    for index in sorted(set(answers) | set(said)):
        truth = _judged(said.get(index, AnnotatedFrame(index, 0.0, empty_tracks())))
        found = answers.get(index, AnnotatedFrame(index, 0.0, empty_tracks()))
        result.append(_moment(truth, found, _same_class(pair.truth, truth, pair.results, found), before, latest))
    return result


def _judged(frame: AnnotatedFrame) -> AnnotatedFrame:
    return frame.select(np.asarray(frame.flags["considered"], bool)) if "considered" in frame.flags else frame


def _same_class(
    truth: VideoSequence, one: AnnotatedFrame, results: VideoSequence, two: AnnotatedFrame
) -> NDArray[np.bool_]:
    kinds = np.array([truth.classes[k].lower() for k in one.tracks.detections.class_ids])
    found = np.array([results.classes[k].lower() for k in two.tracks.detections.class_ids])
    return kinds[:, None] == found[None, :]


def _moment(
    truth: AnnotatedFrame,
    found: AnnotatedFrame,
    allowed: NDArray[np.bool_],
    before: dict[int, int],
    latest: dict[int, int],
) -> Moment:
    from scipy.optimize import linear_sum_assignment

    overlaps = iou(truth.tracks.detections.boxes, found.tracks.detections.boxes) * allowed
    kept = np.array([[latest.get(t) == f for f in found.tracks.ids.tolist()] for t in truth.tracks.ids.tolist()])
    gains = np.where(overlaps >= _LEAST_OVERLAP, overlaps + 1000.0 * kept.reshape(overlaps.shape), 0.0)
    pairs = tuple((int(r), int(c)) for r, c in zip(*linear_sum_assignment(-gains), strict=True) if gains[r, c] > 0)
    switched = []
    if len(truth.tracks) and len(found.tracks):  # as in CLEAR, a frame without either is passed over
        latest.clear()
    for row, column in pairs:
        identity, track = int(truth.tracks.ids[row]), int(found.tracks.ids[column])
        if before.get(identity, track) != track:
            switched.append(row)
        before[identity] = latest[identity] = track
    rows, columns = {r for r, _ in pairs}, {c for _, c in pairs}
    missed = tuple(r for r in range(len(truth.tracks)) if r not in rows)
    wrong = tuple(c for c in range(len(found.tracks)) if c not in columns)
    return Moment(truth, found, pairs, missed, wrong, tuple(switched))


def lives(seen: list[Moment]) -> dict[int, Life]:
    """True id -> its life, in order of appearance."""
    result: dict[int, Life] = {}
    for moment in seen:
        matched = dict(moment.pairs)
        for row, identity in enumerate(moment.truth.tracks.ids.tolist()):
            life = result.setdefault(identity, Life())
            life.frames.append(moment.truth.index)
            life.tracks.append(int(moment.found.tracks.ids[matched[row]]) if row in matched else -1)
            if row in moment.switched:
                life.switches.append(moment.truth.index)
    return result


def worst(seen: list[Moment], count: int, apart: int = 15) -> list[Moment]:
    """The worst moments, at least `apart` frames from each other, worst first; frames without trouble never."""
    chosen: list[Moment] = []
    for moment in sorted(seen, key=lambda m: (-m.badness, m.truth.index)):
        if moment.badness and all(abs(moment.truth.index - other.truth.index) >= apart for other in chosen):
            chosen.append(moment)
        if len(chosen) == count:
            break
    return chosen
