# SPDX-License-Identifier: Apache-2.0
"""What the frames of a track tell together about its 3D box: its size, its heading and its depth over time.

Most of the error of a depth by size is the same in every frame, since the object is always as much larger or smaller
than usual. It does not shrink however many frames there are: only the rest is filtered, and the covariance keeps both.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.tracking import kalman
from centertrack_ros.types import BoxFilters

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
    measured = depths[:, None]
    first = kalman.initialize(measured, noise[:, None, None], np.zeros_like(measured), _FIRST_SPEED)
    if not known.any():
        return *first, common
    covariances = before.depth_covariances.copy()
    # What turned out not to be common was an error of the frames before.
    covariances[:, 0, 0] += np.maximum(before.common_variances - common, 0.0) * before.depths[:, 0] ** 2 * known
    predicted = kalman.predict(before.depths, covariances, elapsed, _PROCESS_NOISE)
    means, spreads = kalman.correct_or_initialize(
        predicted, first, measured, noise[:, None, None], _MAX_SQUARED_DISTANCE
    )
    means[:, 0] = np.clip(means[:, 0], depths / _MOST_RATIO, depths * _MOST_RATIO)
    return np.where(known[:, None], means, first[0]), np.where(known[:, None, None], spreads, first[1]), common
