# SPDX-License-Identifier: Apache-2.0
"""Errors of distances, of objects that are matched by their 2D boxes: however wrong a distance is, it counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.evaluation.box3d_errors import has_box
from centertrack_ros.evaluation.trackeval_metrics import SequencePair
from centertrack_ros.geometry import boxes2d

MIN_IOU = 0.5  # of the 2D boxes of an object and its result
BINS = ((0.0, 10.0), (10.0, 20.0), (20.0, 30.0), (30.0, 50.0), (0.0, 50.0))  # m of the true depth

Depths = Mapping[tuple[int, int], tuple[float, float]]


def matched_depths(pair: SequencePair) -> Depths:
    """Depths of the objects that were found, along the optical axis.

    Returns:
        (Frame, id in the ground truth) -> true depth and estimated one, m.
    """
    from scipy.optimize import linear_sum_assignment

    results = {frame.index: frame.tracks.detections for frame in pair.results}
    found: dict[tuple[int, int], tuple[float, float]] = {}
    for frame in pair.truth:
        truth, result = frame.tracks.detections, results.get(frame.index)
        if result is None:
            continue
        rows, columns = np.flatnonzero(has_box(truth)), np.flatnonzero(has_box(result))
        if not len(rows) or not len(columns):
            continue
        overlaps = boxes2d.iou(truth.boxes[rows], np.nan_to_num(result.boxes[columns]))
        assert truth.locations is not None and result.locations is not None
        for one, other in zip(*linear_sum_assignment(-overlaps), strict=True):
            if overlaps[one, other] >= MIN_IOU:
                row, column = rows[one], columns[other]
                depths = float(truth.locations[row, 2]), float(result.locations[column, 2])
                found[frame.index, int(frame.tracks.ids[row])] = depths
    return found


def mean_errors(runs: Mapping[str, Depths]) -> tuple[list[int], dict[str, list[float | None]]]:
    """Mean relative errors of the depth by distance, of the objects that all runs have found.

    Args:
        runs: Name -> depths of the same ground truth.

    Returns:
        Number of objects in each of BINS; name -> mean error in each, None where there is no object.
    """
    common = sorted(set.intersection(*(set(depths) for depths in runs.values())))
    true = np.array([next(iter(runs.values()))[key][0] for key in common], np.float64)
    within = [(true >= low) & (true < high) & (true > 0) for low, high in BINS]
    errors = {}
    for name, depths in runs.items():
        estimated = np.array([depths[key][1] for key in common], np.float64)
        errors[name] = _means(np.abs(estimated - true), true, within)
    return [int(rows.sum()) for rows in within], errors


def _means(
    errors: NDArray[np.float64], true: NDArray[np.float64], within: Sequence[NDArray[np.bool_]]
) -> list[float | None]:
    return [float(np.mean(errors[rows] / true[rows])) if rows.any() else None for rows in within]
