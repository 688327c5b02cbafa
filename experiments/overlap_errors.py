# SPDX-License-Identifier: Apache-2.0
"""Errors of 3D boxes of objects that match by their 2D boxes, and the removal of ignored results.

`evaluation.box3d_errors` matches boxes within 2 m, so that a larger error of the distance is a miss and no error. Here
a result matches the ground-truth object that it covers in the image, and every error of its 3D box counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence
from centertrack_ros.evaluation.trackeval_metrics import SequencePair
from centertrack_ros.geometry.boxes2d import areas, iou
from centertrack_ros.geometry.boxes3d import centers
from centertrack_ros.types import Detections

Array = NDArray[np.float64]

OVERLAP = 0.5  # smallest IoU of a match, and largest share of a result that may lie in an ignored box
MAX_DISTANCE = 30.0  # m
MOVING = 0.5  # m/s over ground from which an object moves
ERRORS = ("translation", "yaw", "size", "velocity")


def match_by_overlap(truth: Detections, results: Detections) -> list[tuple[int, int]]:
    """(ground-truth, result) rows of the same class whose boxes overlap by at least half: as many as possible."""
    from scipy.optimize import linear_sum_assignment

    if not len(truth) or not len(results):
        return []
    overlaps = np.asarray(iou(truth.boxes, results.boxes), np.float64)
    allowed = (overlaps >= OVERLAP) & (truth.class_ids[:, None] == results.class_ids[None, :])
    rows, columns = linear_sum_assignment(np.where(allowed, 1.0 - overlaps, 10.0))
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if allowed[r, c]]


def without_ignored(pair: SequencePair) -> SequencePair:
    """The pair without results that lie by half in an ignored box and match no object."""
    truth = {frame.index: frame for frame in pair.truth}
    frames = tuple(_kept(frame, truth.get(frame.index), pair) for frame in pair.results)
    return replace(pair, results=replace(pair.results, frames=frames))


def _kept(frame: AnnotatedFrame, truth: AnnotatedFrame | None, pair: SequencePair) -> AnnotatedFrame:
    if truth is None or not len(truth.ignore) or not len(frame.tracks):
        return frame
    results = frame.tracks.detections
    objects = in_classes(truth, pair.truth.classes, pair.results.classes)
    matched = {column for _, column in match_by_overlap(objects, results)}
    low = np.maximum(results.boxes[:, None, :2], truth.ignore[None, :, :2])
    high = np.minimum(results.boxes[:, None, 2:], truth.ignore[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2) / np.maximum(areas(results.boxes), 1e-6)[:, None]
    inside = (shared > OVERLAP).any(axis=1) | (np.asarray(iou(results.boxes, truth.ignore)) > OVERLAP).any(axis=1)
    keep = [row for row in range(len(results)) if row in matched or not inside[row]]
    return frame.select(np.array(keep, np.int64))


def in_classes(frame: AnnotatedFrame, classes: tuple[str, ...], names: tuple[str, ...]) -> Detections:
    """The frame's objects with their classes numbered as in `names`; -1 for those that are not in it."""
    detections = frame.tracks.detections
    numbers = np.array([names.index(name) if name in names else -1 for name in classes], np.int64)
    return replace(detections, class_ids=numbers[detections.class_ids])


def box_errors(truth: VideoSequence, results: VideoSequence) -> dict[str, dict[str, Array]]:
    """The errors of each matched object up to 30 m away in one recording.

    Results without 3D boxes give no errors.

    Returns:
        Class -> error -> (N,). `translation`: distance of the 3D boxes' centres over the true distance from the camera;
        `yaw`: rad, 0 to pi; `size`: 1 - IoU of the sizes alone; `velocity`: m/s over ground, of objects that move
        (faster than 0.5 m/s), without the recording's first frame, in which no motion is visible.
    """
    results_of = {frame.index: frame for frame in results}
    errors: dict[str, dict[str, list[float]]] = {name: {error: [] for error in ERRORS} for name in truth.classes}
    for frame in truth:
        if frame.index not in results_of:
            continue
        predictions = in_classes(results_of[frame.index], results.classes, truth.classes)
        objects = frame.tracks.detections
        for row, column in match_by_overlap(objects, predictions):
            kind = errors[truth.classes[int(objects.class_ids[row])]]
            for error, value in _errors(objects, row, predictions, column, frame.index == truth.first).items():
                kind[error].append(value)
    return {name: {error: np.array(values) for error, values in kinds.items()} for name, kinds in errors.items()}


def _errors(truth: Detections, row: int, results: Detections, column: int, is_first: bool) -> Mapping[str, float]:
    if results.locations is None or results.dimensions is None or truth.locations is None or truth.dimensions is None:
        return {}
    one = centers(truth.dimensions[[row]], truth.locations[[row]])[0]
    other = centers(results.dimensions[[column]], results.locations[[column]])[0]
    distance = float(np.linalg.norm(one))
    if not distance <= MAX_DISTANCE or not np.isfinite(other).all():
        return {}
    errors = {"translation": float(np.linalg.norm(other - one)) / max(distance, 1e-6)}
    smaller = np.minimum(truth.dimensions[row], results.dimensions[column]).astype(np.float64).clip(0).prod()
    volumes = float(truth.dimensions[row].astype(np.float64).prod()), float(results.dimensions[column].prod())
    errors["size"] = 1.0 - float(smaller) / max(sum(volumes) - float(smaller), 1e-9)
    if truth.rotations_y is not None and results.rotations_y is not None:
        turn = float(results.rotations_y[column]) - float(truth.rotations_y[row])
        if np.isfinite(turn):
            errors["yaw"] = abs((turn + np.pi) % (2 * np.pi) - np.pi)
    if truth.velocities is not None and results.velocities is not None and not is_first:
        velocity, predicted = truth.velocities[row][[0, 2]], results.velocities[column][[0, 2]]
        if np.linalg.norm(velocity) > MOVING and np.isfinite(predicted).all():
            errors["velocity"] = float(np.linalg.norm(predicted - velocity))
    return errors
