# SPDX-License-Identifier: Apache-2.0
"""The sources of training data that a recipe can name, one reader for each kind.

A new kind needs a line in `recipe.REQUIRED_KEYS` and one in a table here: in `SEQUENCES`, if a reader in `datasets`
makes video sequences of it, else in `IMAGES`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.datasets import dgp, kitti, mot, nuscenes
from centertrack_ros.datasets.bag_tracks import read_tracks
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, tracks_of
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
CROWDHUMAN_SUFFIXES = (".jpg", ".png")


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
    read = _images_of_sequences if entry.kind in SEQUENCES else IMAGES[entry.kind]
    source = read(entry, classes)
    for problem, count in source.problems.items():
        _LOG.warning("%s: left out %d times: %s", source.name, count, problem)
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


def _kitti(entry: DataEntry) -> Iterable[VideoSequence]:
    root = Path(entry.folder)
    names = entry.sequences or sorted(path.stem for path in (root / "label_02").glob("*.txt"))
    if not names:
        raise DataError(root, "no label_02/*.txt: not KITTI's tracking benchmark")
    sequences = []
    for name in names:
        labels = root / "label_02" / f"{name}.txt"
        sequence = kitti.read_tracking(root, name)
        sequences.append(_with_missing(sequence, kitti.read_labels(labels)) if labels.is_file() else sequence)
    return sequences


def _with_missing(sequence: VideoSequence, ground_truth: VideoSequence) -> VideoSequence:
    """The sequence with the frames that have ground truth but no image, so that they are counted."""
    present = {frame.index for frame in sequence}
    missing = [frame for frame in ground_truth if frame.index not in present]
    return replace(sequence, frames=tuple(sorted([*sequence, *missing], key=lambda frame: frame.index)))


def _nuscenes(entry: DataEntry) -> Iterable[VideoSequence]:
    if entry.annotations:
        return nuscenes.read_sample_info(entry.annotations)
    return nuscenes.read_database(entry.folder, entry.version, entry.sequences)


def _mot(entry: DataEntry) -> Iterable[VideoSequence]:
    root = Path(entry.folder)
    folders = [root / name for name in entry.sequences] or sorted(path.parents[1] for path in root.glob("**/gt/gt.txt"))
    if not folders:
        raise DataError(root, "no SEQUENCE/gt/gt.txt in this folder: not MOTChallenge data")
    return [_with_missing(mot.read_sequence(folder), mot.read_truth(folder / "gt" / "gt.txt")) for folder in folders]


def _dgp(entry: DataEntry) -> Iterable[VideoSequence]:
    return [sequence for scene in dgp.find_scenes(entry.folder) for sequence in dgp.read_scene(scene)]


def _crowdhuman(entry: DataEntry) -> Iterable[VideoSequence]:
    """Each image is a sequence of its own; crowds (`mask`) and what is marked to be ignored are ignored regions."""
    path, images = Path(entry.annotations), Path(entry.images)
    sequences = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
            rows = [(_crowd_box(row, entry.box), _is_person(row)) for row in document["gtboxes"]]
            name = str(document["ID"])
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise DataError(path, f"not a line of CrowdHuman's annotations: {error}", number) from None
        files = [images / f"{name}{suffix}" for suffix in CROWDHUMAN_SUFFIXES]
        boxes = np.array([box for box, person in rows if person], np.float64).reshape(-1, 4)
        count = len(boxes)
        tracks = tracks_of(np.arange(1, count + 1), np.zeros(count, np.int64), np.ones(count), boxes)
        ignore = np.array([box for box, person in rows if not person], np.float64).reshape(-1, 4)
        image = next((file for file in files if file.is_file()), None)
        frame = AnnotatedFrame(0, 0.0, tracks, ignore=ignore, image=image)
        sequences.append(VideoSequence(name, ("person",), (frame,), 0, 1))
    return sequences


def _crowd_box(row: dict[str, Any], key: str) -> list[float]:
    x, y, w, h = (float(value) for value in row[key])
    return [x, y, x + w, y + h]


def _is_person(row: dict[str, Any]) -> bool:
    return row["tag"] == "person" and not int(row.get("extra", {}).get("ignore", 0))


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
    "kitti": _kitti,
    "nuscenes": _nuscenes,
    "mot": _mot,
    "crowdhuman": _crowdhuman,
    "dgp": _dgp,
    "bag": _bag,
}
# Kind of data -> reader of its training images.
IMAGES: dict[str, Callable[[DataEntry, Sequence[str]], TrainingImages]] = {
    "coco_video": _coco_video,
    "yolo": _yolo,
    "street": _street,
}
