# SPDX-License-Identifier: Apache-2.0
"""What slowly drifting errors of distances do to the velocities of filters that take errors as independent.

The distance of an object by its size, by a network or by a badly calibrated sensor is wrong by nearly the same part in
the next image: its error drifts. To a filter that looks like motion along the viewing ray. Here the drift is a number n
for each object with variance 1, which is forgotten with the time constant `DRIFT_S`; a position is wrong by n standard
deviations along its ray. The filter's gains tell how much of n is in its position and velocity: their moments together
with n are kept, and come on top of the filter's own covariance. The filter itself stays as it is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# s. Distances by size of the tracks of KITTI's labels: the logarithm of a car's has an error of 0.116, which changes
# by 0.032 within 0.5 s, 0.050 within 1 s and 0.063 within 2 s; those of people and cyclists change less.
DRIFT_S = 10.0
_POSITION, _VELOCITY, _DRIFT = [0, 1, 2], [3, 4, 5], [6, 7, 8]


def started(errors: Array) -> Array:
    """(N, 9, 9) of filters that start at one position, which is wrong by `errors` (N, 3, 3) times n (3,)."""
    per_drift = np.concatenate([errors, np.zeros_like(errors), np.broadcast_to(np.eye(3), errors.shape)], axis=1)
    return np.asarray(per_drift @ np.swapaxes(per_drift, 1, 2))


def errors_of(covariances: Array) -> Array:
    """(N, 3, 3) by which positions with these covariances (N, 3, 3) are wrong, times n (3,): their symmetric roots.

    Of small changes of a covariance these change little, and they turn with the axes.
    """
    values, axes = np.linalg.eigh(covariances)
    return np.asarray((axes * np.sqrt(np.maximum(values, 0.0))[:, None, :]) @ np.swapaxes(axes, 1, 2))


def continued(drifts: Array, steps: Array, gains: Array, errors: Array) -> Array:
    """The moments after a prediction and a correction of the filters.

    Args:
        drifts: (N, 9, 9) before.
        steps: (N,) s of the prediction, of a constant velocity.
        gains: (N, 6, 3) of the correction.
        errors: (N, 3, 3) by which the measured position is wrong, times n.

    Returns:
        (N, 9, 9) of position, velocity and n.
    """
    kept = np.exp(-steps / DRIFT_S)[:, None]
    moved = np.tile(np.eye(9), (len(drifts), 1, 1))
    moved[:, _POSITION, _VELOCITY] = steps[:, None]
    moved[:, _DRIFT, _DRIFT] = kept
    before = moved @ drifts @ np.swapaxes(moved, 1, 2)
    before[:, _DRIFT, _DRIFT] += 1 - kept**2
    corrected = np.tile(np.eye(9), (len(drifts), 1, 1))
    corrected[:, :6, :3] -= gains
    corrected[:, :6, 6:] = gains @ errors
    return np.asarray(corrected @ before @ np.swapaxes(corrected, 1, 2))


def of_velocities(drifts: Array) -> Array:
    """(N, 3, 3) what the drift adds to the covariances of the velocities."""
    return drifts[:, 3:6, 3:6]
