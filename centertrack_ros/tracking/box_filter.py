# SPDX-License-Identifier: Apache-2.0
"""What the frames of a track tell together about its 3D box: its size, its heading and its depth over time.

Most of the error of a depth by size is the same in every frame, since the object is always as much larger or smaller
than usual. It does not shrink however many frames there are: only the rest is filtered, and the covariance keeps both.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.tracking import kalman
from centertrack_ros.types import BoxFilters, BoxMemory

Array = NDArray[Any]
Mask = NDArray[np.bool_]

MEMORY_S = 0.7  # s within which a new view replaces the old ones in sizes and headings
MOST_VIEWS = 2.0  # single views that the averaged likelihood of a heading counts as: their errors are alike
_FIRST_SPEED = 12.0  # m/s, standard deviation of a speed along the optical axis, relative to the camera
_PROCESS_NOISE = 3.0  # m/s that this speed may change within a second
_MOST_RATIO = 3.0  # of a filtered and a measured depth
_MAX_SQUARED_DISTANCE = 25.0  # from which a filter starts anew: another object
_MOST_VARIANCE = 0.6**2  # of a depth, relative


def aligned(
    filters: BoxFilters, ids: NDArray[np.int64], class_ids: NDArray[np.int64], headings: int
) -> tuple[BoxFilters, Mask]:
    """The filters in the order of `ids` (N,), zeros where there is none of this class; and (N,) where there is one."""
    count = len(ids)
    _, old, rows = np.intersect1d(filters.ids, ids, assume_unique=True, return_indices=True)
    same = filters.class_ids[old] == class_ids[rows]
    old, rows = old[same], rows[same]
    values: dict[str, Array] = {}
    for item in fields(BoxFilters):
        column = getattr(filters, item.name)
        shape = (headings,) if item.name == "headings" else column.shape[1:]
        values[item.name] = np.zeros((count, *shape), column.dtype)
        if len(old):
            values[item.name][rows] = column[old]
    known = np.zeros(count, bool)
    known[rows] = True
    return BoxFilters(**{**values, "ids": ids, "class_ids": class_ids}), known


def renamed(memory: BoxMemory, before: NDArray[np.int64], after: NDArray[np.int64]) -> BoxMemory:
    """The memory of tracks whose ids change from `before` (N,) to `after` (N,): the objects stay the same."""
    changed = before != after
    if not changed.any() or not len(memory.filters):
        return memory
    _, old, rows = np.intersect1d(memory.filters.ids, before[changed], assume_unique=True, return_indices=True)
    ids = memory.filters.ids.copy()
    ids[old] = after[changed][rows]
    return replace(memory, filters=replace(memory.filters, ids=ids))


def average(before: Array, count: Array, now: Array, elapsed: Array) -> Array:
    """Mean of what was seen `count` (N,) times before and of `now`, which counts more the longer the time was."""
    gain = np.maximum(1 / (count + 1), 1 - np.exp(-elapsed / MEMORY_S))
    gain = gain.reshape(-1, *[1] * (now.ndim - 1))
    return (1 - gain) * before + gain * now


def filter_depths(
    before: BoxFilters,
    known: Mask,
    elapsed: Array,
    depths: Array,
    variances: Array,
    own_variances: Array,
    direct: Mask | None = None,
) -> tuple[Array, Array, Array]:
    """Filters depths.

    Args:
        before: Filters of N tracks.
        known: (N,) whether there is one.
        elapsed: (N,) s since then.
        depths: (N,) m, measured.
        variances: (N,) of them, relative.
        own_variances: (N,) the part of those that another frame would not repeat.
        direct: (N,) depths that a sensor has measured: what was common to those by size is no error of theirs.

    Returns:
        (N, 2) depths and speeds, m and m/s, (N, 2, 2) their covariances without the common part, (N,) that one,
        relative.
    """
    shared = np.maximum(np.minimum(variances, _MOST_VARIANCE) - own_variances, 1e-4)
    # A view that tells less than the others adds to their common error what changes from frame to frame.
    averaged = known if direct is None else known & ~direct
    common = np.where(averaged, average(before.common_variances, before.views, shared, elapsed), shared)
    noise = (own_variances + np.maximum(shared - common, 0.0)) * depths**2
    first = _started(depths, noise)
    if not known.any():
        return *first, common
    # What turned out not to be common was an error of the frames before.
    surprise = np.maximum(before.common_variances - common, 0.0) * before.depths[:, 0] ** 2 * known
    means, spreads = _corrected(before, surprise, elapsed, depths, noise, first)
    means[:, 0] = np.clip(means[:, 0], depths / _MOST_RATIO, depths * _MOST_RATIO)
    return np.where(known[:, None], means, first[0]), np.where(known[:, None, None], spreads, first[1]), common


def _started(depths: Array, noise: Array) -> kalman.Filters:
    """Filters of depths that were measured once, with variances `noise` (N,) m²."""
    means, covariances = np.zeros((len(depths), 2)), np.zeros((len(depths), 2, 2))
    means[:, 0], covariances[:, 0, 0], covariances[:, 1, 1] = depths, noise, _FIRST_SPEED**2
    return means, covariances


def _corrected(
    before: BoxFilters, surprise: Array, elapsed: Array, depths: Array, noise: Array, first: kalman.Filters
) -> kalman.Filters:
    """The filters `before` after a measurement; those too far from it start anew.

    As `kalman.correct_or_initialize` of a predicted filter with a random walk of the velocity, written out: with one
    dimension and few objects, general products of matrices are most of the time.
    """
    covariances = before.depth_covariances
    a, b, c = covariances[:, 0, 0] + surprise, covariances[:, 0, 1], covariances[:, 1, 1]
    walk = _PROCESS_NOISE**2 * elapsed
    a = a + (2 * b + c * elapsed) * elapsed + walk * elapsed**2 / 3
    b, c = b + c * elapsed + walk * elapsed / 2, c + walk
    expected = before.depths[:, 0] + before.depths[:, 1] * elapsed
    innovations, residuals = a + noise, depths - expected
    near = residuals**2 <= _MAX_SQUARED_DISTANCE * innovations
    depth_gain, speed_gain = a / innovations, b / innovations
    means, spreads = first[0].copy(), first[1].copy()
    means[:, 0] = np.where(near, expected + depth_gain * residuals, means[:, 0])
    means[:, 1] = np.where(near, before.depths[:, 1] + speed_gain * residuals, means[:, 1])
    spreads[:, 0, 0] = np.where(near, depth_gain * noise, spreads[:, 0, 0])
    spreads[:, 0, 1] = spreads[:, 1, 0] = np.where(near, speed_gain * noise, 0.0)
    spreads[:, 1, 1] = np.where(near, c - speed_gain * b, spreads[:, 1, 1])
    return means, spreads
