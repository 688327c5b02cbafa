# SPDX-License-Identifier: Apache-2.0
"""The sources of training data that a recipe can name, one reader for each kind.

A data set of `datasets.registry` needs a line in `recipe.REQUIRED_KEYS`. Another kind also needs one in a table here:
in `SEQUENCES` if it is read as video sequences, else in `IMAGES`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from centertrack_ros.datasets.bag_tracks import read_tracks
from centertrack_ros.datasets.records import VideoSequence
from centertrack_ros.datasets.registry import READERS, DatasetLocation, read_dataset
from centertrack_ros.io.errors import DataError
from centertrack_ros.training.annotations import TrainingImages
from centertrack_ros.training.bag_images import extract
from centertrack_ros.training.coco_images import read_coco_video
from centertrack_ros.training.label_mapping import mapping_of_sequences
from centertrack_ros.training.recipe import DataEntry
from centertrack_ros.training.streets import render_streets
from centertrack_ros.training.video_sequences import images_of_sequences
from centertrack_ros.training.yolo_images import read_yolo

_LOG = logging.getLogger(__name__)


def prepare(entry: DataEntry, jobs: int = 1) -> None:
    """Write the files that `load` needs, so that several processes do not do so at once.

    Args:
        entry: Of a recipe.
        jobs: Processes that render streets.
    """
    if entry.kind == "street":
        render_streets(Path(entry.folder), entry.street, jobs)
    elif entry.kind == "bag":
        extract(Path(entry.folder), Path(entry.images))


def load(entry: DataEntry, classes: Sequence[str]) -> TrainingImages:
    """The images of a recipe's entry; what was left out is logged, with counts.

    Args:
        entry: Of a recipe.
        classes: Of the model.

    Raises:
        DataError: The data cannot be read, or its classes do not fit the model's.
        FileNotFoundError: A file or folder does not exist.
    """
    if unknown := sorted(set(entry.labelled or ()) - set(classes)):
        raise DataError(entry.folder or entry.annotations or entry.images, f"labelled: the model has no '{unknown[0]}'")
    read = _images_of_sequences if entry.kind in SEQUENCES else IMAGES[entry.kind]
    source = read(entry, classes)
    for problem, count in source.problems.items():
        _LOG.warning("%s: left out %d times: %s", source.name, count, problem)
    objects = sum(len(image.boxes) for image in source.images)
    if not objects and any("missing" not in problem for problem in source.problems):
        raise DataError(source.name, "no annotation can be used: all were left out, or are of no class of the model")
    if not objects:
        _LOG.warning("%s: %d images without any object of the model's classes", source.name, len(source.images))
    if entry.limit and entry.limit < len(source.images):
        keep = np.linspace(0, len(source.images) - 1, entry.limit).astype(int)
        source = replace(source, images=tuple(source.images[i] for i in keep))
    return source


def _images_of_sequences(entry: DataEntry, classes: Sequence[str]) -> TrainingImages:
    sequences = list(SEQUENCES[entry.kind](entry))
    names = sorted({name for sequence in sequences for name in sequence.classes})
    location = entry.folder or entry.annotations
    mapping = mapping_of_sequences(location, entry.kind, names, classes, entry.class_map)
    return images_of_sequences(Path(location).name, sequences, classes, mapping, entry.labelled)


def _coco_video(entry: DataEntry, classes: Sequence[str]) -> TrainingImages:
    return read_coco_video(Path(entry.annotations), Path(entry.images), classes, entry.class_map)


def _yolo(entry: DataEntry, classes: Sequence[str]) -> TrainingImages:
    images, labels = Path(entry.images), Path(entry.labels)
    return read_yolo(images, labels, entry.names, classes, entry.class_map, entry.labelled)


def _street(entry: DataEntry, classes: Sequence[str]) -> TrainingImages:
    folder = Path(entry.folder)
    render_streets(folder, entry.street)
    return read_coco_video(folder / "annotations.json", folder / "images", classes, entry.class_map)


def _dataset(entry: DataEntry) -> Iterable[VideoSequence]:
    location = DatasetLocation(
        Path(entry.annotations or entry.folder),
        images=Path(entry.images) if entry.images else None,
        sequences=entry.sequences,
        version=entry.version,
        box=entry.box,
    )
    return read_dataset(entry.kind, location)


def _bag(entry: DataEntry) -> Iterable[VideoSequence]:
    """A bag's images, written into `images` on first use, with the detections under `prefix`."""
    bag = Path(entry.folder)
    ground_truth, images = read_tracks(bag, entry.prefix), extract(bag, Path(entry.images))
    sequences = []
    for camera, annotated in ground_truth.items():
        if len(ground_truth) == len(images) == 1:  # the names may differ
            of_camera = next(iter(images.values()))
        elif camera in images:
            of_camera = images[camera]
        else:
            raise DataError(bag, f"ground truth for a camera '{camera}', but images of {', '.join(images)}")
        by_stamp = {image.stamp: image for image in of_camera}
        frames = []
        for frame in annotated:
            image = by_stamp.get(int(frame.token) / 1e9)
            frames.append(replace(frame, image=image.path if image else None, camera=image.camera if image else None))
        sequences.append(replace(annotated, frames=tuple(frames)))
    return sequences


# Kind of data -> reader of its video sequences; `images_of_sequences` makes training images of them.
SEQUENCES: dict[str, Callable[[DataEntry], Iterable[VideoSequence]]] = {
    **{kind: _dataset for kind in READERS if kind != "coco_video"},
    "bag": _bag,
}
# Kind of data -> reader of its training images.
IMAGES: dict[str, Callable[[DataEntry, Sequence[str]], TrainingImages]] = {
    "coco_video": _coco_video,
    "yolo": _yolo,
    "street": _street,
}
