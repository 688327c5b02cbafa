"""Annotated images in memory, whichever kind of file they come from; what is wrong with an annotation is counted,
not trained on.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.records import DataError

Array = NDArray[Any]
# What a class of the data becomes: a class of the model; None: an ignored region; a pair: a cyclist's bicycle and
# rider.
ClassMap = Mapping[str, "str | None | Sequence[str]"]
SECOND_HALF = 1_000_000  # added to the track id of a cyclist's rider
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


@dataclass(frozen=True)
class AnnotatedImage:
    """One image with N objects; boxes in px of the image. NaN in 3D columns: unknown.

    video      number of its video within its collection, -1: a still image;  frame  its place there
    size       (height, width) px
    ignored    (M, 4) boxes where a detection is neither right nor wrong
    joints     (N, J, 3) x, y px and how each is annotated: 0 not, 1 hidden, 2 visible (COCO's keypoints)
    focal      px, None: not calibrated
    stamp      s, NaN: unknown
    """

    path: Path
    size: tuple[int, int]
    video: int
    frame: int
    boxes: Array
    class_ids: Array
    track_ids: Array
    ignored: Array = field(default_factory=lambda: np.zeros((0, 4)))
    depths: Array | None = None
    dimensions: Array | None = None
    alphas: Array | None = None
    amodal_centers: Array | None = None
    velocities: Array | None = None
    joints: Array | None = None
    focal: float | None = None
    stamp: float = float("nan")


@dataclass(frozen=True)
class Collection:
    """Images of one kind. `unlabelled` (U,) classes of the model that its annotations do not cover; `problems`: why
    how many
    annotations were left out."""

    name: str
    images: tuple[AnnotatedImage, ...]
    unlabelled: Array
    problems: Mapping[str, int]


def problem_of(box: Sequence[float], size: tuple[int, int]) -> str:
    """What is wrong with a box x1, y1, x2, y2 in an image of (height, width) px; '' when nothing is."""
    x1, y1, x2, y2 = box
    if not np.isfinite(box).all():
        return "box that is not a number"
    if x2 - x1 <= 0 or y2 - y1 <= 0:
        return "box without area"
    if x2 <= 0 or y2 <= 0 or x1 >= size[1] or y1 >= size[0]:
        return "box outside the image"
    return ""


def _unlabelled(classes: Sequence[str], covered: set[str]) -> Array:
    return np.array([i for i, name in enumerate(classes) if name not in covered], np.int64)


def _check_map(where: object, class_map: ClassMap, classes: Sequence[str]) -> set[str]:
    """The model classes that the map leads to. Raises DataError for one that the model does not have."""
    covered: set[str] = set()
    for target in class_map.values():
        covered.update([target] if isinstance(target, str) else target or [])
    if unknown := sorted(covered - set(classes)):
        raise DataError(str(where), f"maps to class '{unknown[0]}', which the model does not have")
    return covered


def read_coco_video(file: Path, images: Path, classes: Sequence[str], class_map: ClassMap | None = None) -> Collection:
    """COCO's JSON, with `videos` as the official CenterTrack has them, or without (still images).

    classes    of the model;  class_map  by default every category that bears a model class's name
    Raises DataError for a file that is not of this form, FileNotFoundError when it is not there.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        names = {entry["id"]: entry["name"] for entry in document["categories"]}
        entries = {entry["id"]: entry for entry in document["images"]}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(file, f"not a COCO annotation file: {error}") from None
    chosen: ClassMap = {name: name for name in classes} if class_map is None else class_map
    covered = _check_map(file, chosen, classes)
    if not set(names.values()) & set(chosen):
        raise DataError(
            file, f"none of its categories ({', '.join(sorted(names.values())[:8])}) is a class of the model"
        )
    problems: Counter[str] = Counter()
    rows: dict[int, list[dict[str, Any]]] = {number: [] for number in entries}
    for annotation in document.get("annotations", []):
        if annotation.get("image_id") in rows:
            rows[annotation["image_id"]].append(annotation)
        else:
            problems["annotation of an unknown image"] += 1
    builder = _Builder(classes, chosen, names, problems)
    found = tuple(builder.image(entry, rows[number], images) for number, entry in entries.items())
    return Collection(
        file.parent.name, found, _unlabelled(classes, covered & set(_targets(chosen, names.values()))), dict(problems)
    )


def _targets(class_map: ClassMap, names: Any) -> list[str]:
    found: list[str] = []
    for name in names:
        target = class_map.get(name)
        found += [target] if isinstance(target, str) else list(target or [])
    return found


class _Builder:
    def __init__(
        self, classes: Sequence[str], class_map: ClassMap, names: Mapping[int, str], problems: Counter[str]
    ) -> None:
        self.number = {name: i for i, name in enumerate(classes)}
        self.class_map, self.names, self.problems = class_map, names, problems

    def image(self, entry: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], folder: Path) -> AnnotatedImage:
        """One image entry with its annotations."""
        size = (int(entry["height"]), int(entry["width"]))
        kept: list[tuple[int, int, list[float], Mapping[str, Any]]] = []
        ignored: list[list[float]] = []
        for place, row in enumerate(rows):
            for target, box, half in self._objects(row):
                if problem := problem_of(box, size):
                    self.problems[problem] += 1
                elif target is None or row.get("iscrowd"):
                    ignored.append(box)
                else:
                    track = int(row.get("track_id", place + 1)) + SECOND_HALF * half
                    kept.append((self.number[target], track, box, row))
        calibration, stamp = entry.get("calib"), entry.get("stamp")
        columns = [row for *_, row in kept]
        depths, sizes = _known(columns, "depth", 1), _known(columns, "dim", 3)
        for key, values in (("depth", depths), ("dim", sizes)):
            if values is not None:
                told = np.array([key in row for row in columns])
                if count := int((told & np.isnan(values.reshape(len(told), -1)[:, 0])).sum()):
                    self.problems[f"{key} that is not a positive number"] += count
        return AnnotatedImage(
            path=folder / entry["file_name"], size=size, video=int(entry.get("video_id", -1)),
            frame=int(entry.get("frame_id", 0)),
            boxes=np.array([box for _, _, box, _ in kept], np.float64).reshape(-1, 4),
            class_ids=np.array([c for c, *_ in kept], np.int64), track_ids=np.array([t for _, t, *_ in kept], np.int64),
            ignored=np.array(ignored, np.float64).reshape(-1, 4),
            depths=depths, dimensions=sizes, alphas=_known(columns, "alpha", 1),
            amodal_centers=_known(columns, "amodel_center", 2), velocities=_known(columns, "velocity", 3),
            joints=_keypoints(columns),
            focal=float(calibration[0][0]) if calibration else None,
            stamp=float(stamp) if isinstance(stamp, int | float) else float("nan"),
        )  # fmt: skip

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
        if name not in self.class_map:
            return []
        target = self.class_map[name]
        if target is None or isinstance(target, str):
            return [(target, _corners(row["bbox"]), 0)]
        halves = [(row.get("bicycle_bbox"), target[0], 0), (row.get("rider_bbox"), target[1], 1)]
        return [(half, _corners(box), k) for box, half, k in halves if box]


