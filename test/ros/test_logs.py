# SPDX-License-Identifier: Apache-2.0
"""Repeated lines are throttled, and hide no others."""

from __future__ import annotations

import logging

from centertrack_ros.ros.logs import ForwardingHandler, ThrottledLog


class RecordingLogger:
    """Keeps its lines."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.errors: list[str] = []
        self.infos: list[str] = []
        self.info, self.warning, self.error = self.infos.append, self.warnings.append, self.errors.append


def test_lines_that_differ_in_numbers_are_logged_once() -> None:
    logger = RecordingLogger()
    log = ThrottledLog(logger, lambda: 60.0)
    for index in range(100):
        log.warning(f"image {index} is late")
    assert logger.warnings == ["image 0 is late"] and log.last_text == "image 99 is late"


def test_repetitions_that_were_left_out_are_counted() -> None:
    logger, period = RecordingLogger(), 60.0
    log = ThrottledLog(logger, lambda: period)
    log.warning("a"), log.warning("a"), log.warning("a")
    period = 0.0
    log.warning("a")
    assert logger.warnings == ["a", "a (2 more like this)"]


def test_ever_new_lines_are_throttled_too_and_do_not_hide_an_error() -> None:
    logger = RecordingLogger()
    log = ThrottledLog(logger, lambda: 60.0)
    words = [f"{chr(97 + i // 676)}{chr(97 + i // 26 % 26)}{chr(97 + i % 26)}" for i in range(3000)]
    for word in words:
        log.warning(f"unknown encoding {word}")
    log.error("the network failed")
    assert len(logger.warnings) <= 200 and logger.errors == ["the network failed"]


def test_a_line_that_is_said_once_is_never_repeated() -> None:
    logger = RecordingLogger()
    log = ThrottledLog(logger, lambda: 0.0)
    for index in range(3):
        log.once(f"stamps are {index} s late"), log.warning("busy")
    log.once("no clock")
    assert logger.warnings == ["stamps are 0 s late", "busy", "busy", "busy", "no clock"]


def test_terminal_commands_in_a_message_are_replaced() -> None:
    logger = RecordingLogger()
    ThrottledLog(logger, lambda: 60.0).warning("encoding '\x1b[2Jred\r\n[ERROR] you\0\u202e' is unknown")
    assert logger.warnings == ["encoding '?[2Jred [ERROR] you??' is unknown"]


def test_logs_of_ros_free_modules_are_forwarded_with_their_severity() -> None:
    logger = RecordingLogger()
    handler = ForwardingHandler(logger)
    handler.install()
    try:
        log = logging.getLogger("centertrack_ros.engine.loading")
        log.debug("a detail"), log.info("the\nengine"), log.warning("a file"), log.error("no memory")
    finally:
        logging.getLogger("centertrack_ros").removeHandler(handler)
    assert (logger.infos, logger.warnings, logger.errors) == (["the engine"], ["a file"], ["no memory"])
