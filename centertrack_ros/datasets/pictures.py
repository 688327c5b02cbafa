"""Pictures as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray


def write_picture(path: Path, image: NDArray[Any], quality: int = 95) -> None:
    """Write an image (H, W, 3) BGR uint8 in the format of the suffix; `quality` is a JPEG's. Raises OSError."""
    import cv2

    how = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix.lower() in (".jpg", ".jpeg") else []
    if not cv2.imwrite(str(path), image, how):
        raise OSError(f"{path}: the image could not be written")
