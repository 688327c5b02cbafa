# SPDX-License-Identifier: Apache-2.0
"""Tracks drawn on an image: boxes in a colour per id, labels, trails, and 3D boxes projected by the camera."""

from __future__ import annotations

import colorsys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry import boxes3d
from centertrack_ros.geometry.camera import Camera
from centertrack_ros.types import Tracks

Color = tuple[int, int, int]
Image = NDArray[np.uint8]

_FONT = cv2.FONT_HERSHEY_DUPLEX
# cv2 draws at 1/8 px when coordinates are given times 8: boxes then move smoothly instead of jumping by pixels.
_SHIFT = 3
_GOLDEN_RATIO = 0.618033988749895
_NEAR = 0.1  # m; points nearer to the camera's plane are not projected
_EDGE_STEPS = 8  # pieces of an edge: a straight edge is curved in a distorted image


@dataclass(frozen=True)
class Annotation:
    """What is drawn of N objects.

    Attributes:
        boxes: (N, 4) x1, y1, x2, y2 px.
        ids: (N,) int64.
        labels: N class names.
        scores: (N,) 0..1.
        corners: (N, 8, 3) m in the camera's optical frame, in the order of `geometry.boxes3d.corners`; None: no 3D.
    """

    boxes: NDArray[np.floating]
    ids: NDArray[np.integer]
    labels: Sequence[str]
    scores: NDArray[np.floating]
    corners: NDArray[np.floating] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def feet(self) -> NDArray[np.floating]:
        """The middle of the box's lower edge, where the object stands: (N, 2) px."""
        return np.stack([(self.boxes[:, 0] + self.boxes[:, 2]) / 2, self.boxes[:, 3]], axis=1)


def annotation_of(tracks: Tracks, classes: Sequence[str]) -> Annotation:
    """Makes the annotation of the tracks that were matched in this frame; lost ones (hits == 0) are left out.

    Args:
        tracks: The tracks.
        classes: Names of the model's classes.
    """
    seen = tracks.select(tracks.hits > 0)
    detections = seen.detections
    corners = None
    if detections.dimensions is not None and detections.locations is not None and detections.rotations_y is not None:
        corners = boxes3d.corners(detections.dimensions, detections.locations, detections.rotations_y)
    return Annotation(
        detections.boxes, seen.ids, [classes[c] for c in detections.class_ids], detections.scores, corners
    )


@dataclass
class Trails:
    """The recent positions of each id: points (stamp s, x px, y px), kept for `seconds`."""

    seconds: float = 4.0
    points: dict[int, deque[tuple[float, float, float]]] = field(default_factory=dict)

    def update(self, annotation: Annotation, stamp: float) -> None:
        """Adds this frame's points and drops old ones; a stamp that goes back drops all."""
        if any(line and line[-1][0] > stamp for line in self.points.values()):
            self.points.clear()
        for identity, (x, y) in zip(annotation.ids.tolist(), annotation.feet.tolist(), strict=True):
            self.points.setdefault(identity, deque()).append((stamp, x, y))
        for identity, line in list(self.points.items()):
            while line and line[0][0] < stamp - self.seconds:
                line.popleft()
            if not line:
                del self.points[identity]


def color_of(identity: int) -> Color:
    """Returns the bright BGR colour of an id; neighbouring ids are far apart on the colour circle."""
    hue = (identity * _GOLDEN_RATIO) % 1.0
    value = 1.0 if identity % 2 else 0.88
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.72, value)
    return int(255 * blue), int(255 * green), int(255 * red)


def draw(
    image: Image, annotation: Annotation, trails: Trails | None = None, camera: Camera | None = None, caption: str = ""
) -> Image:
    """Draws objects on a copy of an image.

    Args:
        image: (H, W, 3) BGR.
        annotation: The objects.
        trails: Their recent positions; None: no trails are drawn.
        camera: Projects 3D boxes; None: no 3D boxes are drawn.
        caption: A line for the lower left corner; '': none.

    Returns:
        The copy.
    """
    canvas = image.copy()
    unit = _line_width(canvas)
    _draw_faint(canvas, annotation, trails, unit)
    for box, identity in zip(annotation.boxes, annotation.ids.tolist(), strict=True):
        _rectangle(canvas, box, color_of(identity), unit)
    if annotation.corners is not None and camera is not None:
        draw_boxes3d(canvas, annotation, camera)
    _draw_labels(canvas, annotation)
    if caption:
        draw_caption(canvas, caption)
    return canvas


def draw_boxes3d(canvas: Image, annotation: Annotation, camera: Camera) -> None:
    """Draws the edges of the 3D boxes into `canvas`, as far as they lie in front of the camera and near the image."""
    if annotation.corners is None:
        return
    steps = np.linspace(0.0, 1.0, _EDGE_STEPS + 1)[None, :, None]
    start, end = np.array(boxes3d.EDGES).T
    for corners, identity in zip(annotation.corners, annotation.ids.tolist(), strict=True):
        if not np.isfinite(corners).all():
            continue
        edges = corners[start][:, None] * (1 - steps) + corners[end][:, None] * steps
        lines = _project(edges.reshape(-1, 3), camera, canvas.shape).reshape(len(edges), -1, 2)
        for index, line in enumerate(lines):
            # The front face, in the direction of the heading, is drawn thicker.
            front = {boxes3d.EDGES[index][0], boxes3d.EDGES[index][1]} <= {0, 1, 4, 5}
            for piece in _unbroken(line):
                _polyline(canvas, piece, color_of(identity), max(1, _line_width(canvas) - 1) + front)


