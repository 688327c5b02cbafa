# SPDX-License-Identifier: Apache-2.0
"""KITTI: label and result files of the tracking benchmark, calibration files, folders of tracking and raw recordings.

A line is `frame id type truncation occlusion alpha left top right bottom height width length x y z rotation_y [score]`
(devkit of http://www.cvlibs.net/datasets/kitti/eval_tracking.php); frames count from 0, the location is the centre
of the box's bottom in the rectified camera's frame.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.image_names import files_in, numbered_images
from centertrack_ros.datasets.records import (
    AnnotatedFrame,
    VideoSequence,
    check_objects,
    empty_tracks,
    frames_of,
    tracks_of,
)
from centertrack_ros.datasets.text import Rows, read_rows, word
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.image_files import image_size
from centertrack_ros.io.whole_files import write_text
from centertrack_ros.typed_records import shown

_LOG = logging.getLogger(__name__)
CLASSES = ("Car", "Van", "Truck", "Pedestrian", "Person", "Cyclist", "Tram", "Misc")
RATE = 10.0  # frames per s of every KITTI recording
IMAGE_SIZE = (375, 1242)  # of most recordings; images, where there are any, have the exact size
_FORM = "frame id type truncation occlusion alpha left top right bottom height width length x y z rotation_y [score]"
_NAMES = {name.lower(): index for index, name in enumerate(CLASSES)} | {"person_sitting": 4}
_UNKNOWN_LOCATION = -999.0  # x of an object without 3D box is -1000 in labels; results write -1000, -10 or -1


def read_labels(path: Path | str, name: str | None = None, length: int | None = None) -> VideoSequence:
    """Reads a label or result file; DontCare boxes become the frames' ignored regions.

    Args:
        path: The file.
        name: Of the sequence; None: the file's.
        length: Number of frames of the recording; None: up to the last frame in the file.

    Returns:
        The sequence, with the flags 'truncation' and 'occlusion'.

    Raises:
        DataError: A line is malformed; the text names it.
    """
    rows = read_rows(path, None)
    rows.require_columns(17, 19, _FORM)  # some trackers write one column more; the 18th is the score all the same
    class_ids = _class_ids(rows)
    frames, ids = rows.integers(0, "a frame number"), rows.integers(1, "an id")
    table = rows.numbers([*range(3, 17)], _FORM)
    scored = rows.all_have(18, "a score")
    scores = rows.numbers([17], "a score")[:, 0] if scored else np.ones(len(rows))
    if len(frames) and frames.min() < 0:
        raise DataError(
            rows.path, f"frame {frames.min()}, expected frames counted from 0", rows.lines[int(frames.argmin())]
        )
    if length is not None and len(frames) and frames.max() >= length:
        line = rows.lines[int(frames.argmax())]
        raise DataError(rows.path, f"frame {frames.max()}, the recording has {length} frames, from 0", line)
    objects = class_ids >= 0
    rows_of = np.flatnonzero(objects)
    lines = [rows.lines[row] for row in rows_of]
    boxes = table[rows_of, 3:7]
    check_objects(path, frames[rows_of], ids[rows_of], boxes, scores[rows_of], lines=lines, turned=0.01)
    columns = table[objects]
    tracks = tracks_of(ids[objects], class_ids[objects], scores[objects], columns[:, 3:7], **_columns_3d(columns))
    flags = {"truncation": columns[:, 0], "occlusion": columns[:, 1]}
    ignored = {
        int(frame): table[(class_ids < 0) & (frames == frame), 3:7] for frame in np.unique(frames[class_ids < 0])
    }
    last = int(frames.max()) + 1 if len(frames) else 0
    parts = frames_of(frames[objects], tracks, flags, rate=RATE, ignored=ignored)
    return VideoSequence(name or Path(path).stem, CLASSES, parts, 0, length if length is not None else last, RATE)


def _class_ids(rows: Rows) -> NDArray[np.int64]:
    """(N,) index into CLASSES, -1 for DontCare."""
    result = []
    for line, words in zip(rows.lines, rows.words, strict=True):
        name = words[2].lower()
        if name != "dontcare" and name not in _NAMES:
            raise DataError(rows.path, f"type {shown(words[2])}, expected one of {', '.join(CLASSES)}, DontCare", line)
        result.append(_NAMES.get(name, -1))
    return np.array(result, np.int64)


def _columns_3d(table: NDArray[np.float64]) -> Mapping[str, NDArray[np.float64] | None]:
    """The fields of 3D boxes, NaN for an object without one; empty when no object has one."""
    has_3d = (table[:, 10] > _UNKNOWN_LOCATION) & (table[:, 7:10] > 0).all(axis=1) & (table[:, 12] > 0)
    if not has_3d.any():
        return {}
    columns = np.where(has_3d[:, None], table, np.nan)
    for column in (2, 13):  # -10 stands for an unknown angle
        columns[columns[:, column] < -9.0, column] = np.nan
    return {
        "alphas": columns[:, 2],
        "dimensions": columns[:, 7:10],
        "locations": columns[:, 10:13],
        "depths": columns[:, 12],
        "rotations_y": columns[:, 13],
    }


def labels_text(sequence: VideoSequence, scores: bool = False) -> str:
    """The lines of a label file, or of a result file with `scores`; numbers keep their precision.

    Unknown 3D columns are written as KITTI does: -1 for sizes, -1000 for the location, -10 for angles.
    """
    lines = []
    for frame in sequence:
        for box in frame.ignore:
            lines.append(
                f"{frame.index} -1 DontCare -1 -1 -10 {' '.join(map(word, box))} -1 -1 -1 -1000 -1000 -1000 -10\n"
            )
        lines.extend(_lines(frame, sequence.classes, scores))
    return "".join(lines)


def _lines(frame: AnnotatedFrame, classes: tuple[str, ...], scores: bool) -> list[str]:
    tracks, detections = frame.tracks, frame.tracks.detections
    count = len(tracks)
    unknown = -1.0 if scores else 0.0
    truncation = frame.flags.get("truncation", np.full(count, unknown))
    occlusion = frame.flags.get("occlusion", np.full(count, unknown))
    columns = np.concatenate(
        (
            _filled(detections.alphas, (count, 1), -10.0),
            np.asarray(detections.boxes, np.float64),
            _filled(detections.dimensions, (count, 3), -1.0),
            _filled(detections.locations, (count, 3), -1000.0),
            _filled(detections.rotations_y, (count, 1), -10.0),
        ),
        axis=1,
    )
    lines = []
    for row in range(count):
        name = kitti_name(classes[int(detections.class_ids[row])])
        if name is None:
            continue
        text = f"{frame.index} {int(tracks.ids[row])} {name} {word(truncation[row])} {word(occlusion[row])} "
        text += " ".join(map(word, columns[row]))
        lines.append(text + (f" {word(detections.scores[row])}\n" if scores else "\n"))
    return lines


def _filled(values: NDArray[np.float64] | None, shape: tuple[int, int], unknown: float) -> NDArray[np.float64]:
    if values is None:
        return np.full(shape, unknown)
    values = np.asarray(values, np.float64).reshape(shape)
    return np.where(np.isnan(values), unknown, values)


def kitti_name(name: str) -> str | None:
    """KITTI's name of a class of another data set (COCO's person, nuScenes' bicycle); None: it has none."""
    aliases = {"person": "Pedestrian", "": "Pedestrian", "bicycle": "Cyclist", "motorcycle": "Cyclist", "train": "Tram"}
    if name in CLASSES:
        return name
    if name in aliases:
        return aliases[name]
    return CLASSES[_NAMES[name.lower()]] if name.lower() in _NAMES else None


