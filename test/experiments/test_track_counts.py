# SPDX-License-Identifier: Apache-2.0
"""Figures from weighted sums of counts are TrackEval's."""

import numpy as np
import pytest

from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, tracks_of
from centertrack_ros.evaluation.trackeval_metrics import SequencePair, score_boxes, summary
from experiments.track_counts import sum_counts, track_figures


def _pair(number: int) -> SequencePair:
    """Six objects over ten frames; the results miss some, move some and swap ids."""
    rng = np.random.default_rng(number)
    corners = rng.uniform(0, 400, (6, 2))
    sides = []
    for is_truth in (True, False):
        frames = []
        for index in range(1, 11):
            boxes = np.concatenate([corners, corners + 60], axis=1) + 3 * index
            ids, keep = np.arange(1, 7), np.ones(6, bool)
            if not is_truth:
                boxes, keep = boxes + rng.normal(0, 6, boxes.shape), rng.random(6) > 0.2
                ids = rng.permutation(ids) if index == 5 else ids
            tracks = tracks_of(ids, np.array([0, 0, 0, 1, 1, 1]), np.ones(6), boxes).select(keep)
            frames.append(AnnotatedFrame(index, index * 0.1, tracks))
        sides.append(VideoSequence(f"r{number}", ("car", "bus"), tuple(frames), 1, 10))
    return SequencePair(*sides)


def test_drawn_once_each_recordings_give_trackevals_figures() -> None:
    pytest.importorskip("trackeval")
    for kind in (None, ("car",)):
        scores = score_boxes([_pair(number) for number in range(3)], kind or ("car", "bus"))
        figures = track_figures([sum_counts(classes) for classes in scores.sequences.values()], np.ones((1, 3)))
        if kind:  # of one class, TrackEval adds recordings up itself
            official = summary(scores.combined["car"])
            for name in ("IDF1", "MOTA", "HOTA", "IDSW"):
                assert figures[name][0] == pytest.approx(official[name])
        assert 10 < figures["IDF1"][0] < 95


def test_a_recording_drawn_twice_is_two_recordings() -> None:
    pytest.importorskip("trackeval")
    counts = [sum_counts(one) for one in score_boxes([_pair(n) for n in range(2)]).sequences.values()]
    twice = track_figures([counts[0], counts[0], counts[1]], np.ones((1, 3)))
    weighted = track_figures(counts, np.array([[2.0, 1.0]]))
    assert {name: value[0] for name, value in twice.items()} == pytest.approx({k: v[0] for k, v in weighted.items()})
