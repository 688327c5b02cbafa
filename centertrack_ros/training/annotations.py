"""Annotated images in memory, whichever kind of file they come from; what is wrong with an annotation is counted,
not trained on.
"""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.io.errors import DataError

Array = NDArray[Any]
# What a class of the data becomes: a class of the model; None: an ignored region; a pair: a cyclist's bicycle and
# rider.
ClassMap = Mapping[str, "str | None | Sequence[str]"]
SECOND_HALF = 1_000_000  # added to the track id of a cyclist's rider
# Other names of a class.
_ALIASES = {"pedestrian": "person", "person": "pedestrian", "motorbike": "motorcycle", "bus/rv/caravan": "bus"}
LARGEST = 1e6  # px, m, m/s: a number beyond it, such as the largest of its type, means that the value is unknown
_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)  # EXIF: the picture is turned by a quarter when it is read
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


@dataclass(frozen=True)
class AnnotatedImage:
    """One image with N objects; boxes in px of the image. NaN in 3D columns: unknown.

    video      number of its video within its collection, -1: a still image;  frame  its place there
    track_ids  (N,) the same for an object in all frames of its video; a negative one is in no other frame
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
    annotations were left out.
    """

    name: str
    images: tuple[AnnotatedImage, ...]
    unlabelled: Array
    problems: Mapping[str, int]


def map_by_name(
    names: Iterable[str], classes: Sequence[str], alike: Sequence[str] = (), never: Sequence[str] = ()
) -> dict[str, str | None]:
    """Data class -> the model's class of that name, upper or lower case, or another name of it.

    alike  become ignored regions when the model has no such class;  never  are no class of the model whatever their
    name. Other classes are left out: they are background.
    """
    known = {name.lower(): name for name in classes}
    found: dict[str, str | None] = {}
    for name in names:
        low = name.lower()
        target = None if name in never else known.get(low, known.get(_ALIASES.get(low, "")))
        if target is not None or name in alike:
            found[name] = target
    return found


def usable(values: Any) -> bool:
    """Whether these are numbers that something measured may have."""
    return bool((np.abs(values) <= LARGEST).all())  # False for NaN


