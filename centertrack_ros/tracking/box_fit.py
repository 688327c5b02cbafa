# SPDX-License-Identifier: Apache-2.0
"""Distance, size and position of upright 3D boxes from their 2D boxes, for each of several headings.

A 3D box that fits its 2D box touches each of the four edges with a corner (Mousavian et al. 2017). With the heading
given, each touch is an equation that is linear in position, depth and size: for the left edge at the slope
a = (u - cx) / fx, all corners (X + x, Z + z) obey X + x >= a (Z + z), so that X - a Z is the largest a z - x of them,
the support of the footprint in that direction. Two edges together tell the depth: (b - a) Z = support of both sides.
With normal distributions of the sizes and of the edges, the fit is a small linear estimation; what is left between
width and height tells how plausible the heading is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.array_table import ArrayTable
from centertrack_ros.geometry.camera import Camera

Array = NDArray[Any]
Mask = NDArray[np.bool_]

# px, standard deviation of an edge of a 2D box.
EDGE_SIGMA_PX = 2.0
# px from the border of the image, and part of the box's side, within which an edge counts as cut off.
BORDER_PX, BORDER_PART = 2.0, 0.03
# What is left of a box with neither a whole width nor a whole height is between a third of the object and all of it:
# mean and standard deviation of the logarithm.
CUT_SHIFT, CUT_SIGMA = 0.4, 0.4
# The same for the cut side of a box whose other side is whole: mostly a smaller part is missing.
WEAK_SHIFT, WEAK_SIGMA = 0.2, 0.3
_FLAT = 10.0  # times the first guess: standard deviation of a depth that is not known
NEAREST = 0.2  # m
SMALLEST = 0.3  # of the mean size
# Part of a ray's length that lies along the ground, and slope between opposite edges: what is less cannot be fitted.
_LEAST_AHEAD, _LEAST_SIDE = 0.1, 1e-6
CUT_STEPS = 2  # corrections for the part of an object that is outside of the image
# Signs of the halves of length and width for the corners of the footprint, going round.
_ALONG, _ACROSS = np.array([1, 1, -1, -1]) / 2, np.array([1, -1, -1, 1]) / 2


@dataclass(frozen=True)
class Edges(ArrayTable):
    """The edges of N 2D boxes, as slopes of their viewing rays.

    Attributes:
        slopes: (N, 4) left, top, right, bottom: (u - cx) / fx, (v - cy) / fy.
        sigmas: (N, 4) standard deviations.
        cut: (N, 4) whether the edge lies at the border of the image: the object may go on behind it.
    """

    slopes: Array
    sigmas: Array
    cut: Mask


@dataclass(frozen=True)
class Sizes(ArrayTable):
    """What is known of the sizes of N objects.

    Attributes:
        means: (N, 3) m: height, width, length.
        covariances: (N, 3, 3) m².
        is_round: (N,) whether it looks as wide from everywhere (the mean of width and length), as people do.
    """

    means: Array
    covariances: Array
    is_round: Mask


@dataclass(frozen=True)
class Supports(ArrayTable):
    """Supports (N, H, 2) of footprints, per m of width and of length: across the left ray, the right ray, the axis."""

    left: Array
    right: Array
    near: Array


@dataclass(frozen=True)
class BoxFits(ArrayTable):
    """The fits of N objects under H headings. Depths are along the optical axis, m.

    Attributes:
        states: (N, H, 4) m: depth of the middle, height, width, length.
        covariances: (N, H, 4, 4) m².
        log_likelihoods: (N, H) of the 2D box, up to a constant of each object.
        positions: (N, H, 3) m, of the middles in the camera's own axes.
        seen: (N, H) how much of the footprints' reach towards the camera is in the image, 1 for whole ones.
        supports: Of the parts that are in the image.
    """

    states: Array
    covariances: Array
    log_likelihoods: Array
    positions: Array
    seen: Array
    supports: Supports


def edges_of(
    boxes: NDArray[np.floating], camera: Camera, scale: Array, sigmas: Array, axes: Array | None = None
) -> Edges:
    """Finds the edges of boxes.

    Args:
        boxes: (N, 4) px of the image as it arrives: x1, y1, x2, y2.
        camera: Of this image.
        scale: (N, 2) factors on width and height of the boxes. Cut edges stay where they are.
        sigmas: (N,) standard deviations of widths and heights, relative.
        axes: (3, 3) rotation from the optical frame to level axes; None: the camera is level.

    Returns:
        The edges, undistorted, in level axes.
    """
    cut = cut_edges(boxes, camera)
    boxes = _scaled(np.asarray(boxes, np.float64), cut, scale)
    pixels = camera.undistort(boxes.reshape(-1, 2)).reshape(-1, 4)
    pixels[:, 2:] = np.maximum(pixels[:, 2:], pixels[:, :2] + 1e-3)
    focal, center = np.tile(camera.focal, 2), np.tile(camera.projection[:2, 2], 2)
    side = np.tile(pixels[:, 2:] - pixels[:, :2], 2)
    sigmas_px = np.hypot(EDGE_SIGMA_PX, np.sqrt(0.5) * sigmas[:, None] * side)
    edges = Edges((pixels - center) / focal, sigmas_px / focal, cut)
    return edges if axes is None else _levelled(edges, axes)


def _levelled(edges: Edges, axes: Array) -> Edges:
    """The edges as a camera with these axes (3, 3) would see the middles of them."""
    left, top, right, bottom = edges.slopes.T
    column, row, ones = (left + right) / 2, (top + bottom) / 2, np.ones_like(left)
    middles = np.array([[left, row, ones], [column, top, ones], [right, row, ones], [column, bottom, ones]])
    x, y, ahead = np.einsum("ij,ejn->ine", axes, middles)  # each (N, 4)
    ahead = np.maximum(ahead, _LEAST_AHEAD)
    seen, turned = np.stack([x[:, 0], y[:, 1], x[:, 2], y[:, 3]], axis=1), np.array([0, 1, 0, 1])
    # How fast the slope of a levelled ray changes with that of the ray.
    growth = np.abs(axes[turned, turned] * ahead - seen * axes[2, turned]) / ahead**2
    slopes = seen / ahead
    slopes[:, 2:] = np.maximum(slopes[:, 2:], slopes[:, :2] + _LEAST_SIDE)
    return Edges(slopes, edges.sigmas * growth, edges.cut)


def cut_edges(boxes: NDArray[np.floating], camera: Camera) -> Mask:
    """(N, 4) whether the left, top, right, bottom edge of a box (as seen, not undistorted) is at the image's border."""
    border = np.maximum(BORDER_PX, BORDER_PART * (boxes[:, 2:] - boxes[:, :2]))
    low = boxes[:, :2] <= border
    high = boxes[:, 2:] >= np.array([camera.width, camera.height]) - 1 - border
    return np.concatenate([low, high], axis=1)


