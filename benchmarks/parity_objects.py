# SPDX-License-Identifier: Apache-2.0
"""Compares detections and tracks with objects in the official code's form: dictionaries of one object each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.parity_compare import Errors, match_nearest
from benchmarks.parity_options import UnknownOptionError
from centertrack_ros.types import Detections, FrameResult


def detections_from_items(items: Sequence[Mapping[str, Any]]) -> Detections:
    """The objects of the official code's `pre_dets` as detections.

    Args:
        items: Objects with box, score, 1-based class, and the centre where it is stored.
    """
    boxes = np.array([item["bbox"] for item in items], np.float32).reshape(-1, 4)
    scores = np.array([item["score"] for item in items], np.float32)
    class_ids = np.array([item["class"] - 1 for item in items], np.int64)
    detections = Detections.from_boxes(boxes, scores, class_ids)
    for row, item in enumerate(items):
        if "ct" in item:
            detections.centers[row] = item["ct"]
    return detections


def check_objects(errors: Errors, detections: Detections, items: Sequence[Mapping[str, Any]]) -> None:
    """Compares detections in image px with items in the official form, each with the nearest of its class."""
    errors.equal("number of detections", len(detections), len(items))
    key = "bbox" if items and "bbox" in items[0] else "ct"
    matches = match_nearest(detections.class_ids, detections.boxes if key == "bbox" else detections.centers, items, key)
    for item, row in zip(items, matches, strict=True):
        if row < 0:
            errors.equal(f"detection of class {item['class']} at {item[key]}", "missing", "present")
        else:
            check_item(errors, detections, row, item)


def check_tracks(errors: Errors, result: FrameResult, items: Sequence[Mapping[str, Any]]) -> None:
    """Compares tracks with items in the official form, by their ids."""
    tracks = result.tracks
    expected = {item["tracking_id"]: item for item in items}
    errors.equal("track ids", sorted(tracks.ids.tolist()), sorted(expected))
    for row, track_id in enumerate(tracks.ids.tolist()):
        if track_id in expected:
            item = expected[track_id]
            state = (tracks.detections.class_ids[row] + 1, tracks.ages[row], tracks.hits[row])
            errors.equal(f"class, age, hits of {track_id}", state, (item["class"], item["age"], item["active"]))
            check_item(errors, tracks.detections, row, item)


ITEM_KEYS = {
    "score", "class", "ct", "tracking", "bbox", "tracking_id", "age", "active", "dep", "dim", "alpha", "loc", "rot_y",
    "hps", "nuscenes_att", "velocity",
}  # fmt: skip


def check_item(errors: Errors, detections: Detections, row: int, item: Mapping[str, Any]) -> None:
    """Compares one detection with an object in the official form.

    Raises:
        UnknownOptionError: The object has a value that is not understood.
    """
    if unknown := sorted(set(item) - ITEM_KEYS):
        raise UnknownOptionError(f"unknown values of an object: {', '.join(unknown)}")
    errors.compare("score", "score", detections.scores[row], item["score"])
    arrays = (
        ("bbox", "box", detections.boxes),
        ("ct", "box", detections.centers),
        ("tracking", "box", detections.displacements),
        ("dim", "3D", detections.dimensions),
        ("loc", "3D", detections.locations),
        ("nuscenes_att", "raw", detections.attributes),
        ("velocity", "raw", detections.velocities),
    )
    for name, kind, values in arrays:
        if name in item:
            errors.compare(kind, name, np.zeros(0) if values is None else values[row], item[name])
    if "dep" in item:
        errors.compare(
            "3D", "dep", np.zeros(0) if detections.depths is None else detections.depths[row : row + 1], item["dep"]
        )
    if "hps" in item:
        points = np.zeros(0) if detections.keypoints is None else detections.keypoints[row].reshape(-1)
        errors.compare("box", "hps", points, item["hps"])
    for name, values in (("alpha", detections.alphas), ("rot_y", detections.rotations_y)):
        if name in item:
            errors.angle(name, np.nan if values is None else values[row], item[name])
