# SPDX-License-Identifier: Apache-2.0
"""COCO's JSON as training data; what is wrong with an annotation is counted and left out."""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from centertrack_ros.datasets.coco_keys import frame_numbers, track_label, video_of_images
from centertrack_ros.datasets.image_names import ImageFinder
from centertrack_ros.datasets.records import identity_numbers
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.json_files import read_document
from centertrack_ros.training.annotations import LARGEST, AnnotatedImage, Array, TrainingImages, problem_of, usable
from centertrack_ros.training.label_mapping import (
    LabelMapping,
    check_mapping,
    map_by_name,
    mapped_classes,
    unlabelled_classes,
)

_LOG = logging.getLogger(__name__)
RIDER_OFFSET = 1_000_000  # added to the track id of a cyclist's rider


def read_coco_video(
    file: Path, images: Path, classes: Sequence[str], class_map: LabelMapping | None = None
) -> TrainingImages:
    """Read COCO's JSON, with `videos` as the official CenterTrack's converters write it, or without (static images).

    Args:
        file: The annotations.
        images: Folder of the images.
        classes: Of the model.
        class_map: Default: by name, see `label_mapping.map_by_name`.

    Returns:
        The images; what cannot be used of an entry is counted in `problems`.

    Raises:
        DataError: The file is missing or not of this form, or frames or images cannot be told apart or found.
    """
    with _without_garbage_collection():
        return _read_coco_video(file, images, classes, class_map)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Suspend Python's search for reference cycles.

    A JSON document has none, and the search takes a quarter of the time while the document grows.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read_coco_video(
    file: Path, images: Path, classes: Sequence[str], class_map: LabelMapping | None
) -> TrainingImages:
    document = read_document(file)
    try:
        names = {entry["id"].label(): str(entry["name"].value) for entry in document["categories"].items()}
        numbers = [entry["id"].label() for entry in document["images"].items()]
        annotations = [row.mapping() for row in document["annotations"].items()] if "annotations" in document else []
    except DataError as error:
        raise DataError(file, f"not a COCO annotation file: {str(error).removeprefix(f'{file}: ')}") from None
    entries = dict(zip(numbers, document["images"].value, strict=True))
    if not entries:
        raise DataError(file, "no images")
    if len(entries) < len(numbers):
        repeated = next(number for number, count in Counter(numbers).items() if count > 1)
        raise DataError(file, f"two images have the id {repeated}, so their annotations cannot be told apart")
    mapping: LabelMapping = map_by_name(names.values(), classes) if class_map is None else class_map
    _check_categories(file, mapping, set(names.values()), classes)
    problems: Counter[str] = Counter()
    rows: dict[Any, list[dict[str, Any]]] = {number: [] for number in entries}
    for annotation in annotations:
        number = annotation.get("image_id")
        if isinstance(number, (int, str)) and number in rows:
            rows[number].append(annotation)
        else:
            problems["annotation of an unknown image"] += 1
    builder = _ImageBuilder(classes, mapping, names, problems, ImageFinder(images))
    places = _places(file, entries, rows)
    builder.number_tracks(annotations)
    built = [builder.image(entry, rows[number], places.get(number, (-1, 0))) for number, entry in entries.items()]
    annotated = tuple(image for image in built if image is not None)
    if not annotated:
        reason = "no image has a file_name, a height and a width"
        if problems["missing image"]:
            reason = f"none of its {problems['missing image']} images is in {images}"
        raise DataError(file, reason)
    in_videos = [image.track_ids for image in annotated if image.video >= 0]
    if any(map(len, in_videos)) and not any((ids >= 0).any() for ids in in_videos):
        _LOG.warning("%s: no object of its videos has a track_id: nothing tells where it was before", file)
    unlabelled = unlabelled_classes(classes, mapped_classes(mapping, names.values()))
    return TrainingImages(file.parent.name, annotated, unlabelled, dict(problems))


def _check_categories(file: Path, mapping: LabelMapping, names: set[str], classes: Sequence[str]) -> None:
    check_mapping(file, mapping, classes)
    if not names & set(mapping):
        raise DataError(file, f"none of its categories ({', '.join(sorted(names)[:8])}) is a class of the model")
    if unknown := sorted(set(mapping) - names):
        _LOG.warning("%s: class_map: it has no %s", file, ", ".join(unknown))


