# SPDX-License-Identifier: Apache-2.0
"""Tracks drawn on an image: boxes in a colour per id, names, trails, and solids where 3D boxes are known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.visualization.annotation import Annotation, annotation_of
from centertrack_ros.visualization.canvas import (
    Color,
    Image,
    blend,
    color_of,
    limited,
    line_width,
    polyline,
    rectangle,
    text_height,
    text_size,
    write,
)
from centertrack_ros.visualization.labels import LabelSides, Place, draw_labels
from centertrack_ros.visualization.skeletons import draw_skeletons
from centertrack_ros.visualization.solids import draw_solids
from centertrack_ros.visualization.trails import Trails

__all__ = ["Annotation", "LabelSides", "Trails", "annotation_of", "color_of", "draw", "draw_boxes3d", "draw_caption"]

_FILL = 0.12  # opacity of 2D boxes


def draw(
    image: Image,
    annotation: Annotation,
    trails: Trails | None = None,
    camera: Camera | None = None,
    caption: str = "",
    scores: bool = False,
    sides: LabelSides | None = None,
) -> Image:
    """Draws objects on a copy of an image.

    An object whose 3D box is drawn has only the corners of its 2D box, thin.

    Args:
        image: (H, W, 3) BGR.
        annotation: The objects.
        trails: Their recent positions; None: no trails are drawn.
        camera: Projects 3D boxes; None: no 3D boxes are drawn.
        caption: A line for the lower left corner; '': none.
        scores: Write scores behind the names, too.
        sides: Where the names stood in the frame before, for a video; None: for a single image.

    Returns:
        The copy.
    """
    canvas = image.copy()
    if trails is not None:
        trails.draw(canvas)
    is_solid = np.zeros(len(annotation), bool)
    if camera is not None:
        is_solid = draw_boxes3d(canvas, annotation, camera)
    for box, identity, solid in zip(annotation.boxes, annotation.ids.tolist(), is_solid.tolist(), strict=True):
        if solid:
            _draw_corners(canvas, box, color_of(identity))
        else:
            _draw_box(canvas, box, color_of(identity))
    if annotation.joints is not None:
        draw_skeletons(canvas, annotation.joints, annotation.ids)
    reserved = [draw_caption(canvas, caption)] if caption else []
    draw_labels(canvas, annotation.boxes, annotation.ids, _names(annotation, scores), sides, reserved)
    return canvas


def draw_boxes3d(canvas: Image, annotation: Annotation, camera: Camera) -> NDArray[np.bool_]:
    """Draws the 3D boxes into `canvas`; returns (N,) which ones lie in front of the camera and were drawn."""
    if annotation.corners is None:
        return np.zeros(len(annotation), bool)
    return draw_solids(canvas, annotation.corners, annotation.ids, camera)


def draw_caption(canvas: Image, text: str) -> Place:
    """Writes one line into the lower left corner of `canvas`, on a dark bar; returns its place."""
    size = text_height(canvas)
    width, above, below = text_size(text, size)
    pad = above // 2
    top, right = max(0, canvas.shape[0] - above - below - 2 * pad), width + 2 * pad
    bar = canvas[top:, :right]
    bar[:] = (bar * 0.35).astype(np.uint8)
    write(canvas, text, (pad, canvas.shape[0] - below - pad), size, (255, 255, 255))
    return 0, top, right, canvas.shape[0]


def _names(annotation: Annotation, scores: bool) -> list[list[str]]:
    """For each object 'person 7', and the number alone for where there is little room."""
    found = []
    for identity, label, score in zip(annotation.ids.tolist(), annotation.labels, annotation.scores, strict=True):
        name = f"{label} {identity}"
        found.append([*([f"{name} {score:.2f}"] if scores else []), name, str(identity)])
    return found


def _draw_box(canvas: Image, box: NDArray[np.floating], color: Color) -> None:
    """A 2D box, filled faintly."""
    x1, y1, x2, y2 = limited(box)
    blend(canvas, [(np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)]), color)], _FILL)
    rectangle(canvas, box, color, line_width(canvas))


def _draw_corners(canvas: Image, box: NDArray[np.floating], color: Color) -> None:
    """The corners of a 2D box, thin, each a sixth of the shorter side long."""
    x1, y1, x2, y2 = limited(box)
    length = min(x2 - x1, y2 - y1) / 6
    width = max(1, line_width(canvas) // 2)
    for x, inward in ((x1, length), (x2, -length)):
        for y, down in ((y1, length), (y2, -length)):
            polyline(canvas, np.array([(x + inward, y), (x, y), (x, y + down)]), color, width)