def _scaled(boxes: Array, cut: Mask, scale: Array) -> Array:
    """The boxes with sides `scale` (N, 2) times as long; where one end is cut, the other one moves alone."""
    growth = (boxes[:, 2:] - boxes[:, :2]) * (scale - 1)
    low, high = ~cut[:, :2], ~cut[:, 2:]
    both = np.maximum(low.astype(np.float64) + high, 1.0)
    return np.concatenate([boxes[:, :2] - growth * low / both, boxes[:, 2:] + growth * high / both], axis=1)


def fit_boxes(edges: Edges, sizes: Sizes, headings: Array, seen: Array | None = None) -> BoxFits:
    """Fits 3D boxes to 2D boxes.

    Args:
        edges: Of N objects.
        sizes: Theirs.
        headings: (N, H) rot_y, rad.
        seen: (N, H) how much of the reach towards the camera is in the image, if it is known, see `BoxFits.seen`.

    Returns:
        The fits.
    """
    supports = _supports(edges, sizes, headings)
    if seen is not None:
        return _fit(edges, sizes, replace(supports, near=supports.near * seen[..., None]), seen)
    fits = _fit(edges, sizes, supports)
    rows = np.flatnonzero(edges.cut[:, 0] | edges.cut[:, 2])
    if not len(rows):
        return fits
    # Of an object that leaves the image at a side, the near end may be outside: what is seen is farther away.
    cut_edges_only, cut_sizes = edges.select(rows), sizes.select(rows)
    cut_supports, cut_fits = supports.select(rows), fits.select(rows)
    for _ in range(CUT_STEPS):
        reach = _visible_reach(cut_edges_only, cut_fits, headings[rows])
        cut_fits = _fit(
            cut_edges_only, cut_sizes, replace(cut_supports, near=cut_supports.near * reach[..., None]), reach
        )
    return fits.with_rows(rows, cut_fits)


