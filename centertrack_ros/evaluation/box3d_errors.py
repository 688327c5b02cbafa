# SPDX-License-Identifier: Apache-2.0
"""Errors of 3D boxes by distance: position, size, heading and velocity, by nuscenes-devkit's functions.

A predicted object is matched with the nearest ground-truth object of its class on the ground, at most 2 m away (the
devkit's threshold).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.nuscenes import devkit
from centertrack_ros.datasets.records import AnnotatedFrame
from centertrack_ros.evaluation.trackeval_metrics import SequencePair
from centertrack_ros.types import Detections

MAX_DISTANCE = 2.0  # m on the ground between two objects that match
BINS = (0.0, 10.0, 20.0, 30.0, 50.0, float("inf"))  # m, bounds of the true distance on the ground
ERRORS = ("translation", "depth", "size", "yaw", "velocity")

Key = tuple[str, str]  # class, label of the bin
Figures = dict[str, float | int | None]


def has_boxes(pair: SequencePair) -> bool:
    """Whether ground truth and results both have 3D boxes anywhere."""
    return all(any(has_box(f.tracks.detections).any() for f in side) for side in (pair.truth, pair.results))


def box3d_errors(pairs: Iterable[SequencePair]) -> dict[str, dict[str, Figures]]:
    """Mean errors over the matched objects, by class and distance.

    Classes without any match are left out.

    Returns:
        Class -> distance in m ('0-10', ..., '50-', 'all') -> figures: `objects`, the number of ground-truth objects;
        `found`, the number of matched ones; `translation`, m on the ground; `depth`, m along the optical axis; `size`,
        1 - IoU of the sizes alone; `yaw`, rad; `velocity`, m/s. A figure is None where ground truth or results do not
        state it.

    Raises:
        ImportError: The devkit is not installed.
    """
    devkit()
    errors: dict[Key, list[dict[str, float]]] = defaultdict(list)
    objects: Counter[Key] = Counter()
    for pair in pairs:
        results = {frame.index: frame for frame in pair.results}
        for frame in pair.truth:
            for name in set(pair.truth.classes) & set(pair.results.classes):
                _add_frame(pair, frame, results.get(frame.index), name, errors, objects)
    matched = {name for name, _ in errors}
    figures: dict[str, dict[str, Figures]] = defaultdict(dict)
    for name, label in sorted((key for key in objects if key[0] in matched), key=lambda key: (key[0], _order(key[1]))):
        figures[name][label] = _means(errors[name, label], objects[name, label])
    return dict(figures)


def _add_frame(
    pair: SequencePair,
    frame: AnnotatedFrame,
    result: AnnotatedFrame | None,
    name: str,
    errors: dict[Key, list[dict[str, float]]],
    objects: Counter[Key],
) -> None:
    """Adds the objects and errors of one class in one frame to `objects` and `errors`."""
    truth = _of_class(frame, pair.truth.classes, name)
    labels = [_label(float(distance)) for distance in np.hypot(*_ground(truth).T)]
    for label in labels:
        objects.update([(name, label), (name, "all")])
    if result is None:
        return
    predictions = _of_class(result, pair.results.classes, name)
    for row, column in _matches(truth, predictions):
        for label in (labels[row], "all"):
            errors[name, label].append(_errors(truth, row, predictions, column))


def has_box(detections: Detections) -> NDArray[np.bool_]:
    """(N,) whether each detection has a 3D box."""
    if detections.locations is None or detections.dimensions is None:
        return np.zeros(len(detections), bool)
    is_finite = np.isfinite(detections.locations).all(axis=1)
    return np.asarray(is_finite & (detections.dimensions > 0).all(axis=1))


def _of_class(frame: AnnotatedFrame, classes: tuple[str, ...], name: str) -> Detections:
    detections = frame.tracks.detections
    return detections.select(has_box(detections) & (detections.class_ids == classes.index(name)))


def _ground(detections: Detections) -> NDArray[np.float64]:
    """(N, 2) x and z m of the camera's optical frame."""
    if detections.locations is None:
        return np.zeros((0, 2))
    return np.asarray(detections.locations[:, [0, 2]], np.float64)


def _matches(truth: Detections, predictions: Detections) -> Iterable[tuple[int, int]]:
    from scipy.optimize import linear_sum_assignment

    if not len(truth) or not len(predictions):
        return []
    distances = np.linalg.norm(_ground(truth)[:, None] - _ground(predictions)[None], axis=2)
    costs = np.where(distances < MAX_DISTANCE, distances, 1e6)
    return [(r, c) for r, c in zip(*linear_sum_assignment(costs), strict=True) if distances[r, c] < MAX_DISTANCE]


def _errors(truth: Detections, row: int, predictions: Detections, column: int) -> dict[str, float]:
    from nuscenes.eval.common.utils import center_distance, scale_iou, velocity_l2, yaw_diff

    one, two = _devkit_box(truth, row), _devkit_box(predictions, column)
    assert truth.locations is not None and predictions.locations is not None
    has_yaw = np.isfinite(_yaw(truth, row)) and np.isfinite(_yaw(predictions, column))
    return {
        "translation": float(center_distance(one, two)),
        "depth": abs(float(predictions.locations[column, 2] - truth.locations[row, 2])),
        "size": 1.0 - float(scale_iou(one, two)),
        "yaw": float(yaw_diff(one, two)) if has_yaw else np.nan,
        "velocity": float(velocity_l2(one, two)),
    }


def _devkit_box(detections: Detections, row: int) -> Any:
    """The devkit's box, in axes x forward, y left, z up of the camera."""
    from nuscenes.eval.detection.data_classes import DetectionBox
    from pyquaternion import Quaternion

    assert detections.locations is not None and detections.dimensions is not None
    x, y, z = (float(value) for value in detections.locations[row])
    height, width, length = (float(value) for value in detections.dimensions[row])
    yaw = _yaw(detections, row)
    velocity = (np.nan, np.nan)
    if detections.velocities is not None:
        velocity = (float(detections.velocities[row, 2]), -float(detections.velocities[row, 0]))
    rotation = Quaternion(axis=[0, 0, 1], angle=-(0.0 if np.isnan(yaw) else yaw) - np.pi / 2)
    return DetectionBox(
        translation=(z, -x, -y + height / 2),
        size=(width, length, height),
        rotation=tuple(rotation.elements.tolist()),
        velocity=velocity,
        detection_name="car",
        detection_score=1.0,
    )


def _yaw(detections: Detections, row: int) -> float:
    """rotation_y, rad; NaN when unknown."""
    return np.nan if detections.rotations_y is None else float(detections.rotations_y[row])


def _label(distance: float) -> str:
    number = int(np.searchsorted(BINS, distance, side="right")) - 1
    low, high = BINS[number], BINS[number + 1]
    return f"{low:g}-" if high == float("inf") else f"{low:g}-{high:g}"


def _order(label: str) -> float:
    return float("inf") if label == "all" else float(label.split("-")[0])


def _means(errors: list[dict[str, float]], objects: int) -> Figures:
    figures: Figures = {"objects": objects, "found": len(errors)}
    for name in ERRORS:
        values = np.array([error[name] for error in errors])
        values = values[np.isfinite(values)]
        figures[name] = float(values.mean()) if len(values) else None
    return figures
