# SPDX-License-Identifier: Apache-2.0
"""Kalman filters of constant velocity in any number of dimensions, vectorised over N objects.

A filter's mean (2 D,) holds the position, then the velocity; its covariance is (2 D, 2 D). The units are the caller's:
px and px/s in the image, m and m/s in space. D is taken from the arrays.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Filters = tuple[Floats, Floats]
"""Means (N, 2 D) and covariances (N, 2 D, 2 D)."""
NoiseModel = Callable[[Floats, Floats, int], Floats]
"""(steps (N, 1, 1) s, process noise (…, 1, 1), D) -> (N, 2 D, 2 D), what a step adds to the covariance."""
# Variance of a direction, of the sum of all of a covariance, below which it is rounding: sums and rotations of values
# with 16 digits leave errors of 1e-15 of the largest one. And the smallest variance of all, for those of nothing.
_LEAST_PART, _LEAST = 1e-12, 1e-30
_ROUNDING = 1e-15  # of the sum of all variances before a correction: what rounding leaves of it


def initialize(
    positions: Floats, position_covariances: Floats, velocities: Floats, velocity_sigma: ArrayLike
) -> Filters:
    """Starts the filters of objects that were measured once.

    Args:
        positions: (N, D).
        position_covariances: (N, D, D).
        velocities: (N, D), first guess, per s.
        velocity_sigma: Standard deviation of the guess, one for all or (N,).

    Returns:
        The filters.
    """
    dimensions = positions.shape[1]
    covariances = np.zeros((len(positions), 2 * dimensions, 2 * dimensions))
    covariances[:, :dimensions, :dimensions] = position_covariances
    covariances[:, dimensions:, dimensions:] = _per_object(velocity_sigma) ** 2 * np.eye(dimensions)
    return np.concatenate([positions, velocities], axis=1), covariances


def velocity_random_walk(steps: Floats, process_noise: Floats, dimensions: int) -> Floats:
    """Noise model: the velocity changes by `process_noise` (per s) within a second.

    The change grows with the root of time, so that the result does not depend on the frame rate.
    """
    return process_noise**2 * _blocks(steps**3 / 3, steps**2 / 2, steps, dimensions)


def unknown_acceleration(steps: Floats, process_noise: Floats, dimensions: int) -> Floats:
    """Noise model: during a step, the acceleration is constant with the standard deviation `process_noise` (per s²)."""
    return process_noise**2 * _blocks((steps**2 / 2) ** 2, steps**2 / 2 * steps, steps**2, dimensions)


def predict(
    means: Floats,
    covariances: Floats,
    steps: ArrayLike,
    process_noise: ArrayLike,
    noise_model: NoiseModel = velocity_random_walk,
) -> Filters:
    """Predicts the filters to a later time.

    Args:
        means: (N, 2 D).
        covariances: (N, 2 D, 2 D).
        steps: s, one for all or (N,).
        process_noise: One for all or (N,); its unit and meaning are the noise model's.
        noise_model: `velocity_random_walk` or `unknown_acceleration`.

    Returns:
        The filters after the steps.
    """
    dimensions, times = means.shape[1] // 2, _per_object(steps)
    transitions = np.eye(2 * dimensions) + times * np.eye(2 * dimensions, k=dimensions)
    noise = noise_model(times, _per_object(process_noise), dimensions)
    predicted = (transitions @ means[:, :, None])[:, :, 0]
    return predicted, transitions @ covariances @ np.swapaxes(transitions, 1, 2) + noise


def drift(covariances: Floats, steps: ArrayLike, process_noise: float) -> Floats:
    """Computes how uncertain positions become within a time because velocities are uncertain and change.

    Args:
        covariances: (N, 2 D, 2 D) of filters.
        steps: s, one for all or (N,).
        process_noise: Of `velocity_random_walk`.

    Returns:
        (N, D, D), to be added to the covariance of the position.
    """
    dimensions, times = covariances.shape[1] // 2, _per_object(steps)
    velocity_covariances = covariances[:, dimensions:, dimensions:]
    return times**2 * velocity_covariances + process_noise**2 * times**3 / 3 * np.eye(dimensions)


def correct(means: Floats, covariances: Floats, positions: Floats, position_covariances: Floats) -> Filters:
    """Corrects predicted filters by measured positions.

    Args:
        means: (N, 2 D), predicted.
        covariances: (N, 2 D, 2 D), predicted.
        positions: (N, D), measured.
        position_covariances: (N, D, D) of the measurements.

    Returns:
        The corrected filters.
    """
    dimensions = positions.shape[1]
    gains = gains_of(covariances, position_covariances)
    corrected = means + (gains @ (positions - means[:, :dimensions])[:, :, None])[:, :, 0]
    # Joseph's form: a difference of large covariances would leave negative variances where the measurement is exact.
    kept = np.repeat(np.eye(2 * dimensions)[None], len(means), axis=0)
    kept[:, :, :dimensions] -= gains
    remaining = kept @ covariances @ np.swapaxes(kept, 1, 2) + gains @ position_covariances @ np.swapaxes(gains, 1, 2)
    remaining += _ROUNDING * np.trace(covariances, axis1=1, axis2=2)[:, None, None] * np.eye(2 * dimensions)
    return corrected, (remaining + np.swapaxes(remaining, 1, 2)) / 2


def gains_of(covariances: Floats, position_covariances: Floats) -> Floats:
    """(N, 2 D, D) by which `correct` multiplies what was measured less what was predicted."""
    dimensions = position_covariances.shape[-1]
    innovations = covariances[:, :dimensions, :dimensions] + position_covariances
    return np.asarray(covariances[:, :, :dimensions] @ np.linalg.inv(regular(innovations)))


def correct_or_initialize(
    predicted: Filters,
    initialized: Filters,
    positions: Floats,
    position_covariances: Floats,
    max_squared_distance: float,
) -> Filters:
    """Corrects predicted filters by measured positions, but reinitializes those that are too far from them.

    Args:
        predicted: Filters at the time of the measurement.
        initialized: Filters of the same objects, started with this measurement.
        positions: (N, D), measured.
        position_covariances: (N, D, D) of the measurements.
        max_squared_distance: Squared Mahalanobis distance of measurement and prediction up to which the prediction is
            kept. It is not kept if the distance is not a number.

    Returns:
        The filters after the measurement.
    """
    means, covariances = predicted
    reinitialize = ~are_near(predicted, positions, position_covariances, max_squared_distance)
    means, covariances = correct(means, covariances, positions, position_covariances)
    means[reinitialize], covariances[reinitialize] = initialized[0][reinitialize], initialized[1][reinitialize]
    return means, covariances


def are_near(
    predicted: Filters, positions: Floats, position_covariances: Floats, max_squared_distance: float
) -> NDArray[np.bool_]:
    """(N,) whether `correct_or_initialize` corrects the filters; those of the others start anew."""
    means, covariances = predicted
    dimensions = positions.shape[1]
    innovations = covariances[:, :dimensions, :dimensions] + position_covariances
    differences = positions - means[:, :dimensions]
    return np.asarray(squared_distances(differences, innovations) <= max_squared_distance)


def squared_distances(differences: Floats, covariances: Floats) -> Floats:
    """Squared Mahalanobis distances (…) of differences (…, D) under covariances (…, D, D)."""
    return np.einsum("...i,...ij,...j->...", differences, np.linalg.inv(regular(covariances)), differences)


def regular(covariances: Floats) -> Floats:
    """Makes covariances that can be inverted.

    Args:
        covariances: (…, D, D), positive up to rounding; perhaps singular, or very long and thin.

    Returns:
        The covariances with a floor under the variance of every direction: no direction is known better than to a
        millionth of the standard deviation of the least known one.
    """
    floors = _LEAST_PART * np.trace(covariances, axis1=-2, axis2=-1) + _LEAST
    return np.asarray(covariances + floors[..., None, None] * np.eye(covariances.shape[-1]))


def _per_object(values: ArrayLike) -> Floats:
    """One value or (N,) as (1, 1, 1) or (N, 1, 1), for products with matrices of N objects."""
    return np.asarray(values, np.float64).reshape(-1, 1, 1)


def _blocks(position: Floats, mixed: Floats, velocity: Floats, dimensions: int) -> Floats:
    """(N, 2 D, 2 D) of position and velocity from variances and a covariance (N, 1, 1), the same on all axes."""
    unit = np.eye(dimensions)
    return np.block([[position * unit, mixed * unit], [mixed * unit, velocity * unit]])
