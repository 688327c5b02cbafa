# SPDX-License-Identifier: Apache-2.0
"""COCO-style video annotations, the format that CenterTrack's training and its converters use.

A COCO document whose images carry `video_id`, `frame_id` (from 1), perhaps `calib` (3 x 4) and `stamp` (s), and whose
annotations carry `track_id`, perhaps `dim` (height, width, length), `location` (centre of the bottom), `rotation_y`,
`alpha`, `depth`, `amodel_center`, `velocity`; `iscrowd` marks regions to be ignored. Documents without `videos` are
single images. What `null` stands for is not told.
"""

from __future__ import annotations

import json
import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.coco_keys import frame_numbers, track_label, video_of_images
from centertrack_ros.datasets.image_names import ImageFinder
from centertrack_ros.datasets.records import (
    NO_IDENTITY,
    AnnotatedFrame,
    Array,
    VideoSequence,
    checked,
    identity_numbers,
    tracks_of,
)
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.json_files import JsonValue, read_document
from centertrack_ros.io.whole_files import write_text
from centertrack_ros.typed_records import shown

_LOG = logging.getLogger(__name__)
# Key of an annotation -> field of Detections and how many numbers it has.
_FIELDS = {
    "dim": ("dimensions", 3),
    "location": ("locations", 3),
    "rotation_y": ("rotations_y", 0),
    "alpha": ("alphas", 0),
    "depth": ("depths", 0),
    "amodel_center": ("amodal_centers", 2),
    "velocity": ("velocities", 3),
}


@dataclass(frozen=True)
class _Object:
    """One annotation: its class (-1: an ignored region), corners, score, label of the object and further fields."""

    class_id: int
    corners: tuple[float, ...]
    score: float
    label: int | str | None
    values: Mapping[str, Any]


def read_videos(
    path: Path | str, images: Path | str | None = None, rate: float | None = None
) -> tuple[VideoSequence, ...]:
    """Reads the videos of a document, in its order, frames without annotations included.

    Crowds, and annotations with a negative category, become ignored regions. Objects whose identity nobody tells get
    the id NO_IDENTITY, which is logged. A still is a video of one frame.

    Args:
        path: The document.
        images: The folder that `file_name`s are relative to; None: the document's.
        rate: Frames/s; None: by the images' `stamp`s or the video's `fps`, else unknown.

    Raises:
        DataError: An entry is malformed; the text names it.
    """
    path = Path(path)
    document = read_document(path)
    for key in ("images", "annotations", "categories"):
        if not isinstance(document.value, dict) or not isinstance(document.value.get(key), list):
            raise DataError(path, f"not a COCO document: '{key}' must be a list")
    numbers = _places(document["categories"])
    classes = tuple(entry["name"].text() if "name" in entry else "" for entry in document["categories"].items())
    entries, place_of = list(document["images"].items()), _places(document["images"])
    if not entries:
        raise DataError(path, "no images")
    objects: list[list[_Object]] = [[] for _ in entries]
    for annotation in document["annotations"].items():
        image = annotation["image_id"].label()
        if image not in place_of:
            raise annotation.error(f"no image has the id {shown(image)}")
        objects[place_of[image]].append(_object(annotation, numbers))
    finder = ImageFinder(Path(images) if images is not None else path.parent)
    videos = _grouped(path, entries, objects)
    titles = _titles(document, [video for video in videos if not isinstance(video, tuple)])
    _note_identities(path, [objects[place] for places in videos.values() for place, _ in places if len(places) > 1])
    return tuple(
        _video(path, finder, titles.get(video, str(video if not isinstance(video, tuple) else video[0])), classes, [
            (entries[place], number, objects[place]) for place, number in places
        ], rate or _told_rate(document, video))
        for video, places in videos.items()
    )  # fmt: skip


def _places(table: JsonValue) -> dict[int | str, int]:
    """The id of each entry -> its place in the table. Raises DataError for an id that two entries have."""
    places: dict[int | str, int] = {}
    for number, entry in enumerate(table.items()):
        label = entry["id"].label()
        if label in places:
            raise entry.error(f"the id {label} is also that of {table.place}[{places[label]}]")
        places[label] = number
    return places


def _object(annotation: JsonValue, numbers: Mapping[int | str, int]) -> _Object:
    box = annotation["bbox"]
    try:
        left, top, width, height = box.numbers(4).tolist()
    except DataError as error:
        raise DataError(box.path, f"{str(error).partition(': ')[2]}: bbox must be left, top, width, height") from None
    if width < 0 or height < 0:
        raise box.error(f"bbox must be left, top, width, height, got {box.value}")
    category = annotation["category_id"].label()
    if category not in numbers and not (isinstance(category, int) and category <= 0):
        raise annotation.error(f"no category has the id {shown(category)}")
    crowd = annotation.get("iscrowd")
    ignored = category not in numbers or (crowd is not None and crowd.flag())
    score = annotation.get("score") or annotation.get("conf")
    try:
        label = track_label(annotation.mapping())
    except TypeError as error:
        raise annotation.error(str(error)) from None
    return _Object(
        -1 if ignored else numbers[category],
        (left, top, left + width, top + height),
        1.0 if score is None else score.number(),
        label,
        {key: _field(annotation[key], count) for key, (_, count) in _FIELDS.items() if key in annotation},
    )


