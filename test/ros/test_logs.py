# SPDX-License-Identifier: Apache-2.0
"""Trouble that repeats fills no log, and hides no other trouble."""

from __future__ import annotations

from centertrack_ros.ros.logs import ThrottledLog


class Kept:
    """A logger that keeps its lines."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.errors: list[str] = []
        self.warning, self.error = self.warnings.append, self.errors.append


def test_the_same_sentence_with_other_numbers_is_said_once() -> None:
    kept = Kept()
    log = ThrottledLog(kept, lambda: 60.0)
    for index in range(100):
        log.warning(f"image {index} is late")
    assert kept.warnings == ["image 0 is late"] and log.last_text == "image 99 is late"


def test_what_was_held_back_is_counted() -> None:
    kept, period = Kept(), 60.0
    log = ThrottledLog(kept, lambda: period)
    log.warning("a"), log.warning("a"), log.warning("a")
    period = 0.0
    log.warning("a")
    assert kept.warnings == ["a", "a (2 more like this)"]


def test_endless_variety_is_held_back_too_and_does_not_hide_an_error() -> None:
    kept = Kept()
    log = ThrottledLog(kept, lambda: 60.0)
    words = [f"{chr(97 + i // 676)}{chr(97 + i // 26 % 26)}{chr(97 + i % 26)}" for i in range(3000)]
    for word in words:
        log.warning(f"unknown encoding {word}")
    log.error("the network failed")
    assert len(kept.warnings) <= 200 and kept.errors == ["the network failed"]


def test_a_message_cannot_speak_to_the_terminal() -> None:
    kept = Kept()
    ThrottledLog(kept, lambda: 60.0).warning("encoding '\x1b[2Jred\r\n[ERROR] you\0\u202e' is unknown")
    assert kept.warnings == ["encoding '?[2Jred [ERROR] you??' is unknown"]
