# SPDX-License-Identifier: Apache-2.0
"""Stamps of messages as numbers, and what the gaps between them tell of messages that were lost."""

from __future__ import annotations

import itertools
import struct
from collections import deque
from typing import Any

# Fewer images than this, or a pause that is longer, say nothing about lost images.
MIN_STAMPS, MAX_STEP_S = 20, 2.0


def seconds(stamp: Any) -> float:
    """A builtin_interfaces/Time in s."""
    return float(stamp.sec) + float(stamp.nanosec) * 1e-9


def nanoseconds(stamp: Any) -> int:
    """A builtin_interfaces/Time in ns, exactly; negative ones as well."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def from_nanoseconds(time_ns: int) -> float:
    """A time of `nanoseconds` in s, the same as `seconds` gives."""
    whole, rest = divmod(time_ns, 1_000_000_000)
    return float(whole) + float(rest) * 1e-9


def stamp_or_arrival(stamp_ns: int, arrival_ns: int) -> int:
    """The time of an image or of what belongs to it, ns.

    A stamp of 0 is none: drivers leave it so that do not know the time. Then the time of arrival stands for it, which
    is the time of recording in a bag. Every reader of stamps takes them from here.
    """
    return stamp_ns or arrival_ns


def record_stamp(data: bytes, time_ns: int) -> int:
    """`stamp_or_arrival` of a serialised message (CDR) that begins with a Header and was recorded at `time_ns`."""
    return stamp_or_arrival(header_stamp_ns(data), time_ns) if len(data) >= 12 else time_ns


def header_stamp_ns(data: bytes) -> int:
    """The stamp, ns, of a serialised message (CDR: four bytes of encapsulation first) that begins with a Header."""
    order = "<" if data[1] & 1 else ">"
    sec, nanosec = struct.unpack_from(order + "iI", data, 4)
    return int(sec) * 1_000_000_000 + int(nanosec)


class Loss:
    """Estimates which part of a camera's images never arrives, from the gaps between the stamps, s, of those that do.

    Its period is taken from the shorter steps: they are single ones unless nearly everything is lost.
    """

    def __init__(self, count: int = 60) -> None:
        self._stamps: deque[float] = deque(maxlen=count)

    def add(self, stamp: float) -> None:
        """Adds the stamp of an image that arrived, s."""
        if (
            self._stamps and not self._stamps[-1] < stamp < self._stamps[-1] + MAX_STEP_S
        ):  # another recording, or a pause
            self._stamps.clear()
        self._stamps.append(stamp)

    @property
    def part(self) -> float:
        """0..1; 0 while there are too few images for an estimate."""
        stamps = list(self._stamps)
        if len(stamps) < MIN_STAMPS:
            return 0.0
        steps = sorted(after - before for before, after in itertools.pairwise(stamps))
        expected = (stamps[-1] - stamps[0]) / steps[len(steps) // 8]
        return max(0.0, 1.0 - len(steps) / expected)