def _corners(box: Sequence[float]) -> list[float]:
    x, y, w, h = (float(v) for v in box)
    return [x, y, x + w, y + h]


def _known(rows: Sequence[Mapping[str, Any]], key: str, width: int) -> Array | None:
    """(N,) or (N, width) of a key, NaN where it is missing, not finite, or a depth that is not in front of the
    camera.
    """
    if not any(key in row for row in rows):
        return None
    values = np.full((len(rows), width), np.nan)
    for i, row in enumerate(rows):
        found = np.asarray(row.get(key, np.nan), np.float64).ravel()
        if found.shape == (width,) and np.isfinite(found).all() and not (key in ("depth", "dim") and found.min() <= 0):
            values[i] = found
    return values[:, 0] if width == 1 else values


def _keypoints(rows: Sequence[Mapping[str, Any]]) -> Array | None:
    """(N, J, 3) of COCO's `keypoints`, not annotated where an object has none or what is not a number."""
    lengths = {len(row["keypoints"]) for row in rows if row.get("keypoints")}
    if not lengths:
        return None
    found = np.zeros((len(rows), max(lengths) // 3, 3))
    for i, row in enumerate(rows):
        values = np.asarray(row.get("keypoints") or [], np.float64)
        if values.size == found[i].size:
            joints = values.reshape(-1, 3)
            found[i] = np.where(np.isfinite(joints).all(axis=1, keepdims=True), joints, 0.0)
    return found


def read_yolo(
    images: Path, labels: Path, names: Sequence[str], classes: Sequence[str], class_map: ClassMap | None = None,
    labelled: Sequence[str] | None = None,
) -> Collection:  # fmt: skip
    """Still images with YOLO text files (class, centre x, y, width, height as parts of the image).

    names      of the numbers in the files;  classes  of the model;  class_map  as in `read_coco_video`
    labelled   model classes that are annotated throughout; default: all that the map leads to
    Raises DataError with file and line for text that cannot be read, FileNotFoundError when there are no images.
    """
    chosen: ClassMap = {name: name for name in classes} if class_map is None else class_map
    covered = _check_map(images, chosen, classes) & set(_targets(chosen, names))
    number = {name: i for i, name in enumerate(classes)}
    files = sorted(path for path in images.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise FileNotFoundError(f"{images}: no images")
    problems: Counter[str] = Counter()
    found = []
    for path in files:
        size = size_of(path)
        if size is None:
            problems["image that cannot be read"] += 1
            continue
        boxes, ids, ignored = [], [], []
        for class_id, box in _yolo_rows(labels / f"{path.stem}.txt", size):
            name = names[class_id] if class_id < len(names) else ""
            problem = problem_of(box, size) if name else "unknown category"
            target = chosen.get(name)
            if problem:
                problems[problem] += 1
            elif isinstance(target, str):
                boxes.append(box)
                ids.append(number[target])
            elif name in chosen:
                ignored.append(box)
        found.append(AnnotatedImage(
            path, size, -1, 0, np.array(boxes, np.float64).reshape(-1, 4), np.array(ids, np.int64),
            np.arange(1, len(boxes) + 1), np.array(ignored, np.float64).reshape(-1, 4),
        ))  # fmt: skip
    return Collection(
        images.name, tuple(found), _unlabelled(classes, set(covered if labelled is None else labelled)), dict(problems)
    )


def size_of(path: Path) -> tuple[int, int] | None:
    """(height, width) px of an image file; None when it cannot be read."""
    image = cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_8)
    if image is None:
        return None
    try:
        from PIL import Image

        with Image.open(path) as header:
            return header.height, header.width
    except (ImportError, OSError):
        whole = cv2.imread(str(path))
        return None if whole is None else (whole.shape[0], whole.shape[1])


def _yolo_rows(file: Path, size: tuple[int, int]) -> list[tuple[int, list[float]]]:
    rows = []
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    for line_number, line in enumerate(text.splitlines(), 1):
        parts = line.split()
        if not parts:
            continue
        try:
            class_id, (cx, cy, w, h) = int(float(parts[0])), (float(part) for part in parts[1:5])
        except ValueError:
            raise DataError(file, f"expected 'class x y width height', got '{line[:60]}'", line_number) from None
        rows.append(
            (class_id, [(cx - w / 2) * size[1], (cy - h / 2) * size[0], (cx + w / 2) * size[1], (cy + h / 2) * size[0]])
        )
    return rows