def _visible_reach(edges: Edges, fits: BoxFits, headings: Array) -> Array:
    """(N, H) how far the visible part of the footprint reaches towards the camera, over that of the whole one."""
    cos, sin = np.cos(headings)[..., None], np.sin(headings)[..., None]
    along, across = fits.states[..., 3, None] * _ALONG, fits.states[..., 2, None] * _ACROSS
    x, z = cos * along + sin * across, cos * across - sin * along
    at_x, at_z = x + fits.positions[..., 0, None], z + fits.positions[..., 2, None]
    inside = np.full(at_x.shape, np.inf)
    for edge, sign in ((0, 1.0), (2, -1.0)):
        beyond = sign * (at_x - edges.slopes[:, edge, None, None] * at_z)
        inside = np.where(edges.cut[:, edge, None, None], np.minimum(inside, beyond), inside)
    after, z_after = np.roll(inside, -1, axis=-1), np.roll(z, -1, axis=-1)
    crosses = (inside < 0) != (after < 0)
    part = np.divide(inside, inside - after, out=np.zeros_like(inside), where=crosses)
    nearest = np.minimum(
        np.where(inside >= 0, z, np.inf).min(axis=-1), np.where(crosses, z + part * (z_after - z), np.inf).min(axis=-1)
    )
    whole = z.min(axis=-1)
    return np.where(np.isfinite(nearest), nearest / whole, 0.0)


def _fit(edges: Edges, sizes: Sizes, supports: Supports, seen: Array | None = None) -> BoxFits:
    """The linear estimation, with the supports of the footprint given."""
    left, top, right, bottom = (edges.slopes[:, i, None] for i in range(4))
    cut_left, cut_top, cut_right, cut_bottom = (edges.cut[:, i, None] for i in range(4))
    across, tall = right - left, bottom - top
    width_row = supports.left + supports.right
    shape = width_row.shape[:2]
    zeros = np.zeros(shape)
    has_width, has_height = ~(cut_left | cut_right), ~(cut_top | cut_bottom)
    means = np.broadcast_to(sizes.means[:, None], (*shape, 3))
    reach = (abs(top) + abs(bottom))[..., None] * supports.near
    width_bound = _dot(width_row, means[..., 1:]) / across
    height_bound = np.maximum(means[..., 0] + _dot(reach, means[..., 1:]), NEAREST) / tall
    guess = np.where(has_height, height_bound, np.where(has_width, width_bound, np.minimum(width_bound, height_bound)))
    guess = np.maximum(guess, NEAREST)
    # Those of all objects and headings lie side by side, see `correct`.
    states, covariances = np.empty((4, *shape)).transpose(1, 2, 0), np.zeros((4, 4, *shape)).transpose(2, 3, 0, 1)
    states[..., 0], states[..., 1:] = guess, means
    covariances[..., 0, 0] = (_FLAT * guess) ** 2
    covariances[..., 1:, 1:] = sizes.covariances[:, None]
    noise = (edges.sigmas[:, None] * guess[..., None]) ** 2
    equations = [
        (has_height, equation(tall, zeros - 1, -reach), 0.0, noise[..., 1] + noise[..., 3]),
        (has_width, equation(across, zeros, -width_row), 0.0, noise[..., 0] + noise[..., 2]),
    ]
    known = has_width | has_height
    total = zeros.copy()
    for has, row, target, variance in equations:
        states, covariances, likelihood = correct(states, covariances, row * has[..., None], target * has, variance)
        total += likelihood
    # People swing arms and legs: the part of their width that is seen bounds little.
    bound = np.where(sizes.is_round[:, None], height_bound, np.minimum(width_bound, height_bound))
    states, covariances = _bounded(states, covariances, bound, known)
    if (partly := has_width != has_height).any():
        expected = np.exp(-WEAK_SHIFT) * np.where(has_width, height_bound, width_bound)
        row = np.broadcast_to(np.eye(4)[0] * partly[..., None], (*shape, 4))
        weak = (WEAK_SIGMA * expected) ** 2
        states, covariances, _ = correct(states, covariances, row, expected * partly, weak)
    total += _within(states, covariances, width_bound, ~has_width)
    total += _within(states, covariances, height_bound, ~has_height)
    states[..., 0] = np.maximum(states[..., 0], NEAREST)
    states[..., 1:] = np.maximum(states[..., 1:], SMALLEST * means)
    seen = zeros + 1 if seen is None else seen
    return BoxFits(states, covariances, total, positions_of(edges, states, supports), seen, supports)


