# SPDX-License-Identifier: Apache-2.0
"""Detections of another detector that were made beforehand: in MOTChallenge's, KITTI's or COCO's files, or in a bag.

A file counts frames as the video or the images do (`Frame.index`). KITTI's files count from 0, and so does every file
with a frame 0: there the names of images say which one is 0.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from centertrack_ros.datasets import coco_video, kitti, mot
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, check_objects, tracks_of
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.foreign_messages import DETECTIONS_TYPE, detections_2d
from centertrack_ros.io.image_files import frame_numbers
from centertrack_ros.io.json_files import JsonValue, read_document
from centertrack_ros.io.rosbag import BagReader
from centertrack_ros.io.stamps import nanoseconds, stamp_or_arrival
from centertrack_ros.io.text_files import read_lines
from centertrack_ros.network.classes import COCO_CATEGORIES
from centertrack_ros.types import ForeignDetections, Frame

_LOG = logging.getLogger(__name__)
TOLERANCE_S = 0.01  # of a bag's stamps
_COCO_NAMES = {number: name for number, name in enumerate(COCO_CATEGORIES) if name}
_COCO_FORM = "image_id, category_id, bbox and score"


class MadeDetections(Protocol):
    """Detections that were made beforehand, of one camera."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names that the detector uses."""

    @property
    def extent(self) -> str:
        """The frames or the time that they are of; '': of any."""

    def of(self, frame: Frame) -> ForeignDetections | None:
        """Those of a frame, by its number or stamp; None where nobody tells."""


class DetectionFile:
    """Detections by the number of their frame; frames without any are frames in which nothing was found."""

    def __init__(self, path: Path | str, first_name: int | None = None) -> None:
        """Reads a file.

        Args:
            path: Of the file.
            first_name: The number in the name of the first image; None: names do not number them, as in a video.

        Raises:
            DataError: The file is malformed; the text names the line. Or its boxes are not in px.
            OSError: It cannot be read.
        """
        sequence = _read(Path(path))
        self.classes = sequence.classes
        names = np.array(sequence.classes or ("",), np.str_)
        told = np.concatenate([np.zeros(0), *(frame.tracks.detections.scores for frame in sequence)])
        are_scores = bool(((told >= 0) & (told <= 1)).all())
        if not are_scores:
            _LOG.warning("%s: its scores are not in 0..1, every detection counts as certain", path)
        boxes = np.concatenate([np.zeros((0, 4)), *(frame.tracks.detections.boxes for frame in sequence)])
        if len(boxes) and np.abs(boxes).max() <= 1:
            raise DataError(
                path, "all boxes lie within one px: they seem to be parts of the image's sides, expected px"
            )
        self._frames: dict[int, ForeignDetections] = {}
        for frame in sequence:
            found = frame.tracks.detections
            scores = found.scores if are_scores else np.ones(len(found))
            self._frames[frame.index] = ForeignDetections(
                np.asarray(found.boxes, np.float32), np.asarray(scores, np.float32), names[found.class_ids]
            )

        numbers = [number for number, found in self._frames.items() if len(found)]
        self._numbers = (min(numbers), max(numbers)) if numbers else None
        self._shift = self._shift_of(Path(path), min(sequence.first, 1), first_name)

    def _shift_of(self, path: Path, begin: int, first_name: int | None) -> int:
        """What `Frame.index` is more than the number in the file, which begins with 0 or 1.

        `Frame.index` is the number in an image's name, or one more where the names begin with 0.
        """
        by_order = 1 - begin
        if first_name is None or first_name == 0 or self._numbers is None:
            return by_order
        least, most = self._numbers
        if most < first_name:
            _LOG.warning("%s: its last frame is %d, the first image is called %d: frame %d is taken for it", path,
                         most, first_name, begin)  # fmt: skip
            return first_name - begin
        return by_order if first_name == 1 and least == 0 else 0

    @property
    def extent(self) -> str:
        """See `MadeDetections.extent`."""
        if self._numbers is None:
            return ""
        first, last = (number + self._shift for number in self._numbers)
        return f"of frames {first} to {last}"

    def of(self, frame: Frame) -> ForeignDetections:
        """See `MadeDetections.of`."""
        return self._frames.get(frame.index - self._shift, ForeignDetections.empty())


@dataclass(frozen=True)
class DetectionTopic:
    """Detections by the stamps of their messages in a bag.

    Attributes:
        stamps: (N,) int64 ns, ascending.
        found: Those of each message.
        classes: The names that they use.
        tolerance_s: How far a message's stamp may be from the image's.
    """

    stamps: np.ndarray
    found: tuple[ForeignDetections, ...]
    classes: tuple[str, ...]
    tolerance_s: float = TOLERANCE_S

    @classmethod
    def read(cls, bag: Path | str, topic: str, names: Mapping[int, str], tolerance_s: float) -> DetectionTopic:
        """Reads the Detection2DArrays of a topic.

        Raises:
            DataError: The bag is broken, or has no such topic of this type.
        """
        with BagReader(bag) as reader:
            kind = reader.require(topic).type
            if kind != DETECTIONS_TYPE:
                raise DataError(reader.path, f"'{topic}' is a {kind}, expected a {DETECTIONS_TYPE}")
            pairs: dict[int, ForeignDetections] = {}
            for record, message in reader.messages([topic]):
                stamp = stamp_or_arrival(nanoseconds(message.header.stamp), record.time_ns)
                pairs[stamp], problem = detections_2d(message, names)
                if problem:
                    _LOG.warning("%s: '%s' at %.3f s: %s", reader.path, topic, stamp / 1e9, problem)
        stamps = sorted(pairs)
        called = dict.fromkeys(str(name) for stamp in stamps for name in np.unique(pairs[stamp].class_names))
        found = tuple(pairs[stamp] for stamp in stamps)
        return cls(np.array(stamps, np.int64), found, tuple(called), tolerance_s)

    @property
    def extent(self) -> str:
        """See `MadeDetections.extent`."""
        told = [stamp for stamp, found in zip(self.stamps.tolist(), self.found, strict=True) if len(found)]
        return f"stamped {told[0] / 1e9:.3f} to {told[-1] / 1e9:.3f} s" if told else ""

    def of(self, frame: Frame) -> ForeignDetections | None:
        """See `MadeDetections.of`."""
        stamp = round(frame.stamp * 1e9) if frame.header is None else frame.header.stamp_ns
        if not len(self.stamps):
            return None
        after = int(np.searchsorted(self.stamps, stamp))
        nearest = min(
            (place for place in (after - 1, after) if 0 <= place < len(self.stamps)),
            key=lambda place: abs(int(self.stamps[place]) - stamp),
        )
        # A stamp in s has lost its last digits.
        allowed = self.tolerance_s * 1e9 + (0 if frame.header else 1000)
        return self.found[nearest] if abs(int(self.stamps[nearest]) - stamp) <= allowed else None


