# SPDX-License-Identifier: Apache-2.0
"""Where objects came from: a smooth line behind each object that is seen and has moved."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.visualization.annotation import Annotation
from centertrack_ros.visualization.canvas import Image, color_of, line_width, polyline

# A trail is drawn once the object has come so far in the image, in square roots of its box's area and as a share of the
# image's longer side: less is the detector's jitter, or that of the camera, or an object that stands.
_LEAST_WAY, _LEAST_SHARE = 0.6, 0.04
_SMOOTHING_S = 0.4  # of the moving average: about a step of a walking person
# Without a box for longer, and for more frames of a slow recording, a trail ends; it begins anew where the object is
# found again.
_LONGEST_GAP_S, _LONGEST_GAP_FRAMES = 0.35, 2.1
_LEAST_STEP = 2.0  # line widths; shorter pieces of a trail are not seen
_PIECES = 4  # of growing width
_BORDER = 0.01  # of the image's longer side; a box that is so near to the border is cut by it


@dataclass
class Trails:
    """The recent positions of each id: points (stamp s, x px, y px, half the box's width px), kept for `seconds`.

    Attributes:
        seconds: How long points are kept.
        points: Id -> points.
        boxes: Id -> x1, y1, x2, y2 px of those that are seen now, whose trails are drawn.
    """

    seconds: float = 4.0
    points: dict[int, deque[tuple[float, float, float, float]]] = field(default_factory=dict)
    boxes: dict[int, list[float]] = field(default_factory=dict)
    _now: float = -np.inf

    def update(self, annotation: Annotation, stamp: float) -> None:
        """Adds this frame's points and drops old ones and ended trails; a stamp that goes back drops all."""
        if self._now > stamp:
            self.points.clear()
            self._now = stamp
        gap = max(_LONGEST_GAP_S, _LONGEST_GAP_FRAMES * (stamp - self._now)) if np.isfinite(self._now) else np.inf
        self._now = stamp
        for identity, line in list(self.points.items()):
            while line and line[0][0] < stamp - self.seconds:
                line.popleft()
            if not line or stamp - line[-1][0] > gap:
                del self.points[identity]
        for identity, (left, _, right, bottom) in zip(annotation.ids.tolist(), annotation.boxes.tolist(), strict=True):
            point = stamp, (left + right) / 2, bottom, (right - left) / 2
            self.points.setdefault(identity, deque()).append(point)
        self.boxes = dict(zip(annotation.ids.tolist(), annotation.boxes.tolist(), strict=True))

    def ways(self, canvas: Image) -> dict[int, NDArray[np.float64]]:
        """Id -> (M, 2) px to draw on an image, of the objects that are seen now; without points: it has not moved."""
        unit, longer = line_width(canvas), max(canvas.shape[:2])
        found = {}
        for identity, box in self.boxes.items():
            line = np.array(self.points[identity])
            found[identity] = smooth_way(
                line[_are_whole(line, canvas), :3], np.array(box), _LEAST_STEP * unit, _LEAST_SHARE * longer
            )
        return found

    def draw(self, canvas: Image) -> None:
        """Draws the trails of the objects that are seen now and have moved."""
        unit = line_width(canvas)
        for identity, way in self.ways(canvas).items():
            pieces = np.array_split(np.arange(len(way)), min(_PIECES, max(len(way) - 1, 1))) if len(way) else []
            for number, piece in enumerate(pieces):
                points = way[piece[0] : piece[-1] + 2]
                if len(points) > 1:
                    width = max(1, round(unit * (0.5 + 1.5 * (number + 1) / len(pieces))))
                    polyline(canvas, points, color_of(identity), width)


def _are_whole(line: NDArray[np.float64], canvas: Image) -> NDArray[np.bool_]:
    """(N,) points of boxes that no border cuts but the upper one: of the others nobody knows the feet."""
    _, x, y, half = line.T
    near = _BORDER * max(canvas.shape[:2])
    right, bottom = canvas.shape[1] - near, canvas.shape[0] - near
    return np.asarray(~((x - half <= near) | (x + half >= right) | (y >= bottom)))


def smooth_way(
    line: NDArray[np.float64], box: NDArray[np.float64], step: float, least: float = 0.0
) -> NDArray[np.float64]:
    """The points to draw of a trail: none for an object that has not moved by a good part of its size.

    Args:
        line: (N, 3) stamp s, x px, y px.
        box: x1, y1, x2, y2 px of the object now; it stands before what lies inside.
        step: Points that are nearer to the one before, px, are left out.
        least: Px that an object of any size must have moved.

    Returns:
        (M, 2) px, averaged over time.
    """
    nothing = np.zeros((0, 2))
    if len(line) < 2 or not (np.isfinite(line).all() and np.isfinite(box).all()):
        return nothing
    count = len(line)
    period = (line[-1, 0] - line[0, 0]) / (count - 1)
    reach = int(min(_SMOOTHING_S / period / 2, count)) if period > 0 else 0
    index = np.arange(count)
    half = np.minimum(np.minimum(index, count - 1 - index), reach)
    sums = np.concatenate([np.zeros((1, 2)), np.cumsum(line[:, 1:], axis=0)])
    way = (sums[index + half + 1] - sums[index - half]) / (2 * half + 1)[:, None]
    size = np.sqrt(np.prod(np.maximum(box[2:] - box[:2], 0.0)))
    if np.linalg.norm(way - way[-1], axis=1).max() < max(_LEAST_WAY * size, least):
        return nothing
    outside = np.flatnonzero(~((way > box[:2]) & (way < box[2:] + (0.0, step))).all(axis=1))
    if not len(outside):
        return nothing
    way = way[: outside[-1] + 2]  # up to the first point in the box
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(way, axis=0), axis=1))])
    kept = np.concatenate([[True], np.diff(np.floor(length / step)) > 0])
    kept[-1] = True
    return way[kept]
