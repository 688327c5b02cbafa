# SPDX-License-Identifier: Apache-2.0
"""Writing a video that ordinary players open."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

# Suffix -> codec. The pip wheels of OpenCV hold no H.264 encoder (its licence), so: VP8 in WebM, which every browser
# and the common desktop players show, and is encoded six times as fast as VP9; MPEG-4 in MP4 for players without WebM.
CODECS = {".webm": "VP80", ".mp4": "mp4v", ".avi": "MJPG"}

_LEAST_BYTES = 65536  # a disk with less room than this is full

_LOG = logging.getLogger(__name__)


class VideoWriter:
    """A video file of BGR images, opened at the first image, whose size it has. Use it in a `with` statement.

    The file is written beside its place as `.NAME.unfinished.SUFFIX`. It is moved there at the end of the `with`
    statement, after an error or a signal too, once it has been seen to hold every image; else it is removed.
    """

    def __init__(self, path: Path | str, rate: float) -> None:
        """Checks the name and the rate; the file is opened at the first image.

        Args:
            path: The file; its suffix, one of `CODECS`, chooses the codec.
            rate: Images per s.

        Raises:
            ValueError: The suffix has no codec, or the rate is out of range.
        """
        self.path, self.rate = Path(path), float(rate)
        if self.path.suffix not in CODECS:
            raise ValueError(f"{self.path}: a video's name must end in one of {', '.join(CODECS)}")
        if not 0.0 < self.rate <= 1000.0:
            raise ValueError(f"{self.path}: a video's rate must be above 0 and at most 1000 frames/s, got {rate}")
        self._unfinished = self.path.with_name(f".{self.path.stem}.unfinished{self.path.suffix}")
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._count = 0
        self._fitted = False

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        try:
            with _SilencedStderr():  # FFmpeg's words on a full disk: they are ours below
                self._writer.release()
            self._finish()
        except OSError as problem:
            if error is None:
                raise
            _LOG.warning("%s", problem)  # the first error is the one to tell
        finally:
            self._writer = None
            self._unfinished.unlink(missing_ok=True)

    def write(self, image: NDArray[np.uint8]) -> None:
        """Appends one image. Odd sizes are padded by a row or column: the codecs halve the colour planes.

        An image of another size than the first one is scaled to fit into it, between black bars.

        Args:
            image: (H, W, 3) BGR.

        Raises:
            OSError: The file cannot be written.
        """
        height, width = image.shape[:2]
        if self._writer is None:
            self._size = (width, height)
            self._writer = self._open((width + width % 2, height + height % 2))
        if (width, height) != self._size:
            if not self._fitted:
                sizes = f"{width}x{height} px, the video {self._size[0]}x{self._size[1]}"
                _LOG.warning("%s: image %d has %s: such images are scaled to fit", self.path, self._count + 1, sizes)
            self._fitted = True
            image = _fit(image, self._size)
            width, height = self._size
        if width % 2 or height % 2:
            image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)  # type: ignore[assignment]
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        self._writer.write(image)  # which warns of every frame that it cannot write, and raises nothing
        cv2.utils.logging.setLogLevel(level)
        self._count += 1
        if shutil.disk_usage(self._unfinished.parent).free < _LEAST_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def _open(self, size: tuple[int, int]) -> cv2.VideoWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self.path))
        try:  # a missing permission or a full disk, which cv2 would not report
            self._unfinished.write_bytes(bytes(_LEAST_BYTES))
        except OSError as error:
            self._unfinished.unlink(missing_ok=True)
            raise type(error)(error.errno, error.strerror, str(self.path)) from None
        code = cv2.VideoWriter.fourcc(*CODECS[self.path.suffix])
        with _SilencedStderr(), name_for_opencv(self._unfinished) as name:
            writer = cv2.VideoWriter(name, cv2.CAP_FFMPEG, code, self.rate, size)
        if not writer.isOpened():
            self._unfinished.unlink(missing_ok=True)
            raise OSError(f"{self.path}: this OpenCV has no encoder for {self.path.suffix}; try {', '.join(CODECS)}")
        return writer

    def _finish(self) -> None:
        """Moves the file to its place if every image is in it; OpenCV tells nothing of what could not be written."""
        with _SilencedStderr(), name_for_opencv(self._unfinished) as name:
            packets = cv2.VideoCapture(name, cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])  # they are not decoded
            found = 0
            while packets.isOpened() and packets.grab():
                found += 1
            packets.release()
        if found < self._count:
            full = shutil.disk_usage(self._unfinished.parent).free < _LEAST_BYTES
            reason = "no space left on device" if full else "the device refused the others"
            raise OSError(f"{self.path}: only {found} of {self._count} frames could be written, {reason}; removed")
        self._unfinished.replace(self.path)


@contextmanager
def name_for_opencv(path: Path) -> Iterator[str]:
    """A name of the file that OpenCV and FFmpeg take: in UTF-8, and with no colon that would look like a protocol.

    It is to be opened within the `with` statement.
    """
    name = os.path.abspath(path)
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder, f"video{path.suffix}")
            link.symlink_to(name)
            yield str(link)
    else:
        yield name


def _fit(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The image within (width, height), its sides in proportion, between black bars."""
    height, width = image.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    inner = max(round(width * scale), 1), max(round(height * scale), 1)
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(image, inner, interpolation=cv2.INTER_AREA)
    return canvas


class _SilencedStderr:
    """Hides what FFmpeg writes to the standard error: a warning about a codec's tag, which it corrects by itself."""

    def __enter__(self) -> None:
        self._saved = os.dup(2)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)

    def __exit__(self, *_: object) -> None:
        os.dup2(self._saved, 2)
        os.close(self._saved)
