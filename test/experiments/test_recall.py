# SPDX-License-Identifier: Apache-2.0
"""What counts as found, missed and false, with boxes whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest

from centertrack_ros.engine import load_engine
from centertrack_ros.types import Detections
from experiments.recall import OVERLAPS, Counts, Row, Seen, count, equal_threshold, hidden, measure, ways_of

NONE = np.zeros((0, 4))


def boxes(*corners: tuple[float, float, float, float], scores: tuple[float, ...] = (), kind: int = 0) -> Detections:
    made = Detections.from_boxes(np.array(corners, np.float64).reshape(-1, 4))
    return replace(
        made,
        scores=np.array(scores or (1.0,) * len(corners), np.float32),
        class_ids=np.full(len(corners), kind, np.int64),
    )


def test_one_box_finds_one_object_and_the_next_on_it_is_false() -> None:
    person = (100.0, 100.0, 140.0, 200.0)
    found = boxes(person, (102, 100, 142, 200), (300, 100, 340, 200), scores=(0.8, 0.7, 0.6))
    seen = Seen(boxes(person, (500, 100, 540, 200)), NONE, found, 0.5)
    assert count(seen, 0, 0.5) == Counts(2, 1, 2)
    assert count(seen, 0, 0.75) == Counts(2, 1, 0)
    assert count(seen, 1, 0.5) == Counts(0, 0, 0), "a box of another class is another matter"


def test_small_boxes_and_what_is_not_annotated_are_no_error() -> None:
    region = np.array([[0.0, 0.0, 300.0, 300.0]])
    found = boxes((10, 10, 40, 90), (400, 100, 420, 139), (400, 100, 440, 190))
    assert count(Seen(boxes(), region, found, 0.5), 0, 0.5) == Counts(0, 0, 1)
    assert count(Seen(boxes((400, 100, 420, 139)), region, found, 0.5), 0, 0.5) == Counts(1, 1, 1)


def test_loose_boxes_need_less_overlap() -> None:
    loose, tight = boxes((100, 100, 160, 200)), boxes((118, 105, 142, 195))
    assert count(Seen(loose, NONE, tight, 0.5), 0, 0.5) == Counts(1, 0, 1)
    assert count(Seen(loose, NONE, tight, 0.25), 0, 0.5) == Counts(1, 1, 0)


def test_a_box_is_hidden_by_the_nearer_ones_only() -> None:
    corners = np.array([[0.0, 0, 100, 100], [50.0, 0, 200, 100], [0.0, 0, 100, 50]])
    distances = np.array([[0.0, 0, 20], [0.0, 0, 10], [0.0, 0, 30]])
    np.testing.assert_allclose(hidden(corners, distances), [0.5, 0.0, 1.0])
    np.testing.assert_allclose(hidden(corners, None), 0.0)


@pytest.mark.slow
def test_a_budget_finds_more_at_no_more_false_boxes(shared_data) -> None:
    if not all((shared_data / name).is_dir() for name in OVERLAPS):
        pytest.skip("needs KITTI, nuScenes, DGP and MOT17")  # the figures are sums over all four
    engine = load_engine(engine="torch", threads=1)
    before, after = measure(shared_data, ways_of(engine, [512 * 512], before=True)).values()
    threshold = engine.profile.thresholds.new
    found = [sum(one.found for one in row.counts(threshold).values()) for row in (before, after)]
    assert found[1] > 1.4 * found[0]
    assert after.false(threshold) <= before.false(threshold) + 1
    equal = after.counts(equal_threshold(after, before.false(threshold)))
    assert sum(one.found for one in equal.values()) > 1.25 * found[0]


def test_the_threshold_at_equal_false_boxes_is_the_lowest_that_allows_no_more() -> None:
    found = boxes((10, 10, 40, 90), (110, 10, 140, 90), (210, 10, 240, 90), scores=(0.3, 0.5, 0.7))
    row = Row({"one": [Seen(boxes(), NONE, found, 0.5)]})
    assert [row.false(score) for score in (0.2, 0.4, 0.6)] == [3, 2, 1]
    assert equal_threshold(row, 2) == pytest.approx(0.3, abs=0.011)
    assert equal_threshold(row, 1) == pytest.approx(0.5, abs=0.011)
