"""Recordings of the evaluation's readers as training data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence
from centertrack_ros.geometry.boxes3d import alphas_from_rotation, centers, projected_boxes
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.io.errors import DataError
from centertrack_ros.training.annotations import LARGEST, AnnotatedImage, ClassMap, Collection, problem_of, size_of
from centertrack_ros.types import Detections

Array = NDArray[Any]
# Classes of KITTI and MOT17 that are so like others that a detector may find them: ignored regions, unless the model
# has a class of that name.
KITTI_LIKE = ("Van", "Truck", "Person", "Cyclist")
MOT_LIKE = ("person_on_vehicle", "static_person", "distractor", "reflection", "crowd")
NAMELESS = ("Person",)  # KITTI's sitting people are nobody's pedestrians


def from_recordings(
    name: str,
    recordings: Iterable[VideoSequence],
    classes: Sequence[str],
    class_map: ClassMap,
    labelled: Sequence[str] | None = None,
) -> Collection:
    """A collection of all frames that have a picture; objects without a 2D box get that of their 3D box.

    classes    of the model;  class_map  data class -> model class or None (ignored region); others are background
    labelled   model classes that are annotated throughout; default: all that the map leads to
    What cannot be used is counted: missing pictures, bad boxes, depths that are none, unmapped classes that no reader
    knows. Raises DataError when the map leads to a class that the model does not have, or no picture is there.
    """
    number = {model_class: i for i, model_class in enumerate(classes)}
    for data_class, target in class_map.items():
        if target is not None and (not isinstance(target, str) or target not in number):
            raise DataError(name, f"maps '{data_class}' to {target!r}, expected a class of the model or null")
    problems: Counter[str] = Counter()
    images = []
    for video, recording in enumerate(recordings):
        for frame in recording:
            if frame.image is None:
                problems["missing image"] += 1
                continue
            size = recording.image_size or size_of(frame.image)
            if size is None:
                problems["image that cannot be read"] += 1
                continue
            targets = [class_map.get(data_class, "") for data_class in recording.classes]
            images.append(_image(frame, size, video, targets, number, problems))
    if not images:
        raise DataError(name, "no images to train on")
    covered = {target for target in class_map.values() if isinstance(target, str)}
    covered = covered if labelled is None else set(labelled)
    unlabelled = np.array([i for model_class, i in number.items() if model_class not in covered], np.int64)
    return Collection(name, tuple(images), unlabelled, dict(problems))


def _image(
    frame: AnnotatedFrame, size: tuple[int, int], video: int, targets: Sequence[Any], number: Mapping[str, int],
    problems: Counter[str],
) -> AnnotatedImage:  # fmt: skip
    """One frame. `targets` by the data's class: a model class, None for an ignored region, '' for background."""
    assert frame.image is not None
    found = frame.tracks.detections
    boxes = _boxes(found, frame.camera)
    considered = frame.flags.get("considered", np.ones(len(boxes), bool))
    keep, ignored = [], [*frame.ignore]
    for row, (box, class_id) in enumerate(zip(boxes, found.class_ids.tolist(), strict=True)):
        target = targets[class_id]
        if target == "":
            continue
        if problem := problem_of(box, size):
            problems[problem] += 1
        elif target is None or not considered[row]:
            ignored.append(box)
        else:
            keep.append(row)
    chosen = found.select(np.array(keep, np.int64))
    regions = [box for box in ignored if not problem_of(box, size)]
    return AnnotatedImage(
        path=frame.image, size=(int(size[0]), int(size[1])), video=video, frame=frame.index,
        boxes=boxes[keep].reshape(-1, 4),
        class_ids=np.array([number[targets[c]] for c in chosen.class_ids.tolist()], np.int64),
        track_ids=frame.tracks.ids[keep], ignored=np.array(regions, np.float64).reshape(-1, 4),
        focal=None if frame.camera is None else frame.camera.focal[0], stamp=frame.stamp,
        **_solid(chosen, frame.camera, boxes[keep], problems),
    )  # fmt: skip


def _boxes(found: Detections, camera: Camera | None) -> Array:
    """(N, 4) px; of objects that are known in 3D alone what their box covers in the image."""
    boxes = np.array(found.boxes, np.float64).reshape(-1, 4)
    unknown = ~np.isfinite(boxes).all(axis=1)
    if unknown.any() and camera is not None and found.dimensions is not None:
        assert found.locations is not None and found.rotations_y is not None
        solid = projected_boxes(found.dimensions, found.locations, found.rotations_y, camera)
        boxes[unknown] = solid[unknown]
    return boxes


def _solid(found: Detections, camera: Camera | None, boxes: Array, problems: Counter[str]) -> dict[str, Array | None]:
    """The 3D columns; NaN for an object whose depth or size is none."""
    if found.depths is None or found.dimensions is None or camera is None:
        return {}
    depths, sizes = np.array(found.depths, np.float64), np.array(found.dimensions, np.float64)
    both = np.column_stack([depths, sizes])
    partly = np.isfinite(both).any(axis=1)
    good = ((both > 0) & (both <= LARGEST)).all(axis=1)
    if count := int((partly & ~good).sum()):
        problems["depth or size that is not a positive number"] += count
    middles = None
    if found.amodal_centers is not None:
        middles = np.array(found.amodal_centers, np.float64)
    elif found.locations is not None:
        middles = np.full((len(good), 2), np.nan)
        if good.any():
            middles[good] = camera.distort(camera.project(centers(sizes[good], found.locations[good])))
    alphas = None if found.alphas is None else np.array(found.alphas, np.float64)
    if found.rotations_y is not None:
        pixels = (boxes[:, 0] + boxes[:, 2]) / 2 if middles is None else middles[:, 0]
        derived = alphas_from_rotation(found.rotations_y, pixels, camera.projection[0, 2], camera.focal[0])
        alphas = derived if alphas is None else np.where(np.isnan(alphas), derived, alphas)
    columns = {
        "depths": depths, "dimensions": sizes, "alphas": alphas, "amodal_centers": middles,
        "velocities": found.velocities,
    }  # fmt: skip
    return {name: None if values is None else _only(values, good) for name, values in columns.items()}


def _only(values: Array, good: Array) -> Array:
    """The rows that are good and numbers; the others NaN."""
    values = np.array(values, np.float64)
    values[~good] = np.nan
    return np.where(np.abs(values) <= LARGEST, values, np.nan)
