# SPDX-License-Identifier: Apache-2.0
"""Videos, streams and cameras as sources of frames, by OpenCV: each frame at the time that its container tells."""

from __future__ import annotations

import itertools
import logging
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from centertrack_ros.io.source_base import CameraOf, LeftOut, default_rate
from centertrack_ros.io.video_files import counts_frames, has_no_times, opened, problem_of
from centertrack_ros.types import Frame

_PROBED = 16  # frames whose times show whether the container's rate is true
_PATIENCE = 100  # frames in a row that cannot be decoded: then this is the end of the file
_ROUNDING_S = 0.0006  # Matroska rounds times to ms: no reason to let an even rate jitter

_LOG = logging.getLogger(__name__)


@dataclass
class VideoSource:
    """A video file, a stream, or a camera by its number; stamps count from 0 s.

    A file's frames have the times of its container, so a variable rate keeps its holes; a camera's those at which they
    were read. `requested_rate` overrides both.
    """

    location: Path | str | int
    camera_of: CameraOf
    requested_rate: float | None = None

    def __post_init__(self) -> None:
        self.name = _name(self.location)
        self._is_file = isinstance(self.location, Path) and self.location.is_file()
        self.length: int | None = None
        self._duration = 0.0  # s, as the container tells it; 0: it does not
        capture = self._open()
        self._counts = self._is_file and counts_frames(self._path)
        told = capture.get(cv2.CAP_PROP_FPS)
        # Containers without a rate report 0, NaN or their clock's 1 or 90 kHz.
        self._told = told if math.isfinite(told) and 0.0 < told <= 1000.0 else None
        self._first: cv2.VideoCapture | None = None  # what is live is opened once: its first frames would be lost
        if self._is_file:
            rate = self._examined(capture)
            capture.release()
        else:
            rate, self._first = self._told, capture
        self.rate: float = self.requested_rate or rate or default_rate(self.location)

    def _examined(self, capture: cv2.VideoCapture) -> float | None:
        """Sets what a file's container tells, as far as it is true, and returns the rate, frames/s."""
        count, step = capture.get(cv2.CAP_PROP_FRAME_COUNT), _step(capture)
        if self._told and count > 0:
            self._duration = count / self._told
        if step and self._told and not self._counts and abs(step - 1 / self._told) > 0.001 + 0.02 * step:
            self._told = None
        self.length = int(count) if count > 0 and (self._counts or self._told) else None
        rate = self._told or (1 / step if step else None)
        if rate and not self.requested_rate and has_no_times(self._path):
            _LOG.warning("%s: a video stream without times: %g frames/s are assumed (--rate)", self.location, rate)
        return rate

    @property
    def _path(self) -> Path:
        assert isinstance(self.location, Path)
        return self.location

    def _open(self) -> cv2.VideoCapture:
        capture = opened(self.location)
        if not capture.isOpened():
            raise ValueError(f"{self.location}: {problem_of(self.location)}")
        return capture

    def __iter__(self) -> Iterator[Frame]:
        capture, self._first = self._first or self._open(), None
        clock, left_out, index, failed = _Clock(self), LeftOut(self.location), 0, 0
        try:
            while failed <= (_PATIENCE if self._is_file else 0):
                image = _read(capture)
                if image is None:
                    failed += 1
                    continue
                if failed:
                    first, index = index + 1, index + failed
                    which = f"frame {first}" if failed == 1 else f"frames {first} to {index}"
                    left_out.add(f"{which} cannot be decoded", failed)
                    failed = 0
                index += 1
                stamp = clock.stamp(index, capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3)
                yield Frame(image, stamp, self.camera_of(*image.shape[:2]), index=index)
        finally:
            capture.release()
            left_out.report(index)
        if index == 0:
            raise ValueError(f"{self.location}: not one frame of this video can be read")
        self._check_end(index, clock)

    def _check_end(self, index: int, clock: _Clock) -> None:
        """Warns of a file that is shorter than it says. Only some containers count; the others tell a length in s."""
        if self._counts and self.length is not None:
            if index < self.length:
                _LOG.warning("%s: ended after %d of %d frames", self.location, index, self.length)
        elif self._told and clock.is_even and (clock.container_s or 0.0) < self._duration - 2.5 / self._told:
            text = "%s: ended at %.2f s, its container tells %.2f s: it was cut short"
            _LOG.warning(text, self.location, clock.container_s, self._duration)


class _Clock:
    """The stamps of a video's frames, s; they rise."""

    def __init__(self, source: VideoSource) -> None:
        self._source = source
        self._start = time.monotonic()
        self._last: float | None = None
        self._offset: float | None = 0.0 if source._is_file else None
        self._has_risen = self._is_noted = False
        self.container_s: float | None = None
        self.is_even = True

    def stamp(self, index: int, container_s: float) -> float:
        """The stamp of a frame: its number, from 1, and what the container tells, s."""
        source = self._source
        if self.container_s is not None and source._told:
            self.is_even &= abs((container_s - self.container_s) * source._told - 1) < 0.5
        self.container_s = container_s
        if source.requested_rate:
            return (index - 1) / source.requested_rate
        if isinstance(source.location, int):
            now = time.monotonic()
            if self._last is None:
                self._start = now
            return self._rising(now - self._start)
        if self._offset is None:  # a stream is joined in its middle
            self._offset = container_s
        found = container_s - self._offset
        even = (index - 1) / source.rate
        if source._told and abs(found - even) <= _ROUNDING_S:
            found = even
        return self._rising(found)

    def _rising(self, found: float) -> float:
        step = 1 / self._source.rate
        if self._last is None:
            self._last = max(found, 0.0) if math.isfinite(found) else 0.0
            return self._last
        if math.isfinite(found) and found > self._last:
            self._has_risen = True
        else:
            if self._has_risen and not self._is_noted:
                self._is_noted = True
                text = "%s: its times go back at %.3f s: %g frames/s are assumed there"
                _LOG.warning(text, self._source.location, self._last, self._source.rate)
            found = self._last + step
        self._last = found
        return found


def _read(capture: cv2.VideoCapture) -> NDArray[np.uint8] | None:
    """The next frame; None when it cannot be decoded, and at the end."""
    try:
        good, image = capture.read()
    except cv2.error:  # for instance not enough memory for the size that the file claims
        return None
    return np.asarray(image, np.uint8) if good else None


def _step(capture: cv2.VideoCapture) -> float:
    """The median step of the first frames' times, s; 0 when there are none, or they do not rise."""
    times = [capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3 for _ in range(_PROBED) if capture.grab()]
    steps = [two - one for one, two in itertools.pairwise(times)]
    if not steps or not min(steps) > 0:
        return 0.0
    median = float(np.median(steps))
    # The mean is more exact, where no hole spoils it: times may be rounded to ms.
    return float(np.mean(steps)) if max(steps) < 1.5 * median else median


def _name(location: Path | str | int) -> str:
    if isinstance(location, Path):
        return location.stem
    if isinstance(location, int):
        return f"camera_{location}"
    address = re.sub(r"^.*://([^/@]*@)?", "", location)  # no password in the name of a file
    return "stream_" + (re.sub(r"[^\w.-]+", "_", address).strip("._") or "0")[:100]
