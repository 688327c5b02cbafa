# SPDX-License-Identifier: Apache-2.0
"""The ground that objects stand on, for a camera whose height over it is known.

Where an object touches the ground, the slope of the viewing ray below the horizon times the depth is the height of the
camera. The horizon moves as the vehicle pitches and the road bends: all objects of the frame tell where it is, since
their sizes tell their depths too, and a filter follows it over time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.tracking.box_fit import NEAREST, SMALLEST, BoxFits, Edges, correct, equation, positions_of
from centertrack_ros.types import Horizon

Array = NDArray[Any]

FIRST_SIGMA = np.radians(3.0)  # of the horizon of a camera that looks ahead
WALK_SIGMA = np.radians(0.4)  # that the horizon moves by within a second
LEVEL_SIGMA = np.radians(1.0)  # of the horizon where the camera's pitch is known: what is left by ground and mounting
UNEVENNESS = np.radians(0.45)  # of the ground between camera and object
HEIGHT_SIGMA = 0.12  # m, of the height of the camera over the ground at an object: kerbs
_COMMON = 0.05  # relative error of the depths by sizes that all objects of a frame share
_STEPS = 4


def observe_horizon(
    horizon: Horizon,
    stamp: float,
    height: float,
    edges: Edges,
    fits: BoxFits,
    variances: Array,
    first_sigma: float = FIRST_SIGMA,
) -> Horizon:
    """Estimates where the horizon is from the depths of the objects by their sizes.

    Args:
        horizon: Of the previous frame.
        stamp: s, of this frame.
        height: m, of the camera over the ground.
        edges: Of N objects.
        fits: (N, 1) of the objects by their sizes.
        variances: (N,) m² of their depths.
        first_sigma: Standard deviation of the horizon's slope before anything was seen, and the most that it can be.

    Returns:
        That of this frame. An object that does not fit to the others counts little.
    """
    elapsed = 0.0 if horizon.stamp is None else max(stamp - horizon.stamp, 0.0)
    variance = first_sigma**2 if horizon.stamp is None else horizon.variance + WALK_SIGMA**2 * elapsed
    variance = min(variance, first_sigma**2)
    depths, bottoms = fits.states[:, 0, 0], edges.slopes[:, 3]
    drops = (height + abs(bottoms) * _reach(fits)[:, 0]) / depths  # slope of the contact below the horizon
    whole = ~edges.cut.any(axis=1)
    slopes, drops = (bottoms - drops)[whole], drops[whole]
    errors = (drops**2 * variances[whole] / depths[whole] ** 2) + edges.sigmas[whole, 3] ** 2 + UNEVENNESS**2
    if not len(slopes):
        return Horizon(horizon.slope, variance, stamp)
    estimate = horizon.slope
    for _ in range(_STEPS):  # weights of a Student distribution, so that an outlier does not count
        weights = 1 / (errors * (1 + (slopes - estimate) ** 2 / (3 * errors)))
        estimate = (horizon.slope / variance + (weights * slopes).sum()) / (1 / variance + weights.sum())
    shared = (_COMMON * (weights * drops).sum() / weights.sum()) ** 2
    measured = 1 / weights.sum() + shared
    mean = (weights * slopes).sum() / weights.sum()
    gain = variance / (variance + measured)
    return Horizon(float(horizon.slope + gain * (mean - horizon.slope)), float((1 - gain) * variance), stamp)


def with_ground(fits: BoxFits, edges: Edges, height: float, horizon: Horizon) -> BoxFits:
    """Corrects fits (N, H) by where the objects touch the ground, weighed by how well the horizon is known."""
    bottoms = edges.slopes[:, 3, None]
    below = np.broadcast_to(bottoms - horizon.slope, fits.log_likelihoods.shape)
    sigma = np.sqrt(horizon.variance + UNEVENNESS**2 + edges.sigmas[:, 3, None] ** 2)
    touches = ~edges.cut[:, 3, None] & (below > 2 * sigma)
    row = equation(below, np.zeros(below.shape), -abs(bottoms)[..., None] * fits.supports.near)
    depths = np.minimum(fits.states[..., 0], height / np.maximum(below, 1e-3))
    variances = (sigma * depths) ** 2 + HEIGHT_SIGMA**2
    states, covariances, likelihoods = correct(
        fits.states, fits.covariances, row * touches[..., None], height * touches, variances
    )
    states[..., 0] = np.maximum(states[..., 0], NEAREST)
    states[..., 1:] = np.maximum(states[..., 1:], SMALLEST * fits.states[..., 1:])
    return replace(
        fits,
        states=states,
        covariances=covariances,
        log_likelihoods=fits.log_likelihoods + likelihoods,
        positions=positions_of(edges, states, fits.supports),
    )


def _reach(fits: BoxFits) -> Array:
    """(N, H) m from the middles of footprints to their near ends, along the optical axis."""
    return (fits.supports.near * fits.states[..., 2:]).sum(axis=-1)
