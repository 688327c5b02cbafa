# SPDX-License-Identifier: Apache-2.0
"""SIGTERM and SIGHUP take the path of Ctrl-C: a verb leaves its `with` statements, which finish its files."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# `timeout` signals the process and then its group, a terminal and a user do so too: within this time it is one wish.
_REPEATED_S = 2.0


class Signals:
    """Turns signals into KeyboardInterrupt while its `with` statement runs.

    A signal that is ignored, such as SIGHUP under nohup, stays ignored, and handlers that somebody else has installed
    stay. Further signals within 2 s change nothing, so that they do not interrupt the finishing of files.

    Attributes:
        received: The number of the signal that came; None: none.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._time = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                before = signal.getsignal(number)
                if before in (signal.SIG_DFL, signal.default_int_handler):
                    self._before[number] = before
                    signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    @property
    def status(self) -> int:
        """The exit status after the signal, as a shell reports it: 130, 143 or 129."""
        return 128 + (self.received or signal.SIGINT)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is not None and now - self._time < _REPEATED_S:
            return
        self.received, self._time = self.received or number, now
        raise KeyboardInterrupt
