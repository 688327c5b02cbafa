# SPDX-License-Identifier: Apache-2.0
"""MOTChallenge text files and folders: MOT15, MOT16, MOT17, MOT20 (https://motchallenge.net/instructions).

A line of a result or detection file is `frame, id, left, top, width, height, score, x, y, z`; frames count from 1.
Results that are written here have the class in the eighth column (`class_numbers`), as MOT17's ground truth has it.
MOT15's ground truth has the same ten columns. That of MOT16, MOT17 and MOT20 has nine: `…, considered, class,
visibility`.
"""

from __future__ import annotations

import configparser
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, empty_tracks, frames_of, tracks_of
from centertrack_ros.datasets.text import Rows, read_rows, require_unique, word
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.whole_files import write_text
from centertrack_ros.types import Tracks

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


def _columns(rows: Rows, form: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(frames, ids, boxes x1 y1 x2 y2, seventh column) of a MOT table."""
    table = rows.numbers(range(7) if len(rows) and min(map(len, rows.words)) > 6 else range(6), form)
    frames, ids = rows.integers(0, "a frame number"), rows.integers(1, "an id")
    if len(frames) and frames.min() < 1:
        line = rows.lines[int(np.argmin(frames))]
        raise DataError(rows.path, f"frame {frames.min()}, expected frames counted from 1", line)
    narrow = np.flatnonzero((table[:, 4:6] < 0).any(axis=1))
    if len(narrow):
        raise DataError(rows.path, "negative width or height", rows.lines[int(narrow[0])])
    boxes = np.concatenate((table[:, 2:4], table[:, 2:4] + table[:, 4:6]), axis=1)
    return frames, ids, boxes, table[:, 6] if table.shape[1] > 6 else np.ones(len(table))


def read_results(path: Path | str, name: str | None = None, rate: float | None = None) -> VideoSequence:
    """Reads a tracker's result file, or public detections, whose ids are -1.

    Raises:
        DataError: A line is malformed; the text names it.
    """
    rows = read_rows(path, ",")
    rows.require_columns(6, 10, _RESULT_FORM)
    frames, ids, boxes, scores = _columns(rows, _RESULT_FORM)
    if (ids >= 0).any():
        require_unique(rows, frames, ids)
    tracks = tracks_of(ids, np.zeros(len(ids), np.int64), scores, boxes)
    length = int(frames.max()) if len(frames) else 0
    parts = frames_of(frames, tracks, rate=rate, first=1)
    return VideoSequence(name or Path(path).stem, ("pedestrian",), parts, 1, length, rate)


def read_truth(path: Path | str, name: str | None = None, rate: float | None = None) -> VideoSequence:
    """Reads a ground-truth file; flags 'considered' and, except for MOT15, 'visibility'.

    Raises:
        DataError: A line is malformed; the text names it.
    """
    rows = read_rows(path, ",")
    rows.require_columns(7, 10, _TRUTH_FORM)
    frames, ids, boxes, considered = _columns(rows, _TRUTH_FORM)
    require_unique(rows, frames, ids)
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
    length = int(frames.max()) if len(frames) else 0
    return VideoSequence(
        name or sequence_name(Path(path)),
        classes,
        frames_of(frames, tracks, flags, rate=rate, first=1),
        1,
        length,
        rate,
    )


def sequence_name(path: Path) -> str:
    """The sequence of a file: the file's own name, or its folder's where the file is called gt, det or the like."""
    if path.stem not in ("gt", "det", "tracks", "test", "results"):
        return path.stem
    parent = path.resolve().parent
    return parent.parent.name if parent.name in ("gt", "det") else parent.name


def read_info(folder: Path | str) -> dict[str, str]:
    """Reads the section [Sequence] of `seqinfo.ini`; empty when there is no such file.

    Raises:
        DataError: The file is malformed.
    """
    path = Path(folder) / "seqinfo.ini"
    if not path.is_file():
        return {}
    parser = configparser.ConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read(path, encoding="utf-8")
        return dict(parser["Sequence"])
    except (configparser.Error, KeyError, UnicodeDecodeError) as error:
        raise DataError(path, f"not a seqinfo.ini with a section [Sequence]: {error}") from None


def _number(info: dict[str, str], key: str, folder: Path) -> float | None:
    if key not in info:
        return None
    try:
        return float(info[key])
    except ValueError:
        raise DataError(folder / "seqinfo.ini", f"{key} is '{info[key]}', expected a number") from None


def read_sequence(folder: Path | str, name: str | None = None) -> VideoSequence:
    """Reads a MOTChallenge folder: seqinfo.ini, gt/gt.txt and img1/ where they exist.

    The frames are those with an image if there are images, else those with ground truth.

    Raises:
        DataError: There are neither images nor ground truth, or a file is malformed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(folder, "no such folder")
    info = read_info(folder)
    rate, length = _number(info, "frameRate", folder), _number(info, "seqLength", folder)
    height, width = _number(info, "imHeight", folder), _number(info, "imWidth", folder)
    name = name or info.get("name") or folder.resolve().name
    truth_file = next((path for path in (folder / "gt" / "gt.txt", folder / "gt.txt") if path.is_file()), None)
    truth = read_truth(truth_file, name, rate) if truth_file else VideoSequence(name, CLASSES, (), 1, 0, rate)
    images = sorted((folder / info.get("imDir", "img1")).glob(f"*{info.get('imExt', '.jpg')}"))
    if not images and truth_file is None:
        raise DataError(folder, "neither images in img1/ nor truth in gt/gt.txt: not a MOTChallenge sequence")
    frames = _with_images(truth, images, rate) if images else truth.frames
    size = (int(height), int(width)) if height and width else None
    return replace(truth, frames=frames, length=int(length or truth.length or len(images)), image_size=size)


def _with_images(truth: VideoSequence, images: list[Path], rate: float | None) -> tuple[AnnotatedFrame, ...]:
    annotated = {frame.index: frame for frame in truth}
    template = empty_tracks()
    frames = []
    for path in images:
        if not path.stem.isdigit():
            raise DataError(path, "an image's name must be its frame number")
        index = int(path.stem)
        frame = annotated.get(index) or AnnotatedFrame(index, (index - 1) / (rate or 1.0), template)
        frames.append(replace(frame, image=path))
    return tuple(frames)


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