def _places(
    file: Path, entries: Mapping[Any, Mapping[str, Any]], rows: Mapping[Any, Sequence[Mapping[str, Any]]]
) -> dict[Any, tuple[int, int]]:
    """Image -> (number of its video, frame number) of the images of videos.

    Raises:
        DataError: Some images of a video have a `frame_id` and some not, or two have the same.
    """
    good = {number: entry for number, entry in entries.items() if _is_placed(entry)}
    tracks = ((number, label) for number in good for row in rows[number] if (label := _label(row)) is not None)
    videos = video_of_images(file, list(good.values()), tracks)
    images: dict[Any, list[Any]] = {}
    for number, video in zip(good, videos, strict=True):
        if video is not None:
            images.setdefault(video, []).append(number)
    named = {
        video: [(str(good[n].get("file_name", f"image {n}")), _whole(good[n].get("frame_id"))) for n in chosen]
        for video, chosen in images.items()
    }
    frames = frame_numbers(file, named)
    return {
        number: (place, frame)
        for place, (video, chosen) in enumerate(images.items())
        for number, frame in zip(chosen, frames[video], strict=True)
    }


def _is_placed(entry: Mapping[str, Any]) -> bool:
    """Whether an image entry has a `video_id` and a `frame_id` that can be read, or none."""
    try:
        _whole(entry.get("frame_id"))
        hash(entry.get("video_id"))
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _label(row: Mapping[str, Any]) -> int | str | None:
    """The object's label; None also for one that is none, which is counted where the row is read."""
    try:
        return track_label(row)
    except TypeError:
        return None


