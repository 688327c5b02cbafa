# SPDX-License-Identifier: Apache-2.0
"""MOTChallenge text files and folders: MOT15, MOT16, MOT17, MOT20 (https://motchallenge.net/instructions).

A line of a result or detection file is `frame, id, left, top, width, height, score, x, y, z`; frames count from 1.
Results that are written here have the class in the eighth column (`class_numbers`), as MOT17's ground truth has it.
MOT15's ground truth has the same ten columns. That of MOT16, MOT17 and MOT20 has nine: `…, considered, class,
visibility`.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from centertrack_ros.datasets.image_names import numbered_images
from centertrack_ros.datasets.records import (
    AnnotatedFrame,
    VideoSequence,
    check_objects,
    empty_tracks,
    frames_of,
    tracks_of,
)
from centertrack_ros.datasets.text import Rows, read_rows, word
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.sequence_info import SequenceInfo
from centertrack_ros.io.whole_files import write_text
from centertrack_ros.types import Tracks

_LOG = logging.getLogger(__name__)
# The classes of MOT16, MOT17 and MOT20 in the order of their numbers, which count from 1.
CLASSES = (
    "pedestrian",
    "person_on_vehicle",
    "car",
    "bicycle",
    "motorbike",
    "non_mot_vehicle",
    "static_person",
    "distractor",
    "occluder",
    "occluder_on_ground",
    "occluder_full",
    "reflection",
    "crowd",
)
# Other names of these classes -> number.
_SYNONYMS = {"person": 1, "motorcycle": 5}
_OTHER_CLASSES = 101  # number of a class 0 that MOT17 does not know
_RESULT_FORM = "frame, id, left, top, width, height, score, …"
_TRUTH_FORM = "frame, id, left, top, width, height, considered, class, visibility"


def _columns(rows: Rows, form: str, first: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(frames, ids, boxes x1 y1 x2 y2, seventh column) of a MOT table."""
    table = rows.numbers(range(2, 7) if rows.all_have(7, "a score") else range(2, 6), form)
    frames, ids = rows.integers(0, "a frame number"), rows.integers(1, "an id")
    least = first or 0
    if len(frames) and frames.min() < least:
        line = rows.lines[int(np.argmin(frames))]
        raise DataError(rows.path, f"frame {frames.min()}, expected frames counted from {least}", line)
    boxes = np.concatenate((table[:, :2], table[:, :2] + table[:, 2:4]), axis=1)
    scores = table[:, 4] if table.shape[1] > 4 else np.ones(len(table))
    check_objects(rows.path, frames, ids, boxes, scores, lines=rows.lines)
    return frames, ids, boxes, scores


def _first(frames: np.ndarray, first: int | None) -> int:
    """The recording's first frame: 1, unless the file itself has a frame 0."""
    return first if first is not None else int(not (len(frames) and frames.min() == 0))


def read_results(
    path: Path | str, name: str | None = None, rate: float | None = None, first: int | None = None
) -> VideoSequence:
    """Reads a tracker's result file, or public detections, whose ids are -1.

    Classes are those of the eighth column where `results_text` has written it, 'class N' for a number that MOT17 does
    not know; else all are pedestrians.

    Args:
        path: The file.
        name: Of the sequence; None: the file's.
        rate: Frames/s; None: unknown, the frames have no stamps.
        first: The recording's first frame; None: 1, or 0 where the file has a frame 0.

    Raises:
        DataError: A line is malformed; the text names it.
    """
    rows = read_rows(path, ",")
    rows.require_columns(6, 10, _RESULT_FORM)
    frames, ids, boxes, scores = _columns(rows, _RESULT_FORM, first)
    classes, class_ids = _result_classes(rows)
    tracks = tracks_of(ids, class_ids, scores, boxes)
    return _of_table(name or Path(path).stem, classes, frames, tracks, {}, rate, first)