def _supports(edges: Edges, sizes: Sizes, headings: Array) -> Supports:
    # rot_y turns the length's axis (1, 0) to (cos, -sin) in (x, z), the width's to (sin, cos).
    cos, sin = np.cos(headings), np.sin(headings)
    supports = np.empty((3, 2, *cos.shape))  # along the left ray, the right ray and the axis; per m of width and length
    for i, slope in enumerate((edges.slopes[:, 0, None], edges.slopes[:, 2, None])):
        supports[i, 0], supports[i, 1] = slope * cos - sin, slope * sin + cos
    supports[2, 0], supports[2, 1] = cos, sin
    supports = np.abs(supports, out=supports)
    supports *= 0.5
    if sizes.is_round.any():
        reach = np.ones((3, 1, len(edges), 1))
        reach[:2, 0, :, 0] = np.hypot(1.0, edges.slopes[:, ::2].T)
        supports = np.where(sizes.is_round[:, None], reach / 4, supports)
    return Supports(*supports.transpose(0, 2, 3, 1))


def _dot(first: Array, second: Array) -> Array:
    """Products of the vectors of two values in the last axis."""
    return np.asarray(first[..., 0] * second[..., 0] + first[..., 1] * second[..., 1])


def equation(depth: Array, height: Array | float, footprint: Array) -> Array:
    """(N, H, 4) coefficients of depth, height, width and length, from (N, H), (N, H) and (N, H, 2)."""
    row = np.empty((4, *footprint.shape[:-1]))
    row[0], row[1], row[2], row[3] = depth, height, footprint[..., 0], footprint[..., 1]
    return row.transpose(1, 2, 0)


def correct(
    states: Array, covariances: Array, row: Array, target: Array | float, variance: Array
) -> tuple[Array, Array, Array]:
    """Corrects by the measurement row · state = target; a row of zeros changes nothing. Also the log likelihood.

    The axes of the four values come first while it computes: loops over all objects and headings are the fast ones.
    """
    means, spreads, row = states.transpose(2, 0, 1), covariances.transpose(2, 3, 0, 1), row.transpose(2, 0, 1)
    gain = (spreads * row).sum(axis=1)
    innovation = (row * gain).sum(axis=0) + variance
    residual = target - (row * means).sum(axis=0)
    gain_scaled = gain / innovation
    measures = row[0] != 0  # each equation holds the depth
    likelihood = np.where(measures, -0.5 * (residual**2 / innovation + np.log(innovation)), 0.0)
    means = means + gain_scaled * residual
    spreads = spreads - gain_scaled[:, None] * gain
    return means.transpose(1, 2, 0), spreads.transpose(2, 3, 0, 1), likelihood


def _bounded(states: Array, covariances: Array, bounds: Array, known: Mask) -> tuple[Array, Array]:
    """Depths of objects of which neither a whole side nor the contact with the ground is seen: below the bounds."""
    unknown = np.broadcast_to(~known, bounds.shape)
    if not unknown.any():
        return states, covariances
    states, covariances = states.copy(), covariances.copy()
    depths = bounds * np.exp(-CUT_SHIFT)
    states[..., 0] = np.where(unknown, depths, states[..., 0])
    covariances[..., 0, 0] = np.where(unknown, (depths * CUT_SIGMA) ** 2, covariances[..., 0, 0])
    return states, covariances


def _within(states: Array, covariances: Array, bounds: Array, cut: Mask) -> Array:
    """(N, H) log probability that the depth is below the bound that the visible part of a cut side sets."""
    if not cut.any():
        return np.zeros(bounds.shape)
    from scipy.special import log_ndtr

    sigma = np.sqrt(np.maximum(covariances[..., 0, 0], 1e-9) + (0.1 * bounds) ** 2)
    return np.where(cut, log_ndtr((bounds - states[..., 0]) / sigma), 0.0)


def positions_of(edges: Edges, states: Array, supports: Supports) -> Array:
    """(N, H, 3) middles of the boxes, from those edges that are not cut."""
    depth, height = states[..., 0], states[..., 1]
    footprint = states[..., 2:]
    left, top, right, bottom = (edges.slopes[:, i, None] for i in range(4))
    from_left = left * depth + _dot(supports.left, footprint)
    from_right = right * depth - _dot(supports.right, footprint)
    reach = _dot(supports.near, footprint)
    from_top = top * depth + abs(top) * reach + height / 2
    from_bottom = bottom * depth - abs(bottom) * reach - height / 2
    x = _mean_of_seen(from_left, edges.cut[:, 0, None], from_right, edges.cut[:, 2, None])
    y = _mean_of_seen(from_top, edges.cut[:, 1, None], from_bottom, edges.cut[:, 3, None])
    return np.stack([x, y, depth], axis=-1)


def _mean_of_seen(first: Array, first_cut: Mask, second: Array, second_cut: Mask) -> Array:
    """The value of the end that is seen, or the mean of both."""
    one = np.where(first_cut & ~second_cut, 0.0, np.where(second_cut & ~first_cut, 1.0, 0.5))
    return one * first + (1 - one) * second
