"""Bootstrap intervals: the figures that are drawn are TrackEval's, and equal things do not differ."""

import numpy as np
import pytest

from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, tracks_of
from centertrack_ros.evaluation.trackeval_metrics import Pair, score_boxes, summary
from experiments.intervals import (
    Estimate,
    counts_of,
    draw_weights,
    estimate,
    track_figures,
    weighted_mean,
    weighted_median,
)


def _pair(number: int) -> Pair:
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
    return Pair(*sides)


def test_drawn_once_each_recordings_give_trackevals_figures() -> None:
    pytest.importorskip("trackeval")
    for kind in (None, ("car",)):
        scores = score_boxes([_pair(number) for number in range(3)], kind or ("car", "bus"))
        figures = track_figures([counts_of(classes) for classes in scores.sequences.values()], np.ones((1, 3)))
        if kind:  # of one class, TrackEval adds recordings up itself
            official = summary(scores.combined["car"])
            for name in ("IDF1", "MOTA", "HOTA", "IDSW"):
                assert figures[name][0] == pytest.approx(official[name])
        assert 10 < figures["IDF1"][0] < 95


def test_a_recording_drawn_twice_is_two_recordings() -> None:
    pytest.importorskip("trackeval")
    counts = [counts_of(one) for one in score_boxes([_pair(n) for n in range(2)]).sequences.values()]
    twice = track_figures([counts[0], counts[0], counts[1]], np.ones((1, 3)))
    weighted = track_figures(counts, np.array([[2.0, 1.0]]))
    assert {name: value[0] for name, value in twice.items()} == pytest.approx({k: v[0] for k, v in weighted.items()})


def test_draws_have_the_recordings_number_and_depend_on_the_seed_alone() -> None:
    weights = draw_weights(7, 50, seed=3)
    assert weights.shape == (51, 7)
    assert (weights[0] == 1).all() and (weights.sum(axis=1) == 7).all()
    assert (weights == draw_weights(7, 50, seed=3)).all()
    assert (weights != draw_weights(7, 50, seed=4)).any()


def test_a_row_minus_itself_is_nothing_and_a_better_one_is_clear() -> None:
    values = np.random.default_rng(0).normal(50, 5, 20)
    weights = draw_weights(20, 500, 0)
    row = estimate(weighted_mean([np.array([value]) for value in values], weights))
    better = estimate(weighted_mean([np.array([value + 1]) for value in values], weights))
    nothing = row.minus(row)
    assert (nothing.value, nothing.low, nothing.high, nothing.is_clear) == (0, 0, 0, False)
    assert better.overlaps(row) and better.minus(row).is_clear  # paired: clear although the rows' intervals overlap
    assert row.low < row.value < row.high


def test_an_interval_holds_the_mean_as_often_as_it_says() -> None:
    rng, hits = np.random.default_rng(5), 0
    for trial in range(200):
        values = rng.normal(10, 3, 40)
        one = estimate(weighted_mean([np.array([value]) for value in values], draw_weights(40, 300, trial)))
        hits += one.low <= 10 <= one.high
    assert 0.88 < hits / 200 < 0.99


def test_weighted_means_and_medians_are_those_of_repeated_values() -> None:
    rng = np.random.default_rng(1)
    streets = [rng.normal(size=size) for size in (5, 0, 8, 3)]
    weights = draw_weights(4, 60, 2)
    means, medians = weighted_mean(streets, weights), weighted_median(streets, weights)
    for row, weight in enumerate(weights):
        drawn = np.concatenate([np.tile(street, int(times)) for street, times in zip(streets, weight, strict=True)])
        if len(drawn):
            assert (means[row], medians[row]) == pytest.approx((drawn.mean(), np.median(drawn)))
        else:
            assert np.isnan(means[row]) and np.isnan(medians[row])


def test_what_nobody_measured_has_no_figure() -> None:
    one = Estimate.of(float("nan"), np.full(10, np.nan))
    assert np.isnan([one.value, one.low, one.high]).all() and not one.is_clear
