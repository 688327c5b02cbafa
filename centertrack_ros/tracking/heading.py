# SPDX-License-Identifier: Apache-2.0
"""How plausible each heading of an object is: a distribution over a grid of headings for each object.

A 2D box tells a heading only up to half a turn, and often two mirrored ones. A prior for vehicles says the rest: most
drive or park along the road, and the road mostly runs along the optical axis.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.boxes3d import wrapped

Array = NDArray[Any]

HALF = 24  # headings of half a turn
STEP = 2 * np.pi / (2 * HALF)
HEADINGS = -np.pi + STEP * np.arange(2 * HALF)  # rot_y, rad, of the whole turn
AXIS = -np.pi / 2  # rot_y of an object that faces away from the camera, along its optical axis
# Prior of vehicles: the part that stands anywhere, the standard deviation of the others about the road, and the part of
# those that face away from the camera. Measured on the labels of KITTI's tracking training set.
_ANYWHERE, _ROAD_SIGMA, _AWAY = 0.4, np.radians(12.0), 0.6
_ROAD_S = 5.0  # s within which the vehicles seen before fade
_PRIOR_COUNT = 2.0  # vehicles that the prior without any counts as
_SPEED_SIGMA = 0.6  # m/s, of a velocity over ground: mostly the error of the distance of an object passed by
_DRIVING = 2.5  # m/s from which a vehicle drives
_AGREEMENT = np.radians(40.0)  # between a vehicle's axis and its way
_MODE_WIDTH = np.radians(16.0)  # of the part of a distribution that belongs to its highest point


def _along(axis: float) -> tuple[Array, Array]:
    """(2 HALF,) probabilities of headings along the road: those that face away, and those that face the camera."""
    away = np.exp(-0.5 * (wrapped(HEADINGS - axis) / _ROAD_SIGMA) ** 2)
    away /= away.sum()
    return away, np.roll(away, HALF)


_ALONG = _along(AXIS)
_PRIOR: Array = _ANYWHERE / (2 * HALF) + (1 - _ANYWHERE) * (_AWAY * _ALONG[0] + (1 - _AWAY) * _ALONG[1])


def road_prior(road: Array) -> Array:
    """Computes the prior of the headings of vehicles.

    Args:
        road: (HALF,) how many vehicles have stood in each heading, see `observed_road`; empty: none was seen.

    Returns:
        (2 HALF,) probabilities.
    """
    if not len(road):
        return _PRIOR
    spread = (np.roll(road, 1) + 2 * road + np.roll(road, -1)) / 4
    anywhere = _ANYWHERE / HALF
    half = _PRIOR[:HALF] + _PRIOR[HALF:]
    observed = anywhere + (1 - _ANYWHERE) * spread / max(spread.sum(), 1e-9)
    seen = spread.sum() / (spread.sum() + _PRIOR_COUNT)
    mixed = (1 - seen) * half + seen * observed
    return np.tile(mixed, 2) * _PRIOR / np.tile(half, 2)


def observed_road(road: Array, weights: Array, elapsed: Array) -> Array:
    """Counts the vehicles of a frame to those of the frames before, which fade within `_ROAD_S`.

    Args:
        road: (HALF,) of the previous frame, or empty.
        weights: (N, HALF) probabilities of the headings of the frame's vehicles.
        elapsed: (M,) s since tracks were seen before; the longest counts.

    Returns:
        (HALF,) how many vehicles stood in each heading, on average over time.
    """
    now = weights.sum(axis=0)
    if not len(road):
        return now / 2
    gain = 1 - np.exp(-(elapsed.max() if len(elapsed) else 0.0) / _ROAD_S)
    return (1 - gain) * road + gain * now


def normalized(log_weights: Array) -> Array:
    """(N, H) probabilities of each row."""
    weights = np.exp(log_weights - log_weights.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def turned_by_motion(
    headings: Array, variances: Array, velocities: Array, is_round: NDArray[np.bool_]
) -> tuple[Array, Array]:
    """Turns objects to where they go, if they go fast enough for it to be known.

    A vehicle faces the way it goes, and its box tells its axis better than its velocity does: it is turned round, or
    not. People face where they go.

    Args:
        headings: (N,) rot_y, rad.
        variances: (N,) rad² of those.
        velocities: (N, 3) m/s over ground, optical frame; NaN: unknown.
        is_round: (N,) objects whose boxes do not tell their headings.

    Returns:
        Headings and variances.
    """
    speeds = np.hypot(velocities[:, 0], velocities[:, 2])
    ways = np.arctan2(-velocities[:, 2], velocities[:, 0])
    direct = np.minimum((_SPEED_SIGMA / np.maximum(speeds, 1e-6)) ** 2, variances)
    walks = is_round & (speeds > 2 * _SPEED_SIGMA)
    behind = np.abs(wrapped(headings - ways)) > np.pi / 2
    axes = np.where(behind, wrapped(headings + np.pi), headings)
    drives = ~is_round & (speeds > _DRIVING) & (np.abs(wrapped(axes - ways)) < _AGREEMENT)
    return (
        np.where(walks, ways, np.where(drives, axes, headings)),
        np.where(walks | drives, direct, variances),
    )


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
    variances = (weights * wrapped(HEADINGS - headings[:, None]) ** 2).sum(axis=1) + STEP**2 / 12
    return headings, variances
