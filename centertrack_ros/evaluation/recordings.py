# SPDX-License-Identifier: Apache-2.0
"""Tracks in recordings with their ground truth, in the classes of that truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.datasets.records import AnnotatedFrame, VideoSequence, empty_tracks
from centertrack_ros.io.image_files import load_image
from centertrack_ros.network.same_names import find_class
from centertrack_ros.tracking.pipeline import Tracker


def shared_classes(sequence: VideoSequence, classes: tuple[str, ...]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Which classes of a model a recording has, too; a bicycle stands in for a cyclist.

    Args:
        sequence: The ground truth.
        classes: Of the model.

    Returns:
        (C,) number of each class of the model among those of the ground truth, -1 for those that it has not; and the
        names of the others, as the model calls them.

    Raises:
        ValueError: There are none.
    """
    numbers = np.array([find_class(name, sequence.classes, stand_ins=True) for name in classes], np.int64)
    if (numbers < 0).all():
        raise ValueError(f"{sequence.name}: the model has none of {', '.join(sequence.classes)}")
    return numbers, tuple(name for name, number in zip(classes, numbers, strict=True) if number >= 0)


def track_recording(
    sequence: VideoSequence,
    tracker: Tracker,
    numbers: NDArray[np.int64],
    before: Callable[[AnnotatedFrame], object] = lambda frame: None,
) -> VideoSequence:
    """Tracks in the images of a recording.

    Args:
        sequence: The ground truth; a frame without an image has no tracks.
        tracker: In its first state, with `shared_classes` as its classes.
        numbers: As `shared_classes` gives them.
        before: Called with each frame before it is tracked.

    Returns:
        What is seen in each frame, in the sequence's classes.

    Raises:
        DataError: An image cannot be read.
    """
    frames = []
    for frame in sequence:
        before(frame)
        tracks = empty_tracks()
        if frame.image is not None:
            found = tracker.step(load_image(frame.image), frame.camera, frame.stamp).tracks
            found = found.select(np.flatnonzero(found.hits > 0))
            tracks = replace(found, detections=replace(found.detections, class_ids=numbers[found.detections.class_ids]))
        frames.append(AnnotatedFrame(frame.index, frame.stamp, tracks, pose=frame.pose))
    return replace(sequence, frames=tuple(frames))