def _field(value: JsonValue, count: int) -> Any:
    if count:
        return value.numbers(count, finite=False)
    return value.measurement()


def _grouped(
    path: Path, entries: Sequence[JsonValue], objects: Sequence[Sequence[_Object]]
) -> dict[Any, list[tuple[int, int]]]:
    """Video -> its images' places in the file and frame numbers, by number. A still's key is (its id,)."""
    for entry in entries:
        if "video_id" in entry:
            entry["video_id"].label()
    tracks = ((place, one.label) for place, of_image in enumerate(objects) for one in of_image if one.label is not None)
    of_video: dict[Any, list[tuple[str, int | None]]] = defaultdict(list)
    places: dict[Any, list[int]] = defaultdict(list)
    for place, video in enumerate(video_of_images(path, [entry.mapping() for entry in entries], tracks)):
        entry = entries[place]
        key = (entry["id"].label(),) if video is None else video
        frame = entry.get("frame_id")
        name = entry["file_name"].text() if "file_name" in entry else entry.place
        of_video[key].append((name, None if frame is None else frame.integer(0)))
        places[key].append(place)
    numbers = frame_numbers(path, of_video)
    return {
        video: sorted(zip(found, numbers[video], strict=True), key=lambda pair: pair[1])
        for video, found in places.items()
    }


def _titles(document: JsonValue, videos: Iterable[Any]) -> dict[Any, str]:
    """Name of each video. Raises DataError for two with the same."""
    titles: dict[Any, str] = {}
    for entry in _videos(document):
        name = entry.get("file_name") or entry.get("name")
        titles[entry["id"].label()] = str(entry["id"].value) if name is None else str(name.label())
    used = [titles.get(video, str(video)) for video in videos]
    if twice := sorted({name for name in used if used.count(name) > 1}):
        raise DataError(document.path, f"two videos are called '{twice[0]}'")
    return titles


def _videos(document: JsonValue) -> list[JsonValue]:
    videos = document.get("videos")
    return [] if videos is None else list(videos.items())


def _told_rate(document: JsonValue, video: Any) -> float | None:
    for entry in _videos(document):
        if entry["id"].label() == video and "fps" in entry:
            rate = entry["fps"].number()
            if rate <= 0:
                raise entry["fps"].expected("frames/s above 0")
            return rate
    return None


def _note_identities(path: Path, images: Sequence[Sequence[_Object]]) -> None:
    """Logs how many objects of videos have no identity."""
    labels = [one.label for of_image in images for one in of_image if one.class_id >= 0]
    if lost := labels.count(None):
        count = "no object has" if lost == len(labels) else f"{lost} of {len(labels)} objects do not have"
        _LOG.warning(
            "%s: %s a track_id, attributes.track_id or instance_id: who they are in other images is unknown",
            path, count,
        )  # fmt: skip


def _video(
    path: Path,
    finder: ImageFinder,
    name: str,
    classes: tuple[str, ...],
    images: Sequence[tuple[JsonValue, int, Sequence[_Object]]],
    rate: float | None,
) -> VideoSequence:
    ids = identity_numbers(one.label for *_, found in images for one in found if one.label is not None)
    first, last = images[0][1], images[-1][1]
    stamps = [entry.get("stamp") for entry, *_ in images]
    if rate:
        times = [(number - min(first, 1)) / rate for _, number, _ in images]
    else:
        times = [math.nan if stamp is None else stamp.number() for stamp in stamps]
    frames = tuple(
        _frame(finder, entry, number, time, found, ids)
        for (entry, number, found), time in zip(images, times, strict=True)
    )
    size = next((frame.image_size for frame in frames if frame.image_size), None)
    return checked(VideoSequence(name, classes, frames, first, last - first + 1, rate, size), path)


