"""Errors of 3D boxes by distance: place, size, heading and velocity, judged by nuscenes-devkit's functions.

A found object belongs to the true one of its class that is nearest on the ground, at most 2 m away (the devkit's
threshold).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.nuscenes import devkit
from centertrack_ros.datasets.records import AnnotatedFrame
from centertrack_ros.evaluation.trackeval_metrics import Pair
from centertrack_ros.types import Detections

NEAREST = 2.0  # m
BINS = (0.0, 10.0, 20.0, 30.0, 50.0, float("inf"))  # m, bounds of the true distance on the ground


def has_boxes(pair: Pair) -> bool:
    """Whether both sides have 3D boxes anywhere."""
    return all(any(_known(f.tracks.detections).any() for f in side) for side in (pair.truth, pair.results))


def solid_errors(pairs: Iterable[Pair]) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """Class -> distance ('0-10', …, '50-', 'all') -> mean errors over the objects found there, and how many.

    Classes of which nothing was found are left out.

    `objects` true ones, `found` of them; translation, m on the ground; depth, m along the optical axis; size, 1 - IoU
    of the sizes alone; yaw, rad; velocity, m/s (None where either side does not tell it).
    Raises ImportError without the devkit.
    """
    devkit()
    rows: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for pair in pairs:
        answers = {frame.index: frame for frame in pair.results}
        names = set(pair.truth.classes) & set(pair.results.classes)
        for frame in pair.truth:
            for name in names:
                _judge_frame(pair, frame, answers.get(frame.index), name, rows, counts)
    result: dict[str, dict[str, dict[str, float | int | None]]] = defaultdict(dict)
    found = {name for name, _ in rows}
    for name, label in sorted((key for key in counts if key[0] in found), key=lambda key: (key[0], _order(key[1]))):
        result[name][label] = _means(rows[name, label], counts[name, label])
    return dict(result)


def _judge_frame(
    pair: Pair,
    frame: AnnotatedFrame,
    answer: AnnotatedFrame | None,
    name: str,
    rows: dict[tuple[str, str], list[dict[str, float]]],
    counts: dict[tuple[str, str], int],
) -> None:
    truth = _of_class(frame, pair.truth.classes, name)
    found = None if answer is None else _of_class(answer, pair.results.classes, name)
    for row in range(len(truth)):
        for label in (_label(float(np.hypot(*_ground(truth)[row]))), "all"):
            counts[name, label] += 1
    if found is None or not len(found) or not len(truth):
        return
    for true_row, found_row in _matches(truth, found):
        errors = _errors(truth, true_row, found, found_row)
        for label in (_label(float(np.hypot(*_ground(truth)[true_row]))), "all"):
            rows[name, label].append(errors)


def _known(detections: Detections) -> NDArray[np.bool_]:
    if detections.locations is None or detections.dimensions is None:
        return np.zeros(len(detections), bool)
    return np.isfinite(detections.locations).all(axis=1) & (detections.dimensions > 0).all(axis=1)


def _of_class(frame: AnnotatedFrame, classes: tuple[str, ...], name: str) -> Detections:
    detections = frame.tracks.detections
    return detections.select(_known(detections) & (detections.class_ids == classes.index(name)))


def _ground(detections: Detections) -> NDArray[np.float64]:
    assert detections.locations is not None
    return np.asarray(detections.locations[:, [0, 2]], np.float64)


def _matches(truth: Detections, found: Detections) -> Iterable[tuple[int, int]]:
    from scipy.optimize import linear_sum_assignment

    distances = np.linalg.norm(_ground(truth)[:, None] - _ground(found)[None], axis=2)
    costs = np.where(distances < NEAREST, distances, 1e6)
    return [(r, c) for r, c in zip(*linear_sum_assignment(costs), strict=True) if distances[r, c] < NEAREST]


def _errors(truth: Detections, true_row: int, found: Detections, found_row: int) -> dict[str, float]:
    from nuscenes.eval.common.utils import center_distance, scale_iou, velocity_l2, yaw_diff

    one, two = _box(truth, true_row), _box(found, found_row)
    assert truth.locations is not None and found.locations is not None
    is_turned = np.isfinite(_turn(truth, true_row)) and np.isfinite(_turn(found, found_row))
    return {
        "translation": float(center_distance(one, two)),
        "depth": abs(float(found.locations[found_row, 2] - truth.locations[true_row, 2])),
        "size": 1.0 - float(scale_iou(one, two)),
        "yaw": float(yaw_diff(one, two)) if is_turned else np.nan,
        "velocity": float(velocity_l2(one, two)),
    }


def _box(detections: Detections, row: int) -> Any:
    """The devkit's box, in axes x forward, y left, z up of the camera."""
    from nuscenes.eval.detection.data_classes import DetectionBox
    from pyquaternion import Quaternion

    assert detections.locations is not None and detections.dimensions is not None
    x, y, z = (float(value) for value in detections.locations[row])
    height, width, length = (float(value) for value in detections.dimensions[row])
    turn = _turn(detections, row)
    speed = (np.nan, np.nan)
    if detections.velocities is not None:
        speed = (float(detections.velocities[row, 2]), -float(detections.velocities[row, 0]))
    turned = Quaternion(axis=[0, 0, 1], angle=-(0.0 if np.isnan(turn) else turn) - np.pi / 2)
    return DetectionBox(
        translation=(z, -x, -y + height / 2),
        size=(width, length, height),
        rotation=tuple(turned.elements.tolist()),
        velocity=speed,
        detection_name="car",
        detection_score=1.0,
    )


def _turn(detections: Detections, row: int) -> float:
    """rotation_y, rad; NaN when unknown."""
    return np.nan if detections.rotations_y is None else float(detections.rotations_y[row])


def _label(distance: float) -> str:
    number = int(np.searchsorted(BINS, distance, side="right")) - 1
    low, high = BINS[number], BINS[number + 1]
    return f"{low:g}-" if high == float("inf") else f"{low:g}-{high:g}"


def _order(label: str) -> float:
    return float("inf") if label == "all" else float(label.split("-")[0])


def _means(rows: list[dict[str, float]], objects: int) -> dict[str, float | int | None]:
    figures: dict[str, float | int | None] = {"objects": objects, "found": len(rows)}
    for name in ("translation", "depth", "size", "yaw", "velocity"):
        values = np.array([row[name] for row in rows])
        values = values[np.isfinite(values)]
        figures[name] = float(values.mean()) if len(values) else None
    return figures
