# SPDX-License-Identifier: Apache-2.0
"""Bootstrap intervals: they cover the true value as often as stated, and equal things do not differ."""

import numpy as np
import pytest

from centertrack_ros.evaluation.bootstrap import Estimate, draw_recordings, draw_weights, weighted_mean, weighted_median


def test_draws_have_the_recordings_number_and_depend_on_the_seed_alone() -> None:
    weights = draw_weights(7, 50, seed=3)
    assert weights.shape == (51, 7)
    assert (weights[0] == 1).all() and (weights.sum(axis=1) == 7).all()
    assert (weights == draw_weights(7, 50, seed=3)).all()
    assert (weights != draw_weights(7, 50, seed=4)).any()


def test_a_row_minus_itself_is_nothing_and_a_better_one_is_clear() -> None:
    values = np.random.default_rng(0).normal(50, 5, 20)
    weights = draw_weights(20, 500, 0)
    row = Estimate.of_table(weighted_mean([np.array([value]) for value in values], weights))
    better = Estimate.of_table(weighted_mean([np.array([value + 1]) for value in values], weights))
    nothing = row.minus(row)
    assert (nothing.value, nothing.low, nothing.high, nothing.is_clear) == (0, 0, 0, False)
    assert better.overlaps(row) and better.minus(row).is_clear  # paired: clear although the rows' intervals overlap
    assert row.low < row.value < row.high


def test_an_interval_holds_the_mean_as_often_as_it_says() -> None:
    rng, hits = np.random.default_rng(5), 0
    for trial in range(200):
        values = rng.normal(10, 3, 40)
        one = Estimate.of_table(weighted_mean([np.array([value]) for value in values], draw_weights(40, 300, trial)))
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


def test_weights_count_the_drawn_recordings() -> None:
    rows, weights = draw_recordings(5, 20, seed=1), draw_weights(5, 20, seed=1)
    assert [[row.tolist().count(i) for i in range(5)] for row in rows] == weights.tolist()
