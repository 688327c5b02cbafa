# SPDX-License-Identifier: Apache-2.0
"""The standard streams of the command: whatever the terminal, the encoding and the other end of a pipe are like."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from typing import TextIO

# How characters of our own texts look where the encoding has none of them.
_ASCII = {
    "…": "...",
    "→": "->",
    "←": "<-",
    "\u2013": "-",
    "—": "-",
    "·": "*",
    "\u00d7": "x",
    "²": "2",
    "±": "+-",
    "°": "deg",
}


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain_character, error.object[error.start : error.end])), error.end


def _plain_character(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return _ASCII.get(character) or character.encode("ascii", "backslashreplace").decode("ascii")


def prepare() -> None:
    """Makes the streams such that printing never fails for want of a character or of a stream.

    A stream that the caller has closed becomes the null device, also for the libraries: a result file that gets the
    number of a closed standard output would hold what they print.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)  # gets the lowest number that is free
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    codecs.register_error("centertrack", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="centertrack")


def flush() -> OSError | None:
    """Writes out what has been printed.

    Returns:
        What went wrong with the standard output; None: nothing, or the reader has closed the pipe, which is no error.
    """
    problem = None
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
    except OSError as error:
        problem = error
        silence(sys.stdout)
    except ValueError:  # closed by the caller of `main`
        pass
    return problem


def silence(stream: TextIO) -> None:
    """What is printed on it from now on goes nowhere, so that Python's own flush at the end does not fail again."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def complain(text: str) -> None:
    """Prints a line on the standard error; where that cannot be written, nothing is left to tell it to."""
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        silence(sys.stderr)