def _result_classes(rows: Rows) -> tuple[tuple[str, ...], np.ndarray]:
    """(names, class ids) of results. All are pedestrians unless the eighth column has a class in every line.

    In MOTChallenge's own form it has a place in the world, x of x, y and z, or -1.
    """
    told = len(rows) > 0 and all(
        len(words) > 7
        and words[7].strip().isdecimal()
        and int(words[7]) > 0
        and all(part.strip() in ("-1", "-1.0") for part in words[8:])
        for words in rows.words
    )
    if not told:
        return ("pedestrian",), np.zeros(len(rows), np.int64)
    numbers, class_ids = np.unique([int(words[7]) for words in rows.words], return_inverse=True)
    names = tuple(CLASSES[n - 1] if n <= len(CLASSES) else f"class {n}" for n in numbers.tolist())
    return names, class_ids.astype(np.int64)


def read_truth(path: Path | str, name: str | None = None, rate: float | None = None) -> VideoSequence:
    """Reads a ground-truth file; flags 'considered' and, except for MOT15, 'visibility'.

    Raises:
        DataError: A line is malformed; the text names it.
    """
    rows = read_rows(path, ",")
    rows.require_columns(7, 10, _TRUTH_FORM)
    frames, ids, boxes, considered = _columns(rows, _TRUTH_FORM, None)
    flags = {"considered": considered != 0}
    if len(rows) and all(len(words) in (8, 9) for words in rows.words):
        class_ids = rows.integers(7, "a class number") - 1
        wrong = np.flatnonzero((class_ids < 0) | (class_ids >= len(CLASSES)))
        if len(wrong):
            line = rows.lines[int(wrong[0])]
            raise DataError(rows.path, f"class {class_ids[wrong[0]] + 1}, expected 1 to {len(CLASSES)}", line)
        classes: tuple[str, ...] = CLASSES
        if all(len(words) == 9 for words in rows.words):
            flags["visibility"] = rows.numbers([8], "a visibility")[:, 0]
    else:
        classes, class_ids = ("pedestrian",), np.zeros(len(ids), np.int64)
    tracks = tracks_of(ids, class_ids, np.ones(len(ids)), boxes)
    return _of_table(name or sequence_name(Path(path)), classes, frames, tracks, flags, rate, None)


def _of_table(
    name: str,
    classes: tuple[str, ...],
    frames: np.ndarray,
    tracks: Tracks,
    flags: dict[str, np.ndarray],
    rate: float | None,
    first: int | None,
) -> VideoSequence:
    first = _first(frames, first)
    length = int(frames.max()) + 1 - first if len(frames) else 0
    parts = frames_of(frames, tracks, flags, rate=rate, first=first)
    return VideoSequence(name, classes, parts, first, length, rate)


def sequence_name(path: Path) -> str:
    """The sequence of a file: the file's own name, or its folder's where the file is called gt, det or the like."""
    if path.stem not in ("gt", "det", "tracks", "test", "results"):
        return path.stem
    parent = path.resolve().parent
    return parent.parent.name if parent.name in ("gt", "det") else parent.name


