# SPDX-License-Identifier: Apache-2.0
"""Names of objects in an image: legible, within the image, and beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.visualization.canvas import Image, color_of, ink_on, limited, text_height, text_size, write

Place = tuple[int, int, int, int]  # left, top, right, bottom px


@dataclass
class LabelSides:
    """Remembers from frame to frame on which side of its object each name stands, so that names do not jump.

    Attributes:
        chosen: Id -> number of the side, in the order of `_corners`.
    """

    chosen: dict[int, int] = field(default_factory=dict)


def draw_labels(
    canvas: Image,
    boxes: NDArray[np.floating],
    ids: NDArray[np.integer],
    names: Sequence[Sequence[str]],
    sides: LabelSides | None = None,
    reserved: Sequence[Place] = (),
) -> list[Place]:
    """Writes a name at each box on a background of the id's colour.

    Names that were there before keep their side, the oldest first; then the nearest objects choose.

    Args:
        canvas: The image.
        boxes: (N, 4) x1, y1, x2, y2 px.
        ids: (N,).
        names: For each object its names, the best one first; a later one is used where no earlier one has room. An
            object without room for any gets none: its colour tells it.
        sides: Those of the frame before; they are updated. None: there was none.
        reserved: Places of other things, which names leave free.

    Returns:
        Where the names were written.
    """
    before = sides.chosen if sides is not None else {}
    now: dict[int, int] = {}
    taken: list[Place] = list(reserved)
    known = [identity in before for identity in ids.tolist()]
    rank = np.where(known, ids, -np.clip(np.nan_to_num(boxes[:, 3]), -1e9, 1e9))
    for index in np.lexsort((rank, np.logical_not(known))).tolist():
        identity = int(ids[index])
        for name in names[index]:
            found = _free_place(canvas, boxes[index], name, taken, before.get(identity, 0))
            if found is not None:
                now[identity], place = found
                taken.append(place)
                _draw_label(canvas, name, place, identity)
                break
    if sides is not None:
        sides.chosen = now
    return taken[len(reserved) :]


def _free_place(
    canvas: Image, box: NDArray[np.floating], name: str, taken: list[Place], preferred: int
) -> tuple[int, Place] | None:
    """(side, place) for a name that is within the image and covers no other name; None: there is none.

    The `preferred` side is tried first, then the others in their order.
    """
    width, height = _extent(name, text_height(canvas))
    if width > canvas.shape[1] or height > canvas.shape[0]:
        return None
    others = np.array(taken, np.int64).reshape(-1, 4)
    corners = list(_corners(canvas, box, width, height))
    for side in (preferred, *range(len(corners))):
        left, top = corners[side]
        covers = (others[:, 0] < left + width) & (left < others[:, 2])
        covers &= (others[:, 1] < top + height) & (top < others[:, 3])
        if not covers.any():
            return side, (left, top, left + width, top + height)
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
