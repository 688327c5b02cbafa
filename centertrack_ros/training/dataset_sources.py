# SPDX-License-Identifier: Apache-2.0
"""The data sets of the field as training data, by the readers in `datasets`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from centertrack_ros.datasets import dgp, kitti, mot, nuscenes
from centertrack_ros.datasets.bag_tracks import read_tracks
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, tracks_of
from centertrack_ros.io.errors import DataError
from centertrack_ros.training.annotations import TrainingImages
from centertrack_ros.training.bag_images import extract
from centertrack_ros.training.label_mapping import mapping_of_sequences
from centertrack_ros.training.recordings import images_of_sequences

if TYPE_CHECKING:
    from centertrack_ros.training.recipe import DataEntry

CROWDHUMAN_SUFFIXES = (".jpg", ".png")


def read(entry: DataEntry, classes: Sequence[str]) -> TrainingImages:
    """The images of a recipe's entry of one of the kinds of `READERS`.

    Args:
        entry: Of the recipe.
        classes: Of the model.

    Raises:
        DataError: The data cannot be read, or its classes do not fit the model's.
    """
    sequences = list(READERS[entry.kind](entry))
    names = sorted({name for sequence in sequences for name in sequence.classes})
    location = entry.folder or entry.annotations
    mapping = mapping_of_sequences(location, entry.kind, names, classes, entry.class_map)
    return images_of_sequences(Path(location).name, sequences, classes, mapping, entry.labelled)


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


READERS = {
    "kitti": _kitti,
    "nuscenes": _nuscenes,
    "mot": _mot,
    "crowdhuman": _crowdhuman,
    "dgp": _dgp,
    "bag": _bag,
}
