# SPDX-License-Identifier: Apache-2.0
"""Video sequences of the data set readers as training data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.records import NO_IDENTITY, AnnotatedFrame, VideoSequence
from centertrack_ros.geometry.boxes3d import alphas_from_rotation, centers, projected_boxes
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.image_files import image_size
from centertrack_ros.training.annotations import LARGEST, AnnotatedImage, TrainingImages, problem_of
from centertrack_ros.training.label_mapping import (
    LabelMapping,
    check_single_targets,
    mapped_classes,
    unlabelled_classes,
)
from centertrack_ros.types import Detections

Array = NDArray[Any]


def images_of_sequences(
    name: str,
    sequences: Iterable[VideoSequence],
    classes: Sequence[str],
    mapping: LabelMapping,
    labelled: Sequence[str] | None = None,
) -> TrainingImages:
    """All frames that have an image; an object without a 2D box gets the box around its 3D box.

    Args:
        name: Of the source.
        sequences: Whose classes are those of the data set.
        classes: Of the model.
        mapping: Class of the data -> class of the model or None (ignored region); other classes are background.
        labelled: Model classes that are annotated throughout; default: all that the mapping leads to.

    Returns:
        The images; missing images, wrong boxes and wrong depths are counted in `problems`.

    Raises:
        DataError: The mapping leads to something else than a class of the model, or there are no images.
    """
    check_single_targets(name, mapping, classes)
    number = {model_class: i for i, model_class in enumerate(classes)}
    problems: Counter[str] = Counter()
    images: list[AnnotatedImage] = []
    first_stranger = NO_IDENTITY
    for video, sequence in enumerate(sequences):
        targets = [mapping.get(data_class, "") for data_class in sequence.classes]
        for frame in sequence:
            if frame.image is None:
                problems["missing image"] += 1
                continue
            size = sequence.image_size or image_size(frame.image)
            if size is None:
                problems["image that cannot be read"] += 1
                continue
            images.append(_image(frame, size, video, targets, number, problems))
            first_stranger -= _name_strangers(images[-1].track_ids, first_stranger)
    if not images:
        lost = ", ".join(f"{count} times: {problem}" for problem, count in problems.items())
        raise DataError(name, f"no images to train on{f' ({lost})' if lost else ''}")
    covered = mapped_classes(mapping, mapping) if labelled is None else labelled
    return TrainingImages(name, tuple(images), unlabelled_classes(classes, covered), dict(problems))


def _name_strangers(ids: Array, first: int) -> int:
    """Gives objects without identity numbers of their own, downwards from `first`: they are in no other image."""
    strangers = np.flatnonzero(ids == NO_IDENTITY)
    ids[strangers] = first - np.arange(len(strangers))
    return len(strangers)


def _image(
    frame: AnnotatedFrame, size: tuple[int, int], video: int, targets: Sequence[Any], number: Mapping[str, int],
    problems: Counter[str],
) -> AnnotatedImage:  # fmt: skip
    """One frame. `targets` by the data's class: a model class, None for an ignored region, '' for background."""
    assert frame.image is not None
    detections = frame.tracks.detections
    boxes = _boxes(detections, frame.camera)
    considered = frame.flags.get("considered", np.ones(len(boxes), bool))
    keep, ignored = [], [*frame.ignore]
    for row, (box, class_id) in enumerate(zip(boxes, detections.class_ids.tolist(), strict=True)):
        target = targets[class_id]
        if target == "":
            continue
        if problem := problem_of(box, size):
            problems[problem] += 1
        elif target is None or not considered[row]:
            ignored.append(box)
        else:
            keep.append(row)
    chosen = detections.select(np.array(keep, np.int64))
    regions = [box for box in ignored if not problem_of(box, size)]
    return AnnotatedImage(
        path=frame.image, size=(int(size[0]), int(size[1])), video=video, frame=frame.index,
        boxes=boxes[keep].reshape(-1, 4),
        class_ids=np.array([number[targets[c]] for c in chosen.class_ids.tolist()], np.int64),
        track_ids=np.array(frame.tracks.ids[keep], np.int64), ignored=np.array(regions, np.float64).reshape(-1, 4),
        focal=None if frame.camera is None else frame.camera.focal[0], stamp=frame.stamp,
        **_columns_3d(chosen, frame.camera, boxes[keep], problems),
    )  # fmt: skip


def _boxes(detections: Detections, camera: Camera | None) -> Array:
    """(N, 4) px; of an object that is annotated in 3D alone the box around its projected 3D box."""
    boxes = np.array(detections.boxes, np.float64).reshape(-1, 4)
    unknown = ~np.isfinite(boxes).all(axis=1)
    if unknown.any() and camera is not None and detections.dimensions is not None:
        assert detections.locations is not None and detections.rotations_y is not None
        projected = projected_boxes(detections.dimensions, detections.locations, detections.rotations_y, camera)
        boxes[unknown] = projected[unknown]
    return boxes


def _columns_3d(
    detections: Detections, camera: Camera | None, boxes: Array, problems: Counter[str]
) -> dict[str, Array | None]:
    """The 3D columns; NaN for an object whose depth or size is unknown or wrong."""
    if detections.depths is None or detections.dimensions is None or camera is None:
        return {}
    depths, dimensions = np.array(detections.depths, np.float64), np.array(detections.dimensions, np.float64)
    both = np.column_stack([depths, dimensions])
    annotated = np.isfinite(both).any(axis=1)
    good = np.all((both > 0) & (both <= LARGEST), axis=1)
    if count := int((annotated & ~good).sum()):
        problems["depth or size that is not a positive number"] += count
    amodal_centers = None
    if detections.amodal_centers is not None:
        amodal_centers = np.array(detections.amodal_centers, np.float64)
    elif detections.locations is not None:
        amodal_centers = np.full((len(good), 2), np.nan)
        if good.any():
            amodal_centers[good] = camera.distort(camera.project(centers(dimensions[good], detections.locations[good])))
    alphas = None if detections.alphas is None else np.array(detections.alphas, np.float64)
    if detections.rotations_y is not None:
        pixels = (boxes[:, 0] + boxes[:, 2]) / 2 if amodal_centers is None else amodal_centers[:, 0]
        derived = alphas_from_rotation(detections.rotations_y, pixels, camera.projection[0, 2], camera.focal[0])
        alphas = derived if alphas is None else np.where(np.isnan(alphas), derived, alphas)
    columns = {
        "depths": depths, "dimensions": dimensions, "alphas": alphas, "amodal_centers": amodal_centers,
        "velocities": detections.velocities,
    }  # fmt: skip
    return {name: None if values is None else _usable_rows(values, good) for name, values in columns.items()}


def _usable_rows(values: Array, good: Array) -> Array:
    """The values of good rows that are usable numbers; NaN for the others."""
    values = np.array(values, np.float64)
    values[~good] = np.nan
    return np.where(np.abs(values) <= LARGEST, values, np.nan)
