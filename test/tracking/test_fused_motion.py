# SPDX-License-Identifier: Apache-2.0
"""Motion 'fused': displacement and constant velocity by their covariances, gates that follow time and uncertainty."""

import math

import numpy as np
import pytest

from centertrack_ros.geometry.boxes2d import sizes_of
from centertrack_ros.tracking import fused_motion
from centertrack_ros.tracking.config import TrackerConfig
from centertrack_ros.tracking.fused_motion import DisplacementNoise
from centertrack_ros.tracking.lifecycle import start_tracks, update
from centertrack_ros.types import Detections, Tracks

SIZE = 40.0
CONFIG = TrackerConfig(motion="fused", birth="threshold")
SURE, USELESS = DisplacementNoise(1.0, 0.0), DisplacementNoise(math.inf)


def boxes(centers: list[tuple[float, float]], displacements: object = None) -> Detections:
    middles = np.array(centers, np.float32).reshape(-1, 2)
    found = Detections.from_boxes(np.concatenate([middles - SIZE / 2, middles + SIZE / 2], axis=1))
    if displacements is not None:
        found.displacements[:] = displacements
    return found


def step(
    tracks: Tracks, detections: Detections, seconds: float, noise: DisplacementNoise = USELESS, **others
) -> Tracks:
    stamp = float(tracks.last_stamps.max()) + seconds
    return update(tracks, int(tracks.ids.max()) + 1, detections, stamp, seconds, 0.3, CONFIG, noise=noise, **others)[0]


def random_filters(count: int) -> fused_motion.Filters:
    rng = np.random.default_rng(count)
    roots = rng.normal(size=(count, 2, 2)) * 20
    axis = roots @ np.swapaxes(roots, 1, 2) + np.eye(2)
    covariances = np.zeros((count, 4, 4))
    for first in (0, 1):
        covariances[:, first::2, first::2] = axis
    return rng.normal(size=(count, 4)) * 100, covariances


@pytest.mark.parametrize("seconds", [1e-9, 60.0, 3600.0, 1e7])
@pytest.mark.parametrize("size", [2.0, 1e5])
def test_filters_stay_sound_over_steps_of_any_length(seconds, size):
    found = Detections.from_boxes(np.array([[0, 0, size, size]]))
    filters = fused_motion.initialize(found, 0.1, SURE)
    for _ in range(10):
        filters = fused_motion.correct(filters, sizes_of(found.boxes), seconds, found, SURE)
        terms = fused_motion.pair_terms(filters, sizes_of(found.boxes), seconds, found, SURE)
        position, velocity = filters[1][0, 0, 0], filters[1][0, 2, 2]
        assert 0 <= position < size**2 and 0 <= velocity < 1e6 * size**2
        assert np.isfinite(filters[0]).all() and np.isfinite(terms.log_determinants).all() and terms.squares >= 0


@pytest.mark.parametrize("seconds", [1 / 30, 0.5])
def test_corrections_are_those_of_a_filter_over_both_images(seconds):
    """One axis at a time: the state (x0, x1, v), measured as z = x1 and d = x0 - x1."""
    means, covariances = random_filters(4)
    rng = np.random.default_rng(9)
    detections = boxes(rng.normal(size=(4, 2)) * 100, rng.normal(size=(4, 2)) * 10)
    noise, sizes = DisplacementNoise(5.0, 0.3), np.full(4, SIZE)
    got = fused_motion.correct((means, covariances), sizes, seconds, detections, noise)
    terms = fused_motion.pair_terms((means, covariances), sizes, seconds, detections, noise)
    transition = np.array([[1, 0], [1, seconds], [0, 1]])
    walk = (fused_motion.VELOCITY_NOISE * SIZE) ** 2
    process = np.zeros((3, 3))
    process[1:, 1:] = walk * np.array([[seconds**3 / 3, seconds**2 / 2], [seconds**2 / 2, seconds]])
    measured = np.array([[0, 1, 0], [1, -1, 0]])
    for row in range(4):
        shift = detections.displacements[row].astype(float)
        errors = np.diag([(fused_motion.CENTER_NOISE * SIZE) ** 2, 25 + 0.09 * (shift**2).sum()])
        square = disagreement = 0.0
        for axis in (0, 1):
            mean = transition @ means[row, axis::2]
            covariance = transition @ covariances[row][axis::2, axis::2] @ transition.T + process
            innovation = np.array([detections.centers[row, axis], shift[axis]]) - measured @ mean
            total = measured @ covariance @ measured.T + errors
            gain = covariance @ measured.T @ np.linalg.inv(total)
            np.testing.assert_allclose(got[0][row, axis::2], (mean + gain @ innovation)[1:], rtol=1e-6)
            left = covariance - gain @ measured @ covariance
            np.testing.assert_allclose(got[1][row][axis::2, axis::2], left[1:, 1:], rtol=1e-6)
            square += innovation @ np.linalg.inv(total) @ innovation
            disagreement += innovation[1] ** 2 / total[1, 1]
        assert terms.disagreements[row, row] == pytest.approx(disagreement)
        assert terms.squares[row, row] + disagreement == pytest.approx(square)  # chain rule