class _ImageBuilder:
    """Makes annotated images from the entries of a document, and counts what is wrong."""

    def __init__(
        self,
        classes: Sequence[str],
        mapping: LabelMapping,
        names: Mapping[Any, str],
        problems: Counter[str],
        finder: ImageFinder,
    ) -> None:
        self.number = {name: i for i, name in enumerate(classes)}
        self.mapping, self.names, self.problems, self.finder = mapping, names, problems, finder
        self.untracked = 0  # objects without a track id so far
        self.tracks: dict[int | str, int] = {}  # numbers for labels that are text

    def number_tracks(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Numbers the objects' labels if all are text: 'a7', or a UUID. Among numbers, text is a mistake."""
        labels = {label for row in rows if (label := _label(row)) is not None}
        if labels and all(isinstance(label, str) for label in labels):
            self.tracks = identity_numbers(labels)

    def image(
        self, entry: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], place: tuple[int, int]
    ) -> AnnotatedImage | None:
        """One image entry with its annotations; None, which is counted, for an entry that cannot be read.

        Args:
            entry: Of `images`.
            rows: Its annotations.
            place: Number of the video, -1 for a still, and of the frame.
        """
        found = self._file(entry)
        if found is None:
            return None
        (path, size), (video, frame) = found, place
        kept: list[tuple[int, int, list[float], Mapping[str, Any]]] = []
        ignored: list[list[float]] = []
        for row in rows:
            try:
                objects = self._objects(row)
            except (KeyError, TypeError, ValueError, OverflowError):
                self.problems["annotation without a box of four numbers or a category"] += 1
                continue
            for target, box, half in objects:
                if problem := problem_of(box, size):
                    self.problems[problem] += 1
                elif target is None or row.get("iscrowd"):
                    ignored.append(box)
                else:
                    kept.append((self.number[target], self._track_id(row, half), box, row))
        columns = [row for *_, row in kept]
        depths, dimensions = self._column(columns, "depth", 1), self._column(columns, "dim", 3)
        centers = self._column(columns, "amodel_center", 2)
        if depths is not None and centers is not None:
            # The centre of an object beside or behind the camera has no place in the image.
            unknown = np.isnan(depths)
            if unknown.any():
                centers[unknown & np.array(["depth" in row for row in columns])] = np.nan
        stamp = entry.get("stamp")
        return AnnotatedImage(
            path=path, size=size, video=video, frame=frame,
            boxes=np.array([box for _, _, box, _ in kept], np.float64).reshape(-1, 4),
            class_ids=np.array([c for c, *_ in kept], np.int64), track_ids=np.array([t for _, t, *_ in kept], np.int64),
            ignored=np.array(ignored, np.float64).reshape(-1, 4),
            depths=depths, dimensions=dimensions, alphas=self._column(columns, "alpha", 1),
            amodal_centers=centers, velocities=self._column(columns, "velocity", 3),
            joints=self._keypoints(columns), focal=self._focal(entry.get("calib")),
            stamp=float(stamp) if isinstance(stamp, int | float) else float("nan"),
        )  # fmt: skip

    def _file(self, entry: Mapping[str, Any]) -> tuple[Path, tuple[int, int]] | None:
        """(file, (height, width) px) of an image entry; None, which is counted, without them."""
        try:
            size = (int(entry["height"]), int(entry["width"]))
            if min(size) < 1 or not _is_placed(entry):
                raise ValueError
            path = self.finder.find(entry["file_name"])
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
            self.problems["image entry without file_name, height or width, or with a bad video_id or frame_id"] += 1
            return None
        if path is None:
            self.problems["missing image"] += 1
            return None
        return path, size

    def _objects(self, row: Mapping[str, Any]) -> list[tuple[str | None, list[float], int]]:
        """(model class or None, box, which half) of one annotation; nothing for a category that is not mapped.

        A category of 0 or less is a region to ignore, as in the official converters' files.
        """
        if row.get("iscrowd") and row.get("category_id", 1) <= 0:
            return [(None, _corners(row["bbox"]), 0)]
        name = self.names.get(row.get("category_id", -1))
        if name is None:
            self.problems["unknown category"] += 1
            return []
        if name not in self.mapping:
            return []
        target = self.mapping[name]
        if target is None or isinstance(target, str):
            return [(target, _corners(row["bbox"]), 0)]
        halves = [(row.get("bicycle_bbox"), target[0], 0), (row.get("rider_bbox"), target[1], 1)]
        return [(half, _corners(box), k) for box, half, k in halves if box]

    def _track_id(self, row: Mapping[str, Any], half: int) -> int:
        track_id = -1
        try:
            label = track_label(row)
            if label is not None:
                track_id = self.tracks[label] if self.tracks else int(np.int64(int(label)))
        except (TypeError, ValueError, OverflowError):
            self.problems["track_id that is not a number"] += 1
        if track_id >= 0:
            return track_id + RIDER_OFFSET * half
        self.untracked += 1
        return -self.untracked

    def _column(self, rows: Sequence[Mapping[str, Any]], key: str, width: int) -> Array | None:
        """(N,) or (N, width) of a key, NaN where it is missing or wrong; what is wrong is counted.

        NaN and null mean unknown, and are wrong only for values that have to be positive.
        """
        if not any(key in row for row in rows):
            return None
        positive = key in ("depth", "dim")
        values = _whole_column(rows, key, width, positive)
        if values is None:
            values = np.full((len(rows), width), np.nan)
            for i, row in enumerate(rows):
                entry = _numbers(row.get(key))
                if entry is not None and entry.size == width and usable(entry) and not (positive and entry.min() <= 0):
                    values[i] = entry.ravel()
                elif key in row and (positive or entry is None or not np.isnan(entry).all()):
                    self.problems[f"{key} that is not {'a positive' if positive else 'a'} number"] += 1
        return values[:, 0] if width == 1 else values

    def _keypoints(self, rows: Sequence[Mapping[str, Any]]) -> Array | None:
        """(N, J, 3) of COCO's `keypoints`, not annotated where an object has none or what is not a number."""
        if not any(row.get("keypoints") for row in rows):
            return None
        entries = [_numbers(row.get("keypoints") or ()) for row in rows]
        self.problems.update(["keypoints that are not numbers"] * sum(values is None for values in entries))
        lengths = {values.size for values in entries if values is not None and values.size}
        if not lengths:
            return None
        keypoints = np.zeros((len(rows), max(lengths) // 3, 3))
        for i, values in enumerate(entries):
            if values is not None and values.size == keypoints[i].size:
                joints = values.reshape(-1, 3)
                keypoints[i] = np.where((np.abs(joints) <= LARGEST).all(axis=1, keepdims=True), joints, 0.0)
        return keypoints

    def _focal(self, calibration: Any) -> float | None:
        """px; None without a calibration matrix, or one whose first number is no focal length."""
        if calibration is None:
            return None
        matrix = _numbers(calibration)
        if matrix is not None and matrix.ndim == 2 and matrix.size and 0 < matrix[0, 0] <= LARGEST:
            return float(matrix[0, 0])
        self.problems["calib that does not begin with a focal length"] += 1
        return None


def _numbers(value: Any) -> Array | None:
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None


def _whole_column(rows: Sequence[Mapping[str, Any]], key: str, width: int, positive: bool) -> Array | None:
    """(N, width) of a key that is right in all rows, converted at once; None: convert them one by one."""
    try:
        values = np.array([row[key] for row in rows], np.float64)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if values.size != len(rows) * width:
        return None
    low, high = values.min(), values.max()  # NaN when any of them is
    if not (low >= -LARGEST and high <= LARGEST) or (positive and low <= 0):
        return None
    return values.reshape(-1, width)


def _corners(box: Sequence[float]) -> list[float]:
    x, y, w, h = map(float, box)
    return [x, y, x + w, y + h]
