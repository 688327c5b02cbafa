# SPDX-License-Identifier: Apache-2.0
"""Whether objects move: their velocities over ground, tested against the covariances of these velocities.

Two hypotheses are tested, each against what would contradict it. An object moves if its speed is significantly above
that of something at rest. It stands if a walking speed in any direction can be ruled out. Where neither can be told it
is unknown. A state that was reached is kept at a weaker level (hysteresis), so that noise does not switch it.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.types import MOTION_MOVING, MOTION_STANDING, MOTION_UNKNOWN

Array = NDArray[np.float64]

RESTING_SPEED = 0.3  # m/s; people who stand sway, and boxes breathe, by as much
WALKING_SPEED = 1.4  # m/s at which adults walk: what is slower than that in all certainty stands
# Quantiles of the normal distribution, one-sided: to reach a state, and to keep it.
_REACH_MOVING, _REACH_STANDING, _KEEP = (NormalDist().inv_cdf(level) for level in (0.99, 0.95, 0.84))


def motion_states(velocities: Array, covariances: Array, previous: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Tests velocities for significance.

    Args:
        velocities: (N, 3) m/s in a fixed frame whose z points up (REP 105); NaN: unknown.
        covariances: (N, 3, 3) (m/s)² of these. Only the horizontal parts are looked at.
        previous: (N,) states in the frame before.

    Returns:
        (N,) of MOTION_UNKNOWN, MOTION_STANDING and MOTION_MOVING.
    """
    horizontal, spread = velocities[:, :2], covariances[:, :2, :2]
    known = np.isfinite(horizontal).all(axis=1) & np.isfinite(spread).all(axis=(1, 2))
    horizontal = np.where(np.reshape(known, (-1, 1)), horizontal, 0.0)
    spread = np.where(np.reshape(known, (-1, 1, 1)), spread, np.eye(2))
    speeds = np.linalg.norm(horizontal, axis=1)
    along = horizontal / np.maximum(speeds, 1e-9)[:, None]
    sigmas = np.sqrt(np.maximum(np.einsum("ni,nij,nj->n", along, spread, along), 0.0))
    largest = np.sqrt(np.maximum(np.linalg.eigvalsh(spread)[:, -1], 0.0))
    moved, stood = previous == MOTION_MOVING, previous == MOTION_STANDING
    moves = speeds - _REACH_MOVING * sigmas > RESTING_SPEED
    stands = speeds + np.where(stood, _KEEP, _REACH_STANDING) * largest < WALKING_SPEED
    still_moves = moved & (speeds - _KEEP * sigmas > RESTING_SPEED)
    states = np.where(moves | still_moves, MOTION_MOVING, np.where(stands, MOTION_STANDING, MOTION_UNKNOWN))
    return np.where(known, states, MOTION_UNKNOWN).astype(np.uint8)
