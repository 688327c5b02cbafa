# SPDX-License-Identifier: Apache-2.0
"""Annotated images in memory, whichever file they come from, and the checks that an annotation must pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
LARGEST = 1e6  # px, m, m/s: a larger number, such as the largest of its type, means that the value is unknown


@dataclass(frozen=True)
class AnnotatedImage:
    """One image with N objects. NaN in 3D columns: unknown.

    Attributes:
        path: Image file.
        size: (height, width) px.
        video: Number of its video within its source, -1: a static image.
        frame: Number of the frame in the video.
        boxes: (N, 4) corners, px.
        class_ids: (N,) classes of the model.
        track_ids: (N,) the same for an object in all frames of its video; a negative one is in no other frame.
        ignored: (M, 4) boxes in which detections are neither right nor wrong.
        depths: (N,) m.
        dimensions: (N, 3) height, width, length, m.
        alphas: (N,) observation angles, rad.
        amodal_centers: (N, 2) projected centres of the 3D boxes, px.
        velocities: (N, 3) m/s in camera axes.
        joints: (N, J, 3) x, y px and how each is annotated: 0 not, 1 hidden, 2 visible (COCO's keypoints).
        focal: Focal length, px; None: not calibrated.
        stamp: s, NaN: unknown.
    """

    path: Path
    size: tuple[int, int]
    video: int
    frame: int
    boxes: Array
    class_ids: Array
    track_ids: Array
    ignored: Array = field(default_factory=lambda: np.zeros((0, 4)))
    depths: Array | None = None
    dimensions: Array | None = None
    alphas: Array | None = None
    amodal_centers: Array | None = None
    velocities: Array | None = None
    joints: Array | None = None
    focal: float | None = None
    stamp: float = float("nan")


@dataclass(frozen=True)
class TrainingImages:
    """The images of one source of training data.

    Attributes:
        name: Of the source.
        images: In the order of the files.
        unlabelled: (U,) classes of the model that the source does not annotate.
        problems: Reason -> number of annotations or images that were left out.
    """

    name: str
    images: tuple[AnnotatedImage, ...]
    unlabelled: Array
    problems: Mapping[str, int]


def usable(values: Any) -> bool:
    """Whether all numbers are finite and of a size that a measurement may have."""
    return bool((np.abs(values) <= LARGEST).all())  # False for NaN


def problem_of(box: Sequence[float], size: tuple[int, int]) -> str:
    """What is wrong with a box x1, y1, x2, y2 in an image of (height, width) px; '' when nothing is."""
    x1, y1, x2, y2 = box
    # As `usable`, without an array: a large data set calls this some 100 000 times.
    if not (abs(x1) <= LARGEST and abs(y1) <= LARGEST and abs(x2) <= LARGEST and abs(y2) <= LARGEST):
        return "box that is not a number"
    if x2 - x1 <= 0 or y2 - y1 <= 0:
        return "box without area"
    if x2 <= 0 or y2 <= 0 or x1 >= size[1] or y1 >= size[0]:
        return "box outside the image"
    return ""
