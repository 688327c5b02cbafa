# SPDX-License-Identifier: Apache-2.0
"""How plausible each heading of an object is: a distribution over a grid of headings for each object.

A 2D box tells a heading only up to half a turn, and often two mirrored ones. A prior for vehicles says the rest: most
drive or park along the road, and the road mostly runs along the optical axis.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

HALF = 24  # headings of half a turn
HEADINGS = -np.pi + 2 * np.pi / (2 * HALF) * np.arange(2 * HALF)  # rot_y, rad, of the whole turn
AXIS = -np.pi / 2  # rot_y of an object that faces away from the camera, along its optical axis
_STEP = 2 * np.pi / (2 * HALF)
# Prior of vehicles: the part that stands anywhere, the standard deviation of the others about the road, and the part of
# those that face away from the camera. Measured on the labels of KITTI's tracking training set.
_ANYWHERE, _ROAD_SIGMA, _AWAY = 0.4, np.radians(12.0), 0.6
_MODE_WIDTH = np.radians(16.0)  # of the part of a distribution that belongs to its highest point


def road_prior(axis: float = AXIS) -> Array:
    """(2 HALF,) probabilities of the headings of vehicles on a road that runs along `axis`, rad."""
    away = np.exp(-0.5 * (wrapped(HEADINGS - axis) / _ROAD_SIGMA) ** 2)
    towards = np.roll(away, HALF)
    along = _AWAY * away / away.sum() + (1 - _AWAY) * towards / towards.sum()
    return _ANYWHERE / (2 * HALF) + (1 - _ANYWHERE) * along


def wrapped(angles: Array) -> Array:
    """Angles, rad, in [-pi, pi)."""
    return (angles + np.pi) % (2 * np.pi) - np.pi


def normalized(log_weights: Array) -> Array:
    """(N, H) probabilities of each row."""
    weights = np.exp(log_weights - log_weights.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def modes(weights: Array) -> tuple[Array, Array]:
    """Finds the most plausible headings.

    Args:
        weights: (N, 2 HALF) probabilities of `HEADINGS`.

    Returns:
        (N,) rad: the middle of the highest mode. (N,) rad²: mean square deviation from it over the whole distribution,
        so that a heading that may as well be the opposite one has a large variance.
    """
    best = HEADINGS[weights.argmax(axis=1)] if len(weights) else np.zeros(0)
    differences = wrapped(HEADINGS - best[:, None])
    near = weights * (abs(differences) < _MODE_WIDTH)
    headings = wrapped(best + (near * differences).sum(axis=1) / np.maximum(near.sum(axis=1), 1e-12))
    variances = (weights * wrapped(HEADINGS - headings[:, None]) ** 2).sum(axis=1) + _STEP**2 / 12
    return headings, variances
