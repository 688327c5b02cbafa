# SPDX-License-Identifier: Apache-2.0
"""Properties of association: each method against the plain statement of what it does."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from centertrack_ros.geometry.boxes2d import find_duplicates, iou
from centertrack_ros.tracking.association import (
    COSTS,
    FORBIDDEN,
    METHODS,
    Gate,
    confirm_by_public,
    distance_costs,
    greedy,
    hungarian,
    in_stages,
    overlap_costs,
    register_cost,
)
from centertrack_ros.tracking.config import TrackerConfig

shapes = st.tuples(st.integers(0, 6), st.integers(0, 6))
# Small whole costs, so that equal ones are common, and some forbidden pairs.
costs = shapes.flatmap(
    lambda shape: st.tuples(
        arrays(np.float64, shape, elements=st.integers(0, 9).map(float)),
        arrays(np.bool_, shape, elements=st.booleans()),
    ).map(lambda pair: pair[0] + FORBIDDEN * pair[1])
)


@given(costs)
def test_greedy_assigns_each_detection_in_order_the_cheapest_free_track(matrix):
    left, expected = matrix.copy(), []
    for row in range(matrix.shape[0] if matrix.shape[1] else 0):
        column = int(left[row].argmin())
        if left[row, column] < 1e16:
            expected.append((row, column))
            left[:, column] = FORBIDDEN
    result = greedy(matrix)
    assert list(zip(result.detections.tolist(), result.tracks.tolist(), strict=True)) == expected


@given(costs)
def test_hungarian_finds_the_assignment_of_least_cost(matrix):
    result = hungarian(matrix)
    capped = np.minimum(matrix, FORBIDDEN)
    rows, columns = matrix.shape
    if rows > columns:
        choices = [list(zip(p, range(columns), strict=True)) for p in permutations(range(rows), columns)]
    else:
        choices = [list(zip(range(rows), p, strict=True)) for p in permutations(range(columns), rows)]

    def total(pairs):  # as few forbidden pairs as possible, then the least cost of the others
        values = [capped[pair] for pair in pairs]
        return sum(value >= FORBIDDEN for value in values), sum(value for value in values if value < FORBIDDEN)

    assert len(result.detections) == min(rows, columns) - min(total(pairs)[0] for pairs in choices)
    cost = sum(matrix[pair] for pair in zip(result.detections, result.tracks, strict=True))
    assert cost == min(total(pairs) for pairs in choices)[1]
    assert all(matrix[row, column] < FORBIDDEN for row, column in zip(result.detections, result.tracks, strict=True))


@given(arrays(np.float64, (4, 5), elements=st.integers(0, 9).map(float)))
def test_hungarian_never_costs_more_than_greedy_when_all_is_allowed(matrix):
    def total(result):
        return matrix[result.detections, result.tracks].sum()

    assert total(hungarian(matrix)) <= total(greedy(matrix))
    assert total(hungarian(matrix)) == min(
        sum(matrix[row, p[row]] for row in range(4)) for p in permutations(range(5), 4)
    )


def test_forbidden_pairs_do_not_swallow_small_differences():
    matrix = np.array([[1.0, 2.0, FORBIDDEN], [2.0, 2.5, FORBIDDEN], [FORBIDDEN, FORBIDDEN, FORBIDDEN]])
    for low in (0.0, -1e4, 1e6):  # also of costs that are negative
        result = hungarian(np.where(matrix < FORBIDDEN, matrix + low, FORBIDDEN))
        assert (result.detections.tolist(), result.tracks.tolist()) == ([0, 1], [0, 1])


@given(costs, st.sampled_from(sorted(METHODS)))
def test_everything_is_either_matched_once_or_free(matrix, method):
    result = METHODS[method](matrix)
    for matched, free, count in (
        (result.detections, result.free_detections, matrix.shape[0]),
        (result.tracks, result.free_tracks, matrix.shape[1]),
    ):
        assert sorted([*matched.tolist(), *free.tolist()]) == list(range(count))
    assert result.detections.tolist() == sorted(result.detections.tolist())


@given(costs, st.sampled_from(sorted(METHODS)), st.data())
def test_in_stages_the_first_tracks_are_assigned_as_if_there_were_no_others(matrix, method, data):
    first = np.array(data.draw(st.lists(st.booleans(), min_size=matrix.shape[1], max_size=matrix.shape[1])), bool)
    result = in_stages(matrix, first, method)
    alone = METHODS[method](matrix[:, first])
    pairs = set(zip(result.detections.tolist(), result.tracks.tolist(), strict=True))
    early = set(zip(alone.detections.tolist(), np.flatnonzero(first)[alone.tracks].tolist(), strict=True))
    assert early <= pairs
    assert all(not first[column] for _, column in pairs - early)
    assert sorted([*result.tracks.tolist(), *result.free_tracks.tolist()]) == list(range(matrix.shape[1]))


@st.composite
def scenes(draw):
    def boxes():
        rows = draw(st.lists(st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 40)] * 2), min_size=1, max_size=6))
        return np.array([(x, y, x + w, y + h) for x, y, w, h in rows], np.float32)

    seen, tracked = boxes(), boxes()
    classes = st.integers(0, 1)
    seen_classes = np.array([draw(classes) for _ in seen])
    tracked_classes = np.array([draw(classes) for _ in tracked])
    return seen, seen_classes, tracked, tracked_classes


def middles(boxes):
    return (boxes[:, :2] + boxes[:, 2:]) / 2


@given(scenes(), st.floats(0.5, 3))
def test_a_pair_is_allowed_up_to_the_area_of_both_boxes_and_in_one_class(scene, scale):
    seen, seen_classes, tracked, tracked_classes = scene
    matrix = distance_costs(
        middles(seen), seen, seen_classes, middles(tracked), tracked, tracked_classes, Gate(gate_scale=scale)
    )
    for row, box in enumerate(seen):
        for column, other in enumerate(tracked):
            distance = float(((middles(seen)[row] - middles(tracked)[column]) ** 2).sum())
            areas = [float((b[2] - b[0]) * (b[3] - b[1])) for b in (box, other)]
            allowed = seen_classes[row] == tracked_classes[column] and distance <= scale * min(areas)
            assert (matrix[row, column] < FORBIDDEN) == allowed
            if allowed:
                assert matrix[row, column] == distance


@given(scenes())
def test_overlap_costs_are_one_minus_the_overlap(scene):
    seen, seen_classes, tracked, tracked_classes = scene
    matrix = overlap_costs(middles(seen), seen, seen_classes, middles(tracked), tracked, tracked_classes)
    expected = iou(seen, tracked)
    allowed = (expected > 0) & (seen_classes[:, None] == tracked_classes[None])
    np.testing.assert_array_equal(matrix < FORBIDDEN, allowed)
    np.testing.assert_allclose(matrix[allowed], 1 - expected[allowed], atol=1e-5)


@given(scenes(), st.floats(1.1, 5), st.floats(0.05, 0.9))
def test_further_gates_only_forbid(scene, ratio, overlap):
    seen, seen_classes, tracked, tracked_classes = scene
    values = (middles(seen), seen, seen_classes, middles(tracked), tracked, tracked_classes)
    free, gated = distance_costs(*values), distance_costs(*values, Gate(min_iou=overlap, max_size_ratio=ratio))
    sizes = (seen[:, 2:] - seen[:, :2]).prod(1)[:, None] / (tracked[:, 2:] - tracked[:, :2]).prod(1)[None]
    allowed = (iou(seen, tracked) >= overlap) & (sizes <= ratio) & (sizes >= 1 / ratio)
    np.testing.assert_array_equal(gated < FORBIDDEN, (free < FORBIDDEN) & allowed)


@given(scenes(), st.data())
def test_a_public_detection_confirms_the_nearest_free_one_within_its_size(scene, data):
    seen, _, public_boxes, _ = scene
    free = np.flatnonzero(data.draw(st.lists(st.booleans(), min_size=len(seen), max_size=len(seen))))
    left, expected = set(free.tolist()), []
    for point in middles(public_boxes):
        distances = {row: float(((middles(seen)[row] - point) ** 2).sum()) for row in sorted(left)}
        best = min(distances, key=distances.__getitem__, default=None)
        if best is not None and distances[best] < (seen[best, 2:] - seen[best, :2]).prod():
            expected.append(best)
            left.remove(best)
    assert confirm_by_public(middles(seen), seen, free, middles(public_boxes)).tolist() == expected


@given(scenes(), st.floats(0.1, 0.9))
def test_of_duplicates_only_the_strongest_stays(scene, limit):
    seen, classes, _, _ = scene
    keep = find_duplicates(seen, classes, limit) == np.arange(len(seen))
    overlaps = iou(seen, seen)
    for row in range(len(seen)):
        stronger = [other for other in range(row) if keep[other] and classes[other] == classes[row]]
        assert keep[row] == all(overlaps[row, other] <= limit for other in stronger)


@given(scenes(), st.floats(0.1, 0.9), st.floats(0.1, 0.9))
def test_duplicates_belong_to_the_strongest_box_that_stays_of_a_class_that_can_be_the_same(scene, limit, across):
    seen, classes, _, _ = scene
    same = np.eye(int(classes.max(initial=0)) + 1, dtype=bool)
    same[:2, :2] = True
    owners = find_duplicates(seen, classes, limit, same, across)
    overlaps = iou(seen, seen) - np.where(np.equal.outer(classes, classes), limit, across)
    for row, owner in enumerate(owners):
        stay = [o for o in range(row) if owners[o] == o and same[classes[o], classes[row]] and overlaps[row, o] > 0]
        assert owner == (stay[0] if stay else row)


@settings(max_examples=5)
@given(st.integers(0, 2**32 - 1))
def test_greedy_and_hungarian_agree_on_well_separated_objects(seed):
    rng = np.random.default_rng(seed)
    centers = np.stack(np.meshgrid(np.arange(8), np.arange(6)), -1).reshape(-1, 2) * 100.0
    order = rng.permutation(len(centers))
    boxes = np.concatenate([centers - 20, centers + 20], axis=1)
    moved = (centers + rng.uniform(-5, 5, centers.shape))[order]
    zeros = np.zeros(len(centers), int)
    matrix = distance_costs(moved, boxes[order], zeros, centers, boxes, zeros)
    for method in METHODS.values():
        assert method(matrix).tracks.tolist() == order.tolist()


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_nothing_to_match_leaves_all_free(method, shape):
    result = METHODS[method](np.zeros(shape))
    assert len(result.detections) == 0
    assert (len(result.free_detections), len(result.free_tracks)) == shape


@pytest.fixture
def restored_costs():
    """Takes the costs that a test registers out of the registry again."""
    before = dict(COSTS)
    yield
    COSTS.clear()
    COSTS.update(before)


@pytest.mark.usefixtures("restored_costs")
def test_a_registered_cost_is_taken_by_its_name():
    with pytest.raises(ValueError, match="cost must be one of"):
        TrackerConfig(cost="nearest")
    assert register_cost("nearest")(distance_costs) is distance_costs
    assert TrackerConfig(cost="nearest").cost == "nearest"
    with pytest.raises(ValueError, match="'nearest' already"):
        register_cost("nearest")(overlap_costs)
