# SPDX-License-Identifier: Apache-2.0
"""What all sources of frames have in common."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Protocol

from centertrack_ros.geometry.camera import Camera
from centertrack_ros.types import Frame

DEFAULT_RATE = 10.0  # frames/s where nothing tells a time
_NAMED = 20  # an endless stream may be broken for hours: so many losses are named, the others are counted

_LOG = logging.getLogger(__name__)

# Height and width of an image -> the camera that took it.
CameraOf = Callable[[int, int], Camera | None]


class Source(Protocol):
    """Frames in the order of time; can be iterated again from the start, except for what is live.

    Each frame has the source's own number (`Frame.index`). A frame that cannot be read is left out, with a logged
    warning that names it and says why, and its number goes with it; at the end their count is logged.
    """

    @property
    def name(self) -> str:
        """What output files are named after."""

    @property
    def length(self) -> int | None:
        """Number of frames; None when it is unknown beforehand."""

    @property
    def rate(self) -> float | None:
        """Frames/s; None when only the frames' stamps define it."""

    def __iter__(self) -> Iterator[Frame]: ...


class LeftOut:
    """Names and counts the frames of a source that cannot be read."""

    def __init__(self, source: object) -> None:
        self._source, self.count, self.last = source, 0, ""

    def add(self, problem: str, count: int = 1) -> None:
        """Takes `count` frames with a sentence that names them."""
        if self.count < _NAMED:
            _LOG.warning("%s: %s; left out", self._source, problem)
        self.count, self.last = self.count + count, problem

    def report(self, total: int) -> None:
        """Logs how many of `total` frames were left out, if any were."""
        if self.count:
            _LOG.warning("%s: %d of %d frames left out", self._source, self.count, total)


def default_rate(source: object) -> float:
    """Logs that nobody tells the rate, and returns what is assumed, frames/s."""
    _LOG.warning("%s: nothing tells its rate: %g frames/s are assumed (--rate tells another)", source, DEFAULT_RATE)
    return DEFAULT_RATE