def draw_caption(canvas: Image, text: str) -> None:
    """Writes one line into the lower left corner of `canvas`, on a dark bar."""
    scale = _text_scale(canvas)
    (width, height), base = cv2.getTextSize(text, _FONT, scale, 1)
    pad = height // 2
    top = canvas.shape[0] - height - base - 2 * pad
    bar = canvas[top:, : width + 2 * pad]
    bar[:] = (bar * 0.35).astype(np.uint8)
    at = (pad, canvas.shape[0] - base - pad)
    cv2.putText(canvas, text, at, _FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)


def _draw_faint(canvas: Image, annotation: Annotation, trails: Trails | None, unit: int) -> None:
    """Fills of boxes and trails, half transparent."""
    overlay = canvas.copy()
    for box, identity in zip(annotation.boxes, annotation.ids.tolist(), strict=True):
        _rectangle(overlay, box, color_of(identity), -1)
    cv2.addWeighted(overlay, 0.15, canvas, 0.85, 0.0, canvas)
    if trails is None or not trails.points:
        return
    overlay = canvas.copy()
    for identity, line in trails.points.items():
        points = np.array([(x, y) for _, x, y in line])
        for index in range(1, len(points)):
            width = max(1, round(unit * (0.5 + 1.5 * index / len(points))))
            _polyline(overlay, points[index - 1 : index + 1], color_of(identity), width)
    cv2.addWeighted(overlay, 0.7, canvas, 0.3, 0.0, canvas)


def _draw_labels(canvas: Image, annotation: Annotation) -> None:
    """'7 person 0.83' above each box, or where there is room; nearer objects (lower in the image) are written last."""
    taken: list[tuple[int, int, int, int]] = []
    for index in np.argsort(annotation.boxes[:, 3], kind="stable"):
        identity = int(annotation.ids[index])
        text = f"{identity} {annotation.labels[index]} {annotation.scores[index]:.2f}"
        place = _label_place(canvas, annotation.boxes[index], text, taken)
        taken.append(place)
        _label(canvas, text, place, color_of(identity))


def _label_place(canvas: Image, box: NDArray[np.floating], text: str, taken: list[Any]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a label: above the box, else below, else inside it; always within the image."""
    (width, height), base = cv2.getTextSize(text, _FONT, _text_scale(canvas), 1)
    width, height = width + height, height + base + 2
    x1, y1, _, y2 = _limited(box)
    left = int(np.clip(x1, 0, max(0, canvas.shape[1] - width)))
    places = []
    for top in (y1 - height, y2, y1, y1 - 2 * height):
        top = int(np.clip(top, 0, max(0, canvas.shape[0] - height)))
        places.append((left, top, left + width, top + height))
    free = (place for place in places if not any(_overlap(place, other) for other in taken))
    return next(free, places[0])


def _label(canvas: Image, text: str, place: tuple[int, int, int, int], color: Color) -> None:
    """Writes the text on a filled rectangle, black or white by the colour's brightness (Rec. 601 luma)."""
    left, top, right, bottom = place
    cv2.rectangle(canvas, (left, top), (right, bottom), color, -1)
    blue, green, red = color
    ink = (20, 20, 20) if 0.114 * blue + 0.587 * green + 0.299 * red > 110 else (255, 255, 255)
    scale = _text_scale(canvas)
    (_, height), _ = cv2.getTextSize(text, _FONT, scale, 1)
    at = (left + height // 2, top + (bottom - top + height) // 2)
    cv2.putText(canvas, text, at, _FONT, scale, ink, 1, cv2.LINE_AA)


def _project(points: NDArray[np.floating], camera: Camera, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """(N, 2) px of the distorted image; NaN for points behind the camera or farther outside than the image is large.

    Distortion polynomials hold within the image only: far outside they would fold points back into it.
    """
    pixels = np.full((len(points), 2), np.nan)
    ahead = points[:, 2] > _NEAR
    pixels[ahead] = camera.project(points[ahead])
    height, width = shape[:2]
    near = np.all((pixels > (-width, -height)) & (pixels < (2 * width, 2 * height)), axis=1)
    inside = np.all((pixels > (-width / 4, -height / 4)) & (pixels < (1.25 * width, 1.25 * height)), axis=1)
    pixels[~near | (~inside & camera.is_distorted)] = np.nan
    good = np.isfinite(pixels).all(axis=1)
    pixels[good] = camera.distort(pixels[good])
    return pixels


def _unbroken(line: NDArray[np.floating]) -> list[NDArray[np.floating]]:
    """The runs of at least two neighbouring points that are not NaN."""
    good = np.isfinite(line).all(axis=1)
    runs = np.split(np.arange(len(line)), np.flatnonzero(np.diff(good)) + 1)
    return [line[run] for run in runs if good[run[0]] and len(run) > 1]


def _rectangle(canvas: Image, box: NDArray[np.floating], color: Color, width: int) -> None:
    x1, y1, x2, y2 = (round(value * 2**_SHIFT) for value in _limited(box))
    cv2.rectangle(canvas, (x1, y1), (x2, y2), color, width, cv2.LINE_AA, _SHIFT)


def _polyline(canvas: Image, points: NDArray[np.floating], color: Color, width: int) -> None:
    fixed = np.round(np.clip(points, -30_000, 30_000) * 2**_SHIFT).astype(np.int32)
    cv2.polylines(canvas, [fixed], False, color, width, cv2.LINE_AA, _SHIFT)


def _limited(box: NDArray[np.floating]) -> list[float]:
    """The box clipped to what cv2's 32-bit coordinates can hold; it looks the same."""
    return np.clip(np.nan_to_num(np.asarray(box, np.float64)), -30_000, 30_000).tolist()


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _line_width(canvas: Image) -> int:
    return max(1, round(max(canvas.shape[:2]) / 500))


def _text_scale(canvas: Image) -> float:
    return max(0.35, max(canvas.shape[:2]) / 1900)
