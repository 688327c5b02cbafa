# SPDX-License-Identifier: Apache-2.0
"""COCO-style video annotations, the format that CenterTrack's training and its converters use.

A COCO document whose images carry `video_id`, `frame_id` (from 1), perhaps `calib` (3 x 4), and whose annotations carry
`track_id`, perhaps `dim` (height, width, length), `location` (centre of the bottom), `rotation_y`, `alpha`, `depth`,
`amodel_center`, `velocity`; `iscrowd` marks regions to be ignored. Documents without `videos` are single images.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.records import AnnotatedFrame, Array, VideoSequence, tracks_of
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.io.errors import DataError
from centertrack_ros.io.json_files import load_json
from centertrack_ros.io.whole_files import write_text

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


def read_videos(
    path: Path | str, images: Path | str | None = None, rate: float | None = None
) -> tuple[VideoSequence, ...]:
    """Reads the videos of a document, in its order, frames without annotations included.

    Crowds, and annotations with a negative category, become ignored regions.

    Args:
        path: The document.
        images: The folder that `file_name`s are relative to; None: the document's.
        rate: Frames/s; None: unknown.

    Raises:
        DataError: An entry is malformed; the text names it.
    """
    path = Path(path)
    document = load_json(path)
    for key in ("images", "annotations", "categories"):
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            raise DataError(path, f"not a COCO document: '{key}' must be a list")
    numbers = {_entry(path, "categories", i, c, "id"): i for i, c in enumerate(document["categories"])}
    classes = tuple(str(category.get("name", "")) for category in document["categories"])
    objects = defaultdict(list)
    image_ids = {_entry(path, "images", i, image, "id") for i, image in enumerate(document["images"])}
    for index, annotation in enumerate(document["annotations"]):
        image = _entry(path, "annotations", index, annotation, "image_id")
        if image not in image_ids:
            raise DataError(path, f"annotations[{index}]: no image has the id {image}")
        _check(path, index, annotation, numbers)
        objects[image].append(annotation)
    videos: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for image in document["images"]:
        videos[image.get("video_id", image["id"])].append(image)
    titles = {video["id"]: str(video.get("file_name", video["id"])) for video in document.get("videos", [])}
    folder = Path(images) if images is not None else path.parent
    return tuple(
        _video(folder, titles.get(number, str(number)), parts, objects, numbers, classes, rate)
        for number, parts in videos.items()
    )


def _entry(path: Path, table: str, index: int, entry: Any, key: str) -> Any:
    if not isinstance(entry, dict) or key not in entry:
        raise DataError(path, f"{table}[{index}]: '{key}' is missing")
    return entry[key]


def _check(path: Path, index: int, annotation: Mapping[str, Any], numbers: Mapping[Any, int]) -> None:
    box = _entry(path, "annotations", index, annotation, "bbox")
    try:
        good = np.asarray(box, np.float64).shape == (4,) and np.isfinite(np.asarray(box, np.float64)).all()
    except (ValueError, TypeError):
        good = False
    if not good or box[2] < 0 or box[3] < 0:
        raise DataError(path, f"annotations[{index}]: bbox must be left, top, width, height, got {box}")
    category = _entry(path, "annotations", index, annotation, "category_id")
    if category not in numbers and category > 0:
        raise DataError(path, f"annotations[{index}]: no category has the id {category}")


def _video(
    folder: Path,
    name: str,
    images: list[Mapping[str, Any]],
    objects: Mapping[Any, list[Mapping[str, Any]]],
    numbers: Mapping[Any, int],
    classes: tuple[str, ...],
    rate: float | None,
) -> VideoSequence:
    images = sorted(images, key=lambda image: image.get("frame_id", 1))
    frames = tuple(_frame(folder, image, objects.get(image["id"], []), numbers, rate) for image in images)
    first, last = frames[0].index, frames[-1].index
    size = (int(images[0]["height"]), int(images[0]["width"])) if "height" in images[0] else None
    return VideoSequence(name, classes, frames, first, last - first + 1, rate, size)


def _frame(
    folder: Path,
    image: Mapping[str, Any],
    annotations: list[Mapping[str, Any]],
    numbers: Mapping[Any, int],
    rate: float | None,
) -> AnnotatedFrame:
    evaluated = [a for a in annotations if a["category_id"] in numbers and not a.get("iscrowd")]
    ignored = [a for a in annotations if a["category_id"] not in numbers or a.get("iscrowd")]
    boxes = _corners(evaluated)
    tracks = tracks_of(
        np.array([a.get("track_id", a.get("id", i + 1)) for i, a in enumerate(evaluated)], np.int64),
        np.array([numbers[a["category_id"]] for a in evaluated], np.int64),
        np.array([float(a.get("score", a.get("conf", 1.0))) for a in evaluated]),
        boxes,
        **{field: _column(evaluated, key, count) for key, (field, count) in _FIELDS.items()},
    )
    index = int(image.get("frame_id", 1))
    image_file = folder / str(image.get("file_name", ""))
    camera = None
    if image.get("calib") is not None and "height" in image:
        camera = Camera.from_matrix(int(image["width"]), int(image["height"]), image["calib"])
    return AnnotatedFrame(
        index=index,
        stamp=(index - 1) / (rate or 1.0),
        tracks=tracks,
        ignore=_corners(ignored),
        image=image_file if image_file.is_file() else None,
        camera=camera,
        token=str(image["id"]),
    )


def _corners(annotations: list[Mapping[str, Any]]) -> NDArray[np.float64]:
    boxes = np.array([a["bbox"] for a in annotations], np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _column(annotations: list[Mapping[str, Any]], key: str, count: int) -> Array | None:
    """(N, count), or (N,) for count 0; NaN where an object lacks it, None when all do."""
    if not any(key in annotation for annotation in annotations):
        return None
    unknown = [np.nan] * count if count else np.nan
    return np.array([a.get(key, unknown) for a in annotations], np.float64).reshape((-1, count) if count else -1)


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