def write_results(path: Path | str, sequence: VideoSequence) -> None:
    """Writes a KITTI tracking result file."""
    write_text(path, labels_text(sequence, scores=True))


def read_seqmap(path: Path | str) -> dict[str, int]:
    """Reads a sequence map, lines of `name empty first end`.

    Returns:
        Name of a sequence -> its number of frames.

    Raises:
        DataError: A line is malformed; the text names it.
    """
    rows = read_rows(path, None)
    rows.require_columns(4, 4, "name empty first end")
    ends = rows.integers(3, "a number of frames")
    lengths: dict[str, int] = {}
    for line, words, end in zip(rows.lines, rows.words, ends.tolist(), strict=True):
        if words[0] in lengths or end < 0:
            problem = f"sequence {words[0]} is there twice" if words[0] in lengths else f"the end is {end}"
            raise DataError(rows.path, problem, line)
        lengths[words[0]] = end
    return lengths


def find_seqmap(labels: Path) -> dict[str, int]:
    """The lengths of the recordings, from the sequence map in the labels' folder or the one above; else empty."""
    for folder in (labels, labels.parent):
        for name in ("evaluate_tracking.seqmap.training", "evaluate_tracking.seqmap"):
            if (folder / name).is_file():
                return read_seqmap(folder / name)
    return {}


