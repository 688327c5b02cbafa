# SPDX-License-Identifier: Apache-2.0
"""Static images with YOLO's text files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from centertrack_ros.datasets.image_names import files_in
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.image_files import image_size
from centertrack_ros.io.text_files import read_lines
from centertrack_ros.training.annotations import AnnotatedImage, Array, TrainingImages, problem_of
from centertrack_ros.training.label_mapping import (
    LabelMapping,
    check_mapping,
    map_by_name,
    mapped_classes,
    unlabelled_classes,
)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def read_yolo(
    images: Path, labels: Path, names: Sequence[str], classes: Sequence[str], class_map: LabelMapping | None = None,
    labelled: Sequence[str] | None = None,
) -> TrainingImages:  # fmt: skip
    """Read static images with a text file each: class, centre x, y, width, height as parts of the image size.

    A row may end with a score; a polygon counts as the box around it.

    Args:
        images: Folder.
        labels: Folder of the text files; an image without one has no objects.
        names: Of the class numbers in the files.
        classes: Of the model.
        class_map: Default: by name, see `label_mapping.map_by_name`.
        labelled: Model classes that are annotated throughout; default: all that the mapping leads to.

    Raises:
        DataError: A row cannot be read (with file and line), or the mapping leads to an unknown class.
        FileNotFoundError: There are no images.
    """
    mapping: LabelMapping = map_by_name(names, classes) if class_map is None else class_map
    check_mapping(images, mapping, classes)
    number = {name: i for i, name in enumerate(classes)}
    files = files_in(images, IMAGE_SUFFIXES)
    if not files:
        raise FileNotFoundError(f"{images}: no images")
    texts = {path.stem: path for path in files_in(labels, [".txt"])}
    if not texts.keys() & {path.stem for path in files}:
        raise DataError(labels, f"no label file NAME.txt of any of the {len(files)} images in {images}")
    problems: Counter[str] = Counter()
    annotated = []
    for path in files:
        size = image_size(path)
        if size is None:
            problems["image that cannot be read"] += 1
            continue
        boxes, ids, ignored = [], [], []
        for class_id, box in _rows(texts.get(path.stem), size):
            name = names[class_id] if 0 <= class_id < len(names) else ""
            problem = problem_of(box, size) if name else "unknown category"
            target = mapping.get(name)
            if problem:
                problems[problem] += 1
            elif isinstance(target, str):
                boxes.append(box)
                ids.append(number[target])
            elif name in mapping:
                ignored.append(box)
        annotated.append(AnnotatedImage(
            path, size, -1, 0, np.array(boxes, np.float64).reshape(-1, 4), np.array(ids, np.int64),
            np.arange(1, len(boxes) + 1), np.array(ignored, np.float64).reshape(-1, 4),
        ))  # fmt: skip
    if not annotated:
        raise DataError(images, f"none of the {len(files)} images can be read")
    covered = mapped_classes(mapping, names) if labelled is None else labelled
    return TrainingImages(images.name, tuple(annotated), unlabelled_classes(classes, covered), dict(problems))


def _rows(file: Path | None, size: tuple[int, int]) -> list[tuple[int, list[float]]]:
    """(class, corners px) of each row; nothing without a file."""
    rows: list[tuple[int, list[float]]] = []
    if file is None:
        return rows
    for line_number, line in enumerate(read_lines(file), 1):
        parts = line.split()
        if not parts:
            continue
        try:
            class_id, values = int(float(parts[0])), np.array(parts[1:], np.float64)
            if class_id != float(parts[0]):
                raise ValueError(f"{parts[0]} is no number of a class")
            x1, y1, x2, y2 = _corners(values)
        except (ValueError, OverflowError):
            raise DataError(file, f"expected 'class x y width height', got '{line[:60]}'", line_number) from None
        rows.append((class_id, [x1 * size[1], y1 * size[0], x2 * size[1], y2 * size[0]]))
    return rows


def _corners(values: Array) -> tuple[float, float, float, float]:
    """Corners of 'x y width height', with or without a score, or of a polygon 'x y x y x y …'. Raises ValueError."""
    if len(values) >= 6 and len(values) % 2 == 0:
        points = values.reshape(-1, 2)
        return (*points.min(axis=0), *points.max(axis=0))
    x, y, width, height = values[:4] if len(values) == 5 else values
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2