def read_sequence(folder: Path | str, name: str | None = None) -> VideoSequence:
    """Reads a MOTChallenge folder: seqinfo.ini, gt/gt.txt and its images (imDir, else img1/) where they exist.

    The frames are those with an image if there are images, else those with ground truth.

    Raises:
        DataError: There are neither images nor ground truth, or a file is malformed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(folder, "no such folder")
    info = SequenceInfo(folder)
    rate, length = info.number("frameRate"), info.number("seqLength")
    height, width = info.number("imHeight"), info.number("imWidth")
    name = name or info.text("name") or folder.resolve().name
    image_folder = info.text("imDir") or "img1"
    truth_file = next((path for path in (folder / "gt" / "gt.txt", folder / "gt.txt") if path.is_file()), None)
    images = numbered_images(folder / image_folder, info.text("imExt"))
    truth = read_truth(truth_file, name, rate) if truth_file else VideoSequence(name, CLASSES, (), 1, 0, rate)
    if not images and truth_file is None:
        raise DataError(folder, f"neither images in {image_folder}/ nor truth in gt/gt.txt: not a MOT sequence")
    if images:
        truth = _with_images(truth, images)
    size = (int(height), int(width)) if height and width else None
    frames = tuple(replace(frame, image_size=size) for frame in truth)
    return replace(truth, frames=frames, length=int(length or truth.length), image_size=size)


def _with_images(truth: VideoSequence, images: dict[int, Path]) -> VideoSequence:
    """The sequence with a frame for each image."""
    annotated = {frame.index: frame for frame in truth}
    if 0 in images and 0 not in annotated:  # a folder that counts from 0 is counted from 1, as by `open_source`
        images = {index + 1: path for index, path in images.items()}
    begin, end = next(iter(images)), next(reversed(images))
    first = min(truth.first, begin)
    frames = []
    for index, path in images.items():
        stamp = (index - first) / truth.rate if truth.rate else math.nan
        frame = annotated.pop(index, None) or AnnotatedFrame(index, stamp, empty_tracks())
        frames.append(replace(frame, stamp=stamp, image=path))
    if annotated:
        _LOG.warning("%s: %d frames of the truth have no image", truth.name, len(annotated))
    return replace(truth, frames=tuple(frames), first=first, length=max(end + 1 - first, truth.length))


def class_numbers(classes: Sequence[str]) -> tuple[int, ...]:
    """The numbers of classes in the eighth column: that of MOT17 where it knows the class, else 101 + class id.

    MOT17's classes are numbered from 1 (`CLASSES`); 'person' is its pedestrian, 'motorcycle' its motorbike.
    """
    known = {name: number for number, name in enumerate(CLASSES, start=1)} | _SYNONYMS
    return tuple(known.get(name.lower(), _OTHER_CLASSES + index) for index, name in enumerate(classes))


def classes_written(classes: Sequence[str], boxes: Mapping[int, int]) -> str:
    """A line that says which classes went into a result file, and under which numbers.

    Args:
        classes: Their names.
        boxes: Class id -> number of boxes.
    """
    numbers = class_numbers(classes)
    most = sorted(boxes.items(), key=lambda item: -item[1])
    parts = (f"{classes[kind]} {count} boxes (class {numbers[kind]})" for kind, count in most)
    return f"classes: {', '.join(parts) or 'none'}"


def class_counts(sequence: VideoSequence) -> Counter[int]:
    """Class id -> number of boxes."""
    counts: Counter[int] = Counter()
    for frame in sequence:
        counts.update(frame.tracks.detections.class_ids.tolist())
    return counts


def frame_text(index: int, tracks: Tracks, numbers: Sequence[int] | None) -> str:
    """The lines of one frame in a result file.

    Args:
        index: The frame's number.
        tracks: Its tracks.
        numbers: Class id -> the number that is written; None: -1 stands for every class.
    """
    lines = []
    detections = tracks.detections
    columns = zip(tracks.ids.tolist(), detections.boxes, detections.scores, detections.class_ids.tolist(), strict=True)
    for identity, (left, top, right, bottom), score, kind in columns:
        values = ",".join(map(word, (left, top, right - left, bottom - top, score)))
        lines.append(f"{index},{identity},{values},{-1 if numbers is None else numbers[kind]},-1,-1\n")
    return "".join(lines)


def results_text(sequence: VideoSequence, with_classes: bool = True) -> str:
    """The text of a result file: ids, boxes, scores and classes in the order of frames; numbers keep their precision.

    Args:
        sequence: The results.
        with_classes: False: -1 stands for every class, as in files of pedestrians only.
    """
    numbers = class_numbers(sequence.classes) if with_classes else None
    return "".join(frame_text(frame.index, frame.tracks, numbers) for frame in sequence)


def truth_text(sequence: VideoSequence) -> str:
    """The text of a MOT17 ground-truth file; 'considered' and 'visibility' are 1 for sequences without these flags."""
    lines = []
    for frame in sequence:
        detections, count = frame.tracks.detections, len(frame.tracks)
        considered = frame.flags.get("considered", np.ones(count))
        visibility = frame.flags.get("visibility", np.ones(count))
        columns = zip(
            frame.tracks.ids.tolist(), detections.boxes, considered, detections.class_ids, visibility, strict=True
        )
        for identity, (left, top, right, bottom), keep, kind, seen in columns:
            values = (left, top, right - left, bottom - top)
            lines.append(
                f"{frame.index},{identity},{','.join(map(word, values))},{int(keep)},{int(kind) + 1},{word(seen)}\n"
            )
    return "".join(lines)


def write_results(path: Path | str, sequence: VideoSequence) -> None:
    """Writes `results_text`."""
    write_text(path, results_text(sequence))
