# SPDX-License-Identifier: Apache-2.0
"""Kalman filters of constant velocity in 3D, vectorised over N objects.

means (N, 6): position m, velocity m/s; covariances (N, 6, 6)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Filters = tuple[NDArray[np.float64], NDArray[np.float64]]


def begin(
    positions: NDArray[np.float64],
    position_covariances: NDArray[np.float64],
    velocities: NDArray[np.float64],
    velocity_sigma: float,
) -> Filters:
    """Filters of objects seen once at (N, 3) m, with velocities (N, 3) m/s that are uncertain by `velocity_sigma`."""
    covariances = np.zeros((len(positions), 6, 6))
    covariances[:, :3, :3] = position_covariances
    covariances[:, 3:, 3:] = velocity_sigma**2 * np.eye(3)
    return np.concatenate([positions, velocities], axis=1), covariances


def predict(
    means: NDArray[np.float64], covariances: NDArray[np.float64], steps: NDArray[np.float64], process_noise: float
) -> Filters:
    """The filters `steps` (N,) s later.

    process_noise  m/s that a velocity may change within a second; grows with the root of time, at any rate of steps
    """
    times = np.asarray(steps, np.float64)[:, None, None]
    moves = np.eye(6) + times * np.eye(6, k=3)
    blocks = [[times**3 / 3, times**2 / 2], [times**2 / 2, times]]
    noise = process_noise**2 * np.block([[block * np.eye(3) for block in row] for row in blocks])
    moved = (moves @ means[:, :, None])[:, :, 0]
    return moved, moves @ covariances @ np.swapaxes(moves, 1, 2) + noise


def drifts(covariances: NDArray[np.float64], steps: NDArray[np.float64], process_noise: float) -> NDArray[np.float64]:
    """(N, 3, 3) m²: how unsure positions become within `steps` (N,) s because velocities are, and change."""
    times = np.asarray(steps, np.float64)[:, None, None]
    return times**2 * covariances[:, 3:, 3:] + process_noise**2 * times**3 / 3 * np.eye(3)


def correct(
    means: NDArray[np.float64],
    covariances: NDArray[np.float64],
    positions: NDArray[np.float64],
    position_covariances: NDArray[np.float64],
) -> Filters:
    """The filters after positions (N, 3) m were measured with covariances (N, 3, 3) m²."""
    gains = covariances[:, :, :3] @ np.linalg.inv(covariances[:, :3, :3] + position_covariances)
    corrected = means + (gains @ (positions - means[:, :3])[:, :, None])[:, :, 0]
    spread = covariances - gains @ covariances[:, :3, :]
    return corrected, (spread + np.swapaxes(spread, 1, 2)) / 2


def correct_or_begin(
    predicted: Filters,
    begun: Filters,
    positions: NDArray[np.float64],
    position_covariances: NDArray[np.float64],
    most: float,
) -> Filters:
    """The `predicted` filters after positions (N, 3) m were measured; `begun`, those that begin with these, instead
    where the squared Mahalanobis distance of the two is not `most` at most.
    """
    means, covariances = predicted
    spreads = covariances[:, :3, :3] + position_covariances
    anew = ~(squared_distances(positions - means[:, :3], spreads) <= most)
    means, covariances = correct(means, covariances, positions, position_covariances)
    means[anew], covariances[anew] = begun[0][anew], begun[1][anew]
    return means, covariances


def squared_distances(differences: NDArray[np.float64], spreads: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared Mahalanobis distances (...) of differences (..., 3) m under covariances (..., 3, 3) m²."""
    return np.einsum("...i,...ij,...j->...", differences, np.linalg.inv(spreads), differences)
