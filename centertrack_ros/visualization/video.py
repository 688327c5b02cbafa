# SPDX-License-Identifier: Apache-2.0
"""Writing a video that ordinary players open."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

# Suffix -> codec. The pip wheels of OpenCV hold no H.264 encoder (its licence), so: VP8 in WebM, which every browser
# and the common desktop players show, and is encoded six times as fast as VP9; MPEG-4 in MP4 for players without WebM.
CODECS = {".webm": "VP80", ".mp4": "mp4v", ".avi": "MJPG"}


class VideoWriter:
    """A video file of BGR images of one size, opened at the first image. Use it in a `with` statement.

    rate  frames per s. Raises ValueError for a suffix without a codec or an image of another size, OSError when the
    file cannot be written.
    """

    def __init__(self, path: Path | str, rate: float) -> None:
        self.path, self.rate = Path(path), float(rate)
        if self.path.suffix not in CODECS:
            raise ValueError(f"{self.path}: a video's name must end in one of {', '.join(CODECS)}")
        if not 0.0 < self.rate <= 1000.0:
            raise ValueError(f"{self.path}: a video's rate must be above 0 and at most 1000 frames/s, got {rate}")
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, image: NDArray[np.uint8]) -> None:
        """Appends one image (H, W, 3). Odd sizes are padded by a row or column: the codecs halve the colour planes."""
        height, width = image.shape[:2]
        if self._writer is None:
            self._size = (width, height)
            self._writer = self._open((width + width % 2, height + height % 2))
        if (width, height) != self._size:
            raise ValueError(f"{self.path}: image of {width}x{height} in a video of {self._size[0]}x{self._size[1]}")
        if width % 2 or height % 2:
            image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)  # type: ignore[assignment]
        self._writer.write(image)

    def _open(self, size: tuple[int, int]) -> cv2.VideoWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.open("wb").close()  # a missing permission is told by the system, cv2 would not tell
        code = cv2.VideoWriter.fourcc(*CODECS[self.path.suffix])
        with _Silence():
            writer = cv2.VideoWriter(str(self.path), cv2.CAP_FFMPEG, code, self.rate, size)
        if not writer.isOpened():
            raise OSError(f"{self.path}: this OpenCV has no encoder for {self.path.suffix}; try {', '.join(CODECS)}")
        return writer


class _Silence:
    """Keeps off the screen what FFmpeg writes to the error output: a complaint about a codec's tag that it mends."""

    def __enter__(self) -> None:
        self._kept = os.dup(2)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)

    def __exit__(self, *_: object) -> None:
        os.dup2(self._kept, 2)
        os.close(self._kept)
