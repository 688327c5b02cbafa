# SPDX-License-Identifier: Apache-2.0
"""What viewers show of a frame, whichever it is: prepared once, written by `rerun_log` and `foxglove_log`."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry import gaussian
from centertrack_ros.geometry.boxes3d import OrientedBoxes
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.tracking.track_boxes import boxes3d_of_tracks
from centertrack_ros.types import Frame, FrameResult
from centertrack_ros.visualization.annotation import Annotation, annotation_of
from centertrack_ros.visualization.canvas import color_of
from centertrack_ros.visualization.trails import Trails

_JPEG_QUALITY = 85
_MOTIONS = ("", ", standing", ", moving")


@dataclass(frozen=True)
class View:
    """One frame for a viewer. N objects are seen in it, M of them in space.

    Attributes:
        stamp: s.
        index: The frame's number in its source.
        size: (width, height) px of the image.
        jpeg: The image.
        prior: JPEG of the prior heatmap, grey, of the network input's size; empty if it is not known.
        camera: If it is calibrated.
        objects: The N objects.
        captions: N names with ids.
        colors: (N, 3) RGB 0..255, by id.
        solid: (M,) which of the objects have a box in space.
        boxes: M boxes in the camera's optical frame.
        trails: N lines (P, 2) px; without points for what has not moved.
    """

    stamp: float
    index: int
    size: tuple[int, int]
    jpeg: bytes
    prior: bytes
    camera: Camera | None
    objects: Annotation
    captions: list[str]
    colors: NDArray[np.uint8]
    solid: NDArray[np.int64]
    boxes: OrientedBoxes
    trails: list[NDArray[np.float64]]


class ViewMaker:
    """Makes views of the frames of one camera, in their order."""

    def __init__(self, classes: Sequence[str]) -> None:
        """Starts without trails; `classes` are the names of the model's."""
        self._classes, self._trails = classes, Trails()

    def make(self, frame: Frame, result: FrameResult) -> View:
        """Prepares a frame; a reset ends the trails."""
        seen = result.tracks.select(np.flatnonzero(result.tracks.hits > 0))
        objects = annotation_of(seen, self._classes)
        if result.reset:
            self._trails = Trails()
        self._trails.update(objects, frame.stamp)
        ways = self._trails.ways(frame.image)
        solid, boxes = boxes3d_of_tracks(seen)
        states = np.zeros(len(seen), np.uint8) if seen.motion_states is None else seen.motion_states
        names = zip(objects.labels, seen.ids.tolist(), states.tolist(), strict=True)
        heatmap = (gaussian.render(result.prior, result.input_size) * 255).astype(np.uint8)
        height, width = frame.image.shape[:2]
        colors = [color_of(identity)[::-1] for identity in seen.ids.tolist()]
        return View(
            stamp=frame.stamp,
            index=frame.index,
            size=(width, height),
            jpeg=_jpeg(frame.image),
            prior=_jpeg(heatmap) if heatmap.size else b"",
            camera=frame.camera,
            objects=objects,
            captions=[f"{label or 'object'} {identity}{_MOTIONS[state]}" for label, identity, state in names],
            colors=np.array(colors, np.uint8).reshape(-1, 3),
            solid=solid,
            boxes=boxes,
            trails=[ways[identity] for identity in seen.ids.tolist()],
        )


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1])


def unwritten(path: Path, problem: Exception) -> OSError:
    """Removes a file that a viewer's library could not complete, and gives the error that names it."""
    path.unlink(missing_ok=True)
    if isinstance(problem, OSError):
        return OSError(problem.errno, problem.strerror, str(path))
    return OSError(errno.EIO, f"could not be written: {problem}", str(path))