def read_calibration(path: Path | str, image_size: tuple[int, int] = IMAGE_SIZE, camera: int = 2) -> Camera:
    """Reads a calibration file of tracking (`P2:`) or raw (`P_rect_02:`).

    Args:
        path: The file.
        image_size: (height, width) px.
        camera: Its number.

    Raises:
        DataError: The projection is missing or malformed.
    """
    rows = read_rows(path, None)
    names = (f"P{camera}", f"P_rect_{camera:02d}", f"P_rect_{camera}")
    for line, words in zip(rows.lines, rows.words, strict=True):
        if words[0].rstrip(":") in names:
            if len(words) != 13:
                raise DataError(rows.path, f"{len(words) - 1} numbers after '{words[0]}', expected 12", line)
            one = Rows(rows.path, [line], [words])
            projection = one.numbers(range(1, 13), "a projection matrix").reshape(3, 4)
            try:
                return Camera(image_size[1], image_size[0], projection)
            except ValueError as error:
                raise DataError(rows.path, str(error), line) from None
    raise DataError(rows.path, f"no projection of camera {camera} ({' or '.join(names[:2])})")


def read_tracking(root: Path | str, name: str) -> VideoSequence:
    """Reads a sequence of the tracking benchmark: image_02/NAME, and label_02 and calib where they exist.

    Raises:
        DataError: There are neither images nor labels, or a file is malformed.
    """
    root = Path(root)
    images = numbered_images(root / "image_02" / name, ".png")
    labels, calibration = root / "label_02" / f"{name}.txt", root / "calib" / f"{name}.txt"
    ground_truth = read_labels(labels, name) if labels.is_file() else VideoSequence(name, CLASSES, (), 0, 0, RATE)
    if not images and not labels.is_file():
        raise DataError(root, f"neither image_02/{name} nor label_02/{name}.txt")
    return _sequence(ground_truth, images, calibration if calibration.is_file() else None)


def read_raw(folder: Path | str, name: str | None = None, camera: int = 2) -> VideoSequence:
    """Reads a raw recording: image_02/[data/]*.png or *.jpg, and a calibration file (calib*.txt) beside or above.

    There is no ground truth: raw's tracklets are another format.

    Args:
        folder: That holds image_02.
        name: Of the sequence; None: the folder's.
        camera: Its number.

    Raises:
        DataError: There are no images, or a file is malformed.
    """
    folder = Path(folder)
    image_folder = folder / f"image_{camera:02d}"
    image_folder = image_folder / "data" if (image_folder / "data").is_dir() else image_folder
    images = numbered_images(image_folder)
    if not images:
        raise DataError(image_folder, "no images (*.png, *.jpg)")
    beside = [path for path in files_in(folder, [".txt"]) if path.name.startswith("calib")]
    calibration = next(iter([*beside, *sorted(folder.parent.glob("calib_cam_to_cam.txt"))]), None)
    return _sequence(VideoSequence(name or folder.resolve().name, CLASSES, (), 0, 0, RATE), images, calibration, camera)


def _sequence(
    ground_truth: VideoSequence, images: dict[int, Path], calibration: Path | None, number: int = 2
) -> VideoSequence:
    size = image_size(next(iter(images.values()))) if images else IMAGE_SIZE
    if size is None:
        raise DataError(next(iter(images.values())), "not an image that can be read")
    camera = read_calibration(calibration, size, number) if calibration else None
    annotated = {frame.index: frame for frame in ground_truth}
    if not images:
        return replace(
            ground_truth, frames=tuple(replace(frame, camera=camera) for frame in ground_truth), image_size=size
        )
    frames = []
    for index, path in images.items():
        frame = annotated.pop(index, None) or AnnotatedFrame(index, index / RATE, empty_tracks())
        frames.append(replace(frame, image=path, camera=camera))
    if annotated:
        _LOG.warning("%s: %d frames of the labels have no image", ground_truth.name, len(annotated))
    length = max(ground_truth.length, frames[-1].index + 1)
    return replace(ground_truth, frames=tuple(frames), length=length, image_size=size)
