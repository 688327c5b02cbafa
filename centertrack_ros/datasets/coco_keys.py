# SPDX-License-Identifier: Apache-2.0
"""The keys of COCO-style documents that identify something: which video, which frame, which object."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from centertrack_ros.io.errors import DataError
from centertrack_ros.typed_records import shown

_LOG = logging.getLogger(__name__)
STILL = -1  # `video_id` of an image that belongs to no video, as the official converters write it


def track_label(annotation: Mapping[str, Any]) -> int | str | None:
    """The name of an object that it has in all images of its video; None: nobody told it.

    It is `track_id`, as CVAT writes it `attributes.track_id`, or `instance_id`; a negative number is none.

    Raises:
        TypeError: It is neither a whole number nor text.
    """
    attributes = annotation.get("attributes")
    places = [annotation.get("track_id"), None, annotation.get("instance_id")]
    if isinstance(attributes, Mapping):
        places[1] = attributes.get("track_id", attributes.get("instance_id"))
    label = next((value for value in places if value is not None), None)
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if label is None or (isinstance(label, int) and not isinstance(label, bool) and label < 0):
        return None
    if isinstance(label, bool) or not isinstance(label, int | str):
        raise TypeError(f"track_id must be a whole number or text, got {shown(label)}")
    return label


def video_of_images(
    path: Path, images: Sequence[Mapping[str, Any]], tracks: Iterable[tuple[Any, Any]]
) -> list[Any | None]:
    """The video of each image; None: it is a still.

    CVAT's files have no `video_id`. An object that is in several of their images tells that these are one video.

    Args:
        path: The document, for messages.
        images: Its images.
        tracks: (image id, label of the object) of each annotation that has one.
    """
    videos = [image.get("video_id") for image in images]
    if all(video is None for video in videos) and len(images) > 1:
        places = Counter(label for _, label in set(tracks))
        if places and max(places.values()) > 1:
            _LOG.warning("%s: no image has a video_id, but objects are in several images: taken as one video", path)
            return [path.stem] * len(images)
    return [None if video == STILL else video for video in videos]


def frame_numbers(path: Path, videos: Mapping[Any, Sequence[tuple[str, int | None]]]) -> dict[Any, list[int]]:
    """The frame number of each image of each video.

    Nobody else may number frames: where no image of a video has a number, it is the image's place in the file, which is
    logged.

    Args:
        path: The document, for messages.
        videos: Video -> its images in the order of the file, each with its name and its `frame_id` or None.

    Raises:
        DataError: Some images of a video have a number and some not, or two have the same; the text names both.
    """
    unnumbered = [video for video, images in videos.items() if all(frame is None for _, frame in images)]
    if lost := sum(len(videos[video]) > 1 for video in unnumbered):
        what = f"in {lost} of {len(videos)} videos no image has" if len(videos) > 1 else "no image has"
        _LOG.warning("%s: %s a frame_id: the order of the file is taken", path, what)
    numbers = {video: list(range(1, len(videos[video]) + 1)) for video in unnumbered}
    for video, images in videos.items():
        if video not in numbers:
            numbers[video] = _told_numbers(path, video, images)
    return numbers


def _told_numbers(path: Path, video: Any, images: Sequence[tuple[str, int | None]]) -> list[int]:
    names: dict[int, str] = {}
    for name, frame in images:
        if frame is None:
            other = next(name for name, frame in images if frame is not None)
            raise DataError(path, f"video {video!r}: {name} has no frame_id, but {other} has one")
        if frame in names:
            raise DataError(path, f"video {video!r}: {names[frame]} and {name} both have frame_id {frame}")
        names[frame] = name
    return list(names)