def test_a_displacement_that_says_nothing_leaves_constant_velocity():
    filters, sizes = random_filters(3), np.full(3, SIZE)
    wild = boxes([(5, 5), (9, 9), (1, 1)], [[400.0, -300.0]])
    calm = boxes([(5, 5), (9, 9), (1, 1)])
    for one, other in zip(
        fused_motion.correct(filters, sizes, 0.1, wild, USELESS),
        fused_motion.correct(filters, sizes, 0.1, calm, USELESS),
        strict=True,
    ):
        np.testing.assert_allclose(one, other)
    terms = fused_motion.pair_terms(filters, sizes, 0.1, wild, USELESS)
    expected = fused_motion.predict(filters, sizes, 0.1)[0][:, :2]
    np.testing.assert_allclose(terms.distances, ((wild.centers[:, None] - expected[None]) ** 2).sum(2))


def test_a_sure_displacement_tells_the_velocity_of_a_new_track():
    detections = boxes([(100, 100)], [[-6.0, 2.0]])
    means, covariances = fused_motion.initialize(detections, 0.1, SURE)
    assert means[0, 2:] == pytest.approx([60.0, -20.0], rel=0.05)
    unknown = fused_motion.initialize(detections, 0.1, USELESS)
    assert unknown[0][0, 2:] == pytest.approx([0.0, 0.0]) and unknown[1][0, 2, 2] > 10 * covariances[0, 2, 2]


@pytest.mark.parametrize(("seconds", "same"), [(1 / 30, False), (0.5, True)])
def test_the_gate_grows_with_the_time_step(seconds, same):
    """Half a box's side is a leap to another object in a thirtieth of a second, and a walk in half a second."""
    tracks = start_tracks(boxes([(100, 100)]), 1, 0.0)
    tracks = step(tracks, boxes([(100 + SIZE / 2, 100)]), seconds)
    assert (tracks.ids[tracks.hits > 0].tolist() == [1]) == same


def test_a_lost_track_is_searched_a_little_farther_every_frame():
    def found_after(frames: int, distance: float) -> bool:
        tracks = start_tracks(boxes([(100, 100)]), 1, 0.0)
        for _ in range(8):  # it stands still for a while
            tracks = step(tracks, boxes([(100, 100)]), 1 / 30)
        for _ in range(frames):
            tracks, _ = update(tracks, 2, boxes([]), 1.0, 1 / 30, 0.3, CONFIG)
        return 1 in step(tracks, boxes([(100 + distance, 100)]), 1 / 30).ids[:1].tolist()

    assert [found_after(frames, SIZE / 2) for frames in (0, 2, 20, 40)] == [False, False, True, True]
    assert not found_after(40, 1.2 * SIZE)  # never beyond the official gate


def test_objects_that_move_fast_are_kept_by_their_displacements():
    tracks = start_tracks(boxes([(100, 100)]), 1, 0.0)
    for index in range(1, 6):
        tracks = step(tracks, boxes([(100 + 30.0 * index, 100)], [[-30.0, 0.0]]), 1 / 30, DisplacementNoise(2.0, 0.1))
    assert tracks.ids.tolist() == [1] and tracks.image_velocities[0] == pytest.approx([900, 0], rel=0.1)


def test_two_that_cross_keep_their_ids_by_their_velocities():
    def at(index: int) -> list[tuple[float, float]]:
        return [(100 + 4.0 * index, 100), (180 - 4.0 * index, 104)]

    tracks = start_tracks(boxes(at(0)), 1, 0.0)
    for index in range(1, 21):
        order = [0, 1] if index % 2 else [1, 0]
        tracks = step(tracks, boxes([at(index)[row] for row in order]), 1 / 30)
    found = dict(zip(tracks.ids.tolist(), tracks.detections.centers[:, 0].tolist(), strict=True))
    assert found == {1: pytest.approx(180), 2: pytest.approx(100)}


def test_classes_that_may_be_one_object_continue_each_others_tracks():
    tracks = start_tracks(boxes([(100, 100)]), 1, 0.0)
    seen = boxes([(100, 100)])
    seen.class_ids[:] = 2
    matches = np.eye(3, dtype=bool)
    assert step(tracks, seen, 0.1, class_matches=matches).ids[:1].tolist() == [2]
    matches[0, 2] = matches[2, 0] = True
    assert step(tracks, seen, 0.1, class_matches=matches).ids.tolist() == [1]


def test_sizes_are_the_root_of_the_area():
    assert sizes_of(np.array([[0, 0, 4, 9], [3, 3, 3, 3]])).tolist() == [6.0, 1.0]
