# SPDX-License-Identifier: Apache-2.0
"""Corrects fits of 3D boxes by the surfaces that a sensor sees: distance, size and heading together.

A sensor sees the sides of a box that face it. With the heading given, the ray of a strip enters the footprint through
the end of its length or the side of its width, at a depth that is linear in the depth of the box's middle and in its
width or length: of both, the later one. The mean over the strips is one more equation for the fit; what is left in
single strips tells how plausible the heading is, as two sides of a vehicle that are seen make an L.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.tracking.box_fit import NEAREST, SMALLEST, BoxFits, Edges, correct, equation, positions_of
from centertrack_ros.tracking.sensor_depth import Surfaces

Array = NDArray[Any]
Mask = NDArray[np.bool_]

# How far the surface that is seen of an object reaches from its middle to the sides of its box, and the standard
# deviation of that. Chests are half as deep as swinging arms and legs reach; of two-wheelers mostly the rider is seen.
_FILLS = {
    "person": (0.4, 0.2),
    "pedestrian": (0.4, 0.2),
    "cyclist": (0.5, 0.25),
    "rider": (0.5, 0.25),
    "bicycle": (0.5, 0.25),
    "motorcycle": (0.6, 0.25),
    "traffic cone": (0.5, 0.2),
    "fire hydrant": (0.7, 0.2),
}
_FULL = (0.97, 0.04)  # vehicles, and all other classes
_SURFACE_SIGMA, _SURFACE_PART = 0.12, 0.01  # m, and part of the depth: of a strip, about the side of a box
_LEAST_SIGMA = 0.06  # m, of a strip, however smooth the surface is
_SENSOR_PART = 0.003  # of the depth: of all strips together, since a sensor and its pose are calibrated so well
_ALIKE = 3.0  # neighbouring strips whose errors are one


@dataclass(frozen=True)
class Fills:
    """How much of their boxes N objects fill.

    Attributes:
        parts: (N,) of the half sides.
        sigmas: (N,) their standard deviations.
    """

    parts: Array
    sigmas: Array

    def select(self, rows: Array) -> Fills:
        """Those of some objects, or of objects by their classes."""
        return Fills(self.parts[rows], self.sigmas[rows])


def fills_of(class_names: Sequence[str]) -> Fills:
    """Those of classes, in their order."""
    values = np.array([_FILLS.get(name.strip().lower().replace("_", " "), _FULL) for name in class_names])
    return Fills(*values.reshape(-1, 2).T)


def with_surfaces(
    fits: BoxFits,
    edges: Edges,
    headings: Array,
    is_round: Mask,
    fills: Fills,
    surfaces: Iterable[Surfaces],
    otherwise: int,
) -> tuple[BoxFits, Array, Array]:
    """Corrects the fit of each object by the surface that the best sensor sees.

    What a surface leaves open is the same for all sensors: how the object fills its box, and which side is which. To
    correct by a second one as well would count it twice.

    Args:
        fits: (N, H), as all that follow for `with_surface`.
        edges: Of the 2D boxes.
        headings: (N, H) rot_y, rad.
        is_round: (N,) objects that look as wide from everywhere.
        fills: Of the objects.
        surfaces: Theirs, of each sensor.
        otherwise: The LIFT_* of objects that no sensor sees.

    Returns:
        The fits; (N,) m² of the best sensor's noise, inf without one; and (N,) float32 of LIFT_*, by that sensor.
    """
    noise, lifts = np.full(len(headings), np.inf), np.full(len(headings), otherwise, np.float32)
    best = fits
    for one in surfaces:
        corrected, own = with_surface(fits, edges, headings, is_round, fills, one)
        better = np.flatnonzero(own < noise)
        best = best.with_rows(better, corrected.select(better)) if len(better) < len(own) else corrected
        lifts[better], noise[better] = one.source, own[better]
    return best, noise, lifts


def with_surface(
    fits: BoxFits, edges: Edges, headings: Array, is_round: Mask, fills: Fills, surfaces: Surfaces
) -> tuple[BoxFits, Array]:
    """Corrects fits by the surfaces of one sensor.

    Args:
        fits: (N, H).
        edges: Of the 2D boxes.
        headings: (N, H) rot_y, rad.
        is_round: (N,) objects that look as wide from everywhere.
        fills: Of the objects.
        surfaces: Theirs; objects without one keep their fits.

    Returns:
        The fits, and (N,) m², the part of the variances of the measured depths that another frame would not repeat;
        inf without a surface.
    """
    rays = _rays(fits, headings, fills.parts, surfaces.slopes)
    guess = _moved(fits, rays, is_round, fills.parts, surfaces.depths)
    entries, *coefficients = _entries(rays, guess, is_round, fills.parts)
    measured = surfaces.depths[:, None, :]
    depths = np.broadcast_to(np.nan_to_num(measured), entries.shape)
    reach = 0.5 * np.hypot(guess[..., 2], guess[..., 3])[..., None]
    usable = np.isfinite(measured) & (entries <= guess[..., :1] + reach)
    residuals = np.where(usable, depths - entries, 0.0)
    sigma = np.hypot(_SURFACE_SIGMA, _SURFACE_PART * depths[:, :1])
    weights = usable.astype(np.float64)
    for _ in range(2):  # of a Student distribution: strips of something else do not count
        total = np.maximum(weights.sum(axis=-1, keepdims=True), 1e-9)
        mean = (weights * residuals).sum(axis=-1, keepdims=True) / total
        deviations = (residuals - mean) / sigma
        weights = usable / (1 + deviations**2 / 3)
    states, covariances, likelihoods = fits.states, fits.covariances, fits.log_likelihoods
    noises = np.zeros(states.shape[:2])
    # The left and the right half on their own: they may see an end and a side.
    of_halves = weights.reshape(*weights.shape[:2], 2, -1)
    totals = of_halves.sum(axis=-1)
    shares = of_halves / np.maximum(totals, 1e-9)[..., None]

    def means(values: Array) -> Array:
        return np.einsum("nhfk,nhfk->fnh", shares, values.reshape(shares.shape))

    by_depths, per_widths, per_lengths = (means(values) for values in coefficients)
    targets, spreads = means(depths), means((residuals - mean) ** 2) + _LEAST_SIGMA**2
    totals = totals.transpose(2, 0, 1)
    measures = spreads * _ALIKE / np.maximum(totals, 1.0) + 2 * (_SENSOR_PART * targets) ** 2
    ends = -(per_widths * fits.states[..., 2] + per_lengths * fits.states[..., 3])
    fill = 2 * (ends / fills.parts[:, None] * fills.sigmas[:, None]) ** 2  # of both halves it is one
    for half, seen in enumerate(totals > 0.5):
        row = equation(by_depths[half], 0.0, np.stack([per_widths[half], per_lengths[half]], axis=-1))
        states, covariances, likelihood = correct(
            states, covariances, row * seen[..., None], targets[half] * seen, measures[half] + fill[half]
        )
        likelihoods = likelihoods + likelihood
        noises += seen / measures[half]
    seen = noises > 0
    shape = -2.0 * np.where(usable, np.log1p(deviations**2 / 3), 0.0).sum(axis=-1) / _ALIKE
    states[..., 0] = np.maximum(states[..., 0], NEAREST)
    states[..., 1:] = np.maximum(states[..., 1:], SMALLEST * fits.states[..., 1:])
    corrected = replace(
        fits,
        states=states,
        covariances=covariances,
        log_likelihoods=likelihoods + np.where(seen, shape, 0.0),
        positions=positions_of(edges, states, fits.supports),
    )
    return corrected, (1 / np.maximum(noises, 1e-12)).min(axis=1, where=seen, initial=np.inf)


def _rays(fits: BoxFits, headings: Array, parts: Array, slopes: Array) -> list[Array]:
    """Four of (N, H, K), how rays enter boxes at these places in the image, wherever along the way they are.

    Through the end and through the side: at how much of the depth of the middle, plus how much of length or width.
    """
    cos, sin = np.cos(headings)[..., None], np.sin(headings)[..., None]
    middle = (fits.positions[..., 0] / fits.states[..., 0])[..., None]
    slopes = slopes[:, None, :]
    half = parts[:, None, None] / 2
    # rot_y turns the length's axis (1, 0) to (cos, -sin) in (x, z), the width's to (sin, cos).
    along, across = _apart(cos * slopes - sin), _apart(sin * slopes + cos)
    by_length, by_width = (cos * middle - sin) / along, (sin * middle + cos) / across
    return [by_length, by_width, -half / np.abs(along), -half / np.abs(across)]


def _moved(fits: BoxFits, rays: list[Array], is_round: Mask, parts: Array, depths: Array) -> Array:
    """The states where the surfaces are: where rays enter depends on it. Every other strip is enough."""
    entries = _entries([values[..., ::2] for values in rays], fits.states, is_round, parts)[0]
    residuals = depths[:, None, ::2] - entries
    usable = residuals > -0.5 * np.hypot(fits.states[..., 2], fits.states[..., 3])[..., None]
    shift = np.where(usable, residuals, 0.0).sum(axis=-1) / np.maximum(usable.sum(axis=-1), 1)
    states = fits.states.copy()
    states[..., 0] = np.maximum(states[..., 0] + shift, NEAREST)
    return states


def _entries(rays: list[Array], states: Array, is_round: Mask, parts: Array) -> list[Array]:
    """Four of (N, H, K): m where rays enter the footprints, and the coefficients of depth, width and length in that."""
    by_length, by_width, per_length, per_width = rays
    depth, width, length = states[..., :1], states[..., 2, None], states[..., 3, None]
    ends, sides = by_length * depth + per_length * length, by_width * depth + per_width * width
    through_end = ends > sides
    found = [
        np.maximum(ends, sides),
        np.where(through_end, by_length, by_width),
        np.where(through_end, 0.0, per_width),
        np.where(through_end, per_length, 0.0),
    ]
    if is_round.any():
        share = (-parts / 4)[is_round, None, None]
        whole = (depth + (width + length) * (-parts / 4)[:, None, None])[is_round]
        for values, of_round in zip(found, (whole, 1.0, share, share), strict=True):
            values[is_round] = of_round
    return found


def _apart(values: Array) -> Array:
    """The values, away from 0."""
    return np.where(np.abs(values) < 1e-3, np.where(values < 0, -1e-3, 1e-3), values)