def problem_of(box: Sequence[float], size: tuple[int, int]) -> str:
    """What is wrong with a box x1, y1, x2, y2 in an image of (height, width) px; '' when nothing is."""
    x1, y1, x2, y2 = box
    # As `usable`, without an array: of a large data set this is asked some 100 000 times.
    if not (abs(x1) <= LARGEST and abs(y1) <= LARGEST and abs(x2) <= LARGEST and abs(y2) <= LARGEST):
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

    classes    of the model;  class_map  by default as in `map_by_name`
    What cannot be used of an entry is counted. Raises DataError for a file that is not of this form, FileNotFoundError
    when it is not there.
    """
    with _without_collector():
        return _read_coco_video(file, images, classes, class_map)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Python's search for reference cycles waits: a document has none, but is gone through again and again while it
    grows, which takes a quarter of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read_coco_video(file: Path, images: Path, classes: Sequence[str], class_map: ClassMap | None) -> Collection:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        names = {entry["id"]: str(entry["name"]) for entry in document["categories"]}
        numbers = [entry["id"] for entry in document["images"]]
        entries = dict(zip(numbers, document["images"], strict=True))
        annotations = [row if type(row) is dict else dict(row) for row in document.get("annotations") or ()]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise DataError(file, f"not a COCO annotation file: {type(error).__name__}: {error}") from None
    if len(entries) < len(numbers):
        twice = next(number for number, count in Counter(numbers).items() if count > 1)
        raise DataError(file, f"two images have the id {twice}: whose annotations are whose?")
    chosen: ClassMap = map_by_name(names.values(), classes) if class_map is None else class_map
    covered = _check_map(file, chosen, classes)
    if not set(names.values()) & set(chosen):
        raise DataError(
            file, f"none of its categories ({', '.join(sorted(names.values())[:8])}) is a class of the model"
        )
    problems: Counter[str] = Counter()
    rows: dict[Any, list[dict[str, Any]]] = {number: [] for number in entries}
    for annotation in annotations:
        number = annotation.get("image_id")
        if isinstance(number, (int, str)) and number in rows:
            rows[number].append(annotation)
        else:
            problems["annotation of an unknown image"] += 1
    builder = _Builder(classes, chosen, names, problems)
    found = [builder.image(entry, rows[number], images) for number, entry in entries.items()]
    kept = tuple(image for image in found if image is not None)
    if found and not kept:
        raise DataError(file, "no image has a file_name, a height and a width")
    return Collection(
        file.parent.name, kept, _unlabelled(classes, covered & set(_targets(chosen, names.values()))), dict(problems)
    )


def _targets(class_map: ClassMap, names: Any) -> list[str]:
    found: list[str] = []
    for name in names:
        target = class_map.get(name)
        found += [target] if isinstance(target, str) else list(target or [])
    return found


class _Builder:
    def __init__(
        self, classes: Sequence[str], class_map: ClassMap, names: Mapping[Any, str], problems: Counter[str]
    ) -> None:
        self.number = {name: i for i, name in enumerate(classes)}
        self.class_map, self.names, self.problems = class_map, names, problems
        self.nobody = 0  # ids given to those who have none
        self.videos: dict[Any, int] = {}

    def image(self, entry: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], folder: Path) -> AnnotatedImage | None:
        """One image entry with its annotations; None, and counted, for one that cannot be understood."""
        try:
            size = (int(entry["height"]), int(entry["width"]))
            path = folder / entry["file_name"]
            name = entry.get("video_id")
            video = -1 if name in (None, -1) else self.videos.setdefault(name, len(self.videos))
            frame = int(entry.get("frame_id") or 0)
        except (KeyError, TypeError, ValueError, OverflowError):
            self.problems["image entry without file_name, height or width, or with a bad video_id or frame_id"] += 1
            return None
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
        depths, sizes = self._known(columns, "depth", 1), self._known(columns, "dim", 3)
        middles = self._known(columns, "amodel_center", 2)
        if depths is not None and middles is not None:
            # Of what is beside or behind the camera no place in the image is its middle's.
            unknown = np.isnan(depths)
            if unknown.any():
                middles[unknown & np.array(["depth" in row for row in columns])] = np.nan
        stamp = entry.get("stamp")
        return AnnotatedImage(
            path=path, size=size, video=video, frame=frame,
            boxes=np.array([box for _, _, box, _ in kept], np.float64).reshape(-1, 4),
            class_ids=np.array([c for c, *_ in kept], np.int64), track_ids=np.array([t for _, t, *_ in kept], np.int64),
            ignored=np.array(ignored, np.float64).reshape(-1, 4),
            depths=depths, dimensions=sizes, alphas=self._known(columns, "alpha", 1),
            amodal_centers=middles, velocities=self._known(columns, "velocity", 3),
            joints=self._keypoints(columns), focal=self._focal(entry.get("calib")),
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

    def _track_id(self, row: Mapping[str, Any], half: int) -> int:
        try:
            told = int(np.int64(int(row.get("track_id", -1))))
        except (TypeError, ValueError, OverflowError):
            told = -1
            self.problems["track_id that is not a number"] += 1
        if told >= 0:
            return told + SECOND_HALF * half
        self.nobody += 1
        return -self.nobody

    def _known(self, rows: Sequence[Mapping[str, Any]], key: str, width: int) -> Array | None:
        """(N,) or (N, width) of a key, NaN where it is missing, or not what it must be, which is counted; NaN and null
        say that it is unknown, but for what has to be positive.
        """
        if not any(key in row for row in rows):
            return None
        positive = key in ("depth", "dim")
        values = _all_known(rows, key, width, positive)
        if values is None:
            values = np.full((len(rows), width), np.nan)
            for i, row in enumerate(rows):
                found = _numbers(row.get(key))
                if found is not None and found.size == width and usable(found) and not (positive and found.min() <= 0):
                    values[i] = found.ravel()
                elif key in row and (positive or found is None or not np.isnan(found).all()):
                    self.problems[f"{key} that is not {'a positive' if positive else 'a'} number"] += 1
        return values[:, 0] if width == 1 else values

    def _keypoints(self, rows: Sequence[Mapping[str, Any]]) -> Array | None:
        """(N, J, 3) of COCO's `keypoints`, not annotated where an object has none or what is not a number."""
        if not any(row.get("keypoints") for row in rows):
            return None
        told = [_numbers(row.get("keypoints") or ()) for row in rows]
        self.problems.update(["keypoints that are not numbers"] * sum(values is None for values in told))
        lengths = {values.size for values in told if values is not None and values.size}
        if not lengths:
            return None
        found = np.zeros((len(rows), max(lengths) // 3, 3))
        for i, values in enumerate(told):
            if values is not None and values.size == found[i].size:
                joints = values.reshape(-1, 3)
                found[i] = np.where((np.abs(joints) <= LARGEST).all(axis=1, keepdims=True), joints, 0.0)
        return found

    def _focal(self, calibration: Any) -> float | None:
        """px; None without a calibration matrix, or one whose first number is no focal length."""
        if calibration is None:
            return None
        found = _numbers(calibration)
        if found is not None and found.ndim == 2 and found.size and 0 < found[0, 0] <= LARGEST:
            return float(found[0, 0])
        self.problems["calib that does not begin with a focal length"] += 1
        return None


def _numbers(value: Any) -> Array | None:
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None


def _all_known(rows: Sequence[Mapping[str, Any]], key: str, width: int, positive: bool) -> Array | None:
    """(N, width) of a key that all rows have as it must be, converted at once; None: go through them one by one."""
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


def read_yolo(
    images: Path, labels: Path, names: Sequence[str], classes: Sequence[str], class_map: ClassMap | None = None,
    labelled: Sequence[str] | None = None,
) -> Collection:  # fmt: skip
    """Still images with YOLO text files (class, centre x, y, width, height as parts of the image).

    names      of the numbers in the files;  classes  of the model;  class_map  as in `read_coco_video`
    A row may end with a score; a polygon counts as the box around it.
    labelled   model classes that are annotated throughout; default: all that the map leads to
    Raises DataError with file and line for text that cannot be read, FileNotFoundError when there are no images.
    """
    chosen: ClassMap = map_by_name(names, classes) if class_map is None else class_map
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
            name = names[class_id] if 0 <= class_id < len(names) else ""
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
    """(height, width) px of an image file, upright as its EXIF says; None when it cannot be read."""
    image = cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_8)
    if image is None:
        return None
    try:
        from PIL import Image

        with Image.open(path) as header:
            lies = header.getexif().get(_ORIENTATION, 1) in _LYING
            return (header.width, header.height) if lies else (header.height, header.width)
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
            class_id, values = int(float(parts[0])), np.array(parts[1:], np.float64)
            x1, y1, x2, y2 = _yolo_box(values)
        except (ValueError, OverflowError):
            raise DataError(file, f"expected 'class x y width height', got '{line[:60]}'", line_number) from None
        rows.append((class_id, [x1 * size[1], y1 * size[0], x2 * size[1], y2 * size[0]]))
    return rows


def _yolo_box(values: Array) -> tuple[float, float, float, float]:
    """Corners of 'x y width height', with or without a score, or of a polygon 'x y x y x y …'. Raises ValueError."""
    if len(values) >= 6 and len(values) % 2 == 0:
        points = values.reshape(-1, 2)
        return (*points.min(axis=0), *points.max(axis=0))
    x, y, width, height = values[:4] if len(values) == 5 else values
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2