class MatchedDetections:
    """Gives the detections of frames, and knows whether any frame had one: numbers or stamps may never meet."""

    def __init__(self, made: MadeDetections) -> None:
        """Of what was made beforehand."""
        self._made, self._first, self._last, self._met = made, "", "", False

    def of(self, frame: Frame) -> ForeignDetections | None:
        """See `MadeDetections.of`."""
        found = self._made.of(frame)
        self._met |= found is not None and len(found) > 0
        self._last = f"frame {frame.index} at {frame.stamp:.3f} s"
        self._first = self._first or self._last
        return found

    @property
    def problem(self) -> str:
        """A sentence when there are detections, but none was of a frame that was asked for; else ''."""
        if self._met or not self._first or not self._made.extent:
            return ""
        return f"no image has detections: they are {self._made.extent}, images from {self._first} to {self._last}"


def open_detections(
    text: str,
    bag: Path | None,
    names: Mapping[int, str] | None = None,
    tolerance_s: float = TOLERANCE_S,
    first_name: int | None = None,
) -> MadeDetections:
    """The detections that a user names.

    Args:
        text: A file, or a topic of the bag.
        bag: Where the images are from; None: not from a bag.
        names: Names of classes where messages have their numbers.
        tolerance_s: How far the stamp of a message may be from the image's.
        first_name: The number in the name of the first image; None: names do not number them.

    Raises:
        DataError: The detections are malformed, or are not there.
    """
    if Path(text).is_file():
        return DetectionFile(text, first_name)
    if bag is None:
        raise DataError(text, "no such file of detections")
    return DetectionTopic.read(bag, text, names or {}, tolerance_s)


def _read(path: Path) -> VideoSequence:
    if path.suffix.lower() == ".json":
        return _read_coco(path)
    first = next((line for line in read_lines(path) if line.strip()), "")
    return mot.read_results(path) if "," in first or not first else kitti.read_labels(path)


def _read_coco(path: Path) -> VideoSequence:
    """The one video of a COCO document, or COCO's list of results."""
    document = read_document(path)
    if isinstance(document.value, list):
        return _read_coco_results(path, document)
    videos = coco_video.read_videos(path)
    if len(videos) == 1:
        return videos[0]
    if any(len(video.frames) != 1 for video in videos):
        names = ", ".join(video.name for video in videos[:5])
        raise DataError(path, f"{len(videos)} videos ({names}): detections must be of one")
    # Single images: numbered by their names, as a folder of them is.
    files = [entry["file_name"].text() if "file_name" in entry else "" for entry in document["images"].items()]
    order = sorted(range(len(files)), key=lambda place: files[place])  # sorted() keeps the order of equal ones
    numbers = frame_numbers([Path(files[place]) for place in order]) or list(range(1, len(files) + 1))
    frames = [replace(videos[place].frames[0], index=number) for number, place in zip(numbers, order, strict=True)]
    first, last = frames[0].index, frames[-1].index
    return VideoSequence(path.stem, videos[0].classes, tuple(frames), min(first, 1), last + 1 - min(first, 1))


def _read_coco_results(path: Path, document: JsonValue) -> VideoSequence:
    rows: dict[int, list[tuple[int, float, tuple[float, ...]]]] = {}
    for entry in document.items():
        if any(key not in entry for key in ("image_id", "category_id", "bbox")):
            raise entry.error(f"expected {_COCO_FORM}")
        label = entry["image_id"].label()
        if not str(label).isdecimal():
            raise entry["image_id"].expected("the number of a frame")
        left, top, width, height = entry["bbox"].numbers(4).tolist()
        score = entry["score"].number() if "score" in entry else 1.0
        rows.setdefault(int(label), []).append(
            (entry["category_id"].integer(), score, (left, top, left + width, top + height))
        )
    ids = sorted({category for found in rows.values() for category, *_ in found})
    classes = tuple(_COCO_NAMES.get(category, str(category)) for category in ids)
    frames = []
    for number, found in sorted(rows.items()):
        boxes, scores = np.array([box for *_, box in found], np.float64), np.array([score for _, score, _ in found])
        nobody = np.full(len(found), -1, np.int64)
        check_objects(path, np.full(len(found), number), nobody, boxes, scores)
        class_ids = np.array([ids.index(category) for category, *_ in found], np.int64)
        frames.append(AnnotatedFrame(number, float("nan"), tracks_of(nobody, class_ids, scores, boxes)))
    first = min(rows, default=1)
    return VideoSequence(path.stem, classes, tuple(frames), min(first, 1), max(rows, default=0) + 1 - min(first, 1))
