"""Pictures as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_image(path: Path, image: NDArray[Any], quality: int = 95) -> None:
    """Write an image (H, W, 3) BGR uint8 in the format of the suffix; `quality` is a JPEG's. Raises OSError."""
    import cv2

    how = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix.lower() in (".jpg", ".jpeg") else []
    if not cv2.imwrite(str(path), image, how):
        raise OSError(f"{path}: the image could not be written")


def read_image(path: Path) -> NDArray[np.uint8] | None:
    """(H, W, 3) BGR, upright as its EXIF says; None for a file that is missing, no picture, or a JPEG cut short, which
    OpenCV would fill up with grey.
    """
    import cv2

    try:
        raw = path.read_bytes()
    except OSError:
        return None
    is_jpeg = raw[:2] == b"\xff\xd8"
    # The end marker comes after the last scan begins; a thumbnail in the header has markers of its own.
    if not raw or (is_jpeg and raw.rfind(b"\xff\xd9") < raw.rfind(b"\xff\xda")):
        return None
    picture = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR)
    return None if picture is None else np.asarray(picture, np.uint8)
