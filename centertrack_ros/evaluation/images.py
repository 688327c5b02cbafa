# SPDX-License-Identifier: Apache-2.0
"""The images of a report's worst frames: from files, from a video, or from a bag."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.image_names import numbered_images
from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence
from centertrack_ros.io.image_decoding import ImageError
from centertrack_ros.io.image_files import load_image
from centertrack_ros.io.rosbag import BagReader, is_bag
from centertrack_ros.io.sources import COMPRESSED_TYPE, IMAGE_TYPE, decode_image, open_source
from centertrack_ros.io.stamps import nanoseconds, stamp_or_arrival

Image = NDArray[np.uint8]


def frame_images(recording: VideoSequence, frames: Sequence[AnnotatedFrame], source: Path | None) -> dict[int, Image]:
    """The images of frames.

    Args:
        recording: The recording.
        frames: Some of its frames. A frame that names its image file uses that one.
        source: A folder with NAME/000001.jpg, NAME/img1/000001.jpg, or the files themselves for a single recording; a
            video, whose first frame is the recording's; a bag, whose images belong to the frames by their stamps, else
            by their order.

    Returns:
        Frame index -> BGR image, for the frames that have one.

    Raises:
        ValueError: An image file cannot be read.
    """
    files = _files(source, recording) if source and source.is_dir() and not is_bag(source) else {}
    images = {}
    for frame in frames:
        file = frame.image or files.get(frame.index)
        if file is not None:
            images[frame.index] = load_image(file)
    rest = [frame for frame in frames if frame.index not in images]
    if source is None or not rest:
        return images
    if is_bag(source) and (by_stamp := _from_bag(source, recording.name, rest)):
        return {**images, **by_stamp}
    if source.is_file() or is_bag(source):
        return {**images, **_in_order(source, {frame.index - recording.first: frame.index for frame in rest})}
    return images


def _files(folder: Path, recording: VideoSequence) -> dict[int, Path]:
    """Frame number -> image file in the first of the folder's places that has images."""
    name = recording.name
    for parent in (folder / name / "img1", folder / name, folder / "img1", folder):
        if files := numbered_images(parent):
            from_one = 0 in files and recording.first == 1
            return {index + from_one: path for index, path in files.items()}
    return {}


def _in_order(path: Path, indices: Mapping[int, int]) -> dict[int, Image]:
    """The images by their number in a source; `indices`: number -> frame index."""
    images, last = {}, max(indices)
    for frame in open_source(path):
        number = frame.index - 1
        if number in indices:
            images[indices[number]] = frame.image.copy()
        if number >= last:
            break
    return images


def _from_bag(path: Path, name: str, frames: Sequence[AnnotatedFrame]) -> dict[int, Image]:
    """The images by the stamps that the frames of a bag have as their tokens."""
    indices = {int(frame.token): frame.index for frame in frames if frame.token.isdigit()}
    images: dict[int, Image] = {}
    with BagReader(path) as reader:
        topics = [topic.name for topic in reader.of_type(IMAGE_TYPE, COMPRESSED_TYPE)]
        own = [topic for topic in topics if name in re.split("[/]", topic)] or (topics if len(topics) == 1 else [])
        for record, message in reader.messages(own) if indices and own else ():
            index = indices.get(stamp_or_arrival(nanoseconds(message.header.stamp), record.time_ns))
            if index is not None and index not in images:
                images |= _decoded(index, message, record.type)
    return images


def _decoded(index: int, message: Any, kind: str) -> dict[int, Image]:
    try:
        return {index: decode_image(message, kind).copy()}
    except ImageError:  # the report describes the frame in words then
        return {}
