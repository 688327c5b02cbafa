# SPDX-License-Identifier: Apache-2.0
"""MOTChallenge results that are written frame by frame, so that whatever ends a run leaves the frames up to it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import TracebackType

from centertrack_ros.datasets.mot import class_numbers, frame_text
from centertrack_ros.types import Tracks


class MotStream:
    """A result file in the format of `mot.results_text`. Use it in a `with` statement.

    Each frame is handed to the system at once and as a whole: after a crash, too, there are complete lines in the file.
    """

    def __init__(self, path: Path | str, classes: tuple[str, ...]) -> None:
        """Makes the file, an existing one is overwritten.

        Args:
            path: The file.
            classes: Names of the tracks' classes, which become `mot.class_numbers`.

        Raises:
            OSError: It cannot be written.
        """
        self.path, self._numbers = Path(path), class_numbers(classes)
        self._file = self.path.open("wb", buffering=0)
        self._size = 0

    def __enter__(self) -> MotStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, index: int, tracks: Tracks) -> None:
        """Appends the tracks of a frame.

        Args:
            index: The frame's number.
            tracks: Its tracks.

        Raises:
            OSError: They cannot be written; the file keeps the frames before.
        """
        data = frame_text(index, tracks, self._numbers).encode("ascii")
        try:
            written = self._file.write(data) if data else 0
            while written < len(data):  # the disk is nearly full: the next try says so
                more = self._file.write(data[written:])
                if not more:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                written += more
        except OSError as error:
            os.ftruncate(self._file.fileno(), self._size)
            raise OSError(error.errno, error.strerror, str(self.path)) from None
        self._size += len(data)
