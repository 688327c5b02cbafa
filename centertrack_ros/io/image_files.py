# SPDX-License-Identifier: Apache-2.0
"""Images as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from centertrack_ros.io.image_headers import JPEG_SIGNATURE, is_complete_jpeg

# The EXIF tag Orientation, and its values that swap rows and columns (EXIF 2.3, 4.6.4 A).
_ORIENTATION, _TRANSPOSED = 0x0112, (5, 6, 7, 8)


def write_image(path: Path, image: NDArray[Any], quality: int = 95) -> None:
    """Writes an image in the format of the suffix.

    Args:
        path: The file.
        image: (H, W, 3) BGR uint8.
        quality: Of a JPEG, 0 to 100.

    Raises:
        OSError: The file cannot be written.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix.lower() in (".jpg", ".jpeg") else []
    if not cv2.imwrite(str(path), image, options):
        raise OSError(f"{path}: the image could not be written")


def read_image(path: Path, apply_orientation: bool = True) -> NDArray[np.uint8] | None:
    """Reads an image file.

    Args:
        path: The file.
        apply_orientation: Turn the image upright as its EXIF says. False where intrinsics matter: they belong to the
            sensor's rows and columns.

    Returns:
        (H, W, 3) BGR; None for a file that is missing or no image, and for a JPEG that was cut short.
    """
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    if not raw or (raw.startswith(JPEG_SIGNATURE) and not is_complete_jpeg(raw)):
        return None
    mode = cv2.IMREAD_COLOR if apply_orientation else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(raw, np.uint8), mode)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, np.uint8)


def image_size(path: Path) -> tuple[int, int] | None:
    """The size of an image file by its header, upright as its EXIF says: what `read_image` returns has that size.

    Returns:
        (height, width) px; None when the file is missing or its header is malformed.
    """
    try:
        with Image.open(path) as image:
            transposed = image.getexif().get(_ORIENTATION, 1) in _TRANSPOSED
            return (image.width, image.height) if transposed else (image.height, image.width)
    except Exception:  # whatever a malformed header makes Pillow raise
        return None
