# SPDX-License-Identifier: Apache-2.0
"""Kalman filters of constant velocity in any number of dimensions."""

import cv2
import numpy as np
import pytest

from centertrack_ros.tracking import kalman

DIMENSIONS = pytest.mark.parametrize("dimensions", [1, 2, 3])


def random_filters(dimensions: int, count: int = 5) -> tuple[kalman.Filters, np.random.Generator]:
    rng = np.random.default_rng(dimensions)
    roots = rng.normal(size=(count, 2 * dimensions, 2 * dimensions))
    covariances = roots @ np.swapaxes(roots, 1, 2) + np.eye(2 * dimensions)
    return (rng.normal(size=(count, 2 * dimensions)), covariances), rng


@DIMENSIONS
@pytest.mark.parametrize("noise_model", [kalman.velocity_random_walk, kalman.unknown_acceleration])
def test_predictions_and_corrections_agree_with_opencv(dimensions, noise_model):
    filters, rng = random_filters(dimensions)
    positions, noise = rng.normal(size=(5, dimensions)), rng.uniform(0.5, 2, 5)
    measured = rng.uniform(0.5, 2, 5)[:, None, None] * np.eye(dimensions)
    predicted = kalman.predict(*filters, 0.3, noise, noise_model)
    corrected = kalman.correct(*predicted, positions, measured)
    for row in range(5):
        reference = cv2.KalmanFilter(2 * dimensions, dimensions, 0, cv2.CV_64F)
        reference.transitionMatrix = np.eye(2 * dimensions) + 0.3 * np.eye(2 * dimensions, k=dimensions)
        reference.measurementMatrix = np.eye(dimensions, 2 * dimensions)
        reference.measurementNoiseCov = measured[row]
        reference.processNoiseCov = noise_model(np.full((1, 1, 1), 0.3), np.full((1, 1, 1), noise[row]), dimensions)[0]
        reference.statePost, reference.errorCovPost = filters[0][row, :, None].copy(), filters[1][row].copy()
        np.testing.assert_allclose(predicted[0][row], reference.predict()[:, 0], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(predicted[1][row], reference.errorCovPre, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(
            corrected[0][row], reference.correct(positions[row, :, None].copy())[:, 0], rtol=1e-9, atol=1e-12
        )
        np.testing.assert_allclose(corrected[1][row], reference.errorCovPost, rtol=1e-9, atol=1e-9)


@DIMENSIONS
def test_the_random_walk_does_not_depend_on_the_rate_of_steps(dimensions):
    filters, _ = random_filters(dimensions)
    once, often = kalman.predict(*filters, 1.0, 0.7), filters
    for _ in range(10):
        often = kalman.predict(*often, 0.1, 0.7)
    for one, other in zip(once, often, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


@DIMENSIONS
def test_drift_is_what_the_velocity_adds_to_the_position(dimensions):
    start = kalman.initialize(
        np.zeros((2, dimensions)), np.tile(np.eye(dimensions), (2, 1, 1)), np.ones((2, dimensions)), [1.0, 3.0]
    )
    steps = np.array([0.5, 2.0])
    _, covariances = kalman.predict(*start, steps, 0.4)
    np.testing.assert_allclose(
        covariances[:, :dimensions, :dimensions], np.eye(dimensions) + kalman.drift(start[1], steps, 0.4)
    )


def test_a_filter_far_from_its_measurement_is_reinitialized():
    predicted = kalman.initialize(np.zeros((3, 2)), np.tile(np.eye(2), (3, 1, 1)), np.zeros((3, 2)), 1.0)
    positions = np.array([[1.0, 0.0], [50.0, 0.0], [np.nan, 0.0]])
    measured = np.tile(np.eye(2), (3, 1, 1))
    again = kalman.initialize(positions, measured, np.zeros((3, 2)), 5.0)
    means, covariances = kalman.correct_or_initialize(predicted, again, positions, measured, 9.0)
    np.testing.assert_allclose(means[0], [0.5, 0, 0, 0])
    np.testing.assert_array_equal(means[1:], again[0][1:])
    np.testing.assert_array_equal(covariances[1:], again[1][1:])
