# SPDX-License-Identifier: Apache-2.0
"""Lines, areas and colours on an image; their sizes follow the image's, so that they look alike from QVGA to 4K."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]
Image = NDArray[np.uint8]
Points = NDArray[np.floating]

_FONT = cv2.FONT_HERSHEY_DUPLEX
_CAPITAL = 22.0  # px, height of the font's capitals at a scale of 1
# cv2 draws at 1/8 px when coordinates are given times 8: boxes then move smoothly instead of jumping by pixels.
_SHIFT = 3
_GOLDEN_RATIO = 0.618033988749895
_FARTHEST = 30_000  # px; cv2's coordinates are 32 bits wide and shifted


def color_of(identity: int) -> Color:
    """Returns the bright BGR colour of an id; neighbouring ids are far apart on the colour circle."""
    hue = (identity * _GOLDEN_RATIO) % 1.0
    value = 1.0 if identity % 2 else 0.88
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.72, value)
    return int(255 * blue), int(255 * green), int(255 * red)


def shaded(color: Color, light: float) -> Color:
    """The colour darkened (light < 1), or mixed with white (light > 1: by light - 1)."""
    if light <= 1.0:
        blue, green, red = (int(value * light) for value in color)
    else:
        blue, green, red = (int(value + (255 - value) * (light - 1.0)) for value in color)
    return blue, green, red


def ink_on(color: Color) -> Color:
    """Black or white, whichever is legible on the colour (Rec. 601 luma)."""
    blue, green, red = color
    return (20, 20, 20) if 0.114 * blue + 0.587 * green + 0.299 * red > 110 else (255, 255, 255)


def line_width(canvas: Image) -> int:
    """Px: 1 up to 640x480, 3 in Full HD, 5 in 4K."""
    return max(1, round(max(canvas.shape[:2]) / 700))


def text_height(canvas: Image) -> float:
    """Px of capitals: 9 in 640x480, 15 in 1280x720, 21 in Full HD, 39 in 4K; never below 8, which is still read."""
    return max(8.0, 3.5 + 0.0092 * max(canvas.shape[:2]))


@lru_cache(maxsize=4096)
def text_size(text: str, height: float) -> tuple[int, int, int]:
    """(width, height above the base line, depth below it) px of a text with capitals of `height`."""
    (width, above), below = cv2.getTextSize(text, _FONT, height / _CAPITAL, _stroke(height))
    return width, above, below


def write(canvas: Image, text: str, at: tuple[int, int], height: float, color: Color) -> None:
    """Writes one line of text; `at` is the left end of its base line, px."""
    cv2.putText(canvas, text, at, _FONT, height / _CAPITAL, color, _stroke(height), cv2.LINE_AA)


def _stroke(height: float) -> int:
    return max(1, round(height / 16))


def rectangle(canvas: Image, box: Points, color: Color, width: int) -> None:
    """Draws the outline of a box x1, y1, x2, y2 px."""
    x1, y1, x2, y2 = (round(value * 2**_SHIFT) for value in limited(box))
    cv2.rectangle(canvas, (x1, y1), (x2, y2), color, width, cv2.LINE_AA, _SHIFT)


def polyline(canvas: Image, points: Points, color: Color, width: int, closed: bool = False) -> None:
    """Draws a line through points (N, 2) px."""
    cv2.polylines(canvas, [_fixed(points)], closed, color, width, cv2.LINE_AA, _SHIFT)


def blend(canvas: Image, areas: Sequence[tuple[Points, Color]], opacity: float) -> None:
    """Fills polygons, each (points (N, 2) px, colour), half transparent; later ones cover earlier ones."""
    points = np.concatenate([area for area, _ in areas])
    height, width = canvas.shape[:2]
    left, top = np.clip(np.floor(points.min(axis=0)), 0, (width, height)).astype(int).tolist()
    right, bottom = np.clip(np.ceil(points.max(axis=0)) + 1, 0, (width, height)).astype(int).tolist()
    if right <= left or bottom <= top:
        return
    part = canvas[top:bottom, left:right]
    overlay = part.copy()
    for area, color in areas:
        cv2.fillPoly(overlay, [_fixed(area - (left, top))], color, cv2.LINE_8, _SHIFT)
    cv2.addWeighted(overlay, opacity, part, 1.0 - opacity, 0.0, part)


def limited(box: Points) -> list[float]:
    """The box clipped to what cv2's coordinates can hold; it looks the same."""
    return np.clip(np.nan_to_num(np.asarray(box, np.float64)), -_FARTHEST, _FARTHEST).tolist()


def _fixed(points: Points) -> NDArray[np.int32]:
    return np.round(np.clip(points, -_FARTHEST, _FARTHEST) * 2**_SHIFT).astype(np.int32)
