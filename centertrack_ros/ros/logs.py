"""What the node logs: trouble that repeats with every frame now and again with a count, and what other parts log."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Any

_MAX_KEPT = 200


class ThrottledLog:
    """Lets the same sentence (numbers aside) through once in `period()` seconds, and tells how many were held back."""

    def __init__(self, logger: Any, period: Callable[[], float]) -> None:
        self._logger = logger
        self._period = period
        # Apart: what is wrong with a thousand messages must not hide an error.
        self._warnings: dict[str, tuple[float, int]] = {}
        self._errors: dict[str, tuple[float, int]] = {}
        self.last_text = self.last_error = ""

    def info(self, text: str) -> None:
        self._logger.info(_one_line(text))

    def warning(self, text: str) -> None:
        if line := self._let_through(text, self._warnings):
            self._logger.warning(line)

    def error(self, text: str) -> None:
        line = self._let_through(text, self._errors)
        self.last_error = self.last_text
        if line:
            self._logger.error(line)

    def _let_through(self, text: str, said: dict[str, tuple[float, int]]) -> str:
        text = self.last_text = _one_line(text)
        now, key = time.monotonic(), re.sub(r"\d+", "#", text)
        last, held_back = said.get(key, (0.0, 0))
        if last and now - last < self._period():
            said[key] = (last, held_back + 1)
            return ""
        if len(said) >= _MAX_KEPT:  # endless variety is itself a repetition
            if now - max(time_ for time_, _ in said.values()) < self._period():
                return ""
            said.clear()
        said[key] = (now, 0)
        return f"{text} ({held_back} more like this)" if held_back else text


class Forward(logging.Handler):
    """Sends what the parts of this package that know nothing of ROS log to a node's logger."""

    def __init__(self, logger: Any) -> None:
        super().__init__(logging.INFO)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        text = _one_line(record.getMessage())
        # rclpy wants a line of code of its own for each severity.
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)

    def begin(self) -> None:
        """From now on, for the whole process."""
        package = logging.getLogger("centertrack_ros")
        package.setLevel(logging.INFO)
        package.addHandler(self)


def _one_line(text: str) -> str:
    """Without what a terminal would obey: parts of the text may come from a message of anybody."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split())[:600])
