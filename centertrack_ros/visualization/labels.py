# SPDX-License-Identifier: Apache-2.0
"""Names of objects in an image: legible, within the image, and beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.visualization.canvas import Image, color_of, ink_on, limited, text_height, text_size, write

Place = tuple[int, int, int, int]  # left, top, right, bottom px


def draw_labels(
    canvas: Image, boxes: NDArray[np.floating], ids: NDArray[np.integer], names: Sequence[Sequence[str]]
) -> list[Place]:
    """Writes a name at each box on a background of the id's colour; the nearest objects choose their places first.

    Args:
        canvas: The image.
        boxes: (N, 4) x1, y1, x2, y2 px.
        ids: (N,).
        names: For each object its names, the best one first; a later one is used where no earlier one has room. An
            object without room for any gets none: its colour tells it.

    Returns:
        Where the names were written.
    """
    taken: list[Place] = []
    for index in np.argsort(-np.nan_to_num(boxes[:, 3]), kind="stable"):
        for name in names[index]:
            place = _free_place(canvas, boxes[index], name, taken)
            if place is not None:
                taken.append(place)
                _draw_label(canvas, name, place, int(ids[index]))
                break
    return taken


def _free_place(canvas: Image, box: NDArray[np.floating], name: str, taken: list[Place]) -> Place | None:
    """The first place for a name that is within the image and covers no other name; None: there is none."""
    width, height = _extent(name, text_height(canvas))
    if width > canvas.shape[1] or height > canvas.shape[0]:
        return None
    others = np.array(taken, np.int64).reshape(-1, 4)
    for left, top in _corners(canvas, box, width, height):
        covers = (others[:, 0] < left + width) & (left < others[:, 2])
        covers &= (others[:, 1] < top + height) & (top < others[:, 3])
        if not covers.any():
            return left, top, left + width, top + height
    return None


def _corners(canvas: Image, box: NDArray[np.floating], width: int, height: int) -> Iterator[tuple[int, int]]:
    """Upper left corners of places: above the box, below it, inside it, then farther up and down; left, then right."""
    x1, y1, x2, y2 = limited(box)
    rightmost, lowest = canvas.shape[1] - width, canvas.shape[0] - height
    for top in (y1 - height, y2, y1, y2 - height, y1 - 2 * height, y2 + height, y1 + height):
        for left in (x1, x2 - width):
            yield int(np.clip(left, 0, rightmost)), int(np.clip(top, 0, lowest))


def _extent(name: str, height: float) -> tuple[int, int]:
    """(width, height) px of a name with its background."""
    width, above, below = text_size(name, height)
    return width + above, above + below + max(2, above // 3)


def _draw_label(canvas: Image, name: str, place: Place, identity: int) -> None:
    left, top, right, bottom = place
    color, height = color_of(identity), text_height(canvas)
    canvas[top:bottom, left:right] = color
    _, above, below = text_size(name, height)
    base = top + (bottom - top + above - below) // 2 + below // 2
    write(canvas, name, (left + above // 2, base), height, ink_on(color))
