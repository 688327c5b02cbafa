# SPDX-License-Identifier: Apache-2.0
"""The affine maps between image, network input and output grid, as in the training of the official checkpoints.

Source: `lib/utils/image.py` and `lib/detector.py` of github.com/xingyizhou/CenterTrack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

STRIDE = 32  # the network's coarsest level: input sizes are multiples of it
FIX_SHORT_STRIDE = 64  # the official code rounds the long side of 'fix_short' up to this
LARGEST_INPUT = 8192  # px of a side; beyond, memory would end before an error
# Input px per image px for 'budget'. COCO's images reduced to a third of their size have an AP of 0.18, 0.25, 0.29 and
# 0.30 when they are enlarged by at most 1, 1.4, 2 and 3 times; reduced to half their size, 0.25, 0.33, 0.32 and 0.31.
MOST_ENLARGED = 2.0


@dataclass(frozen=True)
class Placement:
    """The position of an image in the network input and on the output grid. The arrays are read-only and shared.

    Attributes:
        image_size: (height, width) px of the image.
        input_size: (height, width) px of the network input.
        grid_size: (height, width) of the output grid.
        to_input: (2, 3) float64, image px -> input px.
        to_grid: (2, 3) float64, image px -> output-grid px.
        from_grid: (2, 3) float32, output-grid px -> image px.
    """

    image_size: tuple[int, int]
    input_size: tuple[int, int]
    grid_size: tuple[int, int]
    to_input: NDArray[np.float64]
    to_grid: NDArray[np.float64]
    from_grid: NDArray[np.float32]

    @property
    def scale(self) -> float:
        """Input px per image px (the scale is the same in x and y)."""
        return float(self.to_input[0, 0])


def _round_up(value: float, stride: int) -> int:
    return max(stride, (int(value) + stride - 1) // stride * stride)


def centered_affine(
    center: Sequence[float] | NDArray[np.floating],
    span: float | Sequence[float],
    target: tuple[int, int],
    inverse: bool = False,
    rotation: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
) -> NDArray[np.float64]:
    """Map that scales `span` source px to the target's width and moves `center` to the target's center.

    Solved from three float32 points as in the official code (`get_affine_transform`), so that rounding is the same too.

    Args:
        center: (x, y), source px.
        span: Source px across the target's width; a pair (x, y) matters only for `shift`.
        target: (height, width), px.
        inverse: Return the map target px -> source px.
        rotation: Rotation of the source, degrees.
        shift: (x, y) of the center as fractions of the span.

    Returns:
        (2, 3), source px -> target px.
    """
    import cv2

    spans = np.broadcast_to(np.asarray(span, np.float32), (2,))
    target_height, target_width = target
    angle = np.pi * rotation / 180
    direction = np.array([spans[0] * 0.5 * np.sin(angle), spans[0] * -0.5 * np.cos(angle)])
    origin = np.asarray(center) + spans * np.asarray(shift, np.float32)
    source = _three_points(origin, direction)
    middle = np.array([target_width * 0.5, target_height * 0.5], np.float32)
    destination = _three_points(middle, np.array([0, target_width * -0.5], np.float32))
    pair = (destination, source) if inverse else (source, destination)
    return np.asarray(cv2.getAffineTransform(*pair), np.float64)


def _three_points(center: NDArray[np.floating], direction: NDArray[np.floating]) -> NDArray[np.float32]:
    """(3, 2): a center, the point in `direction` from it, and a third one at a right angle."""
    points = np.zeros((3, 2), np.float32)
    points[0] = center
    points[1] = center + direction
    back = points[0] - points[1]
    points[2] = points[1] + np.array([-back[1], back[0]], np.float32)
    return points


@lru_cache(maxsize=64)
def place(
    image_size: tuple[int, int],
    nominal_size: tuple[int, int],
    resize: str = "fixed",
    down_ratio: int = 4,
    pixels: int = 0,
) -> Placement:
    """Place an image in the network input.

    Modes of `resize`:

    - 'fixed' (official): exactly the nominal size. The image's longer side spans the input's WIDTH, so that a portrait
      image in a wide input is cropped at top and bottom.
    - 'keep_aspect': the longer side of the nominal size spans the image's longer side, the other side follows the
      image, rounded up to 32. Nothing is cropped.
    - 'budget': the input has about as many px as the budget, in the image's own aspect, see `budget_size`. Nothing is
      cropped.
    - 'keep_resolution' (official `--keep_res`): one input px per image px, padded to the next multiple of 32.
    - 'fix_short' (official): the shorter side of the nominal size spans the image's shorter side.

    Args:
        image_size: (height, width) px of the image.
        nominal_size: (height, width) px of the model's nominal input.
        resize: The mode.
        down_ratio: Input px per output-grid cell.
        pixels: Of the input, for 'budget'; 0: as many as the nominal size has.

    Returns:
        The placement; equal arguments share one.

    Raises:
        ValueError: The image is empty, or the mode is unknown.
    """
    height, width = image_size
    if height <= 0 or width <= 0:
        raise ValueError(f"image size must be positive, got {width}x{height}")
    center: tuple[float, float] = (width / 2.0, height / 2.0)
    span: float
    if resize == "fixed":
        size, span = nominal_size, float(max(height, width))
    elif resize == "keep_resolution":
        size = ((height | (STRIDE - 1)) + 1, (width | (STRIDE - 1)) + 1)
        center, span = (width // 2, height // 2), float(size[1])
    elif resize == "fix_short":
        size, span = _fix_short(height, width, min(nominal_size)), float(width)
    elif resize == "keep_aspect":
        scale = max(nominal_size) / max(height, width)
        size = (_round_up(np.ceil(height * scale), STRIDE), _round_up(np.ceil(width * scale), STRIDE))
        span = size[1] / scale
    elif resize == "budget":
        size = budget_size((height, width), pixels or nominal_size[0] * nominal_size[1])
        span = size[1] / min(size[0] / height, size[1] / width)
    else:
        raise ValueError(
            f"resize must be 'fixed', 'keep_aspect', 'budget', 'keep_resolution' or 'fix_short', got '{resize}'"
        )
    grid = (size[0] // down_ratio, size[1] // down_ratio)
    to_input = centered_affine(center, span, size)
    to_grid = centered_affine(center, span, grid)
    from_grid = centered_affine(center, span, grid, inverse=True).astype(np.float32)
    for array in (to_input, to_grid, from_grid):
        array.flags.writeable = False
    return Placement((height, width), size, grid, to_input, to_grid, from_grid)


def budget_size(image_size: tuple[int, int], pixels: int) -> tuple[int, int]:
    """The size of a network input that spends a number of px on an image of any aspect.

    Both sides are multiples of 32, at least 64. Of all such sizes it is the one with the smallest sum of its padding,
    as a share of the input, and the (logarithmic) difference of its area from the budget. An image with fewer px than
    the budget is enlarged by no more than `MOST_ENLARGED`.

    Args:
        image_size: (height, width) px of the image.
        pixels: The budget, px of the input.

    Returns:
        (height, width) px.
    """
    height, width = image_size
    budget = min(pixels, height * width * MOST_ENLARGED**2)
    sides = np.arange(2, LARGEST_INPUT // STRIDE + 1) * STRIDE  # exported networks take no side below two strides
    rows, columns = sides[:, None], sides[None, :]
    areas = rows * columns
    used = np.minimum(rows / height, columns / width) ** 2 * (height * width) / areas
    row, column = np.unravel_index(np.argmin(1 - used + np.abs(np.log(areas / budget))), areas.shape)
    return int(sides[row]), int(sides[column])


def _fix_short(height: int, width: int, short: int) -> tuple[int, int]:
    if height < width:
        return short, _round_up(int(width / height * short), FIX_SHORT_STRIDE)
    return _round_up(int(height / width * short), FIX_SHORT_STRIDE), short


def invert(affine: NDArray[np.floating]) -> NDArray[np.float64]:
    """Invert an affine map.

    Args:
        affine: (2, 3).

    Returns:
        (2, 3).
    """
    linear = np.linalg.inv(np.asarray(affine, np.float64)[:, :2])
    return np.hstack([linear, -linear @ np.asarray(affine, np.float64)[:, 2:]])


def transform(affine: NDArray[np.floating], points: NDArray[np.floating]) -> NDArray[np.floating]:
    """Apply an affine map to points.

    Args:
        affine: (2, 3).
        points: (..., 2).

    Returns:
        (..., 2), in the wider type of both.
    """
    flat = points.reshape(-1, 2)  # one matrix product instead of many small ones
    return (flat @ affine[:, :2].T + affine[:, 2]).reshape(points.shape)
