# SPDX-License-Identifier: Apache-2.0
"""Errors of 3D boxes on what was found by its 2D box, and the objects that are not asked about.

`box3d_errors` pairs boxes within 2 m, so that a far too wrong distance is no error but a miss; here a found object
belongs to the true one that it covers in the image, and every error of its 3D box counts.
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

OVERLAP = 0.5  # IoU from which a found box is taken for a true one, and share of it that may lie in an ignored box
MAX_DISTANCE = 30.0  # m
MOVING = 0.5  # m/s over ground from which an object moves
ERRORS = ("translation", "yaw", "size", "velocity")


def pairs_by_overlap(truth: Detections, found: Detections) -> list[tuple[int, int]]:
    """(true, found) rows of one class each whose boxes overlap by at least half, as many as can be, best overlap."""
    from scipy.optimize import linear_sum_assignment

    if not len(truth) or not len(found):
        return []
    overlaps = np.asarray(iou(truth.boxes, found.boxes), np.float64)
    allowed = (overlaps >= OVERLAP) & (truth.class_ids[:, None] == found.class_ids[None, :])
    rows, columns = linear_sum_assignment(np.where(allowed, 1.0 - overlaps, 10.0))
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if allowed[r, c]]


def without_ignored(pair: SequencePair) -> SequencePair:
    """The pair without results that lie by half in one of the truth's ignored boxes and belong to no judged object."""
    truth = {frame.index: frame for frame in pair.truth}
    frames = tuple(_kept(frame, truth.get(frame.index), pair) for frame in pair.results)
    return replace(pair, results=replace(pair.results, frames=frames))


def _kept(frame: AnnotatedFrame, truth: AnnotatedFrame | None, pair: SequencePair) -> AnnotatedFrame:
    if truth is None or not len(truth.ignore) or not len(frame.tracks):
        return frame
    found = frame.tracks.detections
    said = in_classes(truth, pair.truth.classes, pair.results.classes)
    judged = {column for _, column in pairs_by_overlap(said, found)}
    low = np.maximum(found.boxes[:, None, :2], truth.ignore[None, :, :2])
    high = np.minimum(found.boxes[:, None, 2:], truth.ignore[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2) / np.maximum(areas(found.boxes), 1e-6)[:, None]
    inside = (shared > OVERLAP).any(axis=1) | (np.asarray(iou(found.boxes, truth.ignore)) > OVERLAP).any(axis=1)
    keep = [row for row in range(len(found)) if row in judged or not inside[row]]
    return frame.select(np.array(keep, np.int64))


def in_classes(frame: AnnotatedFrame, classes: tuple[str, ...], wanted: tuple[str, ...]) -> Detections:
    """The frame's objects with their classes numbered as in `wanted`; -1 for those that are not in it."""
    detections = frame.tracks.detections
    numbers = np.array([wanted.index(name) if name in wanted else -1 for name in classes], np.int64)
    return replace(detections, class_ids=numbers[detections.class_ids])


def box_errors(truth: VideoSequence, results: VideoSequence) -> dict[str, dict[str, Array]]:
    """Class -> error -> (N,) of each found object up to 30 m away: one recording.

    translation  distance of the 3D boxes' centres over the true distance from the camera
    yaw          rad, 0 to pi;  size  1 - IoU of the sizes alone
    velocity     m/s over ground, of objects that move (faster than 0.5 m/s); not in a recording's first frame, in which
                 no motion can be seen
    Results without 3D boxes give no errors.
    """
    answers = {frame.index: frame for frame in results}
    errors: dict[str, dict[str, list[float]]] = {name: {error: [] for error in ERRORS} for name in truth.classes}
    for frame in truth:
        if frame.index not in answers:
            continue
        found = in_classes(answers[frame.index], results.classes, truth.classes)
        said = frame.tracks.detections
        for row, column in pairs_by_overlap(said, found):
            kind = errors[truth.classes[int(said.class_ids[row])]]
            for error, value in _errors(said, row, found, column, frame.index == truth.first).items():
                kind[error].append(value)
    return {name: {error: np.array(values) for error, values in kinds.items()} for name, kinds in errors.items()}


def _errors(truth: Detections, row: int, found: Detections, column: int, is_first: bool) -> Mapping[str, float]:
    if found.locations is None or found.dimensions is None or truth.locations is None or truth.dimensions is None:
        return {}
    one = centers(truth.dimensions[[row]], truth.locations[[row]])[0]
    other = centers(found.dimensions[[column]], found.locations[[column]])[0]
    distance = float(np.linalg.norm(one))
    if not distance <= MAX_DISTANCE or not np.isfinite(other).all():
        return {}
    errors = {"translation": float(np.linalg.norm(other - one)) / max(distance, 1e-6)}
    smaller = np.minimum(truth.dimensions[row], found.dimensions[column]).astype(np.float64).clip(0).prod()
    volumes = float(truth.dimensions[row].astype(np.float64).prod()), float(found.dimensions[column].prod())
    errors["size"] = 1.0 - float(smaller) / max(sum(volumes) - float(smaller), 1e-9)
    if truth.rotations_y is not None and found.rotations_y is not None:
        turn = float(found.rotations_y[column]) - float(truth.rotations_y[row])
        if np.isfinite(turn):
            errors["yaw"] = abs((turn + np.pi) % (2 * np.pi) - np.pi)
    if truth.velocities is not None and found.velocities is not None and not is_first:
        speed, said = truth.velocities[row][[0, 2]], found.velocities[column][[0, 2]]
        if np.linalg.norm(speed) > MOVING and np.isfinite(said).all():
            errors["velocity"] = float(np.linalg.norm(said - speed))
    return errors
