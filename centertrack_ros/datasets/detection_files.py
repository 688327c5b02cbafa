# SPDX-License-Identifier: Apache-2.0
"""Detections of another detector that were made beforehand: in MOTChallenge's, KITTI's or COCO's files, or in a bag.

A file counts frames as the video or the images do. KITTI counts from 0, MOTChallenge from 1, COCO as the file says:
`place` tells which frame is whose, by the file and the numbers in the images' names.
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
COUNTED = range(10**9)  # of the images of a video or a bag
TOLERANCE_S = 0.01  # of a bag's stamps
_COCO_NAMES = {number: name for number, name in enumerate(COCO_CATEGORIES) if name}
_COCO_FORM = "image_id, category_id, bbox and score"


class MadeDetections(Protocol):
    """Detections that were made beforehand, of one camera."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names that the detector uses."""

    def of(self, frame: Frame) -> ForeignDetections | None:
        """Those of a frame, by its number or stamp; None where nobody tells."""


class DetectionFile:
    """Detections by the number of their frame; frames without any are frames in which nothing was found."""

    def __init__(self, path: Path | str, images: range | None = None) -> None:
        """Reads a file.

        Args:
            path: The file.
            images: Numbers of the images by their names, which `Frame.index` repeats, but from 1 where they begin with
                0; those of a video or of a bag are from 0. None: the first frame that is asked for tells.

        Raises:
            DataError: The file is malformed; the text names the line.
            OSError: It cannot be read.
        """
        sequence = _read(Path(path))
        self.classes = sequence.classes
        names = np.array(sequence.classes or ("",), np.str_)
        told = np.concatenate([np.zeros(0), *(frame.tracks.detections.scores for frame in sequence)])
        are_scores = told.min() >= 0 and told.max() <= 1
        if not are_scores:
            _LOG.warning("%s: its scores are not in 0..1, every detection counts as certain", path)
        self._frames: dict[int, ForeignDetections] = {}
        for frame in sequence:
            found = frame.tracks.detections
            scores = found.scores if are_scores else np.ones(len(found))
            self._frames[frame.index] = ForeignDetections(
                np.asarray(found.boxes, np.float32), np.asarray(scores, np.float32), names[found.class_ids]
            )
        self._first = min(sequence.first, 1)
        self._shift: int | None = None if self._first == 0 else 0
        if images is not None and self._frames:
            self._shift, note = place(min(self._frames), max(self._frames), self._first, images)
            if note:
                _LOG.warning("%s: %s", path, note)

    def of(self, frame: Frame) -> ForeignDetections:
        """See `MadeDetections.of`."""
        if self._shift is None:  # images that begin with 0 are counted from 1, others by their own numbers
            self._shift = 1 if frame.index <= 1 else 0
        return self._frames.get(frame.index - self._shift, ForeignDetections.empty())


def place(least: int, most: int, first: int, images: range) -> tuple[int, str]:
    """Which image the frames of a file belong to.

    Images whose names begin with 0, and those of a video or a bag, are counted from 1 (`Frame.index`). Otherwise the
    numbers in names are those of the file, unless it cannot be so.

    Args:
        least: The first frame of the file that has an object.
        most: The last one.
        first: With which number the file's format begins, 0 or 1.
        images: Numbers of the images by their names.

    Returns:
        What is to be subtracted from `Frame.index` for the number in the file; and a sentence if that had to be
        guessed, '' if not.
    """
    begin, end = images.start, images.stop - 1
    if begin == 0:
        return 1 - first, ""
    by_order = begin - first
    in_order = f"the file's frame {first} is taken for the first image, which is called {begin}"
    if most < begin:
        return by_order, f"no image has the number of one of its frames ({least} to {most}): {in_order}"
    if first == 0 and begin == 1 and least == 0:
        return by_order, f"it counts frames from 0, and the images are called {begin} to {end}: {in_order}"
    if first == 0 and begin == 1 and most < end:
        return 0, (
            f"its frames {least} to {most} are taken for the images that are called so; if it counts from 0, call the "
            "first image 0"
        )
    return 0, ""


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


def open_detections(
    text: str,
    bag: Path | None,
    names: Mapping[int, str] | None = None,
    tolerance_s: float = TOLERANCE_S,
    images: range | None = None,
) -> MadeDetections:
    """The detections that a user names.

    Args:
        text: A file, or a topic of the bag.
        bag: Where the images are from; None: not from a bag.
        names: Names of classes where messages have their numbers.
        tolerance_s: How far the stamp of a message may be from the image's.
        images: As `DetectionFile` takes it.

    Raises:
        DataError: The detections are malformed, or are not there.
    """
    if Path(text).is_file():
        return DetectionFile(text, images)
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
