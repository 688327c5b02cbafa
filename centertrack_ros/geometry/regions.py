# SPDX-License-Identifier: Apache-2.0
"""Regions of an image: the inside of a polygon, or the white part of a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Region:
    """A part of an image; exactly one of both attributes is given.

    Attributes:
        polygon: (P, 2) corners x, y: px, or parts of the image's width and height where all are from 0 to 1. Its last
            corner is joined to the first one; where it crosses itself, the even-odd rule holds.
        mask: (h, w) bool of any size; it is stretched over the image.

    Raises:
        ValueError: A polygon without three corners, a value that is not a number, or an empty mask.
    """

    polygon: NDArray[np.float64] | None = None
    mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if (self.polygon is None) == (self.mask is None):
            raise ValueError("a region is either a polygon or a mask")
        if self.polygon is not None and (self.polygon.ndim != 2 or self.polygon.shape[1:] != (2,)):
            raise ValueError(f"a polygon must be an array (P, 2), got {self.polygon.shape}")
        if self.polygon is not None and len(self.polygon) < 3:
            raise ValueError(f"a polygon needs at least 3 corners, got {len(self.polygon)}")
        if self.polygon is not None and not np.isfinite(self.polygon).all():
            raise ValueError("the corners of a polygon must be finite numbers")
        if self.mask is not None and (self.mask.ndim != 2 or not self.mask.any()):
            raise ValueError("a mask must be an image with something white in it")

    def contains(self, points: NDArray[Any], image_size: tuple[int, int]) -> NDArray[np.bool_]:
        """Which points lie in the region.

        Args:
            points: (N, 2) px x, y.
            image_size: (height, width) px.

        Returns:
            (N,) mask.
        """
        size = np.array([image_size[1], image_size[0]], np.float64)
        points = np.asarray(points, np.float64)
        if self.mask is not None:
            height, width = self.mask.shape
            columns, rows = np.floor(points / size * (width, height)).astype(np.int64).T
            return self.mask[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]
        assert self.polygon is not None
        is_relative = (self.polygon >= 0).all() and (self.polygon <= 1).all()
        return _inside(points, self.polygon * size if is_relative else self.polygon)


def _inside(points: NDArray[np.float64], polygon: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N,) mask: a ray to the right crosses the polygon's edges an odd number of times."""
    x, y = points[:, 0, None], points[:, 1, None]
    (x1, y1), (x2, y2) = polygon.T, np.roll(polygon, -1, axis=0).T
    crosses = (y1 > y) != (y2 > y)
    slope = np.divide(x2 - x1, y2 - y1, out=np.zeros_like(x1), where=y1 != y2)
    return np.asarray((crosses & (x < x1 + (y - y1) * slope)).sum(axis=1) % 2 == 1)
