# SPDX-License-Identifier: Apache-2.0
"""The node's log: limits the rate of repeated lines, and forwards what the ROS-free parts of the package log."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Protocol

_MAX_LINES = 200  # different lines that are remembered
_MAX_LENGTH = 600  # characters of a line


class Logger(Protocol):
    """What this module needs of an rclpy logger."""

    def info(self, message: str, /) -> object:
        """Logs at level INFO."""

    def warning(self, message: str, /) -> object:
        """Logs at level WARN."""

    def error(self, message: str, /) -> object:
        """Logs at level ERROR."""


class ThrottledLog:
    """Logs a line that repeats only once per period, with the number of repetitions that were left out.

    Lines that differ in numbers alone count as the same line.

    Attributes:
        last_text: the newest line, logged or not.
        last_error: the newest error line, logged or not.
    """

    def __init__(self, logger: Logger, period: Callable[[], float]) -> None:
        """Logs to `logger`; `period` returns the current period, s."""
        self._logger = logger
        self._period = period
        # Line -> (time of the last output, repetitions since). Separate tables: many warnings must not hide an error.
        self._warnings: dict[str, tuple[float, int]] = {}
        self._errors: dict[str, tuple[float, int]] = {}
        self._once: set[str] = set()
        self.last_text = self.last_error = ""

    def info(self, text: str) -> None:
        """Logs at level INFO, always."""
        self._logger.info(_one_line(text))

    def warning(self, text: str) -> None:
        """Logs at level WARN, at most once per period."""
        if line := self._throttle(text, self._warnings):
            self._logger.warning(line)

    def once(self, text: str) -> None:
        """Logs at level WARN, the first time only."""
        line = _one_line(text)
        if (key := _key(line)) not in self._once and len(self._once) < _MAX_LINES:
            self._once.add(key)
            self.last_text = line
            self._logger.warning(line)

    def error(self, text: str) -> None:
        """Logs at level ERROR, at most once per period."""
        line = self._throttle(text, self._errors)
        self.last_error = self.last_text
        if line:
            self._logger.error(line)

    def _throttle(self, text: str, logged: dict[str, tuple[float, int]]) -> str:
        """The line to log; '' if it has to wait for the end of the period."""
        text = self.last_text = _one_line(text)
        now, key = time.monotonic(), _key(text)
        last, repetitions = logged.get(key, (0.0, 0))
        if last and now - last < self._period():
            logged[key] = (last, repetitions + 1)
            return ""
        if len(logged) >= _MAX_LINES:  # ever new lines, such as names from broken messages, are throttled as well
            if now - max(time_ for time_, _ in logged.values()) < self._period():
                return ""
            logged.clear()
        logged[key] = (now, 0)
        return f"{text} ({repetitions} more like this)" if repetitions else text


class ForwardingHandler(logging.Handler):
    """Forwards what the ROS-free parts of this package log (module `logging`) to the logger of a node."""

    def __init__(self, logger: Logger) -> None:
        """Forwards to `logger` once `install` is called."""
        super().__init__(logging.INFO)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Forwards one record with its severity."""
        text = _one_line(record.getMessage())
        # rclpy binds a severity to the line of code that logs: each severity needs a line of its own.
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)

    def install(self) -> None:
        """Starts forwarding, for the whole process."""
        package = logging.getLogger("centertrack_ros")
        package.setLevel(logging.INFO)
        package.addHandler(self)


def _key(line: str) -> str:
    """What lines have in common that differ in numbers alone."""
    return re.sub(r"\d+", "#", line)


def _one_line(text: str) -> str:
    """The text as one printable line: parts of it may come from foreign messages and hold terminal commands."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split())[:_MAX_LENGTH])
