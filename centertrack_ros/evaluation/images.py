"""The pictures of a report's worst moments: from files, from a video, or from the images in a bag."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence
from centertrack_ros.io.image_decoding import ImageError
from centertrack_ros.io.rosbag import BagReader, is_bag, stamp_ns
from centertrack_ros.io.sources import COMPRESSED_TYPE, IMAGE_TYPE, decode_image, open_source

Image = NDArray[np.uint8]
_SUFFIXES = (".jpg", ".jpeg", ".png")


def pictures(recording: VideoSequence, frames: Sequence[AnnotatedFrame], place: Path | None) -> dict[int, Image]:
    """Index -> BGR picture of those of `frames` that have one.

    place  folder with NAME/000001.jpg, NAME/img1/… or the files themselves for a single recording; a video, whose
           first frame is the recording's; a bag, whose images belong to the frames by their stamps, else by their order
    Raises ValueError when a picture is there and cannot be read.
    """
    found = {}
    for frame in frames:
        file = frame.image or (_file(place, recording.name, frame.index) if place and place.is_dir() else None)
        if file is not None:
            found[frame.index] = _read(file)
    rest = [frame for frame in frames if frame.index not in found]
    if place is None or not rest:
        return found
    if is_bag(place) and (by_stamp := _from_bag(place, recording.name, rest)):
        return {**found, **by_stamp}
    if place.is_file() or is_bag(place):
        return {**found, **_in_order(place, {frame.index - recording.first: frame.index for frame in rest})}
    return found


def _file(folder: Path, name: str, index: int) -> Path | None:
    for place in (folder / name / "img1", folder / name, folder / "img1", folder):
        for suffix in _SUFFIXES:
            if (file := place / f"{index:06d}{suffix}").is_file():
                return file
    return None


def _read(path: Path) -> Image:
    import cv2

    image = cv2.imread(str(path))
    if image is None:
        raise ValueError(f"{path}: not a picture that can be read")
    return np.asarray(image, np.uint8)


def _in_order(path: Path, wanted: Mapping[int, int]) -> dict[int, Image]:
    found, last = {}, max(wanted)
    for number, shot in enumerate(open_source(path)):
        if number in wanted:
            found[wanted[number]] = shot.image.copy()
        if number == last:
            break
    return found


def _from_bag(path: Path, name: str, frames: Sequence[AnnotatedFrame]) -> dict[int, Image]:
    """By the stamps that frames of a bag have as their token."""
    wanted = {int(frame.token): frame.index for frame in frames if frame.token.isdigit()}
    found: dict[int, Image] = {}
    with BagReader(path) as reader:
        topics = [topic.name for topic in reader.of_type(IMAGE_TYPE, COMPRESSED_TYPE)]
        own = [topic for topic in topics if name in re.split("[/]", topic)] or (topics if len(topics) == 1 else [])
        for record, message in reader.messages(own) if wanted and own else ():
            index = wanted.get(stamp_ns(message.header.stamp))
            if index is not None and index not in found:
                found |= _decoded(index, message, record.type)
    return found


def _decoded(index: int, message: Any, kind: str) -> dict[int, Image]:
    try:
        return {index: decode_image(message, kind).copy()}
    except ImageError:  # the moment is told in words then
        return {}
