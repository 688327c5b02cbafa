# SPDX-License-Identifier: Apache-2.0
"""Messages that accompany the images of a camera: each image gets the one of its stamp, and waits for none too long."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Companions(Generic[T]):
    """The last messages of one topic, by stamp. Filled in one thread and asked in another."""

    def __init__(self, keep: int = 30) -> None:
        """Starts empty.

        Args:
            keep: How many messages are remembered; older ones, by arrival, are forgotten.
        """
        self._keep = keep
        self._messages: OrderedDict[int, T] = OrderedDict()
        self._arrived = threading.Condition()

    def add(self, stamp_ns: int, message: T) -> None:
        """Remembers a message; a later one of the same stamp replaces it."""
        with self._arrived:
            self._messages.pop(stamp_ns, None)
            self._messages[stamp_ns] = message
            while len(self._messages) > self._keep:
                self._messages.popitem(last=False)
            self._arrived.notify_all()

    def clear(self) -> None:
        """Forgets all messages, as after a jump back in time."""
        with self._arrived:
            self._messages.clear()

    def nearest(self, stamp_ns: int, tolerance_ns: int = 0) -> T | None:
        """The message with the stamp nearest to the image's.

        Args:
            stamp_ns: Of the image.
            tolerance_ns: How far the message's stamp may be from it; 0: it must be equal.

        Returns:
            The message; None if none is near enough.
        """
        with self._arrived:
            return self._nearest(stamp_ns, tolerance_ns)

    def wait(self, stamp_ns: int, tolerance_ns: int, timeout_s: float) -> T | None:
        """As `nearest`, but waits for the message of exactly this stamp, or for the first that is later.

        Args:
            stamp_ns: Of the image.
            tolerance_ns: How far the message's stamp may be from it.
            timeout_s: The longest wait, by a clock that never jumps.

        Returns:
            The message; None if none that is near enough came in time.
        """
        end = time.monotonic() + timeout_s
        with self._arrived:
            while not any(known >= stamp_ns for known in self._messages):
                if (left := end - time.monotonic()) <= 0 or not self._arrived.wait(left):
                    break
            return self._nearest(stamp_ns, tolerance_ns)

    def _nearest(self, stamp_ns: int, tolerance_ns: int) -> T | None:
        if not self._messages:
            return None
        best = min(self._messages, key=lambda known: abs(known - stamp_ns))
        return self._messages[best] if abs(best - stamp_ns) <= tolerance_ns else None
