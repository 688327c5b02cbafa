# SPDX-License-Identifier: Apache-2.0
"""Regions of an image as users write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from centertrack_ros.geometry.regions import Region
from centertrack_ros.io.image_files import load_image


def read_region(text: str) -> Region | None:
    """Reads a region of an image.

    Args:
        text: 'x,y x,y x,y …', the corners of a polygon in px, or as parts of width and height if all are from 0 to 1;
            or the path of an image whose white part (128 to 255) is the region. Empty: the whole image.

    Returns:
        The region; None for the whole image.

    Raises:
        ValueError: It is neither, or an unusable one.
        OSError: The file cannot be read.
    """
    text = text.strip()
    if not text:
        return None
    corners = _corners(text)
    try:
        if corners is not None:
            return Region(polygon=np.array(corners, np.float64))
        if not Path(text).is_file():
            raise ValueError("expected corners 'x,y x,y x,y' or the path of a mask image")
        return Region(mask=load_image(Path(text)).max(axis=2) >= 128)
    except ValueError as error:
        raise ValueError(f"region '{text[:80]}': {error}") from None


def _corners(text: str) -> list[tuple[float, float]] | None:
    """The corners of a polygon; None if the text does not look like one."""
    try:
        return [(float(x), float(y)) for x, y in (part.split(",") for part in text.split())]
    except ValueError:
        return None
