# SPDX-License-Identifier: Apache-2.0
"""From a camera image to the input of a detector, and from its boxes back to the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from centertrack_ros.engine.preprocess import to_planes, value_table

# Where the image lies in the input: stretched over it, in its middle, or in its upper left corner.
STRETCH, MIDDLE, CORNER = "stretch", "middle", "corner"
_DEFAULT_SIDE = 640  # px, of detectors that take any size
_MULTIPLE = 32  # px, the coarsest stride of nearly all detectors


@dataclass(frozen=True)
class Placement:
    """Where an image lies in an input.

    Attributes:
        size: (height, width) of the input, px.
        scale: (x, y): input px per image px.
        offset: (x, y) of the image's upper left corner in the input, px.
        shown: (height, width) of the image in the input, px.
    """

    size: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[int, int]
    shown: tuple[int, int]

    def to_image(self, boxes: NDArray[Any]) -> NDArray[np.float32]:
        """Boxes (N, 4) in input px as boxes in image px."""
        offset, scale = np.tile(self.offset, 2), np.tile(self.scale, 2)
        return ((boxes - offset) / scale).astype(np.float32)


@dataclass(frozen=True)
class InputForm:
    """How a family of detectors wants its images.

    Attributes:
        place: One of STRETCH, MIDDLE, CORNER.
        color: 'rgb' or 'bgr'.
        pixel_scale: Factor on pixel values before mean and std, which are in this order of colours.
        mean: Per channel.
        std: Per channel.
        border: Pixel value (B, G, R) beside the image.
        own_size: A detector that takes any size takes the image's own.
        smooth: Each px of a reduced image is the mean of all that it covers, as PIL reduces images; else OpenCV's
            bilinear filter, which sees two px a side.
    """

    place: str
    color: str = "rgb"
    pixel_scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    border: tuple[int, int, int] = (114, 114, 114)
    own_size: bool = False
    smooth: bool = False

    def table(self) -> NDArray[np.float32]:
        """The normalized value of each pixel value, see `preprocess.normalisation_table`."""
        return value_table(self.mean, self.std, self.pixel_scale)

    def placement(self, image: tuple[int, int], fixed: tuple[int | None, int | None], side: int = 0) -> Placement:
        """Where an image lies in the input.

        Args:
            image: (height, width), px.
            fixed: (height, width) of the input, px; None: any.
            side: Longer side of an input of any size, px; 0: the usual one.
        """
        height, width = image
        if self.own_size and fixed == (None, None):
            return Placement(image, (1.0, 1.0), (0, 0), image)
        size = self._size(image, fixed, side or _DEFAULT_SIDE)
        if self.place == STRETCH:
            return Placement(size, (size[1] / width, size[0] / height), (0, 0), size)
        ratio = min(size[0] / height, size[1] / width)
        shown = (max(round(height * ratio), 1), max(round(width * ratio), 1))
        offset = ((size[1] - shown[1]) // 2, (size[0] - shown[0]) // 2) if self.place == MIDDLE else (0, 0)
        return Placement(size, (shown[1] / width, shown[0] / height), offset, shown)

    def _size(self, image: tuple[int, int], fixed: tuple[int | None, int | None], side: int) -> tuple[int, int]:
        if self.place == STRETCH:
            return fixed[0] or side, fixed[1] or side
        longest = max(image)
        wanted = [max(-(-round(length * side / longest) // _MULTIPLE), 1) * _MULTIPLE for length in image]
        return fixed[0] or wanted[0], fixed[1] or wanted[1]

    def render(self, image: NDArray[np.uint8], where: Placement, table: NDArray[np.float32]) -> NDArray[np.float32]:
        """The input of a detector.

        Args:
            image: BGR uint8 (H, W, 3).
            where: Of `placement`.
            table: Of `table`.

        Returns:
            (3, h, w) float32.
        """
        import cv2

        shown: NDArray[Any] = image
        if where.shown != image.shape[:2]:
            method = cv2.INTER_AREA if self.smooth and max(where.scale) < 1 else cv2.INTER_LINEAR
            shown = cv2.resize(image, (where.shown[1], where.shown[0]), interpolation=method)
        if where.shown != where.size:
            canvas = np.empty((*where.size, 3), np.uint8)
            canvas[:] = self.border
            x, y = where.offset
            canvas[y : y + where.shown[0], x : x + where.shown[1]] = shown
            shown = canvas
        return to_planes(np.ascontiguousarray(shown), table, self.color)