def _frame(
    finder: ImageFinder,
    image: JsonValue,
    number: int,
    stamp: float,
    found: Sequence[_Object],
    ids: Mapping[int | str, int],
) -> AnnotatedFrame:
    evaluated = [one for one in found if one.class_id >= 0]
    tracks = tracks_of(
        np.array([NO_IDENTITY if one.label is None else ids[one.label] for one in evaluated], np.int64),
        np.array([one.class_id for one in evaluated], np.int64),
        np.array([one.score for one in evaluated], np.float64),
        np.array([one.corners for one in evaluated], np.float64).reshape(-1, 4),
        **{field: _column(evaluated, key, count) for key, (field, count) in _FIELDS.items()},
    )
    size = None
    if "height" in image and "width" in image:
        size = (image["height"].integer(1), image["width"].integer(1))
    return AnnotatedFrame(
        index=number,
        stamp=stamp,
        tracks=tracks,
        ignore=np.array([one.corners for one in found if one.class_id < 0], np.float64).reshape(-1, 4),
        image=finder.find(image["file_name"].text()) if "file_name" in image else None,
        camera=_camera(image["calib"], size) if "calib" in image and size else None,
        token=str(image["id"].value),
        image_size=size,
    )


def _camera(calibration: JsonValue, size: tuple[int, int]) -> Camera:
    """The camera of a K or P. Raises DataError for another matrix."""
    try:
        try:
            matrix = calibration.numbers(3, 4)
        except DataError:
            matrix = calibration.numbers(3, 3)
        return Camera.from_matrix(size[1], size[0], matrix)
    except DataError:
        raise calibration.expected("3 x 4 or 3 x 3 numbers") from None
    except ValueError as error:
        raise calibration.error(str(error)) from None


def _column(found: Sequence[_Object], key: str, count: int) -> Array | None:
    """(N, count), or (N,) for count 0; NaN where an object lacks it, None when all do."""
    if not any(key in one.values for one in found):
        return None
    unknown: NDArray[Any] | float = np.full(count, np.nan) if count else math.nan
    return np.array([one.values.get(key, unknown) for one in found], np.float64)


def videos_document(sequences: Iterable[VideoSequence], folder: Path | None = None) -> dict[str, Any]:
    """The inverse of `read_videos`, for sequences of the same classes; scores become `score`.

    Args:
        sequences: The videos.
        folder: That file names are relative to; None: each image's own.

    Raises:
        ValueError: The sequences differ in their classes.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    videos: list[dict[str, Any]] = []
    classes: tuple[str, ...] = ()
    for sequence in sequences:
        if classes and sequence.classes != classes:
            raise ValueError(f"{sequence.name}: its classes differ from those of the sequences before")
        classes = sequence.classes
        videos.append({"id": len(videos) + 1, "file_name": sequence.name})
        for frame in sequence:
            image: dict[str, Any] = {
                "id": len(images) + 1,
                "video_id": len(videos),
                "frame_id": frame.index - sequence.first + 1,
            }
            image["file_name"] = f"{sequence.name}/{frame.index:06d}"
            if frame.image is not None:
                image["file_name"] = frame.image.relative_to(folder).as_posix() if folder else frame.image.name
            if sequence.image_size is not None:
                image |= {"height": sequence.image_size[0], "width": sequence.image_size[1]}
            if frame.camera is not None:
                image["calib"] = frame.camera.projection.tolist()
            images.append(image)
            annotations += _annotations(frame, image["id"], len(annotations))
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(classes)]
    return {"videos": videos, "images": images, "annotations": annotations, "categories": categories}


def _annotations(frame: AnnotatedFrame, image: int, count: int) -> list[dict[str, Any]]:
    tracks, detections = frame.tracks, frame.tracks.detections
    result = []
    for row in range(len(tracks)):
        left, top, right, bottom = (float(value) for value in detections.boxes[row])
        entry: dict[str, Any] = {
            "id": count + row + 1,
            "image_id": image,
            "category_id": int(detections.class_ids[row]) + 1,
            "track_id": int(tracks.ids[row]),
            "bbox": [left, top, right - left, bottom - top],
            "area": (right - left) * (bottom - top),
            "iscrowd": 0,
            "score": float(detections.scores[row]),
        }
        for key, (field, _) in _FIELDS.items():
            values = getattr(detections, field)
            if values is not None and np.isfinite(values[row]).all():
                entry[key] = np.asarray(values[row], np.float64).tolist()
        result.append(entry)
    for box in frame.ignore:
        left, top, right, bottom = (float(value) for value in box)
        entry = {"id": count + len(result) + 1, "image_id": image, "category_id": 0, "track_id": -1, "iscrowd": 1}
        result.append({**entry, "bbox": [left, top, right - left, bottom - top]})
    return result


def write_videos(path: Path | str, sequences: Iterable[VideoSequence]) -> None:
    """Writes `videos_document` as JSON."""
    write_text(path, json.dumps(videos_document(sequences)))


def detections_document(sequences: Iterable[VideoSequence]) -> list[dict[str, Any]]:
    """COCO's list of results (pycocotools' `loadRes`): image_id, category_id, bbox, score, and track_id.

    Images are numbered as in `videos_document` of the same sequences.
    """
    document = videos_document(sequences)
    keys = ("image_id", "category_id", "bbox", "score", "track_id")
    return [{key: entry[key] for key in keys} for entry in document["annotations"] if not entry["iscrowd"]]
