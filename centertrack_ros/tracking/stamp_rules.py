# SPDX-License-Identifier: Apache-2.0
"""Decides by its stamp whether an image is the next frame of its camera."""

from __future__ import annotations

# A frame that is late by less was overtaken on its way; one that is late by more means that time was set back.
REORDER_S = 0.25


class StampRules:
    """Decides about each frame of one camera by its stamp, s.

    Duplicates and single late frames are rejected. A stamp far back, or two late ones in a row, mean that time itself
    went back (a looped bag, a restarted simulation): these are accepted, and the tracker resets.
    """

    def __init__(self) -> None:
        self._last: float | None = None
        self._late: float | None = None

    def rejection_reason(self, stamp: float) -> str:
        """Says why the frame is not the next one; '' if it is, and then it counts as the last one."""
        last, late = self._last, self._late
        if last is not None and stamp == last:
            return "its stamp is the same as that of the image before"
        if last is not None and last - REORDER_S < stamp < last and (late is None or stamp <= late):
            self._late = stamp
            return f"it is {(last - stamp) * 1e3:.0f} ms older than the image before"
        self._last, self._late = stamp, None
        return ""
